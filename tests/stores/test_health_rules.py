"""What is set holds: by hand, by a reload, and within bounded memory."""

from dataclasses import replace

from headworks import errors
from headworks.core.breaker import NEVER_OPEN, BreakerRules
from headworks.core.retry_budget import BudgetRules
from headworks.stores import health as health_module
from headworks.stores.health import MemoryHealth
from headworks.stores.health_track import HealthRules
from headworks.testing import SeededRandom
from headworks.types import Refusal, Route
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


def test_routes_are_held_by_hand(health, clock):
    """A whole upstream, routes included that come later; or one credential or model of it."""
    answer(health)
    answer(health, SMALL)
    assert health.force("up", "open")
    assert {reason(health, route) for route in (MAIN, SMALL, SPARE)} == {"open"}
    assert isinstance(health.admit(MAIN, is_last=True), Refusal)
    assert reason(health, OTHER) is None
    assert (place(health).forced, state(health).forced) == ("open", "open")
    assert health.force("up", "closed", credential="spare")
    assert [reason(health, route) for route in (SPARE, MAIN)] == [None, "open"]
    assert health.force("up", "auto")
    assert {reason(health, route) for route in (MAIN, SMALL, SPARE)} == {None}
    assert health.force("up", "open", model="small")
    assert [reason(health, route) for route in (MAIN, SMALL)] == [None, "open"]


def test_what_is_held_closed_takes_every_call(health):
    """Failures, pauses and an empty account count no more; new ones pause it again."""
    fail(health, errors.ConnectFailed(), times=20)
    fail(health, limited(100), SMALL)
    fail(health, limited(None, "insufficient_quota"), SPARE)
    assert health.force("up", "closed")
    assert {reason(health, route) for route in (MAIN, SMALL, SPARE)} == {None}
    fail(health, errors.ConnectFailed(), times=100)
    assert reason(health) is None
    fail(health, limited(100))
    assert reason(health) == "cooling"


def test_where_the_breaker_is_off_every_call_asks(clock):
    """No failure, pause or empty account keeps a call back; by hand it is still taken out."""
    off = {"up": HealthRules(NEVER_OPEN)}
    health = MemoryHealth(clock, SeededRandom(), off)
    for error in (errors.ConnectFailed(), limited(100), limited(None, "insufficient_quota")):
        fail(health, error, times=100)
        assert reason(health) is None
    assert place(health).cooldowns == 0
    assert health.force("up", "open")
    assert reason(health) == "open"


def test_switching_the_breaker_off_lets_all_calls_pass(health):
    """Whoever is kept back when the rules change is let through; what is held by hand stays."""
    for error in (errors.ConnectFailed(), limited(100), limited(None, "insufficient_quota")):
        admissions = [attempt(health) for _ in range(20)]
        for admission in admissions:
            admission.settle(error)
        assert reason(health) is not None
        health.adopt({"up": HealthRules(NEVER_OPEN)})
        assert reason(health) is None
        health.adopt({"up": HealthRules()})
    assert health.force("up", "open")
    health.adopt({"up": HealthRules(NEVER_OPEN)})
    assert reason(health) == "open"


def test_nothing_is_held_that_is_not_there(health):
    """A misspelt name is told, not taken for a success."""
    answer(health)
    assert not health.force("upp", "open")
    assert not health.force("up", "open", credential="nobody")
    assert not health.force("up", "open", model="nothing")
    assert health.force("other", "open")


def test_a_reload_keeps_what_is_known(health, clock):
    """New rules hold at once, states stay; an upstream that leads elsewhere begins anew."""
    fail(health, errors.ConnectFailed(), times=20)
    fail(health, errors.ConnectFailed(), OTHER, times=20)
    rules = HealthRules(BreakerRules(calls=2), BudgetRules(share=0.0, floor=0.0))
    health.adopt({"up": rules, "other": replace(rules, way="https://elsewhere")})
    assert [reason(health), reason(health, OTHER)] == ["open", None]
    fail(health, errors.ConnectFailed(), OTHER, times=2)
    assert reason(health, OTHER) == "open"
    assert reason(health, SPARE, is_retry=True) == "budget"
    health.adopt({"up": rules})
    assert [one.name for one in health.statistics()] == ["up"]


def test_calls_under_way_survive_a_reload(health):
    """The end of a call to an upstream that is gone hurts nobody."""
    admission = attempt(health, OTHER)
    health.adopt({"up": HealthRules()})
    admission.settle(errors.ConnectFailed())
    assert [one.name for one in health.statistics()] == ["up"]


def test_callers_cannot_fill_the_memory(health, monkeypatch):
    """Routes unused for longest are forgotten; those in use and those held by hand are not."""
    monkeypatch.setattr(health_module, "_MOST", 10)
    fail(health, errors.ConnectFailed(), times=20)
    answer(health, SMALL)
    assert health.force("up", "open", model="small")
    for number in range(100):
        answer(health, Route("up", f"invented-{number}", "main"))
        assert reason(health) == "open"
    assert len(place(health).routes) == 10
    assert (reason(health), reason(health, SMALL)) == ("open", "open")


def test_even_if_all_are_held_memory_is_bounded(health, monkeypatch):
    """Then the one unused for longest goes."""
    monkeypatch.setattr(health_module, "_MOST", 2)
    for model in ("a", "b", "c"):
        answer(health, Route("up", model, "main"))
        assert health.force("up", "open", model=model)
    assert [one.model for one in place(health).routes] == ["b", "c"]
