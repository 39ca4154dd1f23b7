"""A call takes the best route that works, and waits only where nothing better is to be had."""

import math
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headworks.core.selection import SPREAD, Choice, choose, is_near, unavailable
from headworks.types import Refusal, Route

BIG, BIG_TOO, SMALL = Route("a", "big", "one"), Route("a", "big", "two"), Route("b", "small", "one")
OPEN, QUOTA, BUDGET = Refusal("open", 1.0), Refusal("quota", 300.0), Refusal("budget", math.inf)


def cooling(seconds: float) -> Refusal:
    return Refusal("cooling", seconds)


@dataclass(frozen=True)
class Case:
    id: str
    refusals: tuple[Refusal | None, ...]
    choice: Choice | None
    routes: tuple[Route, ...] = (BIG, SMALL)
    remaining: float = 100.0


CASES = [
    Case("the first that works", (None, None), Choice(0)),
    Case("an open one is passed over at once", (OPEN, None), Choice(1)),
    Case("so is one without quota", (QUOTA, None), Choice(1)),
    Case("and one asked too often", (BUDGET, None), Choice(1)),
    Case("a short pause is worth the better model", (cooling(4), None), Choice(0, 4)),
    Case("just as long as it is worth", (cooling(5), None), Choice(0, 5)),
    Case("a long one is not", (cooling(6), None), Choice(1)),
    Case("nor one up to the deadline", (cooling(4), None), Choice(1), remaining=4),
    Case("the same model elsewhere needs no pause", (cooling(1), None), Choice(1), (BIG, BIG_TOO)),
    Case("before a lesser one it is waited for", (OPEN, cooling(1), None), Choice(1, 1), (BIG, BIG_TOO, SMALL)),
    Case("where none works, the soonest", (cooling(30), cooling(20)), Choice(1, 20)),
    Case("an open one is not waited for", (OPEN, cooling(20)), Choice(1, 20)),
    Case("nobody waits for longer than a minute", (cooling(61), OPEN), None),
    Case("nor beyond the deadline for the last", (cooling(20), OPEN), None, remaining=19),
    Case("nothing is left", (OPEN, QUOTA), None),
    Case("there is none", (), None, ()),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_the_choice(case):
    """Each situation has one answer."""
    assert choose(case.routes, case.refusals, 5.0, case.remaining) == case.choice


@pytest.mark.parametrize(
    ("refusals", "held", "choice"),
    [
        ((cooling(4), None), 0.5, Choice(0, 4)),
        ((cooling(4), None), 1.5, Choice(1)),
        ((cooling(20), OPEN), 40.0, Choice(0, 20)),
        ((cooling(20), OPEN), 40.5, None),
    ],
)
def test_waits_add_up(refusals, held, choice):
    """A call that has waited for a route that paused waits only for the rest of what that is worth."""
    assert choose((BIG, SMALL), refusals, 5.0, 100.0, held) == choice


@pytest.mark.parametrize(
    ("refusals", "code", "retry_after"),
    [
        ([OPEN, Refusal("open", 0.5)], "circuit_open", 0.5),
        ([QUOTA, OPEN, cooling(70)], "circuit_open", 1.0),
        ([Refusal("open", math.inf)], "circuit_open", None),
        ([cooling(70), cooling(80)], "upstream_cooling_down", 70),
        ([QUOTA, cooling(400)], "upstream_cooling_down", 300),
    ],
)
def test_what_a_caller_is_told_where_no_route_works(refusals, code, retry_after):
    """The reason, and the soonest moment at which coming back may help."""
    error = unavailable(refusals, 0.0)
    assert (error.code, error.retry_after) == (code, retry_after)


def test_callers_of_a_failing_route_come_back_one_by_one():
    """What they are told differs by chance; a pause that a provider asked for is told as it is."""
    assert unavailable([Refusal("open", 2.0)], 0.5).retry_after == 2.0 + 0.5 * SPREAD
    assert unavailable([cooling(70)], 0.5).retry_after == 70


def test_an_empty_account_is_told_as_such():
    """Nobody looks for a mistake in their own key."""
    assert "no quota left" in str(unavailable([QUOTA], 0.0))
    assert "pause" in str(unavailable([cooling(70)], 0.0))


@pytest.mark.parametrize(
    ("refusal", "near"),
    [(None, True), (cooling(5), True), (cooling(5.1), False), (OPEN, False), (BUDGET, False)],
)
def test_what_is_soon_enough(refusal, near):
    """A route that works, or pauses for no longer than it is worth."""
    assert is_near(refusal, 5.0) is near


refusals_ = st.one_of(
    st.none(),
    st.builds(
        Refusal, st.sampled_from(["open", "cooling", "quota", "budget"]), st.floats(0.01, 100)
    ),
)


@given(st.lists(st.tuples(st.sampled_from([BIG, BIG_TOO, SMALL]), refusals_)), st.floats(0, 100))
def test_nobody_waits_in_vain(routes, remaining):
    """A route that works is always used; before one that works no wait exceeds the patience."""
    refusals = [refusal for _, refusal in routes]
    choice = choose([route for route, _ in routes], refusals, 5.0, remaining)
    if None in refusals:
        assert choice is not None
        assert choice.index <= refusals.index(None)
        assert choice.wait <= 5
    if choice is not None:
        refusal = refusals[choice.index]
        assert choice.wait == (0 if refusal is None else refusal.wait)
        assert choice.wait == 0 or choice.wait < remaining
