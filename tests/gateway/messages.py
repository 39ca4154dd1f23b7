"""HTTP requests in bytes, sound and otherwise, and the ways a network may cut them."""

from dataclasses import dataclass

from headworks.gateway.heads import HttpLimits

SHORT = HttpLimits(
    head_seconds=0.2,
    body_grace=0.2,
    keep_alive_seconds=0.3,
    write_seconds=0.3,
    linger_seconds=0.2,
)


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
