"""A caller who sends any bytes, an app that notes what reaches it, and the judge of both."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from typing_extensions import override

from tests.front.strict import Reading
from tests.gateway.conftest import Answer, answers, read_body, respond

LAST = b"GET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
PATIENCE = 20.0
"""Seconds after which a connection counts as hung: far more than any answer takes."""


def as_seen(target: bytes) -> bytes:
    """Return a target as an app sees it: ASGI knows no empty query."""
    path, _, query = target.partition(b"?")
    return path + (b"?" + query if query else b"")


Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]
MARK = "x-from-app"
"""Stands in each answer that is the app's, with the beginning of the target that it is for."""


@dataclass
class Seen:
    """One request as the app saw it; the body only if it was there to its end."""

    method: bytes
    target: bytes
    fields: list[tuple[bytes, bytes]]
    body: bytes = b""
    is_whole: bool = False


async def plain(_scope: Any, receive: Receive, send: Send) -> None:
    """Read a request to its end and answer 200."""
    if await read_body(receive) is not None:
        await respond(send, 200, b"")


@dataclass
class Recorder:
    """Stands before an app; notes each request by the connection it came on, and how it was answered."""

    app: Any = plain
    seen: dict[int, list[Seen]] = field(default_factory=dict)
    statuses: Counter[int] = field(default_factory=Counter)

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        query = scope["query_string"]
        target = scope["raw_path"] + (b"?" + query if query else b"")
        one = Seen(scope["method"].encode(), target, scope["headers"])
        self.seen.setdefault(scope["client"][1], []).append(one)

        async def noted() -> Any:
            message = await receive()
            one.body += message.get("body", b"")
            one.is_whole = message["type"] == "http.request" and not message["more_body"]
            return message

        async def marked(message: Any) -> None:
            if message["type"] == "http.response.start":
                self.statuses[message["status"]] += 1
                message = {
                    **message,
                    "headers": [*message["headers"], (MARK.encode(), target[:200])],
                }
            await send(message)

        await self.app(scope, noted, marked)


class Caller(asyncio.Protocol):
    """One connection that sends pieces and gathers what comes back.

    Attributes:
        ended: Set when nothing more will come.
        room: Set while more may be written.
    """

    def __init__(self) -> None:
        self.received = bytearray()
        self.ended = asyncio.Event()
        self.room = asyncio.Event()
        self.room.set()
        self._more = asyncio.Event()

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.port: int = transport.get_extra_info("sockname")[1]

    @override
    def data_received(self, data: bytes) -> None:
        self.received += data
        self._more.set()

    @override
    def eof_received(self) -> bool:
        """Go on sending: what comes behind a refusal must do no harm."""
        self.ended.set()
        self._more.set()
        return True

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self.eof_received()
        self.room.set()

    @override
    def pause_writing(self) -> None:
        self.room.clear()

    @override
    def resume_writing(self) -> None:
        self.room.set()

    async def answered(self, count: int) -> None:
        """Wait until so many messages came, or the server says that no more will."""
        while not self.ended.is_set() and self._answers() < count:
            self._more.clear()
            await self._more.wait()

    def _answers(self) -> int:
        said = self.received.count
        return said(b"HTTP/1.1 ") - said(b"HTTP/1.1 100 ")


@dataclass
class Exchange:
    """What one connection came to.

    Attributes:
        port: Which connection it was, for the app.
        has_ended: Whether the server closed it; else it hung.
    """

    answers: list[Answer]
    port: int
    has_ended: bool


async def connect(port: int) -> tuple[asyncio.Transport, Caller]:
    """Open a connection to a port of this machine."""
    return await asyncio.get_running_loop().create_connection(Caller, "127.0.0.1", port)


async def send(url: str, pieces: Iterable[bytes], expected: int) -> Exchange:
    """Send each piece by itself, wait for so many answers, hang up, and read to the end."""
    transport, caller = await connect(int(url.rpartition(":")[2]))
    try:
        for piece in pieces:
            if transport.is_closing():
                break
            transport.write(piece)
            await asyncio.sleep(0)
        async with asyncio.timeout(PATIENCE):
            await caller.answered(expected)
            if not transport.is_closing():
                transport.write_eof()
            await caller.ended.wait()
    except TimeoutError:
        pass
    finally:
        transport.abort()
    found = [one for one in answers(bytes(caller.received)) if one.status != 100]
    return Exchange(found, caller.port, caller.ended.is_set())


def expected_answers(reading: Reading) -> int:
    """Return how many answers a connection must bring, at the most."""
    return len(reading.messages) + (reading.end == "refused")


def judge(reading: Reading, exchange: Exchange, seen: Sequence[Seen]) -> str:
    """Say what is wrong with how a connection was served, "" where nothing is.

    What was served is what can be read in one way alone, in its order; the first fault is answered
    by an error that ends the connection. Behind a chunked message nothing need be served.
    """
    if not exchange.has_ended:
        return "hung"
    got = exchange.answers
    theirs = [one for one in got if MARK in one.headers]
    served = sum(_is_read(one, number, reading) for number, one in enumerate(seen))
    if served < len(seen) or len(theirs) > len(seen):
        return f"the app saw {seen}"
    if any(one.status >= 500 for one in got):
        return "a failure of ours"
    if len(theirs) < len(got):
        return _judge_refusal(reading, got, len(theirs))
    is_all = served >= len(reading.messages) and reading.end != "refused"
    return "" if is_all or _may_stop(reading, seen, got) else f"only {served}, nothing refused"


def _may_stop(reading: Reading, seen: Sequence[Seen], got: Sequence[Answer]) -> bool:
    """Whether the server may close behind what it served: an early answer, or a chunked message."""
    if not seen:
        return False
    is_early = not seen[-1].is_whole and got[-1].headers.get("connection") == "close"
    last = reading.messages[len(seen) - 1 : len(seen)]
    return is_early or any(one.is_chunked for one in last)


def _is_read(one: Seen, number: int, reading: Reading) -> bool:
    """Whether what the app saw is what can be read."""
    if number < len(reading.messages):
        read_ = reading.messages[number]
        is_same = (one.method, one.target) == (read_.method, as_seen(read_.target))
        is_same = is_same and [*map(tuple, one.fields)] == read_.fields
        return is_same and (not one.is_whole or one.body == read_.body)
    if number > len(reading.messages) or one.is_whole or reading.begun is None:
        return False
    return (one.method, one.target) == (reading.begun[0], as_seen(reading.begun[1]))


def _judge_refusal(reading: Reading, got: list[Answer], number: int) -> str:
    """Judge the front's own answer, which must be the last and come in its turn."""
    last = got[-1]
    if number != len(got) - 1 or MARK in last.headers:
        return "something behind a refusal"
    if last.status not in {400, 414, 417, 431} or last.headers.get("connection") != "close":
        return f"refused by {last.status}"
    if number >= len(reading.messages):
        return "" if reading.end == "refused" else "refused what is cut off"
    is_plain = reading.messages[number].is_plain
    return f"refused by {last.status} what is sound" if is_plain else ""
