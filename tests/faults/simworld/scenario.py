"""What a seed stands for: a configuration, providers with faults, lines with fates, and callers.

Each seed takes some of the troubles and leaves the others alone, so that in some worlds one trouble
is seen by itself (Groce et al., "Swarm Testing", 2012).
"""

import random
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import msgspec

from headworks.config.settings import (
    Config,
    CredentialConfig,
    KeyConfig,
    ModelConfig,
    PriceConfig,
    RetryConfig,
    RouteConfig,
    UpstreamConfig,
)
from headworks.gateway.heads import HttpLimits
from headworks.simulator import (
    FaultRule,
    Latency,
    RateLimit,
    SimulatedPrice,
    SimulatorConfig,
)
from headworks.types import RateLimits, Secret, Timeouts
from tests.faults.simworld.callers import Ask, Kind
from tests.faults.simworld.network import Fate, Weather

TROUBLES: Final = (
    "upstream lines",
    "caller lines",
    "provider faults",
    "leavers",
    "slow readers",
    "tight limits",
    "provider limits",
    "liars",
    "reload",
    "revocation",
    "few connections",
    "late writes",
    "early stop",
    "two credentials",
)
PRICES: Final = {
    "gpt-6-sol": PriceConfig(2_000_000_333, 9_999_999_777, 200_000_001),
    "gpt-6-luna": PriceConfig(150_000_007, 600_000_011),
    "text-embedding-3-small": PriceConfig(20_000_000, 0),
}
"""Nano-dollars per million tokens, so odd that every rounding shows."""

UPSTREAMS: Final = ("east", "west")
_WORDS: Final = [
    "please",
    "tell",
    "me",
    "about",
    "the",
    "quiet",
    "river",
    "near",
    "our",
    "old",
    "stone",
    "bridge",
    "in",
    "winter",
]
NOBODY: Final = "gpt-of-nobody"
"""A model that no provider has."""
RETRY_AFTER: Final = 0.7
"""Seconds that a provider asks for when it has had too many requests."""
_RULES: Final = (
    # no answer
    FaultRule("status", status=500),
    FaultRule("status", status=503, html=True),
    FaultRule("status", status=429, retry_after=RETRY_AFTER),
    FaultRule("status", status=429, code="insufficient_quota"),
    FaultRule("status", status=400),
    FaultRule("status", status=401),
    FaultRule("redirect", status=307),
    FaultRule("input_filter"),
    FaultRule("reset_before_head"),
    FaultRule("close_before_head"),
    FaultRule("hang_before_head"),
    # heads that are odd, or wrong
    FaultRule("info_flood", count=3),
    FaultRule("info_flood", count=20),
    FaultRule("slow_head", seconds=0.002),
    FaultRule("no_type"),
    FaultRule("wrong_type"),
    FaultRule("short_length", count=5),
    FaultRule("long_length", count=5),
    FaultRule("double_length", count=0),
    FaultRule("double_length", count=3),
    FaultRule("length_and_chunks"),
    FaultRule("gzip"),
    FaultRule("gzip_garbage"),
    # answers that break
    FaultRule("cut_after", after=0),
    FaultRule("cut_after", after=5),
    FaultRule("cut_after", after=9, ending="rst"),
    FaultRule("cut_after", after=7, ending="clean"),
    FaultRule("cut_after", after_bytes=900, ending="bad_chunk"),
    FaultRule("stall_after", after=4),
    FaultRule("malformed_chunk", after=6),
    FaultRule("half_event", after=6),
    FaultRule("error_event", after=5),
    FaultRule("error_event", after=0, status=429),
    FaultRule("no_finish"),
    FaultRule("json_instead_of_stream"),
    FaultRule("error_in_ok"),
    FaultRule("html_in_ok"),
    FaultRule("empty_body"),
    # answers in another form
    FaultRule("slow_first_token", seconds=3.0),
    FaultRule("no_done"),
    FaultRule("duplicate_done"),
    FaultRule("after_done"),
    FaultRule("crlf"),
    FaultRule("cr"),
    FaultRule("bom"),
    FaultRule("comments"),
    FaultRule("ids"),
    FaultRule("empty_events"),
    FaultRule("multi_line"),
    FaultRule("no_space"),
    FaultRule("slices", count=7, seconds=0.001),
    FaultRule("glued"),
    # usage that is missing, or impossible
    FaultRule("missing_usage"),
    FaultRule("null_usage"),
    FaultRule("negative_usage"),
    FaultRule("text_usage"),
    FaultRule("double_usage"),
)
_LIES: Final = tuple(
    FaultRule("surplus", seconds=wait, probability=0.3) for wait in (0.0, 0.01, 0.05)
)
"""Told while no next request can be there: what no client can see is left out."""
_FATES: Final[tuple[Fate, ...]] = ("refused", "unknown", "silent", "fin", "rst", "hole")


_LONG: Final = " ".join(_WORDS * 90) + " "
"""A preamble so long that the provider caches it."""


