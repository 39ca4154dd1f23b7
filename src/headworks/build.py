"""Puts an engine together from what the operator says: the only module that knows every part."""

import asyncio
import logging
import os
from base64 import b64encode
from collections.abc import Callable, Coroutine, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from headworks.absent import NoCache, NoContext, NoFilter, NoPrompts
from headworks.catalog import load as load_catalogue
from headworks.catalog.prices import Prices
from headworks.config.settings import Config, UpstreamConfig
from headworks.core.backoff import Backoff
from headworks.core.pricing import Price, flat_price
from headworks.core.routing import ModelListing, NamedRouter, Target, routes
from headworks.dispatch import Dispatcher
from headworks.engine import Engine
from headworks.errors import ConfigurationError
from headworks.observe.journal import Journals
from headworks.observe.metrics import Metrics
from headworks.ports import Clock, Journal, Keys, Random
from headworks.relay import Relay
from headworks.stores.keys import ConfiguredKey, SqliteKeys
from headworks.stores.keystore import Grant
from headworks.stores.ledger import SqliteLedger
from headworks.stores.ledger_schema import ledger_path
from headworks.stores.limits import MemoryLimits
from headworks.stores.pepper import load_pepper
from headworks.system import SystemClock, SystemRandom
from headworks.tokenizer import Tokenizer
from headworks.types import Plan, Secret
from headworks.upstream.http1 import ClientLimits, HttpClient, Origin, Proxy, tls_context
from headworks.upstream.openai import Credential, Provider, Providers
from headworks.upstream.probe import Place, Reachability

_log = logging.getLogger("headworks")

RESTART_ONLY = ("server", "store", "key_pepper", "log")
"""Sections that a reload cannot change: what they say at the start stays in force."""

_PROXY_PORT = 3128
_CLOSE_SECONDS = 5.0
"""How long what runs in the background may take to end."""

Clients = Mapping[str, HttpClient]


def _as_they_are(keys: Keys) -> Keys:
    return keys


class Assembly:
    """A whole engine with everything it holds open: ledger, keys, limits, connections.

    Attributes:
        config: What is in force.
        engine: The engine as the latest configuration wants it; ask for it at each call.
        clients: The connections to each upstream.
        reachability: Which upstreams are there.

    Raises:
        ConfigurationError: A file cannot be used; nothing stays open.
    """

    def __init__(
        self,
        config: Config,
        *,
        trust: Callable[[Keys], Keys] = _as_they_are,
        journals: tuple[Journal, ...] = (),
        clock: Clock | None = None,
        random: Random | None = None,
    ) -> None:
        """Open everything.

        Args:
            config: What the operator says.
            trust: Wraps the keys, for a face that lets its own process in.
            journals: What hears of each finished call, beside the metrics.
            clock: Time; the machine's by default.
            random: Chance; the machine's by default.
        """
        self.config = config
        self.clock = clock or SystemClock()
        self.random = random or SystemRandom()
        self.limits = MemoryLimits(self.clock)
        self.tokenizer = Tokenizer()
        self.metrics = Metrics(models=load_catalogue().ids())
        self.journals = Journals((self.metrics, *journals))
        self.reachability = Reachability(self.clock)
        self.clients: Clients = {}
        self._trust = trust
        self._replaced: list[HttpClient] = []
        self._tasks: list[asyncio.Task[None]] = []
        _check_folder(config.store)
        with ExitStack() as undo:
            pepper = load_pepper(config.store, config.key_pepper)
            self.keys = SqliteKeys(config.store, pepper, self.clock, _configured_keys(config))
            undo.callback(self.keys.close)
            self.ledger = SqliteLedger(ledger_path(config.store), self._prices(config), self.clock)
            undo.callback(self.ledger.close)
            clients = self._clients(config)
            self._adopt(config, clients, self._engine(config, clients))
            undo.pop_all()

    async def start(self) -> None:
        """Begin to follow changes of the key store, and to look whether upstreams are there."""
        self._tasks = [_spawn(self.keys.follow()), _spawn(self.reachability.follow())]

    async def reload(self, config: Config) -> None:
        """Take a new configuration: calls under way end as they began, new ones follow it.

        Raises:
            ConfigurationError: It cannot be used; then nothing has changed.
        """
        for section in RESTART_ONLY:
            if getattr(config, section) != getattr(self.config, section):
                _log.warning("a change of %s takes effect at the next start", section)
        config = replace(config, **{name: getattr(self.config, name) for name in RESTART_ONLY})
        clients = await asyncio.to_thread(self._clients, config)
        engine, prices = self._engine(config, clients), self._prices(config)
        self.keys.replace_configured(_configured_keys(config))
        self.ledger.prices = prices
        self._adopt(config, clients, engine)

    async def aclose(self) -> None:
        """Settle and close everything, whatever state it is in. Idempotent."""
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        try:
            if tasks:
                await asyncio.wait(tasks, timeout=_CLOSE_SECONDS)
            for client in (*self.clients.values(), *self._replaced):
                await client.aclose()
        finally:
            self.keys.close()
            self.ledger.close()

    def _adopt(self, config: Config, clients: Clients, engine: Engine) -> None:
        """Let a configuration take effect, all of it at once.

        Clients that it has no use for stay open: a call that began before may still try again.
        They close their own connections as these fall idle.
        """
        used = {*clients.values()}
        known = [one for one in self._replaced if one.statistics().open]
        known += self.clients.values()  # their calls may yet open a connection
        self._replaced = [one for one in known if one not in used]
        self.config, self.clients, self.engine = config, clients, engine
        self.reachability.watch({name: _place(one) for name, one in config.upstreams.items()})
        routed = {route.model for model in config.models.values() for route in model.routes}
        self.metrics.announce({*config.models, *routed}, {key.name for key in config.keys})

    def _prices(self, config: Config) -> Prices:
        return Prices(self.clock, _overlay(config))

    def _clients(self, config: Config) -> Clients:
        """Return a client for each upstream; those that did not change keep their connections.

        A file of authorities may have changed in place, so that its upstreams always count as
        changed.
        """
        return {
            name: self.clients[name]
            if name in self.clients
            and upstream.ca_file is None
            and upstream == self.config.upstreams.get(name)
            else _client(name, upstream)
            for name, upstream in config.upstreams.items()
        }

    def _engine(self, config: Config, clients: Clients) -> Engine:
        providers = {
            name: _provider(clients[name], upstream) for name, upstream in config.upstreams.items()
        }
        dispatcher = Dispatcher(
            router=_router(config),
            upstream=Providers(providers, self.clock),
            ledger=self.ledger,
            estimator=self.tokenizer,
            clock=self.clock,
            random=self.random,
            backoff=Backoff(config.retry.attempts, config.retry.first, config.retry.longest),
            most=config.server.max_answer,
        )
        return Engine(
            keys=self._trust(self.keys),
            prompts=NoPrompts(),
            guards=(),
            context=NoContext(),
            listing=ModelListing(sorted(config.models), int(self.clock.time())),
            cache=NoCache(),
            estimator=self.tokenizer,
            limits=self.limits,
            dispatcher=dispatcher,
            relay=Relay(NoFilter(), self.clock),
            journal=self.journals,
            clock=self.clock,
            random=self.random,
        )


