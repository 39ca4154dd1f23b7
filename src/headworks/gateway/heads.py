"""What the head of a request must look like, and how its faults are told."""

import re
import urllib.parse
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from headworks.errors import CallerError


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """What a connection may cost us: sizes in bytes, times in seconds.

    Attributes:
        head_seconds: From the first byte of a request, or from connecting, to the end of its head.
        body_rate: Bytes a second that a body must bring on average, after `body_grace` seconds.
        keep_alive_seconds: How long an idle connection is kept.
        write_seconds: How long a reader may take nothing while an answer waits for it.
        linger_seconds: How long we wait for the caller to close after our last answer.
    """

    target: int = 8 * 1024
    fields: int = 100
    field_bytes: int = 16 * 1024
    head_seconds: float = 10.0
    body_rate: float = 1024.0
    body_grace: float = 10.0
    keep_alive_seconds: float = 75.0
    write_seconds: float = 30.0
    linger_seconds: float = 2.0

    @property
    def shortest_wait(self) -> float:
        """The shortest of the times."""
        return min(
            self.head_seconds,
            self.body_grace,
            self.keep_alive_seconds,
            self.write_seconds,
            self.linger_seconds,
        )


class BadRequest(CallerError):
    """The request is not valid HTTP/1.1."""

    code = "bad_request"


class TargetTooLong(CallerError):
    """The request target is too long."""

    status, code = 414, "uri_too_long"


class HeaderFieldsTooLarge(CallerError):
    """The request has too many header fields, or too large ones."""

    status, code = 431, "header_fields_too_large"


class ExpectationFailed(CallerError):
    """The only expectation that is met is 100-continue."""

    status, code = 417, "expectation_failed"


REQUEST_LINE = re.compile(rb"([A-Z]{1,32}) (/[!\"$-~]*) HTTP/1\.([01])\r\n")
"""Groups: method, target in origin form without a fragment, minor version."""

_PARTIAL_LINE = re.compile(rb"[A-Z]{1,32}(?: (?:/[!\"$-~]*(?: [HTP/1.0]{0,8}\r?)?)?)?")
_SUSPECT = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|(?<!\r)\n|\r(?!\n|\Z)")
_HOST = re.compile(
    rb"(?:(?:[A-Za-z0-9._~!$&'()*+,;=-]|%[0-9A-Fa-f]{2}){1,255}|\[[0-9A-Fa-f:.]{2,45}\])"
    rb"(?::[0-9]{1,5})?"
)

_ONCE = frozenset(
    {
        b"api-key",
        b"authorization",
        b"content-length",
        b"expect",
        b"host",
        b"origin",
        b"transfer-encoding",
    }
)
"""Fields that may stand in a head once at most: they decide how it is read, and for whom."""

CHUNKS_END = 5
"""Bytes that tell whether a body in chunks ends where they do."""

_LINE_REST = len(" HTTP/1.1") + 33
"""What a request line holds besides its target: a method, two spaces, a version."""


def line_fault(head: bytes, limits: HttpLimits) -> CallerError | None:
    """Say what is wrong with a request line that has arrived whole."""
    line = REQUEST_LINE.match(head)
    if line is not None:
        return TargetTooLong() if len(line[2]) > limits.target else None
    return TargetTooLong() if head.find(b"\r\n") > limits.target + _LINE_REST else BadRequest()


def partial_fault(data: bytes, scanned: int, limits: HttpLimits) -> CallerError | None:
    """Say what is wrong with the beginning of a head, as early as it can be known.

    The first `scanned` bytes have been looked at before.
    """
    end = data.find(b"\r\n")
    if end < 0:
        if len(data) > limits.target + _LINE_REST:
            return TargetTooLong()
        return None if _PARTIAL_LINE.fullmatch(data) else BadRequest()
    if (fault := line_fault(data, limits)) is not None:
        return fault
    if len(data) - end > limits.field_bytes + 4 * limits.fields:
        return HeaderFieldsTooLarge()
    return BadRequest() if _SUSPECT.search(data, scanned) else None


def size_fault(head: bytes, line_end: int, limits: HttpLimits) -> CallerError | None:
    """Say whether a whole head has too many header fields, or too large ones.

    A field counts with its name and its value; the colon, one space and the line end are free.
    """
    fields = head.count(b"\r\n") - 2
    if fields > limits.fields or len(head) - line_end - 2 - 4 * fields > limits.field_bytes:
        return HeaderFieldsTooLarge()
    return None


def http_scope(line: re.Match[bytes], is_current: bool) -> dict[str, Any]:  # noqa: FBT001 - as HTTP
    """Return what an ASGI scope tells of a request line."""
    raw_path, _, query = line[2].partition(b"?")
    path = raw_path.decode("ascii")
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1" if is_current else "1.0",
        "scheme": "http",
        "method": line[1].decode("ascii"),
        "root_path": "",
        "path": urllib.parse.unquote(path) if "%" in path else path,
        "raw_path": raw_path,
        "query_string": query,
    }


def repeats(fields: Iterable[tuple[bytes, bytes]]) -> bool:
    """Return whether a field that may stand in a head once stands there twice."""
    names = [name for name, _ in fields if name in _ONCE]
    return len(set(names)) < len(names)


def host_fault(host: bytes | None, *, required: bool) -> CallerError | None:
    """Say what is wrong with the Host field (RFC 9112, section 3.2)."""
    if host is None:
        return BadRequest("The request names no host.") if required else None
    return None if _HOST.fullmatch(host) else BadRequest("The request's Host is not valid.")


def body_length(seen: Mapping[bytes, bytes], *, chunks_allowed: bool) -> int | None:
    """Return how long the body is, None when it comes in chunks (RFC 9112, section 6.3).

    Raises:
        BadRequest: The head does not tell the length in exactly one way.
    """
    length, coding = seen.get(b"content-length"), seen.get(b"transfer-encoding")
    if coding is None:
        if length is None:
            return 0
        if length.isdigit():
            return int(length)
    elif length is None and chunks_allowed and coding.lower() == b"chunked":
        return None
    raise BadRequest("The length of the request's body is not clear.")


def bare_head(length: int | None) -> bytes:
    """Return the shortest head that a body of this length can follow."""
    if length is None:
        return b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n"
    return b"POST / HTTP/1.1\r\ncontent-length: %d\r\n\r\n" % length


def goes_beyond(tail: bytes) -> bool:
    """Return whether line ends follow a body in chunks, whose own end is one empty line.

    llhttp skips any of them in silence; whatever follows tells itself.
    """
    return tail[-4:] != b"\r\n\r\n" or tail[:1] in b"\r\n"
