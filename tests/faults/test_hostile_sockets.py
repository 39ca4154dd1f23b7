"""What a provider does behind a handshake: frames without end or measure, and pings for ever."""

import asyncio
import struct
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from websockets.utils import accept_key

from headworks.errors import ConnectFailed, MalformedResponse
from headworks.ports import Close
from headworks.types import SocketRules
from headworks.upstream.http1 import ClientLimits, HttpClient, HttpResponse, request_head
from headworks.upstream.websocket import Handshake, UpstreamPeer
from tests.upstream.scripted import TIMEOUTS, Wire, client_of, serve, until, whole

pytestmark = pytest.mark.anyio

MIB = 1_048_576
MOST = 4 * MIB
SENT = 64 * MIB
RULES = SocketRules(most=MOST)
TEXT, CONTINUED, PING, FIN, PACKED = 0x1, 0x0, 0x9, 0x80, 0x40
HELLO = b"\x81\x05Hello"


def frame(first: int, size: int, content: bytes | None = None) -> bytes:
    """Return a frame that claims a size, and has the content."""
    body = bytes(size) if content is None else content
    if size < 126:
        return struct.pack("!BB", first, size) + body
    return struct.pack("!BBQ", first, 127, size) + body


def switched(request: bytes) -> bytes:
    """Return the answer that opens the connection that was asked for."""
    key = request.lower().partition(b"sec-websocket-key: ")[0]
    shown = request[len(key) + 19 :].partition(b"\r\n")[0].decode()
    return (
        b"HTTP/1.1 101 Go\r\nupgrade: websocket\r\nconnection: upgrade\r\n"
        b"sec-websocket-accept: " + accept_key(shown).encode() + b"\r\n\r\n"
    )


async def opened(client: HttpClient) -> tuple[HttpResponse, UpstreamPeer]:
    """Ask for a connection, and return its end."""
    handshake = Handshake()
    head = request_head("GET", "/v1/realtime", "up", handshake.fields(), None)
    response = await client.open(head, TIMEOUTS, first_byte=None, total=10.0)
    handshake.check(response, ())
    return response, UpstreamPeer(response, RULES)


Speak = Callable[[Wire], Awaitable[None]]


@asynccontextmanager
async def before(speak: Speak) -> AsyncGenerator[HttpClient]:
    async def script(wire: Wire) -> None:
        await wire.send(switched(await wire.request()))
        await speak(wire)
        await wire.gone()

    async with serve(script) as server, client_of(server) as client:
        yield client


async def endless_fragments(wire: Wire) -> None:
    await wire.send(frame(TEXT, 65_536))
    for _ in range(SENT // 65_536):
        await wire.send(frame(CONTINUED, 65_536))


async def a_large_claim(wire: Wire) -> None:
    await wire.send(frame(FIN | TEXT, 10_000_000_000, b""))
    for _ in range(SENT // 65_536):
        await wire.send(bytes(65_536))


async def a_packed_message(wire: Wire) -> None:
    await wire.send(frame(FIN | PACKED | TEXT, 20))


async def no_frames(wire: Wire) -> None:
    for _ in range(SENT // 65_536):
        await wire.send(b"\xff" * 65_536)


@pytest.mark.parametrize("speak", [endless_fragments, a_large_claim, a_packed_message, no_frames])
async def test_what_has_no_measure_ends_the_connection(speak: Speak):
    """A message larger than may be, or one that nobody asked to be packed, is given up unread."""
    async with before(speak) as client:
        response, peer = await opened(client)
        how = await peer.receive()
        assert isinstance(how, Close)
        assert response._received < 2 * MOST
        assert sum(map(len, peer._parts)) <= MOST
        await peer.close(how)
        await until(lambda: client.statistics().open == 0)


async def test_pings_that_nobody_reads_the_answers_of():
    """A provider that pings for ever and reads nothing fills no memory; what it says is heard."""
    pinging = frame(FIN | PING, 125) * 500

    async def speak(wire: Wire) -> None:
        wire.reader._transport.pause_reading()  # type: ignore[attr-defined] # a server that reads nothing
        for _ in range(120):  # more than the kernel's buffers take
            await wire.send(pinging)
        await wire.send(HELLO)

    async with before(speak) as client:
        response, peer = await opened(client)
        assert await peer.receive() == "Hello"
        connection = response._source
        transport = connection._transport  # type: ignore[union-attr] # the connection itself
        assert transport.get_write_buffer_size() < MIB / 4
        await peer.close(Close(1000))


async def test_the_last_ping_is_answered_when_there_is_room():
    """Who reads late is answered all the same, at least once (RFC 6455, section 5.5.3)."""
    pongs: list[bytes] = []

    async def speak(wire: Wire) -> None:
        transport = wire.reader._transport  # type: ignore[attr-defined] # as above
        transport.pause_reading()
        for _ in range(100):
            await wire.send(frame(FIN | PING, 125) * 500)
        await wire.send(frame(FIN | PING, 4, b"last") + HELLO)
        transport.resume_reading()
        while b"\x8a\x84" not in b"".join(pongs[-2:]):
            pongs.append(await wire.reader.read(65_536))
            assert pongs[-1]
        await wire.send(HELLO)

    async with before(speak) as client:
        _, peer = await opened(client)
        assert await peer.receive() == "Hello"
        await peer.send("go on")
        assert await peer.receive() == "Hello"
        await peer.close(Close(1000))
    assert pongs


# The handshake.


async def test_hints_without_end_open_nothing():
    """Informational answers before the switch are passed over, but not for ever."""
    hint = b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"
    counts = [3, 200]

    async def script(wire: Wire) -> None:
        await wire.send(hint * counts.pop(0) + switched(await wire.request()) + HELLO)
        await wire.gone()

    async with serve(script) as server, client_of(server) as client:
        _, peer = await opened(client)
        assert await peer.receive() == "Hello"
        await peer.close(Close(1000))
        with pytest.raises(MalformedResponse):
            await opened(client)


async def test_a_switch_before_it_was_asked_for_opens_nothing():
    """A server that speaks first is left."""

    async def script(wire: Wire) -> None:
        await wire.send(switched(b"sec-websocket-key: AAAA\r\n"))
        await wire.gone()

    async with serve(script) as server, client_of(server) as client:
        with pytest.raises((ConnectFailed, MalformedResponse)):
            await opened(client)
        await until(lambda: client.statistics().open == 0)


@pytest.mark.parametrize("after", [None, 0.0, 0.001, 0.1])
async def test_what_follows_a_refused_handshake_is_nobodys(after: float | None):
    """Bytes behind a refusal, at once or later, are not the answer to the next call."""
    evil = whole(b"EVIL")

    async def script(wire: Wire) -> None:
        request = await wire.request()
        refusal = whole(b"no", 401) if b"pgrade" in request else whole(b"mine")
        await wire.send(refusal + (evil if after is None else b""))
        if after is not None:
            await asyncio.sleep(after)
            await wire.send(evil)
        await wire.gone()

    async with serve(script) as server, client_of(server, ClientLimits()) as client:
        for _ in range(2):
            with pytest.raises(MalformedResponse):
                await opened(client)
            head = request_head("GET", "/v1/x", "up", (), None)
            response = await client.send(head, b"", TIMEOUTS, first_byte=None, total=5.0)
            assert await response.read(100) == b"mine"
        assert server.accepted == 4
