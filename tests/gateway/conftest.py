"""A raw client and the apps it talks to: every test here speaks bytes over a real socket."""

import asyncio
import re
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import msgspec

from headworks.gateway.heads import HttpLimits
from headworks.gateway.lifecycle import Lifecycle
from headworks.gateway.server import Hooks, Server, ServerOptions, running

OK = b"GET /ok HTTP/1.1\r\nHost: a\r\n\r\n"
LAST = b"GET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"


@dataclass
class Answer:
    """One HTTP message as read from the wire."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def code(self) -> str:
        return str(msgspec.json.decode(self.body)["error"]["code"])


@dataclass
class Echo:
    """An app that says what it was asked; paths choose how it behaves."""

    paths: list[str] = field(default_factory=list)
    scopes: list[dict[str, Any]] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    entered: asyncio.Event = field(default_factory=asyncio.Event)
    gone: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, scope, receive, send) -> None:
        self.paths.append(scope["path"])
        self.scopes.append(scope)
        self.entered.set()
        try:
            await self.answer(scope, receive, send)
        except asyncio.CancelledError:
            self.ended.append("cancelled")
            raise
        self.ended.append("done")

    async def answer(self, scope, receive, send) -> None:
        match scope["path"]:
            case "/early":
                await respond(send, 401, b"no")
            case "/broken":
                raise OSError("a defect")
            case "/gate":
                await self.gate.wait()
                await respond(send, 200, b"opened")
            case "/stream":
                await self.stream(send)
            case "/flood":
                await self.flood(receive, send)
            case _:
                body = await read_body(receive)
                if body is None:
                    return
                self.bodies.append(body)
                await respond(send, 200, scope["path"].encode() + b" " + body)

    async def stream(self, send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"first ", "more_body": True})
        await self.gate.wait()
        await send({"type": "http.response.body", "body": b"last", "more_body": False})

    async def flood(self, receive, send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await receive()
        gone = asyncio.ensure_future(receive())
        while not gone.done():
            await send({"type": "http.response.body", "body": bytes(65536), "more_body": True})
        self.gone.set()


async def respond(send, status: int, body: bytes) -> None:
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def read_body(receive) -> bytes | None:
    """Read a request's body, None when the caller is gone before its end."""
    body = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body += bytes(message.get("body", b""))
        if not message.get("more_body"):
            return body


async def absent(_scope, _receive, send) -> None:
    await respond(send, 404, b"")


@asynccontextmanager
async def serving(
    app, limits: HttpLimits | None = None, **options: object
) -> AsyncGenerator[Server]:
    """Run an app behind the real server on a free port."""
    chosen = ServerOptions(
        listen="127.0.0.1:0",
        admin="127.0.0.1:0",
        limits=limits or HttpLimits(),
        **options,  # type: ignore[arg-type] # whatever a test wants to set
    )
    quiet = Hooks(announce=lambda _: None)
    async with running(app, absent, Lifecycle(), chosen, quiet) as server:
        yield server


@asynccontextmanager
async def connected(url: str) -> AsyncGenerator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Open a connection to a server, and close it whatever happens."""
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def talk(url: str, pieces: Iterable[bytes]) -> bytes:
    """Send each piece by itself and return all that comes back until the server closes."""
    async with connected(url) as (reader, writer):
        for piece in pieces:
            writer.write(piece)
            await asyncio.sleep(0)
        return await everything(reader)


async def everything(reader: asyncio.StreamReader) -> bytes:
    """Read until the server closes, in whichever way."""
    parts: list[bytes] = []
    try:
        while part := await reader.read(65536):
            parts.append(part)
    except ConnectionError:
        pass
    return b"".join(parts)


async def read_answer(reader: asyncio.StreamReader) -> Answer:
    """Read one message with a content-length from an open connection."""
    head = await reader.readuntil(b"\r\n\r\n")
    if head.startswith(b"HTTP/1.1 100 "):
        head = await reader.readuntil(b"\r\n\r\n")
    length = int(re.search(rb"content-length: (\d+)", head)[1])  # type: ignore[index] # always there
    return answers(head + await reader.readexactly(length))[0]


def answers(data: bytes) -> list[Answer]:
    """Split what a server sent into messages."""
    found = []
    while data:
        head, _, data = data.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines)
        if "content-length" in headers:
            length = int(headers["content-length"])
            body, data = data[:length], data[length:]
        elif headers.get("transfer-encoding") == "chunked":
            body, data = unchunk(data)
        elif first.split()[1] == "100":
            body = b""
        else:
            body, data = data, b""
        found.append(Answer(int(first.split()[1]), headers, body))
    return found


def unchunk(data: bytes) -> tuple[bytes, bytes]:
    body = b""
    while data:
        size, _, data = data.partition(b"\r\n")
        length = int(size, 16)
        body, data = body + data[:length], data[length + 2 :]
        if not length:
            break
    return body, data
