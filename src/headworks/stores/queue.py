"""Lets calls wait for a limit instead of refusing them, where the wait is worth it.

It stands before other limits. A call that they let in goes straight on. One that they refuse for
now waits in a `core.queue`, and so does every call while as many are under way as there may be.
When something is given back, or the moment comes that a limit has named, whoever is next tries.

Each waiting call tries for itself, woken when it is its turn, with a place in flight taken for it
before. So limits that are asked over a network need nothing else, and whoever leaves, at whatever
moment, gives its place back.

Who is sent away is told when to come back, and that time is then its own: it counts as if it were
waiting, and when it comes then it may wait even where others are sent away.
"""

import asyncio
import math
from collections.abc import Callable, Hashable
from typing import Final, Protocol

import msgspec

from headworks.core.admission import NO_LIMITS, Rules
from headworks.core.levels import levels
from headworks.core.queue import Queue
from headworks.core.queue_rules import (
    QueueRules,
    QueueStatistics,
    is_cured,
    parking,
    rank_of,
    retold,
)
from headworks.core.turns import Waiting
from headworks.errors import (
    CallError,
    DeadlineExceeded,
    LimitError,
    Overloaded,
    QueueFull,
    RateLimited,
)
from headworks.ports import Clock, Limits, Random, Reservation
from headworks.stores.queue_outlook import Foresight, Outlook
from headworks.stores.queue_wish import NOBODY, Wish, key_of, token_of, who_of
from headworks.types import Call, Request, Usage

Longest = Callable[[Request], float]
"""Seconds that a call may last, its wait here included."""

_NO_RULES: Final = Rules()
_BUSY: Final = "As many requests are under way as may be."
_LEAST: Final = 0.001
"""Seconds that whoever is sent away waits at least."""
_SPREAD: Final = 0.2
"""How much later than they could those who are sent away are told to come: not all at once."""
_LONGEST_SPREAD: Final = 1.0
"""Seconds; each has a turn of its own, which is kept until then."""
_MARGIN: Final = 0.02
"""How much later a turn may come than was foreseen: who is late makes those after it late."""
_RESERVED: Final = 10
"""One in so many places in flight is left to `interactive` calls."""


def _unbounded(request: Request) -> float:  # noqa: ARG001 - none has an end
    return math.inf


class QuickLimits(Foresight, Limits, Protocol):
    """Limits that mostly decide without a wait, and know of waits."""

    def reserve_nowait(self, call: Call, estimate: Usage) -> Reservation | None:
        """Reserve as `reserve` does, or return None where that takes a wait: nothing is counted."""
        ...


class Held(msgspec.Struct):
    """What a call has, with its place in flight."""

    _owner: "QueuedLimits"
    _inner: Reservation | None
    _call: Call
    _rank: int
    _since: float

    def settle(self, usage: Usage) -> None:
        """Settle what was reserved, and let the next call in; calls after the first do nothing."""
        inner = self._inner
        if inner is not None:
            self._inner = None
            inner.settle(usage)
            self._owner.give_back(self._call, self._rank, self._since, usage)


