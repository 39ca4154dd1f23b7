"""How the product of a world treats failures, and when its providers are ill: both by the seed."""

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

import msgspec

from headworks.core.breaker import NEVER_OPEN, BreakerRules
from headworks.core.context import Policy, Strategy
from headworks.core.context_units import Keep
from headworks.core.retry_budget import BudgetRules
from headworks.errors import Failure
from headworks.simulator import FaultRule
from headworks.types import AT_FIRST_TOKEN, Commit

RETRY_AFTER: Final = 0.7
"""Seconds that a provider asks for when it has had too many requests."""
FIXED: Final = "I cannot help with that."
"""What the operator has written for answers that a content filter stopped."""

_BREAKERS: Final = (
    BreakerRules(),
    BreakerRules(calls=3, open=0.5, longest=2.0, probes=1),
    BreakerRules(failures=0.3, calls=5, slow=2.0, open=1.0, longest=8.0),
    NEVER_OPEN,
)
_BUDGETS: Final = (BudgetRules(), BudgetRules(0.2, 0.1))
_COMMITS: Final = (Commit(40), Commit(400), Commit(None))
_CHAINS: Final[Mapping[Failure, tuple[str, ...]]] = {
    "rate_limit": ("west/gpt-6-sol",),
    "overloaded": ("west/gpt-6-sol", "west/gpt-6-luna"),
    "server_error": ("west/gpt-6-luna",),
    "timeout": ("west/gpt-6-sol",),
    "broken": ("west/gpt-6-sol",),
    "connection": ("west/gpt-6-sol",),
    "quota": ("west/gpt-6-luna",),
    "context_length": ("east/gpt-6-sol",),
}
_STRATEGIES: Final[tuple[Strategy, ...]] = (
    "error",
    "drop_oldest",
    "drop_middle",
    "keep",
    "summarize",
    "larger_model",
)
_REROUTE: Final = ("west/gpt-6-sol",)
_SYMPTOMS: Final = {
    "failing": FaultRule("status", status=503),
    "dead": FaultRule("reset_before_head"),
    "silent": FaultRule("hang_before_head"),
    "limited": FaultRule("status", status=429, retry_after=RETRY_AFTER),
    "refused": FaultRule("status", status=500),
}
Symptom = Literal["failing", "dead", "silent", "limited", "refused"]
"""What calls meet; where the provider is `refused`, no new connection comes about either."""


@dataclass(frozen=True)
class Illness:
    """When a provider answers nobody, seconds of the world; `every` so many it is up again."""

    symptom: Symptom
    begin: float
    end: float
    every: float | None = None

    def rule(self) -> FaultRule:
        """Return it as the simulator knows it."""
        rule = _SYMPTOMS[self.symptom]
        return replace_times(rule, self.begin, self.end, self.every)

    def refuses(self, now: float) -> bool:
        """Whether there is no connection to be had."""
        if self.symptom != "refused" or not self.begin <= now < self.end:
            return False
        return self.every is None or (now - self.begin) % self.every < self.every / 2


def replace_times(
    rule: FaultRule, start: float, until: float, every: float | None = None
) -> FaultRule:
    """Return a rule that holds for a time, or in turns of so many seconds."""
    return msgspec.structs.replace(rule, start=start, until=until, every=every)


@dataclass(frozen=True)
class FailurePolicy:
    """What the operator says of failures.

    Attributes:
        on: What is tried next after which failure, for the models with a choice.
        fixed: What is told in place of an answer that was filtered.
        context: What is done with long requests to the model `fitted`.
        ills: When which provider is ill.
    """

    breaker: BreakerRules = _BREAKERS[0]
    budget: BudgetRules = _BUDGETS[0]
    commit: Commit = AT_FIRST_TOKEN
    on: Mapping[Failure, tuple[str, ...]] = field(default_factory=dict[Failure, tuple[str, ...]])
    fixed: str | None = None
    context: Policy | None = None
    ills: Mapping[str, Illness] = field(default_factory=dict[str, Illness])


def failure_policy(seed: int, troubles: frozenset[str], span: float) -> FailurePolicy:
    """Return what a seed stands for."""
    chance = random.Random(f"policy {seed}")
    return FailurePolicy(
        breaker=chance.choice(_BREAKERS),
        budget=chance.choice(_BUDGETS),
        commit=chance.choice(_COMMITS) if "late commit" in troubles else AT_FIRST_TOKEN,
        on=_chains(chance, troubles),
        fixed=FIXED if "filters" in troubles and chance.random() < 0.5 else None,
        context=_context(chance) if "long requests" in troubles else None,
        ills=_ills(chance, span) if "illness" in troubles else {},
    )


def _chains(chance: random.Random, troubles: frozenset[str]) -> dict[Failure, tuple[str, ...]]:
    chains: dict[Failure, tuple[str, ...]] = {}
    if "chains" in troubles:
        chains |= chance.sample(tuple(_CHAINS.items()), chance.randint(1, 5))
    if "filters" in troubles and chance.random() < 0.5:
        chains["content_filter"] = _REROUTE
    return chains


def _context(chance: random.Random) -> Policy:
    strategy = chance.choice(_STRATEGIES)
    models = {"summarize": "single", "larger_model": "assistant"}
    is_keen = strategy == "keep"
    keep = Keep(chance.random() < 0.7, chance.randint(0, 1), 1) if is_keen else Keep()
    window, reserve = chance.choice((90, 250)), chance.choice((None, 20))
    if strategy == "summarize":
        window, reserve = 350, 20  # a smaller one has no room for a summary
    return Policy(strategy, models.get(strategy, ""), window, reserve, keep)


def _ills(chance: random.Random, span: float) -> dict[str, Illness]:
    names = chance.choice((("east",), ("east",), ("west",), ("east", "west")))
    return {name: _illness(chance, span) for name in names}


def _illness(chance: random.Random, span: float) -> Illness:
    symptoms: tuple[Symptom, ...] = ("failing", "dead", "silent", "limited", "refused")
    begin = chance.uniform(0, span / 2)
    every = chance.choice((None, None, 1.0, 4.0))
    return Illness(chance.choice(symptoms), begin, begin + chance.uniform(0.5, span), every)
