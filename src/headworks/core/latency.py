"""How long a route takes to answer: a mean that forgets, and that believes bad news at once."""

import math
from typing import Final

DECAY: Final = 10.0
"""Seconds in which an observation loses all but 1/e of its weight (Finagle's default)."""

_STALE: Final = 3 * DECAY


class PeakMean:
    """An exponentially weighted mean that jumps up to a peak and comes down slowly.

    Attributes:
        seconds: The mean, 0.0 before the first observation.
    """

    __slots__ = ("_at", "seconds")

    def __init__(self, now: float) -> None:
        self.seconds = 0.0
        self._at = now

    def observe(self, seconds: float, now: float) -> None:
        """Take in an answer that began after so many seconds. `now` never goes back."""
        if seconds >= self.seconds:
            self.seconds = seconds
        else:
            weight = math.exp((self._at - now) / DECAY)
            self.seconds = seconds + weight * (self.seconds - seconds)
        self._at = now

    def faded(self, now: float) -> float:
        """Return the mean as it has paled since the last observation; 0.0 once it says nothing."""
        age = now - self._at
        return self.seconds * math.exp(-age / DECAY) if age < _STALE else 0.0
