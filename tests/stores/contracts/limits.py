"""What every authority on limits promises: import these tests, and define `authority_of`.

`authority_of` is a fixture that returns a function from a clock to a fresh authority.
"""

import asyncio
import math
from collections.abc import Callable, Coroutine, Sequence
from random import Random
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headworks.core.admission import Ask, Bound, Denial, Dimension, Grant, Standing, Subject
from headworks.core.levels import ORGANISATION, Level
from headworks.ports import Clock
from headworks.stores.authority import Authority, Gate
from headworks.testing import FakeClock
from headworks.types import RateLimits
from tests.stores.contracts.limits_judges import WINDOWS, Crowd, Event, Oracle

AuthorityOf = Callable[[Clock], Authority]
T = TypeVar("T")

SUBJECTS = (
    Subject(ORGANISATION),
    Subject(Level("project", "shop")),
    Subject(Level("key", "k1")),
    Subject(Level("key", "k1"), "m"),
    Subject(Level("user", "u1")),
    Subject(Level("tag", "x")),
)
KEY = SUBJECTS[2]
TENS = {
    "rpm": RateLimits(rpm=10),
    "tpm": RateLimits(tpm=10),
    "rpd": RateLimits(rpd=10),
    "tpd": RateLimits(tpd=10),
}


def run(steps: Coroutine[Any, Any, T]) -> T:
    """Run what an authority does; in memory it is a single step."""
    return asyncio.run(steps)


def granted(found: Grant | Denial) -> Grant:
    """Return the grant that must have been given."""
    assert not isinstance(found, Denial), found
    return found


def denied(found: Grant | Denial) -> Denial:
    """Return the denial that must have been given."""
    assert isinstance(found, Denial)
    return found


Gates = dict[tuple[Bound, ...], Gate]


async def ask_for(
    authority: Authority, asks: Sequence[Ask], kept: Gates | None = None
) -> Grant | Denial:
    """Ask for one call, at a gate that is new or was kept. What needs no wait is the same without."""
    bounds = tuple(Bound(one.subject, one.limits, one.limits.reserve) for one in asks)
    gate = authority.gate(bounds) if kept is None or bounds not in kept else kept[bounds]
    if kept is not None:
        kept[bounds] = gate
    tokens = asks[0].tokens
    more = [one.tokens - tokens for one in asks]
    found = gate.decide_nowait(tokens, more if any(more) else ())
    return await gate.decide(tokens, more if any(more) else ()) if found is None else found


few = st.none() | st.integers(1, 6)
many = st.none() | st.integers(1, 40)
some_limits = st.builds(RateLimits, rpm=few, parallel=few, tpm=many, rpd=few, tpd=many)
some_asks = st.lists(
    st.tuples(st.sampled_from(SUBJECTS), st.integers(0, 12)),
    min_size=1,
    max_size=5,
    unique_by=lambda ask: ask[0],
)
acts = st.lists(
    st.one_of(
        st.tuples(st.just("ask"), some_asks),
        st.tuples(st.just("settle"), st.tuples(st.integers(0, 9), st.integers(0, 15))),
        st.tuples(
            st.just("wait"), st.sampled_from([0.01, 0.1, 3.3, 31.0, 59.95, 60.1, 5_000.0, 43_000.0])
        ),
    ),
    max_size=60,
)


@settings(max_examples=250, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)  # fmt: skip
@given(
    history=acts,
    limits=st.fixed_dictionaries(dict.fromkeys(SUBJECTS, some_limits)),
    start=st.floats(0, 1e6),
    keeps=st.booleans(),
)
def test_nested_limits_hold_and_a_denial_counts_nothing(
    authority_of, history, limits, start, keeps
):
    """Whatever happens in whatever order: no limit of no level is exceeded, none refuses what fits.

    What a denial had counted anywhere would show in the numbers of those that follow.
    """

    async def play() -> None:
        clock, oracle = FakeClock(start), Oracle()
        authority, gates = authority_of(clock), Gates() if keeps else None
        for act, detail in history:
            now = clock.now()
            if act == "wait":
                clock.advance(detail)
            elif act == "settle" and (open_ := [one for one in oracle.events if one.is_open]):
                which, tokens = detail
                event = open_[which % len(open_)]
                event.grant.settle(tokens)
                event.grant.settle(tokens + 7)
                event.is_open, event.tokens = False, dict.fromkeys(event.tokens, tokens)
            elif act == "ask":
                asks = [Ask(subject, limits[subject], tokens) for subject, tokens in detail]
                found = await ask_for(authority, asks, gates)
                if isinstance(found, Denial):
                    _check_denial(oracle, asks, found, now)
                else:
                    assert oracle.fits(asks, now, slack=False)
                    tokens_of = {one.subject: one.tokens for one in asks}
                    oracle.events.append(Event(now, asks, found, tokens_of))
                _check_standings(oracle, asks, found, now)
        open_ = [one for one in oracle.events if one.is_open]
        assert authority.statistics().in_flight == len(open_)
        for one in open_:
            one.grant.settle(0)
        assert authority.statistics().in_flight == 0

    run(play())


