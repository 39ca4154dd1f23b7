"""A gateway as a running whole: engine, both planes, and the configuration that they follow."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any, cast

from headworks._version import __version__
from headworks.build import Assembly
from headworks.config.settings import Config
from headworks.config.watch import changes
from headworks.errors import ConfigurationError
from headworks.gateway.admin import AdminSources, HostGate, admin_app
from headworks.gateway.asgi import Gateway
from headworks.gateway.lifecycle import Lifecycle
from headworks.gateway.server import Hooks, Server, ServerOptions
from headworks.observe.exposition import Exposition

_log = logging.getLogger("headworks")


class Station:
    """Serves an assembly, and has it follow its configuration's files.

    `load` reads the configuration anew; an invalid one is told and the old one kept.
    """

    def __init__(self, assembly: Assembly, load: Callable[[], Config]) -> None:
        self.assembly = assembly
        self.lifecycle = Lifecycle()
        self.configuration = "current"
        self.app = Gateway(lambda: assembly.engine, lambda: assembly.config.server.max_body)
        self._load = load
        self._follower: asyncio.Task[None] | None = None
        self._reloads: set[asyncio.Task[None]] = set()
        assembly.metrics.gauge(
            "headworks_in_flight", "Requests in flight.", lambda: self.lifecycle.in_flight
        )

    def server(self, *, announce: Callable[[str], None]) -> Server:
        """Return a server for both planes; raises `ConfigurationError` if an address is taken."""
        settings = self.assembly.config.server
        options = ServerOptions(
            listen=str(settings.listen), admin=str(settings.admin), drain_seconds=settings.drain
        )
        hooks = Hooks(
            on_start=self._start, on_reload=self._reload_soon, on_stop=self._stop, announce=announce
        )
        return Server(
            cast("Any", self.app), cast("Any", self.admin()), self.lifecycle, options, hooks
        )

    def admin(self) -> HostGate:
        """Return the admin plane."""
        assembly = self.assembly
        sources = AdminSources(
            lifecycle=self.lifecycle,
            version=__version__,
            environment=assembly.config.environment,
            metrics=Exposition(assembly.metrics).render,
            configuration=lambda: self.configuration,
            ledger_ok=lambda: not assembly.ledger.statistics().owed,
            upstreams=lambda: assembly.reachability,
        )
        return admin_app(sources, str(assembly.config.server.admin))

    async def reload(self) -> None:
        """Read the configuration anew and follow it, whole or not at all."""
        try:
            await self.assembly.reload(self._load())
        except ConfigurationError as error:
            self.configuration = f"old kept: {error.problems[0]}"
            for problem in error.problems:
                _log.error("configuration not taken, the old one stays: %s", problem)
        else:
            self.configuration = "current"
            _log.info("configuration reloaded")

    async def _start(self) -> None:
        await self.assembly.start()
        files = self.assembly.config.files
        if files:
            watching = changes(files, self.assembly.clock)
            self._follower = asyncio.get_running_loop().create_task(self._follow(watching))

    async def _follow(self, watching: AsyncIterator[None]) -> None:
        async for _ in watching:
            await self.reload()

    def _reload_soon(self) -> None:
        task = asyncio.get_running_loop().create_task(self.reload())
        self._reloads.add(task)
        task.add_done_callback(self._reloads.discard)

    async def _stop(self) -> None:
        if self._follower is not None:
            self._follower.cancel()
            with suppress(asyncio.CancelledError):
                await self._follower
        await self.assembly.aclose()