class QueuedLimits:
    """Limits before which calls wait their turn: see `core.queue` for the order."""

    def __init__(self, limits: QuickLimits, clock: Clock, random: Random) -> None:
        self._limits, self._clock, self._random = limits, clock, random
        self._now = clock.now
        self._queue: Queue[Wish] = Queue()
        self._outlook = Outlook(limits, self._queue.crowds)
        self._told, self._lasts = self._outlook.told, self._outlook.lasts
        self._in_flight = self._bulk = 0
        self._alarm: asyncio.Task[None] | None = None
        self._alarm_at = math.inf
        self._refused = {"full": 0.0, "late": 0.0, "timeout": 0.0, "deadline": 0.0}
        self._served = self._left = 0
        self.adopt(QueueRules())

    def adopt(
        self, rules: QueueRules, limits: Rules = _NO_RULES, longest: Longest = _unbounded
    ) -> None:
        """Let other rules hold from the next call on; what waits already waits on.

        Where users, tags or models have limits of their own, the calls of a key wait apart by them.
        """
        self._rules, self._longest = rules, longest
        self._most = most = math.inf if rules.in_flight is None else rules.in_flight
        self._most_bulk = max(1.0, most - max(1.0, most // _RESERVED)) if most < math.inf else most
        self._by_user = bool(limits.users) or limits.user != NO_LIMITS
        self._by_tag = bool(limits.tags)
        named = (*limits.projects.values(), *limits.users.values(), *limits.tags.values())
        self._by_model = any(one.models for one in (limits.organisation, limits.user, *named))

    async def reserve(self, call: Call, estimate: Usage) -> Held:
        """Set aside what the call may use, if need be after a wait, or raise and set aside nothing.

        Raises:
            LimitError: As the limits do, or the queue is full. Where waiting cures it, it says
                truly when to come back.
            Overloaded: More calls wait for a place in flight than can be served.
            DeadlineExceeded: The call's time was up before its turn.
        """
        rank, now, denial, told = rank_of(call), self._now(), None, self._told
        is_quiet = not (rank or self._queue.calls or told.count)
        if (is_quiet and self._in_flight < self._most) or self._is_free(call, rank, now):
            self._in_flight += 1
            if rank:
                self._bulk += 1
            try:
                inner = self._limits.reserve_nowait(call, estimate)
                if inner is None:
                    inner = await self._limits.reserve(call, estimate)
                if told.count:
                    told.take(who_of(call))
                return Held(self, inner, call, rank, now)
            except BaseException as error:
                self._release(rank)
                if not is_cured(error):
                    raise
                denial = error
        total = self._longest(call.request)
        wish = Wish(call, estimate, rank, self._lane(call), now=now, total=total)
        self._outlook.place(wish)
        wish.denial = None if denial is None else denial.with_traceback(None)
        return await self._wait(wish)

    def give_back(self, call: Call, rank: int, since: float, usage: Usage) -> None:
        """Take a place back from a call that has ended, and let the next one in."""
        model = call.request.model
        self._lasts.observe(model, self._now() - since, usage.output)
        self._in_flight -= 1
        if rank:
            self._bulk -= 1
        if self._queue.calls:
            found = levels(call.caller or NOBODY, call.request.tags)
            self._queue.free([(level, name) for level in found for name in ("", model)])
            self._serve()

    def statistics(self) -> QueueStatistics:
        """Return how the queue stands, and what it did so far."""
        waiting, refused = self._queue.by_priority(), dict(self._refused)
        return QueueStatistics(
            self._in_flight, waiting, self._queue.size, self._served, refused, self._left
        )

    # Waiting.

    async def _wait(self, wish: Wish) -> Held:
        until = self._admit(wish)
        wish.turn = asyncio.get_running_loop().create_future()
        place = Waiting(wish, wish.tokens, wish.size, until, wish.scopes)
        lane = self._queue.add(place, wish.rank, wish.key, wish.lane)
        if wish.denial is not None and lane.head is place:
            self._queue.hold(lane, *parking(wish.denial, wish.asked))
        self._serve()
        began = wish.asked
        try:
            return await self._try(place)
        except asyncio.CancelledError:
            self._left += 1
            raise
        finally:
            wish.call.queued = self._now() - began
            wish.call.waited += wish.call.queued
            had_place = place.is_tried
            self._queue.leave(place)
            if had_place:
                self._release(wish.rank)
            self._serve()

    async def _try(self, place: Waiting[Wish]) -> Held:
        """Try whenever it is the call's turn, until it is let in or its time is up."""
        wish = place.ticket
        while (error := await wish.turn) is None:
            now = self._now()
            if now >= wish.deadline:
                raise self._late(wish)
            try:
                inner = await self._limits.reserve(wish.call, wish.estimate)
            except LimitError as denial:
                if not is_cured(denial):
                    raise
                wish.denial = denial.with_traceback(None)
            else:
                self._queue.leave(place, is_served=True)
                self._served += 1
                return Held(self, inner, wish.call, wish.rank, self._now())
            if (now := self._now()) >= place.until:
                raise self._late(wish)
            wish.turn = asyncio.get_running_loop().create_future()
            self._queue.park(place, *parking(wish.denial, now))
            self._release(wish.rank)
            self._serve()
        raise error

    def _admit(self, wish: Wish) -> float:
        """Return until when the call may wait, or raise what tells it when to come back."""
        now = wish.asked
        self._told.expire(now)
        wish.told = self._told.told(wish.who)
        has_come = wish.told is not None and wish.told[1] <= now
        if has_come:
            self._told.take(wish.who)
        usual = self._lasts.median(wish.call.request.model)
        patience = max(0.0, min(self._rules.max_wait, wish.deadline - now - usual))
        if not self._rules.calls or (not has_come and self._predict(wish) > patience):
            raise self._send_away(wish, "late")
        self._make_room(wish)
        self._told.take(wish.who)
        return now + patience

    def _make_room(self, wish: Wish) -> None:
        """Return when there is room for one more call; it may be made at another's cost."""
        rules, queue, most = self._rules, self._queue, wish.caller.limits.queue
        name = wish.caller.name
        if most is not None and queue.held(wish.key)[0] >= most:
            full = QueueFull(f"As many requests of key '{name}' are waiting as may: {most}.")
            raise self._send_away(
                wish, "full", full if most or wish.denial is None else wish.denial
            )
        while queue.calls >= rules.calls or queue.size + wish.size > rules.size:
            other = queue.crowded(wish.rank, wish.key) if wish.size <= rules.size else None
            if other is None and queue.held(wish.key)[0]:
                full = QueueFull(f"The queue is full, and key '{name}' has its share of it.")
                raise self._send_away(wish, "full", full)
            if other is None:
                raise self._send_away(wish, "full", Overloaded("The queue is full."))
            queue.leave(other)
            full = QueueFull("The queue is full; this request gave way to one of another key.")
            other.ticket.wake(self._send_away(other.ticket, "full", full))

    def _predict(self, wish: Wish) -> float:
        """Return the seconds until it is the call's turn."""
        return self._outlook.predict(wish, self._denial(wish), self._wait_for_place)

    def _wait_for_place(self, wish: Wish, calls: int) -> float:
        """Return the seconds until there is a place for a call after so many of its key."""
        if self._has_place(wish.rank):
            return 0.0
        ahead = self._queue.ahead(wish.rank, wish.key, calls)
        return (ahead + 1) * self._outlook.mean / self._most

    def _denial(self, wish: Wish) -> LimitError | None:
        """Return what the limits have said to the call, or to the one that it waits behind."""
        if wish.denial is not None:
            return wish.denial
        lane = self._queue.lane(wish.rank, wish.key, wish.lane)
        return None if lane is None else lane.head.ticket.denial

    def _send_away(self, wish: Wish, reason: str, error: CallError | None = None) -> CallError:
        """Return what tells a call when to come back; what it was told before still holds."""
        self._refused[reason] += 1
        denial = self._denial(wish)
        now, told = wish.asked, wish.told
        if told is None or told[1] <= now:
            wait = max(self._predict(wish), _LEAST)
            spread = min(_SPREAD * wait, _LONGEST_SPREAD) * self._random.random()
            told = now + wait, now + wait * (1 + _MARGIN) + spread
            self._told.make(wish.who, wish.scopes, *told, wish.tokens)
        if denial is not None:
            for scope in (wish.key, denial.subject):
                self._told.blame(scope, denial)
        elif self._has_place(wish.rank):
            denial = self._told.why(wish.key)
        return retold(error or denial or self._unknown(wish), told[1] - now)

    def _unknown(self, wish: Wish) -> CallError:
        """Return what tells a call that was not tried why it is sent away."""
        if self._has_place(wish.rank):
            return RateLimited(f"The limits of key '{wish.caller.name}' are used up.")
        return Overloaded(_BUSY)

    def _late(self, wish: Wish) -> CallError:
        """Return what ends a wait that was in vain."""
        wish.asked, wish.told = self._now(), None
        if wish.deadline > wish.asked:
            return self._send_away(wish, "timeout")
        self._refused["deadline"] += 1
        return DeadlineExceeded("The call's time was up before it was its turn.")

    # Serving.

    def _is_free(self, call: Call, rank: int, now: float) -> bool:
        """Return whether a call may try at once: there is a place, and it overtakes nobody."""
        if self._in_flight >= self._most or (rank and self._bulk >= self._most_bulk):
            return False
        if self._told.count and self._may_wait(call) and self._outlook.is_awaited(call, now):
            return False  # what is free may be kept for others
        queue = self._queue
        return not queue.calls or queue.lane(rank, key_of(call), self._lane(call)) is None

    def _may_wait(self, call: Call) -> bool:
        """Return whether a call may wait at all: where none may, nothing is kept for others."""
        caller = call.caller or NOBODY
        return self._rules.calls > 0 and caller.limits.queue != 0

    def _has_place(self, rank: int) -> bool:
        return self._in_flight < self._most and (not rank or self._bulk < self._most_bulk)

    def _take(self, rank: int) -> None:
        self._in_flight += 1
        self._bulk += rank > 0

    def _release(self, rank: int) -> None:
        self._in_flight -= 1
        self._bulk -= rank > 0

    def _lane(self, call: Call) -> Hashable:
        """Return what tells apart the calls of a key that do not meet the same limits."""
        request, caller = call.request, call.caller
        by_model = self._by_model or (caller is not None and caller.limits.models)
        return (
            request.model if by_model else "",
            request.tags.user if self._by_user else "",
            request.tags.tags if self._by_tag else (),
            token_of(call),
        )

    def _serve(self) -> None:
        """Let those try whose turn it is, as many as there are places."""
        queue = self._queue
        while queue.calls and self._has_place(0):
            place = queue.next() if self._has_place(1) else queue.next(0)
            if place is None:
                break
            if place.ticket.wake(None):
                self._take(place.ticket.rank)
            else:
                queue.leave(place)
        self._set_alarm()

    def _set_alarm(self) -> None:
        """See to it that the queue is woken when it is due."""
        due = self._queue.due() if self._queue.calls else None
        if due is not None and due >= self._alarm_at:
            return  # it rings before, and is set anew then
        alarm, self._alarm, self._alarm_at = self._alarm, None, math.inf
        if alarm is not None:
            alarm.cancel()
        if due is not None:
            self._alarm_at = due
            self._alarm = asyncio.get_running_loop().create_task(self._ring(due))

    async def _ring(self, due: float) -> None:
        await self._clock.sleep(max(0.0, due - self._now()))
        self._alarm, self._alarm_at = None, math.inf
        for place in self._queue.wake(self._now()):
            place.ticket.wake(self._late(place.ticket))
        self._serve()
