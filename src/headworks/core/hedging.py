"""When a second attempt beside a late one is worth its price, and how many there may be.

Late is what nineteen of twenty answers are not. A loser's time counts as far as it was waited for:
it took longer than that, which is all that a percentile asks. So hedging does not make the next
calls look faster than they are (Dean and Barroso, "The Tail at Scale", CACM 2013).
"""

from bisect import bisect_left, insort
from collections import deque
from typing import Final

from headworks.core.classify import is_misfit
from headworks.errors import CallError, Retry, UpstreamError
from headworks.types import Route

ENOUGH: Final = 100
"""Answers from which a percentile is learned; fewer prove nothing."""

KEPT: Final = 1000
"""Answers that a percentile is of, and requests that a share is of: the last ones."""


class Times:
    """How long the last answers of one route took to begin, in seconds."""

    __slots__ = ("_latest", "_sorted")

    def __init__(self) -> None:
        self._latest: deque[float] = deque()
        self._sorted: list[float] = []

    def observe(self, seconds: float) -> None:
        """Take in one more; the oldest is forgotten."""
        if len(self._latest) >= KEPT:
            del self._sorted[bisect_left(self._sorted, self._latest.popleft())]
        self._latest.append(seconds)
        insort(self._sorted, seconds)

    @property
    def p95(self) -> float | None:
        """The 95th percentile, None while too few are known."""
        count = len(self._sorted)
        return self._sorted[-(-count * 95 // 100) - 1] if count >= ENOUGH else None


class Allowance:
    """Second attempts as a share of requests: of the last 1,000, and so of all there ever were."""

    __slots__ = ("_requests", "_spent")

    def __init__(self) -> None:
        self._requests = 0
        self._spent: deque[int] = deque()

    def deposit(self) -> None:
        """Note a request."""
        self._requests += 1

    def has_left(self, share: float) -> bool:
        """Return whether one more keeps within `share`."""
        spent, gone = self._spent, self._requests - KEPT
        while spent and spent[0] <= gone:
            spent.popleft()
        return len(spent) + 1 <= share * min(self._requests, KEPT)

    def withdraw(self) -> None:
        """Note a second attempt."""
        self._spent.append(self._requests)


class Hedges:
    """What is known and spent, by route and by model: only those that hedge are asked for."""

    def __init__(self) -> None:
        self._times: dict[tuple[str, str, bool], Times] = {}
        self._allowances: dict[str, Allowance] = {}

    def times(self, route: Route, *, stream: bool) -> Times:
        """Return the times of a model at an upstream, whichever credential it is asked by.

        Streams have their own: they begin to answer long before they are whole.
        """
        key = (route.upstream, route.model, stream)
        return self._times.get(key) or self._times.setdefault(key, Times())

    def allowance(self, model: str) -> Allowance:
        """Return what the model that was asked for may spend."""
        return self._allowances.get(model) or self._allowances.setdefault(model, Allowance())


def weight(error: CallError) -> int:
    """Return how much a failure tells, when two attempts beside each other failed: most decides.

    What a provider said of itself tells more than what befell a connection. What it said of the
    request tells least here: it is about a model that was asked for speed's sake.
    """
    if not isinstance(error, UpstreamError) or error.retry is Retry.NEVER or is_misfit(error):
        return 0
    return 1 + error.is_answer
