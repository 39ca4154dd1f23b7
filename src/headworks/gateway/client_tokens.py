"""Where an app's backend gets client tokens: `POST /api/client-tokens`, with its key."""

import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final, cast

import msgspec
from typing_extensions import override

from headworks.core.client_tokens import PATH, read_asked
from headworks.core.intake import presented_key
from headworks.core.strict_json import parse_object
from headworks.core.wire import media_type
from headworks.engine import Engine
from headworks.errors import BodyTooLarge, MethodNotAllowed, UnsupportedMediaType
from headworks.gateway.exchange import Exchange
from headworks.gateway.faces import Direct, carried_by, over_asgi
from headworks.gateway.listener import Application, Receive, Send
from headworks.gateway.whole import send_whole
from headworks.stores.keys import SqliteKeys
from headworks.types import Response

_log = logging.getLogger("headworks.gateway")

_MOST_BODY: Final = 65_536
_API: Final = "/v1/"
_JSON: Final = (b"content-type", b"application/json")
_UNKEPT: Final = (b"cache-control", b"no-store")


class TokenDesk(Direct):
    """Mints client tokens; every other request goes on to an application.

    `engine` is asked for each request, as by the gateway.
    """

    def __init__(self, app: Application, engine: Callable[[], Engine], keys: SqliteKeys) -> None:
        self._app, self._engine, self._keys = app, engine, keys
        self._carry_on = carried_by(cast("Any", app))

    @override
    def carry(self, exchange: Exchange) -> Awaitable[None]:
        """Answer a request, or have the application answer it."""
        if exchange.head.path.startswith(_API):
            return self._carry_on(exchange)
        return over_asgi(cast("Any", self), exchange)

    def __call__(self, scope: Any, receive: Receive, send: Send) -> Awaitable[None]:
        """Serve one request."""
        if scope["type"] == "http" and scope["path"] == PATH:
            return self._serve(scope, receive, send)
        return self._app(scope, receive, send)

    async def _serve(self, scope: Any, receive: Receive, send: Send) -> None:
        try:
            answer = await self._mint(scope, receive)
        except Exception as error:  # noqa: BLE001 - whatever it is, the engine knows how to tell it
            answer = self._engine().refusal(error)
        if answer is None:
            return  # its caller is gone
        await send_whole(send, answer, (_UNKEPT,))

    async def _mint(self, scope: Any, receive: Receive) -> Response | None:
        if scope["method"] != "POST":
            told = f"{PATH} does not answer to {scope['method']}; it takes POST."
            raise MethodNotAllowed(told, allowed="POST")
        key = presented_key(scope["headers"])
        self._keys.check_minter(key)  # before anything is read of what it says
        fields = dict(scope["headers"])
        if media_type(fields.get(b"content-type", b"")) != b"application/json":
            raise UnsupportedMediaType("Send the body as JSON: content-type: application/json.")
        content = await _body(receive)
        if content is None:
            return None
        minted = self._keys.mint(key, read_asked(parse_object(content)))
        id_ = self._engine().random.call_id()
        claims = minted.claims
        _log.info(
            "%s minted client token %s by key '%s' for user '%s'",
            id_,
            claims.jti,
            minted.caller.name,
            claims.sub,
        )
        ids = ((b"x-request-id", id_.encode()), (b"x-headworks-call", id_.encode()))
        return Response(200, (_JSON, *ids), msgspec.json.encode(minted.shown()))


async def _body(receive: Receive) -> bytes | None:
    """Return the request's body, None when its caller is gone.

    Raises:
        BodyTooLarge: Nothing that is asked here is so long.
    """
    parts, size, has_more = [b""], 0, True
    while has_more:
        message = await receive()
        if message["type"] != "http.request":
            return None
        has_more = message.get("more_body", False)
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > _MOST_BODY:
            raise BodyTooLarge(f"The body is larger than the {_MOST_BODY:,} bytes accepted here.")
    return b"".join(parts)
