"""A stage for calls that wait: an engine in virtual time before a provider that takes its time."""

import asyncio
import json
import random
from collections.abc import Coroutine, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, cast

from typing_extensions import override

from headworks.core.admission import Rules
from headworks.core.intake import read_request
from headworks.core.queue_rules import QueueRules
from headworks.core.routing import NamedRouter, Target
from headworks.errors import CallError, ConnectionLost, DeadlineExceeded
from headworks.stores.queue import QueuedLimits
from headworks.testing import FakeClock, FakeResponse, FakeUpstream, MemoryKeys
from headworks.types import Caller, Plan, RateLimits, Request, Route, Secret, Timeouts
from tests.faults.simworld.clockwork import LoopClock, VirtualLoop
from tests.world import World

JSON = (b"content-type", b"application/json")


@dataclass
class Desk(FakeUpstream):
    """A provider that answers after about so many seconds, and notes who came when.

    Attributes:
        faults: So many requests more get no answer.
    """

    seconds: float = 1.0
    chance: random.Random = field(default_factory=lambda: random.Random(7))
    seen: list[tuple[float, str]] = field(default_factory=list[tuple[float, str]])
    busy: int = 0
    busiest: int = 0
    faults: int = 0

    @override
    async def send(self, request: Request, route: Route, remaining: float) -> FakeResponse:
        loop = asyncio.get_running_loop()
        self.seen.append((loop.time(), request.tags.feature))
        self.busy += 1
        self.busiest = max(self.busiest, self.busy)
        lasts = self.seconds * (0.8 + 0.4 * self.chance.random())
        try:
            await asyncio.sleep(min(lasts, remaining))
            if lasts > remaining:
                raise DeadlineExceeded
        finally:
            self.busy -= 1
        if self.faults:
            self.faults -= 1
            raise ConnectionLost("The provider has gone.")
        self.answers.append(answer := FakeResponse())
        return answer


@dataclass(frozen=True)
class Told:
    """One call: whose it was, when it came and ended, and what it was told."""

    who: str
    began: float
    ended: float
    status: int
    code: str
    wait: float | None
    headers: dict[bytes, bytes]
    message: str = ""

    @property
    def lasted(self) -> float:
        """Seconds from the request to its answer."""
        return self.ended - self.began


class Hall:
    """An engine whose calls wait. What went wrong unseen is in `unseen`."""

    def __init__(
        self,
        rules: QueueRules | None = None,
        limits: Rules | None = None,
        seconds: float = 1.0,
        keys: Mapping[str, RateLimits | Caller] = MappingProxyType({}),
        *,
        desk: Desk | None = None,
        **named: RateLimits | Caller,
    ) -> None:
        self.loop = VirtualLoop()
        self.loop.ends_at = 1e9
        self.begun = self.loop.time()
        self.unseen: list[dict[str, Any]] = []
        self.loop.set_exception_handler(lambda _, context: self.unseen.append(context))
        self.chance = random.Random(3)
        self.desk = desk or Desk(seconds=seconds)
        router = NamedRouter(
            {"up": Target(("main",), Timeouts())}, {"m": Plan((Route("up", "m", "main"),))}
        )
        callers = {
            name: given if isinstance(given, Caller) else Caller(name, name, limits=given)
            for name, given in {**keys, **named}.items()
        }
        clock = cast("FakeClock", LoopClock(self.loop))
        self.world = World(router, self.desk, clock, keys=MemoryKeys(callers))
        inner = self.world.limits
        inner.adopt(limits or Rules())
        self.queue = QueuedLimits(inner, self.world.clock, self.world.random)
        self.queue.adopt(rules or QueueRules(), limits or Rules())
        self.world.limits = cast("Any", self.queue)
        self.engine = self.world.make_engine()
        self.world.limits = inner
        self.told: list[Told] = []

    @property
    def now(self) -> float:
        """Seconds since the stage began."""
        return self.loop.time() - self.begun

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Run in virtual time to the end; nothing may be held or waiting then."""
        try:
            result = self.loop.run_until_complete(work)
            self.loop.run_until_complete(asyncio.sleep(0.0))
            self.loop.run_until_complete(asyncio.sleep(0.0))
            assert not asyncio.all_tasks(self.loop)
        finally:
            self.loop.close()
        self.world.assert_settled()
        assert not self.unseen
        standing = self.queue.statistics()
        assert (standing.in_flight, standing.size, sum(standing.waiting.values())) == (0, 0, 0)
        return result

    async def call(self, key: str, text: str = "Hi", **ours: str) -> Told:
        """Make a call and return what it was told."""
        fields = {"model": ours.pop("model", "m"), "messages": [{"role": "user", "content": text}]}
        headers = [(f"x-headworks-{name}".encode(), value.encode()) for name, value in ours.items()]
        headers.append((b"x-headworks-feature", key.encode()))
        body = json.dumps(fields).encode()
        request = read_request("POST", "/v1/chat/completions", b"", (JSON, *headers), body)
        began, error = self.now, None
        try:
            async with self.engine.call(request, Secret(key)) as response:
                found, status = response.headers, response.status
        except CallError as met:
            error, found, status = met, met.headers, met.status
        told = dict(found)
        wait = told.get(b"retry-after-ms")
        code, message = (error.code, str(error)) if error else ("", "")
        seconds = None if wait is None else int(wait) / 1000
        self.told.append(Told(key, began, self.now, status, code, seconds, told, message))
        return self.told[-1]

    def answered(self, who: str) -> list[Told]:
        """Return the calls of a key that were answered."""
        return [one for one in self.told if one.who == who and one.status == 200]


def jain(shares: Iterable[float]) -> float:
    """Return how equal shares are: 1 if all are the same, 1/n if one has everything (Jain 1984)."""
    got = list(shares)
    return sum(got) ** 2 / (len(got) * sum(one * one for one in got))


def p99(values: list[float]) -> float:
    """Return what 99 of 100 values stay within."""
    return sorted(values)[min(len(values) - 1, int(len(values) * 0.99))]
