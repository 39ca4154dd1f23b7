"""One request on a connection and its answer: the two callables that an ASGI app is given."""

import asyncio
import http
import logging
from collections.abc import Callable, Iterable
from typing import Any, Protocol, cast

import msgspec
from typing_extensions import override
from uvicorn._types import ASGI3Application, ASGIReceiveEvent, ASGISendEvent, HTTPScope
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

from headworks.core.wire import message_head
from headworks.errors import CallError, InternalError, ShuttingDown
from headworks.gateway.lifecycle import Lifecycle
from headworks.system import SystemRandom

log = logging.getLogger("headworks.gateway")

Fields = Iterable[tuple[bytes, bytes]]

_STATUS_LINE = {status: line[:-2] for status, line in STATUS_LINE.items()}

DEPARTURE = "headworks.departure"
"""Names the extension by which an app is told at once that its caller is gone."""

_NOT_TOLD = frozenset({b"connection", b"transfer-encoding", b"Connection", b"Transfer-Encoding"})
"""Fields that are ours to send; ASGI has names in lower case, some applications do not."""

_FRAMING = _NOT_TOLD | {b"content-length", b"Content-Length"}
"""Fields about the message's end."""

_BODILESS = frozenset({204, 304})

_new_id = SystemRandom().call_id


class Connection(Protocol):
    """What an exchange needs from the connection that carries it."""

    transport: asyncio.Transport
    flow: FlowControl
    loop: asyncio.AbstractEventLoop
    lifecycle: Lifecycle
    written: int

    def default_fields(self) -> Fields:
        """Return the fields that every answer carries."""
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


