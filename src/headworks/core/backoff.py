"""What to do after a failed attempt: the same route again, the next one, or give up."""

from dataclasses import dataclass

from headworks.errors import Retry
from headworks.types import Refusal

MOST_HERE = 2
"""Attempts on one route while another one is left: a second failure is no accident."""

MOST_ONCE = 2
"""Attempts in all at what is worth one more attempt only."""

LONGEST_KEPT = 60.0
"""Seconds a caller is kept waiting for its only route; a longer wait is the caller's to plan."""


@dataclass(frozen=True, slots=True)
class Situation:
    """What is known when an attempt has failed.

    Attributes:
        attempts: Attempts made so far, over all routes.
        here: Attempts made so far on this route.
        has_other: Whether an untried route is left.
        patience: Seconds that the same route is worth waiting for while another one is left.
        remaining: Seconds left of the call's time.
    """

    attempts: int
    here: int
    has_other: bool
    patience: float
    remaining: float


@dataclass(frozen=True, slots=True)
class Step:
    """The next attempt: where, and after how many seconds."""

    other_route: bool
    wait: float = 0.0


@dataclass(frozen=True, slots=True)
class Backoff:
    """Exponential backoff with full jitter, capped.

    Waits are drawn from [0, first * 2**n] (AWS Architecture Blog, "Exponential Backoff And
    Jitter"), so that callers who failed together do not come back together. A provider's own
    Retry-After is a floor: we never come back sooner.
    """

    attempts: int = 3
    first: float = 0.5
    longest: float = 8.0

    def next(
        self, retry: Retry, retry_after: float | None, jitter: float, at: Situation
    ) -> Step | None:
        """Return the next step, None to give up; `jitter` is drawn from [0, 1)."""
        most = min(self.attempts, MOST_ONCE) if retry is Retry.ONCE else self.attempts
        if retry is Retry.NEVER or at.attempts >= most:
            return None
        is_worn = at.has_other and at.here >= MOST_HERE
        if retry is Retry.OTHER_ROUTE or is_worn:
            return Step(other_route=True) if at.has_other else None
        wait = self.delay(at.attempts, jitter, retry_after)
        worth = at.patience if at.has_other else LONGEST_KEPT
        if wait <= worth and wait < at.remaining:
            return Step(other_route=False, wait=wait)
        return Step(other_route=True) if at.has_other else None

    def delay(self, attempts: int, jitter: float, retry_after: float | None) -> float:
        """Return the seconds to wait after the failed attempt number `attempts`, from 1."""
        wait = jitter * min(self.longest, self.first * 2.0 ** (attempts - 1))
        return max(wait, retry_after or 0.0)


def held_back(refusal: Refusal, at: Situation, held: float = 0.0) -> Step | None:
    """Return the step where the route itself keeps a call back for longer than it would wait.

    A pause that fits the patience is waited for, and so is that of an only route; else another
    route takes over. `held` is what the call has waited.
    """
    wait, worth = refusal.wait, at.patience if at.has_other else LONGEST_KEPT
    is_worth = refusal.reason == "cooling" and held + wait <= worth and wait < at.remaining
    if is_worth:
        return Step(other_route=False, wait=wait)
    return Step(other_route=True) if at.has_other else None
