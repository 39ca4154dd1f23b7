"""A limit for any sixty seconds, wherever they begin.

Counting per calendar minute lets twice the limit pass around the full minute, and a bucket that
refills can be used to 83 % only if no minute may ever exceed the limit. So: time is cut into slots
of 100 ms, what happens is counted in its slot, and a slot counts in full until its last instant
has left the window. The limit is then never exceeded in any window, and what is lost is at most
one slot in six hundred: 99.8 % of the limit can be used.

Slots are numbered by `int(now * 10)`. Slot s covers [s/10, (s+1)/10), so it has left the window of
sixty seconds when the present slot is s + 601 or later. Only slots in which something happened are
kept, at most 601 of them.
"""

import math
from itertools import accumulate
from typing import Final

WINDOW: Final = 60.0
_SLOTS_A_SECOND: Final = 10
_LIFE: Final = 601
"""Slots after which a slot has left the window."""
_ROUNDING: Final = 1e-6
"""Added to a wait, so that whoever waits exactly as long is not early by a rounding error."""


class Window:
    """Amounts of the last sixty seconds. `now` never goes back; amounts are positive."""

    __slots__ = ("_amounts", "_slots", "_used")

    def __init__(self) -> None:
        self._slots: list[int] = []
        self._amounts: list[int] = []
        self._used = 0

    def take(self, now: float, amount: int, limit: int) -> float:
        """Count the amount and return 0.0, or count nothing and return the seconds to wait.

        After that wait it fits, if nothing else is counted meanwhile; `inf` says that it never
        will, the amount being greater than the limit.
        """
        wait = self.wait(now, amount, limit)
        if not wait:
            self.add(now, amount)
        return wait

    def wait(self, now: float, amount: int, limit: int) -> float:
        """Return the seconds until the amount fits: 0.0 is at once, `inf` never."""
        surplus = self.used(now) + amount - limit
        if surplus <= 0:
            return 0.0
        if amount > limit:
            return math.inf
        freed = zip(self._slots, accumulate(self._amounts), strict=True)
        return _leaves(next(slot for slot, amounts in freed if amounts >= surplus), now)

    def add(self, now: float, amount: int) -> None:
        """Count the amount, whether it fits or not."""
        self._expire(now)
        slot = int(now * _SLOTS_A_SECOND)
        if self._slots and self._slots[-1] >= slot:
            self._amounts[-1] += amount
        else:
            self._slots.append(slot)
            self._amounts.append(amount)
        self._used += amount

    def used(self, now: float) -> int:
        """Return what counts in the window that ends now."""
        self._expire(now)
        return self._used

    def remaining(self, now: float, limit: int) -> int:
        """Return what fits at once."""
        return max(0, limit - self.used(now))

    def reset(self, now: float) -> float:
        """Return the seconds until the whole limit is free again, if nothing is counted."""
        self._expire(now)
        return _leaves(self._slots[-1], now) if self._slots else 0.0

    def _expire(self, now: float) -> None:
        slots, oldest = self._slots, int(now * _SLOTS_A_SECOND) - _LIFE
        if not slots or slots[0] > oldest:
            return
        gone = next((i for i, slot in enumerate(slots) if slot > oldest), len(slots))
        self._used -= sum(self._amounts[:gone])
        del slots[:gone], self._amounts[:gone]


def _leaves(slot: int, now: float) -> float:
    return (slot + _LIFE) / _SLOTS_A_SECOND - now + _ROUNDING
