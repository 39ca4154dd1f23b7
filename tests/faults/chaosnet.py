"""A network that can be made bad: a TCP proxy with faults that may be changed while it runs.

Each direction has its own `Toxics`; what they count in bytes they count from the moment when they
were set, or from the connection's beginning if that is later. The way in has faults of its own:
`refuse` and `drop` stand for a port without a server and for a firewall that eats packets.
"""

import asyncio
import contextlib
import random
import socket
import struct
import threading
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Literal

Entry = Literal["open", "refuse", "drop"]
End = Literal["fin", "rst"]

_LOOPBACK = "127.0.0.1"
_CHUNK = 65_536
_SMOOTH = 0.02
"""Seconds of bandwidth in one piece."""
_RESET = struct.pack("ii", 1, 0)


@dataclass(frozen=True, slots=True)
class Toxics:
    """What is wrong with one direction; by default nothing.

    Attributes:
        latency: Seconds that each byte is on its way.
        bandwidth: Bytes a second, 0 for no bound.
        slices: Bytes come in pieces of 1 to so many, 0 for as they came.
        cut_after: After so many bytes both sides see an orderly end (FIN).
        reset_after: After so many bytes both sides see a reset (RST).
        hang_after: After so many bytes nothing more arrives, until these toxics are changed.
        slow_close: Seconds that an orderly end is on its way.
    """

    latency: float = 0.0
    bandwidth: float = 0.0
    slices: int = 0
    cut_after: int | None = None
    reset_after: int | None = None
    hang_after: int | None = None
    slow_close: float = 0.0


HEALTHY = Toxics()


@dataclass
class Direction:
    """One direction of all connections: its toxics, and what has passed."""

    toxics: Toxics = HEALTHY
    passed: int = 0
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def change(self, toxics: Toxics) -> None:
        """Set other toxics; whoever hangs looks again."""
        self.toxics = toxics
        self.changed.set()
        self.changed = asyncio.Event()


class Cut(Exception):
    """A toxic ends the connection."""

    def __init__(self, end: End) -> None:
        super().__init__(end)
        self.end: End = end


class Side:
    """One of the two sockets of a passage."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def finish(self) -> None:
        """Say that nothing more comes; what still comes in is read and dropped."""
        if not self.writer.is_closing():
            with contextlib.suppress(OSError):
                self.writer.write_eof()

    def reset(self) -> None:
        """Close so that the other end sees a reset."""
        sock = self.writer.get_extra_info("socket")
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.writer.transport.abort()

    async def drain(self) -> None:
        """Read and drop until the other end closes, so that no reset takes the place of our FIN."""
        with contextlib.suppress(ConnectionError):
            while await self.reader.read(_CHUNK):
                pass


class Stream:
    """Carries the bytes of one connection in one direction."""

    def __init__(self, source: Side, sink: Side, of: Direction, chance: random.Random) -> None:
        self.source, self.sink = source, sink
        self._of, self._chance = of, chance
        self._counted_for = of.toxics
        self._sent = 0
        self._queue: asyncio.Queue[tuple[float, bytes | None]] = asyncio.Queue(maxsize=64)
        self._loop = asyncio.get_running_loop()

    async def run(self) -> None:
        """Carry bytes to the end of the source; raises `Cut`, or the sockets' own errors."""
        reading = asyncio.ensure_future(self._read())
        try:
            await self._write()
        finally:
            reading.cancel()

    async def _read(self) -> None:
        """Queue what comes; an empty piece is the end, None a reset."""
        data: bytes | None = b"begin"
        while data:
            try:
                data = await self.source.reader.read(_CHUNK)
            except OSError:
                data = None
            await self._queue.put((self._loop.time(), data))

    async def _write(self) -> None:
        while True:
            await self._room()
            read_at, data = await self._queue.get()
            toxics = self._of.toxics
            delay = toxics.latency if data else toxics.slow_close
            if (wait := read_at + delay - self._loop.time()) > 0:
                await asyncio.sleep(wait)
            if data is None:
                raise ConnectionResetError
            if not data:
                return
            await self._deliver(data)

    async def _deliver(self, data: bytes) -> None:
        while data:
            most = min(self._piece(), await self._room())
            piece, data = data[:most], data[most:]
            if bandwidth := self._of.toxics.bandwidth:
                await asyncio.sleep(len(piece) / bandwidth)
            self.sink.writer.write(piece)
            self._sent += len(piece)
            self._of.passed += len(piece)
            await self.sink.writer.drain()
            await asyncio.sleep(0)  # a piece leaves by itself: the kernel would join it to the next

    def _piece(self) -> int:
        """Return how many bytes may leave at once."""
        toxics = self._of.toxics
        if toxics.slices:
            return self._chance.randint(1, toxics.slices)
        return max(1, int(toxics.bandwidth * _SMOOTH)) if toxics.bandwidth else _CHUNK

    async def _room(self) -> int:
        """Return how many bytes may pass now; wait while none may, raise `Cut` at a cut."""
        while True:
            toxics = self._of.toxics
            if toxics is not self._counted_for:
                self._counted_for, self._sent = toxics, 0
            if toxics.cut_after is not None and self._sent >= toxics.cut_after:
                raise Cut("fin")
            if toxics.reset_after is not None and self._sent >= toxics.reset_after:
                raise Cut("rst")
            limits = (toxics.cut_after, toxics.reset_after, toxics.hang_after)
            room = min(_CHUNK, *(one - self._sent for one in limits if one is not None), _CHUNK)
            if room > 0:
                return room
            await self._of.changed.wait()


