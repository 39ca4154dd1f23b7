"""One request on a connection and its answer, as an application is given them."""

import asyncio
import http
import logging
from collections.abc import Callable, Iterable
from operator import itemgetter
from typing import Any, Protocol

import msgspec
from typing_extensions import override
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from headworks.core.memo import remembered
from headworks.core.wire import message_head, refuse_breaks
from headworks.errors import CallError
from headworks.gateway.heads import Head
from headworks.system import SystemRandom
from headworks.types import Headers

log = logging.getLogger("headworks.gateway")

Fields = Iterable[tuple[bytes, bytes]]

_STATUS_LINE = {status: line[:-2] for status, line in STATUS_LINE.items()}

_LENGTH = frozenset({b"content-length", b"Content-Length"})
_FRAMING = _LENGTH | {b"connection", b"transfer-encoding", b"Connection", b"Transfer-Encoding"}
"""Fields that are ours to send; ASGI has names in lower case, some applications do not."""

_BODILESS = frozenset({204, 304})

_CLOSE = b"connection: close\r\n"

_new_id = SystemRandom().call_id
_name: Callable[[tuple[bytes, bytes]], bytes] = itemgetter(0)
_value: Callable[[tuple[bytes, bytes]], bytes] = itemgetter(1)


class Connection(Protocol):
    """What an exchange needs from the connection that carries it."""

    transport: asyncio.Transport
    flow: FlowControl
    loop: asyncio.AbstractEventLoop
    written: int

    def default_fields(self) -> Fields:
        """Return the fields that every answer carries."""
        ...

    def scope_of(self, head: Head, length: int | None) -> dict[str, Any]:
        """Return the ASGI scope of a request that has come on this connection."""
        ...

    def can_drain(self) -> bool:
        """Whether the rest of the request's body is short enough to be read and thrown away."""
        ...

    def on_answered(self) -> None:
        """Go on with the connection: the answer is complete."""
        ...

    def hang_up(self) -> None:
        """Close the connection so that its last answer can still be read."""
        ...


