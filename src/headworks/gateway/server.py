"""The process around the gateway: two listeners, one loop, and a life that ends gracefully.

A stop goes through three phases. *Lame duck*: not ready any more, still serving, new connections
included, so that load balancers can look away. *Drain*: nothing new is accepted; what is in flight
goes on to its last byte. *Cut*: at the deadline, or at a second signal, what is left is cancelled
and given a moment to settle. The admin plane stays up until the end.
"""

import asyncio
import contextlib
import gc
import signal
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Generator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any

from headworks.errors import ConfigurationError
from headworks.gateway.heads import HttpLimits
from headworks.gateway.lifecycle import Lifecycle
from headworks.gateway.listener import Application, Listener, bind, url_of


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerOptions:
    """How a server listens, and how it ends.

    Attributes:
        listen: Data plane, as `host:port`; port 0 takes a free one.
        admin: Admin plane, likewise.
        drain_seconds: How long requests in flight may go on after a stop.
        lame_duck_seconds: How long new connections are still served after SIGTERM. 0 suits a single
            instance; behind a load balancer, the time that it needs to see `/readyz` fail.
        max_message: The largest WebSocket message on the data plane; None takes no connections.
    """

    listen: str = "127.0.0.1:4000"
    admin: str = "127.0.0.1:4001"
    drain_seconds: float = 600.0
    lame_duck_seconds: float = 0.0
    max_message: int | None = None
    limits: HttpLimits = field(default_factory=HttpLimits)


