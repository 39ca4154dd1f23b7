"""Callers who may leave at any turn of the loop, by either face, before an engine in virtual time."""

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import httpx2
from typing_extensions import override

from headworks.context.summaries import Summaries
from headworks.core.classify import classify
from headworks.core.routing import NamedRouter, Target
from headworks.errors import CallError, ConnectionLost, UpstreamError
from headworks.gateway.asgi import Gateway
from headworks.gateway.wire import Message
from headworks.inprocess.exchange import Here
from headworks.inprocess.httpx2_transport import EngineTransport
from headworks.testing import EVENTS, WHOLE, FakeResponse, FakeUpstream, MemoryLedger
from headworks.testing.fakes import MemoryRow
from headworks.types import (
    AT_FIRST_TOKEN,
    Call,
    Caller,
    Commit,
    OnDisconnect,
    Plan,
    Request,
    Route,
    Timeouts,
    Usage,
)
from tests.world import FakeEstimator, World

Face = Literal["gateway", "inprocess"]
ONE = Route("up", "big", "main")
USED = Usage(3, 4)
KEY = "key"
SOUND = ((b"content-type", b"audio/mpeg"),)


async def pause() -> None:
    """Be an await at which a call can be left."""
    await asyncio.sleep(0)


class Slow(FakeResponse):
    """An answer whose every piece takes a turn of the loop."""

    @override
    async def chunks(self) -> AsyncGenerator[bytes]:
        async for piece in super().chunks():
            await pause()
            yield piece


class SlowLedger(MemoryLedger):
    """A ledger whose every commit takes a turn of the loop."""

    @override
    async def hold(self, call: Call, route: Route, estimate: Usage) -> MemoryRow:
        row = await super().hold(call, route, estimate)
        try:
            await pause()
        except asyncio.CancelledError:
            row.release("abandoned")
            raise
        return row

    @override
    async def written(self) -> None:
        await pause()


@dataclass
class Shortening:
    """A context that asks a model for a summary first, and for a smaller request after a refusal."""

    world: World

    async def fit(self, request: Request, call: Call) -> Request:
        world = self.world
        dispatcher = world.engine.dispatcher
        summaries = Summaries(
            dispatcher, FakeEstimator(), world.limits, world.journal, world.clock, world.random
        )
        await summaries.summarise("a long story", "m", call)
        return request

    async def refit(self, call: Call, error: CallError) -> Request | None:
        await pause()
        return call.request if error.code == "context_length_exceeded" else None


def answered(status: int, code: str = "", after: float | None = None) -> UpstreamError:
    """Return a provider's refusal."""
    headers = () if after is None else ((b"retry-after", b"%g" % after),)
    body = json.dumps({"error": {"message": "no", "code": code}}).encode()
    return classify(status, headers, body, now=0.0)


@dataclass(frozen=True)
class Situation:
    """What a call meets on its way.

    Attributes:
        script: What the provider says, made anew for each call.
        cooling: Whether the provider has asked for a pause before.
        shortens: Whether its request is shortened by a summary.
    """

    name: str
    script: Callable[[], list[FakeResponse | BaseException]]
    stream: bool = False
    commit: Commit = AT_FIRST_TOKEN
    path: str = "/v1/chat/completions"
    cooling: bool = False
    shortens: bool = False


def whole() -> Slow:
    half = len(WHOLE) // 2
    kind = ((b"content-type", b"application/json"),)
    return Slow([WHOLE[:half], WHOLE[half:]], headers=kind)


