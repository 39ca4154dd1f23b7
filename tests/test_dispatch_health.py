"""Outages are survived: no storm of retries, no wait in vain, and all is well soon after the end."""

import random
from collections import Counter

import pytest

from headworks.core.intake import read_request
from headworks.errors import (
    ConnectFailed,
    CredentialRefused,
    FirstByteTimeout,
    StreamTruncated,
)
from headworks.testing import EVENTS, FakeResponse
from headworks.types import Plan, Route, Secret
from tests.drill import FIRST, MAIN, SECOND, SPARE, Drill, answered, lasting

OUTAGES = {
    "refused": ConnectFailed,
    "failing": lambda: answered(503),
    "failing with Retry-After": lambda: answered(503, "overloaded", 2.0),
    "silent": FirstByteTimeout,
}


@pytest.mark.parametrize("error", OUTAGES.values(), ids=OUTAGES)
def test_an_outage_of_ten_minutes_is_no_storm(error):
    """The only upstream is down: hardly anything is sent, answers are fast, and all is soon well."""
    drill = Drill(Plan((MAIN,)), lasting(60, 660, error)).traffic(20, 720)

    offered = 600 * 20
    assert drill.attempts(60, 660) <= 0.06 * offered
    assert drill.goodput(0, 59) == drill.goodput(670, 720) == 1.0
    waits = sorted(one.seconds for one in drill.calls if 75 <= one.begun < 660)
    assert waits[int(0.95 * len(waits))] < 0.01
    codes = Counter(one.error.code for one in drill.calls if one.error and one.begun >= 75)
    assert codes["circuit_open"] >= 0.95 * 585 * 20
    drill.world.assert_settled()


def test_a_fallback_carries_an_outage():
    """With a healthy fallback nobody notices; and it is not asked more often than there are calls."""
    drill = Drill(Plan((FIRST, SECOND)), lasting(60, 660, lambda: answered(500))).traffic(20, 750)

    assert drill.goodput(0, 750) == 1.0
    assert drill.attempts(60, 660, "first") <= 0.05 * 600 * 20
    assert drill.attempts(735, 750, "second") == 0
    assert drill.attempts(60, 735, "second") <= 675 * 20
    assert drill.passed_over() == {"budget", "open"}


FLAPS = {
    "a second up, a second down": lambda now, _: now % 2 < 1,
    "ten seconds up, ten down": lambda now, _: now % 20 < 10,
    "a minute up, a minute down": lambda now, _: now % 120 < 60,
    "four calls of ten fail": lambda _, chance: chance >= 0.4,
    "six calls of ten fail": lambda _, chance: chance >= 0.6,
}


@pytest.mark.parametrize("is_up", FLAPS.values(), ids=FLAPS)
def test_a_flapping_upstream_costs_its_callers_next_to_nothing(is_up):
    """With a healthy fallback at least 95 of 100 calls are answered, as by one who knows the weather."""
    chance = random.Random(4)

    def weather(route: Route, now: float) -> BaseException | None:
        is_well = route.upstream == "second" or is_up(now, chance.random())
        return None if is_well else answered(500)

    drill = Drill(Plan((FIRST, SECOND)), weather).traffic(20, 300)

    assert drill.goodput(0, 300) >= 0.95
    assert drill.attempts(0, 300, "first") <= 1.2 * 20 * 300 + 3 * 310


def test_retries_of_a_half_broken_upstream_are_bounded():
    """An only upstream that fails four calls of ten is asked at most 1.2 times a call, and 3 a second."""
    chance = random.Random(5)
    drill = Drill(Plan((MAIN,)), lambda _r, _n: answered(500) if chance.random() < 0.4 else None)
    drill.traffic(100, 60)

    assert drill.attempts(0, 100) <= 1.2 * 6000 + 3 * 70
    assert drill.goodput(0, 60) > 0.7
    assert "budget" in {one.why for call in drill.world.journal.calls for one in call.trail}


def test_a_pause_moves_traffic_to_the_other_credential():
    """Until Retry-After has passed nobody asks the limited one; then it is the first again."""

    def weather(route: Route, now: float) -> BaseException | None:
        is_limited = route is MAIN and 10 <= now < 11
        return answered(429, "rate_limit", 30.0) if is_limited else None

    drill = Drill(Plan((MAIN, SPARE)), weather).traffic(20, 60)

    assert drill.goodput(0, 60) == 1.0
    asked = {
        credential: [now - drill.begun for now, route in drill.provider.seen if route.credential == credential]
        for credential in ("main", "spare")
    }  # fmt: skip
    assert not [now for now in asked["main"] if 10.3 <= now < 40.2]
    assert len([now for now in asked["main"] if now >= 40.6]) >= 19 * 20
    assert not [now for now in asked["spare"] if now < 10 or now > 40.6]
    assert max(one.seconds for one in drill.calls) < 1
    assert drill.passed_over() == {"cooling"}


