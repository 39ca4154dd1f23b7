"""From the document as people write it to the settings that the engine takes."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import cast

import msgspec

from headworks.config import (
    schema,
    schema_context,
    schema_failures,
    schema_models,
    schema_routes,
    schema_upstreams,
    units,
)
from headworks.config.settings import (
    CapabilityConfig,
    Config,
    CredentialConfig,
    GroupConfig,
    KeyConfig,
    LogConfig,
    ModelConfig,
    PriceConfig,
    RetryConfig,
    RouteConfig,
    ServerConfig,
    StepConfig,
    UpstreamConfig,
)
from headworks.core.breaker import NEVER_OPEN, BreakerRules
from headworks.core.capability import NEEDS
from headworks.core.context import Policy
from headworks.core.context_units import Keep
from headworks.core.groups import Strategy
from headworks.core.retry_budget import BudgetRules
from headworks.errors import Failure
from headworks.types import AT_FIRST_TOKEN, Commit, Hedge, RateLimits, Timeouts

_TIMEOUTS = Timeouts()
_NO_WAITS = schema_upstreams.Waits()
_BREAKER = BreakerRules()


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
        unknown_ids=document.unknown_ids,
        upstreams=upstreams,
        models={name: _model(one, document, upstreams) for name, one in document.models.items()},
        keys=tuple(_key(one) for one in document.keys),
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
    )


def _log(text: schema.Log) -> LogConfig:
    file = Path(text.file) if text.file else None
    return LogConfig(text.level, text.format, text.calls, file)


def _upstream(text: schema_upstreams.Upstream, directory: Path) -> UpstreamConfig:
    return UpstreamConfig(
        base_url=units.base_url(text.base_url),
        credentials=tuple(
            CredentialConfig(one.name, one.api_key, one.organization, one.project)
            for one in text.credentials
        ),
        timeouts=_over(_TIMEOUTS, text.timeouts),
        proxy=text.proxy,
        ca_file=directory / text.ca_file if text.ca_file else None,
        connections=text.connections,
        allow_http=text.allow_http,
        breaker=_breaker(text),
        retry_budget=BudgetRules(text.retry_budget.share, text.retry_budget.floor),
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


def _key(text: schema.Key) -> KeyConfig:
    return KeyConfig(
        name=text.name,
        secret=text.secret,
        project=text.project,
        models=frozenset(text.models) if text.models is not None else None,
        limits=RateLimits(rpm=text.limits.rpm, parallel=text.limits.parallel),
        expires=units.moment(text.expires) if text.expires is not None else None,
        on_disconnect=text.on_disconnect,
    )


def _price(text: schema.Price) -> PriceConfig:
    cached = units.rate(text.cached) if text.cached is not None else None
    return PriceConfig(units.rate(text.input), units.rate(text.output), cached)


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
