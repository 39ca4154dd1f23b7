"""Counts rates and parallel calls in this process.

Most calls meet the same few limits, so these are looked up once and kept, as a `MemoryGate`. What
has left a window is looked for once in a tick, which is a slot of a minute. In between a subject's
minute and its day count the same, so that the tighter of the two stays so, and is all that is asked
until the next *turn*: a tick, or whatever has changed one of the two alone.
"""

from collections import OrderedDict
from collections.abc import Sequence
from operator import itemgetter
from typing import Final

import msgspec

from headworks.core.admission import Ask, Bound, Denial, Standing, Subject
from headworks.core.window import DAY, MINUTE, Counted, Span, Window
from headworks.ports import Clock
from headworks.stores.authority import Ahead, AuthorityStatistics
from headworks.stores.memory_rates import (
    Rate,
    Use,
    denials,
    least_requests,
    least_tokens,
    pairs,
    rates,
    wait_after,
)

_MEMORY: Final = 1200
"""Ticks after which an idle subject is forgotten: its minute has been empty for half of them."""
_ROUND: Final = 600
"""Ticks in which each subject is looked at once, to see whether it is idle."""
_LOOKS: Final = 1000
"""Subjects looked at in one tick, at most."""
_TICKS: Final = MINUTE.rate
_MINUTE: Final = MINUTE.period


class MemoryGrant(msgspec.Struct):
    """What was counted at each subject, and in which slots."""

    _authority: "MemoryAuthority"
    _uses: tuple[Use, ...]
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
        authority, tick = self._authority, self._tick
        change, place = tokens - self._tokens, 1 if self._has_place else 0
        self._has_place = False
        authority.in_flight -= place
        if tick == authority.tick:  # then it is the slot of all of them
            for use in self._uses:
                use.in_flight -= place
                use.tokens += change
            for day in self._days:
                day.tokens += change
        else:
            self._settle_late(change, place)
        if tick <= authority.apart:
            authority.turn += 1
        if self._more or requests != 1:
            self._correct(requests - 1)

    def _settle_late(self, change: int, place: int) -> None:
        """Count so many more tokens in slots that may be over."""
        tick, begun = self._tick, self._day
        for use in self._uses:
            use.in_flight -= place
            use.settle(tick, change)
        for day in self._days:
            if day.slot == begun:
                day.tokens += change
            else:
                day.settle(begun, change)

    def _correct(self, requests: int) -> None:
        """Take back what was asked of each subject beyond the others, and add to the requests."""
        for use, more in zip(self._uses, self._more or (0,) * len(self._uses), strict=True):
            use.settle(self._tick, -more, requests)
            if use.day in self._days:
                use.day.settle(self._day, -more, requests)