def _check_denial(oracle: Oracle, asks: list[Ask], denial: Denial, now: float) -> None:
    subject, dimension = denial.ask.subject, denial.dimension
    slack = 0.0 if dimension == "parallel" else WINDOWS[dimension][2]
    assert not oracle.fits(asks, now, slack=True)
    assert denial.limit == getattr(denial.ask.limits, dimension)
    assert (
        oracle.used(subject, dimension, now)
        <= denial.used
        <= oracle.used(subject, dimension, now, slack)
    )
    assert denial.used + denial.requested > denial.limit
    assert (denial.wait == math.inf) == (denial.requested > denial.limit)
    assert denial.wait > 0


def _check_standings(oracle: Oracle, asks: list[Ask], found: Grant | Denial, now: float) -> None:
    told: tuple[tuple[Standing | None, tuple[Dimension, ...]], ...] = (
        (found.requests, ("rpm", "rpd")),
        (found.tokens, ("tpm", "tpd")),
    )
    for standing, dimensions in told:
        left: list[tuple[int, int]] = []
        for one in asks:
            for dimension in dimensions:
                limit = getattr(one.limits, dimension)
                if limit is not None:
                    at_most = limit - oracle.used(one.subject, dimension, now)
                    more = oracle.used(one.subject, dimension, now, WINDOWS[dimension][2])
                    left.append((limit - more, at_most))
        assert (standing is None) == (not left)
        if standing is not None:
            least, most = min(low for low, _ in left), min(high for _, high in left)
            assert max(0, least) <= standing.remaining <= max(0, most)
            assert standing.remaining <= standing.limit
            assert 0 <= standing.reset <= 86_400 + 2160.1


@pytest.mark.parametrize("dimension", WINDOWS)
def test_who_waits_as_told_gets_in(authority_of, dimension):
    """Retry-After is exact: then it is let in, and not before, by a slot."""

    async def play() -> None:
        clock, slot = FakeClock(), WINDOWS[dimension][2]
        authority = authority_of(clock)
        ask = Ask(KEY, TENS[dimension], 5)
        while not isinstance(found := await ask_for(authority, [ask]), Denial):
            clock.advance(0.3)
        assert (found.dimension, found.limit, found.used) == (dimension, 10, 10)
        clock.advance(found.wait - slot)
        assert denied(await ask_for(authority, [ask])).wait <= slot + 1e-3
        clock.advance(slot)
        assert not isinstance(await ask_for(authority, [ask]), Denial)

    run(play())


def test_the_longest_wait_is_told(authority_of):
    """Nobody is told to come back in a second, or a minute, when it takes a day."""

    async def play() -> None:
        authority = authority_of(FakeClock())
        asks = [
            Ask(KEY, RateLimits(parallel=1, rpm=1), 1),
            Ask(Subject(ORGANISATION), RateLimits(rpd=1), 1),
        ]
        granted(await ask_for(authority, asks))
        found = denied(await ask_for(authority, asks))
        assert (found.ask.subject.level, found.dimension) == (ORGANISATION, "rpd")
        assert 86_400 < found.wait <= 88_561

    run(play())


def test_what_can_never_fit_is_told_so(authority_of):
    """A request larger than the limit itself has no moment to come back to."""

    async def play() -> None:
        authority = authority_of(FakeClock())
        found = denied(await ask_for(authority, [Ask(KEY, RateLimits(tpm=100), 101)]))
        assert (found.wait, found.used, found.requested) == (math.inf, 0, 101)

    run(play())


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)  # fmt: skip
@given(
    dimension=st.sampled_from(list(TENS)),
    history=st.lists(st.floats(0, 0.7), max_size=25),
    ahead=st.integers(0, 25),
    size=st.sampled_from([1, 2, 5]),
)
def test_who_comes_after_others_gets_in_as_foreseen(authority_of, dimension, history, ahead, size):
    """Behind others who come as soon as they can, a call is let in when it was foreseen, to a slot.

    An authority that cannot foresee says so; then a denial alone says when to come back.
    """
    _, seconds, slot = WINDOWS[dimension]

    async def play() -> None:
        clock = FakeClock()
        authority = authority_of(clock)
        bound = Bound(KEY, TENS[dimension], "expected")
        gate = authority.gate([bound])
        for after in history:
            clock.advance(after * seconds)
            await gate.decide(size)
        found = gate.forecast(size, (), lambda _: (ahead, ahead * size))
        if found is None:
            assert gate.decide_nowait(size) is None
            return
        due = clock.now() + found
        for _ in range(ahead + 1):
            while isinstance(denial := await gate.decide(size), Denial):
                clock.advance(denial.wait)
        rounds = 1 + ahead * size // 10  # how often the whole limit is used until then
        assert due - slot - 1e-3 <= clock.now() <= due + rounds * slot + 1e-3

    run(play())


