"""How an application is given a request: as our server has it, or in the messages of ASGI.

ASGI is for any application. One of our own that is `Direct` takes exchanges as they are, which
costs a third. A middleware around it is not `Direct`, and so sees all messages.
"""

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from typing import Any, cast

from uvicorn._types import ASGI3Application, ASGIReceiveEvent, ASGISendEvent

from headworks.gateway.exchange import Exchange

DEPARTURE = "headworks.departure"
"""Names the extension by which an app is told at once that its caller is gone.

It is a function: give it what is to be called then, and None in the end.
"""

Carry = Callable[[Exchange], Awaitable[None]]
"""What has an application answer a request."""


class Direct(ABC):
    """An application that takes exchanges as they are."""

    @abstractmethod
    def carry(self, exchange: Exchange) -> Awaitable[None]:
        """Answer a request; end early, without an error, when its caller hangs up."""


def carried_by(app: ASGI3Application | Direct) -> Carry:
    """Return what has an application answer, by its shortest way."""
    if isinstance(app, Direct):
        return app.carry
    asgi = app

    def carry(exchange: Exchange) -> Awaitable[None]:
        return over_asgi(asgi, exchange)

    return carry


async def over_asgi(app: ASGI3Application, exchange: Exchange) -> None:
    """Have an ASGI application answer a request."""
    scope, face = exchange.scope(), _AsgiFace(exchange)
    scope["extensions"] = {DEPARTURE: exchange.on_departure}
    try:
        await app(cast("Any", scope), face.receive, face.send)
    finally:
        scope["extensions"] = {}  # else scope and exchange hold each other


class _AsgiFace:
    """The two callables that an ASGI application is given."""

    __slots__ = ("_exchange",)

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    async def receive(self) -> ASGIReceiveEvent:
        """Return the next part of the body, or the news that the caller is gone."""
        exchange = self._exchange
        body = await exchange.read()
        if body is None:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": body, "more_body": exchange.more_body}

    async def send(self, message: ASGISendEvent) -> None:
        """Take the head of the answer, or the next part of its body."""
        exchange = self._exchange
        if message["type"] == "http.response.body" and exchange.response_started:
            await exchange.write(message.get("body", b""), more=message.get("more_body", False))
        elif message["type"] == "http.response.start" and not exchange.response_started:
            await exchange.begin(message["status"], message.get("headers", ()))
        elif not exchange.disconnected:
            raise RuntimeError(f"unexpected ASGI message {message['type']!r}")
