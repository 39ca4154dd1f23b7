"""Every sound request is served, and reaches the app as it was sent."""

import asyncio

import pytest

from tests.gateway.conftest import (
    LAST,
    OK,
    Echo,
    answers,
    connected,
    everything,
    read_answer,
    serving,
    talk,
)
from tests.gateway.messages import WHOLE, Case, chunked, cuts, get, post

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend():
    return "asyncio", {"use_uvloop": True}


VALID = (
    Case("plain", OK, 200),
    Case("empty line before the request", b"\r\n" + OK, 200),
    Case("query", get(b"/ok?a=b&c=%20"), 200),
    Case("query with odd but printable characters", get(b'/ok?a="{}|\\^`<>[]'), 200),
    Case("double slash", get(b"//ok//"), 200),
    Case("escaped path", get(b"/o%6b"), 200),
    Case("longest target", get(b"/" + b"a" * 8191), 200),
    Case("host and port", get(b"/ok", b"Host: api.example.com:4000"), 200),
    Case("host with underscore", get(b"/ok", b"Host: my_service"), 200),
    Case("IPv6 host", get(b"/ok", b"Host: [::1]:4000"), 200),
    Case("lower-case and padded field", get(b"/ok", b"host: \t a \t"), 200),
    Case("empty value", get(b"/ok", b"Host: a", b"X:"), 200),
    Case("tab in a value", get(b"/ok", b"Host: a", b"X: a\tb"), 200),
    Case("latin-1 value", get(b"/ok", b"Host: a", b"X: caf\xe9"), 200),
    Case("every token character", get(b"/ok", b"Host: a", b"!#$%&'*+-.^_`|~0aZ: a"), 200),
    Case("100 fields", get(b"/ok", b"Host: a", *[b"X: a"] * 99), 200),
    Case("15 KB value", get(b"/ok", b"Host: a", b"X: " + b"a" * 15360), 200),
    Case("HTTP/1.0 without Host", get(b"/ok", b"X: a", version=b"HTTP/1.0"), 200),
    Case("length", post(b"Content-Length: 5"), 200),
    Case("length with zeros and space", post(b"Content-Length: 005 "), 200),
    Case("no body", post(b"Content-Length: 0", body=b""), 200),
    Case("GET with a body", post(b"Content-Length: 5").replace(b"POST", b"GET"), 200),
    Case("chunks", chunked(WHOLE), 200),
    Case("capital chunks", post(b"TRANSFER-ENCODING: Chunked", body=WHOLE), 200),
    Case("chunk extension", chunked(b'5;a=b;c="d"\r\nhello\r\n0\r\n\r\n'), 200),
    Case("leading zeros in a chunk size", chunked(b"0005\r\nhello\r\n000\r\n\r\n"), 200),
    Case("capital chunk size", chunked(b"A\r\n0123456789\r\n0\r\n\r\n"), 200),
    Case("trailer", chunked(b"5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n"), 200),
    Case("trailer that would be a header", chunked(b"0\r\nHost: b\r\n\r\n"), 200),
    Case(
        "expectation with the body behind it",
        post(b"Content-Length: 5", b"Expect: 100-Continue"),
        200,
    ),
    Case(
        "upgrade to WebSocket",
        get(b"/ok", b"Host: a", b"Connection: Upgrade", b"Upgrade: websocket"),
        200,
    ),
    Case("DELETE", OK.replace(b"GET", b"DELETE"), 200),
)
"""What must never be refused."""


@pytest.mark.parametrize("manner", ["whole", "by line", "by byte"])
@pytest.mark.parametrize("case", VALID, ids=lambda case: case.name)
async def test_valid_messages_are_served(case: Case, manner: str):
    """A valid message is served however the network cuts it, and so is the next one."""
    app = Echo()
    async with serving(app) as server, connected(server.url) as (reader, writer):
        for piece in cuts(case.sent)[manner]:
            writer.write(piece)
            await asyncio.sleep(0)
        first = await asyncio.wait_for(read_answer(reader), 5)
        assert first.status == 200
        if b"HTTP/1.0" not in case.sent:
            writer.write(LAST)
            (second,) = answers(await asyncio.wait_for(everything(reader), 5))
            assert second.body == b"/last "
    assert app.bodies[0] in {b"", b"hello", b"0123456789"}


