"""How the practice OpenAI behaves: its keys, models, prices, pace and faults."""

import re
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

import msgspec

from headworks.errors import ConfigurationError

FaultName = Literal[
    "status",
    "reset_before_head",
    "hang_before_head",
    "slow_first_token",
    "cut_after",
    "stall_after",
    "malformed_chunk",
    "no_done",
    "duplicate_done",
    "error_event",
    "missing_usage",
    "json_instead_of_stream",
]
Ending = Literal["fin", "rst", "clean"]
"""How a cut ends: the connection closed in mid-body, reset, or the body ended as if complete."""

Era = Literal["2024", "2025"]
"""Until early 2025 the bound of the output was charged too, and 16 tokens where none was set."""


class SimulatedCredential(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A key of the practice provider.

    Attributes:
        secret: What the client sends.
        organization: Whom the key belongs to; None takes the simulator's.
        project: Keys of one project share its limits; None is a project of the key's own.
        quota: Dollars after which the provider refuses: `insufficient_quota`.
    """

    secret: str
    organization: str | None = None
    project: str | None = None
    quota: Decimal | None = None


class RateLimit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Limits of a group of models; all models that fit share one set of buckets a project.

    Attributes:
        models: Shell-style pattern of model names.
        rpm: Requests a minute; `rpd` a day, shown in the headers instead where it is set.
        tpm: Tokens a minute; `ipm` images a minute.
        batch_tokens: Input tokens of all batches that are not at their end.
        ramp: Tokens a minute above which traffic may grow by a half in 15 minutes, not faster.
        era: How a request is charged.
        settles: Whether the real usage replaces the charge once an answer has ended.
    """

    models: str = "*"
    rpm: int | None = None
    rpd: int | None = None
    tpm: int | None = None
    ipm: int | None = None
    batch_tokens: int | None = None
    ramp: int | None = None
    era: Era = "2025"
    settles: bool = False


class SimulatedPrice(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Nano-dollars per token; a dollar per million tokens is 1,000. No `cached`: as `input`."""

    input: int | Decimal
    output: int | Decimal = 0
    cached: int | Decimal | None = None


class Latency(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Seconds to the first token, and tokens a second after it; 0 tokens a second is no wait."""

    first_token: float = 0.0
    tokens_per_second: float = 0.0

    def per_token(self) -> float:
        """Return the seconds between two tokens."""
        return 1.0 / self.tokens_per_second if self.tokens_per_second > 0 else 0.0


NO_WAIT = Latency()
REALISTIC = Latency(first_token=0.2, tokens_per_second=100.0)


class SimulatedModel(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is special about a model; the catalogue knows the rest.

    Attributes:
        context: Most tokens of a prompt.
        output: Most tokens of an answer.
    """

    context: int | None = None
    output: int | None = None
    latency: Latency | None = None


class FaultRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A fault, and when it strikes. Of several rules the first that applies is taken.

    Attributes:
        after: Output tokens before the fault (cut_after, stall_after, malformed_chunk, error_event).
        seconds: The extra wait of slow_first_token.
        html: Whether a status comes with a proxy's HTML page instead of an error object.
        retry_after: Seconds to wait; a rate limit says 1 unless told otherwise, 0 says nothing.
        probability: Share of the matching requests; the choice depends on the seed alone.
        model: Shell-style pattern of model names; `path` likewise.
        times: Strikes at most this often.
    """

    fault: FaultName
    status: int = 500
    code: str | None = None
    type: str | None = None
    message: str | None = None
    retry_after: float | None = None
    html: bool = False
    after: int = 3
    ending: Ending = "fin"
    seconds: float = 1.0
    probability: float = 1.0
    model: str = "*"
    path: str = "*"
    times: int | None = None


class SimulatorConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything that can be set.

    Attributes:
        credentials: Secrets by name; the name shows in the log and the invoice, the secret never.
        limits: The first whose pattern fits a model is that model's.
        models: Served besides all that have a price.
        prices: By model name, or by `name@tier` for the tiers that cost otherwise; None takes the
            catalogue's.
        speed: Divides every wait: 2 is twice as fast.
        answer_tokens: Least and about the most tokens of an answer that nothing else bounds.
        keep: Attempts that the log remembers; the invoice forgets none.
    """

    credentials: dict[str, str | SimulatedCredential] = msgspec.field(
        default_factory=lambda: {"simulator": "sk-simulator"}
    )
    models: dict[str, SimulatedModel | None] = {}
    prices: dict[str, SimulatedPrice] | None = None
    limits: Sequence[RateLimit] = ()
    latency: Latency = NO_WAIT
    speed: float = 1.0
    faults: Sequence[FaultRule] = ()
    seed: int = 0
    organization: str = "org-simulator"
    answer_tokens: tuple[int, int] = (20, 60)
    keep: int = 100_000

    def pace(self, model: str) -> Latency:
        """Return the waits of `model`, at the configured speed."""
        special = self.models.get(model)
        latency = (special.latency if special else None) or self.latency
        speed = self.speed if self.speed > 0 else 1.0
        return Latency(latency.first_token / speed, latency.tokens_per_second * speed)


def load(path: str | Path | None = None, *, speed: float | None = None) -> SimulatorConfig:
    """Return the configuration of the YAML file at `path`, at a realistic pace unless it says so.

    Raises:
        ConfigurationError: The file cannot be read, or says what it may not.
    """
    config = SimulatorConfig(latency=REALISTIC)
    if path is not None:
        config = _read(Path(path))
    return config if speed is None else msgspec.structs.replace(config, speed=speed)


def _read(path: Path) -> SimulatorConfig:
    import yaml

    try:
        fields: Any = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        config = msgspec.convert(fields, SimulatorConfig)
        return config if "latency" in fields else msgspec.structs.replace(config, latency=REALISTIC)
    except OSError as error:
        raise ConfigurationError([f"{path}: {error.strerror}"]) from error
    except (msgspec.ValidationError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigurationError([f"{path}: {_one_line(error)}"]) from error


def _one_line(error: Exception) -> str:
    return re.sub(r"\s+", " ", str(error)).strip()
