"""Who judges an authority on limits: one who remembers every call, and a crowd that wants all there is."""

from dataclasses import dataclass, field
from heapq import heappop, heappush
from random import Random

from headworks.core.admission import Ask, Denial, Dimension, Grant, Subject
from headworks.stores.authority import Gate
from headworks.testing import FakeClock

WINDOWS: dict[Dimension, tuple[str, float, float]] = {
    "rpm": ("requests", 60.0, 0.1),
    "tpm": ("tokens", 60.0, 0.1),
    "rpd": ("requests", 86_400.0, 2160.0),
    "tpd": ("tokens", 86_400.0, 2160.0),
}
"""What is counted, in how many seconds, and by how many more an authority may err: upwards."""


@dataclass
class Event:
    """One call that was let in."""

    at: float
    asks: list[Ask]
    grant: Grant
    tokens: dict[Subject, int]
    is_open: bool = True


@dataclass
class Oracle:
    """Remembers every call, and knows nothing of slots, sums or forgetting."""

    events: list[Event] = field(default_factory=list[Event])

    def used(self, subject: Subject, dimension: Dimension, now: float, slack: float = 0.0) -> int:
        """What counts in the window that ends now, made longer by `slack`."""
        if dimension == "parallel":
            return sum(one.is_open and subject in one.tokens for one in self.events)
        counted, seconds, _ = WINDOWS[dimension]
        return sum(
            1 if counted == "requests" else one.tokens[subject]
            for one in self.events
            if subject in one.tokens and one.at > now - seconds - slack
        )

    def fits(self, asks: list[Ask], now: float, *, slack: bool) -> bool:
        """Whether the call exceeds none of its limits."""
        for one in asks:
            for dimension in ("rpm", "tpm", "rpd", "tpd", "parallel"):
                limit: int | None = getattr(one.limits, dimension)
                amount = one.tokens if dimension in {"tpm", "tpd"} else 1
                more = WINDOWS[dimension][2] if slack and dimension != "parallel" else 0.0
                used = self.used(one.subject, dimension, now, more)
                if limit is not None and amount and used + amount > limit:
                    return False
        return True


@dataclass
class Crowd:
    """Two hundred callers in virtual time, who ask in bursts and hold what they get for a while."""

    gate: Gate
    clock: FakeClock
    chance: Random
    served: list[tuple[float, int]] = field(default_factory=list[tuple[float, int]])

    async def work(self, until: float) -> None:
        """Let them work until then."""
        due: list[tuple[float, int, Grant | None, int]] = [
            (0.0, one, None, 0) for one in range(200)
        ]
        start = self.clock.now()
        while due[0][0] < until:
            when, who, grant, used = heappop(due)
            self.clock.advance(max(0.0, start + when - self.clock.now()))
            if grant is not None:
                grant.settle(used)
                self.served.append((self.served_at[who], used))
                heappush(due, (when, who, None, 0))
                continue
            size = self.chance.randint(20, 40)
            found = await self.gate.decide(size)
            if isinstance(found, Denial):
                heappush(due, (when + min(found.wait, self.chance.expovariate(5)), who, None, 0))
            else:
                self.served_at[who] = when
                used = self.chance.randint(size // 2, size)
                heappush(due, (when + self.chance.uniform(0.05, 1.0), who, found, used))

    def __post_init__(self) -> None:
        self.served_at: dict[int, float] = {}
