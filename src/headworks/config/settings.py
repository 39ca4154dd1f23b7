"""The configuration as the engine takes it: seconds, bytes, paths and secrets instead of text."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import unquote, urlsplit

import msgspec
from typing_extensions import override

from headworks.config import schema, units
from headworks.config.units import Address
from headworks.types import RateLimits, Secret, Timeouts

_LISTEN = Address("127.0.0.1", 4000)
_ADMIN = Address("127.0.0.1", 4001)
_TIMEOUTS = Timeouts()
_NO_LIMITS = RateLimits()


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """Where to listen; sizes in bytes, `drain` in seconds."""

    listen: Address = _LISTEN
    admin: Address = _ADMIN
    drain: float = 600.0
    max_body: int = 20_000_000
    max_answer: int = 128_000_000


@dataclass(frozen=True, slots=True)
class LogConfig:
    """What is logged."""

    level: str = "info"
    format: str = "json"
    calls: bool = True


@dataclass(frozen=True, slots=True)
class RetryConfig:
    """How attempts are repeated; waits in seconds."""

    attempts: int = 3
    first: float = 0.5
    longest: float = 8.0


@dataclass(frozen=True, slots=True)
class CredentialConfig:
    """A key of ours at a provider."""

    name: str
    api_key: Secret
    organization: str | None = None
    project: str | None = None


@dataclass(frozen=True, slots=True)
class UpstreamConfig:
    """A provider; `base_url` has no slash at its end, `proxy` is an http:// URL."""

    base_url: str
    credentials: tuple[CredentialConfig, ...]
    timeouts: Timeouts = _TIMEOUTS
    proxy: Secret | None = None
    ca_file: Path | None = None
    connections: int = 1000
    allow_http: bool = False


@dataclass(frozen=True, slots=True)
class RouteConfig:
    """One step of a model's fallback, with the timeouts that hold for it."""

    upstream: str
    model: str
    timeouts: Timeouts = _TIMEOUTS

    @override
    def __str__(self) -> str:
        return f"{self.upstream}/{self.model}"


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """Where a name leads, best first; `patience` in seconds."""

    routes: tuple[RouteConfig, ...]
    patience: float = 5.0


@dataclass(frozen=True, slots=True)
class KeyConfig:
    """A virtual key; `models` None is all of them, `expires` is in seconds since 1970."""

    name: str
    secret: Secret
    project: str = ""
    models: frozenset[str] | None = None
    limits: RateLimits = _NO_LIMITS
    expires: float | None = None


@dataclass(frozen=True, slots=True)
class PriceConfig:
    """Whole nano-dollars per million tokens; `cached` None is as `input`."""

    input: int
    output: int
    cached: int | None = None


@dataclass(frozen=True, slots=True)
class Config:
    """Everything the operator says.

    Attributes:
        store: The SQLite file.
        warnings: What works but is hardly meant, one line each.
        files: What it was read from, files that are not there yet included: watch these.
    """

    environment: str = "development"
    server: ServerConfig = ServerConfig()
    store: Path = Path("headworks.db")
    key_pepper: Secret | None = None
    log: LogConfig = LogConfig()
    retry: RetryConfig = RetryConfig()
    upstreams: Mapping[str, UpstreamConfig] = field(default_factory=dict[str, UpstreamConfig])
    models: Mapping[str, ModelConfig] = field(default_factory=dict[str, ModelConfig])
    keys: tuple[KeyConfig, ...] = ()
    prices: Mapping[str, PriceConfig] = field(default_factory=dict[str, PriceConfig])
    warnings: tuple[str, ...] = ()
    files: tuple[Path, ...] = ()


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
        log=LogConfig(document.log.level, document.log.format, document.log.calls),
        retry=RetryConfig(
            document.retry.attempts,
            units.duration(document.retry.first),
            units.duration(document.retry.longest),
        ),
        upstreams=upstreams,
        models={name: _model(one, upstreams) for name, one in document.models.items()},
        keys=tuple(_key(one) for one in document.keys),
        prices={name: _price(one) for name, one in document.prices.items()},
    )


def known_secrets(config: Config) -> list[Secret]:
    """Return every secret of the configuration, for redaction."""
    return list(_known(config))


def _known(config: Config) -> Iterator[Secret]:
    if config.key_pepper:
        yield config.key_pepper
    yield from (key.secret for key in config.keys)
    for upstream in config.upstreams.values():
        yield from (credential.api_key for credential in upstream.credentials)
        if upstream.proxy:
            yield from _parts(upstream.proxy)


def _parts(proxy: Secret) -> Iterator[Secret]:
    """Yield the proxy's password, encoded and plain; without one its address is no secret."""
    password = urlsplit(proxy.reveal()).password
    if password:
        yield proxy
        yield Secret(password)
        if unquote(password) != password:
            yield Secret(unquote(password))


def _server(text: schema.Server) -> ServerConfig:
    return ServerConfig(
        units.address(text.listen),
        units.address(text.admin),
        units.pause(text.drain),
        units.size(text.max_body),
        units.size(text.max_answer),
    )


def _upstream(text: schema.Upstream, directory: Path) -> UpstreamConfig:
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
    )


def _model(text: schema.Model, upstreams: Mapping[str, UpstreamConfig]) -> ModelConfig:
    pairs = (route.split("/", 1) for route in text.routes)
    return ModelConfig(
        routes=tuple(
            RouteConfig(upstream, model, _over(upstreams[upstream].timeouts, text.timeouts))
            for upstream, model in pairs
        ),
        patience=units.pause(text.patience),
    )


def _key(text: schema.Key) -> KeyConfig:
    return KeyConfig(
        name=text.name,
        secret=text.secret,
        project=text.project,
        models=frozenset(text.models) if text.models is not None else None,
        limits=RateLimits(rpm=text.limits.rpm, parallel=text.limits.parallel),
        expires=units.moment(text.expires) if text.expires is not None else None,
    )


def _price(text: schema.Price) -> PriceConfig:
    cached = units.rate(text.cached) if text.cached is not None else None
    return PriceConfig(units.rate(text.input), units.rate(text.output), cached)


def _over(base: Timeouts, text: schema.Timeouts | schema.ModelTimeouts) -> Timeouts:
    given = msgspec.structs.asdict(text).items()
    return replace(base, **{k: units.duration(v) for k, v in given if v is not None})
