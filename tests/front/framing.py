"""Requests whose framing, line ends, version, Host or target is odd in every way that we know of."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise, product
from random import Random

from tests.gateway.messages import cuts

Lines = tuple[bytes, ...]

LENGTHS = (
    b"5", b"05", b"0", b"4", b"6", b"+5", b"-5", b" 5 ", b"\t5\t", b"5,5", b"5, 5", b"5,6", b"5;", b"0x5",
    b"5_0", b"5.0", b"5e0", b"", b"five", b"5 5", b"\x0b5", b"5\x00", b"\xef\xbc\x95", b"5\r\n ", b"\r\n 5",
    b"9223372036854775807", b"9223372036854775808", b"18446744073709551615", b"18446744073709551616",
    b"18446744073709551621", b"1" + b"0" * 40, b"0" * 40 + b"5",
)  # fmt: skip
CODINGS = (
    b"chunked", b"Chunked", b"CHUNKED", b" chunked ", b"\tchunked\t", b"chunked\t ", b"\x0bchunked", b"chunked\x0b",
    b"\x0cchunked", b"chunked,", b",chunked", b", chunked", b"chunked, chunked", b"gzip, chunked", b"chunked, gzip",
    b"gzip", b"identity", b"identity, chunked", b"chunked, identity", b"chunked;q=1", b"chunked; a", b'"chunked"',
    b"chunk", b"chunkedd", b"xchunked", b"chunked x", b"chunked\x00", b"\x00chunked", b"", b"\r\n chunked",
    b"\r\n\tchunked", b"chunked\r\n ", b"chunked\r\n\tx", b"chun\xe2\x84\xaaed", b"\xc2\xa0chunked", b"chunked\xa0",
    b"compress", b"deflate", b"trailers", b"chunked\rX: y", b"chunked\nX: y", b"\nchunked", b"\x7fchunked",
)  # fmt: skip
LENGTH_NAMES = (
    b"Content-Length", b"content-length", b"Content-Length ", b"Content-Length\t", b" Content-Length", b"Content_Length",
    b"Content-Length:", b"\x00Content-Length", b"Content-Length\x00", b"Content-\r\nLength", b"\rContent-Length",
)  # fmt: skip
CODING_NAMES = (
    b"Transfer-Encoding", b"transfer-encoding", b"TRANSFER-ENCODING", b"Transfer-Encoding ", b"Transfer-Encoding\t",
    b" Transfer-Encoding", b"Transfer Encoding", b"Transfer_Encoding", b"Transfer-Encoding:", b"\x00Transfer-Encoding",
    b"Transfer-Encoding\x0b", b"Transfer-Encoding\xa0", b"Transfer\r-Encoding", b"X: a\nTransfer-Encoding",
    b"X: a\rTransfer-Encoding", b"\tTransfer-Encoding", b"Transfer-Encoding\r\n",
)  # fmt: skip
TRAP = b"GET /trap HTTP/1.1\r\nHost: a\r\n\r\n"
"""A request that stands where one reading sees a body and the other a message."""

BODIES = (b"hello", b"5\r\nhello\r\n0\r\n\r\n", b"0\r\n\r\n", b"", b"0\r\n\r\n" + TRAP)
CHUNKED = (
    b"0005\r\nhello\r\n000\r\n\r\n", b"5;a\r\nhello\r\n0\r\n\r\n", b'5;a="b;c\\"";d=e\r\nhello\r\n0;x\r\n\r\n',
    b"5 \r\nhello\r\n0\r\n\r\n", b" 5\r\nhello\r\n0\r\n\r\n", b"5\t\r\nhello\r\n0\r\n\r\n", b"0x5\r\nhello\r\n0\r\n\r\n",
    b"5h\r\nhello\r\n0\r\n\r\n", b"+5\r\nhello\r\n0\r\n\r\n", b"-5\r\nhello\r\n0\r\n\r\n", b"5_\r\nhello\r\n0\r\n\r\n",
    b"\r\nhello\r\n0\r\n\r\n", b";a\r\nhello\r\n0\r\n\r\n", b"5;\r\nhello\r\n0\r\n\r\n", b"5 ;a\r\nhello\r\n0\r\n\r\n",
    b"5; a\r\nhello\r\n0\r\n\r\n", b"5;a =b\r\nhello\r\n0\r\n\r\n", b"5;a=\r\nhello\r\n0\r\n\r\n",
    b'5;a="b\r\nhello\r\n0\r\n\r\n', b"5;a\x00\r\nhello\r\n0\r\n\r\n", b"5;a\xff\r\nhello\r\n0\r\n\r\n",
    b"5\nhello\r\n0\r\n\r\n", b"5\rhello\r\n0\r\n\r\n", b"5\r\r\nhello\r\n0\r\n\r\n", b"5;a\nhello\r\n0\r\n\r\n",
    b"5;a\rhello\r\n0\r\n\r\n", b"5\r\nhello\n0\r\n\r\n", b"5\r\nhello\r0\r\n\r\n", b"5\r\nhello0\r\n\r\n",
    b"5\r\nhelloX\r\n0\r\n\r\n", b"4\r\nhello\r\n0\r\n\r\n", b"6\r\nhello\r\n0\r\n\r\n", b"5\r\nhello\r\n0\n\n",
    b"5\r\nhello\r\n0\r\n\n", b"5\r\nhello\r\n0\r\n\r", b"5\r\nhello\r\n\r\n0\r\n\r\n", b"5\r\nhello\r\n0\r\nX\r\n\r\n",
    b"5\r\nhello\r\n0\r\nX: a\r\n\r\n", b"5\r\nhello\r\n0\r\nX: a\n\r\n", b"5\r\nhello\r\n0\r\nX : a\r\n\r\n",
    b"5\r\nhello\r\n0\r\n X: a\r\n\r\n", b"0\r\nHost: b\r\n\r\n", b"0\r\nContent-Length: 5\r\n\r\n",
    b"0\r\nTransfer-Encoding: chunked\r\n\r\n", b"0\r\ncontent-length:0\r\n\r\n", b"0\r\nX: \x00\r\n\r\n",
    b"0\r\nAuthorization: b\r\nAuthorization: c\r\n\r\n", b"0\r\n\r\n" + TRAP, b"f" * 15 + b"\r\nhello", b"f" * 16 + b"\r\nhello",
    b"8000000000000000\r\nhello", b"10000000000000000\r\nhello\r\n0\r\n\r\n", b"10000000000000005\r\nhello\r\n0\r\n\r\n",
    b"0" * 20 + b"5\r\nhello\r\n0\r\n\r\n", b"100000005\r\nhello\r\n0\r\n\r\n",
)  # fmt: skip
VERSIONS = (
    b"HTTP/1.1", b"HTTP/1.0", b"HTTP/0.9", b"HTTP/1.2", b"HTTP/1.10", b"HTTP/1.01", b"HTTP/01.1", b"HTTP/11", b"HTTP/1",
    b"HTTP/1.", b"HTTP/.1", b"HTTP/2.0", b"HTTP/2", b"HTTP/9.9", b"http/1.1", b"Http/1.1", b"HTTP 1.1", b"HTTP/ 1.1",
    b"HTTP/1 .1", b"HTTP/1.1 ", b"HTTP/1.1\t", b"\tHTTP/1.1", b" HTTP/1.1", b"HTTP/1.1x", b"HTTP/1.1\x00", b"HTTP\\1.1",
    b"HTTPS/1.1", b"RTSP/1.0", b"ICY", b"", b"HTTP/1,1", b"HTTP/1.1 HTTP/1.1", b"HTTP/1.\xc2\xb9", b"SIP/2.0",
)  # fmt: skip
HOSTS: tuple[Lines, ...] = (
    (), (b"Host: a",), (b"host:a",), (b"HOST:\ta\t",), (b"Host:",), (b"Host: ",), (b"Host: a", b"Host: a"),
    (b"Host: a", b"host: b"), (b"Host: a, b",), (b"Host: a b",), (b"Host: a@b",), (b"Host: a/b",), (b"Host: a?b",),
    (b"Host: a#b",), (b"Host: http://a",), (b"Host: a:80",), (b"Host: a:",), (b"Host: a:b",), (b"Host: a:-1",),
    (b"Host: a:80:80",), (b"Host: a:123456",), (b"Host: :80",), (b"Host: [::1]",), (b"Host: [::1]:80",), (b"Host: ::1",),
    (b"Host: [::1",), (b"Host: [::1]x",), (b"Host: [::g]",), (b"Host: 127.0.0.1",), (b"Host: a%41",), (b"Host: a%4",),
    (b"Host: a%zz",), (b"Host: \xc3\xa9",), (b"Host: a\x00",), (b"Host: a\\b",), (b"Host: a_b",), (b"Host: " + b"a" * 255,),
    (b"Host : a",), (b" Host: a",), (b"Host: a", b" b"), (b"Host:\r\n a",), (b"Hosts: a",), (b"X-Host: a",), (b"Host; a",),
    (b"Host: a\x0b",), (b'Host: "a"',), (b"Host: a;b",), (b"Host: <a>",), (b"Host: a|b",), (b"Host: -",), (b"Host: .",),
)  # fmt: skip
TARGETS = (
    b"/", b"/ok?a=b", b"/ok?a=b?c", b"//", b"//a/b", b"/a/../b", b"/a/./b", b"/%2e%2e/", b"/a%2fb", b"/a;b", b"/..;/a",
    b"/%", b"/%zz", b"/%00", b"/a\\b", b"/a|b", b"/{a}", b"/a#b", b"/#", b"/a b", b"/a\tb", b"/a\x0bb", b"/a\x00b", b"/\x7f",
    b"/\xc3\xa9", b"/\xff", b"*", b"a", b"a/b", b"", b"?", b"?a", b"http://a/", b"http://a", b"HTTP://a/", b"https://a/",
    b"a:80", b"[::1]:80", b"//a@b/", b"\\", b"/" + b"a" * 8191, b"/" + b"a" * 8192, b"\x00/", b".", b"..", b"%2f", b"ftp://a/b",
)  # fmt: skip
METHODS = (
    b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS", b"TRACE", b"CONNECT", b"get", b"Get", b"GE T", b"GET\t",
    b" GET", b"\r\nGET", b"\nGET", b"\rGET", b"\r\n\r\nGET", b"", b"G\x00ET", b"GET\x00", b"BREW", b"PRI", b"G" * 33, b"G\xc3\x89T",
    b"GET/", b'"GET"', b"GET,", b"M-SEARCH", b"SOURCE", b"LOCK", b"QUERY", b"ANNOUNCE", b"\x16\x03\x01", b"\xef\xbb\xbfGET",
)  # fmt: skip
FIELDS = (
    b"X: a", b"X:a", b"X:", b"X: \xe9", b"X: a\tb", b"X: a\x0bb", b"X: a\x00", b"X: \x1b[0m", b"X: a\x7f", b"X : a", b"X\t: a",
    b" X: a", b"\tX: a", b"X", b"X a", b": a", b":", b"X(y): a", b"X@y: a", b"X\xe9: a", b"X\x00: a", b"X\x7f: a", b"X{: a", b"X\\: a",
    b"X: a\r\n b", b"X: a\r\n\tb", b"X: a\r\n  ", b"X: a\rb", b"X: a\nb: c", b"X: a\r\r\nY: b", b"X: a\n", b"X: a\r", b"X: a\r\n",
    b"Expect: 100-continue", b"Expect: 100-Continue", b"Expect: 200-ok", b"Expect:", b"Expect: 100-continue, x",
    b"Connection: close", b"Connection: keep-alive", b"Connection: Content-Length", b"Connection: close, Host", b"Connection: CLOSE",
    b"Connection: upgrade\r\nUpgrade: h2c", b"Upgrade: websocket", b"Connection: upgrade\r\nUpgrade: websocket", b"TE: trailers",
    b"Trailer: Content-Length", b"Keep-Alive: timeout=5", b"Authorization: a\r\nAuthorization: b", b"Proxy-Connection: close",
    b"Connection: keep-alive, close", b"Connection: a\r\nConnection: close", b"HTTP2-Settings: AAA", b"!#$%&'*+-.^_`|~0aZ: a",
)  # fmt: skip
BYTES = (
    b"\x00",
    b"\t",
    b"\n",
    b"\r",
    b"\r\n",
    b" ",
    b"\x0b",
    b":",
    b",",
    b";",
    b"\x7f",
    b"\x80",
    b"\xff",
    b"0",
    b"\r\n\r\n",
)
"""What is put before each byte of a sound message."""

SOUND = (
    b"POST /ok HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
    b"POST /ok HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\nX: a\r\n\r\n",
    b"GET /ok HTTP/1.0\r\n\r\n",
)


@dataclass(frozen=True)
class Case:
    """Bytes of a connection, and what is odd about them."""

    name: str
    sent: bytes


def message(
    *fields: bytes,
    line: bytes = b"POST /ok HTTP/1.1",
    host: Lines = (b"Host: a",),
    body: bytes = b"",
) -> bytes:
    """Return a request whose parts are as given."""
    return b"\r\n".join((line, *host, *fields, b"", body))


def _lengths_and_codings() -> Iterator[Case]:
    lengths = [b"Content-Length:" + value for value in LENGTHS]
    lengths += [name + b": 5" for name in LENGTH_NAMES]
    codings = [b"Transfer-Encoding:" + value for value in CODINGS]
    codings += [name + b": chunked" for name in CODING_NAMES]
    lines: list[Lines] = [(one,) for one in (*lengths, *codings)]
    lines += product(lengths, lengths[:12])
    lines += product(lengths[:12], codings)
    lines += product(codings, lengths[:12])
    lines += product(codings, codings[:8])
    for number, fields in enumerate(lines):
        for body in BODIES if len(fields) == 1 else (BODIES[number % 2], BODIES[-1]):
            for version in (b"HTTP/1.1", b"HTTP/1.0") if len(fields) == 1 else (b"HTTP/1.1",):
                sent = message(*fields, line=b"POST /ok " + version, body=body)
                yield Case(f"{fields} {body!r}", sent)


def _lines() -> Iterator[Case]:
    for version in VERSIONS:
        yield Case(f"version {version!r}", message(line=b"GET /ok " + version))
    for hosts, version in product(HOSTS, (b"1.1", b"1.0")):
        yield Case(f"{hosts} in {version!r}", message(line=b"GET /ok HTTP/" + version, host=hosts))
    for target, method in product(TARGETS, (b"GET", b"OPTIONS", b"CONNECT")):
        yield Case(f"target {target[:40]!r}", message(line=method + b" " + target + b" HTTP/1.1"))
    for method in METHODS:
        for space in (b" ", b"  ", b"\t", b"\x0b", b""):
            yield Case(f"method {method!r}", message(line=method + space + b"/ok HTTP/1.1"))
    for one in FIELDS:
        yield Case(f"field {one!r}", message(one, line=b"GET /ok HTTP/1.1"))
        yield Case(f"field {one!r} and a body", message(one, b"Content-Length: 5", body=b"hello"))


def _chunks() -> Iterator[Case]:
    for body in CHUNKED:
        yield Case(f"chunks {body!r}", message(b"Transfer-Encoding: chunked", body=body))


def _intrusions() -> Iterator[Case]:
    """Yield sound messages with bytes before, and in the place of, each of theirs."""
    for number, sound in enumerate(SOUND):
        for at, byte in product(range(len(sound) + 1), BYTES):
            yield Case(f"{number}: {byte!r} before {at}", sound[:at] + byte + sound[at:])
            yield Case(f"{number}: {byte!r} at {at}", sound[:at] + byte + sound[at + 1 :])
        for at in range(len(sound)):
            yield Case(f"{number}: without {at}", sound[:at] + sound[at + 1 :])
            yield Case(f"{number}: {at} twice", sound[: at + 1] + sound[at:])


def cases() -> Iterator[Case]:
    """Yield all of them."""
    yield from _lengths_and_codings()
    yield from _lines()
    yield from _chunks()
    yield from _intrusions()


def manners(sent: bytes, random: Random) -> dict[str, list[bytes]]:
    """Return the ways in which a network may cut these bytes, one of them by chance."""
    places = sorted({0, len(sent), *(random.randrange(len(sent)) for _ in range(6))})
    pieces = [sent[a:b] for a, b in pairwise(places)]
    return {**cuts(sent), "in pieces": pieces}