class MemoryGate:
    """The limits of one kind of calls, and what their subjects do."""

    __slots__ = (
        "_authority", "_bounds", "_days", "_is_limited", "_pairs", "_parallel", "_requests", "_tokens",
        "_turn", "_uses",
    )  # fmt: skip

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
        if now >= authority.until:
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
            for rate in rates(ask, use):
                others = calls if rate[2] == "requests" else theirs
                found = max(found, wait_after(rate, others, now))
        return found

    def _decide_alike(self, tokens: int, now: float) -> MemoryGrant | Denial:
        """Decide on a call that asks for the same of each subject, and for some tokens."""
        for use, limit in self._parallel:
            if use.in_flight >= limit:
                return self._decide_apart(tokens, (), now)
        requests = room = None
        if self._requests:
            left, limit, window = least_requests(self._requests)
            if left < 1:
                return self._decide_apart(tokens, (), now)
            requests = Standing(limit, left - 1, self._authority.full(window))
        if self._tokens:
            left, limit, window = least_tokens(self._tokens)
            if left < tokens:
                return self._decide_apart(tokens, (), now)
            room = Standing(limit, left - tokens, self._authority.full(window))
        return self._count(tokens, (), requests, room)

    def _decide_apart(self, tokens: int, more: Sequence[int], now: float) -> MemoryGrant | Denial:
        """Decide on any call: with each limit by itself."""
        asked = self._asked(tokens, more)
        noes = [one for ask, use in asked for one in denials(ask, use, now)]
        if noes:  # after the longest wait all the others are over too
            found = max(noes, key=itemgetter(-1))
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
        limited = self._requests if counted == "requests" else self._tokens
        if not limited:
            return None
        least = least_requests if counted == "requests" else least_tokens
        left, limit, window = least(limited)
        return Standing(limit, max(0, left), window.reset(now, counted))

    def _asked(self, tokens: int, more: Sequence[int]) -> list[tuple[Ask, Use]]:
        amounts = [tokens + extra for extra in more] if more else [tokens] * len(self._bounds)
        return [
            (Ask(bound.subject, bound.limits, amount), use)
            for bound, amount, use in zip(self._bounds, amounts, self._uses, strict=True)
        ]

    def _find(self) -> None:
        """Look up the subjects; those that are not known begin anew."""
        bounds = self._bounds
        self._uses = uses = tuple(self._authority.use(bound) for bound in bounds)
        self._requests: list[Rate] = []
        self._tokens: list[Rate] = []
        limited = [(bound.limits, use) for bound, use in zip(bounds, uses, strict=True)]
        self._parallel = [(use, one.parallel) for one, use in limited if one.parallel is not None]
        self._pairs = pairs(limited, "requests"), pairs(limited, "tokens")
        self._is_limited = bool(self._parallel or self._pairs[0] or self._pairs[1])
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
        requests, tokens = self._pairs
        self._requests = [
            (one, most) if most - one.requests <= limit - day.requests else (day, limit)
            for one, most, day, limit in requests
        ]
        self._tokens = [
            (one, most) if most - one.tokens <= limit - day.tokens else (day, limit)
            for one, most, day, limit in tokens
        ]
        self._turn = authority.turn


class MemoryAuthority:
    """Counts in this process.

    Attributes:
        now: The clock.
        tick: The slot of the minute that is under way, and `until` when; `day` is that of the day.
        turn: Goes up when gates have to look at their windows anew.
        apart: The last tick whose calls may count in a minute or a day alone, not in both alike.
        in_flight: Calls let in and not settled.
    """

    def __init__(self, clock: Clock) -> None:
        self.now = clock.now
        self.tick = self.day = self.turn = self.in_flight = 0
        self.until = 0.0
        self.apart = self._begun = -1  # the latter is when a day began that was not counted before
        self._due = 0  # looks that are due, in parts of a round
        self._uses: OrderedDict[Subject, Use] = OrderedDict()
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
        self.turn += 1

    def statistics(self) -> AuthorityStatistics:
        """Return what is counted now."""
        return AuthorityStatistics(len(self._uses), self.in_flight)

    def look(self) -> float:
        """Look at the clock, and return what it says."""
        now = self.now()
        if now >= self.until:
            self.advance(now)
        return now

    def advance(self, now: float) -> None:
        """Begin another tick, and forget some of those that are idle."""
        tick = int(now * _TICKS)
        self._due += (tick - self.tick) * len(self._uses)
        self.tick, self.day, self.until = tick, DAY.slot(now), (tick + 1) / _TICKS
        self.turn += 1
        self.apart = max(self._begun, tick - MINUTE.life)
        if self._due >= _ROUND:
            self._sweep(min(self._due // _ROUND, len(self._uses), _LOOKS))
            self._due %= _ROUND

    def full(self, window: Window) -> float:
        """Return the seconds until a window is free of what is counted now; it errs up by a tick."""
        if window.span is MINUTE:
            return _MINUTE
        return (self.day + DAY.life) / DAY.rate - self.tick / _TICKS

    def use(self, bound: Bound) -> Use:
        """Return what a subject does; its day begins with the first limit on it."""
        use = self._uses.get(bound.subject)
        if use is None:
            use = self._uses[bound.subject] = Use(self.tick)
        limits = bound.limits
        if use.day is None and (limits.rpd is not None or limits.tpd is not None):
            use.day = Window(DAY)
            self.turn += 1
            self.apart = self._begun = self.tick
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
