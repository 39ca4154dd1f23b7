"""A route that fails is left alone, asked again soon, and used again as soon as it works."""

import math
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from headworks.core.breaker import (
    JITTER,
    LAST_WAIT,
    NEVER_OPEN,
    REFUSED,
    WINDOW,
    Breaker,
    BreakerRules,
)

PLAIN = BreakerRules()
SLOW = BreakerRules(slow=1.0)


def broken(now: float = 100.0, rules: BreakerRules = PLAIN) -> Breaker:
    """Return a breaker that has just opened, without jitter."""
    breaker = Breaker(rules, now)
    feed(breaker, "x" * 20, now)
    assert breaker.state == "open"
    return breaker


def state_of(breaker: Breaker) -> str:
    """Return the state, which mypy does not know to change."""
    return breaker.state


def feed(breaker: Breaker, outcomes: str, now: float, apart: float = 0.0) -> float:
    """Make calls one after another, as `tell` spells their ends; return the time."""
    for outcome in outcomes:
        tell(breaker, breaker.admit(now), outcome, now)
        now += apart
    return now


def tell(breaker: Breaker, era: int, outcome: str, now: float, jitter: float = 0.0) -> None:
    """End a call: "." is well, "x" failed, "s" slow, "g" its caller has gone, "h" it hangs."""
    if outcome == ".":
        breaker.succeeded(era, now)
    elif outcome == "x":
        breaker.failed(era, now, jitter)
    elif outcome == "s":
        breaker.was_slow(era, now, jitter)
    elif outcome == "g":
        breaker.abandoned(era)


@dataclass(frozen=True)
class Case:
    id: str
    outcomes: str
    state: str
    apart: float = 0.0
    rules: BreakerRules = PLAIN


