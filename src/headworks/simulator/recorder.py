"""Stands before a real provider, passes everything on, and writes down what was said."""

from collections.abc import Callable
from pathlib import Path
from typing import final

from headworks.errors import CallError
from headworks.ports import Clock
from headworks.simulator.cassettes import (
    Recording,
    append,
    kept_headers,
    key_of,
    part,
    without,
)
from headworks.simulator.exchange import Exchange, Gone, Receive, Scope, Send
from headworks.simulator.problems import Refusal
from headworks.types import Timeouts
from headworks.upstream.http1 import HttpClient, HttpResponse, Origin, request_head

_TIMEOUTS = Timeouts(total=3600.0, first_byte=600.0, idle=600.0)
_OWN = frozenset(
    {
        *(b"host", b"content-length", b"transfer-encoding", b"connection", b"keep-alive"),
        *(b"accept-encoding", b"expect", b"te", b"trailer", b"upgrade", b"proxy-authorization"),
    }
)
"""Fields that each hop of a request writes itself."""
_SECRET = (b"authorization", b"cookie", b"openai-organization", b"openai-project", b"api-key")
_UNPASSED = frozenset(
    {b"content-length", b"transfer-encoding", b"connection", b"keep-alive", b"set-cookie"}
)
_SHORTEST_SECRET = 6


@final
class Recorder:
    """An ASGI application that records one provider.

    The client's own key travels on to the provider and is written nowhere. A call that the client
    leaves is not recorded; one that the provider breaks is, with its break.
    """

    def __init__(self, base_url: str, file: Path, clock: Clock) -> None:
        """Take the provider's base URL, such as `https://api.openai.com/v1`.

        Raises:
            ValueError: The URL is not one.
        """
        origin, self._base = Origin.parse(base_url)
        self._client = HttpClient(origin)
        self._file, self._clock = file, clock
        self.count = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request on and its answer back."""
        if scope["type"] != "http":
            return
        exchange = Exchange(scope, receive, send)
        try:
            await exchange.read()
            await exchange.while_connected(self._pass_on(exchange, scope))
        except Gone:
            return

    async def aclose(self) -> None:
        """Close the connections to the provider."""
        await self._client.aclose()

    async def _pass_on(self, exchange: Exchange, scope: Scope) -> None:
        start = self._clock.now()
        try:
            response = await self._send(exchange, scope)
        except CallError as error:
            refusal = Refusal(502, f"The recorded provider: {error}", code="upstream_failed")
            await exchange.answer(502, refusal.content, refusal.headers)
            return
        try:
            await self._relay(exchange, response, lambda: self._clock.now() - start)
        finally:
            await response.aclose()

    async def _send(self, exchange: Exchange, scope: Scope) -> HttpResponse:
        target = self._base + exchange.path.removeprefix("/v1")
        if exchange.query:
            target += "?" + exchange.query.decode("latin-1")
        fields = [(name, value) for name, value in scope["headers"] if name not in _OWN]
        fields.append((b"accept-encoding", b"identity"))
        has_body = bool(exchange.content) or exchange.method not in {"GET", "HEAD"}
        head = request_head(
            exchange.method,
            target,
            self._client.origin.authority,
            tuple(fields),
            len(exchange.content) if has_body else None,
        )
        return await self._client.send(
            head,
            exchange.content,
            _TIMEOUTS,
            first_byte=None,
            total=_TIMEOUTS.total,
            no_body=exchange.method == "HEAD",
        )

    async def _relay(
        self, exchange: Exchange, response: HttpResponse, passed: Callable[[], float]
    ) -> None:
        head_after, is_whole = passed(), True
        times: list[float] = []
        chunks: list[bytes] = []
        headers = {
            name.decode("latin-1"): value.decode("latin-1")
            for name, value in response.headers
            if name.lower() not in _UNPASSED
        }
        await exchange.start(response.status, headers)
        try:
            async for chunk in response.chunks():
                times.append(passed())
                chunks.append(chunk)
                await exchange.write(chunk)
        except CallError:
            is_whole = False
        secrets = _secrets(exchange)
        content_type = exchange.headers.get(b"content-type", b"")
        recording = Recording(
            method=exchange.method,
            path=exchange.path,
            query=exchange.query.decode("latin-1"),
            key=key_of(
                exchange.method, exchange.path, exchange.query, content_type, exchange.content
            ),
            request=without(secrets, [exchange.content])[0].decode(errors="ignore"),
            status=response.status,
            headers=kept_headers(response.headers),
            head_after=round(head_after, 6),
            parts=[*map(part, times, without(secrets, chunks))],
            ending="whole" if is_whole else "cut",
        )
        append(self._file, recording)
        self.count += 1
        if is_whole:
            await exchange.write(b"", more=False)
        else:
            await exchange.break_off("fin")


def _secrets(exchange: Exchange) -> list[bytes]:
    """Return what must not be written down although somebody may repeat it in a body."""
    given = (exchange.headers.get(name, b"") for name in _SECRET)
    words = (value.removeprefix(b"Bearer ").strip() for value in given)
    return [word for word in words if len(word) >= _SHORTEST_SECRET]
