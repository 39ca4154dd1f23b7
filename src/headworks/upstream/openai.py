"""Speaks to providers of the OpenAI API: their head fields, our edits, their errors."""

from collections.abc import AsyncGenerator, Awaitable, Mapping
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import quote

from headworks.core.classify import classify
from headworks.core.endpoints import endpoint, waits
from headworks.core.memo import remembered
from headworks.core.naming import renamed, session_model, stands_apart
from headworks.core.realtime import DIALECTS
from headworks.core.streams import wants_usage
from headworks.core.strict_json import edit
from headworks.errors import DeadlineExceeded, MalformedResponse, Retry, UpstreamError
from headworks.ports import Clock, UpstreamResponse
from headworks.types import Headers, Request, Route, Secret, Upload
from headworks.upstream.http1 import HttpClient, HttpResponse, request_head
from headworks.upstream.origin import CHUNKED, end_of_head, open_head
from headworks.upstream.pouring import Body

_MOST_ERROR = 65_536
"""Bytes of an error body that are read; what is longer is not an error message."""
_Opened = tuple[str, str, bytes, str, Headers]
"""What a request's head says apart from its length: one caller sends the same again and again."""
ERROR_WAIT = 2.0
"""Seconds to wait for it: the status says enough."""


@dataclass(frozen=True, slots=True)
class Credential:
    """What the gateway shows to a provider."""

    api_key: Secret
    organization: str | None = None
    project: str | None = None

    def fields(self) -> Headers:
        """Return the head fields that present it."""
        fields = [(b"authorization", b"Bearer " + self.api_key.reveal().encode())]
        if self.organization is not None:
            fields.append((b"openai-organization", self.organization.encode()))
        if self.project is not None:
            fields.append((b"openai-project", self.project.encode()))
        return tuple(fields)


class Provider:
    """One upstream: a pool of connections to its origin, and the credentials for it."""

    def __init__(
        self, client: HttpClient, base_path: str, credentials: Mapping[str, Credential]
    ) -> None:
        self.client = client
        self._host = client.origin.authority
        self._base = base_path.rstrip("/")
        self._fields = {
            name: (*credential.fields(), (b"accept-encoding", b"identity"))
            for name, credential in credentials.items()
        }
        self._keys = {
            name: credential.api_key.reveal().encode() for name, credential in credentials.items()
        }
        self._open_head = remembered(self._opened)

    def shown(self, route: Route) -> bytes:
        """Return the key that the provider is shown."""
        return self._keys[route.credential]

    def send(self, request: Request, route: Route, remaining: float) -> Awaitable[HttpResponse]:
        """Send the request once; return the response whatever its status."""
        path, query = request.path, request.query
        if request.model != route.model and request.model and stands_apart(path):
            path, query = renamed(path, query, route.model)
        content, length = _body(request, route)
        begun = self._open_head((request.method, path, query, route.credential, request.headers))
        timeouts = waits(route.timeouts, request)
        return self.client.send(
            begun + end_of_head(length),
            content,
            timeouts,
            first_byte=timeouts.first_byte if request.stream else timeouts.first_byte_whole,
            total=remaining,
            no_body=request.method == "HEAD",
        )

    def _opened(self, what: _Opened) -> bytes:
        method, path, query, credential, headers = what
        target = self._base + path.removeprefix("/v1")
        if query:
            target += "?" + query.decode("latin-1")
        return open_head(method, target, self._host, (*self._fields[credential], *headers))

    async def open(self, request: Request, route: Route, remaining: float) -> HttpResponse:
        """Ask for a WebSocket connection; return the response whatever its status.

        Raises:
            MalformedResponse: The answer claims success, and opens none.
        """
        from headworks.upstream.websocket import Handshake

        handshake = Handshake()
        target = self._base + request.path.removeprefix("/v1")
        if query := connection_query(request, route):
            target += "?" + query
        fields = (*self._fields[route.credential], *request.headers, *handshake.fields())
        head = request_head("GET", target, self._host, fields, None)
        timeouts = waits(route.timeouts, request)
        wait = timeouts.first_byte
        response = await self.client.open(head, timeouts, first_byte=wait, total=remaining)
        if response.status < 300:  # noqa: PLR2004 - HTTP's own numbers
            try:
                handshake.check(response, request.headers)
            except MalformedResponse:
                await response.aclose()
                raise
        return response