CASES = [
    Case("nothing has happened", "", "closed"),
    Case("all goes well", "." * 1000, "closed"),
    Case("too few calls prove nothing", "x" * 19, "closed"),
    Case("twenty failures", "x" * 20, "open"),
    Case("half of them", ".x" * 10, "open"),
    Case("fewer than half", ".x" * 9 + "..x", "closed"),
    Case("failures after a long good time", "." * 100 + "x" * 99, "closed"),
    Case("until they are half", "." * 100 + "x" * 100, "open"),
    Case("so rare that the window never holds twenty", "x" * 100, "closed", apart=2.0),
    Case("rare, but twenty in the window", "x" * 20, "open", apart=1.4),
    Case("a good time that is over counts no more", "." * 30 + "x" * 20, "open", apart=1.0),
    Case("slow is not failed", "s" * 15 + "....." , "closed", rules=SLOW),
    Case("four of five are slow", "." * 4 + "s" * 16, "open", rules=SLOW),
    Case("three of four are slow", ".sss" * 20, "closed", rules=SLOW),
    Case("fewer calls may be enough", "xx", "open", rules=BreakerRules(calls=2)),
    Case("a smaller share may be enough", "." * 90 + "x" * 10, "open", rules=BreakerRules(failures=0.1)),
    Case("switched off", "x" * 1000, "closed", rules=NEVER_OPEN),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_when_it_opens(case):
    """It opens at the share of failures that was set, and never on too few calls."""
    breaker = Breaker(case.rules, 100.0)
    feed(breaker, case.outcomes, 100.0, case.apart)
    assert breaker.state == case.state


def test_it_waits_longer_each_time_it_fails_again():
    """5 s, 10 s, 20 s, 40 s, then a minute at a time; once it has closed, 5 s again."""
    breaker, now, waits = broken(), 100.0, list[float]()
    for _ in range(6):
        waits.append(breaker.retry_after(now))
        assert breaker.admit(now + waits[-1] - 0.01) == REFUSED
        now += waits[-1]
        feed(breaker, "x", now)
    assert waits == [5, 10, 20, 40, 60, 60]
    now = feed(breaker, "...", now + 60)
    assert breaker.state == "closed"
    feed(breaker, "x" * 20, now)
    assert breaker.retry_after(now) == 5


@given(st.floats(0, 1, exclude_max=True))
def test_chance_only_prolongs_the_wait(jitter):
    """Several gateways do not come back together, and none comes back sooner than it may."""
    breaker = Breaker(PLAIN, 100.0)
    for _ in range(20):
        breaker.failed(breaker.admit(100.0), 100.0, jitter)
    assert breaker.retry_after(100.0) == pytest.approx(5 * (1 + JITTER * jitter))
    assert breaker.retry_after(100.0) >= 5


def test_three_probes_and_no_more():
    """When the wait is over, three calls are let through to see; the others are kept back."""
    breaker = broken()
    eras = [breaker.admit(105.0) for _ in range(10)]
    assert [era != REFUSED for era in eras] == [True] * 3 + [False] * 7
    assert state_of(breaker) == "half-open"
    assert breaker.retry_after(105.0) == LAST_WAIT
    for era in eras[:2]:
        breaker.succeeded(era, 106.0)
    assert (state_of(breaker), breaker.admit(106.0)) == ("half-open", REFUSED)
    breaker.succeeded(eras[2], 106.0)
    assert state_of(breaker) == "closed"
    assert breaker.counts(106.0) == (0, 0, 0)


@pytest.mark.parametrize("outcome", ["x", "s"])
def test_a_bad_probe_opens_it_again(outcome):
    """One probe that fails, or is late, is enough; what the others bring comes too late."""
    breaker = broken()
    first, second = breaker.admit(105.0), breaker.admit(105.0)
    feed(breaker, outcome, 105.0)
    assert breaker.state == "open"
    assert breaker.retry_after(105.0) == 10
    breaker.succeeded(first, 105.1)
    breaker.failed(second, 105.1, 0.0)
    assert breaker.retry_after(105.0) == 10
    assert breaker.opened == 2


def test_a_probe_that_proved_nothing_is_replaced():
    """A caller who leaves, or a call that the provider limits, gives its place to another."""
    breaker = broken()
    eras = [breaker.admit(105.0) for _ in range(3)]
    assert breaker.admit(105.0) == REFUSED
    breaker.abandoned(eras[0])
    assert breaker.admit(105.0) == eras[0]
    assert breaker.admit(105.0) == REFUSED


def test_silent_probes_are_joined_by_others():
    """Probes that hang keep nobody out for longer than a few seconds."""
    breaker = broken()
    silent = [breaker.admit(105.0) for _ in range(3)]
    assert breaker.admit(105.0 + LAST_WAIT - 0.01) == REFUSED
    feed(breaker, "...", 105.0 + LAST_WAIT)
    assert breaker.state == "closed"
    breaker.failed(silent[0], 200.0, 0.0)
    assert breaker.counts(200.0) == (0, 0, 0)


def test_the_wait_for_silent_probes_begins_with_the_first():
    """Probes that come one after another do not prolong it."""
    breaker = broken()
    for now in (105.0, 107.0, 109.0):
        assert breaker.admit(now) != REFUSED
    assert breaker.retry_after(109.0) == LAST_WAIT - 4


def test_not_even_the_last_route_gets_more_probes_at_once():
    """Who has nowhere else to go waits for the probes under way like everybody."""
    breaker = broken()
    eras = [breaker.admit(105.0, is_last=True) for _ in range(5)]
    assert [era != REFUSED for era in eras] == [True] * 3 + [False] * 2


def test_old_calls_say_nothing_about_the_new_time():
    """Calls that were sent before it opened change nothing when they fail after it has closed."""
    breaker = Breaker(PLAIN, 100.0)
    old = [breaker.admit(100.0) for _ in range(100)]
    feed(breaker, "x" * 20, 100.0)
    now = feed(breaker, "...", 105.0)
    for era in old:
        breaker.failed(era, now, 0.0)
    assert breaker.state == "closed"
    assert breaker.counts(now) == (0, 0, 0)


def test_the_last_route_is_asked_every_few_seconds():
    """Who has nowhere else to go need not wait for a minute."""
    breaker, now = broken(), 100.0
    for _ in range(20):
        wait = breaker.retry_after(now, is_last=True)
        assert wait == LAST_WAIT
        assert breaker.admit(now + wait - 0.01, is_last=True) == REFUSED
        now += wait
        breaker.failed(breaker.admit(now, is_last=True), now, 0.0)
    assert breaker.retry_after(now) == 60


def test_it_can_be_held_open():
    """By hand it stays open, whatever happens; released, it begins with probes."""
    breaker = Breaker(PLAIN, 100.0)
    era = breaker.admit(100.0)
    breaker.force("open", 100.0)
    breaker.succeeded(era, 100.0)
    assert breaker.admit(1e9, is_last=True) == REFUSED
    assert breaker.retry_after(1e9) == math.inf
    breaker.trip(200.0, 0.0)
    assert (breaker.state, breaker.forced, breaker.opened) == ("open", "open", 0)
    breaker.release(300.0)
    feed(breaker, "...", 300.0)
    assert (breaker.state, breaker.forced) == ("closed", None)


def test_it_can_be_held_closed():
    """By hand it stays closed, whatever fails; released, it decides by what it has seen."""
    breaker = broken()
    breaker.force("closed", 101.0)
    feed(breaker, "x" * 100, 101.0)
    assert (state_of(breaker), breaker.forced) == ("closed", "closed")
    breaker.release(102.0)
    assert state_of(breaker) == "closed"
    feed(breaker, "x", 102.0)
    assert state_of(breaker) == "open"


def test_a_release_of_what_is_not_held_changes_nothing():
    """An open breaker that is released goes on waiting."""
    breaker = broken()
    breaker.release(101.0)
    assert (breaker.state, breaker.retry_after(101.0)) == ("open", 4)


class Oracle:
    """Says by the definition whether a closed breaker must open: looks at all that happened."""

    def __init__(self, rules: BreakerRules) -> None:
        self.rules, self.seen = rules, list[tuple[int, bool]]()

    def opens(self, now: float, *, failed: bool) -> bool:
        self.seen.append((int(now), failed))
        window = [bad for second, bad in self.seen if second > int(now) - WINDOW]
        share = self.rules.failures * len(window)
        return failed and len(window) >= self.rules.calls and sum(window) >= share


@hypothesis_settings(max_examples=200)
@given(
    st.lists(st.tuples(st.floats(0, 3), st.booleans()), max_size=150),
    st.builds(BreakerRules, st.floats(0.05, 1), st.integers(1, 30)),
)
def test_it_opens_exactly_when_the_rules_say_so(calls, rules):
    """No call too early, none too late, for any traffic."""
    breaker, oracle, now = Breaker(rules, 0.0), Oracle(rules), 0.0
    for wait, failed in calls:
        now += wait
        feed(breaker, "x" if failed else ".", now)
        must_open = oracle.opens(now, failed=failed)
        assert (breaker.state == "open") == must_open
        if must_open:
            return


traffic = st.lists(st.tuples(st.floats(0, 4), st.sampled_from(".xsgh")), max_size=200)


@hypothesis_settings(max_examples=300)
@given(traffic, st.lists(st.booleans(), min_size=200, max_size=200))
def test_nobody_is_locked_out_for_long(calls, has_nowhere_else):
    """Whatever calls do, even hang for ever: the only route is asked again within seven seconds."""
    breaker, now = Breaker(BreakerRules(calls=3, slow=1.0), 0.0), 0.0
    for (wait, end), is_last in zip(calls, has_nowhere_else, strict=False):
        now += wait
        told = breaker.retry_after(now, is_last=True)
        assert 0 <= told <= LAST_WAIT * (1 + JITTER)
        assert told <= breaker.retry_after(now) <= PLAIN.longest * (1 + JITTER)
        era = breaker.admit(now, is_last=is_last)
        assert era != REFUSED or told or not is_last
        if era != REFUSED:
            tell(breaker, era, end, now, 0.9)


@hypothesis_settings(max_examples=200)
@given(traffic, st.integers(1, 5))
def test_it_always_recovers(calls, probes):
    """From any state, once all calls go well, so many of them close it."""
    breaker, now = Breaker(BreakerRules(calls=3, slow=1.0, probes=probes), 0.0), 0.0
    for wait, end in calls:
        now += wait
        if (era := breaker.admit(now)) != REFUSED:
            tell(breaker, era, end, now)
    now += 120
    for _ in range(probes):
        tell(breaker, breaker.admit(now), ".", now)
        now += LAST_WAIT
    assert breaker.state == "closed"
