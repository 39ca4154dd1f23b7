"""Which account a call must go to, by the things it refers to: always the one that made them."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from headworks.core.stateful import Reference
from headworks.errors import StatefulIdElsewhere, StatefulIdUnknown
from headworks.types import Plan, Request, Route, Timeouts

SEVERAL = 0
"""The number that stands for more than one home."""

_LONGEST_SHOWN = 64
_ANEW = "or make it anew"


@dataclass(frozen=True, slots=True)
class Home:
    """An account at an upstream: credentials that see the same things.

    Attributes:
        number: What its ids are remembered with.
    """

    number: int
    upstream: str
    credentials: tuple[str, ...]
    timeouts: Timeouts

    def holds(self, route: Route) -> bool:
        """Return whether a route leads here."""
        return route.upstream == self.upstream and route.credential in self.credentials

    def routes(self) -> tuple[Route, ...]:
        """Return the routes for a request that names no model."""
        return tuple(Route(self.upstream, "", name, self.timeouts) for name in self.credentials)


@dataclass(frozen=True, slots=True)
class Directory:
    """All accounts of a configuration, the first one in front.

    Attributes:
        by_number: The home of each number that ids were ever remembered with, if it is still there.
        upstreams: The upstream of every such number.
        default: Where things are looked for that nobody knows, None to refuse.
    """

    all: tuple[Home, ...]
    by_number: Mapping[int, Home]
    upstreams: Mapping[int, str]
    default: Home | None = None

    def find(self, references: Iterable[Reference], number: Callable[[str], int | None]) -> Home:
        """Return the home of everything that a call refers to.

        `number` tells what an id was remembered with.

        Raises:
            StatefulIdUnknown: Nobody knows where one of them lives.
            StatefulIdElsewhere: They live in several homes, or in one that is no more.
        """
        found: Home | None = None
        first = ""
        for reference in references:
            home = self._home(reference, number)
            if found is None:
                found, first = home, reference.shown
            elif home is not found:
                raise _apart(first, found, reference.shown, home)
        if found is None:
            raise LookupError("No reference, no home.")
        return found

    def _home(self, reference: Reference, number: Callable[[str], int | None]) -> Home:
        for id_ in reference.ids:
            known = number(id_)
            if known is not None:
                return self._standing(known, reference.shown)
        if self.default is None:
            raise _unknown(reference.shown)
        return self.default

    def _standing(self, number: int, shown: str) -> Home:
        if number == SEVERAL:
            raise StatefulIdElsewhere(
                f"Several accounts have made something called {_cut(shown)}, so that nobody can "
                "tell which is meant."
            )
        home = self.by_number.get(number)
        if home is None:
            upstream = self.upstreams.get(number, "unknown")
            raise StatefulIdElsewhere(
                f"{_cut(shown)} lives in an account of the upstream {upstream!r} that is no longer "
                f"configured. Ask the operator to restore its credential, {_ANEW}."
            )
        return home


def narrowed(plan: Plan, request: Request, home: Home, shown: str) -> Plan:
    """Return the plan with the routes alone that lead home.

    Raises:
        StatefulIdElsewhere: It has none.
    """
    routes = _at(home, plan.routes)
    if not routes and not request.model:
        routes = home.routes()
    if not routes:
        raise StatefulIdElsewhere(
            f"{_cut(shown)} lives in an account of the upstream {home.upstream!r}, where no route "
            f"of the model {request.model[:128]!r} can take this request. Ask for a model that "
            f"leads there, {_ANEW}."
        )
    if routes == plan.routes and not plan.on:
        return plan
    on = {failure: kept for failure, ways in plan.on.items() if (kept := _at(home, ways))}
    unfit = tuple(one for one in plan.unfit if home.holds(one.route))
    behind = tuple(one for one in plan.unfit_behind if home.holds(one.route))
    return replace(plan, routes=routes, on=on, unfit=unfit, unfit_behind=behind)


def _at(home: Home, routes: Sequence[Route]) -> tuple[Route, ...]:
    return tuple(route for route in routes if home.holds(route))


def _unknown(shown: str) -> StatefulIdUnknown:
    return StatefulIdUnknown(
        f"Nothing called {_cut(shown)} was made through this gateway, so that it cannot tell which "
        "account holds it. Make it anew, or ask the operator for the setting unknown_ids: first."
    )


def _apart(one: str, home: Home, other: str, elsewhere: Home) -> StatefulIdElsewhere:
    where = f"in an account of the upstream {home.upstream!r}"
    there = f"in one of {elsewhere.upstream!r}"
    if home.upstream == elsewhere.upstream:
        there = "in another one there"
    return StatefulIdElsewhere(
        f"{_cut(one)} lives {where}, {_cut(other)} {there}; one call cannot use both. Use what "
        "one account has made."
    )


def _cut(shown: str) -> str:
    return repr(shown if len(shown) <= _LONGEST_SHOWN else shown[:_LONGEST_SHOWN] + "…")
