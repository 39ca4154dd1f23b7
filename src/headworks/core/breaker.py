"""A circuit breaker: where calls fail, fewer are sent, until some succeed again.

*Closed*, all pass, and their outcomes of the last 30 s are counted. When enough of them failed, or
were too slow, it *opens*: none pass, for a wait that doubles each time it opens without having
closed. Then it is *half-open*: the next few calls are its probes. If all succeed it closes and
begins anew; one failure opens it again.

Each change of state begins an era. A call is admitted into the present era and its outcome counts
in no other: what was sent before the breaker opened says nothing about the time after.

Two rules keep it from locking anybody out. A call that has nowhere else to go (`is_last`) may
probe after 5 s, however long the breaker would wait otherwise: so the only route, or the best of
several open ones, is asked again every few seconds. And probes that stay silent for that time
are joined by others.

Sources: M. Nygard, "Release It!"; resilience4j and Polly for the counts.
"""

import math
from dataclasses import dataclass
from typing import Final, Literal

from headworks.core.tally import Tally

WINDOW: Final = 30
"""Seconds over which outcomes are counted."""

LAST_WAIT: Final = 5.0
"""Seconds after which a call that has nowhere else to go may probe."""

JITTER: Final = 0.25
"""Share of a wait that chance may add, so that several gateways do not probe together."""

REFUSED: Final = 0

State = Literal["closed", "open", "half-open"]
Forced = Literal["closed", "open"]


@dataclass(frozen=True, slots=True)
class BreakerRules:
    """When a breaker opens, and for how long.

    Attributes:
        failures: Share of failed calls at which it opens, in (0, 1]; likewise `slow_share`.
        calls: Fewer calls than this in the window prove nothing.
        slow: Seconds from which an answer's beginning is late, None for never.
        open: Seconds of the first wait; `longest` bounds its doubling.
        probes: Calls that must succeed before it closes.
    """

    failures: float = 0.5
    calls: int = 20
    slow: float | None = None
    slow_share: float = 0.8
    open: float = 5.0
    longest: float = 60.0
    probes: int = 3


NEVER_OPEN = BreakerRules(failures=math.inf, slow_share=math.inf)
"""The rules of a breaker that opens only by hand; told by its identity."""


class Breaker:
    """One breaker. `now` never goes back; `jitter` is drawn from [0, 1).

    Attributes:
        rules: May be replaced at any time.
        state: As the latest call left it: an open one becomes half-open by the call that probes.
        since: When it came to that state.
        era: The present era; an outcome of another one changes nothing.
        forced: What it was set to by hand, None while it decides for itself.
        opened: How often it has opened by itself.
    """

    __slots__ = (
        "_calls",
        "_due",
        "_failures",
        "_passed",
        "_slow",
        "_soon",
        "_taken",
        "_wait",
        "era",
        "forced",
        "opened",
        "rules",
        "since",
        "state",
    )

    def __init__(self, rules: BreakerRules, now: float) -> None:
        self.rules = rules
        self.state: State = "closed"
        self.since = now
        self.era = REFUSED + 1
        self.forced: Forced | None = None
        self.opened = 0
        self._wait = rules.open
        self._due = self._soon = now
        self._taken = self._passed = 0
        self._calls, self._failures, self._slow = Tally(WINDOW), Tally(WINDOW), Tally(WINDOW)

    def admit(self, now: float, *, is_last: bool = False) -> int:
        """Return the era in which the call's outcome counts, `REFUSED` to keep it back."""
        if self.state == "closed":
            return self.era
        if self.retry_after(now, is_last=is_last):
            return REFUSED
        if self.state == "open":
            self._turn("half-open", now)
            self._passed = 0
        elif self._taken >= self.rules.probes:  # these stay silent
            self._taken = 0
        if not self._taken:
            self._due = now + LAST_WAIT
        self._taken += 1
        return self.era

    def retry_after(self, now: float, *, is_last: bool = False) -> float:
        """Return the seconds until a call is admitted if nothing happens: 0.0 is now, `inf` never."""
        if self.state == "closed":
            return 0.0
        if self.state == "half-open" and self._taken < self.rules.probes:
            return 0.0
        is_early = is_last and self.state == "open"
        return max(0.0, (self._soon if is_early else self._due) - now)

    def succeeded(self, era: int, now: float) -> None:
        """Count a call that went well."""
        if era != self.era:
            return
        if self.state == "closed":
            self._calls.add(now)
            return
        self._passed += 1
        if self._passed >= self.rules.probes:
            self._close(now)

    def failed(self, era: int, now: float, jitter: float) -> None:
        """Count a call that the provider failed."""
        self._count(self._failures, era, now, jitter)

    def was_slow(self, era: int, now: float, jitter: float) -> None:
        """Count a call that went well but late."""
        self._count(self._slow, era, now, jitter)

    def abandoned(self, era: int) -> None:
        """Forget a call that proved nothing; its place goes to another probe."""
        if era == self.era and self._taken:
            self._taken -= 1

    def trip(self, now: float, jitter: float) -> None:
        """Open, whatever was counted, unless it is held by hand."""
        if self.forced is not None:
            return
        rules, spread = self.rules, 1.0 + JITTER * jitter
        wait = min(self._wait, rules.longest)
        self._wait = min(2 * wait, rules.longest)
        self._turn("open", now)
        self._soon = now + min(wait, LAST_WAIT) * spread
        self._due = now + wait * spread
        self.opened += 1

    def force(self, state: Forced, now: float) -> None:
        """Hold it open or closed until it is released."""
        self.forced = state
        if state == "closed":
            self._close(now)
            return
        self._turn("open", now)
        self._due = self._soon = math.inf

    def release(self, now: float) -> None:
        """Let it decide for itself again: one that was held open begins with probes."""
        if self.forced == "open":
            self._due = self._soon = now
        self.forced = None

    def counts(self, now: float) -> tuple[int, int, int]:
        """Return the calls of the window, and how many of them failed and were slow."""
        return self._calls.count(now), self._failures.count(now), self._slow.count(now)

    def _count(self, tally: Tally, era: int, now: float, jitter: float) -> None:
        if era != self.era:
            return
        if self.state == "half-open":
            self.trip(now, jitter)
            return
        self._calls.add(now)
        tally.add(now)
        if self._is_bad(now):
            self.trip(now, jitter)

    def _is_bad(self, now: float) -> bool:
        rules, (calls, failures, slow) = self.rules, self.counts(now)
        return calls >= rules.calls and (
            failures >= rules.failures * calls or slow >= rules.slow_share * calls
        )

    def _close(self, now: float) -> None:
        self._turn("closed", now)
        self._wait = self.rules.open
        for tally in (self._calls, self._failures, self._slow):
            tally.clear()

    def _turn(self, state: State, now: float) -> None:
        self.state, self.since = state, now
        self._taken = 0
        self.era += 1
