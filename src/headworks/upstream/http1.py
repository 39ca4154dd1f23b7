"""The HTTP/1.1 client that every upstream call goes through.

Theory. HTTP/1.1 has no request ids: an answer belongs to a request only because it comes next on
the same connection. Whatever a connection holds when the next request goes out is taken for that
request's answer, so that one surplus byte gives one caller what was meant for another. The client
therefore keeps a connection only when it is *provably clean*:

1. Its answer was complete by its own framing, and the byte after it is known (`framing`).
2. Nothing came behind the answer: not in the same packet, not in a later one. An idle connection
   that becomes readable is closed at once, and one about to serve is looked at once more.
3. The whole request has left, llhttp says that the server keeps the connection, and no buffer
   below us can hide bytes.
4. Nobody gave up: a cancelled, abandoned or late exchange closes its connection.

What no client can see are bytes that a server sends late, after the next request has reached it:
they look like a quick answer. So a connection rests before it serves again (`quiet_seconds`), and
after the first bytes that nobody asked for, no connection of that server is kept for a while
(`distrust_seconds`). Above `resting / quiet_seconds` calls a second (1,700 by default) the rest is
shorter than asked, at 10,000 calls a second 25 ms, and in a full pool there may be none; then
distrust is what remains.

An answer owns its bytes (`response`), and its connection lets go of it at its end: a reader that
comes late finds its own bytes or nothing.

Redirects are answers like others. Nothing is decompressed, nothing is retried: a connection that
had served before and dies before it answers raises `ConnectionLost` with `Retry.SAME_ROUTE`, and
the caller decides.
"""

import asyncio
import ssl

from headworks.errors import ConnectFailed
from headworks.types import Timeouts
from headworks.upstream.dial import Dialler
from headworks.upstream.origin import ClientLimits, Origin, Proxy, request_head, tls_context
from headworks.upstream.pool import Pool, Statistics
from headworks.upstream.pouring import Body, pour
from headworks.upstream.response import HttpResponse

__all__ = [
    "ClientLimits",
    "HttpClient",
    "HttpResponse",
    "Origin",
    "Proxy",
    "Statistics",
    "request_head",
    "tls_context",
]

_LIMITS = ClientLimits()
_UNUSED = Statistics(0, 0, 0, 0, 0, 0, 0)


class HttpClient:
    """Sends requests to one origin. Belongs to the event loop of its first call."""

    def __init__(
        self,
        origin: Origin,
        *,
        ssl_context: ssl.SSLContext | None = None,
        proxy: Proxy | None = None,
        limits: ClientLimits = _LIMITS,
    ) -> None:
        """Take an origin; `ssl_context` defaults to the system's trust, for https."""
        if not origin.is_secure:
            ssl_context = None
        elif ssl_context is None:
            ssl_context = tls_context()
        self.origin = origin
        self._limits = limits
        self._dialler = Dialler(origin, ssl_context, proxy, limits.head_bytes)
        self._pool: Pool | None = None

    async def send(
        self,
        head: bytes,
        content: bytes | Body,
        timeouts: Timeouts,
        *,
        first_byte: float | None,
        total: float,
        no_body: bool = False,
    ) -> HttpResponse:
        """Send one request and return its answer when the head has come.

        Args:
            head: Made by `request_head`.
            content: The body, as long as the head says; in chunks, where it says nothing.
            timeouts: `connect` and `idle` count here; `idle` also for each piece of the body.
            first_byte: Seconds from the request's last byte to the answer's first body byte; None
                leaves only `total`.
            total: Seconds from now to the answer's end.
            no_body: Whether the answer has no body whatever its head says: True for HEAD.

        Raises:
            UpstreamError: No answer began, or one that is not HTTP.
            DeadlineExceeded: `total` is over.
            CallError: What `content` raised.
            CancelledError: With a `ConnectFailed` as its cause where nothing was sent, or not all
                of the request.
        """
        pool = self._pool or self._start()
        loop = pool.loop
        total_at = loop.time() + total
        try:
            connection = pool.take() or await pool.wait(timeouts.connect, total_at)
        except asyncio.CancelledError as error:
            raise error from ConnectFailed("The call was given up before it was connected.")
        response = HttpResponse(loop, connection, first_byte, timeouts.idle, total_at)
        if isinstance(content, bytes):
            connection.begin(response, head, content, no_body=no_body)
            await response.wait_head()
        else:
            connection.begin(response, head, b"", no_body=no_body, is_open=True)
            await pour(connection, response, content, timeouts.idle)
        return response

    async def open(
        self, head: bytes, timeouts: Timeouts, *, first_byte: float | None, total: float
    ) -> HttpResponse:
        """Ask for another protocol, and return the answer: what follows a 101 is its body.

        Raises:
            UpstreamError: As `send`; `total` bounds the wait for the head.
        """
        pool = self._pool or self._start()
        total_at = pool.loop.time() + total
        try:
            connection = pool.take() or await pool.wait(timeouts.connect, total_at)
        except asyncio.CancelledError as error:
            raise error from ConnectFailed("The call was given up before it was connected.")
        response = HttpResponse(pool.loop, connection, first_byte, timeouts.idle, total_at)
        connection.begin(response, head, b"", no_body=False, switches=True)
        await response.wait_head()
        return response

    async def aclose(self) -> None:
        """Close idle connections now and busy ones when their answers end. Idempotent."""
        pool = self._pool or self._start()
        pool.close()
        closed = pool.loop.create_future()
        pool.loop.call_soon(closed.set_result, None)
        await closed

    def statistics(self) -> Statistics:
        """Return what the client's connections do now, and have done."""
        return _UNUSED if self._pool is None else self._pool.statistics()

    def _start(self) -> Pool:
        self._pool = pool = Pool(self._dialler, self._limits)
        return pool
