"""The judge of limits: it keeps every call that was let in, and counts them all at each step.

It knows from its world's plan who may do what, and from witnesses around the product's limits and
queue when calls came, were let in and ended. What it holds the product to:

* In no sixty seconds and in no day do more requests begin than may, nor do more run at once.
* Nobody is let in where the tokens that are known to be used have reached a limit. With `strict`
  they never pass it, but by attempts after a call's first.
* Nobody is told that more is left than there is.
* No limit refuses what fits, and the wait that is told for requests is the true one.
* Never do more calls wait, nor are more under way, than the queue allows.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, cast

from typing_extensions import override

from headworks.core.admission import NO_LIMITS, Subject
from headworks.core.queue_rules import rank_of
from headworks.errors import LimitError, ParallelLimited
from headworks.stores.limits import LimitReservation, MemoryLimits
from headworks.stores.queue import Held, QueuedLimits
from headworks.types import Call, RateLimits, Usage
from tests.faults.simworld.rations import Ration

MINUTE: Final = 60.0
DAY: Final = 86_400.0
_REQUESTS: Final = (("rpm", MINUTE), ("rpd", DAY))
_TOKENS: Final = (("tpm", MINUTE), ("tpd", DAY))
_SLOTS: Final = {MINUTE: 0.1, DAY: 2_160.0}
"""Seconds by which a request may be remembered for longer than its window."""
_TICK: Final = 0.002


class Who(NamedTuple):
    """Whom a limit holds for; a key is known by its id."""

    kind: str
    name: str
    model: str = ""


Bound = tuple[Who, RateLimits]


@dataclass(eq=False)
class Taken:
    """A call that was let in.

    Attributes:
        tokens: What all of its attempts used, known from its end on; `last` is the last one's.
        counts: Whether it counts as a request: one that nobody could pay for does not.
    """

    call: Call
    at: float
    bounds: tuple[Bound, ...]
    ended: float = math.inf
    tokens: int = 0
    last: int = 0
    counts: bool = True


@dataclass(eq=False)
class Stay:
    """A call before the limits: when it came, and was let in or sent away."""

    call: Call
    came: float
    left: float = math.inf
    is_let_in: bool = False


class Limiter:
    """Who was let in, by whom a limit holds for."""

    def __init__(
        self,
        given: Ration,
        tight: RateLimits,
        now: Callable[[], float],
        fail: Callable[[str], None],
    ) -> None:
        self.given, self._tight, self._now, self._fail = given, tight, now, fail
        self._taken: dict[Who, list[Taken]] = {}
        self._said: set[tuple[object, ...]] = set()
        self.stays: list[Stay] = []
        self.all: list[Taken] = []

    def let_in(self, call: Call) -> Taken:
        """Take note of a call that was let in, and look at all of its limits."""
        taken = Taken(call, self._now(), tuple(self._bounds(call)))
        self.all.append(taken)
        for who, limits in taken.bounds:
            known = self._taken.setdefault(who, [])
            self._look_at_tokens(who, limits, known)
            known.append(taken)
            self._look(who, limits, known)
        self._look_at_places(taken)
        self._look_at_rates(taken)
        return taken

    def settled(self, taken: Taken, usage: Usage) -> None:
        """Take note of a call's end."""
        call = taken.call
        taken.ended, taken.tokens = self._now(), call.tokens
        taken.last = usage.input + usage.output
        is_paid = all(one.failure != "unaffordable" for one in call.trail)
        taken.counts = is_paid or bool(call.attempts)

    def refused(self, call: Call, error: LimitError) -> None:
        """See that a limit has refused what it has no room for, and has told the true wait."""
        level, model = cast("Subject", error.subject)
        who = Who(level.kind, level.name, model)
        limits = dict(self._bounds(call)).get(who, NO_LIMITS)
        if isinstance(error, ParallelLimited):
            running = sum(one.ended == math.inf for one in self._taken.get(who, ()))
            if limits.parallel is None or running < limits.parallel:
                self._say(f"a call was refused, though only {running} calls ran: {who}")
        elif error.type == "requests":
            self._look_at_wait(who, limits, error.retry_after or 0.0)

    def look_back(self) -> None:
        """See that no strict limit on tokens was passed in any window, now that all is known."""
        for taken in self.all:
            for who, limits in taken.bounds:
                for seconds, limit in ((MINUTE, limits.tpm), (DAY, limits.tpd)):
                    end = taken.at + seconds
                    used = sum(one.last for one in self._taken[who] if taken.at <= one.at < end)
                    if limits.reserve == "strict" and limit is not None and used > limit:
                        self._say(f"{used} tokens in a window, and {limit} may: {who}", who, end)

    def _bounds(self, call: Call) -> Iterator[Bound]:
        """Yield what holds for a call, by the plan of the world."""
        rules, caller, tags = self.given.rules, call.caller, call.request.tags
        if caller is None:
            return
        own = self._tight if caller.name == "tight" else NO_LIMITS
        levels = [(Who("organisation", ""), rules.organisation), (Who("key", caller.key_id), own)]
        if caller.project in rules.projects:
            levels.append((Who("project", caller.project), rules.projects[caller.project]))
        if tags.user:
            levels.append((Who("user", tags.user), rules.users.get(tags.user, rules.user)))
        levels += [(Who("tag", tag), rules.tags[tag]) for tag in {*tags.tags} & {*rules.tags}]
        for who, limits in levels:
            yield who, limits
            for model, more in limits.models:
                if model == call.request.model:
                    yield who._replace(model=model), more

    def _look(self, who: Who, limits: RateLimits, known: list[Taken]) -> None:
        now = self._now()
        for seconds, limit in ((MINUTE, limits.rpm), (DAY, limits.rpd)):
            began = sum(one.at > now - seconds and one.counts for one in known)
            if limit is not None and began > limit:
                what = "minute" if seconds == MINUTE else "day"
                self._say(f"{began} calls began in one {what}, and {limit} may: {who}", who, what)
        running = sum(one.ended == math.inf for one in known)
        if limits.parallel is not None and running > limits.parallel:
            self._say(f"{running} calls ran at once, and {limits.parallel} may: {who}", who)

    def _look_at_tokens(self, who: Who, limits: RateLimits, known: list[Taken]) -> None:
        now = self._now()
        for seconds, limit in ((MINUTE, limits.tpm), (DAY, limits.tpd)):
            used = sum(one.tokens for one in known if one.at > now - seconds)
            if limit is not None and used >= limit:
                self._say(f"{used} tokens were used when one more came, and {limit} may: {who}", who, seconds)  # fmt: skip

    def _look_at_places(self, taken: Taken) -> None:
        """See that no more calls are under way than may be; some places are left to live ones."""
        most = self.given.queue.in_flight
        if most is None or not is_asked(taken.call):
            return
        running = [one for one in self.all if one.ended == math.inf and is_asked(one.call)]
        bulk = sum(rank_of(one.call) > 0 for one in running)
        if len(running) > most:
            self._say(f"{len(running)} calls are under way, and {most} may be")
        if bulk > max(1, most - max(1, most // 10)):
            self._say(f"{bulk} of {most} places are taken by what can wait")

    def _look_at_rates(self, taken: Taken) -> None:
        """See that a caller is not told that more is left than there is."""
        told = {name.decode(): value for name, value in taken.call.rates}
        for counted, spans in (("requests", _REQUESTS), ("tokens", _TOKENS)):
            if (limit := told.get(f"x-ratelimit-limit-{counted}")) is None:
                continue
            left = int(told[f"x-ratelimit-remaining-{counted}"])
            most = [
                max(0, int(limit) - self._used(who, seconds, counted))
                for who, limits in taken.bounds
                for name, seconds in spans
                if getattr(limits, name) == int(limit)
            ]
            if not any(left <= one for one in most):
                self._say(f"a call was told that {left} {counted} of {int(limit)} are left: {most}")

    def _used(self, who: Who, seconds: float, counted: str) -> int:
        """Return what is known to be used in a window."""
        recent = [one for one in self._taken[who] if one.at > self._now() - seconds]
        return sum(one.counts if counted == "requests" else one.tokens for one in recent)

    def _look_at_wait(self, who: Who, limits: RateLimits, told: float) -> None:
        now, true = self._now(), list[tuple[float, float]]()
        starts = [one.at for one in self._taken.get(who, ()) if one.counts]
        for seconds, limit in ((MINUTE, limits.rpm), (DAY, limits.rpd)):
            recent = [at for at in starts if at >= now - seconds - _SLOTS[seconds]]
            if limit is not None and len(recent) >= limit:
                wait = recent[-limit] + seconds - now
                true.append((wait - _TICK, wait + _SLOTS[seconds] + _TICK))
        if not true:
            began = sum(at > now - MINUTE for at in starts)
            self._say(f"a call was refused, though only {began} calls began in its minute: {who}")
        elif not any(least <= told <= most for least, most in true):
            self._say(f"a call was told to wait {told:.3f} s, and {true} are true: {who}")

    def _say(self, finding: str, *once: object) -> None:
        """Tell what must not be; what goes on is told once."""
        if not once or once not in self._said:
            self._said.add(once)
            self._fail(finding)


def is_asked(call: Call) -> bool:
    """Return whether a caller has made it, and not the product itself: a summary has no turn."""
    return b"x-client-request-id" in dict(call.request.headers)


# The witnesses.


class WatchedReservation:
    """A call that was let in, and the judge's note of it."""

    def __init__(self, real: LimitReservation, limiter: Limiter, taken: Taken) -> None:
        self._real, self._limiter, self._taken = real, limiter, taken

    def settle(self, usage: Usage) -> None:
        """Settle, and tell the judge."""
        self._limiter.settled(self._taken, usage)
        self._real.settle(usage)


class WatchedLimits(MemoryLimits):
    """Limits with a judge beside them."""

    limiter: Limiter

    @override
    def reserve_nowait(self, call: Call, estimate: Usage) -> Any:
        try:
            real = super().reserve_nowait(call, estimate)
        except LimitError as error:
            self.limiter.refused(call, error)
            raise
        assert real is not None, "what is counted in this process is decided at once"
        return WatchedReservation(real, self.limiter, self.limiter.let_in(call))


class WatchedQueue(QueuedLimits):
    """A queue with a judge beside it."""

    limiter: Limiter

    @override
    async def reserve(self, call: Call, estimate: Usage) -> Held:
        limiter, clock = self.limiter, self._clock
        stay = Stay(call, clock.now())
        limiter.stays.append(stay)
        self._look()
        try:
            held = await super().reserve(call, estimate)
            stay.is_let_in = True
            return held
        finally:
            stay.left = clock.now()
            self._look()

    def _look(self) -> None:
        """See that no more wait than may."""
        rules, standing = self.limiter.given.queue, self.statistics()
        waiting = sum(standing.waiting.values())
        if waiting > rules.calls or standing.size > rules.size:
            self.limiter._say(f"{waiting} calls wait with {standing.size} bytes: {rules}", "wait")
