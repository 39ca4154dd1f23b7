"""What the head of a request must look like, and how its faults are told."""

import re
import urllib.parse
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import httptools

from headworks.core.intake import Opening
from headworks.errors import CallerError
from headworks.types import Secret


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

_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*([1-9][0-9]{0,14})\r\n", re.IGNORECASE)
_DIGITS = 15
_LONGEST_KEPT = 4096

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


class Verdict(NamedTuple):
    """What llhttp finds in a head that is valid."""

    keeps_alive: bool
    is_upgrade: bool


class _Judge:
    __slots__ = ("keeps_alive", "parser")

    def __init__(self) -> None:
        self.keeps_alive: bool | None = None
        self.parser: httptools.HttpRequestParser | None = httptools.HttpRequestParser(self)

    def on_headers_complete(self) -> None:
        """Ask llhttp whether the caller keeps the connection, while it still knows."""
        if self.parser is not None:
            self.keeps_alive = self.parser.should_keep_alive()


def judge(head: bytes) -> Verdict | None:
    """Have llhttp read a whole head; return None where it is not valid."""
    asked, is_upgrade = _Judge(), False
    try:
        if asked.parser is not None:
            asked.parser.feed_data(head)
    except httptools.HttpParserUpgrade:
        is_upgrade = True
    except httptools.HttpParserError:
        return None
    finally:
        asked.parser = None  # else they hold each other
    return None if asked.keeps_alive is None else Verdict(asked.keeps_alive, is_upgrade)


def size_fault(head: bytes, line_end: int, limits: HttpLimits) -> CallerError | None:
    """Say whether a whole head has too many header fields, or too large ones.

    A field counts with its name and its value; the colon, one space and the line end are free.
    """
    fields = head.count(b"\r\n") - 2
    if fields > limits.fields or len(head) - line_end - 2 - 4 * fields > limits.field_bytes:
        return HeaderFieldsTooLarge()
    return None


class Head:
    """The head of a request, as it was understood.

    Attributes:
        path: As it was sent, without its query.
        fields: In order, names in lower case.
        keeps_alive: Whether the caller wants the connection for another request.
        meaning: What the application makes of it, kept for as long as the connection sends it.
    """

    __slots__ = ("fields", "is_current", "keeps_alive", "meaning", "method", "path", "query")

    def __init__(
        self,
        method: str,
        path: str,
        query: bytes,
        fields: list[tuple[bytes, bytes]],
        *,
        is_current: bool = True,
        keeps_alive: bool = True,
    ) -> None:
        self.method, self.path, self.query, self.fields = method, path, query, fields
        self.is_current, self.keeps_alive = is_current, keeps_alive
        self.meaning: tuple[Opening, Secret | None] | None = None

    def scope(self, length: int | None) -> dict[str, Any]:
        """Return what an ASGI scope tells of it when the body is so long."""
        path, fields = self.path, self.fields.copy()
        told = b"" if length is None else b"%d" % length
        for at, (name, value) in enumerate(fields):
            if name == b"content-length" and int(value) != length:
                fields[at] = (name, told)
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1" if self.is_current else "1.0",
            "scheme": "http",
            "method": self.method,
            "root_path": "",
            "path": urllib.parse.unquote(path) if "%" in path else path,
            "raw_path": path.encode("ascii"),
            "query_string": self.query,
            "headers": fields,
        }


class Recurring:
    """A head that may come again on its connection, with a body of another length.

    Clients send the same bytes again and again, apart from that number: what was found good
    about them is so the next time.
    """

    __slots__ = ("_after", "_before", "_size", "head")

    def __init__(self, before: bytes, after: bytes, head: Head) -> None:
        self._before, self._after, self._size = before, after, len(before)
        self.head = head

    @classmethod
    def of(cls, data: bytes, head: Head, limits: HttpLimits) -> "Recurring | None":
        """Return it for a head that was found good, None where that is long or tells no length."""
        at = _LENGTH.search(data)
        if at is None or len(data) > min(_LONGEST_KEPT, limits.field_bytes) - _DIGITS:
            return None
        return cls(data[: at.start(1)], data[at.end(1) :], head)

    def find(self, data: bytes) -> tuple[int, int] | None:
        """Return the body's length, and where it begins, if `data` begins with this head."""
        if not data.startswith(self._before):
            return None
        end = data.find(b"\r", self._size)
        length = data[self._size : end]
        if length < b"1" or end - self._size > _DIGITS or not length.isdigit():
            return None  # zeros before it are the sender's, and are passed on
        return (int(length), end + len(self._after)) if data.startswith(self._after, end) else None


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
