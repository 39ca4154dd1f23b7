"""One event loop in a thread of its own, for callers who have no loop or another one."""

import asyncio
import atexit
import os
import threading
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import wait
from contextlib import suppress
from contextvars import Context, copy_context
from typing import Any, Generic, TypeVar

T = TypeVar("T")

DRAIN = 10.0
"""Seconds that `close` lets calls in flight finish before it cancels them."""

EXIT_DRAIN = 2.0
"""The same when the interpreter ends and nobody called `close`."""

_LOOKS_UP = 1.0
"""Seconds that a thread waits at a time."""


class PortalClosed(RuntimeError):
    """This Headworks was closed; open a new one."""


class PortalForked(RuntimeError):
    """This Headworks was started before the process forked; open one in each process."""


class PortalReentered(RuntimeError):
    """A waiting call was made inside the engine's own thread, where it would wait for itself."""


class Portal:
    """Runs coroutines in a background thread. Starts at the first use, ends once.

    The thread is a daemon: a program that forgets to close still ends, and an exit hook closes.
    """

    def __init__(self, on_close: Callable[[], Awaitable[None]] | None = None) -> None:
        """Prepare the portal; nothing starts yet.

        Args:
            on_close: Run in the loop when the last task is gone, before the loop ends.
        """
        self._on_close = on_close
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._pid = 0
        self._closed = False
        self._ended = threading.Event()

    def start(self) -> None:
        """Start the thread and its loop, if they are not running yet.

        Raises:
            PortalClosed: `close` was called.
            PortalForked: It was started in another process.
        """
        self._refuse_fork()
        with self._lock:
            self._started()

    def spawn(
        self,
        coroutine: Coroutine[Any, Any, T],
        ended: Callable[["asyncio.Task[T]"], None] | None = None,
    ) -> Callable[[], None]:
        """Run a coroutine in the loop, in the caller's context; return what cancels it, there.

        Nobody waits for its result: it must not raise. `ended` is run in the loop with its task,
        when that is not in flight any more.
        """
        context = copy_context()
        spawned = _Spawned(self._tasks, ended)
        try:
            self._refuse_fork()
            with self._lock:
                loop = self._started()
                loop.call_soon_threadsafe(spawned.start, coroutine, context)
        except RuntimeError:
            coroutine.close()
            raise
        return spawned.cancel

    def call_soon(self, callback: Callable[[], object]) -> None:
        """Run a callback in the loop; a loop that has ended does nothing any more."""
        # No lock here: a finaliser may call this while its own thread holds it.
        if self._loop is not None and self._is_own():
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(callback)

    def call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in the loop and wait here for its result.

        A wait that is interrupted (`KeyboardInterrupt`) cancels the coroutine.
        """
        try:
            self._refuse_fork()
            self.refuse_waiting()
            with self._lock:
                future = asyncio.run_coroutine_threadsafe(coroutine, self._started())
        except RuntimeError:
            coroutine.close()
            raise
        try:
            while not wait((future,), _LOOKS_UP).done:
                pass  # a Ctrl-C that comes just before Python waits is heard no sooner
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def refuse_waiting(self) -> None:
        """Raise `PortalReentered` in the loop's own thread: waiting there would never end."""
        if self._thread is not None and self._thread.ident == threading.get_ident():
            raise PortalReentered(_reason(PortalReentered))

    @property
    def in_flight(self) -> int:
        """How many coroutines are running."""
        return len(self._tasks)

    def close(self, drain: float = DRAIN) -> None:
        """Refuse new work, let what is running finish, and end the thread. Idempotent.

        Args:
            drain: Seconds to wait for coroutines in flight; then they are cancelled.
        """
        if not self._is_own():
            return
        self.refuse_waiting()
        with self._lock:
            first, self._closed = not self._closed, True
            loop = self._loop
        atexit.unregister(self._at_exit)
        if loop is None:
            return
        ending = asyncio.run_coroutine_threadsafe(self._end(drain), loop) if first else None
        self._ended.wait()
        if ending is not None:
            ending.result()

    def _at_exit(self) -> None:
        self.close(EXIT_DRAIN)

    def _started(self) -> asyncio.AbstractEventLoop:
        """Return the running loop; the lock is held."""
        if self._closed:
            raise PortalClosed(_reason(PortalClosed))
        if self._loop is None:
            self._pid = os.getpid()
            self._loop = _new_loop()
            self._thread = threading.Thread(
                target=self._run, args=(self._loop,), name="headworks", daemon=True
            )
            self._thread.start()
            atexit.register(self._at_exit)
        return self._loop

    def _refuse_fork(self) -> None:
        # Looked at before the lock: a fork may have copied it locked.
        if not self._is_own():
            raise PortalForked(_reason(PortalForked))

    def _is_own(self) -> bool:
        return self._pid in {0, os.getpid()}

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        asyncio.set_event_loop(loop)
        try:
            loop.run_forever()
            loop.run_until_complete(loop.shutdown_asyncgens())
            with suppress(RuntimeError):  # while the interpreter ends, no thread can be started
                loop.run_until_complete(loop.shutdown_default_executor())
        finally:
            loop.close()
            self._ended.set()

    async def _end(self, drain: float) -> None:
        loop = asyncio.get_running_loop()
        try:
            if self._tasks:
                await asyncio.wait(self._tasks, timeout=drain)
            for task in self._tasks:
                task.cancel()
            if self._tasks:
                await asyncio.wait(self._tasks)
            if self._on_close is not None:
                await self._on_close()
        finally:
            loop.stop()


class _Spawned(Generic[T]):
    """A coroutine on its way into the loop; both methods run there, `start` first."""

    __slots__ = ("_ended", "_task", "_tasks")

    def __init__(
        self,
        tasks: set[asyncio.Task[Any]],
        ended: Callable[["asyncio.Task[T]"], None] | None,
    ) -> None:
        self._tasks = tasks
        self._ended = ended
        self._task: asyncio.Task[T] | None = None

    def start(self, coroutine: Coroutine[Any, Any, T], context: Context) -> None:
        self._task = asyncio.get_running_loop().create_task(coroutine, context=context)
        self._tasks.add(self._task)
        self._task.add_done_callback(self._tasks.discard)
        if self._ended is not None:  # after it has left the tasks: who hears of it finds it gone
            self._task.add_done_callback(self._ended)

    def cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()


def _new_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


def _reason(error: type[Exception]) -> str:
    return (error.__doc__ or "").strip()
