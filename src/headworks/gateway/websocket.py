"""WebSocket connections on the ASGI side: the handshake through the engine, then its session."""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from functools import partial
from typing import Any

from headworks.core.socket_intake import read_handshake
from headworks.engine import Engine
from headworks.gateway.pages import Pages
from headworks.gateway.upgrade import DRAINING
from headworks.ports import Close
from headworks.session import Opened
from headworks.types import Presence, Response

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_DENIAL = "websocket.http.response"
_LEFT, _NO_CODE, _POLICY = "websocket.disconnect", 1005, 1008
_LONGEST_REASON = 123
_NOT_OURS = (b"sec-websocket-", b"content-", b"connection", b"upgrade", b"transfer-encoding")
"""Fields that the server sends by itself, or that a switch has none of."""


class _CallerGone(Exception):
    """The caller hung up before its connection was open."""


async def serve_socket(
    engine: Engine, pages: Pages, scope: Scope, receive: Receive, send: Send
) -> None:
    """Serve one connection; end early, without an error, when the caller hangs up."""
    caller = CallerPeer(scope, receive, send)
    try:
        await caller.greet()
        await _answer(engine, pages, scope, caller)
    except _CallerGone:
        return
    except asyncio.CancelledError:
        if not caller.is_cut or caller.task.uncancel():
            raise  # somebody else wants an end of this
    finally:
        caller.release()


async def _answer(engine: Engine, pages: Pages, scope: Scope, caller: "CallerPeer") -> None:
    try:
        path: bytes = scope.get("raw_path") or scope["path"].encode()
        fields = [
            (name.lower(), value) for name, value in scope["headers"]
        ]  # not every server does
        request, key = read_handshake(path.decode("latin-1"), scope["query_string"], fields)
        pages.check(dict(fields), key)
        async with engine.call(request, key, caller.presence) as response:
            assert isinstance(response, Opened)  # noqa: S101 - what a handshake is answered with
            await caller.accept(response)
            scope["extensions"].get(DRAINING, _ignore)(response.session.drain)
            await response.session.run(caller, partial(engine.keys.authenticate, key))
    except Exception as error:
        if caller.is_open:
            raise
        await caller.deny(engine.refusal(error))


def _ignore(_drain: Callable[[], None]) -> None:
    """Do without: another server does not tell when it drains."""


class CallerPeer:
    """The caller's end; fulfils `ports.Peer`.

    Attributes:
        is_open: Whether the handshake was answered.
        is_cut: Whether the task was cancelled because its caller has gone.
    """

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - ASGI applications run in tasks
        self.task: asyncio.Task[Any] = task
        self.presence = Presence()
        self.is_open = self.is_cut = False
        self._can_deny = _DENIAL in (scope.get("extensions") or {})
        self._receive, self._send = receive, send
        self._how: Close | None = None
        self._next: asyncio.Task[Message] | None = None

    async def greet(self) -> None:
        """Take the wish for a connection; from then on who leaves cancels what is done for it."""
        if (await self._receive())["type"] != "websocket.connect":
            raise _CallerGone
        self._next = asyncio.ensure_future(self._receive())
        self._next.add_done_callback(self._notice)

    async def accept(self, opened: Opened) -> None:
        """Tell the caller that the connection is open."""
        headers = [field for field in opened.headers if not field[0].startswith(_NOT_OURS)]
        message = {"type": "websocket.accept", "headers": headers}
        self.is_open = True
        await self._send({**message, "subprotocol": opened.subprotocol})

    async def deny(self, response: Response) -> None:
        """Answer the handshake with an error, in HTTP where the server can."""
        self.is_open = True
        if not self._can_deny or not isinstance(response.content, bytes):
            await self._send({"type": "websocket.close", "code": _POLICY})
            return
        kind = "websocket.http.response"
        start = {"status": response.status, "headers": list(response.headers)}
        await self._send({"type": f"{kind}.start", **start})
        await self._send({"type": f"{kind}.body", "body": response.content})

    async def receive(self) -> str | bytes | Close:
        """Return the next message, or how the caller has left."""
        if self._how is not None:
            return self._how
        waiting, self._next = self._next, None
        message = await (self._receive() if waiting is None else waiting)
        if message["type"] != _LEFT:
            said: str | bytes = message["bytes"] if (text := message.get("text")) is None else text
            return said
        self._how = Close(message.get("code") or _NO_CODE, message.get("reason") or "")
        return self._how

    async def send(self, message: str | bytes) -> None:
        """Send a message; wait where the caller takes none."""
        if self._how is None:
            name = "text" if isinstance(message, str) else "bytes"
            await self._quietly({"type": "websocket.send", name: message})

    async def close(self, how: Close) -> None:
        """Say farewell, if the caller has not."""
        if self._how is None:
            self._how = how
            reason = how.reason.encode()[:_LONGEST_REASON].decode("utf-8", "ignore")
            await self._quietly({"type": "websocket.close", "code": how.code, "reason": reason})

    def release(self) -> None:
        """Stop listening."""
        if self._next is not None:
            self._next.cancel()

    async def _quietly(self, message: Message) -> None:
        """Send to a caller who may have gone: then its departure is on its way to us."""
        try:
            await self._send(message)
        except (OSError, RuntimeError):  # the latter behind the server's own farewell
            self._how = Close(_NO_CODE)

    def _notice(self, arrived: "asyncio.Task[Message]") -> None:
        if arrived.cancelled() or self.is_open or arrived.exception() is not None:
            return
        if arrived.result()["type"] == _LEFT and not self.presence.is_gone:
            self.presence.leave()
            self.is_cut = True
            self.task.cancel()
