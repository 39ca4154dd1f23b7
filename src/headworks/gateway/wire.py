"""One request and its answer over ASGI, for an application that any server may run."""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Protocol

from headworks.errors import InvalidRequest
from headworks.gateway.faces import DEPARTURE
from headworks.gateway.heads import Head
from headworks.types import Headers

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Leave = Callable[[], None]

BODILESS = frozenset({204, 304})
_LONGEST_NUMBER = 20
"""Digits of a content-length; what has more is no length."""


class Wire(Protocol):
    """One request and its answer, as a server carries them.

    Attributes:
        more_body: Whether some of the request's body is still to come.
    """

    head: Head
    more_body: bool

    @property
    def length(self) -> int | None:
        """Bytes of the request's body, None where its head does not say; may raise `CallerError`."""
        ...

    def whole(self) -> bytes | None:
        """Return the request's body if all of it is here, None if it is not."""
        ...

    async def read(self) -> bytes | None:
        """Return what there is of the body, None when the caller is gone; wait for either."""
        ...

    def on_departure(self, leave: Leave | None) -> None:
        """Call `leave` once when the caller goes before the end; None ends it."""
        ...

    async def begin(self, status: int, fields: Headers) -> None:
        """Take the head of an answer that is written bit by bit."""
        ...

    async def write(self, body: bytes, *, more: bool = True) -> None:
        """Take the next part of the answer's body; it is the last if no `more` follows."""
        ...

    async def answer(self, status: int, fields: Headers, body: bytes) -> None:
        """Take a whole answer. Its length is told, but where HTTP allows no body and there is none."""
        ...


class AsgiWire:
    """A `Wire` over ASGI. Our own server tells of a departure; for another one a task listens."""

    __slots__ = (
        "_is_over",
        "_leave",
        "_receive",
        "_send",
        "_tells",
        "_watcher",
        "head",
        "more_body",
    )

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        raw: bytes = scope.get("raw_path") or scope["path"].encode()
        self.head = Head(
            scope["method"], raw.decode("latin-1"), scope["query_string"], scope["headers"]
        )
        self.more_body = True
        self._receive, self._send = receive, send
        self._is_over = False
        self._leave: Leave | None = None
        self._tells: Callable[[Leave | None], None] | None
        self._tells = scope.get("extensions", {}).get(DEPARTURE)
        self._watcher: asyncio.Task[None] | None = None

    @property
    def length(self) -> int | None:
        """See `Wire`."""
        said = dict(self.head.fields).get(b"content-length")
        if said is None:
            return None
        if not said.isdigit() or len(said) > _LONGEST_NUMBER:
            raise InvalidRequest("content-length must be a number of bytes.")
        return int(said)

    def whole(self) -> bytes | None:
        """Return None: a body has to be asked for."""
        return None

    async def read(self) -> bytes | None:
        """See `Wire`."""
        message = await self._receive()
        if message["type"] != "http.request":
            return None
        self.more_body = message.get("more_body", False)
        self._listen()
        body: bytes = message.get("body", b"")
        return body

    def on_departure(self, leave: Leave | None) -> None:
        """See `Wire`."""
        self._leave = leave
        if self._tells is not None:
            self._tells(None if leave is None else self._depart)
        elif leave is not None:
            self._listen()
        elif self._watcher is not None:
            self._watcher.cancel()

    async def begin(self, status: int, fields: Headers) -> None:
        """See `Wire`."""
        await self._send({"type": "http.response.start", "status": status, "headers": list(fields)})

    async def write(self, body: bytes, *, more: bool = True) -> None:
        """See `Wire`."""
        self._is_over = not more
        message: Message = {"type": "http.response.body", "body": body}
        if more:
            message["more_body"] = True
        await self._send(message)

    async def answer(self, status: int, fields: Headers, body: bytes) -> None:
        """See `Wire`."""
        if body or not (self.head.method == "HEAD" or status in BODILESS):
            fields = (*fields, (b"content-length", b"%d" % len(body)))
        await self.begin(status, fields)
        await self.write(body, more=False)

    def _listen(self) -> None:
        """Listen for a departure, once all of the body is here."""
        if self._leave is not None and self._tells is None and not self.more_body:
            self._watcher = asyncio.get_running_loop().create_task(self._wait_for_departure())

    async def _wait_for_departure(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._depart()

    def _depart(self) -> None:
        leave, self._leave = self._leave, None
        if leave is not None and not self._is_over:
            self._send = _drop
            leave()


async def _drop(_message: Message) -> None:
    """Take a message that nobody would read."""
