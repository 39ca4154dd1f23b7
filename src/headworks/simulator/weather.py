"""What every request meets: the faults in force, the phase of the scenario, and the pace."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b
from typing import final

from headworks.ports import Clock
from headworks.simulator.config import FaultRule, Scenario, SimulatorConfig
from headworks.simulator.faults import HEADER, Occasion, Rules, parse
from headworks.simulator.pace import Pace, pace
from headworks.simulator.scenario import Course

_MOST_KNOWN = 100_000


@final
class Weather:
    """Decides by the seed and the clock.

    Rules are tried in this order: those set while it runs, those of the scenario's phase, those of
    the configuration.
    """

    def __init__(self, config: SimulatorConfig, clock: Clock) -> None:
        self._config, self._clock = config, clock
        self.reset()

    def reset(self) -> None:
        """Be as at the start: what was set since is gone, and time counts from now."""
        self._seen: Counter[str] = Counter()
        self._set = self._rules((), "set")
        self._usual = self._rules(self._config.faults, "usual")
        self.follow(self._config.scenario)

    def set_rules(self, rules: Sequence[FaultRule]) -> None:
        """Put these in the place of the rules that were set before."""
        self._set = self._rules(rules, "set")

    def follow(self, scenario: Scenario | None) -> None:
        """Begin a scenario, or end the one that is on."""
        self._course = Course(scenario, self._config.seed, self._clock)

    def meet(
        self, path: str, model: str, content: bytes, ordered: FaultRule | None
    ) -> tuple[FaultRule | None, Pace]:
        """Return the fault and the waits of one request; a fault that it orders comes first."""
        key, seen = self._occasion(path, content)
        phase = self._course.phase
        rule = ordered
        if rule is None:
            occasion = Occasion(path, model, key, seen, self._clock.now())
            rule = next((hit for rules in self._all() if (hit := rules.first(occasion))), None)
        self._course.count()
        return rule, pace(self._config, phase, model, (key, seen)).struck(rule)

    def refuses(self) -> bool:
        """Return whether a new connection is reset at once."""
        now = self._clock.now()
        return any(rules.hold("refuse", now) for rules in self._all())

    def answers_early(self, _method: str, path: str, headers: Mapping[bytes, bytes]) -> bool:
        """Return whether a request is answered as soon as its head is there."""
        ordered = headers.get(HEADER)
        if ordered is not None:
            return ordered.lstrip().startswith(b"early_answer")
        now = self._clock.now()
        return any(rules.hold("early_answer", now, path) for rules in self._all())

    def told(self) -> dict[str, object]:
        """Return the rules in force, and how often each struck."""
        return {
            "set": self._set.told(),
            "phase": self._course.rules.told(),
            "usual": self._usual.told(),
        }

    def course(self) -> dict[str, object]:
        """Return where the scenario stands."""
        return self._course.told()

    def _all(self) -> Iterator[Rules]:
        return (rules for rules in (self._set, self._course.rules, self._usual) if rules.rules)

    def _rules(self, rules: Sequence[FaultRule], name: str) -> Rules:
        return Rules(rules, (self._config.seed, name), self._clock.now())

    def _occasion(self, path: str, content: bytes) -> tuple[str, int]:
        key = f"{path} {blake2b(content, digest_size=12).hexdigest()}"
        if len(self._seen) > _MOST_KNOWN:
            self._seen.clear()
        self._seen[key] += 1
        return key, self._seen[key]


def ordered_by(headers: Mapping[bytes, bytes]) -> FaultRule | None:
    """Return the fault that a request's headers order.

    Raises:
        Refusal: There is no such fault.
    """
    value = headers.get(HEADER)
    return None if value is None else parse(value.decode("latin-1"))
