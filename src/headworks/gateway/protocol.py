"""HTTP/1.1 without room for two readings: uvicorn's httptools protocol, hardened.

Theory. A request that two programs read differently is a way in, so a message is served only if
it can be read in one way (RFC 9112, at its strictest). llhttp finds most faults; what it lets pass
(spaces, versions, target forms, Host, sizes, trailers) is closed here. Three rules carry the rest:

1. A head is gathered whole, looked at, and only then parsed. So its size is bounded before any
   work is done on it, and the place where the body begins is known.
2. One exchange at a time. Bytes behind a request stay unread until it has been answered, so
   pipelined requests are answered in order, and nothing is served after a refusal. A request that
   arrives in one packet with the end of a *chunked* one is not served: the connection closes, and
   the client sends it again. No client in use pipelines that way.
3. A connection is closed so that its caller can read the last answer: we stop sending, throw away
   what still arrives for a moment, then close (RFC 9112, section 9.6).

A sweep over all connections keeps the time-outs; requests themselves set no timer.
A caller that closes its sending half counts as gone.
"""

import asyncio
import math
import re
from typing import Any, ClassVar, cast

import httptools
from typing_extensions import override
from uvicorn._types import ASGI3Application
from uvicorn.config import Config
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from headworks.errors import CallerError, RequestTimeout
from headworks.gateway.exchange import Exchange, Fields, error_answer
from headworks.gateway.heads import (
    CHUNKS_END,
    REQUEST_LINE,
    BadRequest,
    ExpectationFailed,
    HttpLimits,
    bare_head,
    body_length,
    goes_beyond,
    host_fault,
    http_scope,
    line_fault,
    partial_fault,
    repeats,
    size_fault,
)
from headworks.gateway.lifecycle import Lifecycle
from headworks.gateway.sweep import SlowReader, Sweep
from headworks.gateway.upgrade import SocketProtocol, handshake_fault, is_handshake

_CHUNK_FRAMING = 32
"""Bytes of framing that each chunk may bring; what is beyond counts against `field_bytes`."""

_LINGER_BYTES = 1024 * 1024
"""What a caller may still send after its last answer before the connection is closed on it."""


