"""A second attempt beside one that is late: who is asked, who wins, who pays."""

import asyncio
from dataclasses import dataclass
from functools import partial

import pytest

from headworks.core.retry_budget import BudgetRules
from headworks.errors import (
    ConnectFailed,
    ConnectionLost,
    DeadlineExceeded,
    FirstByteTimeout,
    LedgerUnavailable,
)
from headworks.stores.health_track import HealthRules
from headworks.testing import WHOLE
from headworks.types import Presence, Refusal, Route
from tests.drill import answered
from tests.hedges import FIRST, LONG, SECOND, Stage, Turn
from tests.policies import refused

A, B = str(FIRST), str(SECOND)


def test_who_answers_in_time_is_asked_once():
    """A route that is not late costs what it always costs."""
    stage = Stage(Turn(1.9))

    assert stage.call() == WHOLE
    assert stage.sent == [(A, 0.0)]
    assert stage.seconds == pytest.approx(1.9)
    assert stage.rows == [(A, "completed", "exact")]
    assert stage.trail == []
    assert stage.world.journal.calls[0].hedge == ""


def test_the_second_attempt_wins():
    """What is late is overtaken: the caller waits for the faster of both, and for no more."""
    stage = Stage(Turn(LONG), Turn(0.5))

    assert stage.call() == WHOLE
    assert stage.sent == [(A, 0.0), (B, 2.0)]
    assert stage.seconds == pytest.approx(2.5)
    call = stage.world.journal.calls[0]
    assert (call.hedge, call.route, call.attempts, call.outcome) == ("won", SECOND, 2, "completed")
    assert call.waited == pytest.approx(2.5)
    assert stage.response is not None
    fields = dict(stage.response.headers)
    assert fields[b"x-headworks-route"] == B.encode()
    assert fields[b"x-headworks-attempts"] == b"2"
    assert fields[b"x-headworks-trail"] == f"{A} superseded".encode()


def test_the_loser_is_cancelled_at_once_and_booked():
    """The late attempt is closed with the answer of the other one; both are paid, each in its row."""
    stage = Stage(Turn(LONG), Turn(0.5))
    stage.call()

    assert stage.upstream.visits[0].left == pytest.approx(stage.begun + 2.5, abs=1e-6)
    assert stage.rows == [(A, "superseded", "unknown"), (B, "completed", "exact")]
    late, won = stage.world.ledger.rows
    assert (late.attempt, late.usage, won.attempt) == (1, late.estimate, 2)
    assert stage.world.journal.calls[0].cost == 110 + 7
    assert stage.world.journal.calls[0].usage == won.usage
    assert stage.trail == [(A, "superseded", "superseded", "other attempt", "answered first")]


def test_the_first_attempt_may_still_win():
    """Whoever answers first wins; an extra attempt that brought nothing is told and paid too."""
    stage = Stage(Turn(2.2), Turn(5.0))

    assert stage.call() == WHOLE
    assert stage.seconds == pytest.approx(2.2)
    assert stage.rows == [(A, "completed", "exact"), (B, "superseded", "unknown")]
    assert stage.trail == [(B, "superseded", "superseded", "other attempt", "answered first")]
    call = stage.world.journal.calls[0]
    assert (call.hedge, call.route, call.attempts) == ("lost", FIRST, 2)
    assert call.waited == pytest.approx(2.2)


def test_a_draw_has_one_winner():
    """Two answers at one moment: the caller gets one, the other is closed and booked as it was."""
    stage = Stage(Turn(3.0), Turn(1.0))

    assert stage.call() == WHOLE
    assert stage.rows == [(A, "completed", "exact"), (B, "superseded", "exact")]


@pytest.mark.parametrize(("make", "expected"), [(None, [A]), (FirstByteTimeout, [A, B])])
def test_what_ends_as_it_gets_late_has_nothing_beside_it(make, expected):
    """An answer, or a failure, that comes just in time is followed by what always follows."""
    stage = Stage(Turn(2.0, make), Turn())

    assert stage.call() == WHOLE
    assert [where for where, _ in stage.sent] == expected
    assert stage.world.journal.calls[0].hedge == ""


@dataclass(frozen=True)
class Case:
    id: str
    turns: tuple[Turn, ...]
    sent: list[tuple[str, float]]
    rows: list[tuple[str, str]]
    trail: list[tuple[str, str, str]]
    answer: bytes = WHOLE


