"""A provider's limits are kept by all calls to the route, asked for in whatever words."""

import logging

import pytest

from headworks import errors
from headworks.core.breaker import NEVER_OPEN
from headworks.stores.health import MemoryHealth
from headworks.stores.health_track import HealthRules
from headworks.testing import FakeClock
from headworks.types import Refusal
from tests.stores.routes import (
    MAIN,
    OTHER,
    SMALL,
    SPARE,
    answer,
    attempt,
    fail,
    limited,
    place,
    reason,
    state,
)


def slower(wait: float | None = None, status: int = 429) -> errors.UpstreamError:
    return errors.UpstreamAnswered(
        "m",
        status=status,
        type="t",
        code="slow_down",
        retry=errors.Retry.SAME_ROUTE,
        failure="rate_limit",
        retry_after=wait,
    )


def traffic(health: MemoryHealth, clock: FakeClock, rate: float, seconds: float) -> int:
    """Come so often for so long, and go again when kept back; return how many went."""
    went = 0
    for _ in range(round(rate * seconds)):
        clock.advance(1 / rate)
        admission = health.admit(MAIN)
        if not isinstance(admission, Refusal):
            admission.settle()
            went += 1
    return went


@pytest.mark.parametrize("status", [429, 503])
def test_slow_down_lowers_the_pace(health, clock, status, caplog):
    """Of ten calls a second seven go on, by either status; others routes are not concerned."""
    assert traffic(health, clock, 10, 20) == 200
    fail(health, slower(status=status))
    assert state(health).pace == pytest.approx(7, rel=0.1)
    assert [state(health).calls, place(health).cooldowns] == [200, 0]
    assert traffic(health, clock, 20, 60) == pytest.approx(7 * 60, rel=0.1)
    for route in (SPARE, SMALL, OTHER):
        answer(health, route)
        assert state(health, route).pace is None
    (line,) = caplog.messages
    assert line.startswith("up/big (main) asks to slow down: ")


def test_who_comes_too_soon_is_told_when(health, clock):
    """The wait is the time to the next place; who lines up for it gets it, and the next a later one."""
    traffic(health, clock, 10, 20)
    fail(health, slower())
    gap = 1 / (state(health).pace or 0)
    first = health.refusal(MAIN)
    assert first is not None
    assert (first.reason, first.wait) == ("cooling", pytest.approx(gap, rel=1e-3))
    assert health.refusal(MAIN) == health.admit(MAIN) == first
    health.line_up(MAIN)
    second = health.refusal(MAIN)
    assert second is not None
    assert second.wait == pytest.approx(2 * gap, rel=1e-3)
    clock.advance(first.wait)
    assert isinstance(health.admit(MAIN), Refusal)
    assert not isinstance(health.admit(MAIN, in_line=True), Refusal)
    assert isinstance(health.admit(MAIN, in_line=True), Refusal)


def test_one_burst_slows_once_and_the_next_again(health, clock):
    """Ten refusals of one moment are one cut; one of a later call is another."""
    traffic(health, clock, 10, 20)
    together = [attempt(health) for _ in range(10)]
    clock.advance(0.2)
    for admission in together[:5]:
        admission.settle(slower())
    first = state(health).pace or 0
    traffic(health, clock, 20, 6)
    for admission in together[5:]:
        admission.settle(slower())
    assert state(health).pace == pytest.approx(first, rel=0.01)
    clock.advance(0.2)
    fail(health, slower())
    assert state(health).pace == pytest.approx(0.7 * first, rel=0.1)


def test_a_pause_beside_it_is_kept_as_well(health, clock):
    """Nobody goes before Retry-After has passed; then calls go at the new pace, not all at once."""
    traffic(health, clock, 10, 20)
    fail(health, slower(60))
    assert health.refusal(MAIN) == Refusal("cooling", 60)
    assert place(health).cooldowns == 1
    for _ in range(50):
        health.line_up(MAIN)
    clock.advance(60)
    admitted = [not isinstance(health.admit(MAIN, in_line=True), Refusal) for _ in range(50)]
    assert admitted.count(True) == 1


