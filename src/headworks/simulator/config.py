"""How the practice OpenAI behaves: its keys, models, prices, pace, faults and scenario."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from headworks.config.section import Section

FaultName = Literal[
    "status",
    "refuse",
    "reset_before_head",
    "close_before_head",
    "hang_before_head",
    "early_answer",
    "redirect",
    "input_filter",
    "info_flood",
    "slow_head",
    "wrong_type",
    "no_type",
    "short_length",
    "long_length",
    "double_length",
    "length_and_chunks",
    "gzip",
    "gzip_garbage",
    "gzip_bomb",
    "slow",
    "slow_first_token",
    "cut_after",
    "stall_after",
    "malformed_chunk",
    "half_event",
    "error_event",
    "no_finish",
    "no_done",
    "duplicate_done",
    "after_done",
    "crlf",
    "cr",
    "bom",
    "comments",
    "pings",
    "ids",
    "empty_events",
    "multi_line",
    "no_space",
    "huge_event",
    "invalid_utf8",
    "changing_ids",
    "slices",
    "glued",
    "json_instead_of_stream",
    "error_in_ok",
    "html_in_ok",
    "empty_body",
    "missing_usage",
    "null_usage",
    "zero_usage",
    "negative_usage",
    "huge_usage",
    "text_usage",
    "double_usage",
    "content_filter",
    "refusal",
    "failed",
    "surplus",
]
Ending = Literal["fin", "rst", "clean", "bad_chunk", "hang", "on"]
"""What follows a break: the connection closed in mid-body, or reset; the body ended as if it were
complete; a chunk that is none; nothing at all; or the rest, as if nothing had happened."""

Era = Literal["2024", "2025"]
"""How a chat is charged at admission: with its bound added (until 2024), or the larger of both."""

Share = Annotated[float, Meta(ge=0, le=1)]
Seconds = Annotated[float, Meta(ge=0, le=1e9)]
Positive = Annotated[float, Meta(gt=0, le=1e9)]
Size = Annotated[int, Meta(ge=0, le=1_000_000_000)]
Line = Annotated[
    str,
    Meta(
        pattern=r"^[ -~]{0,2000}\Z",
        extra={"form": "one line of at most 2000 visible ASCII characters"},
    ),
]
Token = Annotated[
    str, Meta(pattern=r"^[A-Za-z0-9-]{1,100}\Z", extra={"form": "the name of a header"})
]


class SimulatedPrice(Section, frozen=True):
    """Nano-dollars per token; a dollar per million tokens is 1,000. No `cached`: as `input`."""

    input: int | Decimal
    output: int | Decimal = 0
    cached: int | Decimal | None = None


class SimulatedCredential(Section, frozen=True):
    """A key, whom it works for, and how many dollars it may spend; None is no bound."""

    secret: str
    organization: Line | None = None
    project: Line | None = None
    quota: int | Decimal | None = None


class RateLimit(Section, frozen=True):
    """What the models of one group may take together in one project; None is no limit.

    Attributes:
        models: Shell-style pattern of model names; the first limit that fits holds.
        rpm: Requests a minute; `rpd` a day, `tpm` tokens and `ipm` images a minute.
        batch_tokens: Input tokens of all batches that are not at their end.
        ramp: Tokens a minute above which traffic must not grow by more than half in 15 minutes.
        era: How a request's tokens are guessed at admission.
        settles: Whether the guess is replaced by the true count at the end.
    """

    models: str = "*"
    rpm: Size | None = None
    rpd: Size | None = None
    tpm: Size | None = None
    ipm: Size | None = None
    batch_tokens: Size | None = None
    ramp: Size | None = None
    era: Era = "2025"
    settles: bool = False


class Latency(Section, frozen=True):
    """Seconds to the first token, and tokens a second after it; 0 tokens a second is no wait.

    Attributes:
        spread: Standard deviation of both, as a share of them: each request draws its own pace.
        ping: Seconds between the comments that keep a silent stream alive; 0 is none.
    """

    first_token: Seconds = 0.0
    tokens_per_second: Seconds = 0.0
    spread: Annotated[float, Meta(ge=0, le=10)] = 0.0
    ping: Seconds = 0.0

    def per_token(self) -> float:
        """Return the seconds between two tokens."""
        return 1.0 / self.tokens_per_second if self.tokens_per_second > 0 else 0.0


NO_WAIT = Latency()
REALISTIC = Latency(first_token=0.2, tokens_per_second=100.0)


class BatchPace(Section, frozen=True):
    """How long batches take.

    Attributes:
        validating: Seconds until a file is checked; `finalizing` until the results are written,
            `cancelling` until a batch has stopped.
        lines_per_second: Requests of one batch; 0 is no wait.
        window: Seconds after which what is not done expires.
    """

    validating: Seconds = 0.0
    lines_per_second: Seconds = 0.0
    finalizing: Seconds = 0.0
    cancelling: Seconds = 0.0
    window: Positive = 86_400.0

    def per_line(self) -> float:
        """Return the seconds between two requests."""
        return 1.0 / self.lines_per_second if self.lines_per_second > 0 else 0.0


UNHURRIED = BatchPace(validating=3.0, lines_per_second=20.0, finalizing=2.0, cancelling=2.0)


class SimulatedModel(Section, frozen=True):
    """What is special about a model; the catalogue knows the rest.

    Attributes:
        context: Most tokens of a prompt.
        output: Most tokens of an answer.
    """

    context: int | None = None
    output: int | None = None
    latency: Latency | None = None


class FaultRule(Section, frozen=True):
    """A fault, and when it strikes. Of several rules the first that applies is taken.

    Attributes:
        html: Whether a status comes with a proxy's HTML page instead of an error object.
        retry_after: Seconds to wait, or any text; `date 30` is the date in 30 seconds, `none` says
            nothing. A rate limit says 1 unless told otherwise.
        after: Output tokens before the fault; `after_bytes` counts bytes of the body instead.
        ending: What follows a break; None is what is usual for the fault.
        seconds: A wait: before the first token, between slices, before a surplus.
        probability: Share of the matching requests; the choice depends on the seed alone.
        model: Shell-style pattern of model names; `path` likewise.
        times: Strikes at most this often.
        start: Seconds after the start from which it strikes; `until` is when it ceases.
        every: Strikes in the first `lasting` seconds of each so many: up and down in turn.
    """

    fault: FaultName
    status: Annotated[int, Meta(ge=200, le=599)] = 500
    code: str | None = None
    type: str | None = None
    message: str | None = None
    retry_after: float | Line | None = None
    html: bool = False
    after: Size = 3
    ending: Ending | None = None
    seconds: Seconds = 1.0
    probability: Share = 1.0
    model: str = "*"
    path: str = "*"
    times: Size | None = None
    retry_after_ms: float | Line | None = None
    headers: Mapping[Token, Line] = {}
    location: Line = "http://127.0.0.1:9/elsewhere"
    value: Line = "text/html"
    after_bytes: Size | None = None
    size: Size | None = None
    count: Size = 1
    factor: Positive = 10.0
    start: Seconds = 0.0
    until: Seconds | None = None
    every: Positive | None = None
    lasting: Seconds | None = None


class Phase(Section, frozen=True):
    """A part of a scenario: so many seconds or calls, or for ever.

    Attributes:
        speed: On top of the configured one.
        latency: Instead of all others, None for them.
        faults: Tried before those of the configuration.
    """

    name: str = ""
    seconds: Positive | None = None
    calls: Annotated[int, Meta(ge=1, le=1_000_000_000)] | None = None
    speed: Positive = 1.0
    latency: Latency | None = None
    faults: Sequence[FaultRule] = ()


class Scenario(Section, frozen=True):
    """Phases, one after the other; then from the beginning, or as without a scenario."""

    phases: Annotated[Sequence[Phase], Meta(min_length=1)]
    loop: bool = False


class SimulatorConfig(Section, frozen=True):
    """Everything that can be set.

    Attributes:
        credentials: Secrets by name; the name shows in the log and the invoice, the secret never.
        models: Served besides all that have a price.
        prices: By model name, or by `name@tier` for the tiers that cost otherwise; None takes the
            catalogue's.
        speed: Divides every wait: 2 is twice as fast.
        limits: By group of models; without any, nothing is limited.
        answer_tokens: Least and about the most tokens of an answer that nothing else bounds.
        keep: Attempts that the log remembers; the invoice forgets none.
        max_body: Largest request, in bytes; `storage` is the most of all files together.
    """

    credentials: Mapping[str, str | SimulatedCredential] = msgspec.field(
        default_factory=lambda: {"simulator": "sk-simulator"}
    )
    models: dict[str, Annotated[SimulatedModel | None, Meta(extra={"empty": True})]] = (
        msgspec.field(default_factory=dict)
    )
    prices: dict[str, SimulatedPrice] | None = None
    latency: Latency = NO_WAIT
    batches: BatchPace = BatchPace()
    speed: float = 1.0
    limits: Sequence[RateLimit] = ()
    faults: Sequence[FaultRule] = ()
    seed: int = 0
    organization: Line = "org-simulator"
    answer_tokens: tuple[int, int] = (20, 60)
    keep: int = 100_000
    scenario: Scenario | None = None
    max_body: Size = 64 * 1024 * 1024
    storage: int = 1 << 30

    def latency_of(self, model: str) -> Latency:
        """Return the waits of `model`, at its usual speed."""
        special = self.models.get(model)
        return (special.latency if special else None) or self.latency

    def pace(self, model: str) -> Latency:
        """Return the waits of `model`, at the configured speed."""
        latency = self.latency_of(model)
        speed = self.speed if self.speed > 0 else 1.0
        return msgspec.structs.replace(
            latency,
            first_token=latency.first_token / speed,
            tokens_per_second=latency.tokens_per_second * speed,
        )

    def batch_pace(self) -> BatchPace:
        """Return how long batches take, at the configured speed."""
        pace, speed = self.batches, self.speed if self.speed > 0 else 1.0
        return BatchPace(
            validating=pace.validating / speed,
            lines_per_second=pace.lines_per_second * speed,
            finalizing=pace.finalizing / speed,
            cancelling=pace.cancelling / speed,
            window=pace.window / speed,
        )


def load(
    path: str | Path | None = None,
    *,
    speed: float | None = None,
    scenario: str | Path | None = None,
) -> SimulatorConfig:
    """Return the configuration of the YAML file at `path`, at a realistic pace unless it says so.

    Args:
        path: None for the usual behaviour.
        speed: Instead of the file's.
        scenario: A file with a scenario, instead of the one in the configuration.

    Raises:
        ConfigurationError: A file cannot be read, or says what it may not: each mistake with file,
            line, key and the nearest known name.
    """
    from headworks.simulator.reading import read_config, read_scenario

    config = (
        SimulatorConfig(latency=REALISTIC, batches=UNHURRIED)
        if path is None
        else read_config(Path(path))
    )
    if speed is not None:
        config = msgspec.structs.replace(config, speed=speed)
    if scenario is not None:
        config = msgspec.structs.replace(config, scenario=read_scenario(Path(scenario)))
    return config
