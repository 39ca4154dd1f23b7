"""Callers on WebSocket connections who do what no client in use does: they keep nothing of ours."""

import asyncio
from typing import Any

import pytest

from tests.gateway.conftest import connected, everything, serving
from tests.gateway.test_upgrade import SWITCHED, accepting, handshake
from tests.upstream.scripted import until

pytestmark = pytest.mark.anyio

_MASK = b"\x00" * 4
PING = b"\x89\x80" + _MASK
PONG = b"\x8a\x80" + _MASK
FIRST, MORE, LAST = b"\x01\x81" + _MASK + b"a", b"\x00\x80" + _MASK, b"\x80\x80" + _MASK


async def ended(sent: bytes) -> bytes:
    """Return all that a connection hears on which so much is said at once."""
    async with (
        serving(accepting, max_message=100_000) as server,
        connected(server.url) as (reader, writer),
    ):
        writer.write(handshake())
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(SWITCHED)
        writer.write(sent)
        return await everything(reader)


@pytest.mark.parametrize("frame", [PING, PONG], ids=["pings", "pongs"])
async def test_a_flood_of_pings_ends_the_connection(frame: bytes):
    """Pings cost an answer each: who sends them by the hundred is left with 1008."""
    heard = await ended(frame * 400)
    assert heard.endswith(b"\x03\xf0too many pings")


async def test_pings_now_and_then_are_welcome():
    """As many as any client sends are answered, each once."""
    heard = await ended(PING * 60 + b"\x88\x82" + _MASK + b"\x03\xe8")
    assert heard.count(b"\x8a\x00") == 60
    assert heard.endswith(b"\x88\x02\x03\xe8")


async def test_a_message_has_not_any_number_of_pieces():
    """Pieces without content make no message larger, and still have to be kept: 1009."""
    assert (await ended(FIRST + MORE * 9000)).endswith(b"\x03\xf1a message in too many pieces")


async def test_a_message_may_come_in_pieces():
    """A message in four thousand pieces is one message."""
    async with (
        serving(accepting, max_message=100_000) as server,
        connected(server.url) as (reader, writer),
    ):
        writer.write(handshake() + FIRST + MORE * 4000 + LAST)
        assert (await reader.readuntil(b"\x81\x01a")).startswith(SWITCHED)


async def test_little_comes_before_the_connection_is_open():
    """Whoever sends a lot before the answer to its handshake is cut, and its app hears of it."""
    heard: list[str] = []

    async def slow(_scope: Any, receive: Any, _send: Any) -> None:
        heard.append((await receive())["type"])
        heard.append((await receive())["type"])

    async with (
        serving(slow, max_message=1_000_000) as server,
        connected(server.url) as (reader, writer),
    ):
        writer.write(handshake() + FIRST)
        for _ in range(20):
            writer.write(bytes(16_384))
        assert await everything(reader) == b""
        await until(lambda: len(heard) == 2)
    assert heard == ["websocket.connect", "websocket.disconnect"]


async def test_nothing_is_answered_before_the_handshake():
    """A ping that comes too early is answered behind the 101, never before it."""
    may_go_on = asyncio.Event()

    async def late(_scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await may_go_on.wait()
        await send({"type": "websocket.accept", "headers": []})
        await receive()

    async with (
        serving(late, max_message=1000) as server,
        connected(server.url) as (reader, writer),
    ):
        writer.write(handshake() + PING)
        for _ in range(5):
            await asyncio.sleep(0)
        may_go_on.set()
        answer = await reader.readuntil(b"\x8a\x00")
    assert answer.startswith(SWITCHED)


async def test_who_answers_no_ping_and_takes_nothing_is_let_go():
    """A caller that is gone without a word does not keep its connection, nor what waits for it."""
    found: list[Any] = []

    async def filling(_scope: Any, receive: Any, send: Any) -> None:
        protocol = send.__self__
        found.append(protocol)
        await receive()
        await send({"type": "websocket.accept", "headers": []})
        while not protocol.transport.get_write_buffer_size():
            await send({"type": "websocket.send", "bytes": bytes(16_384)})
        protocol.keepalive_timeout()
        assert (await receive())["type"] == "websocket.disconnect"

    async with serving(filling, max_message=1000) as server, connected(server.url) as (_, writer):
        writer.write(handshake())  # and read no more than a reader's own buffer takes
        await until(lambda: bool(found) and found[0].disconnected)
