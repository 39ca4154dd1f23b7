"""HTTP that can be read in two ways is refused; HTTP that cannot is served."""

import asyncio
import socket
import struct
from dataclasses import dataclass
from urllib.parse import urlsplit

import pytest

from headworks.gateway.heads import HttpLimits
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

pytestmark = pytest.mark.anyio

SHORT = HttpLimits(
    head_seconds=0.2,
    body_grace=0.2,
    keep_alive_seconds=0.3,
    write_seconds=0.3,
    linger_seconds=0.2,
)


@pytest.fixture
def anyio_backend():
    return "asyncio", {"use_uvloop": True}


def get(target: bytes = b"/ok", *lines: bytes, version: bytes = b"HTTP/1.1") -> bytes:
    fields = b"".join(line + b"\r\n" for line in lines or (b"Host: a",))
    return b"GET " + target + b" " + version + b"\r\n" + fields + b"\r\n"


def post(*lines: bytes, body: bytes = b"hello", host: bytes = b"Host: a\r\n") -> bytes:
    fields = b"".join(line + b"\r\n" for line in lines)
    return b"POST /ok HTTP/1.1\r\n" + host + fields + b"\r\n" + body


def chunked(body: bytes, *lines: bytes) -> bytes:
    return post(b"Transfer-Encoding: chunked", *lines, body=body)


WHOLE = b"5\r\nhello\r\n0\r\n\r\n"


@dataclass(frozen=True)
class Case:
    name: str
    sent: bytes
    status: int = 400
    code: str = "bad_request"


