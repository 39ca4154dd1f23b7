"""What stands in a queue: calls in lanes, lanes of keys, and the keys of a priority in their turns."""

import math
from collections import OrderedDict
from collections.abc import Hashable, Sequence
from typing import Final, Generic, Literal, TypeVar

from headworks.core.crowds import QUANTUM

T = TypeVar("T")

DEAREST: Final = 1_000_000
"""Tokens that a call counts for at most."""
_LEAST: Final = 100
"""Tokens that a turn is worth at least: the fewer, the more turns a large call has to wait for."""
_MEMORY: Final = 8
"""How many calls the worth of a turn follows."""


class Waiting(Generic[T]):
    """A call that waits.

    Attributes:
        ticket: Whatever the owner of the queue knows it by.
        cost: Tokens that it may use.
        size: Bytes that it holds.
        until: When it is given up.
        scopes: The limits that it has to pass, and whatever else it shares with others.
        is_tried: Whether it is just being tried.
        lane: Where it stands, None once it has left.
    """

    __slots__ = ("cost", "is_tried", "lane", "scopes", "size", "ticket", "until")

    def __init__(
        self, ticket: T, cost: int, size: int, until: float, scopes: Sequence[Hashable] = ()
    ) -> None:
        self.ticket = ticket
        self.cost = min(max(cost, 1), DEAREST)
        self.size = size
        self.until, self.scopes = until, scopes
        self.is_tried = False
        self.lane: Lane[T] | None = None


class Lane(Generic[T]):
    """Calls of a key that meet the same limits, as they came.

    Attributes:
        state: Whether the first is in its key's turn, is just being tried, or has to wait: until a
            time, or until one of the `scopes` is freed.
    """

    __slots__ = ("flow", "id", "scopes", "state", "until", "waiting")

    def __init__(self, flow: "Flow[T]", id_: Hashable) -> None:
        self.flow, self.id = flow, id_
        self.waiting: OrderedDict[Waiting[T], None] = OrderedDict()
        self.state: Literal["ready", "tried", "parked"] = "ready"
        self.until = 0.0
        self.scopes: tuple[Hashable, ...] = ()

    @property
    def head(self) -> Waiting[T]:
        """The call that has waited longest."""
        return next(iter(self.waiting))


class Flow(Generic[T]):
    """What one key has waiting at one priority.

    Attributes:
        ready: Lanes whose first call may be tried, next first.
        served: How many of its calls were let in since something of it began to wait.
    """

    __slots__ = ("calls", "cost", "deficit", "key", "lanes", "level", "ready", "served", "size")

    def __init__(self, key: Hashable, level: "Level[T]") -> None:
        self.key, self.level = key, level
        self.deficit = level.quantum
        self.calls = self.cost = self.size = self.served = 0
        self.lanes: dict[Hashable, Lane[T]] = {}
        self.ready: OrderedDict[Lane[T], None] = OrderedDict()

    @property
    def head(self) -> Waiting[T]:
        """The call that the key would have tried next."""
        return next(iter(self.ready)).head

    @property
    def youngest(self) -> Waiting[T] | None:
        """A call that came late, the last of the longest lane; None if it is just being tried."""
        longest = max(self.lanes.values(), key=lambda lane: len(lane.waiting))
        last = next(reversed(longest.waiting))
        return None if last.is_tried else last


class Level(Generic[T]):
    """What waits at one priority. `ring` holds the keys that have a call to try, next first.

    Attributes:
        clock: Tokens given, by the share.
        quantum: Tokens that a turn is worth: about one call of those that come lately.
        served: How many calls were let in of the keys that wait, since each began to.
        tried: Calls that are just being tried.
    """

    __slots__ = ("calls", "clock", "flows", "quantum", "ring", "served", "share", "tried")

    def __init__(self, share: int) -> None:
        self.share = share
        self.calls = self.tried = self.served = 0
        self.quantum = QUANTUM
        self.clock = 0.0
        self.flows: dict[Hashable, Flow[T]] = {}
        self.ring: OrderedDict[Flow[T], None] = OrderedDict()

    def follow(self, cost: int) -> None:
        """Let a turn be worth what calls cost of late, within bounds."""
        worth = (self.quantum * (_MEMORY - 1) + cost) // _MEMORY
        self.quantum = min(max(worth, _LEAST), QUANTUM)

    def next(self) -> Flow[T]:
        """Return the key whose turn it is; there is one."""
        ring = self.ring
        for _ in range(len(ring)):
            flow = next(iter(ring))
            if flow.head.cost <= flow.deficit:
                return flow
            flow.deficit += self.quantum
            ring.move_to_end(flow)
        # Nobody could pay within a round: go as many at once as the first to be able to needs.
        rounds = min(math.ceil((flow.head.cost - flow.deficit) / self.quantum) for flow in ring)
        for flow in ring:
            flow.deficit += max(rounds, 0) * self.quantum
        return next(flow for flow in ring if flow.head.cost <= flow.deficit)
