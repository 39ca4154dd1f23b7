"""The caller's end of WebSocket connections (RFC 6455): who may switch, and what happens then.

The handshake is judged by our own rules before the connection leaves HTTP. Frames are uvicorn's and
its library's: one message waits for the application at a time, and while one does nothing more is
read; pings are answered, and sent, so that who is gone without a word is noticed.

What a caller can make us keep is bounded here: bytes from before the connection is open, pieces of
one message, pings in a row, and what it does not take of our answers.
"""

import asyncio
import base64
import binascii
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, cast

from typing_extensions import override
from uvicorn._types import ASGI3Application, ASGISendEvent
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame

from headworks.errors import CallerError
from headworks.gateway.heads import BadRequest, HeaderFieldsTooLarge
from headworks.gateway.lifecycle import Lifecycle

_log = logging.getLogger("headworks.gateway")

DRAINING = "headworks.draining"
"""Names the extension by which an app is told that it shall end its connections."""

_ONCE = (b"sec-websocket-key", b"sec-websocket-version", b"upgrade")
_KEY_BYTES = 16
_LONGEST_LINE = 8000
"""Bytes of a line: the library reads no longer ones."""
_GOING_AWAY, _POLICY, _TOO_BIG, _FAILED = 1001, 1008, 1009, 1011
_MOST_EARLY = 64 * 1024
"""Bytes that may come before the connection is open; no client in use sends any."""
_SLICE = 16 * 1024
"""Bytes that are read before it is looked at what they were."""
_MOST_PIECES = 4096
"""Frames that one message may come in: 4 KB each, if it is as large as may be."""
_MOST_PINGS = 100
"""Pings and pongs that may come at once, and how many more each second."""
_PINGS_A_SECOND = 10.0


class UpgradeRequired(CallerError):
    """WebSocket connections are taken in version 13 alone."""

    status, code = 426, "websocket_version"


def is_handshake(seen: Mapping[bytes, bytes]) -> bool:
    """Return whether a head asks for a WebSocket connection."""
    return seen.get(b"upgrade", b"").strip().lower() == b"websocket"


def handshake_fault(
    head: bytes, fields: Iterable[tuple[bytes, bytes]], body: int | None
) -> CallerError | None:
    """Say what is wrong with an opening handshake (RFC 6455, section 4.2.1)."""
    names = [name for name, _ in fields]
    seen = dict(fields)
    line = head.partition(b"\r\n")[0]
    if not (line.startswith(b"GET ") and line.endswith(b" HTTP/1.1")) or body != 0:
        return BadRequest(
            "A WebSocket connection is asked for by GET, in HTTP/1.1, without a body."
        )
    if seen.get(b"sec-websocket-version", b"").strip() != b"13":
        return UpgradeRequired()
    is_once = all(names.count(name) == 1 for name in _ONCE)
    if not (is_once and _is_key(seen.get(b"sec-websocket-key", b"").strip())):
        return BadRequest("sec-websocket-key must come once, and be 16 bytes in base64.")
    if max(map(len, head.split(b"\r\n"))) > _LONGEST_LINE:
        return HeaderFieldsTooLarge()
    return None


def _is_key(value: bytes) -> bool:
    try:
        return len(base64.b64decode(value, validate=True)) == _KEY_BYTES
    except binascii.Error:
        return False


class SocketProtocol(WebSocketsSansIOProtocol):
    """One connection that has left HTTP. Made by a `HardenedProtocol`."""

    lifecycle: ClassVar[Lifecycle]

    def take_over(self, transport: asyncio.Transport, data: bytes) -> None:
        """Go on with a connection on which so much has been read, the handshake first."""
        self._drain: Callable[[], None] | None = None
        self._is_draining = False
        self._early = b""
        self._pings, self._pinged = 0.0, self.loop.time()
        transport.set_protocol(self)
        self.connection_made(transport)
        head, end, early = data.partition(b"\r\n\r\n")
        super().data_received(head + end)
        self.data_received(early)

    @override
    def data_received(self, data: bytes) -> None:
        """Take what comes, a little at a time; what comes before the connection is open waits."""
        if not self.handshake_complete:
            self._early += data
            if len(self._early) > _MOST_EARLY:
                self.transport.abort()
            return
        for begin in range(0, len(data), _SLICE):
            if self.transport.is_closing():
                return
            super().data_received(data[begin : begin + _SLICE])

    @override
    async def send(self, message: ASGISendEvent) -> None:
        """Send a message; behind the one that opens the connection read what has come early."""
        await super().send(message)
        if self._early and self.handshake_complete:
            early, self._early = self._early, b""
            self.data_received(early)

    @override
    def handle_cont(self, event: Frame) -> None:
        """Take another piece of a message."""
        if len(self.frames) < _MOST_PIECES:
            super().handle_cont(event)
        else:
            self._break(_TOO_BIG, "a message in too many pieces")

    @override
    def handle_ping(self) -> None:
        """Answer a ping, which the library has done already: what it says goes out."""
        self._count_ping()
        super().handle_ping()

    @override
    def handle_pong(self, event: Frame) -> None:
        """Take a pong, whether or not it is the one that is waited for."""
        self._count_ping()
        super().handle_pong(event)

    @override
    def keepalive_timeout(self) -> None:
        """Leave a caller who does not answer; what it has not taken it will not take either."""
        super().keepalive_timeout()
        if self.transport.get_write_buffer_size():
            self.transport.abort()

    def _count_ping(self) -> None:
        now = self.loop.time()
        fewer = (now - self._pinged) * _PINGS_A_SECOND
        self._pings, self._pinged = max(0.0, self._pings - fewer) + 1, now
        if self._pings > _MOST_PINGS:
            self._break(_POLICY, "too many pings")

    def _break(self, code: int, reason: str) -> None:
        """End the connection, whose caller does what no client in use does."""
        self.frames = []
        if not self.close_sent:
            self.conn.fail(code, reason)
            self.handle_parser_exception()

    @override
    def shutdown(self) -> None:
        """Ask the application to end the connection when it can."""
        self._is_draining = True
        if self._drain is not None:
            self._drain()

    @override
    async def run_asgi(self) -> None:
        """Run the application to its end; the connection then closes."""
        lifecycle = self.lifecycle
        lifecycle.in_flight += 1
        scope = cast("dict[str, Any]", self.scope)
        scope["extensions"][DRAINING] = self._on_drain
        try:
            await cast("ASGI3Application", self.config.loaded_app)(
                self.scope, self.receive, self.send
            )
        except asyncio.CancelledError:
            self._leave(_GOING_AWAY)
            raise
        except Exception:  # noqa: BLE001 - whatever it is, the caller hears of an end
            _log.exception("the application failed")
            self._leave(_FAILED)
        finally:
            scope["extensions"] = {}  # else scope and protocol hold each other
            lifecycle.in_flight -= 1
            lifecycle.finished += 1
            if not self.writable.is_set():
                self.transport.abort()  # nobody takes what waits, so nothing more can be said
            elif self.close_timer is None:
                self.transport.close()

    def _on_drain(self, drain: Callable[[], None]) -> None:
        self._drain = drain
        if self._is_draining:
            drain()

    def _leave(self, code: int) -> None:
        """Say farewell, or that the handshake failed."""
        if not self.handshake_complete:
            self.send_500_response()
        elif not self.close_sent and not self.transport.is_closing():
            self.conn.send_close(code)
            self.transport.write(b"".join(self.conn.data_to_send()))