SITUATIONS = [
    Situation("whole", lambda: [whole()]),
    Situation("stream", lambda: [Slow(EVENTS)], stream=True),
    Situation("held stream", lambda: [Slow(EVENTS)], stream=True, commit=Commit(None)),
    Situation("sound", lambda: [Slow([b"a", b"b", b"c"], headers=SOUND)], path="/v1/audio/speech"),
    Situation("retry", lambda: [ConnectionLost(), answered(503), whole()]),
    Situation("asked to wait", lambda: [answered(429, after=3), whole()]),
    Situation("cooling", lambda: [whole()], cooling=True),
    Situation(
        "broken before commit",
        lambda: [
            Slow(EVENTS, fault=ConnectionLost(), fault_after=1),
            Slow(EVENTS),
        ],
        stream=True,
        commit=Commit(None),
    ),
    Situation("summary", lambda: [whole(), whole()], shortens=True),
    Situation(
        "made smaller",
        lambda: [whole(), answered(400, "context_length_exceeded"), whole()],
        shortens=True,
    ),
]


def world_of(situation: Situation, policy: OnDisconnect) -> World:
    """Return a world in which one key asks one route that behaves as the situation says."""
    plan = Plan((ONE,), commit=situation.commit)
    router = NamedRouter({"up": Target(("main",), Timeouts())}, {"m": plan})
    world = World(router=router, upstream=FakeUpstream(situation.script()), ledger=SlowLedger())
    world.keys.callers = {KEY: Caller("app", "k1", on_disconnect=policy)}
    if situation.shortens:
        world.engine = replace(world.engine, context=Shortening(world))
    if situation.cooling:
        admission: Any = world.health.admit(ONE)
        admission.settle(answered(429, after=3))
    return world


@dataclass
class Visit:
    """One call and its caller.

    Attributes:
        heard: What the face handed to the caller.
        leave: The caller goes.
        over: Ends when nothing of the call runs any more.
    """

    leave: Callable[[], object]
    over: Callable[[], Awaitable[object]]
    heard: list[Any] = field(default_factory=list[Any])


def visit(world: World, situation: Situation, face: Face) -> Visit:
    """Begin a call."""
    fields: dict[str, Any] = {"model": "m", "stream": situation.stream}
    fields |= {"input": "Hi", "voice": "ash"} if situation.path.endswith("speech") else {}
    body = json.dumps({"messages": [{"role": "user", "content": "Hi"}], **fields}).encode()
    return (_by_gateway if face == "gateway" else _in_process)(world, situation.path, body)


def _by_gateway(world: World, path: str, body: bytes) -> Visit:
    callers: list[Callable[[], None]] = []
    heard: list[Message] = []
    gone: list[bool] = []

    def on_departure(leave: Callable[[], None] | None) -> None:
        callers[:] = [] if leave is None else [leave]
        if gone:
            tell()

    def tell() -> None:
        gone.append(True)
        for leave in callers:
            leave()

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Message) -> None:
        heard.append(message)
        await pause()

    scope: dict[str, Any] = {
        "type": "http",
        "method": "POST",
        "path": path,
        "query_string": b"",
        "headers": [
            (b"authorization", b"Bearer " + KEY.encode()),
            (b"content-type", b"application/json"),
        ],
        "extensions": {"headworks.departure": on_departure},
    }
    app = Gateway(lambda: world.engine, lambda: world.max_body)
    serving = asyncio.ensure_future(app(scope, receive, send))
    return Visit(tell, lambda: serving, heard)


def _in_process(world: World, path: str, body: bytes) -> Visit:
    transport = EngineTransport(world.engine)
    heard: list[Any] = []

    async def ask() -> None:
        headers = {"authorization": f"Bearer {KEY}", "content-type": "application/json"}
        async with (
            httpx2.AsyncClient(transport=transport) as client,
            client.stream("POST", f"http://headworks{path}", content=body, headers=headers) as got,
        ):
            heard.append(got.status_code)
            async for chunk in got.aiter_raw():
                heard.append(chunk)  # noqa: PERF401 - each as it comes

    asking = asyncio.ensure_future(ask())

    async def over() -> None:
        with suppress(asyncio.CancelledError):
            await asking
        while Here.running:
            await asyncio.wait(Here.running)

    return Visit(asking.cancel, over, heard)
