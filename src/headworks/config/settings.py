"""The configuration as the engine takes it: seconds, bytes, paths and secrets instead of text."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, TypeAlias
from urllib.parse import unquote, urlsplit

from typing_extensions import override

from headworks.config.units import Address
from headworks.core.admission import Rules
from headworks.core.breaker import BreakerRules
from headworks.core.budget import Budget, Owner
from headworks.core.context import Policy
from headworks.core.grants import Grant
from headworks.core.groups import Strategy
from headworks.core.queue_rules import QueueRules
from headworks.core.retry_budget import BudgetRules
from headworks.core.upstream_bucket import NO_CAPS, Caps
from headworks.errors import Failure
from headworks.types import (
    AS_OTHERS_SAY,
    AT_FIRST_TOKEN,
    Buffering,
    Commit,
    Hedge,
    Need,
    Secret,
    SocketRules,
    Timeouts,
)

UnknownIds = Literal["refuse", "first"]
"""What becomes of a call that refers to something of which nobody knows where it lives."""

ProviderSessions = Literal["refuse", "allow"]
"""What becomes of a call that opens a session in which none of the caller's limits can hold."""

_LISTEN = Address("127.0.0.1", 4000)
_ADMIN = Address("127.0.0.1", 4001)
_TIMEOUTS = Timeouts()
_BREAKER, _BUDGET = BreakerRules(), BudgetRules()
_QUEUE = QueueRules()
_RULES = Rules()


@dataclass(frozen=True, slots=True)
class CorsConfig:
    """Which web pages may call: their origins, or {"*"}; `max_age` in seconds.

    Attributes:
        allows_keys: Whether they may send keys, and not client tokens alone.
    """

    origins: frozenset[str]
    max_age: float = 600.0
    allows_keys: bool = False


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """Where to listen; sizes in bytes, `drain` in seconds."""

    listen: Address = _LISTEN
    admin: Address = _ADMIN
    drain: float = 600.0
    max_body: int = 20_000_000
    max_answer: int = 128_000_000
    max_parallel: int | None = None
    websocket: SocketRules = field(default_factory=SocketRules)
    cors: CorsConfig | None = None
    max_upload: int = 512_000_000


@dataclass(frozen=True, slots=True)
class LogConfig:
    """What is logged."""

    level: str = "info"
    format: str = "json"
    calls: bool = True
    file: Path | None = None


@dataclass(frozen=True, slots=True)
class RetryConfig:
    """How attempts are repeated; waits in seconds."""

    attempts: int = 3
    first: float = 0.5
    longest: float = 8.0


@dataclass(frozen=True, slots=True)
class LedgerConfig:
    """How what calls cost is written down; `survives_power_cut` makes commits wait for the disk."""

    survives_power_cut: bool = False


@dataclass(frozen=True, slots=True)
class IdempotencyConfig:
    """How many seconds an answer is kept for whoever asks again, and the largest in bytes."""

    keep: float = 86_400.0
    max_body: int = 1_000_000


@dataclass(frozen=True, slots=True)
class StreamConfig:
    """How streams are passed on; `keep_alive` in seconds, 0 for never, `max_event` in bytes."""

    buffering: Buffering = AS_OTHERS_SAY
    keep_alive: float = 15.0
    max_event: int = 1_000_000


@dataclass(frozen=True, slots=True)
class CredentialConfig:
    """A key of ours at a provider."""

    name: str
    api_key: Secret
    organization: str | None = None
    project: str | None = None
    limits: Caps | None = None


ADMIN: Final = "(admin)"
"""What stands in the place of a credential's name for an upstream's admin credential."""


@dataclass(frozen=True, slots=True)
class UpstreamConfig:
    """A provider; `base_url` has no slash at its end, `proxy` is an http:// URL."""

    base_url: str
    credentials: tuple[CredentialConfig, ...]
    timeouts: Timeouts = _TIMEOUTS
    proxy: Secret | None = None
    ca_file: Path | None = None
    connections: int = 10_000
    allow_http: bool = False
    breaker: BreakerRules = _BREAKER
    retry_budget: BudgetRules = _BUDGET
    limits: Caps = NO_CAPS
    admin: CredentialConfig | None = None


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
class GroupConfig:
    """Routes between which each call chooses; `weights` is theirs, where the strategy has any."""

    strategy: Strategy
    routes: tuple[RouteConfig, ...]
    weights: tuple[float, ...] = ()


