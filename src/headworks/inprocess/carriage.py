"""What the transports of httpx2 and httpx have in common: everything but the base classes.

A request is read as the gateway reads it, the call is carried by an `Exchange`, and what comes back
is handed out as an HTTP body. An error before the first byte is an HTTP answer, as the gateway's
would be; after it, it is an error of the client's own library.
"""

import asyncio
from collections.abc import (
    AsyncIterator,
    Callable,
    Iterator,
    Mapping,
    MutableMapping,
)
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, NamedTuple, Protocol, TypeVar

from headworks.core.intake import is_held, presented_key, read_request
from headworks.errors import (
    DeadlineExceeded,
    FirstByteTimeout,
    IdleTimeout,
)
from headworks.inprocess.exchange import (
    WANTED,
    Carrier,
    Engine,
    Exchange,
    Here,
    Host,
    Inbox,
    Item,
    TaskInbox,
    ThreadInbox,
)
from headworks.inprocess.portal import PortalClosed
from headworks.inprocess.sending import Begun, afirst, begun, first, nothing, upload
from headworks.types import Headers, Request, Response, Secret

CLOSING = 5.0
"""Seconds that closing an unfinished answer waits for its call to be settled."""


class Url(Protocol):
    """What we read of a URL."""

    @property
    def raw_path(self) -> bytes:
        """The path and query, as sent."""
        ...


class Fields(Protocol):
    """What we read of header fields."""

    @property
    def raw(self) -> list[tuple[bytes, bytes]]:
        """The fields in order."""
        ...


class HttpRequest(Protocol):
    """What we read of a request of httpx2 or httpx."""

    @property
    def method(self) -> str:
        """The HTTP method."""
        ...

    @property
    def url(self) -> Url:
        """Where it goes."""
        ...

    @property
    def headers(self) -> Fields:
        """Its header fields."""
        ...

    @property
    def stream(self) -> Any:
        """Its body, as it comes."""
        ...

    def read(self) -> bytes:
        """Return its body, whole."""
        ...

    async def aread(self) -> bytes:
        """Return its body, whole."""
        ...

    @property
    def extensions(self) -> MutableMapping[str, Any]:
        """What the client adds, its timeouts among it."""
        ...


class Faults(NamedTuple):
    """The errors by which an HTTP library says what became of an answer."""

    timeout: Callable[[str], Exception]
    broken: Callable[[str], Exception]


def no_headers() -> Headers:
    """Add nothing."""
    return ()


def read_strictly(
    request: HttpRequest, added: Headers, body: bytes | Begun
) -> tuple[Request, Secret | None]:
    """Return the call that a request makes, and its key, as the gateway would read them."""
    headers = [(name.lower(), value) for name, value in request.headers.raw]
    given = {name for name, _ in headers}
    headers += [field for field in added if field[0] not in given]
    timeout = _read_timeout(request.extensions)
    if timeout is not None and b"x-stainless-read-timeout" not in given:
        headers.append((b"x-stainless-read-timeout", b"%g" % timeout))
    raw, _, query = request.url.raw_path.partition(b"?")
    path = raw.decode("latin-1")
    whole = body if isinstance(body, bytes) else upload(path, dict(headers), body)
    call = read_request(request.method, path, query, headers, whole)
    return call, presented_key(headers)


def _read_timeout(extensions: Mapping[str, Any]) -> float | None:
    timeouts: Mapping[str, float | None] = extensions.get("timeout") or {}
    return timeouts.get("read")


@dataclass(frozen=True, slots=True)
class Access:
    """How a transport reaches an engine.

    Attributes:
        host: Returns where the engine's calls run.
        engine: Returns the engine; awaited there.
        headers: Returns fields to add to a request, read in its caller's context.
        read: Makes a call of a request, the fields to add and its body; may raise `CallerError`.
        has_uploads: Whether a large body comes while the call is under way.
    """

    host: Callable[[], Host]
    engine: Engine
    headers: Callable[[], Headers] = no_headers
    read: Callable[[HttpRequest, Headers, bytes | Begun], tuple[Request, Secret | None]] = (
        read_strictly
    )
    has_uploads: bool = True

    def holds(self, request: HttpRequest) -> bool:
        """Return whether a request's body is to be here before its call begins."""
        if not self.has_uploads:
            return True
        return is_held({name.lower(): value for name, value in request.headers.raw})


def in_this_loop(engine: Carrier) -> Access:
    """Reach an engine that lives in the caller's own loop."""

    async def ready() -> Carrier:
        return engine

    return Access(Here, ready)


