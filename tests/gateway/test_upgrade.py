"""Who may leave HTTP for a WebSocket connection: whoever asks for it in the one right way."""

import asyncio
from dataclasses import dataclass

import pytest

from tests.gateway.conftest import OK, Echo, connected, everything, serving, talk

pytestmark = pytest.mark.anyio

GOOD = {
    "host": "a",
    "connection": "keep-alive, Upgrade",
    "upgrade": "WebSocket",
    "sec-websocket-version": "13",
    "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
}
SWITCHED = b"HTTP/1.1 101"
ACCEPTED = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
"""What RFC 6455, section 1.3, answers to that key."""


def handshake(line: str = "GET /ok HTTP/1.1", more: str = "", **changes: str | None) -> bytes:
    fields = {**GOOD, **{name.replace("_", "-"): value for name, value in changes.items()}}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items() if value is not None)
    return f"{line}\r\n{head}{more}\r\n".encode()


async def accepting(scope, receive, send) -> None:
    """Take every connection, say what comes, and leave with its last word."""
    assert (await receive())["type"] == "websocket.connect"
    await send({"type": "websocket.accept", "headers": []})
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": message["text"]})


async def test_a_handshake_switches():
    """The RFC's own example opens a connection, on which bytes that came early are not lost."""
    hello, farewell = b"\x81\x85\x00\x00\x00\x00Hello", b"\x88\x82\x00\x00\x00\x00\x03\xe8"
    async with (
        serving(accepting, max_message=1000) as server,
        connected(server.url) as (reader, writer),
    ):
        writer.write(handshake() + hello)
        answer = await reader.readuntil(b"\x81\x05Hello")
        writer.write(farewell)
        end = await everything(reader)
    assert answer.startswith(SWITCHED)
    assert ACCEPTED in answer
    assert end == b"\x88\x02\x03\xe8"


@dataclass(frozen=True)
class Case:
    """A handshake that is refused."""

    name: str
    head: bytes
    status: bytes


CASES = (
    Case("another method", handshake("POST /ok HTTP/1.1"), b"400"),
    Case("HTTP/1.0", handshake("GET /ok HTTP/1.0"), b"400"),
    Case("a body", handshake(content_length="3") + b"abc", b"400"),
    Case("chunks", handshake(transfer_encoding="chunked") + b"0\r\n\r\n", b"400"),
    Case("an old version", handshake(sec_websocket_version="8"), b"426"),
    Case("no version", handshake(sec_websocket_version=None), b"426"),
    Case("no key", handshake(sec_websocket_key=None), b"400"),
    Case("a short key", handshake(sec_websocket_key="AAAA"), b"400"),
    Case("no base64", handshake(sec_websocket_key="*" * 24), b"400"),
    Case("two keys", handshake(more=f"sec-websocket-key: {'A' * 22}==\r\n"), b"400"),
    Case("no host", handshake(host=None), b"400"),
    Case("a long line", handshake(x_long="x" * 9000), b"431"),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_a_wrong_handshake_is_refused(case: Case):
    """What could be read in two ways, or by an old rule, opens nothing, and no app hears of it."""
    app = Echo()
    async with serving(app, max_message=1000) as server:
        answer = await talk(server.url, [case.head])
    assert answer.startswith(b"HTTP/1.1 " + case.status)
    assert b'"error"' in answer
    assert app.paths == []


@pytest.mark.parametrize(
    "fields",
    [{"connection": None}, {"upgrade": "h2c"}, {"upgrade": None}],
    ids=["no connection field", "another protocol", "no upgrade"],
)
async def test_who_asks_for_nothing_stays_in_http(fields):
    """An upgrade that is not asked for, or to something else, is ignored (RFC 9110, section 7.8)."""
    app = Echo()
    async with serving(app, max_message=1000) as server, connected(server.url) as (reader, writer):
        writer.write(handshake(**fields) + OK.replace(b"Host: a", b"Host: a\r\nConnection: close"))
        answer = await everything(reader)
    assert answer.count(b"HTTP/1.1 200") == 2


async def test_a_plane_without_connections_ignores_them():
    """The admin plane, and a server that takes none, go on in HTTP."""
    app = Echo()
    async with serving(app) as server, connected(server.url) as (reader, writer):
        writer.write(handshake(connection="Upgrade, close"))
        answer = await everything(reader)
    assert answer.startswith(b"HTTP/1.1 200")


async def test_an_app_that_fails_ends_its_connection(caplog):
    """A defect is told by 1011, before or behind the handshake, and logged; the server goes on."""

    async def failing(scope, receive, send) -> None:
        if scope["path"] == "/late":
            await send({"type": "websocket.accept", "headers": []})
        raise OSError("a defect")

    async with serving(failing, max_message=1000) as server:
        late = await talk(server.url, [handshake("GET /late HTTP/1.1")])
        early = await talk(server.url, [handshake()])
    assert late.endswith(b"\x88\x02\x03\xf3")
    assert early.startswith(b"HTTP/1.1 500")
    assert caplog.text.count("OSError: a defect") == 2


async def test_a_cut_says_farewell():
    """A server that ends at once tells its connections so, with 1001."""
    opened = asyncio.Event()

    async def waiting(scope, receive, send) -> None:
        await send({"type": "websocket.accept", "headers": []})
        opened.set()
        while True:
            await receive()

    async with (
        serving(waiting, max_message=1000) as server,
        connected(server.url) as (reader, writer),
    ):
        writer.write(handshake())
        await opened.wait()
        server.stop(at_once=True)
        assert (await everything(reader)).endswith(b"\x88\x02\x03\xe9")
