"""Runs the practice OpenAI on a socket: for ever, or in a thread for as long as a test needs it."""

import asyncio
import signal
import socket
import sys
import threading
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager, suppress
from typing import Any, final

from typing_extensions import override

from headworks.simulator.app import Simulator
from headworks.simulator.config import SimulatorConfig
from headworks.simulator.exchange import Application
from headworks.simulator.sockets import Sockets
from headworks.simulator.wire import Connection, OpenDoor, Settings
from headworks.system import SystemClock
from headworks.tokenizer import Tokenizer

_BACKLOG = 2048
_MOST_BODY = 64 * 1024 * 1024
_KEEP_ALIVE = 300.0  # seconds; clients let go first, as with the real one
_SWEEP = 30.0
_TICKS = 1000  # a second


@final
class WallClock(SystemClock):
    """The real time, for one loop. Waits that end in the same millisecond share one timer."""

    def __init__(self) -> None:
        self._ticks: dict[int, list[asyncio.Future[None]]] = {}

    @override
    async def sleep(self, seconds: float) -> None:
        """Wait, at most a millisecond longer; let others run if there is nothing to wait for."""
        if seconds <= 0:
            await asyncio.sleep(0)  # noqa: TID251 - here time comes in
            return
        loop = asyncio.get_running_loop()
        tick = int((loop.time() + seconds) * _TICKS) + 1
        waiting = self._ticks.get(tick)
        if waiting is None:
            waiting = self._ticks[tick] = []
            loop.call_at(tick / _TICKS, self._wake, tick)
        future = loop.create_future()
        waiting.append(future)
        await future

    def _wake(self, tick: int) -> None:
        for future in self._ticks.pop(tick):
            if not future.done():
                future.set_result(None)


@final
class Server:
    """One application on one socket. Those who hang are not waited for when it stops.

    An application that has an `aclose` is closed in the end.
    """

    def __init__(self, application: Application) -> None:
        clock = WallClock()
        if isinstance(application, Simulator):
            most = application.config.max_body
            self._settings = Settings(application, application, clock, most)
            self._settings.sockets = Sockets(application.provider, clock)
        else:
            self._settings = Settings(application, OpenDoor(), clock, _MOST_BODY)
        self._close: Callable[[], Awaitable[None]] | None = getattr(application, "aclose", None)
        self._stop: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_stopped = False

    def run(self, listener: socket.socket) -> None:
        """Serve on a listening socket until `stop` is called, or the process is interrupted."""
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(self._serve(listener))

    def stop(self) -> None:
        """End `run`. May be called from any thread."""
        self._is_stopped = True
        if self._loop is not None and self._stop is not None:
            with suppress(RuntimeError):  # the loop has ended by itself
                self._loop.call_soon_threadsafe(self._stop.set)

    async def _serve(self, listener: socket.socket) -> None:
        loop = self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        if self._is_stopped:
            return
        if threading.current_thread() is threading.main_thread() and sys.platform != "win32":
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.add_signal_handler(number, self._stop.set)
        settings = self._settings
        server = await loop.create_server(
            lambda: Connection(settings, loop.time), sock=listener, backlog=_BACKLOG
        )
        sweep = loop.call_later(_SWEEP, self._sweep)
        try:
            await self._stop.wait()
        finally:
            sweep.cancel()
            server.close()
            for connection in list(settings.connections):
                connection.transport.abort()
            for transport in list(settings.switched):
                transport.abort()
            while settings.tasks:
                await asyncio.wait(settings.tasks)
            if self._close is not None:
                await self._close()

    def _sweep(self) -> None:
        """Close the connections that nobody has used for long."""
        if self._loop is None:
            return
        now = self._loop.time()
        for connection in list(self._settings.connections):
            if connection.is_idle and now - connection.last_used > _KEEP_ALIVE:
                connection.transport.close()
        self._loop.call_later(_SWEEP, self._sweep)


class RunningSimulator:
    """A simulator that runs in a thread of its own, and what it can tell any other thread.

    Attributes:
        application: The simulator itself, to be called in its own loop alone.
        base_url: What an official client takes, such as `http://127.0.0.1:41234/v1`.
    """

    def __init__(self, application: Simulator, base_url: str) -> None:
        self.application, self.base_url = application, base_url

    def invoice(self) -> dict[str, Any]:
        """Return the sums in nano-dollars and tokens, also by model and by credential."""
        return self.application.books.invoice()

    def attempts(self) -> list[dict[str, Any]]:
        """Return every attempt, oldest first."""
        return self.application.books.attempts()

    def wait_settled(self, seconds: float = 5.0) -> bool:
        """Block until no attempt is open, as after a client has left; return whether in time."""
        return self.application.books.wait_settled(seconds)

    def reset(self) -> None:
        """Forget all attempts, prompts and faults."""
        self.application.reset()


@contextmanager
def running(config: SimulatorConfig | None = None) -> Generator[RunningSimulator]:
    """Run a simulator in a background thread on a free port, until the block is left."""
    application = simulator(config or SimulatorConfig())
    with running_application(application) as base_url:
        yield RunningSimulator(application, base_url)


@contextmanager
def running_application(application: Application) -> Generator[str]:
    """Run an application as a simulator runs, and yield its base URL."""
    server = Server(application)
    with socket.create_server(("127.0.0.1", 0), backlog=_BACKLOG) as listener:
        port = listener.getsockname()[1]
        thread = threading.Thread(
            target=server.run, args=(listener,), name=f"simulator-{port}", daemon=True
        )
        thread.start()
        try:
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            server.stop()
            thread.join()


def simulator(config: SimulatorConfig) -> Simulator:
    """Return a simulator in real time, with true token counts."""
    tokenizer = Tokenizer()
    tokenizer.load_soon(["o200k_base"])
    return Simulator(config, WallClock(), tokenizer)


def serve_forever(application: Application, listener: socket.socket) -> None:
    """Serve on a listening socket until interrupted."""
    with suppress(KeyboardInterrupt):
        Server(application).run(listener)


def _loop_factory() -> Any:
    if sys.platform == "win32":
        return None
    import uvloop

    return uvloop.new_event_loop
