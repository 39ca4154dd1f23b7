"""Counts rates and parallel calls in this process.

Most calls meet the same few limits, so these are looked up once and kept, as a `MemoryGate`. What
has left a window is looked for once in a tick, which is a slot of a minute.
"""

import math
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from operator import itemgetter
from typing import Final

import msgspec

from headworks.core.admission import (
    PARALLEL_WAIT,
    Ask,
    Bound,
    Denial,
    Dimension,
    Standing,
    Subject,
)
from headworks.core.window import DAY, MINUTE, Counted, Span, Window
from headworks.ports import Clock
from headworks.stores.authority import Ahead, AuthorityStatistics
from headworks.types import RateLimits

_MEMORY: Final = 1200
"""Ticks after which an idle subject is forgotten: its minute has been empty for half of them."""
_ROUND: Final = 600
"""Ticks in which each subject is looked at once, to see whether it is idle."""
_LOOKS: Final = 1000
"""Subjects looked at in one tick, at most."""
_TICKS: Final = MINUTE.rate


class _Use(Window):
    """What one subject does: in a minute, at once, and in a day from the first limit on days.

    Attributes:
        seen: The tick in which it was used last, None when it was forgotten.
    """

    __slots__ = ("day", "in_flight", "seen")

    def __init__(self, tick: int) -> None:
        super().__init__(MINUTE)
        self.day: Window | None = None
        self.in_flight = 0
        self.seen: int | None = tick


class MemoryGrant(msgspec.Struct):
    """What was counted at each subject, and in which slots."""

    _authority: "MemoryAuthority"
    _uses: tuple[_Use, ...]
    _days: tuple[Window, ...]  # one that begins later has not counted this
    _tick: int
    _day: int
    _tokens: int
    _more: Sequence[int]
    requests: Standing | None
    tokens: Standing | None
    _is_open: bool = True
    _has_place: bool = True

    def vacate(self) -> None:
        """Free the place among parallel calls. Idempotent."""
        if self._has_place:
            self._has_place = False
            self._authority.in_flight -= 1
            for use in self._uses:
                use.in_flight -= 1

    def settle(self, tokens: int, requests: int = 1) -> None:
        """Count so much in place of what was asked for; calls after the first change nothing."""
        if not self._is_open:
            return
        self._is_open = False
        self.vacate()
        change, tick = tokens - self._tokens, self._tick
        for use in self._uses:
            if use.slot == tick:
                use.tokens += change
            else:
                use.settle(tick, change)
        for day in self._days:
            day.settle(self._day, change)
        if self._more or requests != 1:
            self._correct(requests - 1)

    def _correct(self, requests: int) -> None:
        """Take back what was asked of each subject beyond the others, and add to the requests."""
        for use, more in zip(self._uses, self._more or (0,) * len(self._uses), strict=True):
            use.settle(self._tick, -more, requests)
            if use.day in self._days:
                use.day.settle(self._day, -more, requests)


_Rate = tuple[Window, int]
"""A window, and how much it may hold."""
_No = tuple[Ask, Dimension, int, int, int, float]