def _announce(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


async def _nothing() -> None:
    """Do nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hooks:
    """What the rest of the process does as the server lives and ends.

    Attributes:
        on_start: Awaited before the first request is taken.
        on_reload: Called at SIGHUP.
        on_stop: Awaited after the last request; settles and closes.
        announce: Gets each line for the operator.
    """

    on_start: Callable[[], Awaitable[None]] = _nothing
    on_reload: Callable[[], None] = lambda: None
    on_stop: Callable[[], Awaitable[None]] = _nothing
    announce: Callable[[str], None] = _announce


class Server:
    """A data plane and an admin plane in the running loop.

    Attributes:
        url: Where the data plane is reached; `admin_url` likewise.
        ready: Set when the first request may come.
        ended: Set when the last connection is closed and the stop hook is through.
    """

    def __init__(
        self,
        app: Application,
        admin_app: Application,
        lifecycle: Lifecycle,
        options: ServerOptions | None = None,
        hooks: Hooks | None = None,
    ) -> None:
        """Bind both addresses.

        Raises:
            ConfigurationError: An address is not valid, or cannot be had.
        """
        self.lifecycle = lifecycle
        self.options = options or ServerOptions()
        self.hooks = hooks or Hooks()
        with contextlib.ExitStack() as undo:
            data = undo.enter_context(bind("server.listen", self.options.listen))
            admin = undo.enter_context(bind("server.admin", self.options.admin))
            undo.pop_all()
        self.url, self.admin_url = url_of(data), url_of(admin)
        self.ready, self.ended = asyncio.Event(), asyncio.Event()
        limits, most = self.options.limits, self.options.max_message
        self._data = Listener(app, data, limits, lifecycle, max_message=most)
        self._admin = Listener(admin_app, admin, self.options.limits, Lifecycle())
        self._stop = asyncio.Event()
        self._cut = asyncio.Event()
        self._skip_lame_duck = False

    def stop(self, *, at_once: bool = False) -> None:
        """Begin to end: not ready from now on. A second call, or `at_once`, ends the drain."""
        if self._stop.is_set() or at_once:
            self._cut.set()
        self.lifecycle.draining = True
        self._stop.set()

    async def run(self) -> None:
        """Serve until stopped, then drain."""
        try:
            await self._admin.start()
            await self._start()
            if not self._stop.is_set():
                await self._data.start()
                _quieten_gc()
                self.lifecycle.started = True
                self.ready.set()
                self.hooks.announce(
                    f"headworks is ready: API {self.url}/v1, admin {self.admin_url}"
                )
                await self._stop.wait()
                await self._wind_down()
        finally:
            self.lifecycle.draining = True
            try:
                await self._data.close()
                await self.hooks.on_stop()
            finally:
                await self._admin.close()
                self.ended.set()

    async def _start(self) -> None:
        """Await the start hook; a cut ends a start that hangs."""
        start = asyncio.ensure_future(self.hooks.on_start())
        await _first(start, self._cut)
        if not start.done():
            start.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await start
        else:
            start.result()

    async def _wind_down(self) -> None:
        options = self.options
        if options.lame_duck_seconds > 0 and not self._skip_lame_duck:
            await _first(None, self._cut, options.lame_duck_seconds)
        if self.lifecycle.in_flight:
            self.hooks.announce(
                f"headworks is draining: {self.lifecycle.in_flight} in flight, at most "
                f"{options.drain_seconds:g} s; send the signal again to stop now"
            )
        drained = asyncio.ensure_future(self._data.drain())
        await _first(drained, self._cut, options.drain_seconds)
        await self._data.close()
        await drained

    @contextmanager
    def signals(self) -> Generator[None]:
        """Listen to SIGTERM, SIGINT and SIGHUP while the block runs (main thread only)."""
        loop = asyncio.get_running_loop()
        wanted: dict[signal.Signals, Callable[[], None]] = {
            signal.SIGTERM: self.stop,
            signal.SIGINT: self._interrupt,
            signal.SIGHUP: self.hooks.on_reload,
        }
        for number, action in wanted.items():
            loop.add_signal_handler(number, action)
        try:
            yield
        finally:
            for number in wanted:
                loop.remove_signal_handler(number)

    def _interrupt(self) -> None:
        """End without a lame duck: nobody balances the load of a terminal."""
        self._skip_lame_duck = True
        self.stop()


def _quieten_gc() -> None:
    """Let the cyclic collector run seldom, and never over what lives as long as the process.

    A call makes some hundred objects that reference counts free; with the default threshold of
    700 the collector took a tenth of the CPU.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


async def _first(
    work: asyncio.Future[None] | None, event: asyncio.Event, seconds: float | None = None
) -> None:
    """Return when the work is done, the event is set or the time is up; the work goes on."""
    waiting = asyncio.ensure_future(event.wait())
    watched: set[asyncio.Future[Any]] = {waiting} if work is None else {waiting, work}
    try:
        await asyncio.wait(watched, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiting.cancel()


async def serve(
    app: Application,
    admin_app: Application,
    lifecycle: Lifecycle,
    options: ServerOptions | None = None,
    hooks: Hooks | None = None,
) -> None:
    """Serve until a signal says stop; return when everything has ended in order.

    Raises:
        ConfigurationError: An address is not valid, or cannot be had; nothing was started.
    """
    server = Server(app, admin_app, lifecycle, options, hooks)
    with server.signals():
        await server.run()


def _new_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop
    except ImportError:  # Windows has none
        return asyncio.new_event_loop()
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop


def _open_files() -> None:
    """Let this process have as many open files as it may: 1,024, a usual default, are 500 calls."""
    try:
        import resource
    except ImportError:  # Windows has none
        return
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):  # some systems say "no limit" and mean another
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def run(main: Coroutine[Any, Any, None]) -> int:
    """Run `main` on uvloop and return the exit code; what the operator must change goes to stderr."""
    _open_files()
    try:
        with asyncio.Runner(loop_factory=_new_loop) as runner:
            runner.run(main)
    except ConfigurationError as error:
        sys.stderr.write("".join(f"headworks: {problem}\n" for problem in error.problems))
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


@asynccontextmanager
async def running(
    app: Application,
    admin_app: Application,
    lifecycle: Lifecycle | None = None,
    options: ServerOptions | None = None,
    hooks: Hooks | None = None,
) -> AsyncGenerator[Server]:
    """Run a server on free ports beside the caller's own tasks; it drains when the block ends."""
    options = options or ServerOptions(listen="127.0.0.1:0", admin="127.0.0.1:0")
    hooks = hooks or Hooks(announce=lambda _: None)
    server = Server(app, admin_app, lifecycle or Lifecycle(), options, hooks)
    life = asyncio.ensure_future(server.run())
    try:
        await _first(life, server.ready)
        if life.done():
            life.result()
        yield server
    finally:
        server.stop()
        await life