def test_a_short_pause_of_the_only_route_is_waited_for():
    """Whoever comes during a pause is answered when it is over, without an attempt in between."""
    drill = Drill(
        Plan((MAIN,)),
        lambda _route, now: answered(429, "rate_limit", 4.0) if now < 0.1 else None,
    ).traffic(20, 10)

    assert drill.goodput(0, 10) == 1.0
    assert drill.attempts(0.3, 4.19) == 0
    assert drill.attempts(0, 20) <= 200 + 8


def test_a_pause_longer_than_the_deadline_is_told_at_once():
    """Retry-After goes to the caller, who is told not to try again by itself."""
    drill = Drill(Plan((MAIN,)), lambda _route, _now: answered(429, "rate_limit", 300.0)).traffic(
        20, 2
    )

    assert drill.attempts(0, 10) <= 5
    last = drill.calls[-1]
    assert last.error is not None
    assert (last.error.status, last.error.code) == (429, "upstream_cooling_down")
    assert last.error.retry_after == pytest.approx(298, abs=1)
    assert (b"x-should-retry", b"false") in last.error.headers
    assert last.seconds == 0
    assert drill.world.journal.calls[-1].attempts == 0


def test_a_refused_credential_costs_no_call_its_answer():
    """Going on to the next credential is no retry of what failed, and draws on no budget."""
    drill = Drill(
        Plan((MAIN, SPARE)),
        lambda route, _now: CredentialRefused() if route is MAIN else None,
    ).traffic(50, 20)

    assert drill.goodput(0, 20) == 1.0


def test_an_empty_account_is_left_alone():
    """Another credential pays at once; the empty one is hardly asked any more."""

    def weather(route: Route, _now: float) -> BaseException | None:
        if route is not MAIN:
            return None
        error = answered(429, "quota")
        error.retry = FirstByteTimeout.retry
        return error

    drill = Drill(Plan((MAIN, SPARE)), weather).traffic(20, 290)

    assert drill.goodput(0, 290) == 1.0
    assert sum(route is MAIN for _, route in drill.provider.seen) <= 5


def test_an_account_that_was_filled_again_is_found_soon():
    """Where there is no other credential, callers learn the reason, and the first payment helps."""
    error = lambda: answered(429, "quota")  # noqa: E731 - reads as a value
    drill = Drill(Plan((MAIN,)), lasting(10, 310, error)).traffic(20, 330)

    assert drill.goodput(320, 330) == 1.0
    assert drill.attempts(12, 310) <= 70
    (told,) = {str(one.error) for one in drill.calls if 12 <= one.begun < 305 and one.error and one.error.code == "upstream_cooling_down"}  # fmt: skip
    assert "no quota left" in told


def test_streams_that_break_open_the_breaker():
    """Breaks in the middle of answers count, although nothing can be repeated any more."""

    def weather(_route: Route, now: float) -> FakeResponse | None:
        broken = FakeResponse(EVENTS, fault=StreamTruncated("cut"), fault_after=2)
        return broken if now >= 5 else None

    drill = Drill(Plan((MAIN,)), weather).traffic(20, 30, stream=True)

    outcomes = Counter(call.outcome for call in drill.world.journal.calls)
    assert outcomes["upstream_stream_truncated"] < 250
    assert outcomes["circuit_open"] > 250
    drill.world.assert_settled()


def test_when_all_routes_are_open_some_calls_still_look():
    """The last routes are never given up: a few calls probe, the others are answered at once."""
    drill = Drill(
        Plan((FIRST, SECOND)), lambda _route, now: answered(500) if now < 120 else None
    ).traffic(20, 140)

    assert drill.goodput(130, 140) == 1.0
    assert drill.attempts(10, 120) <= 0.1 * 110 * 20
    assert drill.attempts(10, 120) >= 110 / 6.25


def test_effects_are_not_done_twice_for_health():
    """A request that may have had an effect is not sent again, however healthy the fallback is."""
    drill = Drill(Plan((FIRST, SECOND)), lambda _route, _now: FirstByteTimeout())

    async def ask() -> None:
        body = b'{"model":"m","input":"x","background":true}'
        kind = ((b"content-type", b"application/json"),)
        request = read_request("POST", "/v1/responses", b"", kind, body)
        with pytest.raises(FirstByteTimeout):
            async with drill.world.engine.call(request, Secret("open")):
                pass

    drill.run(ask())
    assert len(drill.provider.seen) == 1
