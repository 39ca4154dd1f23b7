"""Requests per minute and parallel calls of each key, in this process."""

import math
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from headworks.core.window import Window
from headworks.errors import ParallelLimited, RateLimited
from headworks.ports import Clock
from headworks.types import Caller, Usage

_MEMORY: Final = 120.0
"""Seconds after which an idle key is forgotten: its window has been empty for half of them."""
_PARALLEL_WAIT: Final = 1.0
"""Nobody knows when a call will end; a second is what callers are told."""


@dataclass(frozen=True, slots=True)
class LimitState:
    """How a key stands: numbers for the `x-ratelimit-*-requests` headers.

    Attributes:
        limit: Requests a minute, None for a key without that limit; so is `remaining` then.
        reset: Seconds until the whole limit is free again.
    """

    limit: int | None
    remaining: int | None
    reset: float


@dataclass(frozen=True, slots=True)
class LimitStatistics:
    """What the limits hold and did: keys remembered, calls in flight, refusals so far."""

    keys: int
    in_flight: int
    rate_limited: int
    parallel_limited: int


class _Use:
    """What one key does: requests of the last minute, and calls in flight."""

    __slots__ = ("in_flight", "seen", "window")

    def __init__(self) -> None:
        self.window = Window()
        self.in_flight = 0
        self.seen = 0.0


class SlotReservation:
    """A place among the key's parallel calls."""

    __slots__ = ("_use",)

    def __init__(self, use: _Use) -> None:
        self._use: _Use | None = use

    def settle(self, usage: Usage) -> None:  # noqa: ARG002 - requests and places have no size
        """Give the place back; calls after the first change nothing."""
        if self._use is not None:
            self._use.in_flight -= 1
            self._use = None


class MemoryLimits:
    """Limits by `key_id`, as the caller's own record states them at each call.

    Every request counts, limited or not, so that a limit set later finds a true count.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._uses: OrderedDict[str, _Use] = OrderedDict()
        self._rate_limited = 0
        self._parallel_limited = 0

    async def reserve(self, caller: Caller, estimate: Usage) -> SlotReservation:  # noqa: ARG002 - tokens are not limited here
        """Count the request and take a parallel place, or raise `LimitError` and change nothing.

        Where both limits refuse, the rate is told: its wait is the one that is known.
        """
        now, limits = self._clock.now(), caller.limits
        use = self._touch(caller.key_id, now)
        if limits.rpm is not None and (wait := use.window.wait(now, 1, limits.rpm)):
            self._rate_limited += 1
            raise _rate_limited(caller.name, limits.rpm, use.window.used(now), wait)
        if limits.parallel is not None and use.in_flight >= limits.parallel:
            self._parallel_limited += 1
            raise _parallel_limited(caller.name, limits.parallel, use.in_flight)
        use.window.add(now, 1)
        use.in_flight += 1
        return SlotReservation(use)

    def state(self, caller: Caller) -> LimitState:
        """Return how the caller's key stands, changing nothing."""
        now, limit = self._clock.now(), caller.limits.rpm
        use = self._uses.get(caller.key_id)
        if limit is None or use is None:
            return LimitState(limit, limit, 0.0)
        return LimitState(limit, use.window.remaining(now, limit), use.window.reset(now))

    def statistics(self) -> LimitStatistics:
        """Return what is held now and what was refused so far."""
        in_flight = sum(use.in_flight for use in self._uses.values())
        return LimitStatistics(
            len(self._uses), in_flight, self._rate_limited, self._parallel_limited
        )

    def _touch(self, key_id: str, now: float) -> _Use:
        """Return the key's use as the one seen last, and forget what is long idle."""
        use = self._uses.get(key_id)
        if use is None:
            use = self._uses[key_id] = _Use()
        else:
            self._uses.move_to_end(key_id)
        use.seen = now
        self._sweep(now)
        return use

    def _sweep(self, now: float) -> None:
        """Look at the two keys unseen for longest: memory shrinks faster than it can grow."""
        for _ in range(2):
            key_id, use = next(iter(self._uses.items()))
            if use.seen > now - _MEMORY:
                return
            if use.in_flight:
                use.seen = now
                self._uses.move_to_end(key_id)
            else:
                del self._uses[key_id]


def _rate_limited(name: str, limit: int, used: int, wait: float) -> RateLimited:
    """Say it as the API does, whose clients read these texts."""
    told = (
        f"Please try again in {_spell(wait)}."
        if math.isfinite(wait)
        else "This key allows no requests."
    )
    return RateLimited(
        f"Rate limit reached for key '{name}' on requests per minute (RPM): "
        f"Limit {limit}, Used {used}, Requested 1. {told}",
        retry_after=wait if math.isfinite(wait) else None,
    )


def _parallel_limited(name: str, limit: int, used: int) -> ParallelLimited:
    return ParallelLimited(
        f"Limit of parallel requests reached for key '{name}': "
        f"Limit {limit}, Used {used}, Requested 1. Please try again in {_spell(_PARALLEL_WAIT)}.",
        retry_after=_PARALLEL_WAIT,
    )


def _spell(seconds: float) -> str:
    """Write a wait, rounded up to the millisecond: "644ms", "3.2s"."""
    milliseconds = math.ceil(seconds * 1000 - 0.01)
    return f"{milliseconds / 1000:g}s" if milliseconds // 1000 else f"{milliseconds}ms"
