"""Puts an engine together from what the operator says: the only module that knows every part."""

import asyncio
import logging
import os
from collections.abc import Callable, Coroutine, Mapping
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from headworks.absent import NoAlerts, NoCache, NoContext, NoFilter, NoIdempotency, NoPrompts
from headworks.catalog import load as load_catalogue
from headworks.catalog.prices import Prices
from headworks.config.settings import Config, known_secrets
from headworks.context.fitting import Fitting
from headworks.context.summaries import Summaries
from headworks.context.windows import Windows
from headworks.core.backoff import Backoff
from headworks.core.budget import Budget, Owner
from headworks.core.buffering import Buffers
from headworks.core.groups import Conditions
from headworks.core.hedging import Hedges
from headworks.core.pricing import Price, flat_price
from headworks.core.routing import ModelListing
from headworks.core.tokens import encoding_of
from headworks.dispatch import Dispatcher
from headworks.engine import Engine
from headworks.errors import ConfigurationError
from headworks.observe.journal import Journals
from headworks.observe.log import Redaction
from headworks.observe.metrics import Metrics
from headworks.observe.tags import TagRedaction
from headworks.ports import Alerts, Clock, Context, Guard, Journal, Keys, Random
from headworks.relay import Relay
from headworks.session import Sessions
from headworks.stores.apart import SessionGuard
from headworks.stores.budget_alerts import ToldAlerts, alerts_path
from headworks.stores.budgeted import BudgetedLedger
from headworks.stores.budgets import MemoryBudgets
from headworks.stores.budgets import Plan as BudgetPlan
from headworks.stores.health import MemoryHealth
from headworks.stores.homes_file import HomesFile, homes_path
from headworks.stores.idempotency import SqliteIdempotency, idempotency_path
from headworks.stores.keys import ConfiguredKey, SqliteKeys
from headworks.stores.ledger import SqliteLedger
from headworks.stores.ledger_durable import DurableLedger
from headworks.stores.ledger_schema import ledger_path
from headworks.stores.limits import MemoryLimits
from headworks.stores.pepper import load_pepper
from headworks.stores.queue import QueuedLimits
from headworks.system import SystemClock, SystemRandom
from headworks.tokenizer import Tokenizer
from headworks.upstream.http1 import HttpClient
from headworks.upstream.openai import Providers
from headworks.upstream.probe import Reachability
from headworks.wiring.budgets import Extents
from headworks.wiring.homes import homes
from headworks.wiring.limits import longest_answer, longest_call
from headworks.wiring.routes import listed_window, router, said_windows, ways
from headworks.wiring.sockets import sessions
from headworks.wiring.standing import with_standing
from headworks.wiring.upstreams import client_of, place_of, provider_of, rules_of

_log = logging.getLogger("headworks")

