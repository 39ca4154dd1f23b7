"""However a call that hedges ends, in streams, in time or not: both attempts are over by then."""

import asyncio
import gc
from contextlib import suppress
from functools import partial

import pytest
from typing_extensions import override

from headworks.errors import (
    ConnectionLost,
    FirstByteTimeout,
)
from headworks.testing import EVENTS, WHOLE, FakeResponse
from headworks.types import Commit, Hedge
from tests.hedges import FIRST, LONG, SECOND, Slow, Stage, Turn
from tests.policies import FULL, ROLE

A, B = str(FIRST), str(SECOND)
LOST, LATE = ConnectionLost, FirstByteTimeout


def test_a_stream_that_has_begun_is_not_overtaken():
    """From its first content on a stream is its caller's, however slow the rest of it is."""
    slow = partial(Slow, EVENTS, waits=(1.0, 60.0, 60.0))
    stage = Stage(Turn(0.5, slow))

    assert stage.call(stream=True) == FULL
    assert stage.sent == [(A, 0.0)]


def test_a_stream_that_only_announces_itself_is_late():
    """Roles and keep-alives are no answer; whoever says something first wins, spliced with nothing."""
    made: list[Slow] = []

    def announcing() -> Slow:
        made.append(Slow([ROLE, *EVENTS], waits=(0.0, LONG)))
        return made[-1]

    stage = Stage(Turn(0.5, announcing), Turn(0.5))

    assert stage.call(stream=True) == FULL
    assert stage.seconds == pytest.approx(2.5)
    assert made[0].closed_at == pytest.approx(stage.begun + 2.5, abs=1e-6)
    assert stage.rows == [(A, "superseded", "estimated"), (B, "completed", "exact")]


def test_what_a_loser_has_said_is_booked():
    """A stream held back until its end that loses is paid for what came of it."""
    stage = Stage(
        Turn(0.0, partial(Slow, EVENTS, waits=(0.0, 0.0, LONG))), Turn(), commit=Commit(None)
    )

    assert stage.call(stream=True) == FULL
    (late, _) = stage.world.ledger.rows
    assert (late.outcome, late.certainty, late.usage.output) == ("superseded", "estimated", 6)
    assert stage.world.journal.calls[0].usage.output == 4


def test_a_winner_that_breaks_later_ends_the_stream_with_an_error():
    """After the commit point nothing is repeated: the loser is gone by then."""
    broken = partial(FakeResponse, EVENTS, fault=LOST(), fault_after=1)
    stage = Stage(Turn(LONG), Turn(0.0, broken))

    assert b"upstream_connection_lost" in stage.call(stream=True)
    assert [row[1] for row in stage.rows] == ["superseded", "upstream_connection_lost"]


def test_the_deadline_bounds_both():
    """A pair ends with its call's time, and the trail says at its end where the time went."""
    stage = Stage(Turn(LONG), Turn(LONG))

    assert stage.call() == b"deadline_exceeded"
    assert stage.seconds == pytest.approx(600.0)
    assert [row[1:] for row in stage.rows] == [("deadline_exceeded", "unknown")] * 2
    over = ("timeout", "deadline_exceeded", "nothing", "the call's time is up")
    assert stage.trail == [(B, *over), (A, *over)]


def test_the_trail_of_a_single_attempt_says_where_the_time_went():
    """A call whose time is up names the route that it was waiting for."""
    stage = Stage(Turn(1.0, LATE), Turn(LONG), hedge=Hedge(after=None))

    assert stage.call() == b"deadline_exceeded"
    assert stage.trail == [
        (A, "timeout", "upstream_first_byte_timeout", "other route", "this route cannot"),
        (B, "timeout", "deadline_exceeded", "nothing", "the call's time is up"),
    ]


def test_a_second_attempt_has_the_time_that_is_left():
    """Both attempts end by the same clock."""
    stage = Stage(Turn(LONG), Turn())
    stage.call()

    first, second = stage.upstream.visits
    assert first.remaining == 600.0
    assert second.remaining == pytest.approx(598.0)