@dataclass(frozen=True)
class Scenario:
    """One world before it begins.

    Attributes:
        troubles: What goes wrong in it.
        gloom: How many of the lines meet a fate, by what they lead to.
    """

    seed: int
    troubles: frozenset[str]
    timeouts: Timeouts
    retry: RetryConfig
    patience: float
    limits: RateLimits
    http: HttpLimits
    providers: dict[str, SimulatorConfig]
    callers: list[list[Ask]]
    gloom: float
    connections: int
    revoked_at: float | None = None
    reloaded_at: float | None = None
    stopped_at: float | None = None
    drain: float = 0.0

    def config(self, folder: Path) -> Config:
        """Return what the operator says, with the store in `folder`."""
        return Config(
            store=folder / "store.db",
            key_pepper=Secret("a pepper of more than sixteen characters"),
            retry=self.retry,
            upstreams={name: self._upstream(name) for name in UPSTREAMS},
            models={
                "assistant": self._model("east/gpt-6-sol", "west/gpt-6-luna"),
                "single": self._model("west/gpt-6-sol"),
                "triple": self._model("west/gpt-6-luna", "east/gpt-6-luna", "east/gpt-6-sol"),
                "embedder": self._model(
                    "east/text-embedding-3-small", "west/text-embedding-3-small"
                ),
            },
            keys=(
                KeyConfig("open", Secret(KEYS["open"])),
                KeyConfig("tight", Secret(KEYS["tight"]), limits=self.limits),
                KeyConfig("narrow", Secret(KEYS["narrow"]), models=frozenset({"assistant"})),
            ),
            prices=PRICES,
        )

    def _upstream(self, name: str) -> UpstreamConfig:
        secrets = self.providers[name].credentials
        return UpstreamConfig(
            f"http://{name}/v1",
            tuple(CredentialConfig(known, Secret(str(key))) for known, key in secrets.items()),
            self.timeouts,
            connections=self.connections,
            allow_http=True,
        )

    def _model(self, *routes: str) -> ModelConfig:
        pairs = (route.split("/") for route in routes)
        steps = tuple(RouteConfig(place, model, self.timeouts) for place, model in pairs)
        return ModelConfig(steps, self.patience)


KEYS: Final = {name: f"{name}-key-0123456789" for name in ("open", "tight", "narrow", "wrong")}
STORED: Final = "stored"
"""Stands for the key that lives in the store, whose secret is made when the world begins."""


def scenario(seed: int) -> Scenario:
    """Return the world that a seed stands for."""
    chance = random.Random(f"world {seed}")
    span = chance.choice((1.0, 10.0, 10.0, 80.0))
    troubles = frozenset(name for name in TROUBLES if chance.random() < 0.4)
    return Scenario(
        seed=seed,
        troubles=troubles,
        timeouts=Timeouts(
            connect=chance.choice((0.5, 2.0)),
            first_byte=chance.choice((1.5, 4.0)),
            idle=chance.choice((1.0, 3.0)),
            total=chance.choice((6.0, 15.0)),
        ),
        retry=RetryConfig(3, *chance.choice(((0.5, 8.0), (0.02, 0.1)))),
        patience=chance.choice((0.0, 0.5, 5.0)),
        limits=RateLimits(chance.choice((None, 4, 8)), chance.choice((None, 1, 3))),
        http=chance.choice((HttpLimits(), HttpLimits(write_seconds=3.0, keep_alive_seconds=8.0))),
        providers={name: _provider(chance, troubles) for name in UPSTREAMS},
        callers=_callers(chance, troubles, span),
        gloom=chance.choice((0.1, 0.3)),
        connections=chance.choice((1, 2, 4)) if "few connections" in troubles else 1000,
        revoked_at=chance.uniform(0, span) if "revocation" in troubles else None,
        reloaded_at=chance.uniform(0, span) if "reload" in troubles else None,
        stopped_at=chance.uniform(0, span) if "early stop" in troubles else None,
        drain=chance.choice((1.0, 30.0)),
    )


def _provider(chance: random.Random, troubles: frozenset[str]) -> SimulatorConfig:
    faults: list[FaultRule] = []
    if "liars" in troubles and "few connections" not in troubles:
        faults += _LIES[: chance.randint(1, 3)]
    if "provider faults" in troubles:
        rules = chance.sample(_RULES, chance.randint(1, 6))
        faults += [_often(rule, chance.choice((0.1, 0.3, 0.6))) for rule in rules]
    limits = (RateLimit(rpm=chance.choice((3, 10))),) if "provider limits" in troubles else ()
    names = ("main", "other") if "two credentials" in troubles else ("main",)
    return SimulatorConfig(
        credentials={name: f"sk-{name}-{chance.randrange(10**6)}" for name in names},
        prices={name: _per_token(price) for name, price in PRICES.items()},
        latency=Latency(chance.choice((0.0, 0.05, 0.8)), chance.choice((0.0, 30.0, 200.0))),
        faults=tuple(faults),
        limits=limits,
        seed=chance.randrange(10**9),
        answer_tokens=chance.choice(
            ((5, 20), (20, 60), (400, 500))
            if "slow readers" in troubles
            else ((5, 20), (20, 60), (100, 150))
        ),
    )


