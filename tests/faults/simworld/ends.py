"""One end of a connection in memory: a transport as asyncio has them, and the socket it shows.

What a program writes goes through three places, as on a real machine: the transport's own buffer
(flow control), the line (latency, slices, faults), the receiver's socket (read when it wants to).
A receiver's unread bytes count against the sender's window, so that a slow reader is felt.
A socket that is closed answers what still arrives with a reset, and resets at once if bytes in it
were never read (RFC 1122, section 4.2.2.13).
"""

import asyncio
import os
import socket
import struct
from asyncio import transports
from collections.abc import Callable
from typing import Any, Literal, Protocol

from typing_extensions import override

from tests.faults.simworld.clockwork import VirtualLoop

_READ = 262_144
"""Bytes that asyncio takes from a socket at once."""
_RESETS = struct.pack("ii", 1, 0)


class Carrier(Protocol):
    """The line between two ends, as they see it."""

    loop: VirtualLoop
    window: int
    writes_late: bool

    def send(self, end: "End", data: bytes) -> None:
        """Carry bytes from one end to the other."""
        ...

    def post(self, end: "End", kind: str) -> None:
        """Carry a FIN or a reset."""
        ...

    def closed(self, end: "End", error: Exception | None) -> None:
        """Let go of an end."""
        ...