class HardenedProtocol(HttpToolsProtocol):
    """One connection. A listener makes a subclass with its limits, sweep, sockets and lifecycle."""

    limits: ClassVar[HttpLimits]
    sweep: ClassVar[Sweep]
    sockets: ClassVar[type[SocketProtocol] | None]
    lifecycle: Lifecycle
    on_url = None  # type: ignore[assignment] # the request line is read from the head itself

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, object],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.exchange: Exchange | None = None
        self._app = cast("ASGI3Application", config.loaded_app)
        self.written = 0
        self._pending, self._scanned, self._skipped = b"", 0, False
        self._mute = self._idle = self._switches = False
        self._deadline = math.inf
        self._seen: dict[bytes, bytes] = {}
        self._head_parsed = self._reading_head = False
        self._keep_alive = self._body_open = False
        self._known_host: bytes | None = None
        self._left: int | None = 0
        self._framing_bytes, self._balance, self._tail = 0, 0.0, b""
        self._reader = SlowReader(self.limits.write_seconds)

    # The connection

    @override
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn
        super().connection_made(transport)
        transport.set_write_buffer_limits(high=1, low=0)  # what a slow reader holds is one write
        self._deadline = self.loop.time() + self.limits.head_seconds
        self.sweep.watch(self)

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self.sweep.forget(self)
        self._mute, self._pending = True, b""
        self.eof_received()
        super().connection_lost(exc)

    @override
    def eof_received(self) -> None:
        if self.exchange is not None and not self.exchange.response_complete:
            self.exchange.disconnect()

    @override
    def data_received(self, data: bytes) -> None:
        if self._mute:
            self._framing_bytes += len(data)
            if self._framing_bytes > _LINGER_BYTES:
                self.transport.close()
            return
        self._pending = self._pending + data if self._pending else data
        self._advance()

    def default_fields(self) -> Fields:
        """Return the fields that every answer carries."""
        return self.server_state.default_headers

    def can_drain(self) -> bool:
        """Whether the rest of the request's body is short enough to be read and thrown away."""
        return self._left is not None and self._left <= HIGH_WATER_LIMIT

    @override
    def shutdown(self) -> None:
        """Close when what is in flight has been answered."""
        if self.exchange is None or self.exchange.response_complete:
            self.transport.close()
        else:
            self.exchange.keep_alive = False

    def on_answered(self) -> None:
        """Go on with the connection: the answer is complete."""
        self.server_state.total_requests += 1
        if self.exchange is None or self.transport.is_closing():
            return
        if not self.exchange.keep_alive:
            self.hang_up()
            return
        self._deadline, self._idle = self.loop.time() + self.limits.keep_alive_seconds, True
        self.flow.resume_reading()
        if self._pending:
            self._advance()

    def _advance(self) -> None:
        """Read on as far as the order of answers allows."""
        while self._pending and not self._mute:
            if self._body_open:
                self._take_body()
            elif self.exchange is not None and not self.exchange.response_complete:
                if len(self._pending) > HIGH_WATER_LIMIT:
                    self.flow.pause_reading()
                return
            elif not self._take_head():
                return

    def _refuse(self, error: CallerError) -> None:
        """Answer with an error, then serve nothing more on this connection."""
        answer = error_answer(error, self.default_fields())
        if self.exchange is not None and not self.exchange.response_complete:
            self.exchange.refuse(answer)
        elif not self._body_open:
            self.written += len(answer)
            self.transport.write(answer)
        self._linger()

    def hang_up(self) -> None:
        """Close the connection so that its last answer can still be read."""
        if self._body_open or self._pending:
            self._linger()
        else:
            self.transport.close()

    def _linger(self) -> None:
        """Send nothing more, and close when the caller has, or after a moment."""
        self._mute, self._pending, self._framing_bytes = True, b"", 0
        self._deadline = self.loop.time() + self.limits.linger_seconds
        if not self.transport.is_closing():
            self.flow.resume_reading()
            if self.transport.can_write_eof():
                self.transport.write_eof()

    # The head

    def _take_head(self) -> bool:
        """Serve the next request if its head is here; say whether there may be more to read."""
        data = self._pending
        if data.startswith(b"\r\n") and not self._skipped:
            self._skipped, self._pending = True, data[2:]
            return True
        end = data.find(b"\r\n\r\n", self._scanned) + 4
        if end < 4:  # noqa: PLR2004 - not found
            return self._wait_for_head(data)
        self._scanned, self._skipped = 0, False
        self._deadline, self._idle = math.inf, False
        head, self._pending = data[:end], data[end:]
        line = REQUEST_LINE.match(head)
        if line is None or len(line[2]) > self.limits.target:
            self._refuse(line_fault(head, self.limits) or BadRequest())
        elif (fault := self._parse(head, line)) is not None:
            self._refuse(fault)
        elif self._switches and self.sockets is not None:
            self._switch(head, self.sockets)
        else:
            self._serve(line)
        return True

    def _wait_for_head(self, data: bytes) -> bool:
        if data != b"\r" and (fault := partial_fault(data, self._scanned, self.limits)):
            self._refuse(fault)
        elif self._idle:
            self._idle = False
            self._deadline = self.loop.time() + self.limits.head_seconds
        self._scanned = max(len(data) - 3, 0)
        return False

    def _parse(self, head: bytes, line: re.Match[bytes]) -> CallerError | None:
        """Read the header fields; return what is wrong with the head."""
        if (fault := size_fault(head, line.end(), self.limits)) is not None:
            return fault
        self.headers = []
        self._head_parsed, self._reading_head, upgrade = False, True, False
        try:
            self.parser.feed_data(head)
        except httptools.HttpParserUpgrade:
            upgrade = True
        except httptools.HttpParserError:
            return BadRequest()
        finally:
            self._reading_head = False
        self._seen = dict(self.headers)
        if not self._head_parsed or (len(self._seen) < len(self.headers) and repeats(self.headers)):
            return BadRequest()
        fault = self._understand(is_current=line[3] == b"1", upgrade=upgrade)
        if fault is None and self._switches:
            return handshake_fault(head, self.headers, self._left)
        return fault

    def _understand(self, *, is_current: bool, upgrade: bool) -> CallerError | None:
        """Learn where the body ends; return what is wrong with the fields."""
        seen = self._seen
        host = seen.get(b"host")
        if host is None or host != self._known_host:
            if (fault := host_fault(host, required=is_current)) is not None:
                return fault
            self._known_host = host
        try:
            self._left = body_length(seen, chunks_allowed=is_current)
        except BadRequest as error:
            return error
        if seen.get(b"expect", b"100-continue").lower() != b"100-continue":
            return ExpectationFailed()
        self._switches = upgrade and self.sockets is not None and is_handshake(seen)
        if upgrade:
            self._ignore_upgrade()
        return None

    def _ignore_upgrade(self) -> None:
        """Go on in HTTP/1.1: llhttp takes what follows for another protocol, so start it anew."""
        self.parser = httptools.HttpRequestParser(self)
        if self._left != 0:
            headers, self.headers, self._reading_head = self.headers, [], True
            self.parser.feed_data(bare_head(self._left))
            self.headers, self._reading_head = headers, False

    def _switch(self, head: bytes, sockets: type[SocketProtocol]) -> None:
        """Hand the connection to the WebSocket protocol."""
        self.sweep.forget(self)
        self.connections.discard(self)
        data, self._pending, self._mute = head + self._pending, b"", True
        self.flow.resume_reading()
        sockets(self.config, self.server_state, self.app_state).take_over(self.transport, data)

    def _serve(self, line: re.Match[bytes]) -> None:
        """Hand the request to the app."""
        is_current = line[3] == b"1"
        self._body_open = self._left != 0
        self._balance = self.limits.body_grace * self.limits.body_rate
        self._framing_bytes = 0
        self.scope = cast("Any", http_scope(line, is_current))
        self.scope["server"], self.scope["client"] = self.server, self.client
        self.scope["headers"], self.scope["state"] = self.headers, self.app_state.copy()
        self.exchange = Exchange(
            self.scope,
            self,
            keep_alive=is_current and self._keep_alive and not self.lifecycle.draining,
            more_body=self._body_open,
            expects_continue=is_current and b"expect" in self._seen,
        )
        task = self.loop.create_task(self.exchange.run_asgi(self._app))
        task.add_done_callback(self.tasks.discard)
        self.tasks.add(task)

    # The body

    def _take_body(self) -> None:
        """Hand the body's bytes to the app."""
        left = self._left
        data, self._pending = self._pending[:left], b"" if left is None else self._pending[left:]
        if left is not None:
            self._left = left - len(data)
        else:
            self._tail = (self._tail + data[-CHUNKS_END:])[-CHUNKS_END:]
        self._balance += len(data)
        self._framing_bytes += len(data)
        try:
            self.parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            if self._body_open:
                self._refuse(BadRequest())
            else:
                self._leave_after()
        else:
            if self._framing_bytes > self.limits.field_bytes:
                self._refuse(BadRequest("The framing of the request's body is too large."))
            self._framing_bytes = max(self._framing_bytes, 0)
            if left is None and not self._body_open and goes_beyond(self._tail):
                self._leave_after()

    def _leave_after(self) -> None:
        """Serve nothing behind a chunked request that came in one packet with other bytes."""
        if self.exchange is None or self.exchange.response_complete:
            self.hang_up()
        else:
            self._mute, self.exchange.keep_alive = True, False

    # What the parser calls

    @override
    def on_message_begin(self) -> None:
        if not self._reading_head:
            raise ValueError("bytes behind a chunked body")

    @override
    def on_header(self, name: bytes, value: bytes) -> None:
        if self._reading_head:  # else it is a trailer
            self.headers.append((name.lower(), value.rstrip(b" \t")))

    @override
    def on_headers_complete(self) -> None:
        self._head_parsed = True
        self._keep_alive = self.parser.should_keep_alive()

    def on_chunk_header(self) -> None:
        """Allow each chunk its own framing."""
        self._framing_bytes -= _CHUNK_FRAMING

    @override
    def on_body(self, body: bytes) -> None:
        self._framing_bytes -= len(body)
        cycle = self.exchange
        if cycle is None or cycle.response_complete or cycle.disconnected:
            return
        cycle.body += body
        if len(cycle.body) > HIGH_WATER_LIMIT:
            self.flow.pause_reading()
        cycle.message_event.set()

    @override
    def on_message_complete(self) -> None:
        if self._body_open and self.exchange is not None:
            self._body_open = self.exchange.more_body = False
            self.exchange.message_event.set()

    # Time

    def check(self, now: float, elapsed: float) -> None:
        """Cut the connection if it has used up its time; called at each sweep."""
        waiting = self.transport.get_write_buffer_size()
        if self._reader.is_stalled(self.written, waiting, now):
            self.transport.abort()
        elif self.transport.is_closing():
            return
        elif self._body_open and not self._mute:
            if self._is_slow(elapsed):
                self._refuse(RequestTimeout())
        elif now >= self._deadline:
            if self._pending:
                self._refuse(RequestTimeout())
            else:
                self.transport.close()

    def _is_slow(self, elapsed: float) -> bool:
        """Whether the body comes too slowly; time in which we do not want it is not counted."""
        waits = self.exchange is not None and self.exchange.waiting_for_100_continue
        if waits or self.flow.read_paused:
            return False
        rate = self.limits.body_rate
        most = 4 * self.limits.body_grace * rate
        self._balance = min(self._balance, most) - elapsed * rate
        return self._balance < 0
