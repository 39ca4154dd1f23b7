"""One connection to the upstream: a socket that carries one exchange at a time."""

import asyncio
import select
from typing import Protocol, cast

from typing_extensions import override

from headworks.errors import (
    ConnectionLost,
    IdleTimeout,
    MalformedResponse,
    Retry,
    StreamTruncated,
    UpstreamError,
)
from headworks.upstream.framing import Framer, Progress
from headworks.upstream.origin import ClientLimits
from headworks.upstream.response import HttpResponse

BUFFER_SIZE = 32_768
"""Bytes taken from the network at once; with `HIGH_WATER`, what a slow reader can cost."""

_JOINED = 65_536
"""Smaller bodies are copied behind their head, so that both leave in one write."""

_TICK = 0.001
"""Resolution of the loop's timers, in seconds."""


class Owner(Protocol):
    """The pool, as a connection sees it."""

    limits: ClientLimits
    buffer: memoryview
    """`BUFFER_SIZE` bytes, lent to one read at a time."""

    def release(self, connection: "Connection") -> None:
        """Take back a connection that is provably clean."""
        ...

    def forget(self, connection: "Connection") -> None:
        """Free the connection's slot. Idempotent."""
        ...

    def discard(self, connection: "Connection", *, poisoned: bool = False) -> None:
        """Close a connection before its time; `poisoned` when it brought bytes unasked."""
        ...


