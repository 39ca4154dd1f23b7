"""The way of one call through its routes: which is next, after which failure."""

from typing import Final

from headworks.errors import Failure
from headworks.types import Plan, Route

_NOWHERE: Final[frozenset[str]] = frozenset()


class Way:
    """The route under way and those left, best first.

    The first failure of a kind that the plan has routes for puts these before all others.

    Attributes:
        route: Where the call is now.
        hurt: Upstreams that a load may have made fail this call: to ask them again is a retry.
        limited: Routes whose limit this call has met.
        has_moved: Whether it is no longer where it began.
    """

    __slots__ = ("_gone", "_left", "_on", "has_moved", "hurt", "limited", "route")

    def __init__(self, plan: Plan) -> None:
        routes = plan.routes
        self.route: Route = routes[0]
        self.has_moved = False
        self.hurt: frozenset[str] = _NOWHERE
        self.limited: tuple[Route, ...] = ()
        self._left, self._gone, self._on = routes[1:], routes[:1], plan.on

    @property
    def has_other(self) -> bool:
        """Whether a route is left."""
        return bool(self._left)

    @property
    def ahead(self) -> tuple[Route, ...]:
        """The route under way and those left, best first."""
        return (self.route, *self._left)

    def is_retry(self, route: Route) -> bool:
        """Return whether an attempt there asks an upstream again that has failed this call."""
        return route.upstream in self.hurt

    def pass_over(self, count: int) -> None:
        """Leave out so many routes, the present one first, without an attempt."""
        for _ in range(count):
            self.route, *left = self._left
            self._left = tuple(left)

    def turn(self, failure: Failure, *, is_final: bool) -> bool:
        """Take the plan's routes for a failure next; return whether there are any.

        Where the failure is final no other route helps, so that these are all that is left.
        """
        routes = self.leads_on(failure)
        self._on = {other: ways for other, ways in self._on.items() if other != failure}
        if not routes:
            return False
        rest = () if is_final else (one for one in self._left if one not in routes)
        self._left = (*routes, *rest)
        return True

    def leads_on(self, failure: Failure) -> tuple[Route, ...]:
        """Return the plan's routes for that failure that were not taken."""
        routes = self._on.get(failure)
        return () if routes is None else tuple(one for one in routes if one not in self._gone)

    def fork(self, route: Route) -> None:
        """Ask one of the routes left as well as the present one."""
        self._left = tuple(one for one in self._left if one != route)
        self._gone += (route,)
        self.has_moved = True

    def move(self) -> None:
        """Go on to the next route."""
        self.route, *left = self._left
        self._left = tuple(left)
        self._gone += (self.route,)
        self.has_moved = True
