"""The order of those who wait: fair by tokens, and nobody is forgotten."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from headworks.core.queue import Queue
from headworks.core.turns import Waiting

FOREVER = 1e9
steps = st.lists(
    st.tuples(
        st.sampled_from(["add", "next", "serve", "park", "leave", "free", "wake"]),
        st.integers(0, 7),
        st.integers(1, 5_000),
    ),
    max_size=120,
)


def serve(queue: Queue[str], tokens: int) -> Counter[str]:
    """Serve calls worth so many tokens; return those of each."""
    found: Counter[str] = Counter()
    while found.total() < tokens:
        call = queue.next()
        assert call is not None
        found[call.ticket] += call.cost
        queue.leave(call, is_served=True)
    return found


def test_keys_get_the_same_tokens_whatever_their_size():
    """A key with requests fifty times as large gets as many tokens as the others, not as calls."""
    queue: Queue[str] = Queue()
    for name, cost in (("small", 100), ("middle", 900), ("large", 5_000)):
        for _ in range(200_000 // cost):
            queue.add(Waiting(name, cost, 1, FOREVER), 0, name, ())
    found = serve(queue, 300_000)
    assert max(found.values()) - min(found.values()) <= 2 * 5_000


def test_a_newcomer_is_served_within_a_round():
    """Behind a long queue of one key, another key's first call is among the next few."""
    queue: Queue[str] = Queue()
    for _ in range(1_000):
        queue.add(Waiting("noisy", 500, 1, FOREVER), 0, "noisy", ())
    serve(queue, 50_000)
    queue.add(Waiting("quiet", 500, 1, FOREVER), 0, "quiet", ())
    order: list[str] = []
    while "quiet" not in order:
        call = queue.next()
        assert call is not None
        order.append(call.ticket)
        queue.leave(call, is_served=True)
    assert len(order) <= 4


def test_priorities_share_by_eight_one_and_one():
    """Of ten tokens, eight go to interactive calls; what a priority does not use is the others'."""
    queue: Queue[str] = Queue()
    for rank, name in enumerate(("interactive", "background", "batch")):
        for _ in range(1_000):
            queue.add(Waiting(name, 1_000, 1, FOREVER), rank, "key", ())
    found = serve(queue, 500_000)
    assert [round(found[name] / 50_000) for name in ("interactive", "background", "batch")] == [
        8,
        1,
        1,
    ]
    serve(queue, 2_500_000)
    assert queue.calls == 0


def test_who_is_refused_pays_nothing():
    """A call that was tried in vain keeps its place, and its key's turn costs nothing."""
    queue: Queue[str] = Queue()
    first, second = Waiting("a", 900, 1, FOREVER), Waiting("b", 900, 1, FOREVER)
    queue.add(first, 0, "a", ())
    queue.add(second, 0, "b", ())
    assert queue.next() is first
    queue.park(first, 5.0, ["slot"])
    assert queue.next() is second
    queue.leave(second, is_served=True)
    assert queue.next() is None
    assert queue.due() == 5.0
    queue.free(["slot"])
    assert queue.next() is first


class Crowd:
    """A queue, and what should be in it."""

    def __init__(self) -> None:
        self.queue: Queue[int] = Queue()
        self.inside: list[Waiting[int]] = []
        self.tried: list[Waiting[int]] = []
        self.now = 0.0

    def add(self, which: int, amount: int) -> None:
        until = self.now + (1_000 if which else 1)
        self.inside.append(Waiting(len(self.inside), amount, which, until))
        self.queue.add(self.inside[-1], which % 3, which // 2, which % 2)

    def next(self, which: int, _: int) -> None:
        if (call := self.queue.next(which % 3)) is not None:
            self.tried.append(call)

    def serve(self, which: int, _: int) -> None:
        if self.tried:
            call = self.tried.pop(which % len(self.tried))
            self.queue.leave(call, is_served=True)
            self.inside.remove(call)

    def park(self, which: int, amount: int) -> None:
        if self.tried:
            call = self.tried.pop(which % len(self.tried))
            self.queue.park(call, self.now + amount / 1_000, [which])

    def leave(self, which: int, _: int) -> None:
        if self.inside:
            call = self.inside.pop(which % len(self.inside))
            self.queue.leave(call)
            self.queue.leave(call)
            self.tried = [one for one in self.tried if one is not call]

    def free(self, which: int, _: int) -> None:
        self.queue.free([which])

    def wake(self, _: int, __: int) -> None:
        for call in self.queue.wake(self.now):
            self.inside.remove(call)


@given(steps)
def test_nobody_is_lost_or_served_twice(steps):
    """Whatever comes, goes, is tried or parked: all that have not left are served in the end."""
    crowd = Crowd()
    queue, inside = crowd.queue, crowd.inside
    for what, which, amount in steps:
        crowd.now += 0.1
        getattr(crowd, what)(which, amount)
        assert queue.calls == len(inside)
        assert queue.size == sum(one.size for one in inside)
    while crowd.tried:
        crowd.park(0, 0)
    crowd.now += 500
    crowd.wake(0, 0)
    served: list[Waiting[int]] = []
    while (last := queue.next()) is not None:
        queue.leave(last, is_served=True)
        served.append(last)
    assert sorted(map(id, served)) == sorted(map(id, inside))
    assert (queue.calls, queue.size, queue.due()) == (0, 0, None)
