"""The data plane: an ASGI application that carries every request under /v1/ through the engine."""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from headworks.core.intake import presented_key, read_request
from headworks.engine import Engine
from headworks.errors import BodyTooLarge, InvalidRequest, WebSocketUnsupported
from headworks.gateway.exchange import DEPARTURE
from headworks.types import Presence, Request, Response

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_BODILESS = frozenset({204, 304})
_LONGEST_NUMBER = 20
"""Digits of a content-length; what has more is no length."""


class _CallerGone(Exception):
    """The caller hung up before its request was complete."""


class Gateway:
    """Serves the engine over HTTP. Wrap it in any ASGI middleware you like.

    `engine` is asked for each request, so that a reloaded configuration takes effect at once.
    """

    def __init__(self, engine: Callable[[], Engine], max_body: Callable[[], int]) -> None:
        self._engine = engine
        self._max_body = max_body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one HTTP request; end early, without an error, when the caller hangs up."""
        if scope["type"] != "http":
            raise RuntimeError(f"headworks serves HTTP; it knows no {scope['type']}")
        exchange = _Exchange(scope["method"], receive, send)
        try:
            await self._answer(self._engine(), scope, exchange)
        except asyncio.CancelledError:
            if not exchange.is_cut or exchange.task.uncancel():
                raise  # somebody else wants an end of this
        finally:
            exchange.close()

    async def _answer(self, engine: Engine, scope: Scope, exchange: "_Exchange") -> None:
        try:
            request = await self._read(scope, exchange)
            exchange.watch(scope)
            key = presented_key(scope["headers"])
            async with engine.call(request, key, exchange.presence) as response:
                await exchange.respond(response)
        except _CallerGone:
            return
        except Exception as error:
            if exchange.has_begun and not exchange.presence.is_gone:
                raise  # too late for an answer: the connection breaks, which says the same
            await exchange.respond(engine.refusal(error))

    async def _read(self, scope: Scope, exchange: "_Exchange") -> Request:
        headers: list[tuple[bytes, bytes]] = scope["headers"]
        content = await exchange.read_body(headers, self._max_body())
        path: bytes = scope.get("raw_path") or scope["path"].encode()
        return read_request(
            scope["method"], path.decode("latin-1"), scope["query_string"], headers, content
        )


class _Exchange:
    """One request and its response on the ASGI side, with an eye on the caller's presence.

    Attributes:
        has_begun: Whether an answer has begun; `is_over` says that all of it was handed over.
        is_cut: Whether the task was cancelled because its caller has gone.
    """

    __slots__ = (
        "_method",
        "_on_departure",
        "_receive",
        "_send",
        "_watcher",
        "has_begun",
        "is_cut",
        "is_over",
        "presence",
        "task",
    )

    def __init__(self, method: str, receive: Receive, send: Send) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - ASGI applications run in tasks
        self.task: asyncio.Task[Any] = task
        self.has_begun = False
        self.is_over = False
        self.is_cut = False
        self.presence = Presence()
        self._method = method
        self._receive = receive
        self._send = send
        self._watcher: asyncio.Task[None] | None = None
        self._on_departure: Callable[[Callable[[], None] | None], None] | None = None

    async def read_body(self, headers: list[tuple[bytes, bytes]], most: int) -> bytes:
        """Return the request's body.

        Raises:
            BodyTooLarge: It has, or says it will have, more than `most` bytes.
            InvalidRequest: It does not say how long it is.
            WebSocketUnsupported: The caller wants another protocol.
        """
        told = dict(headers)
        if _length(told.get(b"content-length", b"0")) > most:
            raise _too_large(most)
        if told.get(b"upgrade", b"").lower() == b"websocket":
            raise WebSocketUnsupported
        parts: list[bytes] = []
        has_more, size = True, 0
        while has_more:
            message = await self._receive()
            if message["type"] != "http.request":
                raise _CallerGone
            has_more = message.get("more_body", False)
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > most:
                raise _too_large(most)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def watch(self, scope: Scope) -> None:
        """From now on notice, once, when the caller hangs up before the end of its call.

        The call is cancelled then, or goes on unheard where its key says so. Our own server tells
        of it; for another one a task listens.
        """
        self._on_departure = scope.get("extensions", {}).get(DEPARTURE)
        if self._on_departure is not None:
            self._on_departure(self._leave)
        else:
            loop = asyncio.get_running_loop()
            self._watcher = loop.create_task(self._wait_for_departure())

    async def respond(self, response: Response) -> None:
        """Send the response; wait where the caller reads slower than the answer comes.

        Once the caller is gone, what comes is dropped, up to the call's credit.
        """
        content = response.content
        headers = list(response.headers)
        if isinstance(content, bytes) and (content or self._tells_length(response.status)):
            headers.append((b"content-length", b"%d" % len(content)))
        self.has_begun = True
        await self._send(
            {"type": "http.response.start", "status": response.status, "headers": headers}
        )
        if isinstance(content, bytes):
            self.is_over = True
            await self._send({"type": "http.response.body", "body": content})
            return
        presence = self.presence
        async for chunk in content:
            if not presence.is_gone:
                await self._send({"type": "http.response.body", "body": chunk, "more_body": True})
            elif not presence.drop(chunk):
                return
        self.is_over = True
        await self._send({"type": "http.response.body", "body": b""})

    def close(self) -> None:
        """Stop watching."""
        if self._watcher is not None:
            self._watcher.cancel()
        if self._on_departure is not None:
            self._on_departure(None)

    def _tells_length(self, status: int) -> bool:
        """Whether an answer without content has a length of 0, and not one that is unknown here."""
        return self._method != "HEAD" and status not in _BODILESS

    async def _wait_for_departure(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._leave()

    def _leave(self) -> None:
        if self.is_over or self.presence.is_gone:
            return
        self._send = _drop
        if not self.presence.leave():
            self.is_cut = True
            self.task.cancel()


async def _drop(_message: Message) -> None:
    """Take a message that nobody would read."""


def _length(value: bytes) -> int:
    if not value.isdigit() or len(value) > _LONGEST_NUMBER:
        raise InvalidRequest("content-length must be a number of bytes.")
    return int(value)


def _too_large(most: int) -> BodyTooLarge:
    return BodyTooLarge(f"The body is larger than the {most:,} bytes that are accepted.")
