"""Which of the routes that are left to take: a healthy one, or one that is worth a short wait."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from headworks.core.backoff import LONGEST_KEPT
from headworks.errors import CallError, CircuitOpen, CoolingDown
from headworks.types import Refusal, Route

SPREAD = 5.0
"""Seconds over which callers come back that were told to wait for a route that fails."""
_ROUNDING = 1e-6
_NO_QUOTA = (
    "The gateway's account at the provider has no quota left. The caller's key is fine; the "
    "operator must look."
)


@dataclass(frozen=True, slots=True)
class Choice:
    """The route to take, by its place, and the seconds to wait before."""

    index: int
    wait: float = 0.0


def choose(
    routes: Sequence[Route],
    refusals: Sequence[Refusal | None],
    patience: float,
    remaining: float,
    held: float = 0.0,
) -> Choice | None:
    """Return the route to take, None when each of them refuses for too long.

    `refusals` has None for a healthy route. A better route that is cooling is worth `patience`,
    unless a healthy one leads to the same model; where none is healthy, the soonest is worth a
    minute. What it was `held` before counts, and nothing is worth more than what `remaining` leaves.
    """
    healthy = next((at for at, refusal in enumerate(refusals) if refusal is None), None)
    ahead = range(len(routes) if healthy is None else healthy)
    waits = [(refusal.wait, at) for at in ahead if (refusal := _cooling(refusals[at]))]
    if healthy is None:
        soonest = min(waits, default=None)
        return _worth(soonest, LONGEST_KEPT - held, remaining)
    first = next((one for one in waits if routes[one[1]].model != routes[healthy].model), None)
    return _worth(first, patience - held, remaining) or Choice(healthy)


def is_near(refusal: Refusal | None, patience: float) -> bool:
    """Return whether a route may be asked now or soon enough."""
    return refusal is None or (refusal.reason == "cooling" and refusal.wait <= patience + _ROUNDING)


def unavailable(refusals: Sequence[Refusal], jitter: float) -> CallError:
    """Return what a caller is told when each route refuses; `jitter` is drawn from [0, 1).

    Clients obey a Retry-After to the millisecond. Where a route has failed they are told different
    ones, since all that are told the moment of the next probe would come in that moment.
    """
    wait = min((refusal.wait for refusal in refusals), default=math.inf)
    retry_after = wait if math.isfinite(wait) else None
    reasons = {refusal.reason for refusal in refusals}
    if "open" in reasons:
        return CircuitOpen(retry_after=None if retry_after is None else wait + SPREAD * jitter)
    if "quota" in reasons:
        return CoolingDown(_NO_QUOTA, retry_after=retry_after)
    return CoolingDown(retry_after=retry_after)


def _cooling(refusal: Refusal | None) -> Refusal | None:
    return refusal if refusal is not None and refusal.reason == "cooling" else None


def _worth(wait: tuple[float, int] | None, worth: float, remaining: float) -> Choice | None:
    is_worth = wait is not None and wait[0] <= worth and wait[0] < remaining
    return Choice(wait[1], wait[0]) if wait is not None and is_worth else None