class Exchange(RequestResponseCycle):
    """Carries one request to an ASGI app and the app's answer back.

    Head and first body bytes leave in one write: the head is held until the app sends body, or
    until the loop comes round again, whichever is first, so that a stream's head is never late.
    """

    def __init__(
        self,
        scope: HTTPScope,
        connection: Connection,
        *,
        keep_alive: bool,
        more_body: bool,
        expects_continue: bool,
    ) -> None:
        self.scope: Any = cast("Any", scope)  # uvicorn's type has no extensions
        self.scope["extensions"] = {DEPARTURE: self.on_departure}
        self.keep_alive = keep_alive
        self.more_body = more_body
        self.waiting_for_100_continue = expects_continue
        self.message_event = asyncio.Event()
        if not more_body:
            self.message_event.set()
        self.body = bytearray()
        self.disconnected = False
        self.response_started = False
        self.response_complete = False
        self.expected_content_length = 0
        self._connection = connection
        self._head: bytes | None = None
        self._flush: asyncio.Handle | None = None
        self._framing: bytes = b""
        self._sent = False
        self._leave: Callable[[], None] | None = None

    @override
    async def run_asgi(self, app: ASGI3Application) -> None:
        """Run the app to its end; an app that fails leaves an error answer or a closed connection."""
        lifecycle = self._connection.lifecycle
        lifecycle.in_flight += 1
        try:
            await app(self.scope, self.receive, self.send)
            if not self.response_complete and not self.disconnected:
                log.error("the application returned without completing its response")
                self.fail(InternalError())
        except asyncio.CancelledError:
            self.fail(ShuttingDown())
            raise
        except Exception:
            log.exception("the application failed")
            self.fail(InternalError())
        finally:
            self.scope["extensions"] = {}  # else scope and exchange hold each other
            lifecycle.in_flight -= 1
            lifecycle.finished += 1

    @override
    async def receive(self) -> ASGIReceiveEvent:
        """Return the next part of the body, or the news that the caller is gone."""
        if self.waiting_for_100_continue and not self._connection.transport.is_closing():
            self.waiting_for_100_continue = False
            if not self.body and self.more_body and not self.disconnected:
                self._write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if not self.disconnected and not self.response_complete:
            self._connection.flow.resume_reading()
            await self.message_event.wait()
            self.message_event.clear()
        if self.disconnected or self.response_complete:
            return {"type": "http.disconnect"}
        body, self.body = bytes(self.body), bytearray()
        return {"type": "http.request", "body": body, "more_body": self.more_body}

    @override
    async def send(self, message: ASGISendEvent) -> None:
        """Take the head of the answer, or the next part of its body."""
        flow = self._connection.flow
        if flow.write_paused and not self.disconnected:
            await flow.drain()
        if self.disconnected:
            return
        if message["type"] == "http.response.body" and self.response_started:
            self._send_body(message.get("body", b""), more=message.get("more_body", False))
        elif message["type"] == "http.response.start" and not self.response_started:
            self._start(message["status"], message.get("headers", ()))
        else:
            raise RuntimeError(f"unexpected ASGI message {message['type']!r}")

    def on_departure(self, leave: Callable[[], None] | None) -> None:
        """Call `leave` when the caller goes before the end: cheaper than a task that receives.

        The app finds this method in `scope["extensions"]` under `DEPARTURE`; None ends it.
        """
        self._leave = leave
        if leave is not None:
            self._connection.flow.resume_reading()
            if self.disconnected:
                leave()

    def disconnect(self) -> None:
        """Tell the app that the caller is gone; what it sends from now on is dropped."""
        self.disconnected = True
        self.message_event.set()
        self._connection.flow.resume_writing()  # a caller who takes nothing is not waited for
        if self._leave is not None:
            self._leave()

    def refuse(self, answer: bytes) -> None:
        """Send `answer` in place of the app's, unless a part of that has left already."""
        self._drop_head()
        self.disconnect()
        if not self._sent and not self._connection.transport.is_closing():
            self._sent = True
            self._write(answer)

    def fail(self, error: CallError) -> None:
        """End the exchange with an error answer, or with a broken connection if it is too late."""
        if not self.disconnected and not self.response_complete:
            self.refuse(error_answer(error, self._connection.default_fields()))
            self._connection.hang_up()

    def _start(self, status: int, fields: Fields) -> None:
        """Build the head of the answer and hold it."""
        if self.more_body and (self.waiting_for_100_continue or not self._connection.can_drain()):
            self.keep_alive = False
        lines = [_STATUS_LINE[status]]
        has_length = False
        told = (*self._connection.default_fields(), *fields)
        named = dict(told)
        for name in _FRAMING & named.keys():
            has_length = self._take_framing(name.lower(), named[name]) or has_length
        if not _NOT_TOLD.isdisjoint(named):
            told = tuple(field for field in told if field[0] not in _NOT_TOLD)
        lines += map(b": ".join, told)
        self._frame(lines, bodiless=status in _BODILESS, has_length=has_length)
        if not self.keep_alive:
            lines.append(b"connection: close")
        self._head = message_head(lines)
        self._flush = self._connection.loop.call_soon(self._send_head)
        self.response_started, self.waiting_for_100_continue = True, False

    def _take_framing(self, name: bytes, value: bytes) -> bool:
        """Learn what the app says of its body's end; return whether it is the length."""
        if name == b"content-length":
            self.expected_content_length = int(value)
            return True
        if name == b"connection" and b"close" in value.lower():
            self.keep_alive = False
        return False

    def _frame(self, lines: list[bytes], *, bodiless: bool, has_length: bool) -> None:
        """Decide how the end of the body is told (RFC 9112, section 6.3)."""
        if bodiless or self.scope["method"] == "HEAD":
            self._framing, self.expected_content_length = b"none", 0
        elif has_length:
            self._framing = b"length"
        elif self.scope["http_version"] == "1.0":
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
            self.message_event.set()
            self._connection.on_answered()

    def _framed(self, body: bytes, *, more: bool) -> bytes:
        """Return the body's bytes as they go on the wire."""
        if self._framing == b"chunked":
            end = b"" if more else b"0\r\n\r\n"
            return b"%x\r\n%b\r\n%b" % (len(body), body, end) if body else end
        if self._framing == b"none":
            return b""
        if self._framing == b"length":
            self.expected_content_length -= len(body)
            if self.expected_content_length < 0 or (not more and self.expected_content_length):
                raise RuntimeError("the body is not as long as the response's content-length")
        return body

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
        self._connection.written += len(content)
        self._connection.transport.write(content)


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
