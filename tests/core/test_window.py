"""The limit holds in any minute, and nearly all of it can be used."""

import math
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from headworks.core.window import Window


@dataclass
class Oracle:
    """Remembers every event, and looks at every window that ends with one."""

    events: list[tuple[float, int]] = field(default_factory=list[tuple[float, int]])

    def busiest(self) -> int:
        """The most that any sixty seconds saw."""
        return max(
            (
                sum(amount for when, amount in self.events if end - 60 < when <= end)
                for end, _ in self.events
            ),
            default=0,
        )


steps = st.one_of(
    st.integers(0, 50).map(lambda ms: ms / 1000),  # a burst
    st.floats(0, 70, allow_nan=False),
    st.sampled_from([0.1, 59.9, 60.0, 60.1]),
)
asks = st.lists(st.tuples(steps, st.integers(1, 5)), max_size=120)


@settings(max_examples=300)
@given(asks, st.integers(1, 20), st.floats(0, 1e6))
def test_no_minute_ever_sees_more_than_the_limit(asked, limit, start):
    """Whatever callers do and whenever they do it, any sixty seconds stay within the limit."""
    window, oracle, now = Window(), Oracle(), start
    for step, amount in asked:
        now += step
        if not window.take(now, amount, limit):
            oracle.events.append((now, amount))

    assert oracle.busiest() <= limit


@settings(max_examples=300)
@given(asks, st.integers(1, 20), st.integers(1, 20), st.floats(0, 1e6))
def test_waiting_exactly_as_told_succeeds(asked, limit, amount, start):
    """Retry-After is true: who waits that long gets in, who waits 0.1 s less does not."""
    window, now = Window(), start
    for step, size in asked:
        now += step
        window.take(now, size, limit)
    wait = window.wait(now, amount, limit)

    if amount > limit:
        assert wait == math.inf
        return
    if wait > 0.1:
        assert window.wait(now + wait - 0.1, amount, limit) > 0
    assert window.take(now + wait, amount, limit) == 0.0


@given(asks, st.integers(1, 20))
def test_a_refusal_changes_nothing(asked, limit):
    """Knocking at a closed door does not keep it closed."""
    polite, rude, now = Window(), Window(), 0.0
    for step, amount in asked:
        now += step
        first = polite.take(now, amount, limit)
        assert rude.take(now, amount, limit) == first
        for _ in range(3):
            if first:
                assert rude.take(now, amount, limit) == first
        assert rude.remaining(now, limit) == polite.remaining(now, limit)
        assert rude.reset(now) == polite.reset(now)


def test_nearly_the_whole_limit_can_be_used():
    """A caller that always waits as told gets at least 97 % of its limit, minute after minute."""
    for limit in (1, 60, 500, 6_000):
        window, now, taken = Window(), 0.0, 0
        while now < 3_600:
            if wait := window.take(now, 1, limit):
                now += wait
            else:
                taken += 1
                now += 0.001
        assert taken >= 0.97 * limit * 60


def test_two_hundred_impatient_callers_get_all_there_is():
    """Callers that hammer without waiting take no more than the limit and no less than 97 %."""
    window, oracle, limit = Window(), Oracle(), 100
    for tick in range(10 * 60 * 10):
        now = tick / 10 + 0.03
        for _ in range(200):
            if not window.take(now, 1, limit):
                oracle.events.append((now, 1))

    assert oracle.busiest() <= limit
    assert len(oracle.events) >= 0.97 * limit * 10


def test_headers_have_true_numbers():
    """What remains and when all is free again are told as they are."""
    window = Window()
    assert (window.remaining(5.0, 3), window.reset(5.0)) == (3, 0.0)

    window.add(5.0, 2)

    assert (window.used(6.0), window.remaining(6.0, 3)) == (2, 1)
    assert 59.1 <= window.reset(6.0) <= 59.11
    assert (window.remaining(65.2, 3), window.reset(65.2)) == (3, 0.0)


def test_a_limit_that_was_lowered_holds_at_once():
    """After a reload nothing more fits until enough of the old use has left."""
    window = Window()
    for second in range(10):
        window.add(float(second), 1)

    assert window.remaining(10.0, 4) == 0
    assert 56.0 <= window.wait(10.0, 1, 4) <= 56.2


def test_memory_is_bounded():
    """A window remembers at most 601 slots, and nothing once it is idle."""
    window = Window()
    for tick in range(100_000):
        window.add(tick / 100, 1)
    assert len(window._slots) == len(window._amounts) <= 601

    assert window.used(2_000.0) == 0
    assert window._slots == window._amounts == []


def test_a_clock_that_stands_still_counts_all_the_same():
    """Many requests in one instant are as many requests."""
    window = Window()

    assert [window.take(1.0, 1, 2) for _ in range(2)] == [0.0, 0.0]
    assert window.take(1.0, 1, 2) > 60
