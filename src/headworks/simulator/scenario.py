"""Where a scenario stands: its phases follow one another by time or by calls."""

from typing import final

from headworks.ports import Clock
from headworks.simulator.config import Phase, Scenario
from headworks.simulator.faults import Rules

NO_PHASE = Phase()


@final
class Course:
    """Goes through the phases of a scenario. After the last one it is as without a scenario."""

    def __init__(self, scenario: Scenario | None, seed: int, clock: Clock) -> None:
        self._phases = tuple(scenario.phases) if scenario else ()
        self._loops = scenario is not None and scenario.loop
        self._seed, self._clock = seed, clock
        self._at = self._calls = self._round = 0
        self._began = clock.now()
        self._rules = self._rules_of_phase()

    @property
    def phase(self) -> Phase:
        """The phase that holds now."""
        self._go_on()
        return self._phases[self._at] if self._at < len(self._phases) else NO_PHASE

    @property
    def rules(self) -> Rules:
        """The rules of the phase that holds now."""
        self._go_on()
        return self._rules

    def count(self) -> None:
        """Count a call that the present phase has served."""
        self._calls += 1

    def told(self) -> dict[str, object]:
        """Return where it stands."""
        phase = self.phase
        return {
            "phase": self._at if self._at < len(self._phases) else None,
            "name": phase.name,
            "phases": len(self._phases),
            "round": self._round,
            "seconds": round(self._clock.now() - self._began, 6),
            "calls": self._calls,
        }

    def _go_on(self) -> None:
        while self._at < len(self._phases) and self._is_over(self._phases[self._at]):
            self._at, self._calls = self._at + 1, 0
            if self._loops and self._at == len(self._phases):
                self._at, self._round = 0, self._round + 1
            self._rules = self._rules_of_phase()

    def _is_over(self, phase: Phase) -> bool:
        """Return whether a phase has ended, and let the next one begin when it did."""
        if phase.seconds is not None and self._clock.now() - self._began >= phase.seconds:
            self._began += phase.seconds
            return True
        if phase.calls is not None and self._calls >= phase.calls:
            self._began = self._clock.now()
            return True
        return False

    def _rules_of_phase(self) -> Rules:
        faults = self._phases[self._at].faults if self._at < len(self._phases) else ()
        return Rules(faults, (self._seed, "phase", self._round, self._at), self._began)
