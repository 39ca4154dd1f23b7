"""Outages are survived: what 2,000 official clients do makes them no worse, and all is soon well.

Engine, breaker, retry budget and clients run for 13 minutes of virtual time, at 33 calls a second.
"""

import random
import sys
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import pytest

from headworks.core.breaker import NEVER_OPEN, BreakerRules
from headworks.errors import ConnectFailed, FirstByteTimeout
from headworks.types import Plan, Route
from tests.faults.breaker_model import Model
from tests.faults.outage import MAIN, SPARE, USUAL, Land, Weather, answered, peak

CLIENTS, EVERY = 2_000, 60.0
DOWN, UP, END = 120.0, 720.0, 780.0
FLOOR = 3.0
"""Retries a second that are always allowed."""


def down(error: Callable[[], BaseException]) -> Weather:
    """Return ten minutes in which every call fails."""
    return lambda _route, now: error() if DOWN <= now < UP else None


@dataclass(frozen=True)
class Outage:
    """An outage, and whether breakers may open."""

    name: str
    error: Callable[[], BaseException]
    breaker: BreakerRules = USUAL


OUTAGES = [
    Outage("answers 503", lambda: answered(503, "overloaded")),
    Outage("answers 503 with Retry-After", lambda: answered(503, "overloaded", 2.0)),
    Outage("refuses connections", ConnectFailed),
    Outage("is silent", FirstByteTimeout),
    Outage("answers 503, no breaker", lambda: answered(503, "overloaded"), NEVER_OPEN),
]


@pytest.mark.parametrize("outage", OUTAGES, ids=lambda outage: outage.name)
def test_an_outage_is_never_amplified(outage, capsys):
    """My only provider is down for ten minutes: it is asked little, and at its return not too much."""
    land = Land(Plan((MAIN,)), down(outage.error), outage.breaker).live(CLIENTS, EVERY, END)

    wishes = sum(DOWN <= wish.requests[0].began < UP for wish in land.wishes)
    requests = [told for told in land.requests if DOWN <= told.began < UP]
    attempts = land.attempts(DOWN, UP)
    steady, after = (peak(land.attempts(*times), 5.0) for times in ((10, DOWN), (UP, END)))
    with capsys.disabled():
        sys.stdout.write(
            f"\n  O01 {outage.name}: {wishes} calls, {len(requests)} requests of clients, "
            f"{len(attempts)} attempts ({len(attempts) / len(requests):.3f} a request); busiest 5 s "
            f"{steady:.1f}/s before, {after:.1f}/s after; answered {land.goodput(UP, UP + 5):.1%} "
            f"in the first 5 s, {land.goodput(UP + 5, UP + 10):.1%} in the next"
        )
    allowed = FLOOR * (UP - DOWN + 10)
    assert len(attempts) <= 1.2 * wishes + allowed
    assert len(requests) <= 1.2 * wishes + allowed
    assert after <= 1.5 * steady
    assert peak(land.attempts(UP, END), 1.0) <= 1.5 * peak(land.attempts(10, DOWN), 1.0)
    assert land.goodput(10, DOWN - 1) == land.goodput(UP + 10, END) == 1.0
    assert {told.should_retry for told in requests if told.attempts > 1} <= {None, b"false"}
    land.world.assert_settled()


def test_the_last_route_is_never_given_up():
    """Both of my providers are down for ten minutes: they are asked now and then, then used at once."""
    land = Land(Plan((MAIN, SPARE)), down(lambda: answered(500))).live(CLIENTS, EVERY, END)

    asked = sorted(land.attempts(DOWN + 60, UP) + land.attempts(DOWN + 60, UP, SPARE))
    gaps = [later - sooner for sooner, later in pairwise(asked)]
    assert max(gaps) <= 6.5
    assert len(asked) <= 0.06 * 33 * (UP - DOWN)
    assert land.goodput(UP + 10, END) == 1.0
    assert {told.wait is not None for told in land.requests if told.code == "circuit_open"} == {
        True
    }


@dataclass(frozen=True)
class Flaps:
    """A provider that comes and goes, with a healthy one beside it."""

    name: str
    is_well: Callable[[float, float], bool]
    most_opened: int


