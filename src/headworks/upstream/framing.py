"""Where an answer ends: the framing of HTTP/1.1 responses, without I/O.

The head is cut out here, at its empty line, and given to llhttp whole. So the first byte of the
body is known exactly, and with it every byte too many:

1. A body with a declared length is counted here; what follows it is surplus.
2. A chunked body goes through llhttp. After its end llhttp would begin a second message, or skip
   CR and LF in silence; so nothing may have begun after it, and the packet that ends it must show
   the one empty line that closes a chunked body, behind a byte that is neither CR nor LF. An end
   that is split so that its last packet cannot show this is unclean: not wrong, but not proven.
3. A body with neither lasts until the connection closes (RFC 9112 section 6.3).

Refused as malformed, because two readers could disagree about them: Content-Length beside
Transfer-Encoding, more than one Content-Length, any coding but a single `chunked`, a 1xx answer
that claims a body, a 101 that nobody asked for, and whatever llhttp refuses in its strict mode (bare LF, folded lines,
wrong chunk sizes). Each head and each chunked body has a parser of its own, so that none inherits
state. llhttp judges heads; their fields are then cut out by lines, which costs half of its callbacks.
What follows a 101 that was asked for lasts until the connection closes.
"""

from collections.abc import Mapping
from typing import Literal

import msgspec
from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from headworks.core.wire import head_fields
from headworks.errors import MalformedResponse
from headworks.types import Headers
from headworks.upstream.origin import ClientLimits
from headworks.upstream.response import HttpResponse

_FRAMES = frozenset({b"content-length", b"transfer-encoding"})
_EMPTY_LINE = b"\r\n\r\n"
_BEGIN = b"HTTP/1."
_BEFORE_CHUNKS = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
_CONTINUE, _SWITCHING_PROTOCOLS, _FIRST_FINAL, _FIRST_INVALID = 100, 101, 200, 600
_WITHOUT_BODY = frozenset({204, 304})

# How the bytes that come next are framed.
_HEAD, _LENGTH, _CHUNKED, _UNTIL_CLOSE = range(4)


Progress = Literal["more", "clean", "unclean", "surplus"]
"""What a packet did to an answer. "more": it goes on. Else it is complete, and "clean": the server
keeps a connection that is at its exact end; "unclean": the connection must not serve again;
"surplus": bytes that nobody asked for came behind it."""


class Framer(msgspec.Struct, eq=False):
    """Feeds one answer from the bytes of its connection, and finds its end.

    Attributes:
        no_body: Whether the answer has no body whatever its head says.
        switches: Whether another protocol was asked for.
        has_begun: Whether anything has come.
    """

    response: HttpResponse
    limits: ClientLimits
    no_body: bool = False
    switches: bool = False
    has_begun: bool = False
    _end: Progress = "unclean"
    _framing: int = _HEAD
    _partial: bytes = b""
    _left: int = 0
    _informational: int = 0
    _parser: HttpResponseParser | None = None
    _chunks: "_Chunks | None" = None

    def receive(self, data: memoryview) -> Progress:
        """Take what the connection received, at least one byte.

        Raises:
            MalformedResponse: The bytes are not a valid answer, or one beyond the limits.
        """
        self.has_begun = True
        try:
            if self._chunks is not None:
                return self._receive_chunks(self._chunks, data)
            if self._framing == _HEAD:
                return self._receive_head(bytes(data))
            return self._receive_body(data)
        except (HttpParserError, HttpParserUpgrade) as error:
            raise MalformedResponse(f"The provider's answer is not valid HTTP: {error}.") from error

    def receive_eof(self) -> bool:
        """Take the connection's end; return whether it completes the answer."""
        return self._framing == _UNTIL_CLOSE

    def close(self) -> None:
        """Let go of what refers back to itself; an answer that has ended holds nothing."""
        if self._chunks is not None:
            self._chunks.close()

    # The head.

    def _receive_head(self, data: bytes) -> Progress:
        while data:
            head, data = self._cut_head(data)
            if not head:
                break
            status = self._parse(head)
            fields = tuple(head_fields(head))
            if len(fields) > self.limits.head_fields:
                raise _too_many(self.limits)
            if status >= _FIRST_FINAL or (status == _SWITCHING_PROTOCOLS and self.switches):
                return self._receive_final(status, fields, data)
            self._skip(status, fields)
        return "more"

    def _parse(self, head: bytes) -> int:
        """Have llhttp judge a head; return its status."""
        self._parser = parser = HttpResponseParser(self)
        try:
            parser.feed_data(head)
        except HttpParserUpgrade:
            if not self.switches:
                raise
        finally:
            self._parser = None
        return parser.get_status_code()

    def on_headers_complete(self) -> None:
        """Ask llhttp whether the server keeps the connection, while it still knows."""
        if self._parser is not None and self._parser.should_keep_alive():
            self._end = "clean"

    def _cut_head(self, data: bytes) -> tuple[bytes, bytes]:
        """Return the head up to its empty line, and the rest; two b"" while it is incomplete."""
        searched = 0
        if self._partial:
            searched = max(0, len(self._partial) - len(_EMPTY_LINE) + 1)
            data = self._partial + data
        if not (data.startswith(_BEGIN) or _BEGIN.startswith(data)):
            raise MalformedResponse("The provider's answer does not begin with HTTP/1.")
        end = data.find(_EMPTY_LINE, searched)
        if (len(data) if end < 0 else end) > self.limits.head_bytes - len(_EMPTY_LINE):
            raise MalformedResponse(
                f"The answer's head is larger than {self.limits.head_bytes} bytes."
            )
        if end < 0:
            self._partial = data
            return b"", b""
        self._partial = b""
        end += len(_EMPTY_LINE)
        return data[:end], data[end:]

    def _skip(self, status: int, fields: Headers) -> None:
        """Pass over a 1xx answer."""
        self._informational += 1
        if status < _CONTINUE or status == _SWITCHING_PROTOCOLS:
            raise MalformedResponse(f"The provider answered {status}, which nobody asked for.")
        if self._informational > self.limits.informational:
            raise MalformedResponse(
                f"The provider sent more than {self.limits.informational} informational answers."
            )
        if not _FRAMES.isdisjoint(dict(fields)):
            raise MalformedResponse(f"The provider's {status} answer claims a body.")
        if self._end != "clean":
            raise MalformedResponse(f"The provider's {status} answer is said to be the last.")
        self._end = "unclean"

    def _receive_final(self, status: int, fields: Headers, rest: bytes) -> Progress:
        if status >= _FIRST_INVALID:
            raise MalformedResponse(f"The provider answered with the status {status}.")
        told = dict(fields)
        is_chunked = b"transfer-encoding" in told and _refuse_codings(fields)
        declared = _length(told)
        if status == _SWITCHING_PROTOCOLS and (is_chunked or declared is not None):
            raise MalformedResponse("The provider's 101 answer claims a body.")
        if self.no_body or status in _WITHOUT_BODY:
            self._framing, declared = _LENGTH, None
        elif is_chunked:
            self._framing = _CHUNKED
            self._chunks = _Chunks(self.response, self.limits, len(fields))
        elif declared is None:
            self._framing = _UNTIL_CLOSE
        else:
            self._framing, self._left = _LENGTH, declared
        self.response.on_head(status, fields, declared)
        return self._receive_body(rest)

    # The body.

    def _receive_body(self, data: bytes | memoryview) -> Progress:
        size = len(data)
        if self._framing == _LENGTH:
            left = self._left
            if left and size:
                self.response.on_body(bytes(data[:left]))
            if size == left:
                return self._end
            self._left = left - size
            return "more" if size < left else "surplus"
        if size and self._chunks is not None:
            return self._receive_chunks(self._chunks, data)
        if size:
            self.response.on_body(bytes(data))
        return "more"

    def _receive_chunks(self, chunks: "_Chunks", data: bytes | memoryview) -> Progress:
        progress = chunks.receive(data)
        if progress == "more":
            return "more"
        chunks.close()
        return self._end if progress == "clean" else progress


