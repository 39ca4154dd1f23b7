"""A listening socket with the hardened protocol behind it."""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from email.utils import formatdate
from typing import Any

import uvicorn
from uvicorn.server import ServerState

from headworks.errors import ConfigurationError
from headworks.gateway.heads import HttpLimits
from headworks.gateway.lifecycle import Lifecycle
from headworks.gateway.protocol import HardenedProtocol
from headworks.gateway.sweep import Sweep
from headworks.gateway.upgrade import SocketProtocol

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]
"""An ASGI application."""

_BACKLOG = 2048
_LAST_PORT = 0xFFFF
_BUSY = (
    "{setting}: cannot listen on {address}: {reason}; "
    "stop what uses it, or set {setting} to another address"
)
_NOT_SENT: int | None = getattr(socket, "TCP_NOTSENT_LOWAT", None)
_MOST_NOT_SENT = 32_768
"""Bytes that the system may hold of an answer before it sends them; else it takes megabytes of
what a caller does not read. What is on its way does not count, so that nobody is slowed."""
_SETTLE_SECONDS = 5.0
"""How long cancelled requests may take to settle."""
_FLUSH_SECONDS = 1.0
"""How long the last bytes may take to leave once everything has settled."""


def bind(setting: str, address: str) -> socket.socket:
    """Return a socket bound to `host:port`; it does not listen yet.

    Raises:
        ConfigurationError: The address is not valid, or cannot be had; says what to do.
    """
    host, colon, port = address.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() or int(port) > _LAST_PORT:
        raise ConfigurationError(
            [f"{setting}: {address!r} is not host:port; write for example 127.0.0.1:4000"]
        )
    try:
        family, kind, protocol, _, target = socket.getaddrinfo(
            host.removeprefix("[").removesuffix("]") or None,
            int(port),
            type=socket.SOCK_STREAM,
            flags=socket.AI_PASSIVE,
        )[0]
        bound = socket.socket(family, kind, protocol)
    except OSError as error:
        raise ConfigurationError([f"{setting}: {address} cannot be resolved: {error}"]) from error
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if _NOT_SENT is not None:
            bound.setsockopt(socket.IPPROTO_TCP, _NOT_SENT, _MOST_NOT_SENT)
        bound.bind(target)
        bound.listen(_BACKLOG)
        bound.settimeout(0)
    except OSError as error:
        bound.close()
        raise ConfigurationError(
            [_BUSY.format(setting=setting, address=address, reason=error.strerror)]
        ) from error
    return bound


def url_of(bound: socket.socket) -> str:
    """Return where a bound socket is reached."""
    host, port = bound.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _protocol(limits: HttpLimits, lifecycle: Lifecycle, *, sockets: bool) -> type[HardenedProtocol]:
    """Return the protocol class for one server; one without `sockets` ignores who asks for them."""
    attributes = {"limits": limits, "lifecycle": lifecycle, "sweep": Sweep(limits.shortest_wait)}
    kind = type("SocketProtocol", (SocketProtocol,), {"lifecycle": lifecycle}) if sockets else None
    return type("HardenedProtocol", (HardenedProtocol,), {**attributes, "sockets": kind})


class Listener:
    """Accepts connections on a bound socket for one app, until it is drained or closed."""

    def __init__(
        self,
        app: Application,
        bound: socket.socket,
        limits: HttpLimits,
        lifecycle: Lifecycle,
        *,
        max_message: int | None = None,
    ) -> None:
        """Take a socket; one with a `max_message`, in bytes, takes WebSocket connections."""
        self._bound = bound
        self._protocol = _protocol(limits, lifecycle, sockets=max_message is not None)
        self._config = uvicorn.Config(
            app,
            http=self._protocol,
            ws="none",  # the protocol hands connections over by itself
            ws_max_size=max_message or 0,
            ws_per_message_deflate=False,
            lifespan="off",
            interface="asgi3",
            log_config=None,
            log_level="warning",
            access_log=False,
            proxy_headers=False,
            server_header=False,
        )
        self._config.load()
        self._state = ServerState()
        self._server: asyncio.Server | None = None
        self._date: asyncio.TimerHandle | None = None

    async def start(self) -> None:
        """Accept connections from now on."""
        loop = asyncio.get_running_loop()
        self._tell_date(loop)
        self._server = await loop.create_server(
            lambda: self._protocol(self._config, self._state, {}),
            sock=self._bound,
            backlog=_BACKLOG,
        )

    async def drain(self) -> None:
        """Accept nothing more; return when the last connection has ended by itself."""
        self._stop_accepting()
        for connection in tuple(self._state.connections):
            connection.shutdown()
        await self._protocol.sweep.wait_empty()
        if self._state.tasks:
            await asyncio.wait(tuple(self._state.tasks))

    async def close(self) -> None:
        """Cancel what is left, let it settle for a moment, and cut it off. Idempotent."""
        self._stop_accepting()
        if tasks := tuple(self._state.tasks):
            _cancel(tasks)
            await asyncio.wait(tasks, timeout=_SETTLE_SECONDS)
        for connection in tuple(self._state.connections):
            connection.shutdown()
        if self._state.connections:
            empty = asyncio.ensure_future(self._protocol.sweep.wait_empty())
            await asyncio.wait((empty,), timeout=_FLUSH_SECONDS)
            empty.cancel()
        for connection in tuple(self._state.connections):
            connection.transport.abort()
        if self._date is not None:
            self._date.cancel()

    def _stop_accepting(self) -> None:
        if self._server is not None:
            self._server.close()
        self._bound.close()

    def _tell_date(self, loop: asyncio.AbstractEventLoop) -> None:
        """Keep the Date field true to the second (RFC 9110, section 6.6.1)."""
        self._state.default_headers = [(b"date", formatdate(usegmt=True).encode())]
        self._date = loop.call_later(1.0, self._tell_date, loop)


def _cancel(tasks: Iterable[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
