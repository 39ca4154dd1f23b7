"""Runs the world of a seed: takes from the product what it does not get by a port, and judges."""

import asyncio
import gc
import logging
import math
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from email.utils import formatdate
from functools import partial
from pathlib import Path
from typing import Any

from typing_extensions import override

from headworks import build
from headworks.gateway import exchange, listener
from headworks.stores.ledger import SqliteLedger
from headworks.stores.verify import verify
from headworks.testing import SeededRandom
from tests.faults.simworld.callers import PLACE
from tests.faults.simworld.checks import judge
from tests.faults.simworld.clockwork import LoopClock, StandsStill, VirtualLoop
from tests.faults.simworld.limiter import WatchedLimits, WatchedQueue
from tests.faults.simworld.providers import tokenizer
from tests.faults.simworld.rationing import is_refused
from tests.faults.simworld.scenario import Scenario, scenario
from tests.faults.simworld.world import World

_FOLDER = Path("/dev/shm") if Path("/dev/shm").is_dir() else None  # noqa: S108 - a private folder is made in it

_PRODUCT = ("headworks.gateway", "headworks.upstream", "headworks.stores", "headworks.observe")


@contextmanager
def _outside(loop: VirtualLoop, seed: int) -> Generator[None]:
    """Take from the product what it does not get by a port: threads, the date, an id of refusals."""
    clock, random_ = LoopClock(loop), SeededRandom(seed)
    replaced: list[tuple[Any, str, Any]] = [
        (build, "SqliteLedger", partial(SqliteLedger, checkpointing=False)),
        (build, "Tokenizer", tokenizer),
        (build, "MemoryLimits", WatchedLimits),
        (build, "QueuedLimits", WatchedQueue),
        (listener, "formatdate", lambda usegmt: formatdate(clock.time(), usegmt=usegmt)),
        (exchange, "_new_id", lambda: "refusal-" + random_.call_id()),
    ]
    before = [(where, name, getattr(where, name)) for where, name, _ in replaced]
    for where, name, stand_in in replaced:
        setattr(where, name, stand_in)
    try:
        yield
    finally:
        for where, name, real in before:
            setattr(where, name, real)


class _Complaints(logging.Handler):
    """What the product logs as an error."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.told: list[str] = []

    @override
    def emit(self, record: logging.LogRecord) -> None:
        self.told.append(self.format(record))


def run(
    seed: int,
    *,
    keeps_trace: bool = False,
    plan: Scenario | None = None,
    sabotage: Callable[[World], None] = lambda _: None,
) -> World:
    """Run the world of a seed to its end and judge it; `sabotage` breaks the product first."""
    loop, complaints = VirtualLoop(), _Complaints()
    folder = Path(tempfile.mkdtemp(prefix=f"simworld-{seed}-", dir=_FOLDER))
    logger = logging.getLogger("headworks")
    logger.addHandler(complaints)
    was_collecting = gc.isenabled()
    gc.disable()  # what it frees would come at no fixed moment
    try:
        with _outside(loop, seed):
            world = World(plan or scenario(seed), folder, loop, keeps_trace)
            sabotage(world)
            _live(world)
    finally:
        logger.removeHandler(complaints)
        _sweep(loop)
        if was_collecting:
            gc.enable()
    for complaint in complaints.told:
        world.fail(f"the log has an error: {complaint}")
    for finding in verify(world.ledger_path).findings:
        world.fail(f"headworks ledger verify: {finding}")
    shutil.rmtree(folder)
    return world


def _live(world: World) -> None:
    loop = world.loop
    loop.set_exception_handler(lambda _, context: world.fail(f"the loop was told of {context}"))
    try:
        loop.run_until_complete(world.live())
        loop.run_until_complete(judge(world))
        loop.run_until_complete(world.end())
    except StandsStill as error:
        world.fail(str(error))
    for left in _left(world):
        world.fail(left)


def _left(world: World) -> Iterator[str]:
    """Yield what is left when everything has been closed."""
    loop = world.loop
    yield from (f"a task is left: {task.get_coro()}" for task in asyncio.all_tasks(loop))
    for end in world.network.open_ends():
        if not end.name.endswith("<") or end.name.startswith(PLACE):
            yield f"a connection is left: {end.name}"
    for timer in loop.timers():
        owner = getattr(timer, "_callback", None)
        if getattr(owner, "__module__", "").startswith(_PRODUCT):
            yield f"a timer is left: {owner}"


def _sweep(loop: VirtualLoop) -> None:
    """Leave nothing behind of a world that ended badly."""
    loop.ends_at = math.inf
    while tasks := asyncio.all_tasks(loop):
        for task in tasks:
            task.cancel()
        loop.run_until_complete(asyncio.wait(tasks, timeout=100.0))
    loop.close()


def happenings(world: World) -> Counter[str]:
    """Return what happened how often, so that one sees what the worlds try."""
    seen: Counter[str] = Counter()
    for reply in world.replies:
        seen[f"answers {reply.status}{'' if reply.is_whole else ', broken'}"] += 1
        if reply.after is not None and is_refused(reply.after):
            seen["came as told, refused" if is_refused(reply) else "came as told"] += 1
    seen.update(f"rows {row['certainty'] or row['state']}" for row in world.rows)
    for stay in world.limiter.stays:
        if stay.left > stay.came:
            seen["waited, let in" if stay.is_let_in else "waited, sent away"] += 1
    for call in world.journal.calls:
        seen.update((f"calls {call.outcome}", f"calls of {call.attempts} attempts"))
        seen.update(f"passed over {one.failure}" for one in call.trail if not one.code)
        seen.update(f"chains {one.why}" for one in call.trail if one.why.startswith("on "))
        seen.update([f"filtered {call.filtered}"] if call.filtered else ())
        seen.update([f"fitted {call.fitted.strategy}"] if call.fitted else ())
    seen.update(["recoveries"] if world.has_recovered else ())
    for provider in world.providers.values():
        faults = (arrival.attempt.get("fault") for arrival in provider.arrivals)
        seen.update(f"faults {fault.partition('=')[0]}" for fault in faults if fault)
    fates = (line.weather.fate for line in world.network.lines)
    seen.update(f"lines {fate}" for fate in fates if fate)
    return seen