async def test_trailers_never_become_header_fields():
    """What comes behind a body is not read as a header, neither of this request nor of the next."""
    app = Echo()
    sent = chunked(b"5\r\nhello\r\n0\r\nHost: b\r\nAuthorization: x\r\nX-T: 1\r\n\r\n")
    async with serving(app) as server, connected(server.url) as (reader, writer):
        writer.write(sent)
        await read_answer(reader)
        writer.write(LAST)
        await everything(reader)
    for scope in app.scopes:
        names = [name for name, _ in scope["headers"]]
        assert names.count(b"host") == 1
        assert not {b"authorization", b"x-t"} & set(names)


async def test_a_hundred_pipelined_requests_are_answered_in_order():
    """Requests sent in one go are answered in the order they were sent, bodies included."""
    sent = b"".join(
        get(b"/%d" % number)
        if number % 2
        else b"POST /%d HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n%03d" % (number, number)
        for number in range(100)
    )
    async with serving(Echo()) as server:
        received = answers(await talk(server.url, [sent + LAST]))
    bodies = [b"/%d " % n if n % 2 else b"/%d %03d" % (n, n) for n in range(100)]
    assert [answer.body for answer in received] == [*bodies, b"/last "]


async def test_a_body_is_asked_for_only_when_the_app_wants_it():
    """`Expect: 100-continue` is answered with 100 when the app reads, with its refusal when not."""
    expecting = b"Content-Length: 5\r\nExpect: 100-continue\r\n\r\n"
    app = Echo()
    async with serving(app) as server:
        async with connected(server.url) as (reader, writer):
            writer.write(b"POST /ok HTTP/1.1\r\nHost: a\r\n" + expecting)
            assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            writer.write(b"hello")
            assert (await read_answer(reader)).body == b"/ok hello"
        early = b"POST /early HTTP/1.1\r\nHost: a\r\n" + expecting
        (refusal,) = answers(await talk(server.url, [early]))
    assert (refusal.status, refusal.headers["connection"]) == (401, "close")


async def test_an_upgrade_is_ignored_and_its_body_is_kept():
    """Clients that offer h2c with every request (the JDK's) are served in HTTP/1.1, body and all."""
    offer = (b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAA")
    app = Echo()
    async with serving(app) as server, connected(server.url) as (reader, writer):
        for _ in range(2):
            writer.write(post(*offer, b"Content-Length: 5"))
            assert (await read_answer(reader)).body == b"/ok hello"
        writer.write(post(*offer, b"Transfer-Encoding: chunked", body=b"5\r\nhel"))
        writer.write(b"lo\r\n0\r\n\r\n")
        assert (await read_answer(reader)).body == b"/ok hello"
    assert all(scope["type"] == "http" for scope in app.scopes)


async def test_a_request_arrives_as_it_was_sent():
    """The app sees method, path, query and fields, with padding gone and names in lower case."""
    app = Echo()
    sent = get(b"/o%6b?a=%20", b"Host: a:1", b"X-Two:  b ", b"Connection: close")
    async with serving(app) as server:
        await talk(server.url, [sent])
    scope = app.scopes[0]
    assert (scope["method"], scope["path"], scope["raw_path"]) == ("GET", "/ok", b"/o%6b")
    assert (scope["query_string"], scope["http_version"]) == (b"a=%20", "1.1")
    assert scope["headers"] == [(b"host", b"a:1"), (b"x-two", b"b"), (b"connection", b"close")]


async def test_a_big_request_does_not_pile_up():
    """What an app does not read stays with the caller: the server holds little of a big body."""
    app = Echo()

    async def idle(_scope, _receive, _send):
        app.entered.set()
        await app.gate.wait()

    async with serving(idle) as server, connected(server.url) as (_, writer):
        writer.write(post(b"Content-Length: 100000000", body=b""))
        await app.entered.wait()
        writer.write(bytes(50_000_000))
        for _ in range(50):
            await asyncio.sleep(0.01)
        assert writer.transport.get_write_buffer_size() > 30_000_000
        writer.transport.abort()
        app.gate.set()


async def test_a_body_in_tiny_pieces_is_not_costly():
    """A hundred thousand chunks of one byte are read within a second or so."""
    app = Echo()
    body = b"1\r\na\r\n" * 100_000 + b"0\r\n\r\n"
    async with serving(app) as server, connected(server.url) as (reader, writer):
        writer.write(chunked(body))
        assert (await asyncio.wait_for(read_answer(reader), 5)).status == 200
    assert app.bodies == [b"a" * 100_000]
