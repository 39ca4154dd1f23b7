"""Speaks to providers of the OpenAI API: their head fields, our edits, their errors."""

from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from headworks.core.classify import classify
from headworks.core.endpoints import endpoint, waits
from headworks.core.streams import wants_usage
from headworks.core.strict_json import edit
from headworks.errors import DeadlineExceeded, MalformedResponse, Retry, UpstreamError
from headworks.ports import Clock, UpstreamResponse
from headworks.types import Headers, Request, Route, Secret
from headworks.upstream.http1 import HttpClient, HttpResponse, request_head

_MOST_ERROR = 65_536
"""Bytes of an error body that are read; what is longer is not an error message."""
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

    def shown(self, route: Route) -> bytes:
        """Return the key that the provider is shown."""
        return self._keys[route.credential]

    def send(self, request: Request, route: Route, remaining: float) -> Awaitable[HttpResponse]:
        """Send the request once; return the response whatever its status."""
        content = render(request, route)
        target = self._base + request.path.removeprefix("/v1")
        if request.query:
            target += "?" + request.query.decode("latin-1")
        head = request_head(
            request.method,
            target,
            self._host,
            (*self._fields[route.credential], *request.headers),
            len(content) if content or request.method not in {"GET", "HEAD"} else None,
        )
        timeouts = waits(route.timeouts, request)
        return self.client.send(
            head,
            content,
            timeouts,
            first_byte=timeouts.first_byte if request.stream else timeouts.first_byte_whole,
            total=remaining,
            no_body=request.method == "HEAD",
        )


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
        response = await provider.send(request, route, remaining)
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


def render(request: Request, route: Route) -> bytes:
    """Return the body as the route needs it: its model, and the usage chunk asked for.

    All other bytes are the caller's own.
    """
    changes: dict[str, Any] = {}
    if request.model and request.model != route.model:
        changes["model"] = route.model
    if request.stream and _lacks_usage_chunk(request):
        options: object = request.fields.get("stream_options")
        if options is None or isinstance(options, dict):  # anything else is the provider's to judge
            given = cast("dict[str, object]", options or {})
            changes["stream_options"] = {**given, "include_usage": True}
    return edit(request.content, changes) if changes else request.content


def _lacks_usage_chunk(request: Request) -> bool:
    is_chat = endpoint(request.method, request.path).dialect == "chat"
    return is_chat and not wants_usage(request)
