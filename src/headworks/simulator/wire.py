"""A small HTTP/1.1 server under the simulator: fast, and without scruples where a fault needs it.

A request is taken in whole before the application sees it, one task serves it, and the connection
is lent to the application as an ASGI extension. What is wrong with a request is refused in
OpenAI's form; a connection that sent something that is no HTTP is closed after that.
"""

import asyncio
import logging
import socket
import struct
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from email.utils import formatdate
from http import HTTPStatus
from typing import Any, Protocol, cast, final
from urllib.parse import unquote

import httptools
from typing_extensions import override

from headworks.ports import Clock
from headworks.simulator.exchange import Application
from headworks.simulator.lending import PHRASES, Request
from headworks.simulator.problems import Refusal
from headworks.simulator.sockets import Sockets

log = logging.getLogger("headworks.simulator")

_LINGER_RESET = struct.pack("ii", 1, 0)
_MOST_FIELDS = 256 * 1024
"""Bytes of a request's header fields."""
_MOST_WAITING = 64
"""Requests that one connection may send ahead of its answers before it is no longer read."""


class Door(Protocol):
    """Says what happens to clients before their request is read."""

    def refuses(self) -> bool:
        """Return whether a new connection is reset at once."""
        ...

    def answers_early(self, method: str, path: str, headers: Mapping[bytes, bytes]) -> bool:
        """Return whether a request is answered as soon as its head is there."""
        ...


@final
class OpenDoor:
    """Lets everybody in."""

    def refuses(self) -> bool:
        """Return False."""
        return False

    def answers_early(self, method: str, path: str, headers: Mapping[bytes, bytes]) -> bool:  # noqa: ARG002 - the port's
        """Return False."""
        return False


@final
class Settings:
    """What all connections of a server share.

    Attributes:
        connections: Those that are open.
        sockets: Takes WebSocket connections, where there are any; `switched` are those.
        date: The `Date` header's value, at most a second old.
    """

    def __init__(self, application: Application, door: Door, clock: Clock, max_body: int) -> None:
        self.application, self.door, self.max_body = application, door, max_body
        self.sockets: Sockets | None = None
        self.switched: set[asyncio.Transport] = set()
        self.connections: set[Connection] = set()
        self.tasks: set[asyncio.Task[None]] = set()
        self._clock, self._second, self._date = clock, 0, b""

    @property
    def date(self) -> bytes:
        """The time as HTTP spells it."""
        second = int(self._clock.time())
        if second != self._second:
            self._second, self._date = second, formatdate(second, usegmt=True).encode()
        return self._date


