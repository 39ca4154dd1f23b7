"""Two thousand programs with official clients before one engine, in virtual time, and ill providers."""

import asyncio
import json
import random
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, cast

from typing_extensions import override

from headworks.core.breaker import BreakerRules
from headworks.core.intake import read_request
from headworks.core.routing import NamedRouter, Target
from headworks.errors import CallError, ConnectFailed, UpstreamAnswered, UpstreamError
from headworks.stores.health_track import HealthRules
from headworks.testing import FakeClock, FakeResponse, FakeUpstream
from headworks.types import Plan, Request, Route, Secret, Timeouts
from tests.faults.simworld.clockwork import LoopClock, VirtualLoop
from tests.world import CHAT, World

USUAL = BreakerRules()
MAIN, SPARE = Route("up", "big", "main"), Route("spare", "small", "main")
Fate = BaseException | None
Weather = Callable[[Route, float], Fate | float]
"""What an attempt meets at a time: an error, None for an answer, or one after so many seconds."""

_OK, _RETRIES, _OBEYED = 200, 2, 120.0
"""An answer; the official client's retries, and the longest wait that it obeys."""
_REQUEST = read_request(
    "POST",
    "/v1/chat/completions",
    b"",
    ((b"content-type", b"application/json"),),
    json.dumps(CHAT).encode(),
)
_KEY = Secret("open")
_USUAL = 0.2
"""Seconds in which a provider that is well answers."""


@dataclass
class Provider(FakeUpstream):
    """Providers with weather.

    Attributes:
        seen: When attempts came, and where.
        log: Of the main route: when attempts began and ended, their numbers, and whether well.
    """

    weather: Weather = lambda _route, _now: None
    begun: float = 0.0
    seen: list[tuple[float, Route]] = field(default_factory=list[tuple[float, Route]])
    log: list[tuple[float, str, int, bool]] = field(
        default_factory=list[tuple[float, str, int, bool]]
    )

    @override
    async def send(self, request: Request, route: Route, remaining: float) -> FakeResponse:
        loop = asyncio.get_running_loop()
        now, number = loop.time() - self.begun, len(self.seen)
        self.seen.append((now, route))
        self._note(route, now, "begin", number, is_well=False)
        met = self.weather(route, now)
        await asyncio.sleep(met if isinstance(met, float) else _USUAL)
        is_well = not isinstance(met, BaseException)
        self._note(route, loop.time() - self.begun, "end", number, is_well=is_well)
        if isinstance(met, BaseException):
            raise met
        self.answers.append(answer := FakeResponse())
        return answer

    def _note(self, route: Route, now: float, event: str, number: int, *, is_well: bool) -> None:
        if route == MAIN:
            self.log.append((now, event, number, is_well))


@dataclass(frozen=True)
class Told:
    """One request of a client, and what it was told: a status, whether and when to try again."""

    began: float
    ended: float
    status: int
    code: str
    attempts: int
    should_retry: bytes | None
    wait: float | None


@dataclass
class Wish:
    """What a program wanted, with all requests that its client made for it."""

    requests: list[Told] = field(default_factory=list[Told])

    @property
    def is_granted(self) -> bool:
        """Whether it has its answer."""
        return self.requests[-1].status == 200


@dataclass
class Land:
    """Clients, an engine, and its providers; all times are in seconds from the beginning.

    Attributes:
        breaker: The rules of the breakers, as usual by default.
    """

    plan: Plan
    weather: Weather
    breaker: BreakerRules = USUAL
    seed: int = 1
    wishes: list[Wish] = field(default_factory=list[Wish])

    def __post_init__(self) -> None:
        self.loop = VirtualLoop()
        self.begun = self.loop.time()
        self.chance = random.Random(self.seed)
        self.provider = Provider(weather=self.weather, begun=self.begun)
        names = {route.upstream for route in self.plan.routes}
        targets = {name: Target(("main",), Timeouts()) for name in names}
        router = NamedRouter(targets, {"m": self.plan})
        self.world = World(router, self.provider, cast("FakeClock", LoopClock(self.loop)))
        self.world.health.adopt({name: HealthRules(self.breaker) for name in names})

    def live(self, clients: int, every: float, seconds: float) -> "Land":
        """Let each client make a call about every so many seconds; return when all have ended."""

        async def lives() -> None:
            await asyncio.gather(*(self._client(every, seconds) for _ in range(clients)))

        self.run(lives())
        return self

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        """Run in virtual time to the end."""
        self.loop.ends_at = 1e9
        try:
            self.loop.run_until_complete(work)
        finally:
            self.loop.close()

    @property
    def now(self) -> float:
        """Seconds from the beginning."""
        return self.loop.time() - self.begun

    async def _client(self, every: float, seconds: float) -> None:
        while (wait := self.chance.expovariate(1 / every)) + self.now < seconds:
            await asyncio.sleep(wait)
            self.wishes.append(wish := Wish())
            await self._ask(wish)

    async def _ask(self, wish: Wish) -> None:
        """Ask as openai-python 2 does: two retries, and the headers are obeyed."""
        for retries in range(_RETRIES + 1):
            wish.requests.append(told := await self._request())
            if told.status == _OK or retries == _RETRIES or not _may_retry(told):
                return
            backoff = min(8.0, 0.5 * 2**retries) * (1 - 0.25 * self.chance.random())
            is_obeyed = told.wait is not None and 0 < told.wait <= _OBEYED
            await asyncio.sleep(told.wait if told.wait and is_obeyed else backoff)

    async def _request(self) -> Told:
        began, error = self.now, None
        try:
            async with self.world.engine.call(_REQUEST, _KEY) as response:
                headers, status = response.headers, response.status
        except CallError as met:
            error, headers, status = met, met.headers, met.status
        told = dict(headers)
        wait = told.get(b"retry-after-ms")
        return Told(
            began,
            self.now,
            status,
            error.code if error else "",
            int(told[b"x-headworks-attempts"]),
            told.get(b"x-should-retry"),
            None if wait is None else int(wait) / 1000,
        )

    # What came of it.

    @property
    def requests(self) -> list[Told]:
        """All requests of all clients."""
        return [told for wish in self.wishes for told in wish.requests]

    def attempts(self, begin: float, end: float, route: Route = MAIN) -> list[float]:
        """Return when a route was asked, from one time to another."""
        seen = self.provider.seen
        return [now for now, asked in seen if asked == route and begin <= now < end]

    def opened(self, upstream: str) -> int:
        """Return how often breakers of an upstream have opened."""
        known = self.world.health.statistics()
        return next(one.opened for one in known if one.name == upstream)

    def goodput(self, begin: float, end: float) -> float:
        """Return the share of the requests begun in that time that were answered."""
        answered = [told.status == _OK for told in self.requests if begin <= told.began < end]
        return sum(answered) / max(1, len(answered))


def _may_retry(told: Told) -> bool:
    if told.should_retry is not None:
        return told.should_retry == b"true"
    return told.status in {408, 409, 429} or told.status >= 500


def peak(times: list[float], seconds: float) -> float:
    """Return the highest rate of any so many seconds."""
    most, first = 0, 0
    for last, now in enumerate(times):
        while times[first] <= now - seconds:
            first += 1
        most = max(most, last - first + 1)
    return most / seconds


def answered(
    status: int, failure: Any = "server_error", wait: float | None = None
) -> UpstreamError:
    """Return what a provider says that fails."""
    error = UpstreamAnswered("m", status=status, type="t", code="c", failure=failure)
    error.retry, error.retry_after = ConnectFailed.retry, wait
    return error
