"""Calls from web pages: what browsers ask before one (CORS), and what they must be told after.

It follows the Fetch standard's "CORS protocol". Credentials in its sense (cookies) are never
allowed: headworks knows none. WebSocket connections have rules of their own: see `pages`.
"""

import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

from headworks.config.settings import CorsConfig
from headworks.core.client_tokens import PATH
from headworks.core.intake import presented_key
from headworks.core.memo import remembered
from headworks.engine import Engine
from headworks.gateway.listener import Application, Message, Receive, Send
from headworks.gateway.pages import KeyInBrowser, OriginNotAllowed, is_key
from headworks.gateway.whole import send_whole
from headworks.types import Headers, Response

_METHODS: Final = b"GET, HEAD, POST, PUT, PATCH, DELETE"
_SENT: Final = frozenset(
    {
        "accept",
        "api-key",
        "authorization",
        "content-type",
        "idempotency-key",
        "range",
        "user-agent",
        "x-client-request-id",
    }
)
_SENT_FAMILIES: Final = ("openai-", "x-headworks-", "x-stainless-")
_NAME: Final = re.compile(r"[a-z0-9-]{1,64}")
_ALWAYS_READ: Final = frozenset(
    {
        b"cache-control",
        b"content-language",
        b"content-length",
        b"content-type",
        b"expires",
        b"last-modified",
        b"pragma",
        b"vary",
    }
)
"""Fields that every page may read, and one that is none of its business."""
_ABOUT_ORIGINS: Final = b"access-control-"
_VARY: Final = (b"vary", b"origin")


class Cors:
    """Lets web pages of some origins call an application; others get no answer that they can read.

    `engine` is asked whenever it is needed, as by the gateway.
    """

    def __init__(self, app: Application, engine: Callable[[], Engine], config: CorsConfig) -> None:
        self._app, self._engine = app, engine
        self._allows_keys = config.allows_keys
        self._origins = {origin.encode() for origin in config.origins}
        self._is_open = b"*" in self._origins
        self._always: Headers = () if self._is_open else (_VARY,)
        self._max_age = b"%d" % config.max_age

    def __call__(
        self, scope: MutableMapping[str, Any], receive: Receive, send: Send
    ) -> Awaitable[None]:
        """Serve one request."""
        if scope["type"] != "http":
            return self._app(scope, receive, send)
        fields = dict(scope["headers"])
        origin: bytes | None = fields.get(b"origin")
        allowed = self._allowed(origin)
        if origin is not None:
            if self._is_preflight(scope, fields):
                return send_whole(send, self._preflight(allowed, fields))
            if not self._allows_keys and is_key(presented_key(scope["headers"])):
                answer = self._engine().refusal(KeyInBrowser())
                return send_whole(self._telling(send, allowed), answer)
        return self._app(scope, receive, self._telling(send, allowed))

    def _allowed(self, origin: bytes | None) -> Headers:
        """Return what tells a browser that a page from this origin may read the answer."""
        if origin is None or not (self._is_open or origin in self._origins):
            return self._always
        shown = b"*" if self._is_open else origin
        return (*self._always, (b"access-control-allow-origin", shown))

    def _is_preflight(self, scope: MutableMapping[str, Any], fields: dict[bytes, bytes]) -> bool:
        is_ours = scope["path"].startswith("/v1/") or scope["path"] == PATH
        return (
            is_ours and scope["method"] == "OPTIONS" and b"access-control-request-method" in fields
        )

    def _preflight(self, allowed: Headers, fields: dict[bytes, bytes]) -> Response:
        """Answer a browser that asks whether a page may make a request."""
        if allowed == self._always:
            answer = self._engine().refusal(OriginNotAllowed())
            return Response(answer.status, (*answer.headers, *allowed), answer.content)
        asked = fields.get(b"access-control-request-headers", b"")
        shown = tuple(field for field in allowed if field != _VARY)
        headers = (
            *shown,
            (b"vary", b"origin, access-control-request-headers"),
            (b"access-control-allow-methods", _METHODS),
            (b"access-control-allow-headers", _sendable(asked)),
            (b"access-control-max-age", self._max_age),
        )
        return Response(204, headers, b"")

    def _telling(self, send: Send, allowed: Headers) -> Send:
        """Return what sends an answer that a page may read: with no task or frame of its own."""
        is_read = allowed != self._always

        def telling(message: Message) -> Awaitable[None]:
            if message["type"] == "http.response.start":
                own = [
                    field for field in message["headers"] if not field[0].startswith(_ABOUT_ORIGINS)
                ]
                shown = _readable(tuple([name for name, _ in own])) if is_read else b""
                more = ((b"access-control-expose-headers", shown),) if shown else ()
                message = {**message, "headers": [*own, *allowed, *more]}
            return send(message)

        return telling


@remembered
def _sendable(asked: bytes) -> bytes:
    """Return those of the fields that a page wants to send which it may."""
    names = (name.strip().lower() for name in asked.decode("latin-1").split(","))
    found = [
        name
        for name in dict.fromkeys(names)
        if _NAME.fullmatch(name) and (name in _SENT or name.startswith(_SENT_FAMILIES))
    ]
    return ", ".join(found).encode()


@remembered
def _readable(names: tuple[bytes, ...]) -> bytes:
    """Return the fields of an answer that a page may not read unless it is told so: all others."""
    return b", ".join(dict.fromkeys(name for name in names if name not in _ALWAYS_READ))