RESTART_ONLY = ("server", "store", "key_pepper", "log", "ledger")
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
        alerts: Alerts | None = None,
    ) -> None:
        """Open everything.

        Args:
            config: What the operator says.
            trust: Wraps the keys, for a face that lets its own process in.
            journals: What hears of each finished call, beside the metrics.
            clock: Time; the machine's by default.
            random: Chance; the machine's by default.
            alerts: Who hears of budgets that are nearly used up, beside the log.
        """
        self.clock = clock or SystemClock()
        self.config = config = with_standing(config, self.clock.time())
        self.random = random or SystemRandom()
        self.limits, self.hedges = MemoryLimits(self.clock), Hedges()
        self.queue = QueuedLimits(self.limits, self.clock, self.random)
        self.health = MemoryHealth(self.clock, self.random)
        self.windows = Windows(listed_window)
        self.tokenizer = Tokenizer()
        self.metrics = Metrics(models=load_catalogue().ids())
        self.journals = Journals((self.metrics, *journals))
        self.redaction = Redaction(known_secrets(config))
        self.reachability = Reachability(self.clock)
        self.idempotency = _idempotency(config, self.clock)
        self.clients: Clients = {}
        self._trust, self._funding = trust, asyncio.Lock()
        self._replaced: list[HttpClient] = []
        self._tasks: list[asyncio.Task[None]] = []
        _check_folder(config.store)
        with ExitStack() as undo:
            pepper = load_pepper(config.store, config.key_pepper)
            self.keys = undo.enter_context(
                closing(
                    SqliteKeys(
                        config.store, pepper, self.clock, _configured_keys(config), self._fund
                    )
                )
            )
            self.ledger = undo.enter_context(closing(self._ledger()))
            self.budgets = undo.enter_context(closing(self._budgets(alerts or NoAlerts())))
            self.homes_file = undo.enter_context(
                closing(HomesFile(homes_path(config.store), self.clock))
            )
            clients = self._clients(config)
            budgets = self.budgets.plan(_all_budgets(config, self.keys.budgets))
            self._adopt(config, clients, self._engine(config, clients), budgets)
            self.limits.restore(self.ledger.path, self.keys.callers(), self.clock.time())
            undo.pop_all()

    async def start(self) -> None:
        """Begin to follow changes of the key store, and to look whether upstreams are there."""
        self._tasks = [_spawn(self.keys.follow()), _spawn(self.reachability.follow())]
        self._tasks.append(_spawn(self.idempotency.follow()))

    async def reload(self, config: Config) -> None:
        """Take a new configuration: calls under way end as they began, new ones follow it.

        Raises:
            ConfigurationError: It cannot be used; then nothing has changed.
        """
        for section in RESTART_ONLY:
            if getattr(config, section) != getattr(self.config, section):
                _log.warning("a change of %s takes effect at the next start", section)
        config = replace(config, **{name: getattr(self.config, name) for name in RESTART_ONLY})
        config = with_standing(config, self.clock.time())
        clients = await asyncio.to_thread(self._clients, config)
        async with self._funding:
            budgets = _all_budgets(config, self.keys.budgets)
            plan = await asyncio.to_thread(self.budgets.plan, budgets)
            engine, prices = self._engine(config, clients), self._prices(config)
            self.keys.replace_configured(_configured_keys(config))
            self.ledger.prices = prices
            self._adopt(config, clients, engine, plan)

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
            self.homes_file.close()
            self.idempotency.close()
            self.keys.close()
            self.budgets.close()
            self.ledger.close()

    def _adopt(self, config: Config, clients: Clients, engine: Engine, budgets: BudgetPlan) -> None:
        """Let a configuration take effect, all of it at once.

        Clients that it has no use for stay open: a call that began before may still try again.
        They close their own connections as these fall idle.
        """
        used = {*clients.values()}
        known = [one for one in self._replaced if one.statistics().open]
        known += self.clients.values()  # their calls may yet open a connection
        self._replaced = [one for one in known if one not in used]
        self.config, self.clients, self.engine = config, clients, engine
        self.redaction.learn(known_secrets(config))
        self.health.adopt({name: rules_of(one) for name, one in config.upstreams.items()})
        self.reachability.watch({name: place_of(one) for name, one in config.upstreams.items()})
        self.windows.adopt(said_windows(config))
        self.ledger.flush()
        self.budgets.adopt(budgets)
        self.limits.adopt(config.limits, longest_answer(config))
        self.queue.adopt(config.queue, config.limits, longest_call(config))
        self.idempotency.keep = config.idempotency.keep
        self.idempotency.max_body = config.idempotency.max_body
        routed = {way.model for model in config.models.values() for way in model.all_routes()}
        self.metrics.announce({*config.models, *routed}, {key.grant.name for key in config.keys})

    async def _fund(self, stored: Mapping[Owner, Budget]) -> None:
        """Let the budgets of the store's keys take effect."""
        async with self._funding:
            budgets = _all_budgets(self.config, stored)
            plan = await asyncio.to_thread(self.budgets.plan, budgets)
            self.ledger.flush()
            self.budgets.adopt(plan)

    def _budgets(self, alerts: Alerts) -> MemoryBudgets:
        told = ToldAlerts(alerts_path(self.config.store))
        return MemoryBudgets(self.ledger.path, self.clock, alerts, told)

    def _ledger(self) -> SqliteLedger:
        kind = DurableLedger if self.config.ledger.survives_power_cut else SqliteLedger
        return kind(ledger_path(self.config.store), self._prices(self.config), self.clock)

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
            else client_of(name, upstream)
            for name, upstream in config.upstreams.items()
        }

    def _engine(self, config: Config, clients: Clients) -> Engine:
        providers = {
            name: provider_of(clients[name], upstream)
            for name, upstream in config.upstreams.items()
        }
        dispatcher = Dispatcher(
            router=router(config, self._conditions(), self.windows.window),
            upstream=Providers(providers, self.clock),
            ledger=BudgetedLedger(
                self.ledger,
                self.budgets,
                self._price,
                Extents(config).extent,
                hold_quoted=self.ledger.hold,
            ),
            estimator=self.tokenizer,
            clock=self.clock,
            random=self.random,
            backoff=Backoff(config.retry.attempts, config.retry.first, config.retry.longest),
            most=config.server.max_answer,
            health=self.health,
            homes=homes(config, self.homes_file),
            hedges=self.hedges,
            most_event=config.stream.max_event,
        )
        return Engine(
            keys=self._trust(self.keys),
            prompts=NoPrompts(),
            guards=self._guards(config),
            context=self._context(config, dispatcher),
            listing=ModelListing(sorted(config.models), int(self.clock.time())),
            cache=NoCache(),
            estimator=self.tokenizer,
            limits=self.queue,
            dispatcher=dispatcher,
            relay=Relay(
                NoFilter(),
                self.clock,
                config.stream.keep_alive,
                _buffers(config),
                self._sessions(config, dispatcher),
            ),
            journal=self.journals,
            clock=self.clock,
            random=self.random,
            redact=TagRedaction(self.redaction).redact,
            idempotency=self.idempotency if config.idempotency.keep else NoIdempotency(),
        )

    def _guards(self, config: Config) -> tuple[Guard, ...]:
        if config.provider_sessions == "allow":
            return ()
        return (SessionGuard(config.limits, self.budgets),)

    def _sessions(self, config: Config, dispatcher: Dispatcher) -> Sessions:
        rules = config.server.websocket
        return sessions(dispatcher, self.limits, self.ledger, self.journals, rules)

    def _conditions(self) -> Conditions:
        """Return what the order of a group's routes depends on, as it is at each call."""
        return Conditions(self.random.random, self.health.load, self._price)

    def _price(self, model: str) -> Price | None:
        return self.ledger.prices.price(model)

    def _context(self, config: Config, dispatcher: Dispatcher) -> Context:
        policies = {
            name: model.context
            for name, model in config.models.items()
            if model.context is not None
        }
        if not policies:
            return NoContext()
        names = (*policies, *(policy.model for policy in policies.values() if policy.model))
        places = {name: str(ways(config, name)[0]) for name in names}
        self.tokenizer.load_soon(encoding_of(place) for place in places.values())
        summaries = Summaries(
            dispatcher, self.tokenizer, self.limits, self.journals, self.clock, self.random
        )
        return Fitting(policies, places, self.windows, self.tokenizer, summaries)


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


def _buffers(config: Config) -> Buffers:
    models = {name: model.buffering for name, model in config.models.items()}
    return Buffers(config.stream.buffering, models)


def _idempotency(config: Config, clock: Clock) -> SqliteIdempotency:
    is_synced = config.ledger.survives_power_cut
    return SqliteIdempotency(idempotency_path(config.store), clock, is_synced=is_synced)


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
    return [ConfiguredKey(key.grant, key.secret) for key in config.keys]


def _all_budgets(config: Config, stored: Mapping[Owner, Budget]) -> dict[Owner, Budget]:
    """Return all budgets: of those with one name, the configuration's."""
    return {**config.budgets, **stored, **config.budgets}


def _overlay(config: Config) -> Mapping[str, Price]:
    return {
        name: flat_price(price.input, price.output, price.cached, price.measures)
        for name, price in config.prices.items()
    }
