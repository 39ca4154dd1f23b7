"""The data plane: an ASGI application that carries every request under /v1/ through the engine."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

import msgspec
from typing_extensions import override

from headworks.core.intake import (
    check_coding,
    is_held,
    new_form,
    presented_key,
    read_head,
    read_request,
    unread_request,
)
from headworks.engine import Engine
from headworks.errors import Unauthenticated, UploadIncomplete, WebSocketUnsupported
from headworks.gateway.faces import Direct
from headworks.gateway.pages import Pages
from headworks.gateway.websocket import serve_socket
from headworks.gateway.wire import AsgiWire, Receive, Scope, Send, Wire
from headworks.ports import Keys
from headworks.types import Presence, Request, Response, Secret
from headworks.uploads import PassingUpload, Room, begin, too_large

_NO_PAGES = Pages()
_SHORT = 16 * 1024
"""Bytes of a body that is mostly here with its head."""


def _most_upload() -> int:
    """Return the bytes of OpenAI's own largest file."""
    return 512_000_000


class Gateway(Direct):
    """Serves the engine over HTTP. Wrap it in any ASGI middleware you like.

    `engine` is asked for each request, so that a reloaded configuration takes effect at once.
    """

    def __init__(
        self,
        engine: Callable[[], Engine],
        max_body: Callable[[], int],
        max_upload: Callable[[], int] = _most_upload,
        pages: Pages = _NO_PAGES,
    ) -> None:
        """Take what says how many bytes a body may have: JSON, and any other that passes through.

        `pages` are those that may open WebSocket connections.
        """
        self._engine = engine
        self._max_body = max_body
        self._max_upload = max_upload
        self._room = Room()
        self._pages = pages

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one HTTP request or WebSocket connection; end early, without an error, when the caller hangs up."""
        if scope["type"] == "websocket":
            await serve_socket(self._engine(), self._pages, scope, receive, send)
            return
        if scope["type"] != "http":
            raise RuntimeError(f"headworks serves HTTP; it knows no {scope['type']}")
        await self.carry(AsgiWire(scope, receive, send))

    @override
    async def carry(self, exchange: Wire) -> None:
        """Answer a request; end early, without an error, when its caller hangs up."""
        task, engine = asyncio.current_task(), self._engine()
        assert task is not None  # noqa: S101 - ASGI applications run in tasks
        visit = _Visit(exchange, task, Presence())
        try:
            try:
                request, key = self._known(exchange) or await self._read(visit, engine.keys)
                exchange.on_departure(visit.leave)
                async with engine.call(request, key, visit.presence) as response:
                    await visit.respond(response)
            except Exception as error:
                if visit.has_begun and not visit.presence.is_gone:
                    raise  # too late for an answer: the connection breaks, which says the same
                await visit.refuse(engine, error)
        except asyncio.CancelledError:
            if not visit.is_cut or visit.task.uncancel():
                raise  # somebody else wants an end of this
        finally:
            visit.close()

    def _known(self, wire: Wire) -> tuple[Request, Secret | None] | None:
        """Return a short request that is all here, if its head came before on its connection."""
        meaning = wire.head.meaning
        if meaning is None or _is_long(wire) or (body := wire.whole()) is None:
            return None
        most = self._max_body()
        if len(body) > most:
            raise too_large(most)
        opening, key = meaning
        return opening.request(body), key

    async def _read(self, visit: "_Visit", keys: Keys) -> tuple[Request, Secret | None]:
        """Return the request; of one by nobody who may call, no more than its head."""
        head = visit.wire.head
        told = dict(head.fields)
        key = presented_key(head.fields)
        if _is_long(visit.wire) and not _is_known(keys, key):
            return unread_request(head.method, head.path), key
        if is_held(told):
            body = await visit.read_body(told, self._max_body())
            opening = read_head(head.method, head.path, head.query, head.fields)
            head.meaning = opening, key
            return opening.request(body), key
        begun = await self._begin(head.path, told, visit)
        return read_request(head.method, head.path, head.query, head.fields, begun), key

    async def _begin(
        self, path: str, told: Mapping[bytes, bytes], visit: "_Visit"
    ) -> bytes | PassingUpload:
        """Return a body that is not JSON, or what carries it on where it is long."""
        most = self._max_upload()
        check_coding(told)
        length = visit.check(told, most)
        begun, is_all = await begin(visit.more, most)
        if is_all:
            return begun
        visit.upload = upload = PassingUpload(
            begun,
            visit.more,
            self._room,
            most=most,
            length=length,
            form=new_form(path, told),
        )
        return upload


class _Visit(msgspec.Struct, eq=False):
    """One caller with its request, from its coming to its leaving.

    Attributes:
        has_begun: Whether an answer has begun.
        is_cut: Whether the task was cancelled because its caller has gone.
        upload: What carries a long body on.
    """

    wire: Wire
    task: asyncio.Task[Any]
    presence: Presence
    has_begun: bool = False
    is_cut: bool = False
    upload: PassingUpload | None = None
    _has_come: bool = False

    def check(self, told: Mapping[bytes, bytes], most: int) -> int | None:
        """Return how long the request says its body is, None where it does not.

        Raises:
            BodyTooLarge: It says that it will have more than `most` bytes.
            InvalidRequest: It does not say how long it is.
            WebSocketUnsupported: The caller wants another protocol.
        """
        length = self.wire.length
        if length is not None and length > most:
            raise too_large(most)
        if told.get(b"upgrade", b"").lower() == b"websocket":
            raise WebSocketUnsupported
        return length

    async def read_body(self, told: Mapping[bytes, bytes], most: int) -> bytes:
        """Return the whole of the request's body.

        Raises:
            BodyTooLarge: It has, or says it will have, more than `most` bytes.
            CallerError: As `check`; the caller has gone.
        """
        self.check(told, most)
        parts: list[bytes] = []
        size = 0
        while not self._has_come:
            parts.append(await self._next())
            size += len(parts[-1])
            if size > most:
                raise too_large(most)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def more(self) -> bytes:
        """Return the next bytes of the request's body, b"" at its end.

        Raises:
            UploadIncomplete: The caller has gone.
        """
        body = b""
        while not (body or self._has_come):
            body = await self._next()
        return body

    async def _next(self) -> bytes:
        body = await self.wire.read()
        if body is None:
            self.presence.is_gone = True
            raise UploadIncomplete
        self._has_come = not self.wire.more_body
        return body

    def respond(self, response: Response) -> Awaitable[None]:
        """Send the response; wait where the caller reads slower than the answer comes.

        Once the caller is gone, what comes is dropped, up to the call's credit.
        """
        content = response.content
        self.has_begun = True
        if isinstance(content, bytes):
            return self.wire.answer(response.status, response.headers, content)
        return self._stream(response, content)

    async def refuse(self, engine: Engine, error: Exception) -> None:
        """Tell the caller of an error, but not one that has gone in the middle of its request."""
        if not (isinstance(error, UploadIncomplete) and self.presence.is_gone):
            await self.respond(engine.refusal(error))

    async def _stream(self, response: Response, content: AsyncIterator[bytes]) -> None:
        wire, presence = self.wire, self.presence
        await wire.begin(response.status, response.headers)
        async for chunk in content:
            if not presence.is_gone:
                await wire.write(chunk)
            elif not presence.drop(chunk):
                return
        await wire.write(b"", more=False)

    def leave(self) -> None:
        """Take the news that the caller is gone: its call is cancelled, or goes on unheard."""
        if not (self.presence.is_gone or self.presence.leave()):
            self.is_cut = True
            self.task.cancel()

    def close(self) -> None:
        """Stop watching, and forget what was kept of the request."""
        if self.upload is not None:
            self.upload.close()
        self.wire.on_departure(None)


def _is_long(wire: Wire) -> bool:
    """Return whether a body is worth asking for whom it is before it is read."""
    length = wire.length
    return length is None or length > _SHORT


def _is_known(keys: Keys, key: Secret | None) -> bool:
    try:
        keys.authenticate(key)
    except Unauthenticated:
        return False
    return True
