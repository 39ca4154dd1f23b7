"""Steady traffic through an engine in virtual time, before providers that have their weather."""

import asyncio
import json
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, cast

from typing_extensions import override

from headworks.core.intake import read_request
from headworks.core.routing import NamedRouter, Target
from headworks.errors import (
    CallError,
    ConnectFailed,
    UpstreamAnswered,
    UpstreamError,
)
from headworks.testing import FakeClock, FakeResponse, FakeUpstream
from headworks.types import Plan, Request, Route, Secret, Timeouts
from tests.faults.simworld.clockwork import LoopClock, VirtualLoop
from tests.world import CHAT, World

FIRST, SECOND = Route("first", "big", "main"), Route("second", "small", "main")
MAIN, SPARE = Route("up", "big", "main"), Route("up", "big", "spare")
Weather = Callable[[Route, float], BaseException | FakeResponse | None]
"""What becomes of an attempt on a route at a time: an error, an answer, or None: all is well."""


@dataclass
class Provider(FakeUpstream):
    """Providers that answer after 0.2 s, as the weather is when a request arrives.

    Attributes:
        seen: When attempts came, by route.
    """

    weather: Weather = lambda _route, _now: None
    seen: list[tuple[float, Route]] = field(default_factory=list[tuple[float, Route]])

    @override
    async def send(self, request: Request, route: Route, remaining: float) -> FakeResponse:
        now = asyncio.get_running_loop().time()
        self.seen.append((now, route))
        await asyncio.sleep(0.2)
        result = self.weather(route, now)
        if isinstance(result, BaseException):
            raise result
        self.script = [] if result is None else [result]
        return await super().send(request, route, remaining)


@dataclass
class Done:
    """One call: when it began, how long it took, what its caller got."""

    begun: float
    seconds: float
    error: CallError | None


@dataclass
class Drill:
    """An engine in virtual time under steady traffic; times are in seconds from the beginning."""

    plan: Plan
    weather: Weather
    calls: list[Done] = field(default_factory=list[Done])

    def __post_init__(self) -> None:
        self.loop = VirtualLoop()
        self.begun = self.loop.time()
        self.provider = Provider(weather=lambda route, now: self.weather(route, now - self.begun))
        router = NamedRouter({"up": Target(("main",), Timeouts())}, {"m": self.plan})
        self.world = World(router, self.provider, cast("FakeClock", LoopClock(self.loop)))

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        """Run in virtual time to the end."""
        try:
            self.loop.run_until_complete(work)
        finally:
            self.loop.close()

    def traffic(self, rate: float, seconds: float, *, stream: bool = False) -> "Drill":
        """Make so many calls a second, whatever becomes of them; return when all have ended."""

        async def make_calls() -> None:
            under_way = []
            for _ in range(int(rate * seconds)):
                under_way.append(asyncio.ensure_future(self.call(stream=stream)))
                await asyncio.sleep(1 / rate)
            await asyncio.gather(*under_way)

        self.run(make_calls())
        return self

    async def call(self, *, stream: bool = False) -> None:
        body = json.dumps({**CHAT, "stream": stream}).encode()
        kind = ((b"content-type", b"application/json"),)
        request = read_request("POST", "/v1/chat/completions", b"", kind, body)
        begun, error = self.loop.time(), None
        try:
            async with self.world.engine.call(request, Secret("open")) as response:
                if not isinstance(response.content, bytes):
                    async for _ in response.content:
                        pass
        except CallError as met:
            error = met
        self.calls.append(Done(begun - self.begun, self.loop.time() - begun, error))

    def goodput(self, begin: float, end: float) -> float:
        """Return the share of the calls begun in that time that were answered."""
        counted = [one.error is None for one in self.calls if begin <= one.begun < end]
        return sum(counted) / len(counted)

    def attempts(self, begin: float, end: float, upstream: str = "") -> int:
        """Return how many requests were sent in that time."""
        return sum(
            begin <= now - self.begun < end and route.upstream.startswith(upstream)
            for now, route in self.provider.seen
        )

    def passed_over(self) -> set[str]:
        """Return why calls did not ask a route, as their trails say."""
        trails = (one for call in self.world.journal.calls for one in call.trail)
        return {one.failure for one in trails if not one.code}


def answered(
    status: int, failure: Any = "server_error", wait: float | None = None
) -> UpstreamError:
    error = UpstreamAnswered("m", status=status, type="t", code="c", failure=failure)
    error.retry, error.retry_after = ConnectFailed.retry, wait
    return error


def lasting(begin: float, end: float, error: Callable[[], BaseException]) -> Weather:
    """Return bad weather at the upstreams `up` and `first`, between two times."""
    return lambda route, now: error() if begin <= now < end and route.upstream != "second" else None
