"""Puts an engine together from what the operator says: the only module that knows every part."""

import asyncio
import logging
from base64 import b64encode
from collections.abc import Callable, Mapping
from contextlib import suppress
from urllib.parse import unquote, urlsplit

from headworks.absent import NoCache, NoContext, NoFilter, NoPrompts
from headworks.catalog.prices import Prices
from headworks.config.settings import Config, KeyConfig, UpstreamConfig
from headworks.core.backoff import Backoff
from headworks.core.pricing import Price, flat_price
from headworks.core.routing import ModelListing, NamedRouter, Target, routes
from headworks.dispatch import Dispatcher
from headworks.engine import Engine
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
from headworks.upstream.probe import is_reachable

_log = logging.getLogger("headworks")

RESTART_ONLY = ("server", "store", "key_pepper", "log")
"""Sections that a reload cannot change."""

_PROXY_PORT = 3128
_LOOK_SECONDS = 15.0
"""How often upstreams are looked for: by a connection that sends nothing."""


def _as_they_are(keys: Keys) -> Keys:
    return keys


class Assembly:
    """A whole engine with everything it holds open: ledger, keys, limits, connections.

    Attributes:
        engine: The engine as the latest configuration wants it; ask for it at each call.

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
        self.metrics = Metrics(models=frozenset(config.models))
        self.clients: dict[str, HttpClient] = {}
        self._trust = trust
        self._journals = Journals((self.metrics, *journals))
        self.reachability: dict[str, str] = dict.fromkeys(config.upstreams, "unknown")
        self._tasks: list[asyncio.Task[None]] = []
        pepper = load_pepper(config.store, config.key_pepper)
        self.keys = SqliteKeys(config.store, pepper, self.clock, _configured_keys(config.keys))
        try:
            self.ledger = SqliteLedger(ledger_path(config.store), self._prices(config), self.clock)
        except BaseException:
            self.keys.close()
            raise
        self.engine = self._engine(config)

    async def start(self) -> None:
        """Begin to follow changes of the key store, and to look whether upstreams are there."""
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(work) for work in (self.keys.follow(), self._look_out())]

    async def reload(self, config: Config) -> None:
        """Take a new configuration: calls under way end as they began, new ones follow it."""
        for section in RESTART_ONLY:
            if getattr(config, section) != getattr(self.config, section):
                _log.warning("a change of %s takes effect at the next start", section)
        old, prices = dict(self.clients), self._prices(config)
        self.engine, self.config = self._engine(config), config
        self.keys.replace_configured(_configured_keys(config.keys))
        self.ledger.prices = prices
        for name, client in old.items():
            if self.clients.get(name) is not client:
                await client.aclose()

    async def aclose(self) -> None:
        """Settle and close everything. Idempotent."""
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        for client in self.clients.values():
            await client.aclose()
        self.keys.close()
        self.ledger.close()

    async def _look_out(self) -> None:
        while True:
            for name, upstream in self.config.upstreams.items():
                origin, proxy = _origin(upstream), _proxy(upstream)
                host, port = (
                    (origin.host, origin.port) if proxy is None else (proxy.host, proxy.port)
                )
                is_there = await is_reachable(host, port, upstream.timeouts.connect)
                state = "reachable" if is_there else "degraded"
                if state == "degraded" != self.reachability.get(name):
                    _log.warning("upstream %s cannot be reached at %s:%d", name, host, port)
                self.reachability[name] = state
            await self.clock.sleep(_LOOK_SECONDS)

    def _prices(self, config: Config) -> Prices:
        return Prices(self.clock, _overlay(config))

    def _engine(self, config: Config) -> Engine:
        """Return an engine; upstreams that did not change keep their connections."""
        self.clients = {
            name: self.clients[name]
            if name in self.clients and self.config.upstreams.get(name) == upstream
            else _client(upstream)
            for name, upstream in config.upstreams.items()
        }
        providers = {
            name: _provider(self.clients[name], upstream)
            for name, upstream in config.upstreams.items()
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
            journal=self._journals,
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


def _configured_keys(keys: tuple[KeyConfig, ...]) -> list[ConfiguredKey]:
    return [
        ConfiguredKey(Grant(key.name, key.project, key.models, key.limits, key.expires), key.secret)
        for key in keys
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


def _client(upstream: UpstreamConfig) -> HttpClient:
    origin = _origin(upstream)
    context = None
    if origin.is_secure and upstream.ca_file is not None:
        context = tls_context(str(upstream.ca_file))
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
