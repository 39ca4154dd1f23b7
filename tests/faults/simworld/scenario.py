"""What a seed stands for: a configuration, providers with faults, lines with fates, and callers.

Each seed takes some of the troubles and leaves the others alone, so that in some worlds one trouble
is seen by itself (Groce et al., "Swarm Testing", 2012).
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
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
from headworks.core.grants import Grant
from headworks.gateway.heads import HttpLimits
from headworks.simulator import (
    FaultRule,
    Latency,
    RateLimit,
    SimulatedModel,
    SimulatedPrice,
    SimulatorConfig,
)
from headworks.types import RateLimits, Secret, Timeouts
from tests.faults.simworld.asks import KEYS, callers
from tests.faults.simworld.callers import Ask
from tests.faults.simworld.network import Fate, Weather
from tests.faults.simworld.policies import (
    RETRY_AFTER,
    FailurePolicy,
    Illness,
    failure_policy,
    replace_times,
)
from tests.faults.simworld.rations import PROJECTS, Ration, dressed, ration

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
    "illness",
    "crowd",
    "chains",
    "filters",
    "late commit",
    "long requests",
    "narrow windows",
)
PRICES: Final = {
    "gpt-6-sol": PriceConfig(2_000_000_333, 9_999_999_777, 200_000_001),
    "gpt-6-luna": PriceConfig(150_000_007, 600_000_011),
    "text-embedding-3-small": PriceConfig(20_000_000, 0),
}
"""Nano-dollars per million tokens, so odd that every rounding shows."""

CALM_AT: Final = 300.0
"""Seconds of the world after which nobody is ill any more, nor any line."""
UPSTREAMS: Final = ("east", "west")
_RULES: Final = (
    # no answer
    FaultRule("status", status=500),
    FaultRule("status", status=503, html=True),
    FaultRule("status", status=429, retry_after=RETRY_AFTER),
    FaultRule("status", status=429, code="insufficient_quota"),
    FaultRule("status", status=400),
    FaultRule("status", status=401),
    FaultRule("redirect", status=307),
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
_FILTERS: Final = (FaultRule("input_filter"), FaultRule("content_filter"))
_LIES: Final = tuple(
    FaultRule("surplus", seconds=wait, probability=0.3) for wait in (0.0, 0.01, 0.05)
)
"""Told while no next request can be there: what no client can see is left out."""
_FATES: Final[tuple[Fate, ...]] = ("refused", "unknown", "silent", "fin", "rst", "hole")


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
    policy: FailurePolicy
    ration: Ration = field(default_factory=Ration)
    revoked_at: float | None = None
    reloaded_at: float | None = None
    stopped_at: float | None = None
    drain: float = 0.0

    @property
    def ends_well(self) -> bool:
        """Whether whoever was ill must be in use again at the end."""
        has_room = "provider limits" not in self.troubles and self.stopped_at is None
        has_room = has_room and not {"levels", "budgets"} & self.ration.troubles
        return has_room and "illness" in self.troubles

    def config(self, folder: Path) -> Config:
        """Return what the operator says, with the store in `folder`."""
        return Config(
            store=folder / "store.db",
            key_pepper=Secret("a pepper of more than sixteen characters"),
            retry=self.retry,
            upstreams={name: self._upstream(name) for name in UPSTREAMS},
            models=self._models(),
            keys=(
                self._key("open"),
                self._key("tight", limits=self.ration.tight(self.limits)),
                self._key("narrow", models=frozenset({"assistant"})),
            ),
            queue=self.ration.queue,
            limits=self.ration.rules,
            budgets=self.ration.budgets,
            prices=PRICES,
        )

    def _key(self, name: str, **more: Any) -> KeyConfig:
        priority = self.ration.priorities.get(name, "interactive")
        grant = Grant(name, PROJECTS.get(name, ""), priority=priority, **more)
        return KeyConfig(grant, Secret(KEYS[name]))

    def _upstream(self, name: str) -> UpstreamConfig:
        secrets = self.providers[name].credentials
        return UpstreamConfig(
            f"http://{name}/v1",
            tuple(CredentialConfig(known, Secret(str(key))) for known, key in secrets.items()),
            self.timeouts,
            connections=self.connections,
            allow_http=True,
            breaker=self.policy.breaker,
            retry_budget=self.policy.budget,
        )

    def _models(self) -> dict[str, ModelConfig]:
        policy = self.policy
        on = {failure: self._steps(*routes) for failure, routes in policy.on.items()}
        filtered = {failure: on[failure] for failure in on.keys() & {"content_filter"}}
        plain = ModelConfig((), self.patience, policy.commit, fixed_answer=policy.fixed)
        twice = self._steps("east/gpt-6-luna", "west/gpt-6-luna")
        return {
            "assistant": replace(
                plain, routes=self._steps("east/gpt-6-sol", "west/gpt-6-luna"), on=on
            ),
            "single": replace(plain, routes=self._steps("west/gpt-6-sol"), on=filtered),
            "triple": replace(plain, routes=(*twice[::-1], *self._steps("east/gpt-6-sol")), on=on),
            "fitted": replace(plain, routes=twice, context=policy.context),
            "embedder": ModelConfig(
                self._steps("east/text-embedding-3-small", "west/text-embedding-3-small"),
                self.patience,
            ),
        }

    def _steps(self, *routes: str) -> tuple[RouteConfig, ...]:
        pairs = (route.split("/") for route in routes)
        return tuple(RouteConfig(place, model, self.timeouts) for place, model in pairs)


def scenario(seed: int) -> Scenario:
    """Return the world that a seed stands for."""
    chance = random.Random(f"world {seed}")
    span = chance.choice((1.0, 10.0, 10.0, 80.0))
    troubles = frozenset(name for name in TROUBLES if chance.random() < 0.4)
    policy = failure_policy(seed, troubles, span)
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
        providers={name: _provider(chance, troubles, policy.ills.get(name)) for name in UPSTREAMS},
        callers=dressed(callers(chance, troubles, span), seed),
        gloom=chance.choice((0.1, 0.3)),
        policy=policy,
        ration=ration(seed),
        connections=chance.choice((1, 2, 4)) if "few connections" in troubles else 1000,
        revoked_at=chance.uniform(0, span) if "revocation" in troubles else None,
        reloaded_at=chance.uniform(0, span) if "reload" in troubles else None,
        stopped_at=chance.uniform(0, span) if "early stop" in troubles else None,
        drain=chance.choice((1.0, 30.0)),
    )


def _provider(
    chance: random.Random, troubles: frozenset[str], illness: Illness | None
) -> SimulatorConfig:
    faults: list[FaultRule] = []
    if "liars" in troubles and "few connections" not in troubles:
        faults += _LIES[: chance.randint(1, 3)]
    if "provider faults" in troubles:
        rules = chance.sample(_RULES, chance.randint(1, 6))
        faults += [_often(rule, chance.choice((0.1, 0.3, 0.6))) for rule in rules]
    if "filters" in troubles:
        faults += [_often(rule, chance.choice((0.1, 0.3))) for rule in _FILTERS]
    ills = [] if illness is None else [illness.rule()]
    limits = (RateLimit(rpm=chance.choice((3, 10))),) if "provider limits" in troubles else ()
    names = ("main", "other") if "two credentials" in troubles else ("main",)
    longest = (400, 500) if "slow readers" in troubles else (100, 150)
    lengths = ((5, 20), (20, 60), longest)
    return SimulatorConfig(
        credentials={name: f"sk-{name}-{chance.randrange(10**6)}" for name in names},
        prices={name: _per_token(price) for name, price in PRICES.items()},
        latency=Latency(chance.choice((0.0, 0.05, 0.8)), chance.choice((0.0, 30.0, 200.0))),
        faults=(*ills, *(replace_times(rule, 0.0, CALM_AT) for rule in faults)),
        limits=limits,
        models=_narrow(chance) if "narrow windows" in troubles else {},
        seed=chance.randrange(10**9),
        answer_tokens=(5, 20) if "crowd" in troubles else chance.choice(lengths),
    )


def _narrow(chance: random.Random) -> dict[str, SimulatedModel | None]:
    """Return a model that takes less than the catalogue says."""
    return {"gpt-6-luna": SimulatedModel(context=chance.choice((60, 150)))}


def _per_token(price: PriceConfig) -> SimulatedPrice:
    cached = None if price.cached is None else Decimal(price.cached) / 10**6
    return SimulatedPrice(Decimal(price.input) / 10**6, Decimal(price.output) / 10**6, cached)


def _often(rule: FaultRule, probability: float) -> FaultRule:
    return msgspec.structs.replace(rule, probability=probability)


class Forecast:
    """Says what the next line to a place is like; `now` is in seconds of the world."""

    def __init__(self, plan: Scenario, now: Callable[[], float]) -> None:
        self._plan, self._now = plan, now
        self._chance = random.Random(f"weather {plan.seed}")

    def __call__(self, place: str) -> Weather:
        """Return the weather of a line."""
        chance, plan, now = self._chance, self._plan, self._now()
        illness = plan.policy.ills.get(place)
        if illness is not None and illness.refuses(now):
            return Weather(fate="refused")
        trouble = "caller lines" if place == "gateway" else "upstream lines"
        calm = Weather(latency=chance.choice((0.0, 0.001, 0.02)), jitter=chance.choice((0.0, 0.01)))
        if place == "gateway" and "slow readers" in plan.troubles:
            calm = replace(calm, window=chance.choice((1_000, 8_192)))
        if trouble not in plan.troubles or now >= CALM_AT:
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
