"""One answer: owns its bytes, its waits and its one reader.

A connection points at the answer that it is receiving, and lets go of it at the answer's end. An
answer never looks into a connection, so that whatever a connection receives later cannot reach it.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Protocol

from headworks.errors import (
    CallError,
    DeadlineExceeded,
    FirstByteTimeout,
    IdleTimeout,
    MalformedResponse,
    StreamTruncated,
    UpstreamError,
)
from headworks.types import Headers

HIGH_WATER = 16_384
"""Bytes that may wait for the reader before the connection stops reading."""


class Source(Protocol):
    """The connection, as an answer sees it."""

    def pause(self) -> None:
        """Stop reading from the network."""
        ...

    def resume(self) -> None:
        """Read on."""
        ...

    def watch(self, when: float) -> None:
        """Look at the answer's `due` at `when`, seconds on the loop's clock, or sooner."""
        ...

    def abort(self) -> None:
        """Close the connection at once: nobody wants the rest."""
        ...

    def write(self, data: bytes) -> bool:
        """Send more; return whether it has left, else `on_sent` tells."""
        ...


class HttpResponse:
    """An answer whose head has arrived; satisfies `headworks.ports.UpstreamResponse`.

    One task reads it. A read that is cancelled, and `aclose` before the end, close the connection;
    after `last` only the latter does.

    Attributes:
        shown: The credential that the provider was shown, b"" for none.
    """

    __slots__ = (
        "_declared",
        "_ended",
        "_error",
        "_expects",
        "_first_at",
        "_first_byte",
        "_heard",
        "_idle",
        "_is_duplex",
        "_is_nudged",
        "_loop",
        "_parts",
        "_paused",
        "_received",
        "_size",
        "_source",
        "_total_at",
        "_unsent",
        "_waiter",
        "headers",
        "shown",
        "status",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        source: Source,
        first_byte: float | None,
        idle: float,
        total_at: float,
    ) -> None:
        self.status = 0
        self.headers: Headers = ()
        self.shown = b""
        self._loop = loop
        self._source: Source | None = source
        self._first_byte, self._first_at = first_byte, total_at
        self._idle, self._heard, self._total_at = idle, 0.0, total_at
        self._parts: list[bytes] = []
        self._size = self._received = 0
        self._declared: int | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._error: CallError | None = None
        self._ended = self._paused = self._expects = self._is_nudged = self._is_duplex = False
        self._unsent: asyncio.Future[None] | None = None

    # What the reader calls.

    async def wait_head(self) -> None:
        """Wait for the head, or raise what came in its place."""
        while not self.status:
            if self._error is not None:
                raise self._error
            news = self._news()
            try:
                await news
            except BaseException:
                self._stop_waiting()
                raise

    async def read(self, most: int) -> bytes:
        """Return the whole body.

        Raises:
            UpstreamError: The body is broken, late, or over `most` bytes.
            DeadlineExceeded: The call's total time is up.
        """
        if self._declared is not None and self._declared > most:
            raise self._too_large(most)
        if self._ended and self._received <= most:
            return self.unread()
        chunks: list[bytes] = []
        try:
            async for chunk in self.chunks():
                chunks.append(chunk)
                if self._received > most:
                    raise self._too_large(most)
        except StreamTruncated as error:
            raise MalformedResponse(str(error)) from error
        except UpstreamError:
            chunks.clear()  # whoever keeps the error shall not keep them
            raise
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    def chunks(self) -> AsyncIterator[bytes]:
        """Yield the body as it arrives; raises as `read`, with `StreamTruncated` at a cut."""
        return _Chunks(self._next)

    def expect(self, *, content: bool) -> None:
        """Say whether the content is still to come: then `first_byte` bounds the wait for it."""
        if content is not self._expects and self._first_byte is not None:
            self._expects = content
            if self._source is not None:
                self._source.watch(self.due())

    def unread(self) -> bytes:
        """Return what has come of the body and nobody has read; it is then read. Never waits."""
        parts = self._parts
        data = parts[0] if len(parts) == 1 else b"".join(parts)
        parts.clear()
        self._size = 0
        return data

    def nudge(self) -> None:
        """Let whoever waits in `chunks` have an empty chunk now."""
        if self._waiter is not None:
            self._is_nudged = True
            self._wake()

    def masked(self, content: bytes) -> bytes:
        """Return what the provider said without the credential that it was shown."""
        return content.replace(self.shown, b"***") if self.shown else content

    def hurry(self, seconds: float) -> None:
        """Bound the waits for the rest of the body: `total` is over in so long, if not before."""
        source = self._source
        if source is not None:
            self._total_at = min(self._total_at, self._loop.time() + seconds)
            self._first_at = min(self._first_at, self._total_at)
            source.watch(self._total_at)

    async def drain(self, seconds: float) -> None:
        """Read and forget what is left of the body, for at most so long. Never raises."""
        self.hurry(seconds)
        with suppress(CallError):
            async for _ in self.chunks():
                pass

    async def aclose(self) -> None:
        """Close the connection unless the answer is complete. Idempotent, never waits."""
        if self._source is not None:
            self._parts.clear()
            self._abandon()

    # What is used of an answer that has opened a connection.

    def last(self, seconds: float) -> None:
        """Let the connection last so long, whoever says how much; a read may then be cancelled."""
        self._is_duplex, self._first_byte = True, None
        self._idle = seconds
        self._heard = self._loop.time()
        self._total_at = self._first_at = self._heard + seconds

    def write(self, data: bytes) -> None:
        """Send more, in order."""
        if self._source is not None and not self._source.write(data) and self._unsent is None:
            self._unsent = self._loop.create_future()

    @property
    def has_unsent(self) -> bool:
        """Whether something that was written has not left."""
        return self._unsent is not None

    async def wait_written(self) -> None:
        """Wait until what was written has left, or nothing can leave any more."""
        if self._unsent is not None:
            await asyncio.shield(self._unsent)

    def give_up(self, error: CallError) -> None:
        """Close the connection: there will be no answer, for this reason."""
        source = self._source
        if source is not None:
            self.on_error(error)
            source.abort()

    # What the connection calls.

    def on_sent(self) -> float:
        """Note that all has left, so that the wait for an answer's first byte begins.

        Returns:
            When what is waited for now is due, as `due`.
        """
        if self._unsent is not None:
            unsent, self._unsent = self._unsent, None
            if not unsent.done():
                unsent.set_result(None)
        if self._first_byte is not None:
            self._first_at = min(self._total_at, self._loop.time() + self._first_byte)
        return self.due()

    def on_head(self, status: int, headers: Headers, declared: int | None) -> None:
        """Take the head, and the body's length where the head declares one."""
        self.status, self.headers, self._declared = status, headers, declared
        self._wake()

    def on_body(self, data: bytes) -> None:
        """Take a part of the body; it is not empty."""
        size, source = len(data), self._source
        self._parts.append(data)
        self._size += size
        if size == self._declared:  # `on_end` follows at once: there is nothing to wait for
            self._received = size
            return
        self._heard = heard = self._loop.time()
        if source is not None:
            if not self._received:
                source.watch(heard + self._idle)
            if self._size > HIGH_WATER and not self._paused:
                self._paused = True
                source.pause()
        self._received += size
        if self._waiter is not None:
            self._wake()

    def on_end(self) -> None:
        """Let go of the connection: the answer is complete."""
        self._source = None
        self._ended = True
        if self._is_duplex:
            self.on_sent()
        if self._waiter is not None:
            self._wake()

    def on_error(self, error: CallError) -> None:
        """Let go of the connection: nothing more comes. What came already stays readable."""
        self._source = None
        self._error = error
        if self._is_duplex:
            self.on_sent()
        self._wake()

    def due(self) -> float:
        """Return when the wait that runs now is over, seconds on the loop's clock."""
        if self._expects or not self._received:
            return self._first_at
        if self._paused:
            return self._total_at
        return min(self._total_at, self._heard + self._idle)

    def overdue(self) -> CallError:
        """Return the error for the wait that `due` ended."""
        if self.due() >= self._total_at:
            return DeadlineExceeded(f"The call's time is up. {self.progress()}")
        if self._received and not self._expects:
            return IdleTimeout(f"The provider was silent for {self._idle:g} s. {self.progress()}")
        return FirstByteTimeout(f"The provider did not begin to answer in {self._first_byte:g} s.")

    def progress(self) -> str:
        """Return how much of the answer came, as a sentence."""
        if not self.status:
            return "No answer had begun."
        if self._declared is None:
            return f"{self._received} bytes of its body had come."
        return f"{self._received} of {self._declared} bytes of its body had come."

    # Between the two.

    async def _next(self) -> bytes:
        """Return what has come since the last call, or wait for more; b"" after a nudge.

        Raises:
            StopAsyncIteration: This was the end.
        """
        parts = self._parts
        while not parts:
            if self._error is not None:
                raise self._error
            if self._ended:
                raise StopAsyncIteration
            news = self._news()
            try:
                await news
            except BaseException:
                self._stop_waiting()
                raise
            if self._is_nudged:
                self._is_nudged = False
                return b""
        data = parts[0] if len(parts) == 1 else b"".join(parts)
        parts.clear()
        self._size = 0
        if self._paused:
            self._resume()
        return data

    def _abandon(self) -> None:
        """Close the connection, and keep what has come: it was sent, so it is billed."""
        source, self._source = self._source, None
        if source is not None:
            self.on_error(StreamTruncated("The answer was given up before its end."))
            source.abort()

    def _news(self) -> "asyncio.Future[None]":
        """Return what is done as soon as something has come, or `nudge` is called."""
        if self._waiter is not None:
            raise RuntimeError("An answer has one reader at a time")
        self._waiter = waiter = self._loop.create_future()
        return waiter

    def _stop_waiting(self) -> None:
        """Note that the reader was stopped while it waited: nobody wants the rest."""
        self._waiter = None
        if not self._is_duplex:
            self._abandon()

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def _resume(self) -> None:
        """Read on; the idle wait begins anew, since it was the reader who was slow."""
        self._paused = False
        self._heard = self._loop.time()
        if self._source is not None:
            self._source.watch(self._heard + self._idle)
            self._source.resume()

    def _too_large(self, most: int) -> MalformedResponse:
        self._abandon()
        return MalformedResponse(f"The answer is larger than {most} bytes. {self.progress()}")


class _Chunks:
    """Iterates over one answer; needs no closing of its own."""

    __slots__ = ("_next",)

    def __init__(self, following: Callable[[], Awaitable[bytes]]) -> None:
        self._next = following

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    def __anext__(self) -> Awaitable[bytes]:
        return self._next()
