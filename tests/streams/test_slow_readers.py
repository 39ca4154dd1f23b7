"""A caller that does not read costs little, for a while, and nobody else anything."""

import asyncio
import socket
from collections.abc import AsyncGenerator
from contextlib import ExitStack, asynccontextmanager, closing
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from typing_extensions import override

from headworks.build import Assembly
from headworks.config.loading import load
from headworks.gateway.asgi import Gateway
from headworks.gateway.heads import HttpLimits
from headworks.gateway.sweep import SlowReader
from tests.faults.processes import (
    ENVIRONMENT,
    Process,
    Reply,
    chat,
    configuration,
    gateway_process,
    line_to,
    rows,
)
from tests.gateway.conftest import serving
from tests.streams.crowd import HEAD, chunked, ending, event, many_files, part, resident
from tests.upstream.scripted import until

pytestmark = pytest.mark.anyio

READERS = 500
MOST = 256 * 1024
"""Bytes of memory that a stream may cost whose caller reads nothing."""
SMALL = 4096
"""What the system of such a caller takes in its place."""
FLOOD = b"".join(chunked(event(number)) for number in range(1, 101))
WRITE_SECONDS = 0.4


@dataclass
class Flood:
    """A provider that says as much as is taken of it, or one word to those who want "few".

    Attributes:
        waiting: Its streams of which nothing more is taken at the moment.
        left: How many of its streams were let go.
    """

    waiting: set["Told"] = field(default_factory=set)
    left: int = 0


class Told(asyncio.Protocol):
    """One stream of a flood."""

    def __init__(self, flood: Flood) -> None:
        self._flood = flood
        self._asked = b""
        self._transport: asyncio.Transport | None = None

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    @override
    def data_received(self, data: bytes) -> None:
        self._asked += data
        transport = self._transport
        if transport is None or not self._asked.endswith(b"}"):
            return
        transport.write(HEAD + chunked(event(0)))
        if b'"few"' in self._asked:
            transport.write(chunked(ending(1)) + b"0\r\n\r\n")
        else:
            asyncio.get_running_loop().call_soon(self._flow)
        self._asked = b""

    def _flow(self) -> None:
        if self._transport is not None and self not in self._flood.waiting:
            self._transport.write(FLOOD)
            asyncio.get_running_loop().call_soon(self._flow)

    @override
    def pause_writing(self) -> None:
        self._flood.waiting.add(self)

    @override
    def resume_writing(self) -> None:
        self._flood.waiting.discard(self)
        self._flow()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._flood.waiting.discard(self)
        self._flood.left += 1


@asynccontextmanager
async def flooding() -> AsyncGenerator[tuple[Flood, int]]:
    """Run a flood; its own system keeps little of what nobody takes."""
    flood, plug = Flood(), socket.socket()
    plug.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65_536)
    plug.bind(("127.0.0.1", 0))
    server = await asyncio.get_running_loop().create_server(
        lambda: Told(flood), sock=plug, backlog=4096
    )
    try:
        yield flood, plug.getsockname()[1]
    finally:
        server.close()


async def ask_and_not_read(stack: ExitStack, port: int, user: str) -> socket.socket:
    """Ask for a stream, and read nothing of it."""
    loop = asyncio.get_running_loop()
    plug = stack.enter_context(closing(socket.socket()))
    plug.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL)
    plug.settimeout(0)
    await loop.sock_connect(plug, ("127.0.0.1", port))
    content = chat(model="single", stream=True, headers={"x-headworks-user": user})
    await loop.sock_sendall(plug, content)
    return plug


async def first_tokens(gateway: Process, count: int) -> list[float]:
    """Return the seconds until the first word of so many short streams, sorted."""
    loop, taken = asyncio.get_running_loop(), list[float]()
    content = chat(model="single", stream=True, messages=[{"role": "user", "content": "few"}])
    for _ in range(count):
        async with line_to(gateway.port) as line:
            begun = loop.time()
            line.writer.write(content)
            await line.reader.readuntil(b'"content":" 0"')
            taken.append(loop.time() - begun)
            await line.reader.readuntil(b"0\r\n\r\n")
    return sorted(taken)


