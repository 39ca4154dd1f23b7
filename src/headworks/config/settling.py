"""From the document as people write it to the settings that the engine takes."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import cast

import msgspec

from headworks.config import (
    schema,
    schema_browsers,
    schema_budgets,
    schema_context,
    schema_failures,
    schema_limits,
    schema_models,
    schema_queue,
    schema_routes,
    schema_stream,
    schema_upstreams,
    units,
)
from headworks.config.settings import (
    ADMIN,
    CapabilityConfig,
    Config,
    CorsConfig,
    CredentialConfig,
    GroupConfig,
    IdempotencyConfig,
    KeyConfig,
    LedgerConfig,
    LogConfig,
    ModelConfig,
    PriceConfig,
    RetryConfig,
    RouteConfig,
    ServerConfig,
    StepConfig,
    StreamConfig,
    UpstreamConfig,
)
from headworks.core.admission import NO_LIMITS, Rules
from headworks.core.breaker import NEVER_OPEN, BreakerRules
from headworks.core.budget import EVERY_USER, ORGANISATION, Budget, Owner
from headworks.core.capability import NEEDS
from headworks.core.client_tokens import TokenRules
from headworks.core.context import Policy
from headworks.core.context_units import Keep
from headworks.core.grants import Grant
from headworks.core.groups import Strategy
from headworks.core.pricing import MILLION
from headworks.core.queue_rules import QueueRules
from headworks.core.retry_budget import BudgetRules
from headworks.core.upstream_bucket import Caps
from headworks.errors import Failure
from headworks.types import (
    AT_FIRST_TOKEN,
    Buffering,
    Commit,
    Hedge,
    RateLimits,
    SocketRules,
    Timeouts,
)

_TIMEOUTS = Timeouts()
_NO_WAITS = schema_upstreams.Waits()
_BREAKER = BreakerRules()
_ANYBODY = "default"
"""The entry of `users` that holds for each user without one."""


def settled(document: schema.Document, directory: Path) -> Config:
    """Return what the document says; relative `ca_file`s begin at `directory`.

    The document has passed all checks.
    """
    upstreams = {name: _upstream(one, directory) for name, one in document.upstreams.items()}
    return Config(
        environment=document.environment,
        server=_server(document.server),
        store=Path(units.store(document.store)),
        key_pepper=document.key_pepper,
        log=_log(document.log),
        retry=RetryConfig(
            document.retry.attempts,
            units.duration(document.retry.first),
            units.duration(document.retry.longest),
        ),
        ledger=LedgerConfig(survives_power_cut=document.ledger.durability == "full"),
        idempotency=IdempotencyConfig(
            units.pause(document.idempotency.keep), units.size(document.idempotency.max_body)
        ),
        stream=_stream(document.stream),
        queue=_queue(document),
        unknown_ids=document.unknown_ids,
        provider_sessions=document.provider_sessions,
        upstreams=upstreams,
        models={name: _model(one, document, upstreams) for name, one in document.models.items()},
        keys=tuple(_key(one) for one in document.keys),
        limits=_rules(document),
        budgets=dict(_budgets(document)),
        prices={name: _price(one) for name, one in document.prices.items()},
        capabilities={name: _capability(one) for name, one in document.capabilities.items()},
    )


def _server(text: schema.Server) -> ServerConfig:
    return ServerConfig(
        units.address(text.listen),
        units.address(text.admin),
        units.pause(text.drain),
        units.size(text.max_body),
        units.size(text.max_answer),
        text.max_parallel,
        SocketRules(
            longest=units.duration(text.websocket.longest),
            idle=units.duration(text.websocket.idle),
            most=units.size(text.websocket.max_message),
        ),
        cors=None if text.cors is None else _cors(text.cors),
        max_upload=units.size(text.max_upload),
    )


def _stream(text: schema_stream.Stream) -> StreamConfig:
    buffering = Buffering(text.buffer, units.duration(text.max_delay))
    return StreamConfig(buffering, units.pause(text.keep_alive), units.size(text.max_event))


def _buffering(text: schema_stream.Buffered) -> Buffering:
    delay = None if text.max_delay is None else units.duration(text.max_delay)
    return Buffering(text.buffer, delay)


def _key(text: schema.Key) -> KeyConfig:
    return KeyConfig(settled_grant(text), text.secret)


def _cors(text: schema_browsers.Cors) -> CorsConfig:
    origins = frozenset(units.origin(one) for one in text.origins)
    return CorsConfig(origins, units.pause(text.max_age), text.keys == "allow")


def _log(text: schema.Log) -> LogConfig:
    file = Path(text.file) if text.file else None
    return LogConfig(text.level, text.format, text.calls, file)


def _upstream(text: schema_upstreams.Upstream, directory: Path) -> UpstreamConfig:
    admin = text.admin_credential
    return UpstreamConfig(
        base_url=units.base_url(text.base_url),
        credentials=tuple(
            CredentialConfig(
                one.name,
                one.api_key,
                one.organization,
                one.project,
                None if one.limits is None else Caps(one.limits.rpm, one.limits.tpm),
            )
            for one in text.credentials
        ),
        timeouts=_over(_TIMEOUTS, text.timeouts),
        proxy=text.proxy,
        ca_file=directory / text.ca_file if text.ca_file else None,
        connections=text.connections,
        allow_http=text.allow_http,
        breaker=_breaker(text),
        retry_budget=BudgetRules(text.retry_budget.share, text.retry_budget.floor),
        limits=Caps(text.limits.rpm, text.limits.tpm),
        admin=None if admin is None else CredentialConfig(ADMIN, admin.api_key, admin.organization),
    )


def _breaker(text: schema_upstreams.Upstream) -> BreakerRules:
    given = text.breaker
    if isinstance(given, bool):
        return _BREAKER if given else NEVER_OPEN
    return BreakerRules(
        given.failures,
        given.calls,
        units.duration(given.slow) if given.slow is not None else None,
        given.slow_share,
        units.duration(given.open),
        units.duration(given.longest),
        given.probes,
    )


def _model(
    text: schema_models.Model, document: schema.Document, upstreams: Mapping[str, UpstreamConfig]
) -> ModelConfig:
    def leads_to(target: str) -> tuple[StepConfig, ...]:
        named = document.models.get(target)
        if named is None:
            return (_route(target, text, upstreams),)
        return tuple(_steps(named, upstreams))

    filtered = text.content_filter
    policy = schema_failures.Filtered() if isinstance(filtered, str) else filtered
    given = cast("dict[Failure, schema_failures.Targets]", msgspec.structs.asdict(text.on))
    if policy.reroute is not None:
        given["content_filter"] = (policy.reroute,)
    return ModelConfig(
        routes=tuple(_steps(text, upstreams)),
        patience=units.pause(text.patience),
        commit=_commit(text.stream),
        on={
            failure: tuple(dict.fromkeys(route for one in targets for route in leads_to(one)))
            for failure, targets in given.items()
            if targets
        },
        fixed_answer=policy.answer,
        context=_context(text.context),
        hedge=Hedge(units.lateness(text.hedge.after), text.hedge.share) if text.hedge else None,
        buffering=_buffering(text.stream),
    )


def _context(text: str | schema_context.Context | None) -> Policy | None:
    if text is None:
        return None
    if isinstance(text, str):
        text = schema_context.Context(strategy=cast("schema_context.Strategy", text))
    keep = Keep(text.system, text.first, text.last)
    return Policy(text.strategy, text.model or "", text.window, text.reserve_output, keep)


def _steps(
    text: schema_models.Model, upstreams: Mapping[str, UpstreamConfig]
) -> Iterator[StepConfig]:
    """Yield the model's routes and groups; a group without a choice is its routes."""
    for step in text.routes:
        group = schema_routes.Group(order=(step,)) if isinstance(step, str) else step
        given = cast("dict[Strategy, Iterable[str] | None]", msgspec.structs.asdict(group))
        for strategy, names in given.items():
            routes = tuple(_route(name, text, upstreams) for name in names or ())
            if strategy == "order":
                yield from routes
            elif routes:
                yield GroupConfig(strategy, routes, tuple((group.weighted or {}).values()))


