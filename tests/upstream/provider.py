"""A provider of the API behind a scripted server, and the requests that go there."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from headworks.core.intake import read_request
from headworks.testing import FakeClock
from headworks.types import Request, Route, Secret, Timeouts
from headworks.upstream.http1 import ClientLimits, HttpClient
from headworks.upstream.openai import Credential, Provider, Providers
from tests.upstream.scripted import Server, Wire, client_of, serve

CHAT = "/v1/chat/completions"
JSON = ((b"content-type", b"application/json"),)
FORM = ((b"content-type", b"multipart/form-data; boundary=x"),)
BYTES = ((b"content-type", b"application/octet-stream"),)
CREDENTIAL = Credential(Secret("sk-ours"), "org-ours", "proj_ours")
STREAM = b'"stream":true'


def asked(
    content: bytes = b"",
    *,
    method: str = "POST",
    path: str = CHAT,
    query: bytes = b"",
    headers: tuple[tuple[bytes, bytes], ...] = JSON,
) -> Request:
    """Return a request as the gateway reads it from a caller."""
    return read_request(method, path, query, headers, content)


def route(model: str = "m", timeouts: Timeouts | None = None) -> Route:
    return Route("up", model, "main", timeouts or Timeouts())


@dataclass
class Upstream:
    """A provider behind a scripted server."""

    server: Server
    providers: Providers

    async def send(self, request: Request, to: Route, remaining: float) -> Any:
        return await self.providers.send(request, to, remaining)


def providers(client: HttpClient, base: str = "/v1") -> Providers:
    return Providers({"up": Provider(client, base, {"main": CREDENTIAL})}, FakeClock())


@asynccontextmanager
async def provider(
    seen: list[bytes], answer: bytes, *, base: str = "/v1"
) -> AsyncIterator[Upstream]:
    """Answer every request alike and note its bytes."""

    async def script(wire: Wire) -> None:
        while True:
            seen.append(await wire.request())
            await wire.send(answer)

    limits = ClientLimits(quiet_seconds=0)
    async with serve(script) as server, client_of(server, limits) as client:
        yield Upstream(server, providers(client, base))
