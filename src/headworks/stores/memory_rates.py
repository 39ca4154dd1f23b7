"""What one subject does, and what the windows of several say to one more call."""

import math
from collections.abc import Iterable, Iterator, Sequence

from headworks.core.admission import PARALLEL_WAIT, Ask, Dimension
from headworks.core.window import MINUTE, Counted, Window
from headworks.types import RateLimits

Rate = tuple[Window, int]
"""A window, and how much it may hold."""
Pair = tuple[Window, int, Window, int]
"""Two of one subject, or one that stands for both."""
No = tuple[Ask, Dimension, int, int, int, float]
"""What is in the way of an ask: which limit, how much of it is used and asked for, the wait."""
Asked = tuple[Dimension, int, Counted, Window, int]
"""What is asked of a limit: which, how large, what it counts, where, and how much."""


class Use(Window):
    """What one subject does: in a minute, at once, and in a day from the first limit on days.

    Attributes:
        seen: The tick in which it was used last, None when it was forgotten.
    """

    __slots__ = ("day", "in_flight", "seen")

    def __init__(self, tick: int) -> None:
        super().__init__(MINUTE)
        self.day: Window | None = None
        self.in_flight = 0
        self.seen: int | None = tick


def least_requests(rates: Sequence[Rate]) -> tuple[int, int, Window]:
    """Return how much is left of the limit on requests that has least left, the limit, its window."""
    window, limit = rates[0]
    least = limit - window.requests
    for other, most in rates[1:]:
        left = most - other.requests
        if left < least:
            least, limit, window = left, most, other
    return least, limit, window


def least_tokens(rates: Sequence[Rate]) -> tuple[int, int, Window]:
    """Return the same of the limits on tokens."""
    window, limit = rates[0]
    least = limit - window.tokens
    for other, most in rates[1:]:
        left = most - other.tokens
        if left < least:
            least, limit, window = left, most, other
    return least, limit, window


def denials(ask: Ask, use: Use, now: float) -> Iterator[No]:
    """Yield the limits of a subject that say no, and when each would say yes."""
    limit = ask.limits.parallel
    if limit is not None and use.in_flight >= limit:
        yield ask, "parallel", limit, use.in_flight, 1, PARALLEL_WAIT
    for dimension, limit, counted, window, amount in rates(ask, use):
        used = window.requests if counted == "requests" else window.tokens
        if (surplus := used + amount - limit) > 0:
            wait = math.inf if amount > limit else window.wait(now, surplus, counted)
            yield ask, dimension, limit, used, amount, wait


def _windows(limits: RateLimits, use: Use) -> Iterator[tuple[Dimension, int, Counted, Window]]:
    """Yield each limit on a rate that is set, with the window that it is on."""
    rates: tuple[tuple[Dimension, int | None, Counted, Window | None], ...] = (
        ("rpm", limits.rpm, "requests", use),
        ("tpm", limits.tpm, "tokens", use),
        ("rpd", limits.rpd, "requests", use.day),
        ("tpd", limits.tpd, "tokens", use.day),
    )
    for dimension, limit, counted, window in rates:
        if limit is not None and window is not None:
            yield dimension, limit, counted, window


def pairs(limited: Iterable[tuple[RateLimits, Use]], counted: Counted) -> list[Pair]:
    """Return what one kind of limit of each subject is on, where there is any."""
    pairs: list[Pair] = []
    for limits, use in limited:
        found = [
            (window, limit) for _, limit, what, window in _windows(limits, use) if what == counted
        ]
        if found:
            pairs.append((*found[0], *found[-1]))
    return pairs


def rates(ask: Ask, use: Use) -> Iterator[Asked]:
    """Yield each limit on a rate that something is asked of, and how much."""
    for dimension, limit, counted, window in _windows(ask.limits, use):
        amount = 1 if counted == "requests" else ask.tokens
        if amount:
            yield dimension, limit, counted, window, amount


def wait_after(rate: Asked, ahead: int, now: float) -> float:
    """Return the seconds until there is room after others who take it as soon as they can."""
    _, limit, counted, window, amount = rate
    used = window.requests if counted == "requests" else window.tokens
    surplus = used + ahead + amount - limit
    if surplus <= 0 or amount > limit:
        return 0.0
    rounds, surplus = divmod(surplus - 1, limit)
    period = window.span.period  # what is let in now has left after so long
    first = window.wait(now, surplus + 1, counted) if surplus < used else period
    return rounds * period + first