class Exchange(msgspec.Struct, eq=False):
    """Carries one request to an application and the application's answer back.

    Head and first body bytes leave in one write: the head is held until the app sends body, or
    until the loop comes round again, whichever is first, so that a stream's head is never late.

    Attributes:
        length: Bytes of the request's body, None where its head does not say.
        parts: What has come of it and the app has not taken.
        more_body: Whether some of it is still to come.
        has_news: Whether the app has not been told of the last thing that happened.
        waits: Bytes of `parts` that have come since the request was handed on.
    """

    connection: Connection
    head: Head
    length: int | None
    parts: list[bytes]
    more_body: bool
    has_news: bool
    keep_alive: bool
    waiting_for_100_continue: bool = False
    disconnected: bool = False
    response_started: bool = False
    response_complete: bool = False
    waits: int = 0
    _left: int = 0
    _news: asyncio.Event | None = None
    _head: bytes | None = None
    _flush: asyncio.Handle | None = None
    _framing: bytes = b""
    _sent: bool = False
    _leave: Callable[[], None] | None = None

    @override
    def __repr__(self) -> str:
        """Return its name alone: bodies are nobody's business."""
        return object.__repr__(self)

    def scope(self) -> dict[str, Any]:
        """Return the ASGI scope of the request."""
        return self.connection.scope_of(self.head, self.length)

    # The request's body

    def on_body(self, data: bytes) -> None:
        """Take a part of the body."""
        self.parts.append(data)
        self.waits += len(data)
        self._tell()

    def on_body_end(self) -> None:
        """Note that all of the body is here."""
        self.more_body = False
        self._tell()

    def whole(self) -> bytes | None:
        """Return the request's body if all of it is here, None if it is not."""
        return None if self.more_body or self.disconnected else self._taken()

    async def read(self) -> bytes | None:
        """Return what there is of the body, None when the caller is gone; wait for either."""
        connection = self.connection
        if self.waiting_for_100_continue and not connection.transport.is_closing():
            self.waiting_for_100_continue = False
            if not self.parts and self.more_body and not self.disconnected:
                self._write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if not self.disconnected and not self.response_complete:
            connection.flow.resume_reading()
            await self._wait_for_news()
        return None if self.disconnected or self.response_complete else self._taken()

    async def _wait_for_news(self) -> None:
        if not self.has_news:
            if self._news is None:
                self._news = asyncio.Event()
            await self._news.wait()
        self.has_news = False
        if self._news is not None:
            self._news.clear()

    def _tell(self) -> None:
        self.has_news = True
        if self._news is not None:
            self._news.set()

    def _taken(self) -> bytes:
        parts, self.parts, self.waits = self.parts, [], 0
        return parts[0] if len(parts) == 1 else b"".join(parts)

    # The answer

    async def begin(self, status: int, fields: Fields) -> None:
        """Take the head of an answer that is written bit by bit."""
        if self.connection.flow.write_paused:
            await self._drain()
        if not self.disconnected:
            self._start(status, fields)
            self._flush = self.connection.loop.call_soon(self._send_head)

    async def write(self, body: bytes, *, more: bool = True) -> None:
        """Take the next part of the answer's body; it is the last if no `more` follows."""
        if self.connection.flow.write_paused:
            await self._drain()
        if not self.disconnected:
            self._send_body(body, more=more)

    async def answer(self, status: int, fields: Headers, body: bytes) -> None:
        """Take a whole answer. Its length is told, but where HTTP allows no body and there is none."""
        if self.connection.flow.write_paused:
            await self._drain()
        if self.disconnected:
            return
        told = (*self.connection.default_fields(), *fields)
        form, values = _form(tuple(map(_name, told))), tuple(map(_value, told))
        is_bodiless = status in _BODILESS or self.head.method == "HEAD"
        if is_bodiless or self.more_body or form is None:
            self._start(status, fields, None if is_bodiless and not body else len(body))
            self._send_body(body, more=False)
            return
        refuse_breaks(b"".join(values))
        close = b"" if self.keep_alive else _CLOSE
        framing = b"content-length: %d\r\n%b\r\n" % (len(body), close)
        message = b"".join((STATUS_LINE[status], form % values, framing, body))
        self.response_started = self.response_complete = self._sent = True
        self._write(message)
        self.connection.on_answered()

    async def _drain(self) -> None:
        """Wait until the caller takes what waits for it."""
        if not self.disconnected:
            await self.connection.flow.drain()

    def on_departure(self, leave: Callable[[], None] | None) -> None:
        """Call `leave` when the caller goes before the end; None ends it."""
        self._leave = leave
        if leave is not None:
            self.connection.flow.resume_reading()
            if self.disconnected:
                leave()

    def disconnect(self) -> None:
        """Tell the app that the caller is gone; what it sends from now on is dropped."""
        self.disconnected = True
        self._tell()
        self.connection.flow.resume_writing()  # a caller who takes nothing is not waited for
        if self._leave is not None:
            self._leave()

    def refuse(self, answer: bytes) -> None:
        """Send `answer` in place of the app's, unless a part of that has left already."""
        self._drop_head()
        self.disconnect()
        if not self._sent and not self.connection.transport.is_closing():
            self._sent = True
            self._write(answer)

    def fail(self, error: CallError) -> None:
        """End the exchange with an error answer, or with a broken connection if it is too late."""
        if not self.disconnected and not self.response_complete:
            self.refuse(error_answer(error, self.connection.default_fields()))
            self.connection.hang_up()

    def _start(self, status: int, fields: Fields, length: int | None = None) -> None:
        """Build the head of the answer and hold it."""
        if self.more_body and (self.waiting_for_100_continue or not self.connection.can_drain()):
            self.keep_alive = False
        told = (*self.connection.default_fields(), *fields)
        if not _FRAMING.isdisjoint(dict(told)):
            told, length = self._take_framing(told, length)
        lines = [_STATUS_LINE[status], *map(b": ".join, told)]
        if length is not None:
            lines.append(b"content-length: %d" % length)
        self._frame(lines, length, bodiless=status in _BODILESS or self.head.method == "HEAD")
        if not self.keep_alive:
            lines.append(b"connection: close")
        self._head = message_head(lines)
        self.response_started, self.waiting_for_100_continue = True, False

    def _take_framing(self, told: Headers, length: int | None) -> tuple[Headers, int | None]:
        """Learn what the app says of its body's end; return the other fields, and the length."""
        for name, value in told:
            if name in _LENGTH:
                length = int(value)
            elif name in _FRAMING and name.lower() == b"connection" and b"close" in value.lower():
                self.keep_alive = False
        return tuple(field for field in told if field[0] not in _FRAMING), length

    def _frame(self, lines: list[bytes], length: int | None, *, bodiless: bool) -> None:
        """Decide how the end of the body is told (RFC 9112, section 6.3)."""
        if bodiless:
            self._framing = b"none"
        elif length is not None:
            self._framing, self._left = b"length", length
        elif not self.head.is_current:
            self._framing, self.keep_alive = b"close", False
        else:
            self._framing = b"chunked"
            lines.append(b"transfer-encoding: chunked")

    def _send_body(self, body: bytes, *, more: bool) -> None:
        if self.response_complete:
            raise RuntimeError("the response is complete already")
        content = self._framed(body, more=more)
        if self._head is not None:
            content = self._head + content
            self._drop_head()
        if content:
            self._sent = True
            self._write(content)
        if not more:
            self.response_complete = True
            self._tell()
            self.connection.on_answered()

    def _framed(self, body: bytes, *, more: bool) -> bytes:
        """Return the body's bytes as they go on the wire."""
        framing = self._framing
        if framing == b"length":
            self._left -= len(body)
            if self._left < 0 or (not more and self._left):
                raise RuntimeError("the body is not as long as the response's content-length")
        elif framing == b"chunked":
            end = b"" if more else b"0\r\n\r\n"
            return b"%x\r\n%b\r\n%b" % (len(body), body, end) if body else end
        return b"" if framing == b"none" else body

    def _send_head(self) -> None:
        """Send a head that was held for a whole turn of the loop."""
        head, self._head = self._head, None
        if head is not None and not self.disconnected:
            self._sent = True
            self._write(head)

    def _drop_head(self) -> None:
        self._head = None
        if self._flush is not None:
            self._flush.cancel()
            self._flush = None

    def _write(self, content: bytes) -> None:
        self.connection.written += len(content)
        self.connection.transport.write(content)


@remembered
def _form(names: tuple[bytes, ...]) -> bytes | None:
    """Return the lines of such fields with places for their values, None if some frame the body.

    Answers have the same fields again and again, in the same order.
    """
    if not _FRAMING.isdisjoint(names):
        return None
    refuse_breaks(b"".join(names))
    return b"".join([b"%b: %%b\r\n" % name.replace(b"%", b"%%") for name in names])


def error_answer(error: CallError, fields: Fields = ()) -> bytes:
    """Return a whole HTTP message that tells the error and ends the connection.

    The engine never hears of such a request, so it gets its id, and its line in the log, here.
    """
    body, id_ = msgspec.json.encode(error.body()), _new_id()
    log.info("%s refused: %d %s", id_, error.status, error.code)
    head: list[tuple[bytes, Any]] = [
        *fields,
        (b"x-request-id", id_.encode()),
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
    ]
    if not error.should_retry and error.status != http.HTTPStatus.REQUEST_TIMEOUT:
        head.append((b"x-should-retry", b"false"))
    lines = b"".join(b"%b: %b\r\n" % field for field in head)
    return b"%b%b\r\n%b" % (STATUS_LINE[error.status], lines, body)
