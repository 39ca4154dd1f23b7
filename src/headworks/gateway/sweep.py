"""One timer for all connections, so that requests need none of their own."""

import asyncio
from typing import Protocol

_SECOND = 1.0


class Watched(Protocol):
    """A connection whose time may run out."""

    loop: asyncio.AbstractEventLoop

    def check(self, now: float, elapsed: float) -> None:
        """Act if time is up; `elapsed` seconds have passed since the last look."""
        ...


class Sweep:
    """Looks at every connection once a second, or four times in the `shortest` of their waits."""

    def __init__(self, shortest: float) -> None:
        self._interval = min(_SECOND, shortest / 4)
        self._connections: set[Watched] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._last = 0.0
        self._empty = asyncio.Event()
        self._empty.set()

    async def wait_empty(self) -> None:
        """Wait until there is no connection."""
        await self._empty.wait()

    def watch(self, connection: Watched) -> None:
        """Look after a connection until it is forgotten."""
        self._connections.add(connection)
        self._empty.clear()
        if self._timer is None:
            self._last = connection.loop.time()
            self._timer = connection.loop.call_later(self._interval, self._run, connection.loop)

    def forget(self, connection: Watched) -> None:
        """Let a connection go."""
        self._connections.discard(connection)
        if not self._connections:
            self._empty.set()
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        elapsed, self._last = now - self._last, now
        self._timer = loop.call_later(self._interval, self._run, loop)
        for connection in tuple(self._connections):
            connection.check(now, elapsed)


class SlowReader:
    """Tells when output has waited too long for a reader that takes nothing."""

    __slots__ = ("_seconds", "_since", "_taken")

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._taken = 0
        self._since = 0.0

    def is_stalled(self, written: int, waiting: int, now: float) -> bool:
        """Say whether `waiting` of the `written` bytes have waited too long; ask regularly."""
        taken = written - waiting
        if not waiting or taken != self._taken:
            self._taken, self._since = taken, now
            return False
        return now - self._since >= self._seconds


class SlowSender:
    """Tells when a body comes too slowly: fewer than `rate` bytes a second, after `grace` seconds."""

    __slots__ = ("_balance", "_grace", "_rate")

    def __init__(self, rate: float, grace: float) -> None:
        self._rate, self._grace = rate, grace * rate
        self._balance = 0.0

    def begin(self) -> None:
        """Begin with a new body."""
        self._balance = self._grace

    def add(self, size: int) -> None:
        """Count so many bytes of it."""
        self._balance += size

    def is_slow(self, elapsed: float) -> bool:
        """Take so many seconds off; say whether there were too many."""
        self._balance = min(self._balance, 4 * self._grace) - elapsed * self._rate
        return self._balance < 0
