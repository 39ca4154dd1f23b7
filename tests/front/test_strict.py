"""The second reader itself, judged by a table: what judges the gateway must be right."""

from dataclasses import dataclass

import pytest

from tests.front.strict import read

HEAD = b"POST / HTTP/1.1\r\nHost: a\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
GET = b"GET /b HTTP/1.1\r\nHost: a\r\n\r\n"


@dataclass(frozen=True)
class Case:
    name: str
    sent: bytes
    bodies: list[bytes]
    end: str = "clean"


CASES = (
    Case("nothing", b"", []),
    Case("no body", GET, [b""]),
    Case("two", GET + GET, [b"", b""]),
    Case("an empty line between", GET + b"\r\n" + GET, [b"", b""]),
    Case("two empty lines between", GET + b"\r\n\r\n" + GET, [b""], "refused"),
    Case("a length", HEAD + b"Content-Length: 3\r\n\r\nabc" + GET, [b"abc", b""]),
    Case("a body that is cut", HEAD + b"Content-Length: 3\r\n\r\nab", [], "cut"),
    Case("a head that is cut", HEAD, [], "cut"),
    Case("chunks", CHUNKED + b"3;a\r\nabc\r\n1\r\nd\r\n0\r\nX: y\r\n\r\n" + GET, [b"abcd", b""]),
    Case("chunks that are cut", CHUNKED + b"3\r\nabc\r\n0\r\n", [], "cut"),
    Case("a short chunk", CHUNKED + b"2\r\nabc\r\n0\r\n\r\n", [], "refused"),
    Case("a bare LF", CHUNKED + b"3\nabc\r\n0\r\n\r\n", [], "refused"),
    Case("a bare LF in a head", b"GET / HTTP/1.1\nHost: a\r\n\r\n", [], "refused"),
    Case("both framings", HEAD + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", [], "refused"),
    Case("a fold", b"GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n", [], "refused"),
    Case("no Host", b"GET / HTTP/1.1\r\n\r\n", [], "refused"),
    Case("no Host in HTTP/1.0", b"GET / HTTP/1.0\r\n\r\n" + GET, [b""]),
    Case("the last one", GET.replace(b"a\r\n", b"a\r\nConnection: x, Close\r\n") + GET, [b""]),
    Case("another coding", HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n", [], "refused"),
    Case("a good one first", GET + b"GET", [b""], "cut"),
)  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_it_reads(case: Case):
    """Messages are told apart as the RFCs say, and nothing is read behind a fault."""
    reading = read(case.sent)
    assert [one.body for one in reading.messages] == case.bodies
    assert reading.end == case.end
