"""The data plane: an ASGI application that carries every request under /v1/ through the engine."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

from headworks.core.intake import (
    check_coding,
    is_held,
    new_form,
    presented_key,
    read_head,
    read_request,
)
from headworks.engine import Engine
from headworks.errors import (
    InvalidRequest,
    Unauthenticated,
    UploadIncomplete,
    WebSocketUnsupported,
)
from headworks.gateway.exchange import DEPARTURE
from headworks.gateway.pages import Pages
from headworks.gateway.websocket import serve_socket
from headworks.ports import Keys
from headworks.types import Presence, Request, Response, Secret
from headworks.uploads import PassingUpload, Room, begin, too_large

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_BODILESS = frozenset({204, 304})
_NO_PAGES = Pages()
_LONGEST_NUMBER = 20
"""Digits of a content-length; what has more is no length."""
_SHORT = 16 * 1024
"""Bytes of a body that is mostly here with its head."""


def _most_upload() -> int:
    """Return the bytes of OpenAI's own largest file."""
    return 512_000_000


class Gateway:
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
            key = presented_key(scope["headers"])
            request = await self._read(scope, exchange, engine.keys, key)
            exchange.watch(scope)
            async with engine.call(request, key, exchange.presence) as response:
                await exchange.respond(response)
        except Exception as error:
            if isinstance(error, UploadIncomplete) and exchange.presence.is_gone:
                return
            if exchange.has_begun and not exchange.presence.is_gone:
                raise  # too late for an answer: the connection breaks, which says the same
            await exchange.respond(engine.refusal(error))

    async def _read(
        self, scope: Scope, exchange: "_Exchange", keys: Keys, key: Secret | None
    ) -> Request:
        """Return the request; of one by nobody who may call, no more than its head."""
        headers: list[tuple[bytes, bytes]] = scope["headers"]
        told = dict(headers)
        raw: bytes = scope.get("raw_path") or scope["path"].encode()
        path = raw.decode("latin-1")
        if _is_long(told) and not _is_known(keys, key):
            return read_head(scope["method"], path)
        if is_held(told):
            body: bytes | PassingUpload = await exchange.read_body(told, self._max_body())
        else:
            body = await self._begin(path, told, exchange)
        return read_request(scope["method"], path, scope["query_string"], headers, body)

    async def _begin(
        self, path: str, told: Mapping[bytes, bytes], exchange: "_Exchange"
    ) -> bytes | PassingUpload:
        """Return a body that is not JSON, or what carries it on where it is long."""
        most = self._max_upload()
        check_coding(told)
        length = exchange.check(told, most)
        begun, is_all = await begin(exchange.more, most)
        if is_all:
            return begun
        exchange.upload = upload = PassingUpload(
            begun,
            exchange.more,
            self._room,
            most=most,
            length=length,
            form=new_form(path, told),
        )
        return upload


class _Exchange:
    """One request and its response on the ASGI side, with an eye on the caller's presence.

    Attributes:
        has_begun: Whether an answer has begun; `is_over` says that all of it was handed over.
        is_cut: Whether the task was cancelled because its caller has gone.
        has_come: Whether all of the request is here.
        upload: What carries a long body on.
    """

    __slots__ = (
        "_is_watching",
        "_method",
        "_on_departure",
        "_receive",
        "_send",
        "_watcher",
        "has_begun",
        "has_come",
        "is_cut",
        "is_over",
        "presence",
        "task",
        "upload",
    )

    def __init__(self, method: str, receive: Receive, send: Send) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - ASGI applications run in tasks
        self.task: asyncio.Task[Any] = task
        self.has_begun = False
        self.is_over = False
        self.is_cut = self.has_come = False
        self.upload: PassingUpload | None = None
        self.presence = Presence()
        self._method = method
        self._receive = receive
        self._send = send
        self._watcher: asyncio.Task[None] | None = None
        self._is_watching = False
        self._on_departure: Callable[[Callable[[], None] | None], None] | None = None

    def check(self, told: Mapping[bytes, bytes], most: int) -> int | None:
        """Return how long the request says its body is, None where it does not.

        Raises:
            BodyTooLarge: It says that it will have more than `most` bytes.
            InvalidRequest: It does not say how long it is.
            WebSocketUnsupported: The caller wants another protocol.
        """
        said = told.get(b"content-length")
        length = None if said is None else _length(said)
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
        while not self.has_come:
            message = await self._receive()
            if message["type"] != "http.request":
                self.presence.is_gone = True
                raise UploadIncomplete
            self.has_come = not message.get("more_body", False)
            parts.append(message.get("body", b""))
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
        while not (body or self.has_come):
            message = await self._receive()
            if message["type"] != "http.request":
                self.presence.is_gone = True
                raise UploadIncomplete
            body = message.get("body", b"")
            if not message.get("more_body", False):
                self.has_come = True
                if self._is_watching:
                    self._listen()
        return body

    def watch(self, scope: Scope) -> None:
        """From now on notice, once, when the caller hangs up before the end of its call.

        The call is cancelled then, or goes on unheard where its key says so. Our own server tells
        of it; for another one a task listens.
        """
        self._on_departure = scope.get("extensions", {}).get(DEPARTURE)
        if self._on_departure is not None:
            self._on_departure(self._leave)
            return
        self._is_watching = True
        if self.has_come:
            self._listen()

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
        """Stop watching, and forget what was kept of the request."""
        if self.upload is not None:
            self.upload.close()
        self._is_watching = False
        if self._watcher is not None:
            self._watcher.cancel()
        if self._on_departure is not None:
            self._on_departure(None)

    def _tells_length(self, status: int) -> bool:
        """Whether an answer without content has a length of 0, and not one that is unknown here."""
        return self._method != "HEAD" and status not in _BODILESS

    def _listen(self) -> None:
        self._watcher = asyncio.get_running_loop().create_task(self._wait_for_departure())

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


def _is_long(told: Mapping[bytes, bytes]) -> bool:
    """Return whether a body is worth asking for whom it is before it is read."""
    if b"transfer-encoding" in told:
        return True
    length = told.get(b"content-length", b"0")
    return length.isdigit() and int(length[:_LONGEST_NUMBER]) > _SHORT


def _is_known(keys: Keys, key: Secret | None) -> bool:
    try:
        keys.authenticate(key)
    except Unauthenticated:
        return False
    return True


def _length(value: bytes) -> int:
    if not value.isdigit() or len(value) > _LONGEST_NUMBER:
        raise InvalidRequest("content-length must be a number of bytes.")
    return int(value)
