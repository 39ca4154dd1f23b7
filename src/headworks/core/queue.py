"""Who is next: calls that wait for a limit, in the order in which it is fair to serve them.

Three levels. Between priorities: each has a clock that runs by the tokens it was given, divided by
its share, and whose clock is furthest behind is next (start-time fair queueing, Goyal 1996). So
`interactive` has eight tenths where all three are waiting, `background` and `batch` a tenth each,
and what one does not use is the others'. Between the keys of a priority: deficit round robin
(Shreedhar and Varghese 1995). The key whose turn it is may spend its deficit of tokens, then the
next has its turn and this one a quantum more, about what one call costs; so a key that asks a
hundred times as often as the others gets no more than they do. Between the lanes of a key, calls that meet the same limits: turn
by turn, so that one user's limit does not hold up another's calls. Within a lane: first come,
first served.

A call that is next is tried: the limits may still say no. Then its lane is parked until a time,
or until something is given back, and nobody else waits for it.
"""

import heapq
from collections import OrderedDict
from collections.abc import Hashable, Iterable
from typing import Final, Generic, Literal, TypeVar

from headworks.core.crowds import SHARES, Crowds
from headworks.core.turns import Flow, Lane, Level, Waiting
from headworks.types import Priority

T = TypeVar("T")

PRIORITIES: Final[tuple[Priority, ...]] = ("interactive", "background", "batch")
_SPARE: Final = 64
"""Timers that are out of date are forgotten when they are more than those that count, and these."""


