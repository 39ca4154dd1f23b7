"""A loop in which no time passes: when nothing is ready it jumps to the next timer."""

import asyncio
from collections.abc import Callable
from typing import Any

from typing_extensions import override

EPOCH = 1.8e9
"""What the wall clock says when a world begins, in seconds since 1970."""
_MOST_TURNS = 20_000
"""Turns of the loop at one moment; more is a task that spins."""


class StandsStill(Exception):
    """Nothing will ever happen again, or only one thing, for ever."""


class VirtualLoop(asyncio.BaseEventLoop):
    """Runs callbacks as asyncio does; `time` moves only when all of them wait.

    `dial` and `listen` are the network's. What asks for a thread is done at once instead.

    Attributes:
        ends_at: When a world that has not ended by itself is given up.
    """

    def __init__(self) -> None:
        super().__init__()
        self.ends_at = 3_600.0
        self.dial: Callable[..., Any] | None = None
        self.listen: Callable[..., Any] | None = None
        self._now, self._turns = 1_000.0, 0
        self._selector = self

    @override
    def time(self) -> float:
        return self._now

    def select(self, timeout: float | None) -> list[Any]:
        """Jump to the next timer if there is nothing else to do."""
        self._turns += 1
        if timeout is None:
            raise StandsStill("nothing is ready and no timer is set")
        if timeout > 0:
            self._now, self._turns = max(self._now, self.next_timer()), 0
        if self._turns > _MOST_TURNS or self._now > self.ends_at:
            raise StandsStill(f"at {self._now:.3f} the world has not come to its end")
        return []

    def next_timer(self) -> float:
        """Return when the next timer is due."""
        when: float = self._scheduled[0].when()  # type: ignore[attr-defined] # asyncio's own heap
        return when

    def timers(self) -> list[asyncio.TimerHandle]:
        """Return the timers that wait."""
        scheduled: list[asyncio.TimerHandle] = self._scheduled  # type: ignore[attr-defined] # as above
        return [timer for timer in scheduled if not timer.cancelled()]

    @override
    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> Any:  # type: ignore[override] # one type for all
        done = self.create_future()
        try:
            done.set_result(func(*args))
        except Exception as error:  # noqa: BLE001 - whoever waits for the thread gets it
            done.set_exception(error)
        return done

    @override
    async def getaddrinfo(self, host: Any, port: Any, **options: Any) -> Any:
        """Return a name as its own address: the network knows no others."""
        return [(0, 0, 0, "", (host, port))]

    @override
    async def create_connection(self, protocol_factory: Any, host: Any = None, port: Any = None, **options: Any) -> Any:  # fmt: skip
        if self.dial is None or options.get("ssl"):
            raise OSError("this world has no such network")
        return await self.dial(protocol_factory, host, port)

    @override
    async def create_server(self, protocol_factory: Any, host: Any = None, port: Any = None, *, sock: Any = None, **options: Any) -> Any:  # fmt: skip
        if self.listen is None:
            raise OSError("this world has no network")
        return self.listen(protocol_factory, sock)

    def _process_events(self, event_list: list[Any]) -> None:
        """Do nothing: there are no descriptors."""

    def _write_to_self(self) -> None:
        """Do nothing: no thread waits."""


class LoopClock:
    """The `Clock` port over a loop's time."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.now = loop.time
        self._loop, self._offset = loop, EPOCH - loop.time()

    def time(self) -> float:
        """Return seconds since 1970."""
        return self.now() + self._offset

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Callable[[], None]:
        """Call back in virtual time; return what prevents that."""
        return self._loop.call_later(seconds, callback).cancel

    async def sleep(self, seconds: float) -> None:
        """Wait, in virtual time."""
        await asyncio.sleep(max(0.0, seconds))
