"""A stage for streams in virtual time: providers that speak when the script says, and one caller."""

import asyncio
import json
from collections.abc import AsyncGenerator, Coroutine
from dataclasses import dataclass, replace
from typing import Any, cast

from typing_extensions import override

from headworks.absent import NoFilter
from headworks.core.buffering import Buffers
from headworks.core.intake import read_request
from headworks.errors import CallError
from headworks.relay import Relay
from headworks.testing import FakeClock, FakeResponse, FakeUpstream
from headworks.types import Plan, Presence, Request, Response, Route, Secret
from tests.faults.simworld.clockwork import LoopClock, VirtualLoop
from tests.world import CHAT, World

SSE = ((b"content-type", b"text/event-stream"),)


def chunk(text: str | None = None, finish: str | None = None) -> bytes:
    """Return a chunk of a chat completion."""
    delta = {} if text is None else {"content": text}
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    value = {"id": "c", "object": "chat.completion.chunk", "choices": [choice]}
    return b"data: " + json.dumps(value, separators=(",", ":")).encode() + b"\n\n"


END = chunk(finish="stop") + b"data: [DONE]\n\n"


@dataclass
class Spoken(FakeResponse):
    """A stream whose pieces come at their times, in seconds since its head; an error breaks it."""

    script: tuple[tuple[float, bytes | BaseException], ...] = ()

    @override
    def __post_init__(self) -> None:
        super().__post_init__()
        self.headers = SSE

    @override
    async def chunks(self) -> AsyncGenerator[bytes]:
        loop = asyncio.get_running_loop()
        begun = loop.time()
        for seconds, piece in self.script:
            while (left := begun + seconds - loop.time()) > 1e-9:
                stall = self._stall = loop.create_future()
                timer = loop.call_later(left, self.nudge)
                try:
                    await stall
                finally:
                    timer.cancel()
                if begun + seconds - loop.time() > 1e-9:
                    yield b""
            if isinstance(piece, BaseException):
                raise piece
            yield piece


@dataclass
class Turn:
    """What one attempt comes to: seconds until its head, then an answer or an error."""

    seconds: float
    answer: FakeResponse | BaseException


class Providers(FakeUpstream):
    """Providers whose attempts take their turns."""

    def __init__(self, turns: tuple[Turn, ...]) -> None:
        super().__init__()
        self.turns = list(turns)

    @override
    async def send(self, request: Request, route: Route, remaining: float) -> FakeResponse:
        turn = self.turns.pop(0)
        await asyncio.sleep(turn.seconds)
        if isinstance(turn.answer, BaseException):
            raise turn.answer
        self.answers.append(turn.answer)
        return turn.answer


class Stage:
    """An engine in virtual time, and what its caller heard: pieces and when they came."""

    def __init__(
        self,
        *turns: Turn,
        keep_alive: float = 15.0,
        buffers: Buffers | None = None,
        plan: Plan | None = None,
    ) -> None:
        self.loop = VirtualLoop()
        self.begun = self.loop.time()
        self.unseen: list[dict[str, Any]] = []
        self.loop.set_exception_handler(lambda _, context: self.unseen.append(context))
        clock = cast("FakeClock", LoopClock(self.loop))
        self.upstream = Providers(turns)
        self.world = World(upstream=self.upstream, clock=clock)
        if plan is not None:
            self.world.router = cast("Any", OnePlan(plan))
        relay = Relay(NoFilter(), clock, keep_alive, buffers or Buffers())
        self.engine = replace(self.world.make_engine(), relay=relay)
        self.heard: list[tuple[float, bytes]] = []
        self.response: Response | None = None

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Run in virtual time to the end; nothing may be left behind then."""
        try:
            result = self.loop.run_until_complete(work)
            self.loop.run_until_complete(self.loop.shutdown_asyncgens())
            self.loop.run_until_complete(asyncio.sleep(0.0))
            assert not asyncio.all_tasks(self.loop)
            assert not self.loop.timers()
        finally:
            self.loop.close()
        self.world.assert_settled()
        assert not self.unseen
        return result

    async def carry(
        self,
        presence: Presence | None = None,
        *,
        path: str = "/v1/chat/completions",
        headers: tuple[tuple[bytes, bytes], ...] = (),
        pieces: int | None = None,
        **fields: Any,
    ) -> bytes:
        """Make a call and listen, to the end or to so many pieces; return its error's code if any."""
        body = json.dumps({**CHAT, "stream": True, **fields}).encode()
        kind = (b"content-type", b"application/json")
        request = read_request("POST", path, b"", (kind, *headers), body)
        try:
            async with self.engine.call(request, Secret("open"), presence) as response:
                self.response = response
                if isinstance(response.content, bytes):
                    return response.content
                async for piece in response.content:
                    self.heard.append((round(self.loop.time() - self.begun, 3), piece))
                    if len(self.heard) == pieces:
                        break
        except CallError as error:
            return error.code.encode()
        return self.said

    @property
    def said(self) -> bytes:
        """All that the caller heard."""
        return b"".join(piece for _, piece in self.heard)

    @property
    def told(self) -> dict[bytes, bytes]:
        """The fields of the answer's head."""
        assert self.response is not None
        return dict(self.response.headers)


@dataclass
class OnePlan:
    """A router with one plan for all."""

    one: Plan

    def plan(self, request: Request, estimate: object) -> Plan:
        return self.one
