"""Routes that fail are left alone, each for its own reason, and nobody else pays for it."""

import asyncio
import logging

import pytest

from headworks import errors
from headworks.core.breaker import BreakerRules
from headworks.ports import Health
from headworks.stores.health import MemoryHealth, RouteHealth
from headworks.stores.health_track import HealthRules
from headworks.testing import SeededRandom
from headworks.types import Refusal, Route, Timeouts
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


def test_the_engine_can_use_it(health):
    """It is what the engine asks for."""
    port: Health = health
    assert not isinstance(port.admit(MAIN), Refusal)


def test_a_route_that_fails_is_left_alone(health, clock, caplog):
    """It opens for its own credential and model only, and the log says so once."""
    fail(health, errors.ConnectFailed(), times=20)
    refused = health.admit(MAIN)
    assert isinstance(refused, Refusal)
    assert refused.reason == "open"
    assert 5 <= refused.wait <= 6.25
    assert [reason(health, route) for route in (SPARE, SMALL, OTHER)] == [None] * 3
    clock.advance(6.25)
    fail(health, errors.ConnectFailed())
    (line,) = caplog.messages
    assert line.startswith("up/big (main) fails (upstream_unreachable): its breaker is open for ")


def test_it_is_used_again_as_soon_as_it_works(health, clock, caplog):
    """After the wait three good calls are enough."""
    caplog.set_level(logging.INFO, logger="headworks")
    fail(health, errors.ConnectFailed(), times=20)
    clock.advance(6.25)
    for _ in range(3):
        answer(health)
    assert (state(health).state, reason(health)) == ("closed", None)
    assert caplog.messages[-1] == "up/big (main) works again: its breaker has closed"


def test_a_stream_has_served_as_a_probe_when_it_begins(health, clock):
    """Nobody waits for the end of long streams; one that breaks at once opens again."""
    fail(health, errors.ConnectFailed(), times=20)
    clock.advance(6.25)
    streams = [attempt(health) for _ in range(3)]
    streams[0].answered()
    streams[0].settle(errors.StreamTruncated())
    assert state(health).state == "open"
    clock.advance(12.5)
    streams = [attempt(health) for _ in range(3)]
    for stream in streams:
        stream.answered()
    assert state(health).state == "closed"
    for stream in streams:
        stream.settle()
    assert state(health).calls == 0


def test_a_probe_counts_once(health, clock):
    """A stream that begins well and ends well is one good call, not two."""
    fail(health, errors.ConnectFailed(), times=20)
    clock.advance(6.25)
    for expected in ("half-open", "half-open", "closed"):
        answer(health)
        assert state(health).state == expected


@pytest.mark.parametrize("error", [errors.StreamTruncated(), errors.IdleTimeout()], ids=repr)
def test_breaks_in_the_middle_count(health, error):
    """Streams that begin and then break open it like calls that fail at once: each counts once."""
    for _ in range(20):
        stream = attempt(health)
        stream.answered()
        stream.settle(error)
        stream.settle()
    assert (state(health).state, state(health).calls) == ("open", 20)


@pytest.mark.parametrize(
    "error",
    [
        asyncio.CancelledError(),
        GeneratorExit(),
        errors.DeadlineExceeded(),
        errors.LedgerUnavailable(),
        errors.InvalidRequest(),
        errors.CredentialRefused(),
    ],
    ids=repr,
)
def test_what_is_not_the_routes_fault_does_not_count(health, clock, error):
    """Callers who leave, limits and refusals open nothing, and free a probe's place."""
    fail(health, error, times=100)
    assert (state(health).calls, reason(health)) == (0, None)
    fail(health, errors.ConnectFailed(), times=20)
    clock.advance(6.25)
    fail(health, error, times=100)
    assert state(health).state == "half-open"
    assert state(health).in_flight == 0


def test_a_route_that_hangs_is_found_out(health, clock):
    """A deadline is the provider's fault if the route's whole time was over; else the caller's."""
    route = Route("up", "big", "main", Timeouts(total=60))
    for seconds, calls in ((30, 0), (60, 20)):
        hanging = [attempt(health, route) for _ in range(20)]
        clock.advance(seconds)
        for one in hanging:
            one.settle(errors.DeadlineExceeded())
        assert state(health).calls == calls
    assert state(health).state == "open"


def test_late_answers_count_where_it_is_set(clock):
    """Answers that begin too late open it, those included for which nobody waited."""
    slow = HealthRules(BreakerRules(slow=10.0))
    health = MemoryHealth(clock, SeededRandom(), {"up": slow, "other": HealthRules()})
    calls = [(attempt(health), attempt(health, OTHER)) for _ in range(20)]
    clock.advance(10)
    for number, both in enumerate(calls):
        for one in both:
            if number < 10:
                one.answered()
                one.settle()
            else:
                one.settle(asyncio.CancelledError())
    assert (state(health).state, state(health).slow) == ("open", 20)
    assert (state(health, OTHER).state, state(health, OTHER).slow) == ("closed", 0)


