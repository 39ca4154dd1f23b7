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
wrong chunk sizes). Each answer has a framer and a parser of its own, so that none inherits state.
What follows a 101 that was asked for lasts until the connection closes.
"""

from typing import Literal

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from headworks.errors import MalformedResponse
from headworks.upstream.origin import ClientLimits
from headworks.upstream.response import HttpResponse

_FRAMES = frozenset({b"content-length", b"transfer-encoding"})
_EMPTY_LINE = b"\r\n\r\n"
_BEGIN = b"HTTP/1."
_CONTINUE, _SWITCHING_PROTOCOLS, _FIRST_FINAL, _FIRST_INVALID = 100, 101, 200, 600
_WITHOUT_BODY = frozenset({204, 304})

# How the bytes that come next are framed.
_HEAD, _LENGTH, _CHUNKED, _UNTIL_CLOSE = range(4)


Progress = Literal["more", "clean", "unclean", "surplus"]
"""What a packet did to an answer. "more": it goes on. Else it is complete, and "clean": the server
keeps a connection that is at its exact end; "unclean": the connection must not serve again;
"surplus": bytes that nobody asked for came behind it."""


class Framer:
    """Feeds one answer from the bytes of its connection, and finds its end."""

    __slots__ = (
        "_codings",
        "_declared",
        "_fields",
        "_framing",
        "_informational",
        "_is_complete",
        "_keeps_alive",
        "_left",
        "_limits",
        "_no_body",
        "_parser",
        "_partial",
        "_second",
        "_silent",
        "_switches",
        "has_begun",
        "response",
    )

    def __init__(
        self,
        response: HttpResponse,
        limits: ClientLimits,
        *,
        no_body: bool,
        switches: bool = False,
    ) -> None:
        self.response = response
        self.has_begun = False
        self._limits, self._no_body, self._switches = limits, no_body, switches
        self._parser: HttpResponseParser | None = HttpResponseParser(self)
        self._framing = _HEAD
        self._partial = b""
        self._fields: list[tuple[bytes, bytes]] = []
        self._declared: int | None = None
        self._codings: list[bytes] = []
        self._left = self._silent = self._informational = 0
        self._keeps_alive = self._is_complete = self._second = False

    def receive(self, data: memoryview) -> Progress:
        """Take what the connection received, at least one byte.

        Raises:
            MalformedResponse: The bytes are not a valid answer, or one beyond the limits.
        """
        self.has_begun = True
        try:
            if self._framing == _HEAD:
                return self._receive_head(bytes(data))
            return self._receive_body(data)
        except (HttpParserError, HttpParserUpgrade) as error:
            raise MalformedResponse(f"The provider's answer is not valid HTTP: {error}.") from error

    def receive_eof(self) -> bool:
        """Take the connection's end; return whether it completes the answer."""
        return self._framing == _UNTIL_CLOSE

    def close(self) -> None:
        """Let go of the parser, which refers back to this framer."""
        self._parser = None

    # What llhttp calls.

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a field of the head, or of the trailers."""
        name = name.lower()
        self._fields.append((name, value))
        if name in _FRAMES:
            self._take_framing(name, value)

    def _take_framing(self, name: bytes, value: bytes) -> None:
        if name == b"content-length":
            self._declared = int(value)
        else:
            self._codings.append(value.strip().lower())

    def on_headers_complete(self) -> None:
        """Ask llhttp whether the server keeps the connection, while it still knows."""
        if self._framing == _HEAD and self._parser is not None:
            self._keeps_alive = self._parser.should_keep_alive()

    def on_body(self, data: bytes) -> None:
        """Take a part of a chunk."""
        self._silent = 0
        if not self._is_complete:
            self.response.on_body(data)

    def on_message_begin(self) -> None:
        """Note whether this is a second message behind the first."""
        self._second = self._is_complete

    def on_message_complete(self) -> None:
        """Note the end of a chunked body; llhttp calls this after a 1xx head, too."""
        self._is_complete = self._framing == _CHUNKED

    # The head.

    def _receive_head(self, data: bytes) -> Progress:
        parser = self._parser
        while data and parser is not None:
            head, data = self._cut_head(data)
            if not head:
                break
            self._fields, self._codings, self._declared = [], [], None
            self._parse(parser, head)
            self._check_fields()
            status = parser.get_status_code()
            if status >= _FIRST_FINAL or (status == _SWITCHING_PROTOCOLS and self._switches):
                return self._receive_final(status, data)
            self._skip(status)
        return "more"

    def _parse(self, parser: HttpResponseParser, head: bytes) -> None:
        try:
            parser.feed_data(head)
        except HttpParserUpgrade:
            if not self._switches:
                raise

    def _cut_head(self, data: bytes) -> tuple[bytes, bytes]:
        """Return the head up to its empty line, and the rest; two b"" while it is incomplete."""
        searched = 0
        if self._partial:
            searched = max(0, len(self._partial) - len(_EMPTY_LINE) + 1)
            data = self._partial + data
        if data[: len(_BEGIN)] != _BEGIN[: len(data)]:
            raise MalformedResponse("The provider's answer does not begin with HTTP/1.")
        end = data.find(_EMPTY_LINE, searched)
        if (len(data) if end < 0 else end) > self._limits.head_bytes - len(_EMPTY_LINE):
            raise MalformedResponse(
                f"The answer's head is larger than {self._limits.head_bytes} bytes."
            )
        if end < 0:
            self._partial = data
            return b"", b""
        self._partial = b""
        end += len(_EMPTY_LINE)
        return data[:end], data[end:]

    def _check_fields(self) -> None:
        if len(self._fields) > self._limits.head_fields:
            raise MalformedResponse(f"The answer has more than {self._limits.head_fields} fields.")

    def _skip(self, status: int) -> None:
        """Pass over a 1xx answer."""
        self._informational += 1
        if status < _CONTINUE or status == _SWITCHING_PROTOCOLS:
            raise MalformedResponse(f"The provider answered {status}, which nobody asked for.")
        if self._informational > self._limits.informational:
            raise MalformedResponse(
                f"The provider sent more than {self._limits.informational} informational answers."
            )
        if self._codings or self._declared is not None:
            raise MalformedResponse(f"The provider's {status} answer claims a body.")

    def _receive_final(self, status: int, rest: bytes) -> Progress:
        if status >= _FIRST_INVALID:
            raise MalformedResponse(f"The provider answered with the status {status}.")
        if self._codings and self._codings != [b"chunked"]:
            listed = b", ".join(self._codings).decode("ascii", "replace")
            raise MalformedResponse(f"The answer's transfer coding is not supported: {listed}.")
        declared = self._declared
        if status == _SWITCHING_PROTOCOLS and (self._codings or declared is not None):
            raise MalformedResponse("The provider's 101 answer claims a body.")
        if self._no_body or status in _WITHOUT_BODY:
            self._framing, declared = _LENGTH, None
        elif self._codings:
            self._framing = _CHUNKED
        elif declared is None:
            self._framing = _UNTIL_CLOSE
        else:
            self._framing, self._left = _LENGTH, declared
        self.response.on_head(status, tuple(self._fields), declared)
        return self._receive_body(rest)

    # The body.

    def _receive_body(self, data: bytes | memoryview) -> Progress:
        size = len(data)
        if self._framing == _LENGTH:
            left = self._left
            if left and size:
                self.response.on_body(bytes(data[:left]))
            self._left = left - size
            if size < left:
                return "more"
            return "surplus" if size > left else self._end()
        if self._framing == _CHUNKED and size:
            return self._receive_chunks(data)
        if size:
            self.response.on_body(bytes(data))
        return "more"

    def _receive_chunks(self, data: bytes | memoryview) -> Progress:
        parser = self._parser
        if parser is None:
            return "unclean"
        self._silent += len(data)
        try:
            parser.feed_data(data)
        except HttpParserError:
            if not self._is_complete:
                raise
            self._second = True
        self._check_fields()
        if self._is_complete:
            return "surplus" if self._second else self._end_chunks(bytes(data[-5:]))
        if self._silent > self._limits.head_bytes:
            raise MalformedResponse("The answer's chunks hold more framing than content.")
        return "more"

    def _end_chunks(self, last: bytes) -> Progress:
        """Judge the end of a chunked body by the last five bytes of its packet, case 2 above."""
        if len(last) <= len(_EMPTY_LINE):
            return "unclean"
        if last[1:] != _EMPTY_LINE or last[:1] in b"\r\n":
            return "surplus"
        return self._end()

    def _end(self) -> Progress:
        return "clean" if self._keeps_alive else "unclean"
