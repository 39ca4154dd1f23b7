"""After a failure: wait as long as needed, never longer than worth it, never in vain."""

import math
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headworks.core.backoff import Backoff, Situation, Step, held_back
from headworks.errors import Retry
from headworks.types import Refusal

NEVER, ONCE = Retry.NEVER, Retry.ONCE
SAME, OTHER = Retry.SAME_ROUTE, Retry.OTHER_ROUTE
NEXT = Step(other_route=True)


def again(wait: float) -> Step:
    return Step(other_route=False, wait=wait)


def only_one(remaining: float) -> Situation:
    return Situation(1, 1, has_other=False, patience=5.0, remaining=remaining)


def one_of_many(remaining: float) -> Situation:
    return Situation(1, 1, has_other=True, patience=5.0, remaining=remaining)


@dataclass(frozen=True)
class Case:
    id: str
    retry: Retry
    step: Step | None
    attempts: int = 1
    here: int = 1
    has_other: bool = True
    patience: float = 5.0
    remaining: float = 100.0
    retry_after: float | None = None


CASES = [
    Case("a transient failure is tried again", SAME, again(0.25)),
    Case("the wait doubles", SAME, again(0.5), attempts=2),
    Case("a second failure here goes elsewhere", SAME, NEXT, attempts=2, here=2),
    Case("or stays where nothing else is", SAME, again(0.5), attempts=2, here=2, has_other=False),
    Case("Retry-After is a floor", SAME, again(3.0), retry_after=3.0),
    Case("a short Retry-After does not shorten the wait", SAME, again(0.25), retry_after=0.1),
    Case("a wait beyond the patience goes elsewhere at once", SAME, NEXT, retry_after=6.0),
    Case("an only route is worth a longer wait", SAME, again(30.0), has_other=False, retry_after=30.0),
    Case("but not any", SAME, None, has_other=False, retry_after=61.0),
    Case("nobody waits beyond the deadline", SAME, None, has_other=False, remaining=2.0, retry_after=3.0),
    Case("elsewhere instead", SAME, NEXT, remaining=0.1),
    Case("a route that cannot help is left at once", OTHER, NEXT),
    Case("with nowhere to go it ends", OTHER, None, has_other=False),
    Case("the caller's fault ends it", NEVER, None),
    Case("what may be a mishap is tried once more", ONCE, again(0.25), has_other=False),
    Case("and no more", ONCE, None, attempts=2, here=2, has_other=False),
    Case("nor elsewhere", ONCE, None, attempts=2),
    Case("three attempts are all", SAME, None, attempts=3),
    Case("over all routes", OTHER, None, attempts=3),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_the_next_step(case):
    """Each situation has one answer."""
    at = Situation(case.attempts, case.here, case.has_other, case.patience, case.remaining)

    assert Backoff().next(case.retry, case.retry_after, 0.5, at) == case.step


@given(st.integers(1, 50), st.floats(0, 1, exclude_max=True))
def test_waits_are_bounded(attempts, jitter):
    """Without a Retry-After no wait exceeds the longest."""
    assert 0 <= Backoff().delay(attempts, jitter, None) <= 8.0


@pytest.mark.parametrize(
    ("refusal", "at", "step"),
    [
        (Refusal("cooling", 30.0), only_one(100.0), again(30.0)),
        (Refusal("cooling", 3.0), one_of_many(100.0), again(3.0)),
        (Refusal("cooling", 6.0), one_of_many(100.0), NEXT),
        (Refusal("cooling", 3.0), one_of_many(2.0), NEXT),
        (Refusal("cooling", 61.0), only_one(100.0), None),
        (Refusal("cooling", 30.0), only_one(20.0), None),
        (Refusal("cooling", 20.0), only_one(20.0), None),
        (Refusal("budget", math.inf), only_one(20.0), None),
        (Refusal("open", 3.0), only_one(20.0), None),
        (Refusal("open", 3.0), one_of_many(20.0), NEXT),
    ],
)
def test_a_route_that_keeps_calls_back(refusal, at, step):
    """A pause is waited for within the patience, or where there is no other route to ask."""
    assert held_back(refusal, at) == step