def test_a_defect_in_one_attempt_ends_the_call():
    """What nobody foresaw is never hidden by the other attempt, which is closed."""
    stage = Stage(Turn(3.0, partial(RuntimeError, "a defect")), Turn(LONG))

    with pytest.raises(RuntimeError, match="a defect"):
        stage.call()
    assert [row[1] for row in stage.rows] == ["abandoned", "abandoned"]


def test_a_defect_in_what_was_given_up_is_logged(caplog):
    """A loser that cannot even be closed spoils nothing, and is told to the operator."""

    class Stuck(Slow):
        @override
        async def aclose(self) -> None:
            await super().aclose()
            raise RuntimeError("a defect")

    stage = Stage(Turn(0.0, partial(Stuck, WHOLE, waits=(LONG,))), Turn())

    assert stage.call() == WHOLE
    assert "an attempt that was given up failed unforeseen" in caplog.text


SCENES = {
    "both wait": (Turn(LONG), Turn(LONG)),
    "the first wins": (Turn(2.5), Turn(LONG)),
    "the second wins": (Turn(LONG), Turn(0.5)),
    "a draw": (Turn(2.5), Turn(0.5)),
    "the first fails": (Turn(2.5, LOST), Turn(1.0)),
    "both fail": (Turn(2.5, LOST), Turn(1.0, LATE), Turn(1.0)),
    "streams": (Turn(0.0, partial(Slow, [ROLE, *EVENTS], waits=(0.0, 2.5, 0.5))), Turn(0.5)),
}


def cancelling(stage: Stage, when: float, turns: int, again: int | None) -> bool:
    """Cancel a caller's task so many turns of the loop after a time; return whether it still ran."""

    async def scene() -> bool:
        task = asyncio.ensure_future(stage.carry(stream=True))
        await asyncio.sleep(when)
        for _ in range(turns):
            await asyncio.sleep(0)
        is_running = task.cancel()
        if again is not None:
            for _ in range(again):
                await asyncio.sleep(0)
            task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        return is_running

    return bool(stage.run(scene()))


@pytest.mark.parametrize("again", [None, 0, 1, 2, 3], ids=lambda again: f"again after {again}")
@pytest.mark.parametrize("turns", SCENES.values(), ids=SCENES)
def test_cancelled_at_any_moment(turns, again):
    """Whenever the caller leaves, even twice, both attempts end: booked, closed, forgotten, once."""
    moments = [0.0, 1.0, 2.0, 2.3, 2.5, 3.0, 3.5, 4.0]
    running = 0
    for when in moments:
        for number in range(14):
            stage = Stage(*turns)
            running += cancelling(stage, when, number, again)
            (call,) = stage.world.journal.calls
            assert call.ended is not None
            assert len(stage.world.ledger.rows) == call.attempts
            assert 0 <= call.attempts - sum(bool(one.code) for one in call.trail) <= 1
    assert running > 30


def test_a_caller_who_leaves_closes_both_at_once():
    """Nobody works on for a caller who has gone; each attempt has its line and its row."""
    stage = Stage(Turn(LONG), Turn(LONG))
    cancelling(stage, 3.0, 0, None)

    assert [one.left for one in stage.upstream.visits] == [stage.begun + 3.0] * 2
    assert [row[1:] for row in stage.rows] == [("abandoned", "unknown")] * 2
    call = stage.world.journal.calls[0]
    assert (call.attempts, call.route, call.outcome, call.hedge) == (2, FIRST, "abandoned", "lost")
    assert stage.trail == [(B, "abandoned", "abandoned", "nothing", "the call ended")]


@pytest.mark.parametrize("turns", [(Turn(0.1),), (Turn(LONG), Turn(0.1)), (Turn(2.1), Turn(LONG))])
def test_hedged_calls_make_no_cycles(turns):
    """What a pair needed is freed when it ends, by reference counts alone."""
    stage = Stage()

    async def calls(count: int) -> None:
        for _ in range(count):
            stage.upstream.turns = list(turns)
            await stage.carry()

    async def count_garbage() -> int:
        await calls(20)
        gc.collect()
        gc.disable()
        try:
            await calls(50)
            return gc.collect()
        finally:
            gc.enable()

    assert stage.run(count_garbage()) < 50