class Connection(asyncio.BufferedProtocol):
    """A socket to the upstream.

    Attributes:
        idle_since: When its last answer ended, seconds on the loop's clock.
        is_open: Whether it is connected, and neither closed nor lost.
        has_answered: Whether it served before: a server may close such a connection at any time.
        was_given_up: Whether nobody wants it any more, be it connected or not.
    """

    __slots__ = (
        "_armed",
        "_fill",
        "_framer",
        "_is_open",
        "_is_paused",
        "_is_secure",
        "_is_sending",
        "_loop",
        "_owner",
        "_poll",
        "_room",
        "_timer",
        "_transport",
        "has_answered",
        "idle_since",
        "is_open",
        "was_given_up",
    )

    def __init__(self, owner: Owner, loop: asyncio.AbstractEventLoop) -> None:
        self.idle_since = 0.0
        self.is_open = self.has_answered = self.was_given_up = False
        self._owner, self._loop = owner, loop
        self._transport: asyncio.Transport | None = None
        self._poll = select.poll()
        self._is_secure = self._is_paused = self._is_sending = self._is_open = False
        self._room: asyncio.Future[None] | None = None
        self._framer: Framer | None = None
        self._fill = 0
        self._timer: asyncio.TimerHandle | None = None
        self._armed = 0.0

    # What the pool and the client call.

    def begin(
        self,
        response: HttpResponse,
        head: bytes,
        content: bytes,
        *,
        no_body: bool,
        switches: bool = False,
        is_open: bool = False,
    ) -> None:
        """Send a request; its answer goes to `response`. One that is open goes on with `pour`."""
        transport = self._transport
        if transport is None or self._framer is not None:
            raise RuntimeError("The connection is not free")
        limits = self._owner.limits
        self._framer = Framer(response, limits, no_body=no_body, switches=switches)
        self._is_open = is_open
        if len(content) < _JOINED:
            transport.write(head + content)
        else:
            transport.writelines((head, content))
        self._is_sending = is_open or transport.get_write_buffer_size() > 0
        self.watch(response.due() if self._is_sending else response.on_sent())

    async def pour(self, response: HttpResponse, *parts: bytes, seconds: float) -> bool:
        """Send more of an open request; return when it has left, and whether more is wanted.

        A server that takes nothing for so many seconds is given up.
        """
        framer, transport = self._framer, self._transport
        if framer is None or framer.response is not response or transport is None:
            return False
        transport.writelines(parts)
        if transport.get_write_buffer_size():
            self._room = self._loop.create_future()
            timer = self._loop.call_later(seconds, self._stall, seconds)
            try:
                await self._room
            finally:
                self._room = None
                timer.cancel()
        return self._framer is framer

    def end_request(self, response: HttpResponse) -> None:
        """Note that all of an open request was written."""
        framer, transport = self._framer, self._transport
        if framer is None or framer.response is not response or transport is None:
            return
        self._is_open = False
        if not transport.get_write_buffer_size():
            self._is_sending = False
            self.watch(response.on_sent())

    def is_silent(self) -> bool:
        """Whether the connection is open, and neither bytes nor an end wait in its socket.

        A fresh TLS connection may hold session tickets, which say nothing about it.
        """
        if not self.is_open or self._transport is None or self._transport.is_closing():
            return False
        if self._is_secure and not self.has_answered:
            return True
        return not self._poll.poll(0)

    def rest(self, now: float) -> None:
        """Become idle."""
        self.idle_since = now
        self.watch(now + self._owner.limits.idle_seconds)

    def close(self) -> None:
        """Close at once and free the slot. Idempotent."""
        self.is_open, self.was_given_up = False, True
        if self._framer is not None:
            self._framer.close()
            self._framer = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._transport is not None:
            self._transport.abort()
        self._make_room()
        self._owner.forget(self)

    # What the answer calls.

    def pause(self) -> None:
        """Stop reading from the network."""
        if self._transport is not None and not self._is_paused:
            self._is_paused = True
            self._transport.pause_reading()

    def resume(self) -> None:
        """Read on."""
        if self._transport is not None and self._is_paused:
            self._is_paused = False
            self._transport.resume_reading()

    def abort(self) -> None:
        """Close at once: nobody wants the rest."""
        self._owner.discard(self)

    def write(self, data: bytes) -> bool:
        """Send more, behind an answer that has opened a connection; return whether it has left."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return True
        transport.write(data)
        self._is_sending = transport.get_write_buffer_size() > 0
        return not self._is_sending

    # One timer, armed for the earliest wait, re-armed when it fires too soon, and kept from one
    # exchange to the next: neither a chunk nor a call on a warm connection makes one of its own.

    def watch(self, when: float) -> None:
        """Look at what is due at `when`, seconds on the loop's clock, or sooner."""
        if self._timer is None:
            self._arm(when)
        elif when < self._armed - _TICK:
            self._timer.cancel()
            self._arm(when)

    def _arm(self, when: float) -> None:
        self._armed = when
        self._timer = self._loop.call_at(when, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        response = self._framer.response if self._framer is not None else None
        if response is None:
            due = self.idle_since + self._owner.limits.idle_seconds
        else:
            due = response.due()
        if due > self._loop.time() + _TICK:
            self._arm(due)
        elif response is None:
            self.close()
        else:
            error = response.overdue()
            self.abort()
            response.on_error(error)

    # What the transport calls.

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport, or close it when nobody waits for it any more."""
        self._transport = cast("asyncio.Transport", transport)
        if self.was_given_up:
            self._transport.abort()
            return
        self._is_secure = transport.get_extra_info("ssl_object") is not None
        self._transport.set_write_buffer_limits(high=1, low=0)
        self._poll.register(transport.get_extra_info("socket").fileno(), select.POLLIN)
        self.is_open = True

    @override
    def get_buffer(self, sizehint: int) -> memoryview:
        """Lend the pool's buffer for one read."""
        return self._owner.buffer

    @override
    def buffer_updated(self, nbytes: int) -> None:
        """Take what was read into the buffer."""
        framer = self._framer
        if framer is None:
            if not self.was_given_up:
                self._owner.discard(self, poisoned=True)
            return
        self._fill = nbytes
        try:
            progress = framer.receive(self._owner.buffer[:nbytes])
        except MalformedResponse as error:
            self._fail(error)
        else:
            if progress != "more":
                self._end(progress)

    @override
    def eof_received(self) -> None:
        """Take the end of what the server sends."""
        if self._framer is not None and self._framer.receive_eof():
            self._end("unclean")
        elif self.is_open:
            self._lose("closed")

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        """Take the end of the connection."""
        if self.is_open:
            self._lose("lost" if exc is None else f"lost ({exc})")
        self._transport = None
        self._owner.forget(self)

    @override
    def pause_writing(self) -> None:
        """Do nothing: what was written is in memory anyway, and its deadline runs."""

    @override
    def resume_writing(self) -> None:
        """Note that what was written has left: a part of the request, or all of it."""
        if self._is_open:
            self._make_room()
        elif self._is_sending and self._framer is not None:
            self._is_sending = False
            self.watch(self._framer.response.on_sent())

    def _make_room(self) -> None:
        if self._room is not None and not self._room.done():
            self._room.set_result(None)

    # How an exchange ends.

    def _stall(self, seconds: float) -> None:
        self._fail(IdleTimeout(f"The provider took nothing of the request for {seconds:g} s."))

    def _end(self, progress: Progress) -> None:
        """Complete the answer, and give the connection back if nothing speaks against it."""
        framer, self._framer = self._framer, None
        if framer is None:
            return
        if self._is_paused:
            self.resume()
        framer.response.on_end()
        if progress == "clean" and self._is_reusable():
            self.has_answered = True
            self._owner.release(self)
        elif progress == "surplus":
            self._owner.discard(self, poisoned=True)
        else:
            self.close()

    def _is_reusable(self) -> bool:
        """Whether the whole request has left, and no byte can hide in a buffer.

        A read that filled the buffer may have left decrypted bytes behind in the TLS layer, where
        nothing shows them.
        """
        transport = self._transport
        return (
            transport is not None
            and not transport.is_closing()
            and not self._is_open
            and transport.get_write_buffer_size() == 0
            and not (self._is_secure and self._fill == BUFFER_SIZE)
        )

    def _lose(self, how: str) -> None:
        """End what runs when the connection is gone."""
        framer = self._framer
        if framer is None:
            self.abort()
            return
        error: UpstreamError
        if framer.response.status:
            progress = framer.response.progress()
            error = StreamTruncated(f"The connection was {how} in the answer. {progress}")
        else:
            error = ConnectionLost(f"The connection was {how} before the provider had answered.")
            if self.has_answered and not framer.has_begun:
                error.retry = Retry.SAME_ROUTE
        self._fail(error)

    def _fail(self, error: UpstreamError) -> None:
        framer = self._framer
        self.abort()
        if framer is not None:
            framer.response.on_error(error)