class Providers:
    """All upstreams by name."""

    def __init__(self, providers: Mapping[str, Provider], clock: Clock) -> None:
        self._providers = dict(providers)
        self._clock = clock

    async def send(self, request: Request, route: Route, remaining: float) -> UpstreamResponse:
        """Return a successful answer's head.

        Raises:
            UpstreamError: The provider could not be reached, or answered with an error.
        """
        provider = self._providers[route.upstream]
        sending = provider.open if request.socket else provider.send
        response = await sending(request, route, remaining)
        response.shown = provider.shown(route)
        if response.status < 300 or response.status == 304:  # noqa: PLR2004 - HTTP's own numbers
            return response
        try:
            raise await self._error(response)
        finally:
            await response.aclose()

    async def _error(self, response: HttpResponse) -> UpstreamError:
        if response.status < 400:  # noqa: PLR2004 - HTTP's own numbers
            redirect = MalformedResponse(
                f"The provider answered with a redirect ({response.status}); none is followed."
            )
            redirect.retry, redirect.is_answer = Retry.OTHER_ROUTE, True
            return redirect
        response.hurry(ERROR_WAIT)
        try:
            content = response.masked(await response.read(_MOST_ERROR))
        except (UpstreamError, DeadlineExceeded):
            content = b""
        error = classify(response.status, response.headers, content, now=self._clock.time())
        error.said = response.headers
        return error


def connection_query(request: Request, route: Route) -> str:
    """Return the query of a connection; where it names a model, that of the route."""
    query = request.query.decode("latin-1")
    if DIALECTS[request.path] == "responses" or not request.model:
        return query
    model = "model=" + quote(route.model, safe="")
    return f"{model}&{query}" if query else model


def render(request: Request, route: Route) -> bytes:
    """Return the body as the route needs it: its model, and the usage chunk asked for.

    All other bytes are the caller's own.
    """
    changes: dict[str, Any] = {}
    if request.model and request.model != route.model:
        if request.model_at is not None:
            begin, end = request.model_at
            return request.content[:begin] + route.model.encode() + request.content[end:]
        if request.fields.get("model"):
            changes["model"] = route.model
        if session_model(request.path, request.fields):
            changes["session"] = {**request.fields["session"], "model": route.model}
    if request.stream and _lacks_usage_chunk(request):
        options: object = request.fields.get("stream_options")
        if options is None or isinstance(options, dict):  # anything else is the provider's to judge
            given = cast("dict[str, object]", options or {})
            changes["stream_options"] = {**given, "include_usage": True}
    return edit(request.content, changes) if changes else request.content


def _body(request: Request, route: Route) -> tuple[bytes | Body, int | None]:
    """Return the body as the route needs it, and what its head says of its length."""
    if request.upload is not None:
        return poured(request, request.upload, route)
    content = render(request, route)
    return content, len(content) if content or request.method not in {"GET", "HEAD"} else None


def poured(request: Request, upload: Upload, route: Route) -> tuple[Body, int]:
    """Return an upload as the route needs it, and its length or `CHUNKED`."""
    pieces, length, at = upload.chunks(), upload.length, request.model_at
    if at is not None and request.model != route.model:
        model = route.model.encode()
        pieces = _replaced(pieces, *at, model)
        length = None if length is None else length + len(model) - (at[1] - at[0])
    return Body(pieces, is_chunked=length is None), CHUNKED if length is None else length


async def _replaced(
    pieces: AsyncGenerator[bytes], begin: int, end: int, instead: bytes
) -> AsyncGenerator[bytes]:
    """Yield the pieces with something else in the place of the bytes between two places."""
    place = 0
    try:
        async for piece in pieces:
            cut = [min(max(at - place, 0), len(piece)) for at in (begin, end)]
            has_begin = place <= begin < place + len(piece)
            changed = piece[: cut[0]] + (instead if has_begin else b"") + piece[cut[1] :]
            place += len(piece)
            if changed:
                yield changed
    finally:
        await pieces.aclose()


def _lacks_usage_chunk(request: Request) -> bool:
    is_chat = endpoint(request.method, request.path).dialect == "chat"
    return is_chat and not wants_usage(request)