LOST, LATE, UNSENT, OVER = ConnectionLost, FirstByteTimeout, ConnectFailed, DeadlineExceeded
DOWN, WRONG, POOR = (
    partial(answered, 500),
    partial(refused, 400, "invalid_value"),
    partial(refused, 404, "model_not_found"),
)
GOES_ON = "other attempt"
CASES = [
    Case("the first fails, the second goes on", (Turn(3.0, LOST), Turn(2.0)), [(A, 0), (B, 2)],
        [(A, "upstream_connection_lost"), (B, "completed")], [(A, "connection", GOES_ON)]),
    Case("the second fails, the first goes on", (Turn(4.0), Turn(1.0, POOR)), [(A, 0), (B, 2)],
        [(A, "completed"), (B, "model_not_found")], [(B, "model", GOES_ON)]),
    Case("the first fails before it is late", (Turn(1.0, LATE), Turn(0.5)), [(A, 0), (B, 1)],
        [(A, "upstream_first_byte_timeout"), (B, "completed")], [(A, "timeout", "other route")]),
    Case("both fail, and the later decides", (Turn(3.0, LATE), Turn(2.0, UNSENT), Turn()), [(A, 0), (B, 2), (B, 4)],
        [(A, "upstream_first_byte_timeout"), (B, "upstream_unreachable"), (B, "completed")],
        [(A, "timeout", GOES_ON), (B, "connection", "same route")]),
    Case("both fail, and what a provider says decides", (Turn(3.0, DOWN), Turn(2.0, LATE), Turn()), [(A, 0), (B, 2), (A, 4)],
        [(A, "c"), (B, "upstream_first_byte_timeout"), (A, "completed")],
        [(B, "timeout", GOES_ON), (A, "server_error", "same route")]),
    Case("the request is wrong", (Turn(3.0, WRONG), Turn(LONG)), [(A, 0), (B, 2)],
        [(A, "invalid_value"), (B, "abandoned")], [(B, "abandoned", "nothing"), (A, "request", "nothing")], b"invalid_value"),
    Case("it is wrong for another model only", (Turn(4.0), Turn(1.0, WRONG)), [(A, 0), (B, 2)],
        [(A, "completed"), (B, "invalid_value")], [(B, "request", GOES_ON)]),
    Case("another model's refusal is not the last word", (Turn(4.0, LOST), Turn(1.0, WRONG), Turn()), [(A, 0), (B, 2), (A, 4)],
        [(A, "upstream_connection_lost"), (B, "invalid_value"), (A, "completed")],
        [(B, "request", GOES_ON), (A, "connection", "same route")]),
    Case("the time of both is up", (Turn(3.0, OVER), Turn(LONG)), [(A, 0), (B, 2)],
        [(A, "deadline_exceeded"), (B, "abandoned")],
        [(B, "abandoned", "nothing"), (A, "timeout", "nothing")], b"deadline_exceeded"),
    Case("three attempts are all", (Turn(3.0, LOST), Turn(2.0, LOST), Turn(1.0, LOST)), [(A, 0), (B, 2), (B, 4)],
        [(A, "upstream_connection_lost"), (B, "upstream_connection_lost"), (B, "upstream_connection_lost")],
        [(A, "connection", GOES_ON), (B, "connection", "same route"), (B, "connection", "nothing")], b"all_routes_failed"),
    Case("after one failure there is room for a pair", (Turn(0.0, LATE), Turn(LONG), Turn(0.5)), [(A, 0), (B, 0), (B, 2)],
        [(A, "upstream_first_byte_timeout"), (B, "superseded"), (B, "completed")],
        [(A, "timeout", "other route"), (B, "superseded", GOES_ON)]),
    Case("after two there is none", (Turn(0.0, LATE), Turn(0.0, LOST), Turn(9.0)), [(A, 0), (B, 0), (B, 0)],
        [(A, "upstream_first_byte_timeout"), (B, "upstream_connection_lost"), (B, "completed")],
        [(A, "timeout", "other route"), (B, "connection", "same route")]),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_failures_of_a_pair(case):
    """One fails, the other goes on; both fail, the more telling failure decides what follows."""
    stage = Stage(*case.turns)
    stage.world.random.random = lambda: 0.0  # type: ignore[method-assign] # no wait between attempts

    assert stage.call() == case.answer
    assert [(where, pytest.approx(when)) for where, when in stage.sent] == case.sent
    assert [row[:2] for row in stage.rows] == case.rows
    assert [(where, failure, next_) for where, failure, _, next_, _ in stage.trail] == case.trail
    assert stage.world.journal.calls[0].attempts == len(case.sent) <= 3


# Whether a second attempt is made at all, and where.


def test_the_route_beside_is_the_next_that_works():
    """A route that is open is passed over; where no other works the same one is asked once more."""
    both = Stage(Turn(LONG), Turn(), routes=(FIRST, SECOND, Route("third", "big", "main")))
    both.world.health.adopt(
        {"first": HealthRules(), "second": HealthRules(), "third": HealthRules()}
    )
    both.world.health.force("second", "open")
    alone = Stage(Turn(LONG), Turn())
    alone.world.health.adopt({"first": HealthRules(), "second": HealthRules()})
    alone.world.health.force("second", "open")

    assert (both.call(), alone.call()) == (WHOLE, WHOLE)
    assert [where for where, _ in both.sent] == [A, "third/big"]
    assert [where for where, _ in alone.sent] == [A, A]
    assert alone.trail == [(A, "superseded", "superseded", "other attempt", "answered first")]


def test_an_only_route_is_asked_twice_at_once():
    """A model with one route hedges too: another connection may have a better day."""
    stage = Stage(Turn(LONG), Turn(0.5), routes=(FIRST,))

    assert stage.call() == WHOLE
    assert stage.sent == [(A, 0.0), (A, 2.0)]
    assert [row.attempt for row in stage.world.ledger.rows] == [1, 2]


def test_both_failing_on_an_only_route_count_as_two():
    """A pair on one route is two of its three attempts."""
    stage = Stage(Turn(3.0, LOST), Turn(2.0, LOST), Turn(0.0, LOST), routes=(FIRST,))
    stage.world.random.random = lambda: 0.0  # type: ignore[method-assign] # no wait between attempts

    assert stage.call() == b"upstream_connection_lost"
    assert [where for where, _ in stage.sent] == [A, A, A]


def test_the_retry_budget_is_obeyed():
    """An upstream whose retries are used up gets no second attempt, and none is counted."""
    stage = Stage(Turn(9.0), routes=(FIRST,))
    stage.world.health.adopt({"first": HealthRules(budget=BudgetRules(0.0, 0.0))})

    assert stage.call() == WHOLE
    assert stage.sent == [(A, 0.0)]
    assert stage.world.journal.calls[0].hedge == ""


def test_a_route_that_rests_is_not_asked_beside_another():
    """A limit without advice holds for second attempts too: they would only meet it again."""
    stage = Stage(Turn(9.0))
    admission = stage.world.health.admit(SECOND)
    assert not isinstance(admission, Refusal)

    async def limit() -> bytes:
        task = asyncio.ensure_future(stage.carry())
        await asyncio.sleep(1.5)
        admission.settle(answered(429, "rate_limit"))
        return await task

    assert stage.run(limit()) == WHOLE
    assert [where for where, _ in stage.sent] == [A, A]


def test_a_fallbacks_misfit_does_not_end_a_pair():
    """The same model elsewhere may not know a parameter: the attempt beside it goes on."""
    elsewhere = Route("second", FIRST.model, "main")
    unfit = partial(refused, 400, "unsupported_parameter")
    stage = Stage(Turn(4.0), Turn(1.0, unfit), routes=(FIRST, elsewhere))
    pair = Stage(Turn(4.0, LOST), Turn(1.0, unfit), Turn())
    pair.world.random.random = lambda: 0.0  # type: ignore[method-assign] # no wait between attempts

    assert (stage.call(), pair.call()) == (WHOLE, WHOLE)
    assert [row[:2] for row in stage.rows] == [
        (A, "completed"),
        (str(elsewhere), "unsupported_parameter"),
    ]
    assert pair.sent == [(A, 0.0), (B, 2.0), (A, 4.0)]


def test_a_second_attempt_draws_on_the_retry_budget():
    """What is asked for speed is no first request of its upstream."""
    stage = Stage(Turn(LONG), Turn())
    stage.call()

    found = {one.name: (one.requests, one.retries) for one in stage.world.health.statistics()}
    assert found == {"first": (1, 0), "second": (0, 1)}


@pytest.mark.parametrize(
    "fields", [{"conversation": "c"}, {"background": True}], ids=["conversation", "background"]
)
def test_what_has_effects_is_never_sent_twice_at_once(fields):
    """A request that does something at the provider has one attempt at a time."""
    stage = Stage(Turn(9.0))

    assert stage.call(**fields) == WHOLE
    assert stage.sent == [(A, 0.0)]


def test_nothing_is_begun_for_a_caller_who_has_left():
    """An attempt that is drained for nobody is not hurried."""
    stage = Stage(Turn(9.0))

    async def leave() -> None:
        presence = Presence()
        task = asyncio.ensure_future(stage.carry(presence))
        await asyncio.sleep(1.0)
        presence.is_gone = True
        await task

    stage.run(leave())
    assert stage.sent == [(A, 0.0)]


def test_a_ledger_that_cannot_hold_the_second_spoils_nothing():
    """What cannot be booked is not sent; the first attempt goes on."""
    stage = Stage(Turn(5.0))

    async def fail() -> bytes:
        task = asyncio.ensure_future(stage.carry())
        await asyncio.sleep(1.0)
        stage.world.ledger.fault = LedgerUnavailable()
        return await task

    assert stage.run(fail()) == WHOLE
    assert stage.sent == [(A, 0.0)]
    assert stage.trail == [
        (B, "abandoned", "ledger_unavailable", "other attempt", "sent beside it")
    ]
