"""What waiting costs: little memory for each call, and nothing worth telling when nobody waits."""

import asyncio
import gc
import sys
import tracemalloc

from headworks.core.queue import Queue
from headworks.core.queue_rules import QueueRules
from headworks.core.turns import Waiting
from headworks.stores.limits import MemoryLimits
from headworks.stores.queue import QueuedLimits
from headworks.testing import FakeClock, SeededRandom
from headworks.types import Call, Caller, RateLimits, Request, Usage

CALLS = 10_000


def test_a_waiting_call_is_small():
    """Ten thousand waiting calls take at most 3 KB each, beside the requests themselves."""

    async def story() -> float:
        clock = FakeClock(jumps=False)
        queue = QueuedLimits(MemoryLimits(clock), clock, SeededRandom(1))
        queue.adopt(QueueRules(in_flight=1, calls=CALLS, max_wait=1e6))
        request = Request("POST", "/v1/chat/completions", content=b"x" * 100)
        callers = [Caller(f"k{number}", f"k{number}") for number in range(100)]
        calls = [
            Call(f"call_{number}", request, clock.now(), 0.0, callers[number % 100])
            for number in range(CALLS)
        ]
        first = await queue.reserve(calls[0], Usage(10, 10))
        gc.collect()
        tracemalloc.start()
        tasks = [asyncio.create_task(queue.reserve(call, Usage(10, 10))) for call in calls]
        for _ in range(3):
            await asyncio.sleep(0)
        gc.collect()
        used = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        assert sum(queue.statistics().waiting.values()) == CALLS
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        first.settle(Usage())
        standing = queue.statistics()
        assert (standing.in_flight, standing.size) == (0, 0)
        return used / CALLS

    tracer = sys.gettrace()
    sys.settrace(None)  # a tracer keeps a frame object for each call that waits
    try:
        assert asyncio.run(story()) <= 3_000
    finally:
        sys.settrace(tracer)


def test_the_queue_forgets_all_who_left():
    """After many came and left, nothing of them is kept: no key, no lane, no timer."""
    queue: Queue[int] = Queue()
    places = [Waiting(number, 10, 10, 1000.0 + number) for number in range(CALLS)]
    for number, place in enumerate(places):
        queue.add(place, number % 3, number % 500, number % 7)
    for place in places:
        queue.leave(place)
    assert (queue.calls, queue.size, queue.due()) == (0, 0, None)
    assert queue.next() is None
    assert queue.held(3) == (0, 0)


def test_those_who_never_wait_leave_nothing_behind():
    """Calls that are let in at once are no burden: a thousand take no more than a few do."""

    async def story() -> None:
        clock = FakeClock(jumps=False)
        queue = QueuedLimits(MemoryLimits(clock), clock, SeededRandom(1))
        caller = Caller("k", "k", limits=RateLimits(parallel=5))
        request = Request("POST", "/v1/chat/completions")
        for number in range(1_000):
            call = Call(f"call_{number}", request, clock.now(), 0.0, caller)
            (await queue.reserve(call, Usage(10, 10))).settle(Usage(1, 1))
        assert len(asyncio.all_tasks()) == 1
        assert queue.statistics().in_flight == 0

    asyncio.run(story())
