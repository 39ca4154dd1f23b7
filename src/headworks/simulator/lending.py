"""A request as our own server lends it to an exchange: read whole, and answered in bytes."""

import asyncio
import re
from collections.abc import Awaitable
from http import HTTPStatus
from typing import Any, Protocol, final

from headworks.simulator.exchange import CONNECTION, Headers, Message, pairs

PHRASES = {status.value: status.phrase for status in HTTPStatus}
_BODILESS = frozenset({204, 304})
_UNSAFE = re.compile(rb"[\x00\r\n]")


class Carrier(Protocol):
    """What a request needs of its connection.

    Attributes:
        transport: Takes the bytes.
        is_full: Whether the client reads more slowly than it is written to.
    """

    transport: asyncio.Transport
    is_full: bool

    @property
    def date(self) -> bytes:
        """The time as HTTP spells it."""
        ...

    async def wait_writable(self) -> None:
        """Wait until the client has read most of what was written."""
        ...

    def reset(self) -> None:
        """Drop the connection so that the other side sees a reset."""
        ...


@final
class Request:
    """One request on a connection, as its exchange borrows it.

    Attributes:
        has_begun: Whether the head of the answer is made.
        keeps: Whether the connection can serve another request after this one.
    """

    __slots__ = (
        "_connection", "_framing", "_has_body", "_head", "_is_read", "content", "has_begun", "is_early", "is_gone",
        "is_too_large", "keeps", "scope",
    )  # fmt: skip

    def __init__(
        self, connection: Carrier, scope: dict[str, Any], *, keeps: bool, is_current: bool
    ) -> None:
        self._connection, self.scope = connection, scope
        self.keeps, self.has_begun, self._is_read = keeps, False, False
        self._framing, self._head = "chunked" if is_current else "close", b""
        self._has_body = scope["method"] != "HEAD"
        self.content, self.is_gone = b"", False
        self.is_early = self.is_too_large = False
        scope["extensions"] = {CONNECTION: self}

    def head(self, status: int, headers: Headers) -> bytes:
        """Return the head of the answer, and learn from it how the body's end is told."""
        lines = [f"HTTP/1.1 {status} {PHRASES.get(status, '')}".encode()]
        lines.append(b"date: " + self._connection.date)
        framing = ""
        for name, value in pairs(headers):
            lines.append(f"{name}: {value}".encode("latin-1", "replace"))
            if name == "content-length":
                framing = framing or "length"
            elif name == "transfer-encoding":
                framing = "chunked"
        if status in _BODILESS:
            self._has_body = False
        elif not framing:
            framing = self._framing
            if framing == "chunked":
                lines.append(b"transfer-encoding: chunked")
        self._framing, self.has_begun = framing, True
        self.keeps = self.keeps and framing != "close"
        if not self.keeps:
            lines.append(b"connection: close")
        return b"\r\n".join([*(_UNSAFE.sub(b" ", line) for line in lines), b"\r\n"])

    def start(self, head: bytes, *, hold: bool) -> None:
        """Send the head, on hold with the first part of the body."""
        if hold:
            self._head = head
        else:
            self._connection.transport.write(head)

    def send(self, data: bytes, *, more: bool) -> Awaitable[None] | None:
        """Send a part of the body; what is returned must be awaited, and waits for slow readers."""
        if not self._has_body:
            data = b""
        elif self._framing == "chunked":
            end = b"" if more else b"0\r\n\r\n"
            data = b"%x\r\n%b\r\n%b" % (len(data), data, end) if data else end
        if self._head:
            data, self._head = self._head + data, b""
        if data:
            self._connection.transport.write(data)
        return self._connection.wait_writable() if self._connection.is_full else None

    def write(self, data: bytes) -> None:
        """Send bytes as they are."""
        self._connection.transport.write(data)

    def close(self) -> None:
        """Send what is written, then end the connection."""
        self._connection.transport.close()

    def reset(self) -> None:
        """Drop the connection so that the other side sees a reset."""
        self._connection.reset()

    async def receive(self) -> Message:
        """Return the body, then wait for the client to leave. For applications without `Exchange`."""
        if not self._is_read:
            self._is_read = True
            return {"type": "http.request", "body": self.content, "more_body": False}
        never: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        return await never

    async def asgi_send(self, message: Message) -> None:
        """Send a part of the answer. For applications without `Exchange`."""
        if message["type"] == "http.response.start":
            fields = [(n.decode("latin-1"), v.decode("latin-1")) for n, v in message["headers"]]
            self.start(self.head(message["status"], fields), hold=False)
            return
        waiting = self.send(message.get("body", b""), more=message.get("more_body", False))
        if waiting is not None:
            await waiting