def _route(
    name: str, text: schema_models.Model, upstreams: Mapping[str, UpstreamConfig]
) -> RouteConfig:
    """Return a route with the timeouts of the model that takes it."""
    upstream, model = name.split("/", 1)
    return RouteConfig(upstream, model, _over(upstreams[upstream].timeouts, text.timeouts))


def _commit(text: schema_failures.ModelStream) -> Commit:
    if isinstance(text.commit, schema_failures.HeldBack):
        return Commit(text.commit.after)
    return AT_FIRST_TOKEN if text.commit == "first_token" else Commit(None)


def settled_grant(text: schema.Grant) -> Grant:
    """Return what a key is for and may do; the text has passed all checks."""
    return Grant(
        name=text.name,
        project=text.project,
        models=frozenset(text.models) if text.models is not None else None,
        limits=_key_limits(text.limits),
        expires=units.moment(text.expires) if text.expires is not None else None,
        on_disconnect=text.on_disconnect,
        on_ledger_failure=text.on_ledger_failure,
        unpriced=text.unpriced,
        priority=text.priority,
        budget=None if text.budget is None else _budget(text.budget),
        buffering=_buffering(text.stream),
        client_tokens=None if text.client_tokens is None else _tokens(text.client_tokens),
        scopes=frozenset(text.scopes),
    )


