"""Callers in virtual time before one engine, and a provider with the true limiter."""

import asyncio
import json
import random
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

from typing_extensions import override

from headworks.core.classify import classify
from headworks.core.intake import read_request
from headworks.core.routing import NamedRouter, Target
from headworks.core.tokens import guess
from headworks.core.upstream_bucket import Caps
from headworks.errors import CallError
from headworks.simulator.charge import Charge, charge
from headworks.simulator.config import RateLimit
from headworks.simulator.limiter import Bucket, Group, Limiter
from headworks.simulator.problems import Refusal
from headworks.stores.health_track import HealthRules
from headworks.testing import FakeClock, FakeResponse, FakeUpstream
from headworks.types import Headers, Request, Route, Secret, Timeouts, Usage
from tests.faults.simworld.clockwork import LoopClock, VirtualLoop
from tests.world import FakeEstimator, World

KIND = ((b"content-type", b"application/json"),)
MODEL, ORGANIZATION, CHAT = "gpt-test", "org-test", "/v1/chat/completions"
SECONDS = 600.0
_KEY = Secret("open")


class Rough(FakeEstimator):
    """Four bytes a token."""

    @override
    def estimate(self, request: Request) -> Usage:
        return Usage(guess(len(request.content)), 100)


@dataclass
class Provider(FakeUpstream):
    """A provider that charges, tells and refuses as OpenAI does: its project is the credential.

    Attributes:
        used: What was charged, by credential: requests and tokens.
        told: How often it answered with each status.
        latency: Seconds until an answer begins: from, to.
    """

    limits: Sequence[RateLimit] = ()
    clock: Any = None
    chance: random.Random = field(default_factory=lambda: random.Random(5))
    latency: tuple[float, float] = (0.5, 3.0)
    used: dict[str, list[int]] = field(default_factory=dict[str, list[int]])
    told: Counter[int] = field(default_factory=Counter[int])
    refusals: list[tuple[float, str]] = field(default_factory=list[tuple[float, str]])

    def __post_init__(self) -> None:
        self.limiter = Limiter(self.limits, self.clock)

    def group(self, credential: str = "main") -> Group:
        """Return the buckets of one credential."""
        found = self.limiter.group(MODEL, credential)
        assert found is not None
        return found

    def bucket(self, kind: str, credential: str = "main") -> Bucket:
        return next(one for one in self.group(credential)._buckets if one.kind == kind)

    def take(self, path: str, fields: Mapping[str, Any], credential: str) -> Headers:
        """Charge a request, or raise its refusal."""
        era = self.limiter.era(MODEL)
        taken = charge(path, fields, len(json.dumps(fields)) // 4, era) or Charge()
        admission = self.limiter.admit(taken, MODEL, ORGANIZATION, credential)
        used = self.used.setdefault(credential, [0, 0])
        used[0] += 1
        used[1] += taken.tokens
        return _raw(admission.headers)

    @override
    async def send(self, request: Request, route: Route, remaining: float) -> FakeResponse:
        try:
            headers = self.take(request.path, request.fields, route.credential)
        except Refusal as refusal:
            self.told[refusal.status] += 1
            self.refusals.append((asyncio.get_running_loop().time(), str(refusal)))
            await asyncio.sleep(0.05)
            said = _raw(refusal.headers)
            error = classify(refusal.status, said, refusal.content, now=0.0)
            error.said = said
            raise error from None
        self.told[200] += 1
        await asyncio.sleep(self.chance.uniform(*self.latency))
        self.answers.append(answer := FakeResponse(headers=(*KIND, *headers)))
        return answer


@dataclass
class Land:
    """Programs, an engine and its provider.

    Attributes:
        told: How often callers were told each status.
        waits: How long those waited who got an answer.
    """

    limits: Sequence[RateLimit]
    credentials: tuple[str, ...] = ("main",)
    caps: Mapping[str, Caps] = field(default_factory=dict[str, Caps])
    latency: tuple[float, float] = (0.5, 3.0)
    size: tuple[int, int] = (200, 4000)
    extra: Mapping[str, Any] = field(default_factory=dict[str, Any])
    seed: int = 1
    told: Counter[str] = field(default_factory=Counter[str])
    waits: list[float] = field(default_factory=list[float])

    def __post_init__(self) -> None:
        self.loop = VirtualLoop()
        self.begun = self.loop.time()
        self.chance = random.Random(self.seed)
        clock = LoopClock(self.loop)
        self.provider = Provider(limits=self.limits, clock=clock, latency=self.latency)
        router = NamedRouter({"up": Target(self.credentials, Timeouts())}, {})
        self.world = World(router, self.provider, cast("FakeClock", clock))
        has_peers = len(self.credentials) > 1
        self.world.health.adopt({"up": HealthRules(caps=self.caps, has_peers=has_peers)})
        engine, rough = self.world.engine, Rough()
        dispatcher = replace(engine.dispatcher, estimator=rough)
        self.engine = replace(engine, dispatcher=dispatcher, estimator=rough)

    @property
    def now(self) -> float:
        return self.loop.time() - self.begun

    def run(self, work: Coroutine[Any, Any, Any]) -> "Land":
        """Run in virtual time to the end; nobody stands in a line then."""
        self.loop.ends_at = 1e9
        try:
            self.loop.run_until_complete(work)
        finally:
            self.loop.close()
        assert sum(one.waiting for up in self.world.health.statistics() for one in up.routes) == 0
        return self

    def live(
        self, rate: float, *others: Coroutine[Any, Any, Any], seconds: float = SECONDS
    ) -> "Land":
        """Let calls come at random, so many a second; return when the time is over."""

        async def lives() -> None:
            beside = [asyncio.ensure_future(one) for one in others]
            tasks: list[asyncio.Task[str]] = []
            while (wait := self.chance.expovariate(rate)) + self.now < seconds:
                await asyncio.sleep(wait)
                tasks.append(asyncio.create_task(self.ask()))
            for task in (*tasks, *beside):
                task.cancel()
            ended = await asyncio.gather(*tasks, *beside, return_exceptions=True)
            unforeseen = [one for one in ended if isinstance(one, Exception)]
            assert not unforeseen, unforeseen[0]

        return self.run(lives())

    async def ask(self, **fields: Any) -> str:
        """Make one call; return its status, or its error's code."""
        began = self.now
        body = {
            "model": MODEL,
            "messages": [{"role": "user", "content": "x" * self.chance.randint(*self.size)}],
            **self.extra,
            **fields,
        }
        request = read_request("POST", CHAT, b"", KIND, json.dumps(body).encode())
        try:
            async with self.engine.call(request, _KEY) as response:
                told = str(response.status)
                self.waits.append(self.now - began)
        except CallError as error:
            told = error.code
        self.told[told] += 1
        return told

    async def stranger(self, tokens: int, every: float) -> None:
        """Let another program use the account: so many tokens, about every so many seconds."""
        while True:
            await asyncio.sleep(self.chance.expovariate(1 / every))
            try:
                self.provider.limiter.admit(Charge(tokens), MODEL, ORGANIZATION, "main")
            except Refusal:
                continue
            self.foreign += tokens
            self.foreign_calls += 1

    foreign: int = 0
    foreign_calls: int = 0

    async def later(self, seconds: float, change: Callable[[], None]) -> None:
        """Change something after some time."""
        await asyncio.sleep(seconds)
        change()

    @property
    def refused(self) -> float:
        """The share of the calls to the provider that it refused."""
        told = self.provider.told
        return told[429] / max(1, sum(told.values()))


def _raw(headers: Mapping[str, str]) -> Headers:
    return tuple((name.encode(), value.encode()) for name, value in headers.items())
