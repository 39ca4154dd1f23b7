"""A key that says `drain`: who leaves early is let go at once, the answer is read to its end."""

import asyncio
import gc
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field, replace

import pytest
from typing_extensions import override

from headworks.errors import StreamTruncated
from headworks.inprocess.exchange import AHEAD
from headworks.inprocess.face import TrustedKeys
from headworks.testing import EVENTS, FakeResponse, MemoryKeys
from headworks.types import Caller, Usage
from tests.inprocess.conftest import MESSAGES
from tests.inprocess.world import KEY

LONG = EVENTS[0].replace(b"Hel", b"x" * AHEAD)
"""An event that fills all the room that a reader has."""


@dataclass
class Gated(FakeResponse):
    """A stream that stops before its second piece until a test lets it go on."""

    goes_on: asyncio.Event = field(default_factory=asyncio.Event)

    @override
    async def chunks(self) -> AsyncGenerator[bytes]:
        async for piece in super().chunks():
            yield piece
            await self.goes_on.wait()


@pytest.fixture
def gated(world):
    """A provider's answer, for a key whose answers are read to their end."""
    keys = MemoryKeys({KEY: Caller("shop", "k1", on_disconnect="drain")})
    world.engine = replace(world.engine, keys=TrustedKeys(keys))
    world.upstream.script = [Gated(EVENTS)]
    return world.upstream.script[0]


def row(world):
    (only,) = world.ledger.rows
    return only


def test_who_closes_a_stream_early_is_free_at_once(hw, chat, world, gated):
    """The rest is read in the background, holds its place meanwhile, and is booked exactly."""
    assert len(chat.stream(most=1, client={"api_key": KEY})) == 1

    assert (hw.in_flight, world.limits.taken) == (1, 1)
    assert row(world).is_open
    hw._portal.call_soon(gated.goes_on.set)
    hw.close()
    assert (row(world).usage, row(world).certainty) == (Usage(3, 4), "exact")
    assert row(world).outcome == world.journal.outcomes[0] == "drained"
    assert world.ended_once()


def test_closing_waits_for_the_rest_no_longer_than_it_may(hw, chat, world, gated):
    """What is still being read when the time of `close` is over is cut, and booked as seen."""
    chat.stream(most=1, client={"api_key": KEY})

    hw.close(drain=0)

    assert (row(world).outcome, row(world).certainty) == ("abandoned", "estimated")
    assert world.ended_once()
    assert gated.closed == 1


def test_a_cancelled_task_leaves_its_answer_to_the_engine(hw, world, gated):
    """Cancelling the task that waits for a stream ends the task, not the attempt."""

    async def main() -> None:
        client = hw.async_openai(api_key=KEY)
        async with await client.chat.completions.create(
            model="m", messages=MESSAGES, stream=True
        ) as stream:
            assert (await anext(aiter(stream))).choices
            waiting = asyncio.ensure_future(anext(aiter(stream)))
            await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.wait([waiting])
            assert waiting.cancelled()

    asyncio.run(main())
    assert hw.in_flight == 1
    hw._portal.call_soon(gated.goes_on.set)
    hw.close()
    assert (row(world).outcome, row(world).certainty) == ("drained", "exact")
    assert world.ended_once()


def test_a_break_in_the_rest_is_booked_as_one(hw, chat, world, gated):
    """What goes wrong behind a caller's back is in the books under its own name."""
    gated.fault, gated.fault_after = StreamTruncated("cut"), 2
    chat.stream(most=1, client={"api_key": KEY})
    hw._portal.call_soon(gated.goes_on.set)
    hw.close()

    assert row(world).outcome == world.journal.outcomes[0] == "upstream_stream_truncated"
    assert world.ended_once()


def test_the_rest_waits_for_nobody(hw, chat, world, gated):
    """More than may wait for a reader is read on without one, and dropped."""
    gated._pieces = [EVENTS[0], *([LONG] * 10), *EVENTS[1:]]
    chat.stream(most=1, client={"api_key": KEY})
    hw._portal.call_soon(gated.goes_on.set)
    hw.close()

    assert (row(world).outcome, row(world).certainty) == ("drained", "exact")


def test_an_answer_that_is_dropped_unread(hw, world, gated):
    """An answer that nobody took a piece of, and that waits for its reader, is read on as well."""
    gated._pieces = [EVENTS[0], *([LONG] * 3), *EVENTS[1:]]
    gated.goes_on.set()
    client = hw.openai(api_key=KEY)
    answer = client.chat.completions.create(model="m", messages=MESSAGES, stream=True)
    assert hw.in_flight == 1
    del answer
    gc.collect()
    hw.close()

    assert (row(world).outcome, row(world).certainty) == ("drained", "exact")


def test_more_than_the_largest_answer_is_not_read_for_nobody(hw, chat, world, gated):
    """A stream without an end is cut when it has grown beyond `server.max_answer`."""
    piece = EVENTS[0].replace(b"Hel", b"x" * 100_000)
    gated._pieces = [EVENTS[0], *([piece] * 40)]
    chat.stream(most=1, client={"api_key": KEY})
    hw._portal.call_soon(gated.goes_on.set)
    hw.close()

    assert (row(world).outcome, row(world).certainty) == ("abandoned", "estimated")
    assert 1_000_000 < row(world).usage.output < 1_300_000
    assert world.ended_once()


def test_without_the_policy_the_attempt_ends_with_its_caller(hw, chat, world, gated):
    """A key that says nothing cancels: nothing runs on when the stream is closed."""
    world.engine = replace(world.engine, keys=TrustedKeys(MemoryKeys({KEY: Caller("shop", "k1")})))
    chat.stream(most=1, client={"api_key": KEY})

    assert (hw.in_flight, world.limits.taken) == (0, 0)
    assert row(world).outcome == "abandoned"
    assert world.ended_once()
