"""Bodies in chunks, as they come from callers (RFC 9112, section 7.1)."""

from collections.abc import Callable

import httptools

from headworks.gateway.heads import BadRequest

_BEFORE = b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n"
"""The shortest head that such a body can follow."""

_END = 5
"""Bytes that tell whether such a body ends where they do."""

_FREE = 32
"""Bytes of framing that each chunk may bring; what is beyond counts against `most`."""


class ChunkedBody:
    """One body in a parser of its own; what it holds goes to `take`, piece by piece.

    Attributes:
        is_over: Whether its end has come.
        is_followed: Whether other bytes came behind it in one packet.
    """

    __slots__ = ("_framing", "_most", "_parser", "_tail", "_take", "is_followed", "is_over")

    def __init__(self, take: Callable[[bytes], None], most: int) -> None:
        self._take, self._most = take, most
        self._framing, self._tail = 0, b""
        self.is_over = self.is_followed = False
        self._parser: httptools.HttpRequestParser | None = httptools.HttpRequestParser(self)
        self._parser.feed_data(_BEFORE)

    def feed(self, data: bytes) -> None:
        """Take a packet.

        Raises:
            BadRequest: It is not valid, or there is too much in it besides the body.
        """
        if self._parser is None:
            return
        self._framing += len(data)
        self._tail = (self._tail + data[-_END:])[-_END:]
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            if not self.is_over:
                raise BadRequest from None
            self.is_followed = True
            return
        if self._framing > self._most:
            raise BadRequest("The framing of the request's body is too large.")
        self._framing = max(self._framing, 0)
        self.is_followed = self.is_over and _goes_beyond(self._tail)

    def close(self) -> None:
        """Let go of the parser, which refers back to this. Idempotent."""
        self._parser = None

    # What llhttp calls.

    def on_message_begin(self) -> None:
        """Refuse a second message behind the body."""
        if self.is_over:
            raise ValueError("bytes behind a chunked body")

    def on_chunk_header(self) -> None:
        """Allow each chunk its own framing."""
        self._framing -= _FREE

    def on_body(self, data: bytes) -> None:
        """Hand on a part of a chunk."""
        self._framing -= len(data)
        self._take(data)

    def on_message_complete(self) -> None:
        """Note the end."""
        self.is_over = True


def _goes_beyond(tail: bytes) -> bool:
    """Return whether line ends follow a body in chunks, whose own end is one empty line.

    llhttp skips any of them in silence; whatever follows tells itself.
    """
    return tail[-4:] != b"\r\n\r\n" or tail[:1] in b"\r\n"