@final
class Connection(asyncio.Protocol):
    """One connection: requests one after the other."""

    def __init__(self, settings: Settings, now: Callable[[], float]) -> None:
        self._settings = settings
        self._parser: Any = httptools.HttpRequestParser(self)
        self._waiting: deque[Request] = deque()
        self._reading: Request | None = None
        self._current: Request | None = None
        self._task: asyncio.Task[None] | None = None
        self._writable: asyncio.Future[None] | None = None
        self.is_full, self._is_deaf = False, False
        self._now, self.last_used = now, now()
        self._url, self._fields, self._size = b"", 0, 0
        self._headers: list[tuple[bytes, bytes]] = []
        self._body: list[bytes] = []
        self._status = HTTPStatus.BAD_REQUEST
        self._ends: dict[str, Any] = {}
        self._switch: dict[str, Any] | None = None
        self.transport: asyncio.Transport

    # What the loop calls

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self._settings.connections.add(self)
        names = {"server": "sockname", "client": "peername"}
        self._ends = {key: transport.get_extra_info(name) for key, name in names.items()}
        if self._settings.door.refuses():
            self._is_deaf = True
            self.reset()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._settings.connections.discard(self)
        self._is_deaf, self._parser = True, None  # parser and connection hold each other
        self._waiting.clear()
        self.resume_writing()
        if self._current is not None and self._task is not None:
            self._current.is_gone = True
            self._task.cancel()

    @override
    def data_received(self, data: bytes) -> None:
        if self._is_deaf:
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as end:
            if self._switch is None or self._settings.sockets is None:
                self._stop_reading()
            else:
                self._hand_over(self._settings.sockets, self._switch, data[end.args[0] :])
        except httptools.HttpParserError:
            if self._current is None:
                self.transport.write(_refusal_bytes(self._status))
            self._stop_reading()

    @override
    def pause_writing(self) -> None:
        self.is_full = True

    @override
    def resume_writing(self) -> None:
        self.is_full = False
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)

    # What requests call

    @property
    def date(self) -> bytes:
        """The time as HTTP spells it."""
        return self._settings.date

    @property
    def is_idle(self) -> bool:
        """Whether nothing is asked."""
        return self._current is None

    async def wait_writable(self) -> None:
        """Wait until the client has read most of what was written."""
        self._writable = asyncio.get_running_loop().create_future()
        await self._writable

    def reset(self) -> None:
        """Close with a linger time of zero: TCP then sends RST instead of FIN (RFC 9293, 3.10.5)."""
        wire = self.transport.get_extra_info("socket")
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_RESET)
        self.transport.abort()

    # What the parser calls

    def on_message_begin(self) -> None:
        """Begin a request."""
        self._url, self._fields, self._size = b"", 0, 0
        self._headers, self._body, self._reading = [], [], None

    def on_url(self, url: bytes) -> None:
        """Take a part of the target."""
        self._url += url
        self._count(len(url), HTTPStatus.REQUEST_URI_TOO_LONG)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a field."""
        self._headers.append((name.lower(), value))
        self._count(len(name) + len(value), HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)

    def on_headers_complete(self) -> None:
        """Make the request of its head."""
        method = self._parser.get_method().decode("latin-1")
        raw_path, _, query = self._url.partition(b"?")
        path = raw_path.decode("latin-1")
        version = self._parser.get_http_version()
        scope: dict[str, Any] = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": version,
            "scheme": "http",
            "method": method,
            "path": unquote(path) if "%" in path else path,
            "raw_path": raw_path,
            "query_string": query,
            "root_path": "",
            "headers": self._headers,
            **self._ends,
        }
        keeps, is_current = self._parser.should_keep_alive(), version != "1.0"
        headers = dict(self._headers)
        if self._settings.sockets and headers.get(b"upgrade", b"").lower() == b"websocket":
            self._switch = scope
            return
        self._reading = Request(self, scope, keeps=keeps, is_current=is_current)
        if is_current and headers.get(b"expect", b"").lower() == b"100-continue":
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if self._settings.door.answers_early(method, path, headers):
            self._reading.is_early = True
            self._accept(self._reading)
            self._reading = None

    def on_body(self, body: bytes) -> None:
        """Take a part of the body."""
        request = self._reading
        if request is None:
            return
        self._size += len(body)
        if self._size > self._settings.max_body:
            self._body, request.is_too_large = [], True
            self._accept(request)
            self._reading = None
        else:
            self._body.append(body)

    def on_message_complete(self) -> None:
        """Serve the request."""
        request = self._reading
        if request is not None:
            request.content = self._body[0] if len(self._body) == 1 else b"".join(self._body)
            self._accept(request)
        self._reading, self._body = None, []

    def _count(self, size: int, status: HTTPStatus) -> None:
        self._fields += size
        if self._fields > _MOST_FIELDS:
            self._status = status
            raise ValueError("the head is too large")

    # Requests in their order

    def _accept(self, request: Request) -> None:
        if self._current is None:
            self._serve(request)
            return
        self._waiting.append(request)
        if len(self._waiting) > _MOST_WAITING:
            self.transport.pause_reading()

    def _serve(self, request: Request) -> None:
        self._current = request
        self._task = asyncio.get_running_loop().create_task(self._run(request))
        self._settings.tasks.add(self._task)

    async def _run(self, request: Request) -> None:
        task = self._task
        try:
            await self._settings.application(request.scope, request.receive, request.asgi_send)
        except asyncio.CancelledError:
            request.is_gone = True
        except Refusal as refusal:
            self._fail(request, refusal)
        except Exception:
            log.exception("the application failed")
            self._fail(request, Refusal(500, "The simulator failed.", type="server_error"))
        finally:
            if task is not None:
                self._settings.tasks.discard(task)
            request.scope["extensions"] = {}  # else scope and request hold each other
            self._go_on(request)

    def _fail(self, request: Request, refusal: Refusal) -> None:
        if request.has_begun:
            self.transport.close()
            return
        content = refusal.content
        length = ("content-length", str(len(content)))
        self.transport.write(request.head(refusal.status, [*refusal.headers.items(), length]))
        request.send(content, more=False)

    def _go_on(self, request: Request) -> None:
        """Serve what waits, or close what cannot serve more."""
        self._current, self._task, self.last_used = None, None, self._now()
        if self.transport.is_closing():
            return
        if not request.keeps or (self._is_deaf and not self._waiting):
            self.transport.close()
        elif self._waiting:
            if len(self._waiting) == _MOST_WAITING // 2:
                self.transport.resume_reading()
            self._serve(self._waiting.popleft())

    def _hand_over(self, sockets: Sockets, scope: dict[str, Any], rest: bytes) -> None:
        """Let the connection go on as a WebSocket."""
        settings, transport = self._settings, self.transport
        settings.connections.discard(self)
        settings.switched.add(transport)
        opened = sockets.open(scope, transport, rest)
        if opened is None:
            settings.switched.discard(transport)
        else:
            opened.forget = lambda: settings.switched.discard(transport)

    def _stop_reading(self) -> None:
        """Answer what was asked so far, then close."""
        self._is_deaf = True
        if self._current is None:
            self.transport.close()


def _refusal_bytes(status: int) -> bytes:
    """Return a whole answer to what is no request, after which the connection is closed."""
    messages = {
        414: "The target of the request is too long.",
        431: "The header fields of the request are too large.",
    }
    refusal = Refusal(status, messages.get(status, "This is not a valid HTTP/1.1 request."))
    head: Iterable[tuple[str, object]] = (
        *refusal.headers.items(),
        ("content-length", len(refusal.content)),
        ("connection", "close"),
    )
    lines = "".join(f"{name}: {value}\r\n" for name, value in head)
    return f"HTTP/1.1 {status} {PHRASES[status]}\r\n{lines}\r\n".encode() + refusal.content