class _Chunks:
    """A body in chunks, in a parser of its own; trailers count as fields of the head."""

    __slots__ = (
        "_count",
        "_is_complete",
        "_limits",
        "_parser",
        "_parts",
        "_response",
        "_second",
        "_silent",
        "on_body",
    )

    def __init__(self, response: HttpResponse, limits: ClientLimits, fields: int) -> None:
        self._response, self._limits = response, limits
        self._is_complete = self._second = False
        self._silent = 0
        self._parts: list[bytes] = []
        self.on_body = self._parts.append
        self._parser: HttpResponseParser | None = HttpResponseParser(self)
        self._count = 0
        self._parser.feed_data(_BEFORE_CHUNKS)
        self._count = fields

    def receive(self, data: bytes | memoryview) -> Progress:
        """Take a packet, and hand on what it brings, whether or not the rest of it is sound."""
        parser, parts = self._parser, self._parts
        if parser is None:
            return "unclean"
        try:
            parser.feed_data(data)
        except HttpParserError:
            if not self._is_complete:
                raise
            self._second = True
        finally:
            if parts:
                self._silent = 0
                self._response.on_body(parts[0] if len(parts) == 1 else b"".join(parts))
                parts.clear()
            else:
                self._silent += len(data)
        if self._is_complete:
            return self._judge(bytes(data[-5:]))
        if self._silent > self._limits.head_bytes:
            raise MalformedResponse("The answer's chunks hold more framing than content.")
        return "more"

    def _judge(self, last: bytes) -> Progress:
        """Judge the end of the body by the last five bytes of its packet, case 2 above."""
        if self._count > self._limits.head_fields:
            raise _too_many(self._limits)
        if self._second:
            return "surplus"
        if len(last) <= len(_EMPTY_LINE):
            return "unclean"
        return "surplus" if last[1:] != _EMPTY_LINE or last[:1] in b"\r\n" else "clean"

    def close(self) -> None:
        """Let go of the parser, which refers back to this."""
        self._parser = None

    # What llhttp calls.

    def on_header(self, _name: bytes, _value: bytes) -> None:
        """Count a trailer."""
        self._count += 1

    def on_message_begin(self) -> None:
        """Refuse a second message behind the first."""
        if self._is_complete:
            raise ValueError("bytes behind a chunked body")

    def on_message_complete(self) -> None:
        """Note the end of the body."""
        self._is_complete = True


def _length(told: Mapping[bytes, bytes]) -> int | None:
    length = told.get(b"content-length")
    if length is None:
        return None
    if not length.isdigit():
        raise MalformedResponse("The answer's length is not clear.")
    return int(length)


def _refuse_codings(fields: Headers) -> bool:
    """Return that the body comes in chunks, and in no other coding.

    Raises:
        MalformedResponse: It does not.
    """
    codings = [value.lower() for name, value in fields if name == b"transfer-encoding"]
    if codings != [b"chunked"]:
        listed = b", ".join(codings).decode("ascii", "replace")
        raise MalformedResponse(f"The answer's transfer coding is not supported: {listed}.")
    return True


def _too_many(limits: ClientLimits) -> MalformedResponse:
    return MalformedResponse(f"The answer has more than {limits.head_fields} fields.")
