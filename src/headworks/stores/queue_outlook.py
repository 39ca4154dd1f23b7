"""How long a call would wait: what stands before it, at every limit that it has to pass."""

import math
from collections.abc import Callable, Hashable, Sequence
from typing import Final, Protocol

from headworks.core.crowds import Crowds
from headworks.core.queue_rules import wait_after
from headworks.core.turnover import Appointments, Turnover
from headworks.errors import LimitError, ParallelLimited
from headworks.stores.queue_wish import Wish, key_of
from headworks.types import Call, Usage

_UNKNOWN: Final = 1.0
"""Seconds that a call is taken to last before one has ended."""
_ROUNDS: Final = 16
"""How often those are counted anew who are told to come before; then all of them are."""

Ahead = Callable[[Hashable], tuple[int, int]]
"""How many calls stand before one at somebody's limits, and with how many tokens."""


class Foresight(Protocol):
    """What limits know of waits."""

    def subjects(self, call: Call) -> Sequence[Hashable]:
        """Return whose limits a call has to pass."""
        ...

    def tokens(self, call: Call, estimate: Usage) -> int:
        """Return how many tokens a call asks for."""
        ...

    def forecast(self, call: Call, estimate: Usage, ahead: Ahead) -> float | None:
        """Return the seconds until the rates let a call in that comes after others.

        None where nobody can tell: then what the limits said last is all that is known.
        """
        ...


class Outlook:
    """Who waits before which limit, and who is to come back when.

    Attributes:
        told: Those who are to come back.
        lasts: How long calls last.
    """

    def __init__(self, foresight: Foresight, crowds: Crowds) -> None:
        self._foresight, self._crowds = foresight, crowds
        self.told = Appointments()
        self.lasts = Turnover()

    @property
    def mean(self) -> float:
        """Seconds that a call takes up its place, as far as it is known."""
        return self.lasts.mean or _UNKNOWN

    def scopes(self, call: Call) -> tuple[Hashable, ...]:
        """Return where a call stands among others: at its key, and at all limits that it meets."""
        return (key_of(call), *self._foresight.subjects(call))

    def place(self, wish: Wish) -> None:
        """Tell a call where it stands, and what it counts for there."""
        wish.scopes = self.scopes(wish.call)
        wish.tokens = self._foresight.tokens(wish.call, wish.estimate)

    def is_awaited(self, call: Call, now: float) -> bool:
        """Return whether somebody is to come by now whose place the call might take.

        That is one of its own key, or whoever was sent away by a limit that both have to pass.
        """
        key, told = key_of(call), self.told
        return any(
            told.expected(scope, key, now).is_any
            for scope in self.scopes(call)
            if scope == key or told.why(scope) is not None
        )

    def predict(
        self, wish: Wish, denial: LimitError | None, place: Callable[[Wish, int], float]
    ) -> float:
        """Return the seconds until it is the call's turn, those counted who are told to come.

        `denial` is what the limits said last, `place` tells the seconds until there is a place for
        the call after so many of its key.
        """
        found = self._wait(wish, denial, place, -math.inf)
        for more in range(_ROUNDS if self.told.count else 0):
            until = wish.asked + found if more + 1 < _ROUNDS else math.inf
            later = self._wait(wish, denial, place, until)
            if later <= found:
                break
            found = later
        return found

    def _wait(
        self,
        wish: Wish,
        denial: LimitError | None,
        place: Callable[[Wish, int], float],
        until: float,
    ) -> float:
        """Return the seconds until it is the call's turn, after those who are to come until then."""

        def ahead(scope: Hashable) -> tuple[int, int]:
            come = self.told.expected(scope, wish.key, until)
            return self._crowds.ahead(scope, wish.rank, wish.key, wish.tokens, come)

        found = self._foresight.forecast(wish.call, wish.estimate, ahead)
        subject = None if denial is None else denial.subject
        calls, tokens = ahead(wish.key if subject is None else subject)
        if found is None:
            found = wait_after(denial, calls, tokens)
        if isinstance(denial, ParallelLimited):
            found = max(found, (calls + 1) * self.mean / max(1, denial.limit))
        own = self._crowds.own(wish.key, wish.rank, wish.key)
        come = self.told.expected(wish.key, wish.key, until)
        return max(found, place(wish, own + come.calls))
