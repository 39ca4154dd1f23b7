"""A whole engine over real connections of a network in which no time passes: for waits that are exact."""

import asyncio
import math
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, cast

import httpx2
from typing_extensions import override

from headworks.core.backoff import Backoff
from headworks.core.routing import NamedRouter, Target
from headworks.observe.metrics import Metrics
from headworks.types import Plan, Route, Secret, Timeouts
from headworks.upstream.http1 import ClientLimits, HttpClient, Origin
from headworks.upstream.openai import Credential, Provider, Providers
from tests.faults.simworld.clockwork import LoopClock, VirtualLoop
from tests.faults.simworld.network import Network, Place, Weather
from tests.upstream.scripted import Script, Wire
from tests.world import World

PLACES = ("first", "second")
_TIMEOUTS = Timeouts()
_LONGEST = 10.0
"""Seconds after which a script has noticed that nobody listens."""
KEY = "sk-shown-0123456789-abcdefghij"


@dataclass
class Stage:
    """A world with two upstreams, `first` and `second`, which a test scripts.

    Attributes:
        weather: What the way to each upstream is like.
        asked: When each upstream was asked, on the loop's clock, and `left` when it was let go.
        attempts: Sends of one call at most.
    """

    scripts: dict[str, Script]
    timeouts: Timeouts = _TIMEOUTS
    weather: dict[str, Weather] = field(default_factory=dict[str, Weather])
    attempts: int = 3
    routes: tuple[str, ...] = PLACES
    loop: VirtualLoop = field(default_factory=VirtualLoop)
    asked: list[tuple[str, float]] = field(default_factory=list[tuple[str, float]])
    left: list[tuple[str, float]] = field(default_factory=list[tuple[str, float]])

    def run(self, play: Callable[["Stage"], Awaitable[Any]]) -> Any:
        """Play it to its end, and see that nothing is left of it."""
        try:
            return self.loop.run_until_complete(self._run(play))
        finally:
            self.loop.ends_at = math.inf
            while tasks := asyncio.all_tasks(self.loop):
                for task in tasks:
                    task.cancel()
                self.loop.run_until_complete(asyncio.wait(tasks))
            self.loop.close()

    async def _run(self, play: Callable[["Stage"], Awaitable[Any]]) -> Any:
        network = Network(
            self.loop, 1, lambda *_: None, lambda place: self.weather.get(place, Weather())
        )
        clients = {name: self._client(name) for name in PLACES}
        providers = {name: self._provider(clients[name]) for name in PLACES}
        clock = LoopClock(self.loop)
        route = tuple(Route(name, "gpt-6-sol", "main", self.timeouts) for name in self.routes)
        targets = {name: Target(("main",), self.timeouts) for name in PLACES}
        self.world = World(
            router=NamedRouter(targets, {"m": Plan(route)}),
            upstream=cast("Any", Providers(providers, clock)),
            clock=cast("Any", clock),
        )
        dispatcher = replace(self.world.engine.dispatcher, backoff=Backoff(attempts=self.attempts))
        self.world.engine = replace(self.world.engine, dispatcher=dispatcher)
        for name in self.scripts:
            await self._listen(name)
        result = await play(self)
        await asyncio.sleep(1.0)
        assert all(client.statistics().busy == 0 for client in clients.values())
        for client in clients.values():
            await client.aclose()
        await asyncio.sleep(_LONGEST)
        assert not network.open_ends()
        return result

    def _client(self, name: str) -> HttpClient:
        return HttpClient(Origin("http", name, 80), limits=ClientLimits(quiet_seconds=0))

    def _provider(self, client: HttpClient) -> Provider:
        return Provider(client, "/v1", {"main": Credential(Secret(KEY))})

    async def _listen(self, name: str) -> None:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            wire = Wire(reader, writer)
            with suppress(asyncio.IncompleteReadError, ConnectionError):
                await self.scripts[name](_Noting(wire, self, name))
                await wire.gone()
            writer.close()

        def protocol() -> asyncio.StreamReaderProtocol:
            reader = asyncio.StreamReader(loop=self.loop)
            return _Server(self, name, reader, answer, loop=self.loop)

        await self.loop.create_server(protocol, sock=Place(name))

    async def ask(
        self, face: str, path: str = "/v1/chat/completions", **fields: Any
    ) -> tuple[httpx2.Response, float]:
        """Make one call through a face; return its answer and the seconds that it took."""
        headers = fields.pop("headers", {})
        begun = self.loop.time()
        async with self.world.client(face) as client:
            answer = await client.post(
                path, json={"model": "m", **fields}, headers=headers, timeout=None
            )
        return answer, self.loop.time() - begun

    def counted(self) -> dict[tuple[str, ...], float]:
        """Return what the metric of timeouts shows of all calls so far."""
        metrics = Metrics(["gpt-6-sol"])
        for call in self.world.journal.calls:
            metrics.record(call)
        found = next(s for family, s in metrics.samples() if family.name == "headworks_timeouts_total")  # fmt: skip
        return {labels: value for _, labels, value in found}


class _Noting(Wire):
    """A connection that notes when it is asked."""

    def __init__(self, wire: Wire, stage: Stage, name: str) -> None:
        super().__init__(wire.reader, wire.writer)
        self._stage, self._name = stage, name

    @override
    async def request(self) -> bytes:
        content = await super().request()
        self._stage.asked.append((self._name, self._stage.loop.time()))
        return content


class _Server(asyncio.StreamReaderProtocol):
    """A server's end of a connection; it notes when it is let go."""

    def __init__(self, stage: Stage, name: str, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._stage, self._name = stage, name

    @override
    def eof_received(self) -> bool | None:
        self._stage.left.append((self._name, self._stage.loop.time()))
        return super().eof_received()
