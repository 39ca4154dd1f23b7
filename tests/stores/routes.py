"""Routes whose health is judged, and what happens on them."""

from headworks import errors
from headworks.stores.health import MemoryHealth, RouteHealth, UpstreamHealth
from headworks.stores.health_admission import Admission
from headworks.types import Route

MAIN, SPARE = Route("up", "big", "main"), Route("up", "big", "spare")
SMALL, OTHER = Route("up", "small", "main"), Route("other", "big", "main")


def attempt(health: MemoryHealth, route: Route = MAIN, **how: bool) -> Admission:
    """Begin an attempt that must be admitted."""
    given = health.admit(route, **how)
    assert isinstance(given, Admission), given
    return given


def fail(health: MemoryHealth, error: BaseException, route: Route = MAIN, times: int = 1) -> None:
    for _ in range(times):
        attempt(health, route).settle(error)


def answer(health: MemoryHealth, route: Route = MAIN) -> None:
    admission = attempt(health, route)
    admission.answered()
    admission.settle()


def limited(wait: float | None, code: str = "rate_limit_exceeded") -> errors.UpstreamError:
    quota = code != "rate_limit_exceeded"
    return errors.UpstreamAnswered(
        "m",
        status=429,
        type="t",
        code=code,
        retry=errors.Retry.OTHER_ROUTE if quota else errors.Retry.SAME_ROUTE,
        failure="quota" if quota else "rate_limit",
        retry_after=wait,
    )


def reason(health: MemoryHealth, route: Route = MAIN, **how: bool) -> str | None:
    refusal = health.refusal(route, **how)
    return None if refusal is None else refusal.reason


def state(health: MemoryHealth, route: Route = MAIN) -> RouteHealth:
    """Return what is told of a route."""
    (found,) = (
        one
        for upstream in health.statistics()
        for one in upstream.routes
        if (one.upstream, one.model, one.credential)
        == (route.upstream, route.model, route.credential)
    )
    return found


def place(health: MemoryHealth, name: str = "up") -> UpstreamHealth:
    return next(one for one in health.statistics() if one.name == name)