class Socket:
    """What a transport shows as its socket; its descriptor is readable while bytes wait in it."""

    family, type = socket.AF_INET, socket.SOCK_STREAM

    def __init__(self, local: tuple[str, int], remote: tuple[str, int]) -> None:
        self._local, self._remote = local, remote
        self._descriptor, self._is_readable = -1, False
        self.resets = False

    def fileno(self) -> int:
        """Return a descriptor that can be polled."""
        if self._descriptor < 0:
            self._descriptor = os.eventfd(int(self._is_readable), os.EFD_NONBLOCK)
        return self._descriptor

    def show(self, *, readable: bool) -> None:
        """Let the descriptor say whether something is to be read."""
        if readable != self._is_readable:
            self._is_readable = readable
            if self._descriptor >= 0:
                if readable:
                    os.eventfd_write(self._descriptor, 1)
                else:
                    os.eventfd_read(self._descriptor)

    def close(self) -> None:
        """Let go of the descriptor."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def getpeername(self) -> tuple[str, int]:
        """Return the other end."""
        return self._remote

    def getsockname(self) -> tuple[str, int]:
        """Return this end."""
        return self._local

    def setsockopt(self, level: int, option: int, value: Any) -> None:
        """Take note of a linger time of zero; the rest does not matter here."""
        if option == socket.SO_LINGER and value == _RESETS:
            self.resets = True


class End(transports._FlowControlMixin):
    """One end of a connection.

    Attributes:
        name: For the trace: which line, which end.
        tap: Called with what the program writes; `hears` with what it takes.
    """

    _high_water: int

    def __init__(self, line: Carrier, name: str, wire: Socket) -> None:
        names = {"peername": wire.getpeername(), "sockname": wire.getsockname()}
        super().__init__({"socket": wire, **names}, line.loop)
        self.line, self.name, self.wire = line, name, wire
        self.peer: End = self
        self.tap: Callable[[bytes], None] | None = None
        self.hears: Callable[[bytes], None] | None = None
        self._loop: VirtualLoop = line.loop
        self._protocol: Any = None
        self._buffer = bytearray()
        self._unread = 0
        self._received = bytearray()
        self._reading = self._flush_due = False
        self._is_paused = self._is_closing = self._has_ended = self._told_end = False
        self._eof: Literal["", "here", "told"] = ""
        self._has_sent_end = self._is_closed = False
        self._broken: Exception | None = None

    def begin(self, protocol: Any) -> None:
        """Give the connection to a program."""
        self._protocol = protocol
        protocol.connection_made(self)
        self._read_soon()

    # What the program calls.

    @override
    def get_protocol(self) -> Any:
        return self._protocol

    @override
    def set_protocol(self, protocol: Any) -> None:
        self._protocol = protocol

    @override
    def is_closing(self) -> bool:
        return self._is_closing

    @override
    def is_reading(self) -> bool:
        return not self._is_paused and not self._is_closing

    @override
    def can_write_eof(self) -> bool:
        return True

    @override
    def get_write_buffer_size(self) -> int:
        return len(self._buffer)

    @override
    def write(self, data: Any) -> None:
        if self._has_ended:
            raise RuntimeError("Cannot call write() after write_eof()")
        if not data or self._told_end:
            return
        if self.tap is not None:
            self.tap(bytes(data))
        self._buffer += data
        if self.line.writes_late and len(self._buffer) <= self._high_water:
            self._flush_soon()
        else:
            self._flush()

    @override
    def writelines(self, list_of_data: Any) -> None:
        self.write(b"".join(list_of_data))

    @override
    def write_eof(self) -> None:
        if not self._is_closing and not self._has_ended:
            self._has_ended = True
            self._flush()

    @override
    def pause_reading(self) -> None:
        self._is_paused = True

    @override
    def resume_reading(self) -> None:
        self._is_paused = False
        self._read_soon()

    @override
    def close(self) -> None:
        if not self._is_closing:
            self._is_closing = True
            if not self._buffer:
                self._lose_soon(None)

    @override
    def abort(self) -> None:
        self._drop(None)

    # Sending.

    def _flush_soon(self) -> None:
        if not self._flush_due:
            self._flush_due = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        """Send what the window allows."""
        self._flush_due = False
        if self._is_closed or self._told_end:
            return
        if self._broken is not None and self._buffer:
            self._drop(self._broken)
            return
        room = max(0, self.line.window - self._unread)
        if self._buffer and room:
            data = bytes(self._buffer[:room])
            del self._buffer[:room]
            self._unread += len(data)
            self.line.send(self, data)
        if self._buffer:
            self._maybe_pause_protocol()  # type: ignore[attr-defined] # the stubs leave it out
            return
        self._maybe_resume_protocol()  # type: ignore[attr-defined] # as above
        if self._is_closing:
            self._lose_soon(None)
        elif self._has_ended:
            self.send_end()

    def send_end(self) -> None:
        """Send a FIN, once."""
        if not self._has_sent_end:
            self._has_sent_end = True
            self.line.post(self, "fin")

    def credit(self, size: int) -> None:
        """Take note that the other end has read."""
        self._unread -= size
        if self._buffer and not self._is_closed:
            self._flush_soon()

    # Receiving.

    def arrive(self, kind: str, data: bytes) -> None:
        """Take what the line brings."""
        if self._is_closed:
            if kind == "data":
                self.line.post(self, "rst")
            return
        if kind == "data":
            self._received += data
        elif kind == "fin":
            self._eof = self._eof or "here"
        else:
            self._broken = ConnectionResetError(104, "Connection reset by peer")
            self._received.clear()
            if self._buffer:
                self._flush_soon()
        self.wire.show(readable=True)
        self._read_soon()

    def _read_soon(self) -> None:
        waits = self._received or self._broken is not None or self._eof == "here"
        if waits and not self._reading and not self._is_paused and self._protocol is not None:
            self._reading = True
            self._loop.call_soon(self._read)

    def _read(self) -> None:
        self._reading = False
        if self._is_paused or self._is_closing or self._is_closed:
            return
        if self._broken is not None:
            self._drop(self._broken)
        elif self._received:
            self._take()
            self._read_soon()
        elif self._eof == "here":
            self._eof = "told"
            if not self._protocol.eof_received():
                self.close()

    def _take(self) -> None:
        received, protocol = self._received, self._protocol
        is_buffered = isinstance(protocol, asyncio.BufferedProtocol)
        lent: Any = protocol.get_buffer(-1) if is_buffered else b""
        size = min(len(received), len(lent) if is_buffered else _READ)
        data = bytes(received[:size])
        del received[:size]
        self.wire.show(readable=bool(received or self._eof))
        self.peer.credit(size)
        if self.hears is not None:
            self.hears(data)
        if is_buffered:
            lent[:size] = data
            protocol.buffer_updated(size)
        else:
            protocol.data_received(data)

    # The end.

    def _drop(self, error: Exception | None) -> None:
        """Close without sending what waits."""
        if self._told_end:
            return
        self._buffer.clear()
        self._is_closing = True
        self._lose_soon(error)

    def _lose_soon(self, error: Exception | None) -> None:
        if not self._told_end:
            self._told_end = True
            self._loop.call_soon(self._lose, error)

    def _lose(self, error: Exception | None) -> None:
        try:
            if self._protocol is not None:
                self._protocol.connection_lost(error)
        finally:
            self._is_closed = True
            if self._broken is None:
                if self._received or self.wire.resets:
                    self.line.post(self, "rst")
                else:
                    self.send_end()
            self._received.clear()
            self.wire.close()
            self.line.closed(self, error)
