"""How busy routes are: what a choice between them goes by."""

import pytest

from headworks.errors import ConnectFailed
from headworks.stores.health import MemoryHealth
from headworks.testing import FakeClock, SeededRandom
from headworks.types import Route
from tests.stores.routes import attempt

FAST, SLOW = Route("up", "fast", "main"), Route("up", "slow", "main")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def health(clock: FakeClock) -> MemoryHealth:
    return MemoryHealth(clock, SeededRandom(1))


def answer(health: MemoryHealth, clock: FakeClock, route: Route, seconds: float) -> None:
    admission = attempt(health, route)
    clock.advance(seconds)
    admission.answered()
    admission.settle()


def test_nothing_known_is_worth_a_try(health):
    """A route that nobody has used loads nothing, and asking about it does not make it known."""
    assert health.load(FAST) == 0.0
    assert health.statistics() == ()


def test_slower_and_busier_is_more(health, clock):
    """The load is the latency, times the calls that are under way and the one that asks."""
    answer(health, clock, FAST, 0.2)
    answer(health, clock, SLOW, 0.4)
    assert health.load(FAST) < health.load(SLOW)

    first, second = attempt(health, FAST), attempt(health, FAST)
    busy = health.load(FAST)
    assert busy > health.load(SLOW)
    first.settle()
    second.settle(ConnectFailed())
    assert health.load(FAST) < busy


def test_a_slow_route_is_tried_again(health, clock):
    """What was slow once pales with time, and is soon as good as unknown."""
    answer(health, clock, SLOW, 8.0)
    before = health.load(SLOW)
    clock.advance(10.0)
    assert 0.0 < health.load(SLOW) < before / 2
    clock.advance(25.0)
    assert health.load(SLOW) == 0.0


def test_one_call_tries_what_is_unknown(health, clock):
    """While the first call to an unknown route is under way, every known one goes before it."""
    answer(health, clock, SLOW, 9.0)
    trying = attempt(health, FAST)
    assert health.load(FAST) > health.load(SLOW)
    trying.answered()
    trying.settle()
    clock.advance(0.1)
    answer(health, clock, FAST, 0.1)
    assert health.load(FAST) < health.load(SLOW)


def test_failing_fast_is_not_being_fast(health, clock):
    """A route that refuses at once does not attract the calls of those that work."""
    answer(health, clock, SLOW, 2.0)
    attempt(health, FAST).settle(ConnectFailed())
    assert health.load(FAST) > health.load(SLOW)

    answer(health, clock, FAST, 1.0)
    before = health.load(FAST)
    for _ in range(4):
        attempt(health, FAST).settle(ConnectFailed())
    assert health.load(FAST) > 2 * before