StepConfig: TypeAlias = RouteConfig | GroupConfig
"""One step of a model's fallback."""


def flat(steps: Iterable[StepConfig]) -> Iterator[RouteConfig]:
    """Yield the routes of some steps, as they were written."""
    for step in steps:
        if isinstance(step, GroupConfig):
            yield from step.routes
        else:
            yield step


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """Where a name leads, best first; `patience` in seconds.

    Attributes:
        commit: When a stream becomes the caller's.
        on: What is tried next after a failure of one kind.
        fixed_answer: What the caller is told where a content filter said no, None for its error.
        context: What is done with requests that are too long, None for nothing.
        hedge: What is done about answers that are late, None for nothing.
        buffering: How its streams are cut.
    """

    routes: tuple[StepConfig, ...]
    patience: float = 5.0
    commit: Commit = AT_FIRST_TOKEN
    on: Mapping[Failure, tuple[StepConfig, ...]] = field(
        default_factory=dict[Failure, tuple[StepConfig, ...]]
    )
    fixed_answer: str | None = None
    context: Policy | None = None
    hedge: Hedge | None = None
    buffering: Buffering = AS_OTHERS_SAY

    def all_routes(self) -> Iterator[RouteConfig]:
        """Yield each route that it may take, those for one kind of failure included."""
        for steps in (self.routes, *self.on.values()):
            yield from flat(steps)


@dataclass(frozen=True, slots=True)
class KeyConfig:
    """A virtual key that the operator spelled out."""

    grant: Grant
    secret: Secret


@dataclass(frozen=True, slots=True)
class PriceConfig:
    """Whole nano-dollars per million tokens; `cached` None is as `input`.

    Attributes:
        measures: Nano-dollars per million of something else than tokens; see `core.measures`.
    """

    input: int
    output: int
    cached: int | None = None
    measures: Mapping[str, int] = field(default_factory=dict[str, int])


@dataclass(frozen=True, slots=True)
class CapabilityConfig:
    """What the operator says of a model: its window in tokens, what it takes and what not."""

    context: int | None = None
    takes: Mapping[Need, bool] = field(default_factory=dict[Need, bool])


@dataclass(frozen=True, slots=True)
class Config:
    """Everything the operator says.

    Attributes:
        store: The SQLite file.
        limits: Those of everybody but keys, which have theirs.
        budgets: What everybody may spend.
        warnings: What works but is hardly meant, one line each.
        files: What it was read from, files that are not there yet included: watch these.
        stands: Where routes were written, by "upstream/model": file, line and key.
    """

    environment: str = "development"
    server: ServerConfig = ServerConfig()
    store: Path = Path("headworks.db")
    key_pepper: Secret | None = None
    log: LogConfig = LogConfig()
    retry: RetryConfig = RetryConfig()
    ledger: LedgerConfig = LedgerConfig()
    idempotency: IdempotencyConfig = IdempotencyConfig()
    stream: StreamConfig = StreamConfig()
    queue: QueueRules = _QUEUE
    unknown_ids: UnknownIds = "refuse"
    provider_sessions: ProviderSessions = "refuse"
    upstreams: Mapping[str, UpstreamConfig] = field(default_factory=dict[str, UpstreamConfig])
    models: Mapping[str, ModelConfig] = field(default_factory=dict[str, ModelConfig])
    keys: tuple[KeyConfig, ...] = ()
    limits: Rules = _RULES
    budgets: Mapping[Owner, Budget] = field(default_factory=dict[Owner, Budget])
    prices: Mapping[str, PriceConfig] = field(default_factory=dict[str, PriceConfig])
    capabilities: Mapping[str, CapabilityConfig] = field(
        default_factory=dict[str, CapabilityConfig]
    )
    warnings: tuple[str, ...] = ()
    files: tuple[Path, ...] = ()
    stands: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])


def known_secrets(config: Config) -> list[Secret]:
    """Return every secret of the configuration, for redaction."""
    return list(_known(config))


def _known(config: Config) -> Iterator[Secret]:
    if config.key_pepper:
        yield config.key_pepper
    yield from (key.secret for key in config.keys)
    for upstream in config.upstreams.values():
        yield from (credential.api_key for credential in upstream.credentials)
        if upstream.admin:
            yield upstream.admin.api_key
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
