"""Counts of the last seconds, in one bucket a second: an addition costs the same however many came."""

from typing import Final


class Tally:
    """How often something happened lately. `now` is in seconds and never goes back.

    The present second counts as far as it has gone, so that `seconds` cover between `seconds - 1`
    and `seconds` of real time.
    """

    __slots__ = ("_buckets", "_end", "_past", "_present", "_seconds")

    def __init__(self, seconds: int) -> None:
        self._seconds: Final = seconds
        self._buckets = [0] * seconds
        self._past = self._present = 0
        self._end = 1
        """The first moment after the present second, whose count waits to be put in its bucket."""

    def add(self, now: float) -> None:
        """Count one."""
        if now >= self._end:
            self._turn(int(now))
        self._present += 1

    def count(self, now: float) -> int:
        """Return how many there were."""
        if now >= self._end:
            self._turn(int(now))
        return self._past + self._present

    def clear(self) -> None:
        """Forget all."""
        self._buckets = [0] * self._seconds
        self._past = self._present = 0

    def _turn(self, second: int) -> None:
        """Empty the buckets of the seconds that have begun since the last look."""
        buckets, size, last = self._buckets, self._seconds, self._end - 1
        buckets[last % size] = self._present
        self._past += self._present
        self._present = 0
        for begun in range(max(last + 1, second + 1 - size), second + 1):
            self._past -= buckets[begun % size]
            buckets[begun % size] = 0
        self._end = second + 1
