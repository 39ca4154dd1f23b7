"""How many calls may be under way at a route, since its provider had too many of them.

Each sign of overload makes it 0.7 of what is under way, each call that goes well lets it grow
again: by one for each up to 0.7 of what was allowed, then by one (or a twentieth) for all of them
together. So many routes before one provider come to equal shares (Chiu and Jain, "Analysis of the
increase and decrease algorithms for congestion avoidance", 1989).

What was sent before a cut says nothing about what there is after it. Nor is every failure a sign
of too many calls: where two cuts in a row do not help, because as large a share fails as before,
they are taken back, and for a while no other is made. So a provider that fails now and then,
whatever it is asked, is not left with a few calls at a time.
"""

import math
from typing import Final

LEAST: Final = 4.0
"""Calls that may always be under way."""

_CUT, _STEP = 0.7, 0.05
_BETWEEN: Final = 1.0
"""Seconds between two cuts, at least."""

_EPISODE: Final = 30.0
"""Seconds in which cuts have one cause: what there was before the first of them is the goal."""

_OVER: Final = 300.0
"""Seconds after which it is dropped, if nobody was held back."""

_TICK, _NEW = 0.02, 0.1
"""The shortest wait; the weight of a new call in how long calls take."""

_EXPECTED: Final = 8.0
"""Failures that would come, had a cut not helped, until it is judged."""
_LEFT, _BETTER = 0.7, 1.15
"""A cut helps if at most so much of the share of failures is left, or so many more go well."""
_IN_VAIN: Final = 2
_PATIENCE: Final = 60.0
"""Cuts that do not help until they are taken back; seconds until it is tried again."""


class Concurrency:
    """The calls under way at one route. `now` and `begun`, an attempt's beginning, are on one clock.

    Attributes:
        most: How many there may be.
    """

    __slots__ = (
        "_before", "_bound", "_calls", "_cut", "_failed", "_goal", "_in_vain", "_left", "_quiet",
        "_seconds", "_share", "most",
    )  # fmt: skip

    def __init__(self, under_way: int, seconds: float, now: float, share: float = 1.0) -> None:
        """Begin below what was too many; `seconds` is how long calls take, `share` of them failed."""
        self._before = float(under_way)
        self.most = self._goal = max(LEAST, _CUT * under_way)
        self._seconds, self._bound = seconds, now
        self._in_vain, self._left, self._quiet = 0, 0, -math.inf
        self._try(share, now)

    def cut(
        self, under_way: int, begun: float, now: float, share: float, *, is_told: bool = False
    ) -> None:
        """Allow fewer, since a call failed that was begun after the last cut; a `share` fails of late.

        Until it is known whether the last cut has helped nothing is done, unless the provider has
        said itself that it has too much to do (`is_told`).
        """
        if begun < self._cut:
            return
        self._count(now, failed=True)
        if now < self._cut + _BETWEEN or (not is_told and (self._left or now < self._quiet)):
            return
        if now >= self._cut + _EPISODE:
            self._goal = self._before = self.most
            self._in_vain = 0
        self.most = max(LEAST, _CUT * min(self.most, under_way))
        self._goal = max(self.most, _CUT * self._goal)
        self._bound = now
        self._try(share, now)
        if is_told:  # what the provider says itself needs no trial
            self._left, self._in_vain = 0, 0

    def grow(self, begun: float, now: float) -> None:
        """Allow more, since a call went well."""
        self._seconds += _NEW * (now - begun - self._seconds)
        if self.most < self._goal:
            self.most += 1.0
        else:
            self.most += max(1.0, _STEP * self.most) / self.most
        if begun >= self._cut:
            self._count(now, failed=False)

    def _try(self, share: float, now: float) -> None:
        """Begin to count what goes well and what fails after a cut."""
        self._cut, self._share, self._failed = now, share, 0
        self._calls = self._left = math.ceil(_EXPECTED / share)

    def _count(self, now: float, *, failed: bool) -> None:
        """Count a call; when enough are known, take back cuts that have not helped."""
        if not self._left:
            return
        self._left -= 1
        self._failed += failed
        if self._left:
            return
        share = self._failed / self._calls
        is_better = 1 - share >= _BETTER * (1 - self._share) > 0
        self._in_vain = 0 if is_better or share <= _LEFT * self._share else self._in_vain + 1
        if self._in_vain >= _IN_VAIN:
            self.most = self._goal = max(self.most, self._before)
            self._in_vain, self._quiet = 0, now + _PATIENCE

    def wait(self, under_way: int, ahead: float) -> float:
        """Return about how long a call has to wait with so many `ahead` of it, 0.0 if it may go."""
        over = under_way + ahead + 1 - self.most
        return 0.0 if over <= 0 else max(_TICK, over * self._seconds / self.most)

    def bind(self, now: float) -> None:
        """Note that a call was held back."""
        self._bound = now

    def is_over(self, now: float) -> bool:
        """Return whether it is needed no more."""
        return now >= self._bound + _OVER