async def test_five_hundred_who_do_not_read(tmp_path, figure):
    """At most 256 KB each, however much their provider says; others wait for nothing."""
    many_files()
    async with flooding() as (flood, port):
        configuration(tmp_path, port, silence="60s", level="warning")
        async with gateway_process(tmp_path, tmp_path / "log") as gateway:
            await first_tokens(gateway, 20)
            before = 0
            while before != (before := resident(gateway.pid)):  # noqa: ASYNC110 - there is no event
                await asyncio.sleep(1.0)
            alone = await first_tokens(gateway, 40)
            with ExitStack() as stack:
                for number in range(READERS):
                    await ask_and_not_read(stack, gateway.port, f"reader-{number}")
                while len(flood.waiting) < READERS:  # noqa: ASYNC110 - an event of many
                    await asyncio.sleep(0.05)
                beside = await first_tokens(gateway, 40)
                each = (resident(gateway.pid) - before) / READERS
    figure(
        f"{READERS} callers that do not read: {each / 1024:.0f} KB each; the first word of another "
        f"after {part(beside, 0.5) * 1000:.1f} ms, {part(alone, 0.5) * 1000:.1f} ms without them"
    )
    assert each <= MOST
    assert part(beside, 0.5) < 0.5 + 5 * part(alone, 0.5)


async def test_who_does_not_read_is_cut(tmp_path):
    """When the time to write is up: the provider is let go, the place is free, the call is booked."""
    async with flooding() as (flood, port):
        config = load(configuration(tmp_path, port), ENVIRONMENT)
        assembly = Assembly(config)
        await assembly.start()
        try:
            app: Any = Gateway(lambda: assembly.engine, lambda: 1_000_000)
            async with serving(app, HttpLimits(write_seconds=WRITE_SECONDS)) as server:
                door = int(server.url.rpartition(":")[2])
                with ExitStack() as stack:
                    await ask_and_not_read(stack, door, "asleep")
                    await until(lambda: len(flood.waiting) == 1)
                    slow = asyncio.ensure_future(read_slowly(door))
                    await until(lambda: flood.left == 1)
                    assert await slow > WRITE_SECONDS, "who reads, however slowly, is not cut"
                await until(lambda: assembly.limits.statistics().in_flight == 0)
        finally:
            await assembly.aclose()

    booked = {row["user"]: row for row in rows(tmp_path)}
    assert booked["asleep"]["state"] == "settled"
    assert booked["asleep"]["outcome"] == "abandoned"
    assert booked["asleep"]["output"] > 100


async def read_slowly(port: int) -> float:
    """Read a little of a flood again and again; return the seconds for which that went well."""
    loop = asyncio.get_running_loop()
    with ExitStack() as stack:
        plug = await ask_and_not_read(stack, port, "slow")
        begun = loop.time()
        while loop.time() - begun < 2.5 * WRITE_SECONDS:
            assert await loop.sock_recv(plug, 65_536), "cut off"
            await asyncio.sleep(WRITE_SECONDS / 8)
        return loop.time() - begun


def test_half_a_minute_without_a_byte_is_too_long():
    """Every byte that is taken gives another thirty seconds; a reader with nothing to read is none."""
    reader = SlowReader(HttpLimits().write_seconds)
    looks = [
        (1000, 0, 0.0, False),
        (1000, 0, 100.0, False),
        (5000, 4000, 101.0, False),
        (5000, 4000, 129.9, False),
        (5000, 3999, 129.9, False),
        (6000, 4999, 159.8, False),
        (6000, 4999, 159.9, True),
    ]

    assert [reader.is_stalled(*look[:3]) for look in looks] == [look[3] for look in looks]


async def test_a_long_answer_is_not_slowed(tmp_path):
    """Whoever reads gets all of a flood, as fast as both can: small buffers stop nobody."""
    async with flooding() as (_, port):
        configuration(tmp_path, port, silence="60s", level="warning")
        async with gateway_process(tmp_path, tmp_path / "log") as gateway, line_to(gateway.port) as line:  # fmt: skip
            line.writer.write(chat(model="single", stream=True))
            await line.head(Reply())
            size = 0
            async with asyncio.timeout(40.0):
                while size < 8_000_000:
                    size += len(await line.reader.read(1_000_000))
