"""Carries requests through an ASGI application in this process, broken connections included."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, final

from headworks.simulator.exchange import CONNECTION, Application, Message
from headworks.types import Headers, Presence, Request, Response, Secret


@final
class ApplicationCarrier:
    """Stands where the in-process face expects an engine."""

    def __init__(self, application: Application) -> None:
        self._application = application

    @asynccontextmanager
    async def call(
        self,
        request: Request,
        key: Secret | None,  # noqa: ARG002 - it is among the request's headers, as it was sent
        presence: Presence | None = None,  # noqa: ARG002 - a provider's work ends with its caller
    ) -> AsyncGenerator[Response]:
        """Let the application answer; it learns of it when the block is left early."""
        visit = _Visit(request.content)
        scope = {
            "type": "http",
            "method": request.method,
            "path": request.path,
            "query_string": request.query,
            "headers": list(request.headers),
            "extensions": {CONNECTION: visit},
        }
        serving = asyncio.create_task(visit.serve(self._application, scope))
        try:
            status, headers = await visit.head()
            yield Response(status, headers, visit.chunks())
        finally:
            visit.leave()
            await serving

    def refusal(self, error: Exception) -> Exception:
        """Return the error itself: there is nobody here to answer but the application."""
        return error


@final
class _Visit:
    """One request and its answer, and the connection between them."""

    def __init__(self, content: bytes) -> None:
        self._request: list[Message] = [
            {"type": "http.request", "body": content, "more_body": False}
        ]
        self._answer: asyncio.Queue[Message | None] = asyncio.Queue()
        self._left = asyncio.Event()
        self._fault: Exception | None = None

    async def serve(self, application: Application, scope: dict[str, Any]) -> None:
        """Run the application to its end."""
        try:
            await application(scope, self._receive, self._answer.put)
        except Exception as error:  # noqa: BLE001 - the client's to raise, as a broken connection
            self._fault = self._fault or error
        self._answer.put_nowait(None)

    async def head(self) -> tuple[int, Headers]:
        """Wait for the head, or raise what came instead."""
        message = await self._next()
        if message is None:
            raise ConnectionResetError("The connection was closed before an answer came.")
        return message["status"], tuple(message["headers"])

    async def chunks(self) -> AsyncGenerator[bytes]:
        """Yield the body, up to its end or the break of the connection."""
        more = True
        while more:
            message = await self._next()
            if message is None:
                raise ConnectionResetError("The connection was closed in mid-answer.")
            if message["body"]:
                yield message["body"]
            more = message.get("more_body", False)

    def leave(self) -> None:
        """Close the connection from the client's side."""
        self._left.set()

    def write(self, data: bytes) -> None:
        """Break the protocol: whatever is sent past it, no client could read on."""
        self._break(ConnectionResetError(f"The server sent {len(data)} bytes past the protocol."))

    def close(self) -> None:
        """Close the connection from the server's side."""
        self._break(ConnectionResetError("The connection was closed in mid-answer."))

    def reset(self) -> None:
        """Reset the connection from the server's side."""
        self._break(ConnectionResetError("The connection was reset."))

    def _break(self, fault: Exception) -> None:
        self._fault = self._fault or fault
        self._answer.put_nowait(None)

    async def _next(self) -> Message | None:
        message = await self._answer.get()
        if message is None and self._fault is not None:
            raise self._fault
        return message

    async def _receive(self) -> Message:
        if self._request:
            return self._request.pop()
        await self._left.wait()
        return {"type": "http.disconnect"}
