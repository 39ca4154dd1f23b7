"""A gateway as a running whole: engine, both planes, and the configuration that they follow."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any, cast

from headworks._version import __version__
from headworks.build import Assembly
from headworks.config.settings import Config
from headworks.config.watch import changes
from headworks.engine import Engine
from headworks.errors import ConfigurationError
from headworks.gateway.admin import AdminSources, HostGate, admin_app
from headworks.gateway.asgi import Gateway
from headworks.gateway.budgets import budget_routes, show_budgets
from headworks.gateway.client_tokens import TokenDesk
from headworks.gateway.cors import Cors
from headworks.gateway.gauges import show_state
from headworks.gateway.lifecycle import Lifecycle
from headworks.gateway.listener import Application
from headworks.gateway.pages import Pages
from headworks.gateway.server import Hooks, Server, ServerOptions
from headworks.gateway.upstreams import upstream_routes
from headworks.gateway.usage import usage_routes
from headworks.observe.exposition import Exposition

_log = logging.getLogger("headworks")

_CURRENT = "current"
_WATCH_SECONDS = 0.4
"""How often files are looked at; a change takes effect once they were the same at two looks."""
_STOP_SECONDS = 5.0
"""How long a reload under way may take to end when the gateway does."""


class Station:
    """Serves an assembly, and has it follow its configuration's files.

    `load` reads the configuration anew, in a thread of its own; an invalid one is told, and the
    old one kept.

    Attributes:
        configuration: "current", or why the newest one was not taken.
    """

    def __init__(self, assembly: Assembly, load: Callable[[], Config]) -> None:
        self.assembly = assembly
        self.lifecycle = Lifecycle()
        self.configuration = _CURRENT
        self.app = self._data_plane()
        self._load = load
        self._asked = asyncio.Event()
        self._follower: asyncio.Task[None] | None = None
        show_state(assembly)
        show_budgets(assembly)
        assembly.metrics.gauge(
            "headworks_in_flight", "Requests in flight.", lambda: self.lifecycle.in_flight
        )
        assembly.metrics.gauge(
            "headworks_configuration_current",
            "1 while the newest configuration is in force, 0 while an older one is kept.",
            lambda: self.configuration == _CURRENT,
        )

    def _data_plane(self) -> Application:
        """Return the application that apps call."""
        assembly, cors = self.assembly, self.assembly.config.server.cors

        def engine() -> Engine:
            return assembly.engine

        said = assembly.config.server
        gateway = cast(
            "Any",
            Gateway(engine, lambda: said.max_body, lambda: said.max_upload, Pages(said.cors)),
        )
        app = TokenDesk(gateway, engine, assembly.keys)
        return app if cors is None else Cors(app, engine, cors)

    def server(self, *, announce: Callable[[str], None]) -> Server:
        """Return a server for both planes; raises `ConfigurationError` if an address is taken."""
        settings = self.assembly.config.server
        options = ServerOptions(
            listen=str(settings.listen),
            admin=str(settings.admin),
            drain_seconds=settings.drain,
            max_message=settings.websocket.most,
        )
        hooks = Hooks(
            on_start=self._start, on_reload=self._asked.set, on_stop=self._stop, announce=announce
        )
        return Server(self.app, cast("Any", self.admin()), self.lifecycle, options, hooks)

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
            upstreams=assembly.reachability.states,
            api=[
                *upstream_routes(assembly.health),
                *budget_routes(assembly.budgets),
                *usage_routes(assembly.ledger.path, assembly.clock),
            ],
        )
        return admin_app(sources, str(assembly.config.server.admin))

    async def reload(self) -> None:
        """Read the configuration anew and follow it, whole or not at all. Never raises."""
        try:
            config = await asyncio.to_thread(self._load)
            await self.assembly.reload(config)
        except ConfigurationError as error:
            self._keep_old(error.problems)
        except Exception as error:  # noqa: BLE001 - whatever a reload does wrong, the old one serves
            _log.exception("a reload failed unforeseen")
            self._keep_old([f"{type(error).__name__}: see the log"])
        else:
            self.configuration = _CURRENT
            _log.info("configuration reloaded")
            for warning in self.assembly.config.warnings:
                _log.warning("configuration: %s", warning)

    def _keep_old(self, problems: Iterable[str]) -> None:
        told = tuple(problems)
        self.configuration = f"old kept: {told[0]}"
        for problem in told:
            _log.error("configuration not taken, the old one stays: %s", problem)

    async def _start(self) -> None:
        await self.assembly.start()
        self._follower = asyncio.get_running_loop().create_task(self._follow())

    async def _follow(self) -> None:
        """Reload when asked to, and when a file changes that the configuration is made of."""
        while True:
            files = self.assembly.config.files
            notice = self._notice(changes(files, self.assembly.clock, _WATCH_SECONDS))
            watcher = asyncio.get_running_loop().create_task(notice)
            try:
                while files == self.assembly.config.files:
                    await self._asked.wait()
                    self._asked.clear()
                    await self.reload()
            finally:
                watcher.cancel()
            self._asked.set()  # once more: a new file may have changed before it was watched

    async def _notice(self, seen: AsyncIterator[None]) -> None:
        async for _ in seen:
            self._asked.set()

    async def _stop(self) -> None:
        if self._follower is not None:
            self._follower.cancel()
            await asyncio.wait([self._follower], timeout=_STOP_SECONDS)
        await self.assembly.aclose()