def test_what_was_not_used_is_given_back_and_what_was_used_beyond_is_taken(authority_of):
    """A call counts what it used, in the window in which it began."""

    async def play() -> None:
        clock = FakeClock(1000.0)
        authority = authority_of(clock)
        ask = Ask(KEY, RateLimits(tpm=100), 100)
        first = granted(await ask_for(authority, [ask]))
        clock.advance(30)
        first.settle(40)
        second = granted(await ask_for(authority, [ask._replace(tokens=60)]))
        second.settle(200)
        found = denied(await ask_for(authority, [ask._replace(tokens=1)]))
        assert (found.used, found.limit) == (240, 100)
        assert 60 < found.wait < 60.2  # the second began now, and is too much alone
        clock.advance(30.2)
        assert denied(await ask_for(authority, [ask._replace(tokens=1)])).used == 200
        clock.advance(30)
        granted(await ask_for(authority, [ask]))

    run(play())


def test_what_needs_no_tokens_needs_none_left(authority_of):
    """Listing files is not refused because tokens have run out."""

    async def play() -> None:
        authority = authority_of(FakeClock())
        ask = Ask(KEY, RateLimits(tpm=10), 10)
        granted(await ask_for(authority, [ask])).settle(50)
        granted(await ask_for(authority, [ask._replace(tokens=0)]))

    run(play())


def test_limits_may_change_between_calls(authority_of):
    """A limit that is lowered counts what was used before it."""

    async def play() -> None:
        authority = authority_of(FakeClock())
        for _ in range(5):
            granted(await ask_for(authority, [Ask(KEY, RateLimits(), 10)]))
        assert denied(await ask_for(authority, [Ask(KEY, RateLimits(rpm=5), 10)])).used == 5
        assert denied(await ask_for(authority, [Ask(KEY, RateLimits(tpm=59), 10)])).used == 50
        assert denied(await ask_for(authority, [Ask(KEY, RateLimits(parallel=3), 10)])).used == 5
        granted(await ask_for(authority, [Ask(KEY, RateLimits(rpm=6, parallel=6, tpm=60), 10)]))

    run(play())


def test_a_limit_that_is_new_gives_nothing_back_of_what_it_did_not_count(authority_of):
    """Calls under way when a limit on days is set neither count against it nor in its favour."""

    async def play() -> None:
        authority = authority_of(FakeClock())
        before = granted(await ask_for(authority, [Ask(KEY, RateLimits(), 1_000)]))
        daily = Ask(KEY, RateLimits(tpd=100), 100)
        granted(await ask_for(authority, [daily]))
        before.settle(0)
        assert denied(await ask_for(authority, [daily._replace(tokens=1)])).used == 100

    run(play())


@pytest.mark.parametrize(
    "limits", [RateLimits(rpm=600), RateLimits(tpm=6_000), RateLimits(rpm=300, tpm=6_000)]
)
def test_two_hundred_callers_at_once_get_all_there_is_and_no_more(authority_of, limits):
    """In no sixty seconds is a limit exceeded, and at least 97 % of the tightest is used."""
    minutes, clock = 5, FakeClock(77.77)
    gate = authority_of(clock).gate([Bound(KEY, limits, "expected")])
    crowd = Crowd(gate, clock, Random(5))
    run(crowd.work(60.0 * minutes))

    served = sorted(crowd.served)
    shares: list[float] = []
    for limit, amounts in ((limits.rpm, [1 for _ in served]), (limits.tpm, [n for _, n in served])):
        if limit is None:
            continue
        assert _busiest([when for when, _ in served], amounts) <= limit
        shares.append(sum(amounts) / (limit * minutes))
    assert max(shares) >= 0.97


def _busiest(times: list[float], amounts: list[int]) -> int:
    most = total = first = 0
    for at, amount in zip(times, amounts, strict=True):
        total += amount
        while times[first] <= at - 60.0:
            total -= amounts[first]
            first += 1
        most = max(most, total)
    return most
