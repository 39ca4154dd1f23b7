"""What a key may do at most: never exceeded, never leaked, never charged for a refusal."""

import re
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headworks.errors import LimitError, ParallelLimited, RateLimited
from headworks.ports import Limits, Reservation
from headworks.stores.limits import LimitState, MemoryLimits
from headworks.testing import FakeClock
from headworks.types import NO_USAGE, Caller, RateLimits, Usage

pytestmark = pytest.mark.anyio


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def limits(clock):
    return MemoryLimits(clock)


def web(rpm: int | None = None, parallel: int | None = None, key_id: str = "k") -> Caller:
    return Caller("web", key_id, limits=RateLimits(rpm, parallel))


def reserve(limits: MemoryLimits, caller: Caller) -> Reservation:
    """Reserve by hand: a single step, which shows that nothing suspends."""
    steps = limits.reserve(caller, NO_USAGE)
    try:
        steps.send(None)
    except StopIteration as done:
        reservation: Reservation = done.value
        return reservation
    raise AssertionError("reserving waited")


def admitted(limits: MemoryLimits, caller: Caller) -> bool:
    """Whether the caller gets in; raises the refusal if not."""
    return reserve(limits, caller) is not None


async def test_the_engine_can_use_it(limits):
    """It is what the engine asks for."""
    port: Limits = limits

    (await port.reserve(web(1, 1), Usage(5, 5))).settle(Usage(1, 1))


def test_the_refusal_reads_like_openais(clock, limits):
    """Clients that parse OpenAI's text find limit, use and the wait; Retry-After is the same."""
    for _ in range(60):
        reserve(limits, web(60)).settle(NO_USAGE)
        clock.advance(0.5)

    clock.advance(26.9)
    with pytest.raises(RateLimited) as caught:
        reserve(limits, web(60))

    assert str(caught.value) == (
        "Rate limit reached for key 'web' on requests per minute (RPM): "
        "Limit 60, Used 60, Requested 1. Please try again in 3.2s."
    )
    assert caught.value.retry_after == pytest.approx(3.2, abs=1e-5)
    assert (caught.value.status, caught.value.code) == (429, "rate_limit_exceeded")
    assert caught.value.should_retry


def test_a_short_wait_is_told_in_milliseconds(clock, limits):
    """Waits below a second read as OpenAI's: 100ms."""
    reserve(limits, web(1))
    clock.advance(60)

    with pytest.raises(RateLimited, match="Please try again in 100ms"):
        reserve(limits, web(1))


def test_waiting_as_told_gets_in(clock, limits):
    """Who comes back when told is served."""
    reserve(limits, web(1))
    with pytest.raises(RateLimited) as caught:
        reserve(limits, web(1))
    assert caught.value.retry_after is not None
    assert 60 < caught.value.retry_after < 60.2

    clock.advance(caught.value.retry_after)

    assert admitted(limits, web(1))


def test_a_key_that_allows_nothing_promises_nothing(limits):
    """There is no moment to come back to when the limit is 0."""
    with pytest.raises(RateLimited, match="This key allows no requests") as caught:
        reserve(limits, web(0))
    assert caught.value.retry_after is None


def test_too_many_at_once(limits):
    """The parallel limit counts calls in flight; one that ends makes room."""
    first = reserve(limits, web(parallel=2))
    reserve(limits, web(parallel=2))
    with pytest.raises(ParallelLimited) as caught:
        reserve(limits, web(parallel=2))

    assert str(caught.value) == (
        "Limit of parallel requests reached for key 'web': "
        "Limit 2, Used 2, Requested 1. Please try again in 1s."
    )
    assert (caught.value.status, caught.value.retry_after) == (429, 1.0)
    first.settle(NO_USAGE)
    assert admitted(limits, web(parallel=2))


def test_settling_twice_frees_one_place(limits):
    """However often a call ends, it held one place."""
    first = reserve(limits, web(parallel=2))
    reserve(limits, web(parallel=2))
    for _ in range(3):
        first.settle(NO_USAGE)

    reserve(limits, web(parallel=2))
    with pytest.raises(ParallelLimited):
        reserve(limits, web(parallel=2))


def test_a_refusal_consumes_nothing(clock, limits):
    """Refused by one limit, a request counts against none."""
    held = reserve(limits, web(2, 1))
    for _ in range(50):
        with pytest.raises(ParallelLimited):
            reserve(limits, web(2, 1))
    assert limits.state(web(2, 1)).remaining == 1

    held.settle(NO_USAGE)
    reserve(limits, web(2, 1)).settle(NO_USAGE)
    for _ in range(50):
        with pytest.raises(RateLimited):
            reserve(limits, web(2, 1))
    assert limits.statistics().in_flight == 0

    clock.advance(60.2)
    assert limits.state(web(2, 1)) == LimitState(2, 2, 0.0)