class MemoryGate:
    """The limits of one kind of calls, and what their subjects do."""

    __slots__ = ("_authority", "_bounds", "_days", "_is_limited", "_parallel", "_requests", "_tokens", "_turn", "_uses")  # fmt: skip

    def __init__(self, authority: "MemoryAuthority", bounds: Sequence[Bound]) -> None:
        self._authority, self._bounds = authority, bounds
        self._find()

    async def decide(self, tokens: int, more: Sequence[int] = ()) -> MemoryGrant | Denial:
        """Do as `Gate` says."""
        return self.decide_nowait(tokens, more)

    def decide_nowait(self, tokens: int, more: Sequence[int] = ()) -> MemoryGrant | Denial:
        """Do as `Gate` says. Nothing waits between looking and counting."""
        authority = self._authority
        now = authority.now()
        if int(now * _TICKS) != authority.tick:
            authority.advance(now)
        if self._turn != authority.turn:
            self._renew()
        if not self._is_limited:
            return self._count(tokens, more, None, None)
        if more or not tokens:
            return self._decide_apart(tokens, more, now)
        return self._decide_alike(tokens, now)

    def forecast(self, tokens: int, more: Sequence[int], ahead: Ahead) -> float:
        """Do as `Gate` says; it is exact while nobody else comes."""
        now, found = self._authority.look(), 0.0
        self._renew()
        for ask, use in self._asked(tokens, more):
            calls, theirs = ahead(ask.subject)
            for rate in _rates(ask, use):
                others = calls if rate[2] == "requests" else theirs
                found = max(found, _wait_after(rate, others, now))
        return found

    def _decide_alike(self, tokens: int, now: float) -> MemoryGrant | Denial:
        """Decide on a call that asks for the same of each subject, and for some tokens."""
        for use, limit in self._parallel:
            if use.in_flight >= limit:
                return self._decide_apart(tokens, (), now)
        requests = room = None
        if self._requests:
            left, limit, window = _least_requests(self._requests)
            if left < 1:
                return self._decide_apart(tokens, (), now)
            requests = Standing(limit, left - 1, self._authority.full(window))
        if self._tokens:
            left, limit, window = _least_tokens(self._tokens)
            if left < tokens:
                return self._decide_apart(tokens, (), now)
            room = Standing(limit, left - tokens, self._authority.full(window))
        return self._count(tokens, (), requests, room)

    def _decide_apart(self, tokens: int, more: Sequence[int], now: float) -> MemoryGrant | Denial:
        """Decide on any call: with each limit by itself."""
        asked = self._asked(tokens, more)
        denials = [one for ask, use in asked for one in _denials(ask, use, now)]
        if denials:  # after the longest wait all the others are over too
            found = max(denials, key=itemgetter(-1))
            return Denial(*found, self._standing("requests", now), self._standing("tokens", now))
        grant = self._count(tokens, more, None, None)
        grant.requests = self._standing("requests", now)
        grant.tokens = self._standing("tokens", now)
        return grant

    def _count(
        self, tokens: int, more: Sequence[int], requests: Standing | None, room: Standing | None
    ) -> MemoryGrant:
        authority, uses, days = self._authority, self._uses, self._days
        for use in uses:
            use.in_flight += 1
            use.requests += 1
            use.tokens += tokens
        for day in days:
            day.requests += 1
            day.tokens += tokens
        if more:
            for use, extra in zip(uses, more, strict=True):
                use.tokens += extra
                if use.day is not None:
                    use.day.tokens += extra
        authority.in_flight += 1
        return MemoryGrant(
            authority, uses, days, authority.tick, authority.day, tokens, more, requests, room
        )

    def _standing(self, counted: Counted, now: float) -> Standing | None:
        """Return how the tightest of the limits stands."""
        rates = self._requests if counted == "requests" else self._tokens
        if not rates:
            return None
        least = _least_requests if counted == "requests" else _least_tokens
        left, limit, window = least(rates)
        return Standing(limit, max(0, left), window.reset(now, counted))

    def _asked(self, tokens: int, more: Sequence[int]) -> list[tuple[Ask, _Use]]:
        amounts = [tokens + extra for extra in more] if more else [tokens] * len(self._bounds)
        return [
            (Ask(bound.subject, bound.limits, amount), use)
            for bound, amount, use in zip(self._bounds, amounts, self._uses, strict=True)
        ]

    def _find(self) -> None:
        """Look up the subjects; those that are not known begin anew."""
        bounds = self._bounds
        self._uses = uses = tuple(self._authority.use(bound) for bound in bounds)
        self._requests: list[_Rate] = []
        self._tokens: list[_Rate] = []
        self._parallel: list[tuple[_Use, int]] = []
        for bound, use in zip(bounds, uses, strict=True):
            limits = bound.limits
            if limits.parallel is not None:
                self._parallel.append((use, limits.parallel))
            for _, limit, counted, window in _windows(limits, use):
                rates = self._requests if counted == "requests" else self._tokens
                rates.append((window, limit))
        self._is_limited = bool(self._requests or self._tokens or self._parallel)
        self._days: tuple[Window, ...] = ()
        self._turn = -1

    def _renew(self) -> None:
        """Forget what has left the windows: once in a turn."""
        authority = self._authority
        if None in [use.seen for use in self._uses]:
            self._find()
        for use in self._uses:
            use.seen = authority.tick
            use.expire(authority.tick)
        self._days = tuple([use.day for use in self._uses if use.day is not None])
        for day in self._days:
            day.expire(authority.day)
        self._turn = authority.turn


