"""HTTP that can be read in two ways is refused, and nothing behind it is served."""

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
from tests.gateway.messages import SHORT, WHOLE, Case, chunked, cuts, get, post

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend():
    return "asyncio", {"use_uvloop": True}


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
    Case("two keys", get(b"/", b"Host: a", b"Authorization: Bearer a", b"authorization: Bearer b")),
    Case("two api-keys", get(b"/", b"Host: a", b"Api-Key: a", b"api-key: b")),
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