def test_where_both_refuse_the_longer_wait_is_told(limits):
    """Nobody is told to come back in a second when it will take a minute."""
    reserve(limits, web(1, 1))

    with pytest.raises(RateLimited) as caught:
        reserve(limits, web(1, 1))
    assert caught.value.retry_after is not None
    assert caught.value.retry_after > 60


def test_keys_do_not_share_limits(limits):
    """One app's flood costs another app nothing."""
    reserve(limits, web(1, 1, "a"))

    assert admitted(limits, web(1, 1, "b"))
    with pytest.raises(LimitError):
        reserve(limits, web(1, 1, "a"))


def test_changed_limits_count_from_the_next_call(limits):
    """A reload neither forgets what was used nor needs a restart."""
    for _ in range(5):
        reserve(limits, web())

    with pytest.raises(RateLimited, match="Limit 5, Used 5"):
        reserve(limits, web(5))
    with pytest.raises(ParallelLimited, match="Limit 3, Used 5"):
        reserve(limits, web(6, 3))
    assert admitted(limits, web(6, 6))


def test_headers_have_true_numbers(clock, limits):
    """What is left and when all is free again; asking changes nothing."""
    assert limits.state(web(3)) == LimitState(3, 3, 0.0)
    assert limits.state(web()) == LimitState(None, None, 0.0)
    assert limits.statistics().keys == 0

    reserve(limits, web(3))
    clock.advance(10)

    assert limits.state(web(3)).remaining == 2
    assert limits.state(web(3)).reset == pytest.approx(50.1, abs=1e-3)


def test_a_hundred_thousand_keys_are_forgotten_again(clock, limits):
    """Memory follows the keys in use, not the keys ever seen; a long call is never forgotten."""
    tracemalloc.start()
    try:
        held = reserve(limits, web(parallel=1, key_id="long"))
        for number in range(100_000):
            reserve(limits, web(60, key_id=f"{number}")).settle(NO_USAGE)
        each = tracemalloc.get_traced_memory()[0] / 100_000
    finally:
        tracemalloc.stop()
    assert limits.statistics().keys == 100_001
    assert each < 1_500

    clock.advance(121)
    for number in range(100_000):
        reserve(limits, web(key_id=f"{number % 10}")).settle(NO_USAGE)

    assert limits.statistics().keys == 11
    with pytest.raises(ParallelLimited):
        reserve(limits, web(parallel=1, key_id="long"))
    held.settle(NO_USAGE)
    assert limits.statistics().in_flight == 0


def test_statistics_count_refusals(limits):
    """Operators see how often each limit said no."""
    reserve(limits, web(1, 1))
    for caller in (web(1, 1), web(9, 1), web(9, 1)):
        with pytest.raises(LimitError):
            reserve(limits, caller)

    found = limits.statistics()

    assert (found.keys, found.in_flight) == (1, 1)
    assert (found.rate_limited, found.parallel_limited) == (1, 2)


acts = st.lists(
    st.tuples(st.sampled_from(["reserve", "settle", "wait"]), st.integers(0, 9)), max_size=150
)


@given(acts, st.integers(1, 6), st.integers(1, 4))
def test_no_history_leaks_a_place_or_breaks_a_limit(history, rpm, parallel):
    """Any order of calls, endings and waits: both limits hold, and at the end all is free."""
    clock = FakeClock()
    limits = MemoryLimits(clock)
    held: list[Reservation] = []
    ended: list[Reservation] = []
    admitted: list[float] = []
    for act, number in history:
        if act == "wait":
            clock.advance(number * 7.3)
        elif act == "settle" and held:
            ended.append(held.pop(number % len(held)))
            ended[number % len(ended)].settle(NO_USAGE)
            ended[-1].settle(NO_USAGE)
        elif act == "reserve":
            recent = [when for when in admitted if when > clock.now() - 60]
            try:
                held.append(reserve(limits, web(rpm, parallel)))
                admitted.append(clock.now())
                assert len(recent) < rpm
            except ParallelLimited:
                assert len(held) >= parallel
            except RateLimited as refused:
                used = re.search(r"Used (\d+)", str(refused))
                assert used is not None
                assert int(used[1]) == rpm
        assert limits.statistics().in_flight == len(held) <= parallel

    for reservation in held:
        reservation.settle(NO_USAGE)
    assert limits.statistics().in_flight == 0
