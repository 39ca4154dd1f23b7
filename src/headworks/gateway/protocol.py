"""HTTP/1.1 without room for two readings: uvicorn's httptools protocol, hardened.

Theory. A request that two programs read differently is a way in, so a message is served only if
it can be read in one way (RFC 9112, at its strictest). llhttp finds most faults; what it lets pass
(spaces, versions, target forms, Host, sizes, trailers) is closed here. Three rules carry the rest:

1. A head is gathered whole, looked at, and only then parsed, in a parser of its own. So its size
   is bounded before any work is done on it, and the place where the body begins is known. A head
   that was found good is so when the same bytes come again on its connection, but for the length.
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

from typing_extensions import override
from uvicorn._types import ASGI3Application
from uvicorn.config import Config
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from headworks.core.wire import head_fields
from headworks.errors import CallerError, RequestTimeout
from headworks.gateway.bodies import ChunkedBody
from headworks.gateway.exchange import Exchange, Fields, error_answer
from headworks.gateway.faces import carried_by
from headworks.gateway.heads import (
    REQUEST_LINE,
    BadRequest,
    ExpectationFailed,
    Head,
    HttpLimits,
    Recurring,
    body_length,
    host_fault,
    judge,
    line_fault,
    partial_fault,
    repeats,
    size_fault,
)
from headworks.gateway.lifecycle import Lifecycle
from headworks.gateway.sweep import SlowReader, SlowSender, Sweep
from headworks.gateway.upgrade import SocketProtocol, handshake_fault, is_handshake
from headworks.gateway.worker import Worker

_ONE_TIME = frozenset({b"expect", b"upgrade"})
"""Fields by which a request stands for itself."""

_LINGER_BYTES = 1024 * 1024
"""What a caller may still send after its last answer before the connection is closed on it."""


class HardenedProtocol(HttpToolsProtocol):
    """One connection. A listener makes a subclass with its limits, sweep, sockets and lifecycle."""

    limits: ClassVar[HttpLimits]
    sweep: ClassVar[Sweep]
    sockets: ClassVar[type[SocketProtocol] | None]
    lifecycle: Lifecycle

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, object],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.exchange: Exchange | None = None
        carry = carried_by(cast("ASGI3Application", config.loaded_app))
        self._worker = Worker(self.loop, carry, self.lifecycle, self.tasks)
        self._recurring: Recurring | None = None
        self.written = 0
        self._pending: bytes = b""
        self._scanned, self._skipped = 0, False
        self._mute = self._idle = self._switches = self._keep_alive = self._body_open = False
        self._deadline = math.inf
        self._seen: dict[bytes, bytes] = {}
        self._known_host: bytes | None = None
        self._left: int | None = 0
        self._chunks: ChunkedBody | None = None
        self._lingered = 0
        self._reader = SlowReader(self.limits.write_seconds)
        self._sender = SlowSender(self.limits.body_rate, self.limits.body_grace)

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
        self._forget_chunks()
        self.eof_received()
        self._worker.leave()
        super().connection_lost(exc)

    @override
    def eof_received(self) -> None:
        if self.exchange is not None and not self.exchange.response_complete:
            self.exchange.disconnect()

    @override
    def data_received(self, data: bytes) -> None:
        if self._mute:
            self._lingered += len(data)
            if self._lingered > _LINGER_BYTES:
                self.transport.close()
            return
        self._pending = self._pending + data if self._pending else data
        self._advance()

    def default_fields(self) -> Fields:
        """Return the fields that every answer carries."""
        return self.server_state.default_headers

    def scope_of(self, head: Head, length: int | None) -> dict[str, Any]:
        """Return the ASGI scope of a request that has come on this connection."""
        scope = head.scope(length)
        scope["server"], scope["client"] = self.server, self.client
        scope["state"] = self.app_state.copy()
        return scope

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
        self._mute, self._pending, self._lingered = True, b"", 0
        self._deadline = self.loop.time() + self.limits.linger_seconds
        if not self.transport.is_closing():
            self.flow.resume_reading()
            if self.transport.can_write_eof():
                self.transport.write_eof()

    # The head

    def _take_head(self) -> bool:
        """Serve the next request if its head is here; say whether there may be more to read."""
        data = self._pending
        if self._recurring is not None and (found := self._recurring.find(data)) is not None:
            self._left, begin = found
            self._pending = data[begin:]
            self._serve(self._recurring.head)
            return bool(self._pending)
        if data.startswith(b"\r\n") and not self._skipped:
            self._skipped, self._pending = True, data[2:]
            return True
        end = data.find(b"\r\n\r\n", self._scanned) + 4
        if end < 4:  # noqa: PLR2004 - not found
            return self._wait_for_head(data)
        head, self._pending = data[:end], data[end:]
        line = REQUEST_LINE.match(head)
        if line is None or len(line[2]) > self.limits.target:
            self._refuse(line_fault(head, self.limits) or BadRequest())
        elif (fault := self._parse(head, line)) is not None:
            self._refuse(fault)
        elif self._switches and self.sockets is not None:
            self._switch(head, self.sockets)
        else:
            self._serve_new(head, line)
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
        verdict = judge(head)
        if verdict is None:
            return BadRequest()
        self.headers = head_fields(head)
        self._seen = dict(self.headers)
        if len(self._seen) < len(self.headers) and repeats(self.headers):
            return BadRequest()
        self._keep_alive, upgrade = verdict.keeps_alive, verdict.is_upgrade
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
        return None

    def _switch(self, head: bytes, sockets: type[SocketProtocol]) -> None:
        """Hand the connection to the WebSocket protocol."""
        self.sweep.forget(self)
        self.connections.discard(self)
        self._worker.leave()
        data, self._pending, self._mute = head + self._pending, b"", True
        self.flow.resume_reading()
        sockets(self.config, self.server_state, self.app_state).take_over(self.transport, data)

    def _serve_new(self, data: bytes, line: re.Match[bytes]) -> None:
        """Hand on a request whose head was found good, and know it when it comes again."""
        is_current = line[3] == b"1"
        path, _, query = line[2].partition(b"?")
        head = Head(
            line[1].decode("ascii"),
            path.decode("ascii"),
            query,
            self.headers,
            is_current=is_current,
            keeps_alive=is_current and self._keep_alive,
        )
        is_plain = _ONE_TIME.isdisjoint(self._seen)
        self._recurring = Recurring.of(data, head, self.limits) if is_plain else None
        self._serve(head, expects_continue=is_current and b"expect" in self._seen)

    def _serve(self, head: Head, *, expects_continue: bool = False) -> None:
        """Hand the request to the app."""
        self._scanned, self._skipped = 0, False
        self._deadline, self._idle = math.inf, False
        length, data = self._left, self._pending
        is_whole = length is not None and len(data) >= length
        self._body_open = not is_whole
        if is_whole:
            parts, self._pending, self._left = [data[:length]], data[length:], 0
        else:
            parts = []
            self._sender.begin()
        if length is None:
            self._chunks = ChunkedBody(self._take, self.limits.field_bytes)
        self.exchange = Exchange(
            self,
            head,
            length,
            parts,
            more_body=not is_whole,
            has_news=is_whole,
            keep_alive=head.keeps_alive and not self.lifecycle.draining,
            waiting_for_100_continue=expects_continue,
        )
        self._worker.serve(self.exchange)

    # The body

    def _take_body(self) -> None:
        """Hand the body's bytes to the app."""
        left = len(self._pending) if self._left is None else self._left
        data, self._pending = self._pending[:left], self._pending[left:]
        self._sender.add(len(data))
        if self._chunks is not None:
            self._take_chunks(self._chunks, data)
            return
        self._take(data)
        self._left = left - len(data)
        if not self._left:
            self._end_body()

    def _take_chunks(self, chunks: ChunkedBody, data: bytes) -> None:
        try:
            chunks.feed(data)
        except BadRequest as fault:
            self._refuse(fault)
            return
        if chunks.is_over:
            self._end_body()
            if chunks.is_followed:
                self._leave_after()

    def _take(self, data: bytes) -> None:
        exchange = self.exchange
        if exchange is None or exchange.response_complete or exchange.disconnected:
            return
        exchange.on_body(data)
        if exchange.waits > HIGH_WATER_LIMIT:
            self.flow.pause_reading()

    def _end_body(self) -> None:
        self._body_open = False
        self._forget_chunks()
        if self.exchange is not None:
            self.exchange.on_body_end()

    def _forget_chunks(self) -> None:
        if self._chunks is not None:
            self._chunks.close()
            self._chunks = None

    def _leave_after(self) -> None:
        """Serve nothing behind a chunked request that came in one packet with other bytes."""
        if self.exchange is None or self.exchange.response_complete:
            self.hang_up()
        else:
            self._mute, self.exchange.keep_alive = True, False

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
        return not (waits or self.flow.read_paused) and self._sender.is_slow(elapsed)