def test_the_pace_grows_and_ends(health, clock):
    """It grows by half in 15 minutes; 15 minutes after it last held somebody back it is gone."""
    traffic(health, clock, 10, 20)
    fail(health, slower())
    begun = state(health).pace or 0
    clock.advance(450)
    traffic(health, clock, 30, 5)
    assert state(health).pace == pytest.approx(begun * 1.5**0.5, rel=0.01)
    clock.advance(899)
    assert state(health).pace is not None
    clock.advance(2)
    assert state(health).pace is None
    assert traffic(health, clock, 50, 10) == 500


def test_by_hand_and_by_rule_it_is_lifted(health, clock):
    """Held closed, or with `breaker: false`, nobody is kept back; nor by a later request of it."""
    for lift in (lambda: health.force("up", "closed"), lambda: health.adopt({"up": HealthRules(NEVER_OPEN)})):  # fmt: skip
        traffic(health, clock, 10, 10)
        fail(health, slower())
        assert reason(health) == "cooling"
        lift()
        assert (reason(health), state(health).pace) == (None, None)
        health.force("up", "auto")
        clock.advance(10)
    fail(health, slower(30), times=20)
    fail(health, limited(None), times=20)
    assert (reason(health), state(health).pace) == (None, None)


def test_a_limit_without_advice_is_a_short_rest(health, clock):
    """For a second nobody else asks; the call that met it may, after its own wait."""
    fail(health, limited(None))
    assert health.refusal(MAIN) == health.refusal(MAIN, is_retry=True) == Refusal("cooling", 1.0)
    assert reason(health, MAIN, met_limit=True) is None
    assert [reason(health, route) for route in (SPARE, SMALL, OTHER)] == [None] * 3
    clock.advance(1)
    assert reason(health) is None
    assert place(health).cooldowns == 1


def test_the_rest_doubles_while_limits_go_on(health, clock):
    """1, 2, 4, 8, 8 seconds; what was sent together, or during it, counts once."""
    rests = []
    for _ in range(5):
        under_way = [attempt(health) for _ in range(5)]
        for admission in under_way:
            admission.settle(limited(None))
        attempt(health, met_limit=True).settle(limited(None))
        refusal = health.refusal(MAIN)
        assert refusal is not None
        rests.append(refusal.wait)
        clock.advance(refusal.wait)
    assert rests == [1.0, 2.0, 4.0, 8.0, 8.0]
    assert place(health).cooldowns == 5


def test_a_call_that_goes_well_ends_the_rest(health, clock):
    """The next limit is a first one again; but what was sent before the rest proves nothing."""
    before = attempt(health)
    clock.advance(0.1)
    fail(health, limited(None))
    clock.advance(1)
    fail(health, limited(None))
    before.settle()
    assert health.refusal(MAIN) == Refusal("cooling", 2.0)
    attempt(health, met_limit=True).settle()
    assert reason(health) is None
    fail(health, limited(None))
    assert health.refusal(MAIN) == Refusal("cooling", 1.0)


def test_advice_takes_the_place_of_the_rest(health, clock):
    """A named pause holds for all, the call that met it included."""
    fail(health, limited(0.5))
    assert health.refusal(MAIN) == health.refusal(MAIN, met_limit=True) == Refusal("cooling", 0.5)
    clock.advance(0.5)
    assert reason(health) is None


def test_the_log_tells_of_it(health, clock, caplog):
    """The operator reads to how many requests a second a route is held, once and not at each cut."""
    caplog.set_level(logging.WARNING, logger="headworks")
    traffic(health, clock, 10, 20)
    fail(health, slower())
    told = (
        f"up/big (main) asks to slow down: {state(health).pace:.2f} requests a second go there now"
    )
    assert caplog.messages == [told]
