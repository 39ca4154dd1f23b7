"""One request and its answer over ASGI, down to the connection where a fault needs it."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping, MutableMapping
from typing import Any, Protocol, final

import msgspec

from headworks.simulator import problems
from headworks.simulator.config import Ending
from headworks.simulator.fields import is_map

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

CONNECTION = "simulator.connection"
"""The ASGI extension under which a server lends its connection."""

_decode = msgspec.json.Decoder().decode


class Connection(Protocol):
    """What a fault does to a connection."""

    def close(self) -> None:
        """Send what is written, then end the connection."""
        ...

    def reset(self) -> None:
        """Drop the connection so that the other side sees a reset."""
        ...


class Gone(Exception):
    """The connection has ended, by the client or by a fault."""


@final
class Exchange:
    """Reads one request, and writes its answer or what a fault leaves of it."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._scope, self._receive, self._send = scope, receive, send
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.query: bytes = scope.get("query_string", b"")
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        self.content = b""

    async def read(self) -> None:
        """Take in the whole request body, or raise `Gone`."""
        parts: list[bytes] = []
        more = True
        while more:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise Gone
            parts.append(message.get("body", b""))
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
        if not is_map(fields):
            raise problems.not_json()
        return fields

    async def start(self, status: int, headers: Mapping[str, str]) -> None:
        """Send the head."""
        listed = [(name.encode(), value.encode()) for name, value in headers.items()]
        await self._send({"type": "http.response.start", "status": status, "headers": listed})

    async def write(self, data: bytes, *, more: bool = True) -> None:
        """Send a part of the body, the last one without `more`."""
        await self._send({"type": "http.response.body", "body": data, "more_body": more})

    async def answer(self, status: int, content: bytes, headers: Mapping[str, str]) -> None:
        """Send a whole answer."""
        await self.start(status, {**headers, "content-length": str(len(content))})
        await self.write(content, more=False)

    async def break_off(self, how: Ending) -> None:
        """End the answer where it is: cleanly, or with the connection, and then hang."""
        if how == "clean":
            await self.write(b"", more=False)
            return
        connection = self._scope.get("extensions", {}).get(CONNECTION)
        if connection is None:
            raise RuntimeError("this ASGI server lends no connection to break")
        await asyncio.sleep(0)  # noqa: TID251 - not a wait: lets the loop write what was sent
        if how == "rst":
            connection.reset()
        else:
            connection.close()
        await self.hang()

    async def hang(self) -> None:
        """Do nothing. Ends when `while_connected` ends it."""
        await asyncio.get_running_loop().create_future()

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def while_connected(self, work: Coroutine[Any, Any, None]) -> None:
        """Run `work` to its end, or stop it and raise `Gone` as soon as the client has gone."""
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