class Chaosnet:
    """A proxy between clients of `port` and a server on `target`, in the running loop.

    Attributes:
        port: Where clients connect.
        up: What clients send; `down` is what the server sends.
        accepted: Connections taken so far.
        open: Connections that have not ended.
    """

    def __init__(self, target: int, *, seed: int = 0) -> None:
        self.target = target
        self.up, self.down = Direction(), Direction()
        self.accepted = self.open = 0
        self._chance = random.Random(seed)
        self._passages: set[asyncio.Task[None]] = set()
        self._holder = _bound(0)
        self.port: int = self._holder.getsockname()[1]
        self._listener: asyncio.Server | None = None
        self._dropping: list[socket.socket] = []
        self._next: Toxics | None = None

    async def enter(self, entry: Entry) -> None:
        """Let new connections in, refuse them, or drop their packets. Old ones live on."""
        await self._close_entry()
        if entry == "open":
            sock = _bound(self.port)
            self._listener = await asyncio.start_server(self._accept, sock=sock)
        elif entry == "drop":
            self._dropping = _full(self.port)

    def change(self, *, up: Toxics | None = None, down: Toxics | None = None) -> None:
        """Set other toxics for one direction or both, for old connections as well."""
        if up is not None:
            self.up.change(up)
        if down is not None:
            self.down.change(down)

    def change_next(self, *, down: Toxics) -> None:
        """Let the next connection alone meet these toxics in what the server sends."""
        self._next = down

    async def aclose(self) -> None:
        """Cut everything."""
        await self._close_entry()
        for task in self._passages:
            task.cancel()
        await asyncio.gather(*self._passages, return_exceptions=True)
        self._holder.close()

    async def _close_entry(self) -> None:
        if self._listener is not None:
            self._listener.close()
            self._listener = None
            await asyncio.sleep(0)
        while self._dropping:
            self._dropping.pop().close()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        self.open += 1
        task = asyncio.ensure_future(self._carry(Side(reader, writer)))
        self._passages.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._passages.discard(task)
        self.open -= 1

    async def _carry(self, client: Side) -> None:
        try:
            server = Side(*await asyncio.open_connection(_LOOPBACK, self.target))
        except OSError:
            client.reset()
            return
        try:
            await self._exchange(client, server)
        finally:
            client.writer.transport.abort()
            server.writer.transport.abort()

    async def _exchange(self, client: Side, server: Side) -> None:
        """Carry both directions until both have ended, or one is cut."""
        down = self.down if self._next is None else Direction(self._next)
        self._next = None
        ways = [Stream(client, server, self.up, self._chance)]
        ways.append(Stream(server, client, down, self._chance))
        tasks = [asyncio.create_task(self._finish(way)) for way in ways]
        try:
            await asyncio.gather(*tasks)
        except Cut as cut:
            await _cancel(tasks)
            await _end(client, server, cut.end)
        except ConnectionError:
            client.reset()
            server.reset()
        finally:
            await _cancel(tasks)

    async def _finish(self, way: Stream) -> None:
        await way.run()
        way.sink.finish()


async def _cancel(tasks: "Sequence[asyncio.Task[None]]") -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _end(client: Side, server: Side, end: End) -> None:
    if end == "rst":
        client.reset()
        server.reset()
        return
    client.finish()
    server.finish()
    await asyncio.gather(client.drain(), server.drain())


def _bound(port: int) -> socket.socket:
    """Return a socket bound to a port that it may share until somebody listens."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((_LOOPBACK, port))
    return sock


def _full(port: int) -> list[socket.socket]:
    """Listen with a queue that is full: the kernel then drops whoever knocks (no SYN is answered)."""
    listener = _bound(port)
    listener.listen(0)
    held = [listener]
    for _ in range(3):  # the queue takes one more than it was told, and a moment to show it
        knock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        knock.settimeout(0.02)
        held.append(knock)
        with contextlib.suppress(TimeoutError):
            knock.connect((_LOOPBACK, port))
    return held


@asynccontextmanager
async def chaosnet(target: int, *, seed: int = 0) -> AsyncGenerator[Chaosnet]:
    """Run a proxy before a server on this machine until the block is left."""
    net = Chaosnet(target, seed=seed)
    await net.enter("open")
    try:
        yield net
    finally:
        await net.aclose()


class ThreadedChaosnet:
    """A proxy in a thread of its own, for tests that have no loop."""

    def __init__(self, net: Chaosnet, loop: asyncio.AbstractEventLoop) -> None:
        self._net, self._loop = net, loop
        self.port = net.port

    def change(self, *, up: Toxics | None = None, down: Toxics | None = None) -> None:
        """See `Chaosnet.change`; in force when this returns."""
        self._do(lambda: self._net.change(up=up, down=down))

    def enter(self, entry: Entry) -> None:
        """See `Chaosnet.enter`; in force when this returns."""
        asyncio.run_coroutine_threadsafe(self._net.enter(entry), self._loop).result()

    def open(self) -> int:
        """Return how many connections have not ended."""
        return self._net.open

    def _do(self, act: Callable[[], None]) -> None:
        async def run() -> None:
            act()

        asyncio.run_coroutine_threadsafe(run(), self._loop).result()


@contextmanager
def threaded_chaosnet(target: int, *, seed: int = 0) -> Generator[ThreadedChaosnet]:
    """Run a proxy before a server on this machine, in a thread, until the block is left."""
    ready, over = threading.Event(), asyncio.Event()
    nets: list[ThreadedChaosnet] = []

    async def life() -> None:
        async with chaosnet(target, seed=seed) as net:
            nets.append(ThreadedChaosnet(net, asyncio.get_running_loop()))
            ready.set()
            await over.wait()

    thread = threading.Thread(target=lambda: asyncio.run(life()), name="chaosnet", daemon=True)
    thread.start()
    ready.wait()
    try:
        yield nets[0]
    finally:
        nets[0]._loop.call_soon_threadsafe(over.set)
        thread.join()
