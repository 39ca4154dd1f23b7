"""The connections of one client: who may use which, and when one is fit to serve again."""

import asyncio
from collections import deque
from dataclasses import dataclass

from headworks.errors import CallError, ConnectFailed, ConnectTimeout, DeadlineExceeded
from headworks.upstream.connection import BUFFER_SIZE, Connection
from headworks.upstream.dial import Dialler
from headworks.upstream.origin import ClientLimits

_TICK = 0.001
"""Resolution of the loop's timers, in seconds."""


@dataclass(frozen=True, slots=True)
class Statistics:
    """What a client's connections do now, and have done.

    Attributes:
        open: Connections that hold a slot: connecting, busy or idle.
        waiting: Calls that wait for a slot.
        discarded_total: Connections closed before their time: surplus or unasked bytes, closed by
            the server while idle, broken, late, or given up by their reader.
    """

    open: int
    idle: int
    busy: int
    waiting: int
    opened_total: int
    reused_total: int
    discarded_total: int


class Pool:
    """Lends connections to calls, each to one at a time.

    A connection that has just answered rests for `quiet_seconds` first; among those that have
    rested the last one used serves next, so that surplus ones grow old and close. While fewer than
    `resting` rest, a call opens another connection rather than disturb one; beyond that, and when
    no more may be opened, the longest-resting one serves.
    """

    def __init__(self, dialler: Dialler, limits: ClientLimits) -> None:
        self.limits = limits
        self.buffer = memoryview(bytearray(BUFFER_SIZE))
        self._dialler = dialler
        self.loop = asyncio.get_running_loop()
        self._open: set[Connection] = set()
        self._resting: deque[Connection] = deque()
        self._rested: deque[Connection] = deque()
        self._waiters: deque[asyncio.Future[Connection]] = deque()
        self._trimmer: asyncio.TimerHandle | None = None
        self._is_closed = False
        self._distrusted_until = 0.0
        self._opened_total = self._reused_total = self._discarded_total = 0

    # What the client calls.

    def take(self) -> Connection | None:
        """Return an idle connection that is fit to serve, None when there is none."""
        self._end_rests()
        while connection := self._next_idle():
            if connection.is_silent():
                self._reused_total += 1
                return connection
            self.discard(connection)
        return None

    async def wait(self, connect: float, total_at: float) -> Connection:
        """Return a connection, opened if need be.

        Raises:
            ConnectFailed: The origin cannot be reached, or the client is closed.
            ConnectTimeout: `connect` seconds were not enough.
            DeadlineExceeded: `total_at`, seconds on the loop's clock, came first.
        """
        until = min(self.loop.time() + connect, total_at)
        while True:
            if self._is_closed:
                raise ConnectFailed("The client is closed.")
            if connection := self.take():
                return connection
            if len(self._open) < self.limits.connections:
                connection = self._add()
            else:
                connection = await self._wait_turn(until, total_at)
            if connection.was_given_up:
                continue
            if not connection.is_open:
                await self._dial(connection, until, total_at)
                return connection
            if connection.is_silent():
                self._reused_total += 1
                return connection
            self.discard(connection)

    def close(self) -> None:
        """Close idle connections; busy ones close when their answers end."""
        self._is_closed = True
        if self._trimmer is not None:
            self._trimmer.cancel()
        self._close_idle()
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_exception(ConnectFailed("The client was closed."))

    def statistics(self) -> Statistics:
        """Return the figures of this moment."""
        idle = len(self._resting) + len(self._rested)
        return Statistics(
            open=len(self._open),
            idle=idle,
            busy=len(self._open) - idle,
            waiting=sum(not waiter.done() for waiter in self._waiters),
            opened_total=self._opened_total,
            reused_total=self._reused_total,
            discarded_total=self._discarded_total,
        )

    # What a connection calls.

    def release(self, connection: Connection) -> None:
        """Keep a clean connection, or hand it to the call that waits longest."""
        now = self.loop.time()
        if self._is_closed or self._distrusted_until > now or not self.limits.idle:
            connection.close()
            return
        connection.rest(now)
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(connection)
                return
        self._resting.append(connection)
        if self._trimmer is None:
            self._trimmer = self.loop.call_later(self.limits.quiet_seconds, self._trim)

    def forget(self, connection: Connection) -> None:
        """Free the connection's slot, for the call that waits longest. Idempotent."""
        if connection not in self._open:
            return
        self._open.remove(connection)
        for idle in (self._rested, self._resting):
            if connection in idle:
                idle.remove(connection)
        while self._waiters and len(self._open) < self.limits.connections:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(self._add())

    def discard(self, connection: Connection, *, poisoned: bool = False) -> None:
        """Close a connection before its time; one that is poisoned takes the idle ones along."""
        if connection in self._open:
            self._discarded_total += 1
        connection.close()
        if poisoned:
            self._distrusted_until = self.loop.time() + self.limits.distrust_seconds
            self._close_idle()

    # Below.

    def _next_idle(self) -> Connection | None:
        if self._rested:
            return self._rested.pop()
        resting = self._resting
        if not resting:
            return None
        may_open = len(self._open) < self.limits.connections
        if may_open and self.limits.quiet_seconds and len(resting) < self.limits.resting:
            return None
        return resting.popleft()

    def _end_rests(self) -> None:
        resting = self._resting
        if resting:
            quiet_since = self.loop.time() - self.limits.quiet_seconds
            while resting and resting[0].idle_since <= quiet_since:
                self._rested.append(resting.popleft())

    def _trim(self) -> None:
        """Close what `idle` does not allow, the longest idle first.

        It is looked at once for all that rest now, when the last of them has rested.
        """
        self._trimmer = None
        self._end_rests()
        while len(self._rested) > self.limits.idle:
            self._rested.popleft().close()
        if self._resting:
            due = self._resting[-1].idle_since + self.limits.quiet_seconds
            self._trimmer = self.loop.call_at(due + _TICK, self._trim)

    def _close_idle(self) -> None:
        for idle in (self._resting, self._rested):
            while idle:
                idle.pop().close()

    def _add(self) -> Connection:
        connection = Connection(self, self.loop)
        self._open.add(connection)
        return connection

    async def _wait_turn(self, until: float, total_at: float) -> Connection:
        """Wait for a connection, or for the slot of one that is still to be opened."""
        most = self.limits.connections
        waiter: asyncio.Future[Connection] = self.loop.create_future()
        self._waiters.append(waiter)
        error = _late(f"All {most} connections were busy for too long.", until, total_at)
        timer = self.loop.call_at(until, _give_up, waiter, error)
        try:
            return await waiter
        except BaseException:
            self._give_back(waiter)
            raise
        finally:
            timer.cancel()

    def _give_back(self, waiter: "asyncio.Future[Connection]") -> None:
        """Return what a call was given in the moment of its cancellation."""
        if not waiter.done():
            waiter.cancel()
        elif not waiter.cancelled() and waiter.exception() is None:
            connection = waiter.result()
            if connection.is_open:
                self.release(connection)
            else:
                connection.close()
        if waiter in self._waiters:
            self._waiters.remove(waiter)

    async def _dial(self, connection: Connection, until: float, total_at: float) -> None:
        """Connect, in a task that the call may leave at any moment."""
        opened: asyncio.Future[None] = self.loop.create_future()
        task = self.loop.create_task(self._dialler.dial(connection))
        task.add_done_callback(lambda done: _pass_on(done, opened))
        error = _late(f"{self._dialler.origin} did not accept a connection.", until, total_at)
        timer = self.loop.call_at(until, _give_up, opened, error)
        try:
            await opened
        except BaseException:
            task.cancel()
            connection.close()
            raise
        finally:
            timer.cancel()
        self._opened_total += 1
        if not connection.is_silent():
            self.discard(connection)
            raise ConnectFailed(f"{self._dialler.origin} closed or spoke before it was asked.")


def _late(what: str, until: float, total_at: float) -> CallError:
    if until >= total_at:
        error = DeadlineExceeded(f"The call's time is up. {what}")
        error.sent = False
        return error
    return ConnectTimeout(what)


def _give_up(waiter: "asyncio.Future[Connection] | asyncio.Future[None]", error: CallError) -> None:
    if not waiter.done():
        waiter.set_exception(error)


def _pass_on(task: "asyncio.Task[None]", opened: "asyncio.Future[None]") -> None:
    """Tell the call how its task ended, if it still waits."""
    error = None if task.cancelled() else task.exception()
    if opened.done():
        return
    if task.cancelled():
        opened.cancel()
    elif error is not None:
        opened.set_exception(error)
    else:
        opened.set_result(None)