INVALID = (
    Case("length and chunks", post(b"Content-Length: 5", b"Transfer-Encoding: chunked")),
    Case("chunks and length", post(b"Transfer-Encoding: chunked", b"Content-Length: 5")),
    Case("two equal lengths", post(b"Content-Length: 5", b"Content-Length: 5")),
    Case("two lengths", post(b"Content-Length: 5", b"Content-Length: 6")),
    Case("list of lengths", post(b"Content-Length: 5, 5")),
    Case("signed length", post(b"Content-Length: +5")),
    Case("negative length", post(b"Content-Length: -5")),
    Case("hexadecimal length", post(b"Content-Length: 0x5")),
    Case("underscore in length", post(b"Content-Length: 5_0")),
    Case("empty length", post(b"Content-Length:")),
    Case("length of 2^64 + 5", post(b"Content-Length: 18446744073709551621")),
    Case("chunks in HTTP/1.0", chunked(WHOLE).replace(b"HTTP/1.1", b"HTTP/1.0")),
    Case("chunks twice", post(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked")),
    Case("chunks in a list twice", post(b"Transfer-Encoding: chunked, chunked")),
    Case("gzip and chunks", post(b"Transfer-Encoding: gzip, chunked", body=WHOLE)),
    Case("identity", post(b"Transfer-Encoding: identity")),
    Case("unknown coding", post(b"Transfer-Encoding: xchunked", body=WHOLE)),
    Case("coding with parameter", post(b"Transfer-Encoding: chunked;q=1", body=WHOLE)),
    Case("coding after vertical tab", post(b"Transfer-Encoding:\x0bchunked", body=WHOLE)),
    Case("empty coding", post(b"Transfer-Encoding:", body=WHOLE)),
    Case("space before colon", post(b"Transfer-Encoding : chunked", body=WHOLE)),
    Case("bare LF everywhere", OK.replace(b"\r\n", b"\n")),
    Case("bare LF after a field", b"GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n"),
    Case("bare LF at the end", b"GET / HTTP/1.1\r\nHost: a\r\n\nX: b\r\n\r\n"),
    Case("bare CR in a value", get(b"/", b"Host: a", b"X: a\rb")),
    Case("bare LF before the request", b"\n" + OK),
    Case("two empty lines before the request", b"\r\n\r\n" + OK),
    Case("obs-fold", get(b"/", b"Host: a", b"X: a", b" b")),
    Case("obs-fold by tab", get(b"/", b"Host: a", b"X: a", b"\tb")),
    Case("space before the first field", get(b"/", b" Host: a")),
    Case("NUL in a value", get(b"/", b"Host: a", b"X: a\x00b")),
    Case("ESC in a value", get(b"/", b"Host: a", b"X: \x1b[31m")),
    Case("empty field name", get(b"/", b"Host: a", b": b")),
    Case("bracket in a field name", get(b"/", b"Host: a", b"X(y: b")),
    Case("non-ASCII field name", get(b"/", b"Host: a", b"X\xe9: b")),
    Case("no colon", get(b"/", b"Host: a", b"nonsense")),
    Case("no Host", get(b"/", b"X: a")),
    Case("two Hosts", get(b"/", b"Host: a", b"Host: a")),
    Case("empty Host", get(b"/", b"Host:")),
    Case("Host with user", get(b"/", b"Host: a@b")),
    Case("Host with user and path", get(b"/", b"Host: a@b/c")),
    Case("Host with path", get(b"/", b"Host: a/b")),
    Case("Host with space", get(b"/", b"Host: a b")),
    Case("Host with a word for a port", get(b"/", b"Host: a:b")),
    Case("Host with two ports", get(b"/", b"Host: a:1:2")),
    Case("Host with half an escape", get(b"/", b"Host: a%4")),
    Case("Host in other letters", get(b"/", b"Host: \xc3\xa9")),
    Case("open bracket in Host", get(b"/", b"Host: [::1")),
    Case("HTTP/9.9", get(version=b"HTTP/9.9")),
    Case("HTTP/2.0", get(version=b"HTTP/2.0")),
    Case("HTTP/1.2", get(version=b"HTTP/1.2")),
    Case("HTTP/0.9", get(version=b"HTTP/0.9")),
    Case("HTTP/0.9 without a version", b"GET /\r\n\r\n"),
    Case("lower-case http", get(version=b"http/1.1")),
    Case("HTTP/1", get(version=b"HTTP/1")),
    Case("HTTP/01.1", get(version=b"HTTP/01.1")),
    Case("RTSP", get(version=b"RTSP/1.1")),
    Case("HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    Case("TLS to a plain port", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(40)),
    Case("two spaces after the method", get().replace(b"GET /", b"GET  /")),
    Case("two spaces before the version", get().replace(b" HTTP", b"  HTTP")),
    Case("space after the version", get(version=b"HTTP/1.1 ")),
    Case("tab for a space", get().replace(b"GET ", b"GET\t")),
    Case("lower-case method", get().replace(b"GET", b"get")),
    Case("unknown method", get().replace(b"GET", b"BREW")),
    Case("absolute form", get(b"http://a/ok")),
    Case("authority form", b"CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n"),
    Case("asterisk form", b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n"),
    Case("fragment", get(b"/ok#fragment")),
    Case("no slash", get(b"ok")),
    Case("space in the target", get(b"/o k")),
    Case("control in the target", get(b"/o\x01k")),
    Case("DEL in the target", get(b"/o\x7fk")),
    Case("non-ASCII target", get(b"/\xc3\xa9")),
    Case("long target", get(b"/" + b"a" * 8192), 414, "uri_too_long"),
    Case("64 KB target", get(b"/" + b"a" * 65536), 414, "uri_too_long"),
    Case(
        "101 fields",
        get(b"/", b"Host: a", *[b"X: a"] * 100),
        431,
        "header_fields_too_large",
    ),
    Case(
        "5,000 fields",
        get(b"/", b"Host: a", *[b"X: a"] * 5000),
        431,
        "header_fields_too_large",
    ),
    Case(
        "64 KB value", get(b"/", b"Host: a", b"X: " + b"a" * 65536), 431, "header_fields_too_large"
    ),
    Case(
        "16 KB value", get(b"/", b"Host: a", b"X: " + b"a" * 16384), 431, "header_fields_too_large"
    ),
    Case(
        "64 KB name", get(b"/", b"Host: a", b"X" * 65536 + b": a"), 431, "header_fields_too_large"
    ),
    Case(
        "unknown expectation",
        post(b"Content-Length: 5", b"Expect: cake"),
        417,
        "expectation_failed",
    ),
    Case("chunk size in words", chunked(b"five\r\nhello\r\n0\r\n\r\n")),
    Case("chunk size 0x5", chunked(b"0x5\r\nhello\r\n0\r\n\r\n")),
    Case("signed chunk size", chunked(b"+5\r\nhello\r\n0\r\n\r\n")),
    Case("space after chunk size", chunked(b"5 \r\nhello\r\n0\r\n\r\n")),
    Case("bare LF after chunk size", chunked(b"5\nhello\r\n0\r\n\r\n")),
    Case("bare LF after a chunk", chunked(b"5\r\nhello\n0\r\n\r\n")),
    Case("chunk longer than it says", chunked(b"4\r\nhello\r\n0\r\n\r\n")),
    Case("chunk size 2^64 + 5", chunked(b"10000000000000005\r\nhello\r\n0\r\n\r\n")),
    Case("bare LF in a chunk extension", chunked(b"5;a\nhello\r\n0\r\n\r\n")),
    Case("control in a chunk extension", chunked(b"5;\x01\r\nhello\r\n0\r\n\r\n")),
    Case("length in a trailer", chunked(b"0\r\nContent-Length: 9\r\n\r\n")),
    Case("coding in a trailer", chunked(b"0\r\nTransfer-Encoding: chunked\r\n\r\n")),
    Case("64 KB chunk extension", chunked(b"5;" + b"a" * 65536 + b"\r\nhello\r\n0\r\n\r\n")),
    Case(
        "5,000 trailers",
        chunked(b"5\r\nhello\r\n0\r\n" + b"X: a\r\n" * 5000 + b"\r\n"),
    ),
    Case(
        "64 KB trailer",
        chunked(b"5\r\nhello\r\n0\r\nX: " + b"a" * 65536 + b"\r\n\r\n"),
    ),
)
"""Every probe of the reference that some server accepts, and the neighbours of each."""

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


def cuts(sent: bytes) -> dict[str, list[bytes]]:
    """Cut a message in the ways that a network may cut it."""
    head, middle, tail = sent[:2048], sent[2048:-64], sent[-64:]
    single = [bytes([byte]) for byte in head]
    if len(sent) > len(head) + len(tail):
        single += [middle, *(bytes([byte]) for byte in tail)]
    return {
        "whole": [sent],
        "by line": sent.splitlines(keepends=True),
        "by byte": single,
    }


@pytest.mark.parametrize("manner", ["whole", "by line", "by byte"])
@pytest.mark.parametrize("case", INVALID, ids=lambda case: case.name)
async def test_ambiguous_messages_are_refused(case: Case, manner: str):
    """A message that can be read in two ways gets one error, and the connection ends there."""
    app = Echo()
    async with serving(app) as server:
        received = await asyncio.wait_for(talk(server.url, [*cuts(case.sent)[manner], OK]), 5)
    refusal = answers(received)[-1]
    assert (refusal.status, refusal.headers["connection"]) == (case.status, "close")
    assert refusal.code == case.code
    assert len(answers(received)) == 1
    assert app.bodies == []


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


async def test_nothing_is_served_behind_a_refusal():
    """Good requests before a bad one are answered, then the refusal comes, then nothing more."""
    app = Echo()
    async with serving(app) as server:
        received = answers(await talk(server.url, [OK * 3 + get(b"/", b"X: a") + OK * 50]))
    assert [answer.status for answer in received] == [200, 200, 200, 400]
    assert len(app.paths) == 3


async def test_nothing_is_served_in_one_packet_with_the_end_of_a_chunked_body():
    """A request glued to a chunked body is left for the client to send again: never half-read."""
    app = Echo()
    async with serving(app) as server:
        received = answers(await talk(server.url, [chunked(WHOLE) + OK]))
    assert [answer.body for answer in received] == [b"/ok hello"]
    assert app.paths == ["/ok"]


async def test_a_long_body_behind_an_early_refusal_is_never_read_as_a_request():
    """A refusal that did not read its body closes the connection, and the caller can read it."""
    app = Echo()
    trap = OK * 4000
    head = b"POST /early HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(trap)
    async with serving(app, SHORT) as server:
        for _ in range(20):
            (refusal,) = answers(await talk(server.url, [head, trap[:30000], trap[30000:], OK]))
            assert (refusal.status, refusal.headers["connection"]) == (401, "close")
    assert app.paths == ["/early"] * 20


async def test_a_short_body_behind_an_early_refusal_is_thrown_away():
    """A short body that nobody read costs the caller neither its answer nor its connection."""
    app = Echo()
    head = b"POST /early HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(OK)
    async with serving(app) as server, connected(server.url) as (reader, writer):
        writer.write(head)
        refusal = await read_answer(reader)
        writer.write(OK + LAST)
        (last,) = answers(await everything(reader))
    assert (refusal.status, "connection" in refusal.headers) == (401, False)
    assert (last.body, app.paths) == (b"/last ", ["/early", "/last"])


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


async def test_head_and_body_leave_in_one_write():
    """A whole answer is one packet."""
    async with serving(Echo()) as server, connected(server.url) as (reader, writer):
        writer.write(OK)
        assert (await reader.read(65536)).endswith(b"\r\n\r\n/ok ")


async def test_a_streams_head_does_not_wait_for_its_first_byte():
    """An app that sends its head and then thinks has its head delivered at once."""
    gate = asyncio.Event()

    async def app(_scope, _receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await gate.wait()
        await send({"type": "http.response.body", "body": b"late"})

    async with serving(app) as server, connected(server.url) as (reader, writer):
        writer.write(OK)
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 2)
        gate.set()
        assert await reader.readuntil(b"0\r\n\r\n") == b"4\r\nlate\r\n0\r\n\r\n"
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")


async def test_an_app_may_close_the_connection():
    """`connection: close` from the app is said once and obeyed; other such fields are ours to set."""

    async def app(_scope, _receive, send):
        headers = [
            (b"Connection", b"Close"),
            (b"Transfer-Encoding", b"chunked"),
            (b"content-length", b"2"),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"ok"})

    async with serving(app) as server:
        received = await talk(server.url, [OK + OK])
    assert received.lower().count(b"connection: close") == 1
    assert b"transfer-encoding" not in received.lower()
    assert [answer.body for answer in answers(received)] == [b"ok"]


@pytest.mark.parametrize("messages", [0, 1, 2])
async def test_an_app_that_stops_half_way_is_noticed(messages: int):
    """An app that returns too early yields an error, or an answer that is visibly incomplete."""
    script = (
        {"type": "http.response.start", "status": 200, "headers": []},
        {"type": "http.response.body", "body": b"half", "more_body": True},
    )

    async def app(_scope, _receive, send):
        for message in script[:messages]:
            await send(message)

    async with serving(app) as server:
        received = await talk(server.url, [OK + OK])
    assert received.count(b"HTTP/1.1") == 1
    if messages < 2:
        assert answers(received)[0].code == "internal_error"
    else:
        assert received.endswith(b"4\r\nhalf\r\n")


async def test_old_clients_get_no_chunks():
    """An HTTP/1.0 client reads until the connection closes, since it knows no chunks."""
    app = Echo()
    app.gate.set()
    async with serving(app) as server:
        received = await talk(server.url, [get(b"/stream", b"X: a", version=b"HTTP/1.0")])
    (answer,) = answers(received)
    assert (answer.body, answer.headers.get("transfer-encoding")) == (b"first last", None)


async def test_a_head_request_gets_no_body():
    """HEAD is answered with the fields of GET alone, and the connection stays usable."""
    async with serving(Echo()) as server, connected(server.url) as (reader, writer):
        writer.write(OK.replace(b"GET", b"HEAD"))
        head = await reader.readuntil(b"\r\n\r\n")
        writer.write(OK)
        assert (await read_answer(reader)).body == b"/ok "
    assert b"content-length: 4" in head


async def test_a_failing_app_answers_like_the_api():
    """A defect is a 500 in OpenAI's shape that tells nothing of the inside."""
    async with serving(Echo()) as server:
        (answer,) = answers(await talk(server.url, [get(b"/broken")]))
    assert (answer.status, answer.code) == (500, "internal_error")
    assert b"defect" not in answer.body


async def test_no_answer_can_be_split_by_a_header_value():
    """A line end in a header value of an answer is an error of ours, not a second header."""

    async def app(_scope, _receive, send):
        headers = [(b"x-model", b"a\r\nset-cookie: b"), (b"content-length", b"0")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body"})

    async with serving(app) as server:
        received = await talk(server.url, [OK])
    assert answers(received)[0].status == 500
    assert b"set-cookie" not in received


async def test_an_answer_as_long_as_it_says():
    """A body that is not as long as promised ends the connection instead of the next answer."""

    async def app(_scope, _receive, send):
        headers = [(b"content-length", b"10")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"short", "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async with serving(app) as server:
        received = await talk(server.url, [OK + OK])
    assert received.count(b"HTTP/1.1") == 1
    assert received.endswith(b"short")


@dataclass(frozen=True)
class Slow:
    name: str
    sent: bytes
    status: int | None


SLOW = (
    Slow("silent from the start", b"", None),
    Slow("half a head", b"GET / HTTP/1.1\r\nHost:", 408),
    Slow("half a request line", b"GET /", 408),
    Slow("half a body", post(b"Content-Length: 50000"), 408),
    Slow("half a chunk", chunked(b"5\r\nhe"), 408),
    Slow("idle after an answer", OK, 200),
    Slow("half a head after an answer", OK + b"GET", 408),
    Slow(
        "rest of a body that nobody wants",
        post(b"Content-Length: 50").replace(b"ok", b"early"),
        401,
    ),
)


@pytest.mark.parametrize("case", SLOW, ids=lambda case: case.name)
async def test_slow_callers_are_cut(case: Slow):
    """Who does not finish its request in time is told so, and let go."""
    async with serving(Echo(), SHORT) as server:
        received = answers(await asyncio.wait_for(talk(server.url, [case.sent]), 3))
    assert (received[-1].status if received else None) == case.status
    if case.status == 408:
        assert received[-1].code == "request_timeout"


async def test_a_trickle_does_not_keep_a_head_alive():
    """A byte now and then buys a slow head no more time."""
    async with serving(Echo(), SHORT) as server, connected(server.url) as (reader, writer):
        loop = asyncio.get_running_loop()
        started = loop.time()

        def trickle():
            writer.write(b"a")
            timer[0] = loop.call_later(0.02, trickle)

        writer.write(b"GET / HTTP/1.1\r\nX: ")
        timer = [loop.call_soon(trickle)]
        received = await everything(reader)
        timer[0].cancel()
    assert answers(received)[0].status == 408
    assert loop.time() - started < 1.5


async def test_a_slow_but_steady_body_arrives():
    """A body above the least rate is taken, however long it lasts."""
    limits = HttpLimits(body_grace=0.2, body_rate=100.0)
    app = Echo()
    async with serving(app, limits) as server, connected(server.url) as (reader, writer):
        writer.write(post(b"Content-Length: 100", body=b""))
        for _ in range(10):
            writer.write(b"a" * 10)
            await asyncio.sleep(0.05)
        assert (await read_answer(reader)).status == 200


async def test_a_reader_that_takes_nothing_is_cut():
    """An answer that nobody reads is given up, and the app is told that the caller is gone."""
    app = Echo()
    async with serving(app, SHORT) as server:
        with socket.create_connection(("127.0.0.1", urlsplit(server.url).port)) as plug:
            plug.sendall(get(b"/flood"))
            await asyncio.wait_for(app.gone.wait(), 5)


@pytest.mark.parametrize("manner", ["close", "half-close", "reset"])
async def test_a_caller_that_hangs_up_is_noticed_at_once(manner: str):
    """However a caller leaves, the app that waits in `receive` knows within a moment."""
    app = Echo()
    gone = asyncio.Event()

    async def watching(_scope, receive, _send):
        app.entered.set()
        await receive()
        assert (await receive())["type"] == "http.disconnect"
        gone.set()

    async with serving(watching) as server, connected(server.url) as (_, writer):
        writer.write(OK)
        await app.entered.wait()
        if manner == "half-close":
            writer.write_eof()
        elif manner == "reset":
            plug = writer.get_extra_info("socket")
            plug.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
        else:
            writer.close()
        await asyncio.wait_for(gone.wait(), 1)


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
