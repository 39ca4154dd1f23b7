"""The authority in memory keeps all promises of one, and remembers no more than it must."""

import gc
import tracemalloc

import pytest

from headworks.core.admission import Ask, Bound, Denial, Subject
from headworks.core.levels import Level
from headworks.core.window import DAY, MINUTE
from headworks.stores.memory_authority import MemoryAuthority
from headworks.testing import FakeClock
from headworks.types import RateLimits
from tests.stores.contracts.limits import *  # noqa: F403 - the contract's tests
from tests.stores.contracts.limits import ask_for, denied, granted

ALL = RateLimits(10**9, 10**6, 10**9, 10**9, 10**9)


@pytest.fixture
def authority_of():
    return MemoryAuthority


def decide(authority: MemoryAuthority, *asks: Ask):
    """Decide by hand: a single step, which shows that nothing suspends between look and count."""
    steps = ask_for(authority, asks)
    try:
        steps.send(None)
    except StopIteration as done:
        return done.value
    raise AssertionError("deciding waited")


def key(number: int) -> Subject:
    return Subject(Level("key", f"{number:016}"))


def test_a_hundred_thousand_busy_keys_fit_into_200_megabytes():
    """Keys with all limits, each used all day long, take less than 2,000 bytes each."""
    keys, clock = 1_000, FakeClock()
    authority = MemoryAuthority(clock)
    asks = [Ask(key(number), ALL, 300) for number in range(keys)]
    gc.collect()
    tracemalloc.start()
    try:
        for _ in range(DAY.life):
            for ask in asks:
                decide(authority, ask).settle(1_234)
            clock.advance(1 / DAY.rate)
        gc.collect()
        each = tracemalloc.get_traced_memory()[0] / keys
    finally:
        tracemalloc.stop()

    assert authority.statistics().subjects == keys
    assert each < 2_000


def test_idle_subjects_are_forgotten_and_daily_ones_after_their_day():
    """Memory follows those in use; what still counts is never forgotten, nor is a long call."""
    clock = FakeClock()
    authority = MemoryAuthority(clock)
    held = granted(decide(authority, Ask(key(1), RateLimits(parallel=1), 0)))
    for number in range(2, 1_000):
        granted(decide(authority, Ask(key(number), RateLimits(rpm=60), 0))).settle(0)
    daily = Ask(key(0), RateLimits(rpd=1), 0)
    granted(decide(authority, daily)).settle(0)

    clock.advance(121)
    for _ in range(1_000):
        decide(authority, Ask(key(2), RateLimits(), 0)).settle(0)

    assert authority.statistics().subjects == 3
    assert isinstance(decide(authority, daily), Denial)
    denied(decide(authority, Ask(key(1), RateLimits(parallel=1), 0)))
    held.settle(0)
    clock.advance(86_400 + 2160)
    for _ in range(10):
        decide(authority, Ask(key(2), RateLimits(), 0)).settle(0)
    assert authority.statistics().subjects == 1


def test_a_day_is_counted_from_the_first_limit_on_it():
    """Who has no daily limit pays nothing for one; a minute is counted always."""
    clock = FakeClock()
    authority = MemoryAuthority(clock)
    for limits in (RateLimits(), RateLimits(rpd=10)):
        decide(authority, Ask(key(1), limits, 5)).settle(5)

    assert denied(decide(authority, Ask(key(1), RateLimits(rpm=2), 5))).used == 2
    assert denied(decide(authority, Ask(key(1), RateLimits(rpd=1), 5))).used == 1


def test_what_is_kept_of_a_subject_that_was_forgotten_counts_on():
    """A gate that was idle for long counts where all others count, and not beside them."""
    clock = FakeClock()
    authority = MemoryAuthority(clock)
    bound = Bound(key(1), RateLimits(rpm=2), "expected")
    gate = authority.gate([bound])
    granted(gate.decide_nowait(1)).settle(1)
    for _ in range(10):
        clock.advance(100)
        granted(authority.gate([Bound(key(2), RateLimits(), "expected")]).decide_nowait(1)).settle(
            1
        )
    assert authority.statistics().subjects == 1

    granted(authority.gate([bound]).decide_nowait(1))
    granted(gate.decide_nowait(1))

    assert denied(authority.gate([bound]).decide_nowait(1)).used == 2
    assert denied(gate.decide_nowait(1)).used == 2


def test_a_day_that_another_limit_begins_counts_at_every_gate():
    """Calls of a gate without a limit on days count in the day that another one has begun."""
    clock = FakeClock()
    authority = MemoryAuthority(clock)
    free = authority.gate([Bound(key(1), RateLimits(), "expected")])
    granted(free.decide_nowait(1))
    daily = authority.gate([Bound(key(1), RateLimits(rpd=2), "expected")])

    for _ in range(2):
        granted(free.decide_nowait(1))

    assert denied(daily.decide_nowait(1)).used == 2


def test_a_call_that_lasted_longer_than_a_minute_gives_back_to_its_day_alone():
    """What it gives back to the day makes no room in the minute, not even for a moment."""
    clock = FakeClock()
    authority = MemoryAuthority(clock)
    limits = RateLimits(tpm=100, tpd=150)
    gate = authority.gate([Bound(key(1), limits, "expected")])
    long = granted(gate.decide_nowait(100))
    clock.advance(MINUTE.period + 1)
    granted(gate.decide_nowait(10))

    long.settle(0)

    assert denied(gate.decide_nowait(120)).dimension == "tpm"
    granted(gate.decide_nowait(90))


def test_a_day_that_begins_with_a_reload_does_not_know_of_calls_under_way():
    """What they give back to their minute makes no room in a day that has never counted them."""
    authority = MemoryAuthority(FakeClock())
    under_way = granted(
        authority.gate([Bound(key(1), RateLimits(tpm=100), "expected")]).decide_nowait(50)
    )
    gate = authority.gate([Bound(key(1), RateLimits(tpm=100, tpd=60), "expected")])
    granted(gate.decide_nowait(1))

    under_way.settle(0)

    assert denied(gate.decide_nowait(80)).dimension == "tpd"
    granted(gate.decide_nowait(59))
