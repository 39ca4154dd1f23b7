"""In which order the members of a route group are tried, decided anew for each call.

*Weighted*: drawn by weight without replacement, so that the first of them has its share of all
calls, and those that follow a failure have theirs (Efraimidis and Spirakis, "Weighted random
sampling with a reservoir", 2006). *Least latency*: two are drawn at random and the less loaded one
is taken, again and again; nobody runs after the one that was best a moment ago (Mitzenmacher, "The
power of two choices", 2001). *Cheapest*: by the price of this very call; what has no known price
comes last.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, assert_never

from headworks.core.pricing import Price, assess
from headworks.types import Route, Usage

Strategy = Literal["order", "weighted", "least_latency", "cheapest"]


@dataclass(frozen=True, slots=True)
class Member:
    """A model at an upstream, as the operator named it: one route for each credential, best first.

    Attributes:
        place: Its name, "upstream/model".
    """

    place: str
    routes: tuple[Route, ...]
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Group:
    """Routes between which a strategy chooses."""

    strategy: Strategy
    members: tuple[Member, ...]

    @property
    def is_fixed(self) -> bool:
        """Whether each call gets the same order."""
        if self.strategy == "least_latency":
            return sum(len(one.routes) for one in self.members) == 1
        return self.strategy == "order" or len(self.members) == 1


@dataclass(frozen=True, slots=True)
class Conditions:
    """What the order depends on.

    Attributes:
        random: Return a number in [0, 1).
        load: Return how long a route would keep a call waiting, 0 for one that nobody knows.
        price: Return what a model costs, None if that is unknown.
    """

    random: Callable[[], float]
    load: Callable[[Route], float]
    price: Callable[[str], Price | None]


def ordered(
    strategy: Strategy, members: Sequence[Member], estimate: Usage, conditions: Conditions
) -> Iterable[Route]:
    """Return the routes of some members of a group, the one to be tried first in front."""
    match strategy:
        case "order":
            return _routes(members)
        case "weighted":
            return _routes(_by_weight(members, conditions.random))
        case "least_latency":
            return _by_load(_routes(members), conditions)
        case "cheapest":
            return _routes(_by_price(members, estimate, conditions.price))
        case _:
            assert_never(strategy)


def _routes(members: Iterable[Member]) -> list[Route]:
    return [route for one in members for route in one.routes]


def _by_weight(members: Sequence[Member], random: Callable[[], float]) -> list[Member]:
    """Return the members in the order in which exponential clocks of their weights ring."""
    rings = [(-math.log(1.0 - random()) / one.weight, at) for at, one in enumerate(members)]
    return [members[at] for _, at in sorted(rings)]


def _by_load(routes: list[Route], conditions: Conditions) -> list[Route]:
    random, left = conditions.random, [(conditions.load(route), route) for route in routes]
    found: list[Route] = []
    while len(left) > 1:
        one, other = int(random() * len(left)), int(random() * (len(left) - 1))
        other += other >= one
        best = one if left[one][0] <= left[other][0] else other
        found.append(left.pop(best)[1])
    return [*found, *(route for _, route in left)]


def _by_price(
    members: Sequence[Member], estimate: Usage, price: Callable[[str], Price | None]
) -> list[Member]:
    def rank(member: Member) -> float:
        known = price(member.routes[0].model)
        spent = None if known is None else assess(known, estimate)[0]
        return math.inf if spent is None else spent

    return sorted(members, key=rank)
