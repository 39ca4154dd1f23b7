"""The limit holds in any minute and on any day, and nearly all of it can be used."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headworks.core.window import DAY, MINUTE, Counted, Span, Window

SPANS = {"minute": MINUTE, "day": DAY}


@dataclass
class Limited:
    """A window with a limit on it, and everything that was let in."""

    limit: int
    span: Span = MINUTE
    what: Counted = "tokens"
    events: list[tuple[float, int]] = field(default_factory=list[tuple[float, int]])

    def __post_init__(self) -> None:
        self.window = Window(self.span)

    def wait(self, now: float, amount: int) -> float:
        """Seconds until the amount fits."""
        self.window.expire(self.span.slot(now))
        used = self.window.tokens if self.what == "tokens" else self.window.requests
        surplus = used + amount - self.limit
        return self.window.wait(now, surplus, self.what) if surplus > 0 else 0.0

    def take(self, now: float, amount: int) -> float:
        """Let the amount in, or tell the seconds to wait."""
        wait = self.wait(now, amount)
        if not wait:
            counted = (1, amount) if self.what == "tokens" else (amount, 1)
            self.window.add(self.span.slot(now), *counted)
            self.events.append((now, amount))
        return wait

    def busiest(self) -> int:
        """The most that any window that ends with an event saw."""
        return max(
            (
                sum(amount for when, amount in self.events if end - self.span.seconds < when <= end)
                for end, _ in self.events
            ),
            default=0,
        )


steps = st.one_of(
    st.floats(0, 0.001),  # a burst
    st.floats(0, 1.2),
    st.sampled_from([0.1, 1 / 40, 0.999, 1.0, 1.001]),
)
"""In lengths of the window."""
asks = st.lists(st.tuples(steps, st.integers(1, 5)), max_size=120)
spans = st.sampled_from(list(SPANS.values()))
whats = st.sampled_from(["requests", "tokens"])


@settings(max_examples=300)
@given(asks, st.integers(5, 20), st.floats(0, 1e6), spans, whats)
def test_no_window_ever_sees_more_than_the_limit(asked, limit, start, span, what):
    """Whatever callers do and whenever they do it, any minute and any day stay within the limit."""
    limited, now = Limited(limit, span, what), start
    for step, amount in asked:
        now += step * span.seconds
        limited.take(now, amount)

    assert limited.busiest() <= limit


@settings(max_examples=300)
@given(asks, st.integers(5, 20), st.integers(1, 5), st.floats(0, 1e6), spans, whats)
def test_waiting_exactly_as_told_succeeds(asked, limit, amount, start, span, what):
    """Retry-After is true: who waits that long gets in, who comes a slot earlier does not."""
    limited, now = Limited(limit, span, what), start
    for step, size in asked:
        now += step * span.seconds
        limited.take(now, size)
    wait = limited.wait(now, amount)

    if wait > 1 / span.rate:
        assert limited.wait(now + wait - 1 / span.rate, amount) > 0
    assert limited.take(now + wait, amount) == 0.0


@settings(max_examples=300)
@given(
    st.lists(st.tuples(steps, st.integers(0, 50), st.integers(0, 50), st.integers(0, 9)), max_size=80),
    spans,
)  # fmt: skip
def test_what_was_used_counts_when_it_was_set_aside(history, span):
    """A call that ends later is put right where it began: no other moment gains or loses by it."""
    window, now = Window(span), 1000.0
    open_: list[list[int]] = []
    counted: list[list[int]] = []
    for step, asked, used, ends in history:
        now += step * span.seconds
        slot = span.slot(now)
        window.expire(slot)
        window.add(slot, 1, asked)
        counted.append([slot, asked])
        open_.append(counted[-1])
        if ends < 5:
            one = open_.pop(ends % len(open_))
            window.settle(one[0], used - one[1])
            one[1] = used
        within = [amount for when, amount in counted if when > slot - span.life]
        assert (window.requests, window.tokens) == (len(within), sum(within))


@pytest.mark.parametrize("name", SPANS)
def test_nearly_the_whole_limit_can_be_used(name):
    """A caller that always waits as told gets at least 97 % of its limit, window after window."""
    span = SPANS[name]
    for limit in (1, 60, 500):
        limited, now, taken = Limited(limit, span), 0.0, 0
        while now < 60 * span.seconds:
            if wait := limited.take(now, 1):
                now += wait
            else:
                taken += 1
                now += 0.001
        assert taken >= 0.97 * limit * 60


def test_two_hundred_impatient_callers_get_all_there_is():
    """Callers that hammer without waiting take no more than the limit and no less than 97 %."""
    limited = Limited(100)
    for tick in range(10 * 60 * 10):
        for _ in range(200):
            limited.take(tick / 10 + 0.03, 1)

    assert limited.busiest() <= 100
    assert len(limited.events) >= 0.97 * 100 * 10


def test_headers_have_true_numbers():
    """When all is free again is told as it is, for requests and for tokens each."""
    window = Window(MINUTE)
    assert (window.reset(5.0, "requests"), window.reset(5.0, "tokens")) == (0.0, 0.0)

    window.add(MINUTE.slot(5.0), 1, 10)
    window.add(MINUTE.slot(15.0), 1, 0)

    assert 59.1 <= window.reset(6.0, "tokens") <= 59.11
    assert 69.1 <= window.reset(6.0, "requests") <= 69.11
    window.expire(MINUTE.slot(65.2))
    assert (window.requests, window.tokens) == (1, 0)


def test_a_late_end_changes_nothing_any_more():
    """What has left the window is not put right: it counts no longer, whatever it came to."""
    window = Window(MINUTE)
    window.add(MINUTE.slot(0.0), 1, 10)
    window.add(MINUTE.slot(50.0), 1, 7)
    window.expire(MINUTE.slot(61.0))

    window.settle(MINUTE.slot(0.0), 1000)

    assert (window.requests, window.tokens) == (1, 7)


def test_nothing_is_promised_that_cannot_come():
    """More than was counted never leaves."""
    with pytest.raises(ValueError, match="More is to leave"):
        Window(MINUTE).wait(0.0, 1, "tokens")


@pytest.mark.parametrize(("name", "slots"), [("minute", 601), ("day", 41)])
def test_memory_is_bounded(name, slots):
    """A window remembers so many slots at most, and nothing once it is idle."""
    span = SPANS[name]
    window = Window(span)
    for tick in range(20_000):
        slot = span.slot(tick * span.seconds / 6_000)
        window.expire(slot)
        window.add(slot, 1, 1)
    assert slots - 2 <= len(window._slots) + 1 <= slots
    assert len(window._amounts) == 2 * len(window._slots)

    window.expire(span.slot(10 * span.seconds))
    assert (window.requests, window.tokens, len(window._slots)) == (0, 0, 0)
