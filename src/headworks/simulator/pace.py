"""How long an answer takes: drawn for each request around its model's latency, by the seed."""

from dataclasses import dataclass, replace
from math import cos, exp, log, pi, sqrt

from headworks.simulator.chance import Chance
from headworks.simulator.config import FaultRule, Phase, SimulatorConfig


@dataclass(frozen=True, slots=True)
class Pace:
    """The waits of one answer, in seconds.

    Attributes:
        first_token: Until the head of a stream, and of the model's time in a whole answer.
        per_token: Before each token.
        silence: Between a stream's head and its first event.
        ping: Between the comments of a silent stream, whose head then comes at once; 0: none.
    """

    first_token: float = 0.0
    per_token: float = 0.0
    silence: float = 0.0
    ping: float = 0.0

    def struck(self, rule: FaultRule | None) -> "Pace":
        """Return the waits under a fault."""
        if rule is None:
            return self
        if rule.fault == "slow_first_token":
            return replace(self, silence=self.silence + rule.seconds)
        if rule.fault == "slow":
            by = rule.factor
            return replace(self, first_token=self.first_token * by, per_token=self.per_token * by)
        return self


NO_PAUSE = Pace()


def pace(config: SimulatorConfig, phase: Phase, model: str, occasion: tuple[object, ...]) -> Pace:
    """Return the waits of one answer. `occasion` decides the draw, together with the seed."""
    latency = phase.latency or config.latency_of(model)
    speed = phase.speed * (config.speed if config.speed > 0 else 1.0)
    first_token, per_token = latency.first_token / speed, latency.per_token() / speed
    if not first_token and not per_token:
        return NO_PAUSE
    if latency.spread:
        chance = Chance(config.seed, "pace", *occasion)
        first_token *= around_one(chance, latency.spread)
        per_token *= around_one(chance, latency.spread)
    return Pace(first_token, per_token, ping=latency.ping / speed)


def around_one(chance: Chance, spread: float) -> float:
    """Draw from the log-normal distribution with mean 1 and standard deviation `spread`.

    A normal variate by Box and Muller (Ann. Math. Statist. 29, 1958); sigma and mu by the moments.
    """
    variance = log(1 + spread * spread)
    normal = sqrt(-2 * log(1 - chance.unit())) * cos(2 * pi * chance.unit())
    return exp(sqrt(variance) * normal - variance / 2)
