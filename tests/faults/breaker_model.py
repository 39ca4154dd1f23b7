"""A second breaker, written from what the guide promises, that judges the first by what it did.

It is told in order when attempts began and ended and when calls were kept away, and says where it
would not have done so.
"""

from dataclasses import dataclass, field

from headworks.core.breaker import BreakerRules

WINDOW, SPREAD, SILENT = 30, 1.25, 5.0
"""Seconds that count; how much longer chance makes a wait; when silent probes are joined."""
_ROUNDING = 1e-6


@dataclass
class Model:
    """One route's breaker.

    Attributes:
        findings: What should not have been.
        opened: When it opened.
    """

    rules: BreakerRules
    state: str = "closed"
    findings: list[str] = field(default_factory=list[str])
    opened: list[float] = field(default_factory=list[float])

    def __post_init__(self) -> None:
        self._results: list[tuple[int, bool]] = []
        self._wait, self._era, self._taken, self._passed, self._first = (
            self.rules.open,
            0,
            0,
            0,
            0.0,
        )

    def begin(self, now: float) -> int:
        """Note an attempt; return the era that its end belongs to."""
        if self.state == "open":
            if now < self.opened[-1] + self._rest - _ROUNDING:
                self.findings.append(f"{now:.3f}: an attempt, {self._rest} s not over")
            self._turn("half-open")
            self._taken = self._passed = 0
            self._first = now
        if self.state == "half-open":
            if self._taken >= self.rules.probes:
                if now < self._first + SILENT:
                    self.findings.append(f"{now:.3f}: a probe too many")
                self._taken, self._first = 0, now
            self._taken += 1
        return self._era

    def end(self, now: float, era: int, *, is_well: bool) -> None:
        """Note how an attempt ended."""
        if era != self._era:
            return
        if self.state == "half-open":
            self._passed += is_well
            if not is_well:
                self._open(now)
            elif self._passed >= self.rules.probes:
                self._turn("closed")
                self._results, self._wait = [], self.rules.open
            return
        self._results.append((int(now), is_well))
        self._results = [one for one in self._results if one[0] > int(now) - WINDOW]
        failed = sum(not was_well for _, was_well in self._results)
        is_bad = failed >= self.rules.failures * len(self._results)
        if not is_well and len(self._results) >= self.rules.calls and is_bad:
            self._open(now)

    def keep_away(self, now: float) -> None:
        """Note that a call was not sent here, though it was first to be."""
        is_resting = (
            self.state == "open" and now <= self.opened[-1] + self._rest * SPREAD + _ROUNDING
        )
        is_probed = self.state == "half-open" and self._taken >= self.rules.probes
        if not (is_resting or is_probed):
            self.findings.append(
                f"{now:.3f}: a call was kept away from a route that is {self.state}"
            )

    def _open(self, now: float) -> None:
        self._rest = min(self._wait, self.rules.longest)
        self._wait = 2 * self._rest
        self.opened.append(now)
        self._turn("open")

    def _turn(self, state: str) -> None:
        self.state = state
        self._era += 1