class _Body:
    """An answer's bytes, and the call that they come from; both kinds of body build on it."""

    faults: ClassVar[Faults]

    def __init__(self, exchange: Exchange, timeout: float | None) -> None:
        self._exchange = exchange
        self._timeout = timeout
        self._whole = b""
        self._fault: BaseException | None = None

    def __del__(self) -> None:
        self._exchange.cancel()  # an answer that is dropped ends its call

    def _opened(self, item: Item) -> Response:
        self._exchange.took(item)
        if isinstance(item, ConnectionError):
            raise self.faults.broken(str(item)) from item
        answer = _answer(item)
        if isinstance(answer.content, bytes):
            self._whole = answer.content
        return answer

    def _collect(self, item: Item, inbox: Inbox) -> bytes:
        """Return the chunk and all that are ready behind it as one; keep a fault for later."""
        parts = list[bytes]()
        while True:
            self._exchange.took(item)
            if not isinstance(item, bytes):
                break
            parts.append(item)
            if inbox.is_empty():
                break
            item = inbox.take_nowait()
        if isinstance(item, BaseException):
            self._fault = item
        return b"".join(parts)

    def _check(self) -> None:
        """Raise what broke the answer, if something did."""
        fault = self._fault
        if fault is None:
            return
        if isinstance(fault, asyncio.CancelledError):
            raise PortalClosed("Headworks was closed before the answer was complete.") from fault
        is_late = isinstance(fault, FirstByteTimeout | IdleTimeout | DeadlineExceeded)
        raise (self.faults.timeout if is_late else self.faults.broken)(str(fault)) from fault

    def _late(self) -> Exception:
        return self.faults.timeout(f"Nothing came for {self._timeout:g} seconds.")


class SyncBody(_Body):
    """An answer's bytes, for a thread that waits for them."""

    def __init__(self, exchange: Exchange, inbox: ThreadInbox, timeout: float | None) -> None:
        super().__init__(exchange, timeout)
        self._inbox = inbox

    def open(self, pieces: Iterator[bytes]) -> Response:
        """Wait for the answer's head; meanwhile give what is wanted of the request's body."""
        while (item := self._take()) is WANTED:
            self._exchange.give(next(pieces, b""))
        return self._opened(item)

    def __iter__(self) -> Iterator[bytes]:
        if self._whole:
            yield self._whole
        while not self._exchange.is_ended:
            if chunk := self._collect(self._take(), self._inbox):
                yield chunk
        self._check()

    def close(self) -> None:
        """End the call, if it has not ended; returns when it is settled. Idempotent."""
        self._exchange.cancel()
        with suppress(TimeoutError):
            while not self._exchange.is_ended:
                self._exchange.took(self._inbox.take(CLOSING))

    def _take(self) -> Item:
        try:
            return self._inbox.take(self._timeout)
        except TimeoutError:
            raise self._late() from None


class AsyncBody(_Body):
    """An answer's bytes, for a task that waits for them, in whatever loop."""

    def __init__(self, exchange: Exchange, inbox: TaskInbox, timeout: float | None) -> None:
        super().__init__(exchange, timeout)
        self._inbox = inbox

    async def open(self, pieces: AsyncIterator[bytes]) -> Response:
        """Wait for the answer's head; meanwhile give what is wanted of the request's body."""
        while (item := await self._take()) is WANTED:
            self._exchange.give(await anext(pieces, b""))
        return self._opened(item)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if self._whole:
            yield self._whole
        while not self._exchange.is_ended:
            if chunk := self._collect(await self._take(), self._inbox):
                yield chunk
        self._check()

    async def aclose(self) -> None:
        """End the call, if it has not ended; returns when it is settled. Idempotent."""
        self._exchange.cancel()
        with suppress(TimeoutError):
            while not self._exchange.is_ended:
                self._exchange.took(await self._inbox.take(CLOSING))

    async def _take(self) -> Item:
        try:
            return await self._inbox.take(self._timeout)
        except TimeoutError:
            raise self._late() from None


SyncBodyT = TypeVar("SyncBodyT", bound=SyncBody)
AsyncBodyT = TypeVar("AsyncBodyT", bound=AsyncBody)


def carry(
    access: Access, request: HttpRequest, body_type: type[SyncBodyT]
) -> tuple[Response, SyncBodyT]:
    """Send a request through the engine, and wait in this thread for the answer's head."""
    host, inbox = access.host(), ThreadInbox()
    host.refuse_waiting()
    exchange = Exchange(host, inbox.put)
    body = body_type(exchange, inbox, _read_timeout(request.extensions))
    pieces: Iterator[bytes] = iter(())
    if access.holds(request):
        sent: bytes | Begun = request.read()
    else:
        pieces = (piece for piece in request.stream if piece)
        sent = begun(list(first(pieces)), exchange.more)
    exchange.start(access.engine, partial(access.read, request, access.headers(), sent))
    try:
        return body.open(pieces), body
    except BaseException:
        body.close()
        raise


async def acarry(
    access: Access, request: HttpRequest, body_type: type[AsyncBodyT]
) -> tuple[Response, AsyncBodyT]:
    """Send a request through the engine, and wait in this task for the answer's head."""
    inbox = TaskInbox()
    exchange = Exchange(access.host(), inbox.put)
    body = body_type(exchange, inbox, _read_timeout(request.extensions))
    pieces = nothing()
    if access.holds(request):
        sent: bytes | Begun = await request.aread()
    else:
        pieces = (piece async for piece in request.stream if piece)
        sent = begun([piece async for piece in afirst(pieces)], exchange.more)
    exchange.start(access.engine, partial(access.read, request, access.headers(), sent))
    try:
        return await body.open(pieces), body
    except BaseException:
        await body.aclose()
        raise


def _answer(item: Item) -> Response:
    """Return what the first item of an exchange means to an HTTP client, or raise it."""
    if isinstance(item, Response):
        return item
    if isinstance(item, BaseException) and not isinstance(item, asyncio.CancelledError):
        raise item
    raise PortalClosed("Headworks was closed before the call was answered.")