def test_a_pause_that_the_provider_asks_for_is_kept(health, clock):
    """Until Retry-After the route cools; a longer pause prolongs it, a shorter one does not shorten it."""
    under_way = [attempt(health) for _ in range(3)]
    for admission, wait in zip(under_way, (20, 30, 10), strict=True):
        admission.settle(limited(wait))
    assert health.refusal(MAIN) == Refusal("cooling", 30)
    assert [reason(health, route) for route in (SPARE, SMALL, OTHER)] == [None] * 3
    clock.advance(29.9)
    assert reason(health) == "cooling"
    clock.advance(0.1)
    assert reason(health) is None
    assert place(health).cooldowns == 3


def test_a_timer_that_rings_early_does_no_harm(health, clock):
    """Who has waited as told, but for a few milliseconds, is not told to wait again."""
    fail(health, limited(2))
    clock.advance(1.997)
    assert reason(health) is None


def test_not_even_the_last_route_is_asked_during_a_pause(health):
    """Retry-After is obeyed exactly: there is no probing before its time."""
    fail(health, limited(20))
    assert isinstance(health.admit(MAIN, is_last=True), Refusal)


def test_a_credential_without_quota_is_left_alone_for_minutes(health, clock):
    """All its models rest, other credentials do not; then one call looks, and one is enough."""
    fail(health, limited(None, "insufficient_quota"))
    assert reason(health) == "quota"
    assert [reason(health, route) for route in (SMALL, SPARE, OTHER)] == ["quota", None, None]
    clock.advance(299)
    assert reason(health) == "quota"
    clock.advance(76)
    probe = attempt(health)
    assert reason(health, SMALL) == "quota"
    probe.answered()
    assert reason(health, SMALL) is None


def test_calls_under_way_find_an_empty_account_together(health):
    """Ten refusals at once are one discovery: the rest does not double with each."""
    for admission in [attempt(health) for _ in range(10)]:
        admission.settle(limited(None, "insufficient_quota"))
    assert place(health).cooldowns == 1


def test_an_empty_account_is_looked_at_less_and_less(health, clock):
    """As long as nobody pays the rest doubles, up to a quarter of an hour."""
    rests = []
    for _ in range(4):
        fail(health, limited(None, "insufficient_quota"))
        begun = clock.now()
        while reason(health):
            clock.advance(1)
        rests.append(clock.now() - begun)
    assert 300 <= rests[0] <= 376
    assert 600 <= rests[1] <= 751
    assert 900 <= rests[2] <= 1126
    assert 900 <= rests[3] <= 1126


def test_an_only_credential_is_looked_at_often(health, clock):
    """Where nothing else is left, one call every few seconds sees whether somebody has paid."""
    fail(health, limited(None, "insufficient_quota"))
    assert isinstance(health.admit(MAIN, is_last=True), Refusal)
    clock.advance(6.25)
    attempt(health, is_last=True).settle(limited(None, "insufficient_quota"))
    clock.advance(6.25)
    probe = attempt(health, is_last=True)
    assert isinstance(health.admit(MAIN, is_last=True), Refusal)
    probe.answered()
    probe.settle()
    assert reason(health) is None


def test_a_failure_says_nothing_about_the_account(health, clock):
    """A call that looks and finds the provider down leaves the question open."""
    fail(health, limited(None, "insufficient_quota"))
    clock.advance(400)
    fail(health, errors.ConnectFailed())
    answer(health)
    assert reason(health) is None


def test_retries_are_bounded_for_each_upstream(health):
    """What may be repeated is a share of the requests; the first attempt is never refused."""
    for _ in range(100):
        answer(health)
    allowed = [not isinstance(health.admit(MAIN, is_retry=True), Refusal) for _ in range(60)]
    assert sum(allowed) == 50
    assert health.refusal(SPARE, is_retry=True) is not None
    assert [reason(health), reason(health, OTHER, is_retry=True)] == [None, None]
    told = place(health)
    assert (told.requests, told.retries, told.retries_left, told.refused) == (100, 50, 0, 10)


def test_who_is_told_to_come_back_counts_as_a_retry(health, clock):
    """So many as the upstream may be asked again; after some seconds others."""
    assert sum(health.may_return(MAIN) for _ in range(100)) == 30
    assert (reason(health, is_retry=True), place(health).retries) == ("budget", 30)
    assert health.may_return(SPARE) is False
    clock.advance(10)
    assert health.may_return(MAIN) is True


def test_only_a_retry_that_is_made_is_counted(health):
    """Asking whether one may be made costs nothing."""
    for _ in range(100):
        assert health.refusal(MAIN, is_retry=True) is None
    assert place(health).retries == 0


def test_how_a_route_is(health, clock):
    """State, counts and latency are told as they are."""
    for _ in range(3):
        admission = attempt(health)
        clock.advance(0.25)
        admission.answered()
        admission.settle()
    fail(health, errors.IdleTimeout())
    attempt(health)
    assert state(health) == RouteHealth(
        upstream="up",
        credential="main",
        model="big",
        state="closed",
        forced=None,
        since=1.8e9,
        calls=4,
        failures=1,
        slow=0,
        in_flight=1,
        latency=0.25,
        refusal=None,
    )