def _per_token(price: PriceConfig) -> SimulatedPrice:
    cached = None if price.cached is None else Decimal(price.cached) / 10**6
    return SimulatedPrice(Decimal(price.input) / 10**6, Decimal(price.output) / 10**6, cached)


def _often(rule: FaultRule, probability: float) -> FaultRule:
    return msgspec.structs.replace(rule, probability=probability)


def _callers(chance: random.Random, troubles: frozenset[str], span: float) -> list[list[Ask]]:
    callers: list[list[Ask]] = []
    count = 0
    for _ in range(chance.randint(4, 12)):
        starts = sorted(chance.uniform(0, span) for _ in range(chance.randint(1, 4)))
        callers.append([_ask(chance, troubles, count + n, at) for n, at in enumerate(starts)])
        count += len(starts)
    return callers


def _ask(chance: random.Random, troubles: frozenset[str], number: int, at: float) -> Ask:
    tag = f"tag-{number:04}"
    kind: Kind = chance.choices(("chat", "embeddings", "responses", "models"), (12, 3, 4, 1))[0]
    fields = _fields(chance, kind, tag)
    leaves, pace = None, (65_536, 0.0)
    if "leavers" in troubles and chance.random() < 0.4:
        leaves = chance.choice((0.0005, 0.05, 0.5, 2.0)) * chance.random()
    if "slow readers" in troubles and chance.random() < 0.3:
        leaves = leaves and leaves * 10
        pace = chance.choice(((300, 0.05), (2_000, 0.02), (4_000, 2.0), (1, 50.0)))
    stored = 3 if "revocation" in troubles else 0
    key = chance.choices((*KEYS, STORED), (7, 6, 1, 1, stored))[0]
    return Ask(
        tag,
        kind,
        KEYS.get(key, STORED),
        fields,
        at,
        leaves,
        resets=chance.random() < 0.5,
        pace=pace,
        deadline=chance.choice((1.0, 3.0)) if chance.random() < 0.1 else None,
    )


def _fields(chance: random.Random, kind: Kind, tag: str) -> dict[str, Any]:
    words = " ".join(chance.choices(_WORDS, k=chance.randint(3, 40)))
    preamble = _LONG if chance.random() < 0.05 else ""
    prompt, model = (
        f"{preamble}{tag} {words}",
        chance.choice(("assistant", "assistant", "single", "triple")),
    )
    fields: dict[str, Any]
    if kind == "embeddings":
        fields = {"model": "embedder", "input": prompt, "dimensions": chance.choice((4, 64))}
        return {**fields, "encoding_format": "base64"} if chance.random() < 0.5 else fields
    if kind == "chat":
        fields = {"model": model, "messages": [{"role": "user", "content": prompt}]}
        if chance.random() < 0.2:
            fields["max_completion_tokens"] = chance.randint(1, 30)
    else:
        fields = {"model": model, "input": prompt}
    if chance.random() < 0.6:
        fields["stream"] = True
        if kind == "chat" and chance.random() < 0.3:
            fields["stream_options"] = {"include_usage": chance.random() < 0.7}
    if chance.random() < 0.03:
        fields["model"] = NOBODY
    return fields


class Forecast:
    """Says what the next line to a place is like."""

    def __init__(self, plan: Scenario) -> None:
        self._plan = plan
        self._chance = random.Random(f"weather {plan.seed}")

    def __call__(self, place: str) -> Weather:
        """Return the weather of a line."""
        chance, plan = self._chance, self._plan
        trouble = "caller lines" if place == "gateway" else "upstream lines"
        calm = Weather(latency=chance.choice((0.0, 0.001, 0.02)), jitter=chance.choice((0.0, 0.01)))
        if place == "gateway" and "slow readers" in plan.troubles:
            calm = replace(calm, window=chance.choice((1_000, 8_192)))
        if trouble not in plan.troubles:
            return calm
        fate: Fate = chance.choice(_FATES) if chance.random() < plan.gloom else ""
        if fate in {"refused", "unknown", "silent"} and place == "gateway":
            fate = "rst"
        by_bytes = chance.random() < 0.6
        return Weather(
            latency=calm.latency,
            jitter=calm.jitter,
            slices=chance.choice((0, 0, 1, 7, 100)),
            rate=chance.choice((0.0, 0.0, 0.0, 20_000.0)),
            window=min(calm.window, chance.choice((65_536, 8_192, 1_000))),
            fate=fate,
            after=chance.randrange(12_000) if by_bytes and fate else None,
            at=chance.uniform(0, 4.0) if not by_bytes and fate else None,
        )
