"""Transports that carry the requests of httpx clients through an engine.

The only code that names httpx: its base classes and its errors. The rest is in `carriage`.
"""

from typing import ClassVar

import httpx
from typing_extensions import override

from headworks.inprocess.carriage import (
    Access,
    AsyncBody,
    Faults,
    SyncBody,
    acarry,
    carry,
    in_this_loop,
)
from headworks.inprocess.exchange import Carrier

_FAULTS = Faults(httpx.ReadTimeout, httpx.ReadError)


class _SyncStream(SyncBody, httpx.SyncByteStream):
    faults: ClassVar[Faults] = _FAULTS


class _AsyncStream(AsyncBody, httpx.AsyncByteStream):
    faults: ClassVar[Faults] = _FAULTS


class SyncTransport(httpx.BaseTransport):
    """Carries requests through an engine whose loop runs in another thread."""

    def __init__(self, access: Access) -> None:
        self._access = access

    @override
    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Carry one request; its call ends at the latest when the response is closed."""
        answer, stream = carry(self._access, request, _SyncStream)
        return httpx.Response(answer.status, headers=list(answer.headers), stream=stream)


class AsyncTransport(httpx.AsyncBaseTransport):
    """Carries requests through an engine, from whatever loop is running."""

    def __init__(self, access: Access) -> None:
        self._access = access

    @override
    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Carry one request; its call ends at the latest when the response is closed."""
        answer, stream = await acarry(self._access, request, _AsyncStream)
        return httpx.Response(answer.status, headers=list(answer.headers), stream=stream)


class EngineTransport(AsyncTransport):
    """Carries requests through an engine that lives in the loop that is running."""

    def __init__(self, engine: Carrier) -> None:
        super().__init__(in_this_loop(engine))