class MemoryAuthority:
    """Counts in this process.

    Attributes:
        now: The clock.
        tick: The slot of the minute that is under way; `day` is that of the day.
        turn: Goes up when gates have to look at their windows anew.
        in_flight: Calls let in and not settled.
    """

    def __init__(self, clock: Clock) -> None:
        self.now = clock.now
        self.tick = self.day = self.turn = self.in_flight = 0
        self._due = 0  # looks that are due, in parts of a round
        self._uses: OrderedDict[Subject, _Use] = OrderedDict()
        self.look()

    def gate(self, bounds: Sequence[Bound]) -> MemoryGate:
        """Do as `Authority` says."""
        return MemoryGate(self, bounds)

    def restore(
        self, bounds: Sequence[Bound], span: Span, age: float, requests: int, tokens: int
    ) -> None:
        """Count what was there before the start, so many seconds ago: the oldest comes first.

        Days are restored of those that a limit holds for alone.
        """
        slot = span.slot(self.look() - age)
        for bound in bounds:
            use = self.use(bound)
            window = use if span is MINUTE else use.day
            if window is not None:
                window.add(slot, requests, tokens)

    def statistics(self) -> AuthorityStatistics:
        """Return what is counted now."""
        return AuthorityStatistics(len(self._uses), self.in_flight)

    def look(self) -> float:
        """Look at the clock, and return what it says."""
        now = self.now()
        if int(now * _TICKS) != self.tick:
            self.advance(now)
        return now

    def advance(self, now: float) -> None:
        """Begin another tick, and forget some of those that are idle."""
        tick = int(now * _TICKS)
        self._due += (tick - self.tick) * len(self._uses)
        self.tick, self.day = tick, DAY.slot(now)
        self.turn += 1
        if self._due >= _ROUND:
            self._sweep(min(self._due // _ROUND, len(self._uses), _LOOKS))
            self._due %= _ROUND

    def full(self, window: Window) -> float:
        """Return the seconds until a window is free of what is counted now; it errs up by a tick."""
        if window.span is MINUTE:
            return MINUTE.period
        return (self.day + DAY.life) / DAY.rate - self.tick / _TICKS

    def use(self, bound: Bound) -> _Use:
        """Return what a subject does; its day begins with the first limit on it."""
        use = self._uses.get(bound.subject)
        if use is None:
            use = self._uses[bound.subject] = _Use(self.tick)
        limits = bound.limits
        if use.day is None and (limits.rpd is not None or limits.tpd is not None):
            use.day = Window(DAY)
            self.turn += 1
        return use

    def _sweep(self, looks: int) -> None:
        """Look at the subjects in turn, and forget those of which nothing counts."""
        idle, uses = self.tick - _MEMORY, self._uses
        for _ in range(looks):
            subject = next(iter(uses))
            use = uses[subject]
            if use.day is not None:
                use.day.expire(self.day)
            counts = use.in_flight or (use.day is not None and use.day.requests)
            if counts or use.seen is None or use.seen > idle:
                uses.move_to_end(subject)
            else:
                del uses[subject]
                use.seen = None


def _least_requests(rates: Sequence[_Rate]) -> tuple[int, int, Window]:
    """Return how much is left of the limit on requests that has least left, the limit, its window."""
    window, limit = rates[0]
    least = limit - window.requests
    for other, most in rates:
        left = most - other.requests
        if left < least:
            least, limit, window = left, most, other
    return least, limit, window


def _least_tokens(rates: Sequence[_Rate]) -> tuple[int, int, Window]:
    """Return the same of the limits on tokens."""
    window, limit = rates[0]
    least = limit - window.tokens
    for other, most in rates:
        left = most - other.tokens
        if left < least:
            least, limit, window = left, most, other
    return least, limit, window


def _denials(ask: Ask, use: _Use, now: float) -> Iterator[_No]:
    limit = ask.limits.parallel
    if limit is not None and use.in_flight >= limit:
        yield ask, "parallel", limit, use.in_flight, 1, PARALLEL_WAIT
    for dimension, limit, counted, window, amount in _rates(ask, use):
        used = window.requests if counted == "requests" else window.tokens
        if (surplus := used + amount - limit) > 0:
            wait = math.inf if amount > limit else window.wait(now, surplus, counted)
            yield ask, dimension, limit, used, amount, wait


def _windows(limits: RateLimits, use: _Use) -> Iterator[tuple[Dimension, int, Counted, Window]]:
    """Yield each limit on a rate that is set, with the window that it is on."""
    rates: tuple[tuple[Dimension, int | None, Counted, Window | None], ...] = (
        ("rpm", limits.rpm, "requests", use),
        ("tpm", limits.tpm, "tokens", use),
        ("rpd", limits.rpd, "requests", use.day),
        ("tpd", limits.tpd, "tokens", use.day),
    )
    for dimension, limit, counted, window in rates:
        if limit is not None and window is not None:
            yield dimension, limit, counted, window


_Asked = tuple[Dimension, int, Counted, Window, int]


def _rates(ask: Ask, use: _Use) -> Iterator[_Asked]:
    """Yield each limit on a rate that something is asked of, and how much."""
    for dimension, limit, counted, window in _windows(ask.limits, use):
        amount = 1 if counted == "requests" else ask.tokens
        if amount:
            yield dimension, limit, counted, window, amount


def _wait_after(rate: _Asked, ahead: int, now: float) -> float:
    """Return the seconds until there is room after others who take it as soon as they can."""
    _, limit, counted, window, amount = rate
    used = window.requests if counted == "requests" else window.tokens
    surplus = used + ahead + amount - limit
    if surplus <= 0 or amount > limit:
        return 0.0
    rounds, surplus = divmod(surplus - 1, limit)
    period = window.span.period  # what is let in now has left after so long
    first = window.wait(now, surplus + 1, counted) if surplus < used else period
    return rounds * period + first
