"""How many calls may be under way at a route, since its provider had too many of them.

Each sign of overload makes it 0.7 of what it was, each call that goes well lets it grow again: by
one for each until it is where it was before, then by one (or a twentieth) for all of them together.
So many routes before one provider come to equal shares (Chiu and Jain, "Analysis of the increase
and decrease algorithms for congestion avoidance", 1989).

What was sent before a cut says nothing about what there is after it.
"""

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

_TICK, _NEW = 0.25, 0.1
"""The shortest wait; the weight of a new call in how long calls take."""


class Crowd:
    """The calls under way at one route. `now` and `begun`, an attempt's beginning, are on one clock.

    Attributes:
        most: How many there may be.
    """

    __slots__ = ("_bound", "_cut", "_goal", "_seconds", "most")

    def __init__(self, under_way: int, seconds: float, now: float) -> None:
        """Begin below what was too many; `seconds` is how long calls take."""
        self.most = self._goal = max(LEAST, _CUT * under_way)
        self._seconds = seconds
        self._cut = self._bound = now

    def cut(self, under_way: int, begun: float, now: float) -> None:
        """Allow fewer, unless the attempt was begun before the last cut."""
        if begun < self._cut or now < self._cut + _BETWEEN:
            return
        if now >= self._cut + _EPISODE:
            self._goal = self.most
        self.most = max(LEAST, _CUT * min(self.most, under_way))
        self._goal = max(self.most, _CUT * self._goal)
        self._cut = self._bound = now

    def grow(self, seconds: float) -> None:
        """Allow more, since a call went well in so many seconds."""
        self._seconds += _NEW * (seconds - self._seconds)
        if self.most < self._goal:
            self.most += 1.0
        else:
            self.most += max(1.0, _STEP * self.most) / self.most

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