def _tokens(text: schema_browsers.ClientTokens) -> TokenRules:
    limits = _model_limits(text.limits)
    return TokenRules(
        units.token_life(text.max_expiry), NO_LIMITS if limits == NO_LIMITS else limits
    )


def _rules(text: schema.Document) -> Rules:
    users = {name: _limits(one.limits) for name, one in text.users.items()}
    return Rules(
        _limits(text.limits),
        {name: _limits(one.limits) for name, one in text.projects.items()},
        users,
        users.pop(_ANYBODY, NO_LIMITS),
        {name: _limits(one.limits) for name, one in text.tags.items()},
    )


def _budgets(text: schema.Document) -> Iterator[tuple[Owner, Budget]]:
    given: list[tuple[Owner, schema_budgets.Budget | None]] = [(ORGANISATION, text.budget)]
    given += ((Owner("project", name), one.budget) for name, one in text.projects.items())
    given += ((Owner("key", one.name), one.budget) for one in text.keys)
    given += (
        (EVERY_USER if name == _ANYBODY else Owner("user", name), one.budget)
        for name, one in text.users.items()
    )
    given += ((Owner("tag", name), one.budget) for name, one in text.tags.items())
    for owner, one in given:
        if one is not None:
            yield owner, _budget(one)


def _budget(text: schema_budgets.Budget) -> Budget:
    return Budget(
        limit=units.usd(text.usd),
        per=text.per,
        zone=units.time_zone(text.time_zone),
        soft=tuple(sorted({*text.soft})),
        is_hard=text.hard,
        unpriced=text.unpriced,
        is_strict=text.hard and text.reserve == "strict",
    )


def _queue(document: schema.Document) -> QueueRules:
    text, most = document.queue, document.server.max_parallel
    if text is False:
        return QueueRules(calls=0, in_flight=most)
    given = schema_queue.Queue() if text is True else text
    wait, size = units.duration(given.max_wait), units.size(given.bytes)
    return QueueRules(wait, given.calls, size, most)


def _key_limits(text: schema_queue.KeyLimits) -> RateLimits:
    found = _limits(text)
    return found if text.queue is None else replace(found, queue=text.queue)


def _limits(text: schema_limits.Limits) -> RateLimits:
    models = tuple((name, _model_limits(one)) for name, one in text.models.items())
    found = replace(_model_limits(text), reserve=text.reserve, models=models)
    return NO_LIMITS if found == replace(NO_LIMITS, reserve=text.reserve) else found


def _model_limits(text: schema_limits.ModelLimits) -> RateLimits:
    return RateLimits(text.rpm, text.parallel, text.tpm, text.rpd, text.tpd)


def _price(text: schema.Price) -> PriceConfig:
    cached = units.rate(text.cached) if text.cached is not None else None
    said = {"second": text.second, "character": text.character, "image": text.image}
    each = {"second": MILLION, "character": 1, "image": MILLION}
    measures = {
        name: units.rate(rate) * each[name] for name, rate in said.items() if rate is not None
    }
    return PriceConfig(units.rate(text.input), units.rate(text.output), cached, measures)


def _capability(text: schema_routes.Capability) -> CapabilityConfig:
    given = msgspec.structs.asdict(text)
    return CapabilityConfig(
        text.context, {need: given[need] for need in NEEDS if given[need] is not None}
    )


def _over(
    base: Timeouts, text: schema_upstreams.Timeouts | schema_upstreams.ModelTimeouts
) -> Timeouts:
    """Return the waits laid over others; those of a type lie over what then holds for it."""
    given = cast("dict[str, schema_upstreams.Waits]", text.by_type)
    names = dict.fromkeys((*(name for name, _ in base.by_type), *given))
    by_type = (
        (name, _waits(_waits(base.of(name), text), given.get(name, _NO_WAITS))) for name in names
    )
    return replace(_waits(base, text), by_type=tuple(by_type))


def _waits(base: Timeouts, text: schema_upstreams.Timeouts | schema_upstreams.Waits) -> Timeouts:
    def wait(given: float | str | None, otherwise: float) -> float:
        return otherwise if given is None else units.duration(given)

    whole = text.first_byte_whole
    return Timeouts(
        wait(text.connect, base.connect),
        wait(text.first_byte, base.first_byte),
        wait(text.idle, base.idle),
        wait(text.total, base.total),
        base.first_byte_whole if whole is None else units.duration(whole),
    )