FLAPS = [
    Flaps("2 s up, 2 s down, 30 % errors", lambda now, luck: now % 4 < 2 and luck >= 0.3, 600),
    Flaps("2 s up, 2 s down", lambda now, _: now % 4 < 2, 600),
    Flaps("30 % errors", lambda _, luck: luck >= 0.3, 6),
    Flaps("20 s up, 20 s down", lambda now, _: now % 40 < 20, 60),
]


@pytest.mark.parametrize("flaps", FLAPS, ids=lambda flaps: flaps.name)
def test_a_flapping_provider_costs_nobody_an_answer(flaps, capsys):
    """Beside a healthy provider at least 95 of 100 calls are answered, and the breaker obeys its rules."""
    chance = random.Random(8)

    def weather(route: Route, now: float) -> BaseException | None:
        is_well = route == SPARE or flaps.is_well(now, chance.random())
        return None if is_well else answered(500)

    land = Land(Plan((MAIN, SPARE)), weather).live(600, 30.0, 600.0)

    model = judge(land)
    first = [wish.requests[0].status == 200 for wish in land.wishes]
    share = sum(first) / len(first)
    main, spare = len(land.attempts(0, 640)), len(land.attempts(0, 640, SPARE))
    with capsys.disabled():
        sys.stdout.write(
            f"\n  U08 {flaps.name}: {len(first)} calls, {share:.2%} answered at once; {main} attempts "
            f"there, {spare} at the healthy one; opened {len(model.opened)} times"
        )
    assert model.findings == []
    assert len(model.opened) == land.opened("up")
    assert len(model.opened) <= flaps.most_opened
    assert share >= 0.95
    assert main <= 1.2 * len(first) + FLOOR * 610


def judge(land: Land) -> Model:
    """Return the model breaker of the main route when it has seen all that happened."""
    model, eras = Model(USUAL), {}
    kept = [
        (call.started - land.begun, "kept", 0, False)
        for call in land.world.journal.calls
        if call.trail and (call.trail[0].route, call.trail[0].failure) == (MAIN, "open")
    ]
    for now, event, number, is_well in sorted((*land.provider.log, *kept), key=lambda one: one[0]):
        if event == "kept":
            model.keep_away(now)
        elif event == "begin":
            eras[number] = model.begin(now)
        else:
            model.end(now, eras[number], is_well=is_well)
    return model


def test_a_brown_out_of_the_only_provider_is_retried_away():
    """One attempt of five fails for ten minutes: of 100 calls 98 are answered, by three attempts."""
    chance = random.Random(9)
    land = Land(Plan((MAIN,)), lambda *_: answered(500) if chance.random() < 0.2 else None)
    land.live(CLIENTS, EVERY, 600.0)

    granted = [wish.is_granted for wish in land.wishes]
    assert sum(granted) / len(granted) >= 1 - 0.2**3 - 0.007
    assert land.opened("up") == 0
    assert len(land.attempts(0, 640)) <= 1.2 * len(granted) + FLOOR * 640


def test_a_slow_provider_is_left_where_that_is_wished():
    """With `slow` set, a provider that answers late is passed over; without, its answers are taken."""
    late: Weather = lambda route, now: 9.0 if route == MAIN and 60 <= now < 360 else None  # noqa: E731 - reads as a value
    wished = Land(Plan((MAIN, SPARE)), late, BreakerRules(slow=5.0)).live(600, 30.0, 420.0)
    alone = Land(Plan((MAIN,)), late).live(600, 30.0, 420.0)

    def share_fast(land: Land, begin: float, end: float) -> float:
        waits = [told.ended - told.began < 1 for told in land.requests if begin <= told.began < end]
        return sum(waits) / len(waits)

    assert share_fast(wished, 100, 360) >= 0.95
    assert len(wished.attempts(380, 420)) >= 0.9 * 20 * 40
    assert {wish.is_granted for land in (wished, alone) for wish in land.wishes} == {True}
    assert share_fast(alone, 100, 350) == 0.0
