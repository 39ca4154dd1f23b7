"""One request and its answer over ASGI, down to the connection where a fault needs it."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, MutableMapping
from typing import Any, Protocol, cast, final

import msgspec

from headworks.simulator import problems
from headworks.simulator.config import Ending
from headworks.simulator.fields import is_map
from headworks.simulator.nesting import is_too_deep

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]
Headers = Mapping[str, str] | Iterable[tuple[str, str]]
"""Fields of a head; as pairs, one name may come twice."""

CONNECTION = "simulator.connection"
"""The ASGI extension under which a server lends its connection."""

_decode = msgspec.json.Decoder().decode
_BAD_CHUNK = b"zz\r\nthis is no chunk\r\n"


def pairs(headers: Headers) -> Iterable[tuple[str, str]]:
    """Return the fields of a head as pairs."""
    if isinstance(headers, Mapping):
        return cast("Mapping[str, str]", headers).items()
    return headers


class Connection(Protocol):
    """A connection as faults need it."""

    def write(self, data: bytes) -> None:
        """Send bytes as they are, whatever the protocol says."""
        ...

    def close(self) -> None:
        """Send what is written, then end the connection."""
        ...

    def reset(self) -> None:
        """Drop the connection so that the other side sees a reset."""
        ...


class Wire(Connection, Protocol):
    """What our own server lends: the request is here whole, and its answer goes out directly.

    The server cancels the application's task when the client leaves.

    Attributes:
        content: The body.
        is_gone: Whether the client has left.
        is_early: Whether the body is still on its way; it will be thrown away.
        is_too_large: Whether the body was longer than the server takes; it is then thrown away.
    """

    content: bytes
    is_gone: bool
    is_early: bool
    is_too_large: bool

    def head(self, status: int, headers: Headers) -> bytes:
        """Return the head of the answer, and learn from it how the body's end is told."""
        ...

    def start(self, head: bytes, *, hold: bool) -> None:
        """Send the head, on hold with the first part of the body."""
        ...

    def send(self, data: bytes, *, more: bool) -> Awaitable[None] | None:
        """Send a part of the body; what is returned must be awaited, and waits for slow readers."""
        ...


class Gone(Exception):
    """The connection has ended, by the client or by a fault."""


@final
class Exchange:
    """Reads one request, and writes its answer or what a fault leaves of it."""

    __slots__ = (
        "_has_begun",
        "_lent",
        "_receive",
        "_send",
        "_wire",
        "content",
        "headers",
        "method",
        "path",
        "query",
    )

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._receive, self._send = receive, send
        extensions = scope.get("extensions")
        self._lent: Connection | None = extensions.get(CONNECTION) if extensions else None
        self._wire = cast("Wire", self._lent) if hasattr(self._lent, "is_gone") else None
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.query: bytes = scope.get("query_string", b"")
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        self.content, self._has_begun = b"", False

    @property
    def is_early(self) -> bool:
        """Whether the answer begins before the request's body is read."""
        return self._wire is not None and self._wire.is_early

    async def read(self, most: int | None = None) -> None:
        """Take in the whole request body, or raise `Gone`.

        Raises:
            Refusal: It is longer than `most` bytes, or than the server takes.
        """
        if self._wire is not None:
            self.content = self._wire.content
            if self._wire.is_too_large:
                raise problems.too_large()
            return
        parts: list[bytes] = []
        more, size = True, 0
        while more:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise Gone
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if most is not None and size > most:
                raise problems.too_large()
            more = message.get("more_body", False)
        self.content = b"".join(parts)

    def fields(self) -> dict[str, Any]:
        """Return the JSON object in the body, or raise its refusal."""
        kind = self.headers.get(b"content-type", b"").decode("latin-1")
        if kind.partition(";")[0].strip().lower() != "application/json":
            raise problems.wrong_type(kind)
        try:
            fields = _decode(self.content)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
            raise problems.not_json() from None
        if not is_map(fields) or is_too_deep(self.content):
            raise problems.not_json()
        return fields

    async def start(self, status: int, headers: Headers, *, hold: bool = False) -> None:
        """Send the head; one that is on hold goes with the first part of the body."""
        self._has_begun = True
        if self._wire is not None:
            self._wire.start(self._wire.head(status, headers), hold=hold)
            return
        listed = [(n.encode(), v.encode("latin-1", "replace")) for n, v in pairs(headers)]
        await self._send({"type": "http.response.start", "status": status, "headers": listed})

    def head(self, status: int, headers: Headers) -> bytes:
        """Return the head as bytes, to be sent by `raw`. Needs our own server."""
        if self._wire is None:
            raise problems.no_connection()
        self._has_begun = True
        return self._wire.head(status, headers)

    def post(self, data: bytes, *, more: bool = True) -> Awaitable[None] | None:
        """Send a part of the body, the last one without `more`; await what is returned, if any."""
        if self._wire is not None:
            return self._wire.send(data, more=more)
        return self._send({"type": "http.response.body", "body": data, "more_body": more})

    async def write(self, data: bytes, *, more: bool = True) -> None:
        """Send a part of the body, the last one without `more`."""
        waiting = self.post(data, more=more)
        if waiting is not None:
            await waiting

    async def answer(self, status: int, content: bytes, headers: Headers) -> None:
        """Send a whole answer."""
        fields = [*pairs(headers), ("content-length", str(len(content)))]
        await self.start(status, fields, hold=True)
        await self.write(content, more=False)

    def raw(self, data: bytes) -> None:
        """Send bytes past all rules of the protocol."""
        self._connection().write(data)

    async def turn(self) -> None:
        """Let the loop send what was written."""
        await asyncio.sleep(0)  # noqa: TID251 - not a wait

    async def break_off(self, how: Ending) -> None:
        """End the answer where it is: cleanly, or with the connection, and then hang."""
        if how in {"clean", "on"}:
            await self.write(b"", more=False)
            return
        if how != "hang":
            await self._break(how)
        await self.hang()

    async def hang(self) -> None:
        """Do nothing. Ends when `while_connected` ends it."""
        await asyncio.get_running_loop().create_future()

    async def while_connected(self, work: Coroutine[Any, Any, None]) -> None:
        """Run `work` to its end, or stop it and raise `Gone` as soon as the client has gone."""
        if self._wire is not None:
            try:
                await work
            except asyncio.CancelledError:
                if not self._wire.is_gone:
                    raise
                raise Gone from None
            return
        worker, watcher = asyncio.create_task(work), asyncio.create_task(self._watch())
        try:
            await asyncio.wait((worker, watcher), return_when=asyncio.FIRST_COMPLETED)
        finally:
            watcher.cancel()
            if not worker.done():
                worker.cancel()
            await asyncio.gather(worker, watcher, return_exceptions=True)
        if worker.cancelled():
            raise Gone
        worker.result()

    async def _break(self, how: Ending) -> None:
        connection = self._connection()
        if how == "bad_chunk":
            connection.write(_BAD_CHUNK)
        await self.turn()
        if how == "rst":
            connection.reset()
        else:
            connection.close()

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass

    def _connection(self) -> Connection:
        if self._lent is not None:
            return self._lent
        if self._has_begun:
            raise RuntimeError("this server lends no connection to break")
        raise problems.no_connection()
