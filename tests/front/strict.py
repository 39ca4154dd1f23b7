"""A second reader of HTTP/1.1, written from RFC 9110 and 9112 alone: it shares no code with the gateway.

It reads whatever a caller sends on one connection, and stops at the first byte that can be read in
two ways. Where the RFCs leave a choice, it is the gateway's documented one.
"""

import re
from dataclasses import dataclass, field
from typing import Literal

MOST_TARGET, MOST_FIELDS, MOST_FIELD_BYTES = 8192, 100, 16384
TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
METHODS = frozenset({b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS", b"TRACE"})
"""The methods that must be served; others may be."""

_LINE = re.compile(rb"([A-Z]{1,32}) (/[\x21\x22\x24-\x7e]*) HTTP/1\.([01])")
_FIELD = re.compile(rb"(" + TOKEN + rb"):[ \t]*((?:[\x21-\x7e\x80-\xff](?:[\t -~\x80-\xff]*[\x21-\x7e\x80-\xff])?)?)[ \t]*")  # fmt: skip
_NAME = rb"(?:[A-Za-z0-9\-._~!$&'()*+,;=]|%[0-9A-Fa-f]{2})+"
_HOST = re.compile(rb"(?:" + _NAME + rb"|\[[0-9A-Fa-f:.]+\])(?::\d{1,5})?")
_QUOTED = rb'"(?:[\t \x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t -~\x80-\xff])*"'
_CHUNK = re.compile(rb"0*([0-9A-Fa-f]{1,16})(;(?:[;=]|" + TOKEN + rb"|" + _QUOTED + rb")*)?")
_EXTENSION = re.compile(rb"(?:;" + TOKEN + rb"(?:=(?:" + TOKEN + rb"|" + _QUOTED + rb"))?)*")
_TABBED = re.compile(rb"(?i)\ntransfer-encoding:[ \t]*chunked *\t")
"""A tab behind the coding: sound, and refused all the same."""

_ONCE = (b"host", b"content-length", b"transfer-encoding", b"expect", b"authorization", b"api-key")

Fields = list[tuple[bytes, bytes]]


@dataclass(frozen=True)
class Message:
    """One request, as it can be read in one way alone.

    Attributes:
        is_plain: Whether it must be served; else it may be refused as well: a method that nobody
            needs, an extension of a chunk with an empty part, a tab behind the coding.
    """

    method: bytes
    target: bytes
    version: bytes
    fields: Fields
    body: bytes
    is_chunked: bool
    is_plain: bool

    @property
    def is_last(self) -> bool:
        """Whether nothing behind it need be served."""
        told = (b"connection", b"proxy-connection")
        said = b",".join(value.lower() for name, value in self.fields if name in told)
        asked = {option.strip() for option in said.split(b",")}
        return self.version == b"0" or b"close" in asked


@dataclass
class Reading:
    """What was read on a connection.

    Attributes:
        end: `clean` where the bytes end with a message, `cut` where they end within one, `refused`
            where they can be read in more than one way, or in none.
        why: What was wrong.
        begun: Method and target of a message whose head is sound and whose body does not end so.
    """

    messages: list[Message] = field(default_factory=list)
    end: Literal["clean", "cut", "refused"] = "clean"
    why: str = ""
    begun: tuple[bytes, bytes] | None = None


class _Wrong(Exception):
    """The bytes are no sound message."""


class _Cut(Exception):
    """The bytes end within a message."""


def read(sent: bytes) -> Reading:
    """Read all requests of a connection."""
    reading = Reading()
    at = 0
    try:
        while at < len(sent):
            message, at = _message(sent, at, reading)
            reading.messages.append(message)
            if message.is_last:
                break
    except _Wrong as fault:
        reading.end, reading.why = "refused", str(fault)
    except _Cut:
        reading.end = "cut"
    return reading


def _line(sent: bytes, at: int) -> tuple[bytes, int]:
    """Return a line without its end, and where the next one begins."""
    end = sent.find(b"\n", at)
    if end < 0:
        raise _Cut
    line = sent[at:end]
    if not line.endswith(b"\r") or b"\r" in line[:-1]:
        raise _Wrong("a line that does not end by CR LF alone")
    return line[:-1], end + 1


def _message(sent: bytes, at: int, reading: Reading) -> tuple[Message, int]:
    reading.begun = None
    if sent[at : at + 2] == b"\r\n":
        at += 2
        if at == len(sent):
            raise _Cut
    begin = at
    line, at = _line(sent, at)
    first = _LINE.fullmatch(line)
    if first is None or len(first[2]) > MOST_TARGET:
        raise _Wrong("request line")
    fields, at = _fields(sent, at)
    told = _once(fields)
    _check_host(told, first[3])
    if told.get(b"expect", b"100-continue").lower() != b"100-continue":
        raise _Wrong("expectation")
    is_chunked, length = _framing(told, first[3])
    reading.begun = first[1], first[2]
    is_plain = first[1] in METHODS and not (is_chunked and _TABBED.search(sent, begin, at))
    if is_chunked:
        body, at, is_exact = _chunks(sent, at)
        is_plain = is_plain and is_exact
    else:
        body, at = sent[at : at + length], at + length
        if at > len(sent):
            raise _Cut
    return Message(first[1], first[2], first[3], fields, body, is_chunked, is_plain), at


def _fields(sent: bytes, at: int) -> tuple[Fields, int]:
    fields: Fields = []
    size = 0
    while True:
        line, at = _line(sent, at)
        if not line:
            return fields, at
        match = _FIELD.fullmatch(line)
        if match is None:
            raise _Wrong("field")
        fields.append((match[1].lower(), match[2]))
        size += len(line) - 2
        if len(fields) > MOST_FIELDS or size > MOST_FIELD_BYTES:
            raise _Wrong("too many fields")


def _once(fields: Fields) -> dict[bytes, bytes]:
    names = [name for name, _ in fields]
    for name in _ONCE:
        if names.count(name) > 1:
            raise _Wrong(f"{name!r} twice")
    return dict(fields)


def _check_host(told: dict[bytes, bytes], version: bytes) -> None:
    host = told.get(b"host")
    if host is None and version == b"1":
        raise _Wrong("no Host")
    if host is not None and not (_HOST.fullmatch(host) and len(host) <= 261):
        raise _Wrong("Host")


def _framing(told: dict[bytes, bytes], version: bytes) -> tuple[bool, int]:
    """Return whether the body comes in chunks, else how long it is (RFC 9112, section 6.3)."""
    coding, length = told.get(b"transfer-encoding"), told.get(b"content-length")
    if coding is not None:
        if length is not None or version == b"0" or coding.lower() != b"chunked":
            raise _Wrong("Transfer-Encoding")
        return True, 0
    if length is None:
        return False, 0
    if not re.fullmatch(rb"[0-9]+", length) or int(length) >= 2**64:
        raise _Wrong("Content-Length")
    return False, int(length)


def _chunks(sent: bytes, at: int) -> tuple[bytes, int, bool]:
    """Return a body without its framing, where it ends, and whether its extensions are exact."""
    body, is_exact = b"", True
    while True:
        line, at = _line(sent, at)
        chunk = _CHUNK.fullmatch(line)
        if chunk is None:
            raise _Wrong("chunk")
        size = int(chunk[1], 16)
        is_exact = is_exact and _EXTENSION.fullmatch(chunk[2] or b"") is not None
        if not size:
            break
        data, at = sent[at : at + size], at + size
        body += data
        end, at = sent[at : at + 2], at + 2
        if not b"\r\n".startswith(end):
            raise _Wrong("a chunk that is longer than it says")
        if at > len(sent):
            raise _Cut
    trailers, at = _fields(sent, at)
    if {name for name, _ in trailers} & {b"content-length", b"transfer-encoding"}:
        raise _Wrong("trailer")
    return body, at, is_exact
