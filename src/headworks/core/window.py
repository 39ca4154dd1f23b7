"""A limit for any sixty seconds, or any day, wherever they begin.

Counting per calendar minute lets twice the limit pass around the full minute, and a bucket that
refills can be used to 83 % only if no minute may ever exceed the limit. So: time is cut into slots
(100 ms of a minute, a fortieth of a day), what happens is counted in its slot, and a slot counts
in full until its last instant has left the window. The limit is then never exceeded in any window,
and what is lost is at most one slot: 99.8 % of a minute's limit and 97 % of a day's can be used.

Slots are numbered by `int(now * rate)`. A slot of a minute covers [s/10, (s+1)/10), so it has left
the window of sixty seconds when the present slot is s + 601 or later. The slot that is under way
is what the sums are above those of before it; of the slots that are over, only those are kept in
which something happened. So counting is two additions, and everything else is done once a slot.

What turns out later is put right in the slot in which it was counted, and nowhere else.
"""

from array import array
from bisect import bisect_left
from typing import Final, Literal, NamedTuple

Counted = Literal["requests", "tokens"]

_ROUNDING: Final = 1e-6
"""Added to a wait, so that whoever waits exactly as long is not early by a rounding error."""
_LONG_AGO: Final = -(1 << 62)


class Span(NamedTuple):
    """How long a window is, and how finely it is cut.

    Attributes:
        rate: Slots a second.
        life: Slots after which a slot has left the window.
    """

    seconds: float
    rate: float
    life: int

    @property
    def period(self) -> float:
        """Seconds until what is counted at the beginning of a slot has left."""
        return self.life / self.rate

    def slot(self, now: float) -> int:
        """Return the number of the slot that the moment lies in."""
        return int(now * self.rate)


MINUTE: Final = Span(60.0, 10.0, 601)
DAY: Final = Span(86_400.0, 1 / 2160, 41)


class Window:
    """Requests and tokens of the last minute or day.

    Whoever counts says the slot to `expire` first, and then adds to `requests` and `tokens`. Slots
    never go back but in `settle`.

    Attributes:
        slot: The slot that is under way: what is added now counts there.
        requests: Sum over the window that ends in that slot.
        tokens: Likewise.
    """

    __slots__ = ("_amounts", "_requests", "_slots", "_tokens", "requests", "slot", "span", "tokens")

    def __init__(self, span: Span) -> None:
        self.span = span
        self.slot = _LONG_AGO
        self.requests = self.tokens = 0
        self._requests = self._tokens = 0  # without those of this slot
        self._slots = array("q")
        self._amounts = array("q")  # requests and tokens of each

    def expire(self, slot: int) -> None:
        """Let the window end in this slot, and forget what has left it."""
        if slot <= self.slot:
            return
        slots, requests, tokens = self._slots, self.requests, self.tokens
        if requests != self._requests or tokens != self._tokens:
            slots.append(self.slot)
            self._amounts.extend((requests - self._requests, tokens - self._tokens))
        if slots and slots[0] <= slot - self.span.life:
            self._drop(slot - self.span.life)
        self.slot, self._requests, self._tokens = slot, self.requests, self.tokens

    def _drop(self, oldest: int) -> None:
        """Forget the slots up to this one."""
        slots, amounts = self._slots, self._amounts
        end = bisect_left(slots, oldest + 1)
        for at in range(0, 2 * end, 2):
            self.requests -= amounts[at]
            self.tokens -= amounts[at + 1]
        del slots[:end], amounts[: 2 * end]

    def add(self, slot: int, requests: int, tokens: int) -> None:
        """Count in this slot, whether it fits or not."""
        self.expire(slot)
        self.requests += requests
        self.tokens += tokens

    def settle(self, slot: int, tokens: int, requests: int = 0) -> None:
        """Add to what was counted in a slot, or take from it; the slot may have left."""
        if slot < self.slot:
            at = bisect_left(self._slots, slot)
            if at == len(self._slots) or self._slots[at] != slot:
                return
            self._amounts[2 * at] += requests
            self._amounts[2 * at + 1] += tokens
            self._requests += requests
            self._tokens += tokens
        self.requests += requests
        self.tokens += tokens

    def wait(self, now: float, surplus: int, what: Counted) -> float:
        """Return the seconds until at least so many of those counted will have left."""
        column = what == "tokens"
        for slot, amount in zip(self._slots, self._amounts[column::2], strict=True):
            surplus -= amount
            if surplus <= 0:
                return self._leaves(slot, now)
        if surplus > self._now()[column]:
            raise ValueError("More is to leave than was counted")
        return self._leaves(self.slot, now)

    def reset(self, now: float, what: Counted) -> float:
        """Return the seconds until all that was counted will have left."""
        column = what == "tokens"
        if self._now()[column]:
            return self._leaves(self.slot, now)
        for at in range(len(self._slots) - 1, -1, -1):
            if self._amounts[2 * at + column]:
                return self._leaves(self._slots[at], now)
        return 0.0

    def _now(self) -> tuple[int, int]:
        """Return what was counted in the slot that is under way."""
        return self.requests - self._requests, self.tokens - self._tokens

    def _leaves(self, slot: int, now: float) -> float:
        return (slot + self.span.life) / self.span.rate - now + _ROUNDING
