"""A server that says exactly what a test tells it to, byte by byte."""

import asyncio
import contextlib
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable

from headworks.types import Timeouts
from headworks.upstream.http1 import ClientLimits, HttpClient, HttpResponse, Origin, request_head

TIMEOUTS = Timeouts(connect=5.0, idle=5.0)


class Wire:
    """One accepted connection, seen from the server."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def request(self) -> bytes:
        """Read one whole request; raises IncompleteReadError when the client is gone."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = 0
        for line in head.split(b"\r\n"):
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        return head + await self.reader.readexactly(length)

    async def send(self, data: bytes) -> None:
        """Write as one packet, as far as the kernel agrees."""
        if self.writer.is_closing():
            raise ConnectionResetError
        self.writer.write(data)
        await self.writer.drain()

    def reset(self) -> None:
        """Close so that the client's kernel sees a reset."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def gone(self) -> None:
        """Wait until the client has closed."""
        with contextlib.suppress(ConnectionError):
            while await self.reader.read(65536):
                pass


Script = Callable[[Wire], Awaitable[None]]


class Server:
    """Where a scripted server listens, and how many connections it accepted."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.accepted = 0
        self.wires: list[Wire] = []

    @property
    def origin(self) -> Origin:
        return Origin("http", "127.0.0.1", self.port)


@contextlib.asynccontextmanager
async def serve(script: Script, *, tls: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    """Run `script` for each connection."""
    tasks: set[asyncio.Task[None]] = set()

    async def run(wire: Wire) -> None:
        try:
            await script(wire)
        except (asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
            pass
        finally:
            wire.writer.transport.abort()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        wire = Wire(reader, writer)
        server.accepted += 1
        server.wires.append(wire)
        task = asyncio.ensure_future(run(wire))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    listener = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=tls)
    server = Server(listener.sockets[0].getsockname()[1])
    try:
        yield server
    finally:
        listener.close()
        for task in list(tasks):
            task.cancel()
        for wire in server.wires:
            wire.writer.transport.abort()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        await ticks(3)
    for result in results:
        if isinstance(result, Exception):
            raise result


@contextlib.asynccontextmanager
async def client_of(
    server: Server, limits: ClientLimits | None = None
) -> AsyncIterator[HttpClient]:
    """Open a client of the server; connections need no rest unless `limits` says so."""
    client = HttpClient(server.origin, limits=limits or ClientLimits(quiet_seconds=0))
    try:
        yield client
    finally:
        await client.aclose()


async def post(
    client: HttpClient,
    content: bytes = b"{}",
    *,
    timeouts: Timeouts = TIMEOUTS,
    first_byte: float | None = None,
    total: float = 10.0,
) -> HttpResponse:
    """Send one POST."""
    head = request_head("POST", "/v1/x", client.origin.authority, (), len(content))
    return await client.send(head, content, timeouts, first_byte=first_byte, total=total)


async def ask(client: HttpClient, content: bytes = b"{}") -> bytes:
    """Send one POST and return the answer's body."""
    response = await post(client, content)
    return await response.read(10_000_000)


def whole(body: bytes, status: int = 200, fields: bytes = b"") -> bytes:
    """Return an answer with a declared length."""
    head = b"HTTP/1.1 %d X\r\n%bcontent-length: %d\r\n\r\n" % (status, fields, len(body))
    return head + body


def chunked(*chunks: bytes) -> bytes:
    """Return a chunked answer."""
    body = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
    return b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + body + b"0\r\n\r\n"


async def ticks(count: int) -> None:
    """Let the loop turn."""
    for _ in range(count):
        await asyncio.sleep(0)


async def until(condition: Callable[[], bool]) -> None:
    """Wait until a condition holds, at most two seconds."""
    loop = asyncio.get_running_loop()
    end = loop.time() + 2
    while not condition():
        assert loop.time() < end, "the condition never came true"
        await asyncio.sleep(0.002)


def answering(*packets: bytes) -> Script:
    """Return a script that answers every request with these packets, one write each."""

    async def script(wire: Wire) -> None:
        while True:
            await wire.request()
            for packet in packets:
                await wire.send(packet)
                await asyncio.sleep(0.002 if len(packets) > 1 else 0)

    return script
