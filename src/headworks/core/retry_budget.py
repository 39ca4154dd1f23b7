"""How much an upstream may be asked again: retries are a share of its requests.

Without a bound, an upstream that fails gets three times its load just when it can bear least.
The budget allows retries up to a share of the requests of the last 10 s, and a few a second
beside, so that a quiet upstream's failures are repeated too (Finagle's RetryBudget).
"""

from dataclasses import dataclass
from typing import Final

from headworks.core.tally import Tally

SECONDS: Final = 10


@dataclass(frozen=True, slots=True)
class BudgetRules:
    """What is allowed: `share` of the requests, and `floor` retries a second whatever they are."""

    share: float = 0.2
    floor: float = 3.0


class RetryBudget:
    """Requests and retries of one upstream. `now` never goes back.

    Attributes:
        rules: May be replaced at any time.
        deposit: Notes a request that is no retry, `withdraw` a retry that is really made.
    """

    __slots__ = ("_requests", "_retries", "deposit", "rules", "withdraw")

    def __init__(self, rules: BudgetRules) -> None:
        self.rules = rules
        self._requests, self._retries = Tally(SECONDS), Tally(SECONDS)
        self.deposit, self.withdraw = self._requests.add, self._retries.add

    def left(self, now: float) -> int:
        """Return how many retries are allowed at this moment."""
        allowed = self.rules.share * self._requests.count(now) + self.rules.floor * SECONDS
        return max(0, int(allowed) - self._retries.count(now))

    def counts(self, now: float) -> tuple[int, int]:
        """Return the requests and the retries of the window."""
        return self._requests.count(now), self._retries.count(now)
