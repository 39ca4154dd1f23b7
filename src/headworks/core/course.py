"""What one call has before it and behind it, while an answer is looked for."""

import msgspec

from headworks.core.classify import is_misfit
from headworks.core.demand import Demand
from headworks.core.symptoms import is_load, symptom
from headworks.core.verdict import verdict
from headworks.core.way import Way
from headworks.errors import CallError, DeadlineExceeded, Retry, UpstreamError
from headworks.types import Plan, Route


class Course(msgspec.Struct):
    """A call's plan, its way through it, and what it has met.

    Attributes:
        until: When its time is up, on the engine's clock.
        demand: What it asks of the limits at a provider.
        here: Attempts made on the present route.
        held: Seconds that it has waited for a route to be asked.
        under_way: Attempts that wait for an upstream: seldom two.
    """

    plan: Plan
    way: Way
    until: float
    demand: Demand
    here: int = 0
    held: float = 0.0
    under_way: int = 0
    failures: list[UpstreamError] = []
    _since: float = 0.0

    def remaining(self, now: float) -> float:
        """Return the seconds that are left.

        Raises:
            DeadlineExceeded: None are.
        """
        if now >= self.until:
            raise DeadlineExceeded
        return self.until - now

    def begin(self, now: float) -> None:
        """Note that an attempt waits for its upstream."""
        if not self.under_way:
            self._since = now
        self.under_way += 1

    def end(self, now: float) -> float:
        """Return the seconds that were waited, when no attempt waits any more."""
        self.under_way = left = self.under_way - 1
        return 0.0 if left else now - self._since

    def judge(self, route: Route, error: BaseException) -> None:
        """Let a call go on where a fallback's model cannot take it; the first route's is final."""
        if isinstance(error, UpstreamError) and is_misfit(error):
            is_first = str(route) == str(self.plan.routes[0])
            error.retry = Retry.NEVER if is_first else Retry.OTHER_ROUTE

    def fail(self, route: Route, error: UpstreamError) -> None:
        """Note a failed attempt."""
        # Its frames hold what came of the answer, which may be large, for as long as the course.
        self.failures.append(error.with_traceback(None))
        if is_load(error):
            self.way.hurt |= {route.upstream}
        if symptom(error) == "pause":
            self.way.limited += (route,)

    def move(self) -> None:
        """Go on to the next route."""
        self.way.move()
        self.here = 0

    def pass_over(self, count: int) -> None:
        """Leave out so many routes, the present one first."""
        if count:
            self.way.pass_over(count)
            self.here = 0

    def fork(self, route: Route) -> None:
        """Take a route of those ahead as well as the present one."""
        if route == self.way.route:
            self.here += 1
        else:
            self.way.fork(route)

    def rejoin(self, route: Route) -> None:
        """Go on from one of the two that were taken."""
        if route != self.way.route:
            self.way.route = route
            self.here = 1

    def verdict(self, now: float) -> CallError:
        """Return the failure that tells the caller most."""
        return verdict(self.failures, self.until - now, has_moved=self.way.has_moved)
