"""How fast calls may go to a route whose provider has asked for less, and a rest where it said 429.

A *pace* begins at 0.7 of the rate at which calls went, and may then grow by a half in 15 minutes:
that is how fast OpenAI lets traffic grow. Further cuts count from the pace there is. What was sent
before a cut says nothing about the pace after it, so that one burst of refusals is one cut; and in
15 minutes a pace falls to a quarter at most, since a provider's bad minute would else be paid for
with hours.

Calls get slots in virtual time (the generic cell rate algorithm): who comes too soon is told when
the next slot is. Who waits for it lines up and so has a slot of its own; the next is told a later
one.

A *lull* is for a limit without advice. Who comes meanwhile is told to come back after its whole
length, not at its end, so that calls return as they came and not all at once.

Sources: OpenAI's rate limit guide (`slow_down`); ITU-T I.371 for the algorithm.
"""

import math
from collections import deque
from typing import Final

PERIOD: Final = 900.0
"""Seconds in which a pace may grow by a half; one that held nobody back for so long is dropped."""

_CUT, _DEEPEST, _MUCH = 0.7, 0.25, 0.9
_GROWTH: Final = math.log(1.5)
_AGES: Final = 100.0
"""Periods after which it grows no more: it bounds nobody by then, and numbers have an end."""

_SLOWEST: Final = 0.1
"""Calls a second that a route always gets."""

_BETWEEN: Final = 1.0
"""Seconds between two cuts, at least."""

_CREDIT: Final = 1.0
"""Seconds whose unused slots may be taken at once, so that calls by chance need not wait."""

_LATE: Final = 1.0
"""Seconds for which a slot is kept for who does not come."""

EARLY: Final = 0.005
"""Seconds by which a timer may ring early: who waited as told is not told to wait again."""

_FIRST_LULL, _LONGEST_LULL = 1.0, 8.0


class Pace:
    """The pace of one route. `now` and `begun`, an attempt's beginning, are on one clock."""

    __slots__ = ("_bound", "_cut", "_due", "_lined_up", "_lowest", "_rate", "_since")

    def __init__(self, rate: float, now: float) -> None:
        """Begin below `rate`, the calls a second that have been too many."""
        self._since = now
        self._lowest = max(_SLOWEST, _DEEPEST * rate)
        self._lined_up: deque[float] = deque()
        self._rate = max(_SLOWEST, _CUT * rate)
        self._cut = self._bound = now
        self._due = now + 1 / self._rate

    def rate(self, now: float) -> float:
        """Return the calls a second that may go."""
        return self._rate * math.exp(_GROWTH * min((now - self._cut) / PERIOD, _AGES))

    def cut(self, rate: float, begun: float, now: float) -> bool:
        """Go slower still, unless the attempt was begun before the last cut; return whether.

        The line breaks up then, since its places were given at the old pace; not where the pace
        was as low as it may be and has hardly grown.
        """
        if begun < self._cut or now < self._cut + _BETWEEN:
            return False
        before = self.rate(now)
        if now >= self._since + PERIOD:
            self._since, self._lowest = now, max(_SLOWEST, _DEEPEST * before)
        self._rate = max(self._lowest, _CUT * min(rate, before))
        self._cut = self._bound = now
        if self._rate < _MUCH * before:
            self._due = now + 1 / self._rate
            self._lined_up.clear()
        return True

    def wait(self, now: float, start: float, *, in_line: bool = False) -> float:
        """Return the seconds until the next slot from `start` on, 0.0 for one that is free now.

        One is free for who has waited in line for it.
        """
        if in_line and start <= now + EARLY and self._is_kept(now):
            return 0.0
        return max(0.0, self._due - now, start - now)

    def line_up(self, now: float, start: float) -> None:
        """Keep that slot for a call that waits for it."""
        self._forget_missed(now)
        slot = now + self.wait(now, start)
        if slot > now:
            self._lined_up.append(slot)
            self._due = slot + 1 / self.rate(slot)

    def take(self, now: float, *, in_line: bool = False) -> None:
        """Let a call go: by the slot that was kept for it, else by the next one."""
        if in_line and self._is_kept(now):
            self._forget_missed(now)
            self._lined_up.popleft()
        else:
            self._due = max(self._due, now - _CREDIT) + 1 / self.rate(now)

    def bind(self, now: float) -> None:
        """Note that a call was held back."""
        self._bound = now

    def is_over(self, now: float) -> bool:
        """Return whether it is needed no more."""
        return now >= max(self._cut, self._bound) + PERIOD

    def _forget_missed(self, now: float) -> None:
        """Forget the slots that nobody came for: their callers have gone."""
        while self._lined_up and self._lined_up[0] < now - _LATE:
            self._lined_up.popleft()

    def _is_kept(self, now: float) -> bool:
        """Return whether a slot is due that was kept for somebody."""
        for slot in self._lined_up:
            if slot > now + EARLY:
                break
            if slot >= now - _LATE:
                return True
        return False


class Lull:
    """The rest of a route that refused a call for its rate, and did not say for how long.

    Attributes:
        since: When it began; a call that was sent later and went well ends it.
    """

    __slots__ = ("_seconds", "since")

    def __init__(self, now: float) -> None:
        self.since = now
        self._seconds = _FIRST_LULL

    def renew(self, begun: float, now: float) -> bool:
        """Rest for twice as long, if the attempt was begun after the rest; return whether."""
        if begun < self.since + self._seconds:
            return False
        self._seconds = min(2 * self._seconds, _LONGEST_LULL)
        self.since = now
        return True

    def wait(self, now: float) -> float:
        """Return the seconds after which a call may come back, 0.0 when the rest is over."""
        return self._seconds if now < self.since + self._seconds else 0.0
