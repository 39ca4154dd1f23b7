"""What callers may do in the world of a seed: limits at all levels, turns in a queue, money."""

import random
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final, TypeVar

from headworks.core.admission import NO_LIMITS, Rules
from headworks.core.budget import EVERY_USER, ORGANISATION, Budget, Owner
from headworks.core.queue_rules import QueueRules
from headworks.types import Priority, RateLimits
from tests.faults.simworld.callers import Ask

T = TypeVar("T")

TROUBLES: Final = ("levels", "queue", "budgets", "obedience")
USERS: Final = ("ann", "bob")
TAGS: Final = ("nightly", "trial")
PROJECTS: Final[Mapping[str, str]] = {"open": "shop", "tight": "shop"}
_CENT: Final = 10_000_000


@dataclass(frozen=True)
class Ration:
    """What may be done.

    Attributes:
        rules: Limits of everybody, of projects, users and tags; `models` those of the tight key.
        priorities: The highest that calls of a key may have.
        waiting: How many calls of the tight key may wait.
    """

    troubles: frozenset[str] = frozenset()
    rules: Rules = field(default_factory=Rules)
    models: tuple[tuple[str, RateLimits], ...] = ()
    queue: QueueRules = field(default_factory=QueueRules)
    waiting: int | None = None
    priorities: Mapping[str, Priority] = field(default_factory=dict[str, Priority])
    budgets: Mapping[Owner, Budget] = field(default_factory=dict[Owner, Budget])

    def tight(self, limits: RateLimits) -> RateLimits:
        """Return the limits of the tight key, with those for models and for waiting."""
        return replace(limits, models=self.models, queue=self.waiting)

    def budget(self, owner: Owner) -> Budget | None:
        """Return what somebody may spend."""
        named = self.budgets.get(owner)
        return self.budgets.get(EVERY_USER) if named is None and owner.kind == "user" else named


def ration(seed: int) -> Ration:
    """Return what a seed stands for."""
    chance = random.Random(f"ration {seed}")
    troubles = frozenset(name for name in TROUBLES if chance.random() < 0.4)
    found = Ration(troubles)
    if "levels" in troubles:
        rules = Rules(
            _limits(chance, 20),
            {"shop": _limits(chance, 12)},
            {"ann": _limits(chance, 6)},
            _limits(chance, 4),
            {"nightly": _limits(chance, 6)},
        )
        own = replace(_limits(chance, 4), reserve="expected")  # it is the key's own that holds
        models = (("assistant", own),) if chance.random() < 0.5 else ()
        found = replace(found, rules=rules, models=models)
    if "queue" in troubles:
        found = replace(
            found,
            queue=_queue(chance),
            waiting=chance.choice((None, None, 0, 2)),
            priorities={"tight": chance.choice(("interactive", "background", "batch"))},
        )
    if "budgets" in troubles:
        found = replace(found, budgets=_budgets(chance))
    return found


def dressed(asks: list[list[Ask]], seed: int) -> list[list[Ask]]:
    """Return calls that say whom they are for; some callers come back exactly when they are told."""
    chance = random.Random(f"dress {seed}")
    given = ration(seed).troubles
    return [[_dressed(ask, chance, given) for ask in row] for row in asks]


def _dressed(ask: Ask, chance: random.Random, troubles: frozenset[str]) -> Ask:
    headers: dict[str, str] = {}
    if troubles & {"levels", "budgets"}:
        headers["x-headworks-user"] = chance.choice(("", *USERS))
        headers["x-headworks-tags"] = ",".join(tag for tag in TAGS if chance.random() < 0.3)
    if "queue" in troubles:
        headers["x-headworks-priority"] = chance.choice(("", "interactive", "background", "batch"))
    obeys = "obedience" in troubles and ask.is_patient and chance.random() < 0.8
    said = {name: value for name, value in headers.items() if value}
    return replace(ask, headers=said, obeys=obeys)


def _limits(chance: random.Random, about: int) -> RateLimits:
    """Return limits of about so many requests a minute."""
    if chance.random() < 0.4:
        return NO_LIMITS
    return RateLimits(
        rpm=_perhaps(chance, about, about * 2),
        parallel=_perhaps(chance, max(1, about // 6), max(1, about // 3)),
        tpm=_perhaps(chance, about * 150, about * 600),
        rpd=_perhaps(chance, None, about * 2),
        tpd=_perhaps(chance, None, about * 900),
        reserve=chance.choice(("expected", "expected", "strict")),
    )


def _queue(chance: random.Random) -> QueueRules:
    return QueueRules(
        max_wait=chance.choice((0.5, 5.0, 30.0)),
        calls=chance.choice((0, 2, 10, 10_000)),
        size=chance.choice((2_000, 256_000_000)),
        in_flight=_perhaps(chance, 1, 3, 8),
    )


def _budgets(chance: random.Random) -> dict[Owner, Budget]:
    owners = (
        ORGANISATION,
        Owner("project", "shop"),
        Owner("key", "tight"),
        Owner("user", "ann"),
        EVERY_USER,
        Owner("tag", "trial"),
    )
    chosen = chance.sample(owners, chance.randint(1, 3))
    return {owner: _budget(chance) for owner in chosen}


def _budget(chance: random.Random) -> Budget:
    """Return a strict one; without a bound of its own an answer holds more than a dollar."""
    limit = chance.choice((2 * _CENT, 300 * _CENT, 2_000 * _CENT))
    return Budget(limit, "total", unpriced=chance.choice(("refuse", "flag")), is_strict=True)


def _perhaps(chance: random.Random, *values: T) -> T | None:
    return chance.choice((None, *values))