def assemble(
    config: Config,
    *,
    trust: Callable[[Keys], Keys] = _as_they_are,
    journals: tuple[Journal, ...] = (),
) -> Assembly:
    """Return an engine with everything it needs, by the machine's clock and chance."""
    return Assembly(config, trust=trust, journals=journals)


def _spawn(work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
    """Start what runs until it is cancelled; if it ends otherwise, say so."""
    task = asyncio.get_running_loop().create_task(work)
    task.add_done_callback(_tell_end)
    return task


def _tell_end(task: "asyncio.Task[None]") -> None:
    if not task.cancelled():
        _log.error("%s ended unforeseen", task.get_coro(), exc_info=task.exception())


def _check_folder(store: Path) -> None:
    """Return if files can be made where the store is to be."""
    folder = store.absolute().parent
    if not folder.is_dir():
        problem = f"there is no folder {folder}; make it, or let store name another one"
    elif not os.access(folder, os.W_OK | os.X_OK):
        problem = f"the folder {folder} cannot be written; let store name another one"
    else:
        return
    raise ConfigurationError([f"store: {problem}"])


def _configured_keys(config: Config) -> list[ConfiguredKey]:
    return [
        ConfiguredKey(Grant(key.name, key.project, key.models, key.limits, key.expires), key.secret)
        for key in config.keys
    ]


def _overlay(config: Config) -> Mapping[str, Price]:
    return {
        name: flat_price(price.input, price.output, price.cached)
        for name, price in config.prices.items()
    }


def _router(config: Config) -> NamedRouter:
    targets = {
        name: Target(tuple(one.name for one in upstream.credentials), upstream.timeouts)
        for name, upstream in config.upstreams.items()
    }
    plans = {
        name: Plan(
            tuple(
                route
                for one in model.routes
                for route in routes(one.upstream, targets[one.upstream], one.model, one.timeouts)
            ),
            model.patience,
        )
        for name, model in config.models.items()
    }
    return NamedRouter(targets, plans)


def _origin(upstream: UpstreamConfig) -> Origin:
    return Origin.parse(upstream.base_url)[0]


def _place(upstream: UpstreamConfig) -> Place:
    """Return the first machine on the way to an upstream."""
    first = _proxy(upstream) or _origin(upstream)
    return Place(first.host, first.port, upstream.timeouts.connect)


def _client(name: str, upstream: UpstreamConfig) -> HttpClient:
    origin, file = _origin(upstream), upstream.ca_file
    context = None
    if origin.is_secure and file is not None:
        try:
            context = tls_context(str(file))
        except OSError as error:  # ssl.SSLError is one
            problem = f"{file} holds no certificates that can be read: {error}"
            raise ConfigurationError([f"upstreams.{name}.ca_file: {problem}"]) from None
    limits = ClientLimits(connections=upstream.connections)
    return HttpClient(origin, ssl_context=context, proxy=_proxy(upstream), limits=limits)


def _proxy(upstream: UpstreamConfig) -> Proxy | None:
    if upstream.proxy is None:
        return None
    parts = urlsplit(upstream.proxy.reveal())
    authorization = None
    if parts.username is not None:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        authorization = Secret("Basic " + b64encode(pair.encode()).decode())
    return Proxy(parts.hostname or "", parts.port or _PROXY_PORT, authorization)


def _provider(client: HttpClient, upstream: UpstreamConfig) -> Provider:
    _, base = Origin.parse(upstream.base_url)
    credentials = {
        one.name: Credential(one.api_key, one.organization, one.project)
        for one in upstream.credentials
    }
    return Provider(client, base, credentials)