class Queue(Generic[T]):
    """Calls in fair order. Everything is O(1) but for timers, and a search when it is full.

    Attributes:
        calls: How many wait; `size` is their bytes.
        crowds: Before which limits they wait.
    """

    __slots__ = ("_clock", "_levels", "_parked", "_timers", "_turn", "calls", "crowds", "size")

    def __init__(self) -> None:
        self.calls = self.size = 0
        self.crowds = Crowds()
        self._levels = tuple(Level[T](share) for share in SHARES)
        self._parked: dict[Hashable, OrderedDict[Lane[T], None]] = {}
        self._timers: list[tuple[float, int, Waiting[T] | Lane[T]]] = []
        self._turn = 0
        self._clock = 0.0

    def add(self, call: Waiting[T], rank: int, key: Hashable, lane: Hashable) -> Lane[T]:
        """Let a call wait, as the last of its lane, until its time is up; return the lane."""
        level = self._levels[rank]
        level.follow(call.cost)
        flow = level.flows.get(key)
        if flow is None:
            flow = level.flows[key] = Flow(key, level)
        found = flow.lanes.get(lane)
        if found is None:
            found = flow.lanes[lane] = Lane(flow, lane)
        found.waiting[call] = None
        call.lane = found
        self._count(flow, call, 1)
        self._remind(call.until, call)
        if len(found.waiting) == 1:
            self._make_ready(found)
        return found

    def next(self, lowest: int = len(SHARES) - 1) -> Waiting[T] | None:
        """Return the call to try now, of a priority no lower than that rank; None if none can be.

        Whoever tries it says what came of it: `leave` if it was let in, `park` if it was not.
        """
        able = [level for level in self._levels[: lowest + 1] if level.ring]
        if not able:
            return None
        level = min(able, key=lambda one: one.clock)
        flow = level.next()
        lane, _ = flow.ready.popitem(last=False)
        if not flow.ready:
            del level.ring[flow]
        call, lane.state = lane.head, "tried"
        call.is_tried = True
        flow.deficit -= call.cost
        self._clock = level.clock
        level.clock += call.cost / level.share
        level.tried += 1
        return call

    def park(self, call: Waiting[T], until: float, scopes: Iterable[Hashable] = ()) -> None:
        """Take back a try: nothing of that lane is tried until then, or one of the scopes is freed."""
        lane = call.lane
        if lane is None:
            return
        self._refund(call)
        lane.flow.level.tried -= 1
        self._park(lane, until, scopes)

    def hold(self, lane: Lane[T], until: float, scopes: Iterable[Hashable] = ()) -> None:
        """Park a lane whose first call has just been tried, before it came to wait."""
        if lane.state == "ready":
            self._unready(lane)
            self._park(lane, until, scopes)

    def free(self, scopes: Iterable[Hashable]) -> None:
        """Let those be tried that wait for one of the scopes: something was given back there."""
        for scope in scopes:
            for lane in tuple(self._parked.get(scope, ())):
                self._unpark(lane)

    def wake(self, now: float) -> list[Waiting[T]]:
        """Let those be tried whose time has come; return calls that have left, for it was up."""
        late: list[Waiting[T]] = []
        while self._timers and self._timers[0][0] <= now:
            _, _, one = heapq.heappop(self._timers)
            if isinstance(one, Lane):
                if one.state == "parked" and one.until <= now:
                    self._unpark(one)
            elif one.lane is not None and not one.is_tried:
                self.leave(one)
                late.append(one)
        return late

    def due(self) -> float | None:
        """Return when to wake it next, None while nothing waits."""
        timers = self._timers
        while timers and _is_past(timers[0]):
            heapq.heappop(timers)
        return timers[0][0] if timers else None

    def leave(self, call: Waiting[T], *, is_served: bool = False) -> None:
        """Let a call go; unless it was served it has cost nothing. It may have gone already."""
        lane = call.lane
        if lane is None:
            return
        was_tried, was_head = call.is_tried, lane.head is call
        if was_tried and not is_served:
            self._refund(call)
        call.is_tried, call.lane = False, None
        del lane.waiting[call]
        flow = lane.flow
        if is_served:
            flow.served += 1
            flow.level.served += 1
        self._count(flow, call, -1)
        if not lane.waiting:
            self._close(lane)
        elif was_tried:
            self._make_ready(lane, is_turn=is_served)
        elif was_head and lane.state == "parked":
            self._unpark(lane)  # what held up the first may not hold up the second
        flow.level.tried -= was_tried
        if len(self._timers) > 2 * self.calls + _SPARE:
            self._timers = [one for one in self._timers if not _is_past(one)]
            heapq.heapify(self._timers)

    def crowded(self, rank: int, key: Hashable) -> Waiting[T] | None:
        """Return the call that gives way to one more in a full queue, None where none has to.

        It is one of a lower priority if any waits, else of the key that has most calls waiting, if
        these are more than the newcomer's key has with the new one. It came last.
        """
        for lower in range(len(self._levels) - 1, rank, -1):
            beneath = self._levels[lower].flows.values()
            waiting = [one for one in beneath if one.youngest is not None]
            if waiting:
                return max(waiting, key=lambda flow: flow.calls).youngest
        flows, own = self._levels[rank].flows, self.waiting(rank, key)[0]
        if own * len(flows) > self._levels[rank].calls:
            return None  # there may be larger ones, but it has more than its part itself
        fattest = max(flows.values(), key=lambda flow: flow.calls, default=None)
        return fattest.youngest if fattest is not None and fattest.calls > own + 1 else None

    # How it stands.

    def waiting(self, rank: int, key: Hashable) -> tuple[int, int, int]:
        """Return how many calls of a key wait at that priority, with their tokens and bytes."""
        flow = self._levels[rank].flows.get(key)
        return (0, 0, 0) if flow is None else (flow.calls, flow.cost, flow.size)

    def held(self, key: Hashable) -> tuple[int, int]:
        """Return how many calls of a key wait at any priority, and their bytes."""
        flows = [one for level in self._levels if (one := level.flows.get(key)) is not None]
        return sum(one.calls for one in flows), sum(one.size for one in flows)

    def lane(self, rank: int, key: Hashable, lane: Hashable) -> Lane[T] | None:
        """Return a lane if anything waits there."""
        flow = self._levels[rank].flows.get(key)
        return None if flow is None else flow.lanes.get(lane)

    def ahead(self, rank: int, key: Hashable, own: int) -> float:
        """Return how many calls are served before one of a key that comes after so many of its own.

        The others have their turns meanwhile: as many calls of each key, as many of each priority
        by its share. Keys that have had turns while they waited are taken to send as many again.
        """
        level = self._levels[rank]
        flow = level.flows.get(key)
        waiting, served = (0, 0) if flow is None else (flow.calls, flow.served)
        more = level.calls - waiting + level.served - served
        total = own + 1 + min(more, (own + 1) * (len(level.flows) - (flow is not None)))
        beside = (
            min(other.calls, total * other.share / level.share)
            for other in self._levels
            if other is not level
        )
        return total - 1 + sum(beside)

    def by_priority(self) -> dict[str, float]:
        """Return how many calls wait at each priority."""
        levels = zip(PRIORITIES, self._levels, strict=True)
        return {name: of.calls for name, of in levels}

    # Below: how lanes and keys come to the turn, and go.

    def _make_ready(self, lane: Lane[T], *, is_turn: bool = False) -> None:
        """Put a lane into its key's turn; the key keeps its turn while it can pay."""
        flow, level = lane.flow, lane.flow.level
        lane.state = "ready"
        flow.ready[lane] = None
        if flow in level.ring:
            return
        if not level.ring and not level.tried:  # it comes back: it was not waiting all the time
            level.clock = max(level.clock, self._clock)
        level.ring[flow] = None
        if is_turn:
            if flow.head.cost <= flow.deficit:
                level.ring.move_to_end(flow, last=False)
            else:
                flow.deficit += level.quantum

    def _unready(self, lane: Lane[T]) -> None:
        flow = lane.flow
        flow.ready.pop(lane, None)
        if not flow.ready:
            flow.level.ring.pop(flow, None)

    def _refund(self, call: Waiting[T]) -> None:
        if call.is_tried and call.lane is not None:
            flow = call.lane.flow
            flow.deficit += call.cost
            flow.level.clock -= call.cost / flow.level.share
            call.is_tried = False

    def _park(self, lane: Lane[T], until: float, scopes: Iterable[Hashable]) -> None:
        lane.state, lane.until, lane.scopes = "parked", until, tuple(scopes)
        for scope in lane.scopes:
            self._parked.setdefault(scope, OrderedDict())[lane] = None
        self._remind(until, lane)

    def _unpark(self, lane: Lane[T]) -> None:
        for scope in lane.scopes:
            lanes = self._parked[scope]
            del lanes[lane]
            if not lanes:
                del self._parked[scope]
        lane.scopes = ()
        self._make_ready(lane)

    def _close(self, lane: Lane[T]) -> None:
        """Forget an empty lane, and its key with its deficit when nothing of it is left."""
        flow = lane.flow
        if lane.state == "parked":
            self._unpark(lane)
        self._unready(lane)
        del flow.lanes[lane.id]
        if not flow.lanes:
            flow.level.served -= flow.served
            del flow.level.flows[flow.key]

    def _count(self, flow: Flow[T], call: Waiting[T], sign: Literal[1, -1]) -> None:
        flow.calls += sign
        flow.level.calls += sign
        flow.cost += sign * call.cost
        flow.size += sign * call.size
        self.calls += sign
        self.size += sign * call.size
        self.crowds.count(call.scopes, self._levels.index(flow.level), flow.key, sign, call.cost)

    def _remind(self, when: float, of: Waiting[T] | Lane[T]) -> None:
        self._turn += 1
        heapq.heappush(self._timers, (when, self._turn, of))


def _is_past(timer: tuple[float, int, Waiting[T] | Lane[T]]) -> bool:
    """Return whether a timer says nothing any more."""
    when, _, one = timer
    if isinstance(one, Lane):
        return one.state != "parked" or one.until != when
    return one.lane is None
