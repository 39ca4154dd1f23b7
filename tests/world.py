"""A whole engine over fakes, and the two faces it is seen through."""

from dataclasses import dataclass, field

import httpx2

from headworks.absent import NoCache, NoContext, NoFilter, NoHomes, NoPrompts
from headworks.core.backoff import Backoff
from headworks.core.routing import ModelListing, NamedRouter, Target
from headworks.dispatch import Dispatcher
from headworks.engine import Engine
from headworks.gateway.asgi import Gateway
from headworks.inprocess.httpx2_transport import EngineTransport
from headworks.ports import Guard, Homes, Router
from headworks.relay import Relay
from headworks.stores.health import MemoryHealth
from headworks.stores.limits import MemoryLimits
from headworks.testing import (
    FakeClock,
    FakeUpstream,
    MemoryKeys,
    MemoryLedger,
    RecordingJournal,
    SeededRandom,
)
from headworks.types import Caller, Plan, RateLimits, Request, Route, Timeouts, Usage

TWO_ROUTES = Plan((Route("first", "big", "main"), Route("second", "small", "main")))
CHAT = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}


@dataclass(frozen=True)
class FakeEstimator:
    """Ten tokens in, a hundred out; a broken answer is counted by its characters."""

    def estimate(self, request: Request) -> Usage:
        return Usage(10, 100)

    def recount(self, request: Request, text: str, lost: int = 0) -> Usage:
        return Usage(10, len(text))

    def learn(self, request: Request, model: str, usage: Usage) -> None:
        pass


@dataclass
class World:
    """Everything outside the engine, scripted and remembered."""

    router: Router = field(default_factory=lambda: NamedRouter({"up": Target(("main",), Timeouts())}, {"m": TWO_ROUTES}))  # fmt: skip
    upstream: FakeUpstream = field(default_factory=FakeUpstream)
    clock: FakeClock = field(default_factory=FakeClock)
    ledger: MemoryLedger = field(default_factory=MemoryLedger)
    journal: RecordingJournal = field(default_factory=RecordingJournal)
    limits: MemoryLimits = field(init=False)
    keys: MemoryKeys = field(default_factory=lambda: MemoryKeys({
        "open": Caller("open", "k1"),
        "app": Caller("app", "k2", "shop", frozenset({"m"}), RateLimits(rpm=3, parallel=2)),
    }))  # fmt: skip
    guards: tuple[Guard, ...] = ()
    homes: Homes = field(default_factory=NoHomes)
    max_body: int = 10_000

    def __post_init__(self) -> None:
        self.limits = MemoryLimits(self.clock)
        self.random = SeededRandom(1)
        self.health = MemoryHealth(self.clock, SeededRandom(2))
        self.engine = self.make_engine()

    def make_engine(self) -> Engine:
        dispatcher = Dispatcher(
            router=self.router,
            upstream=self.upstream,
            ledger=self.ledger,
            estimator=FakeEstimator(),
            clock=self.clock,
            random=self.random,
            backoff=Backoff(),
            most=1_000_000,
            health=self.health,
            homes=self.homes,
        )
        return Engine(
            keys=self.keys,
            prompts=NoPrompts(),
            guards=self.guards,
            context=NoContext(),
            listing=ModelListing(["m"], 1),
            cache=NoCache(),
            estimator=FakeEstimator(),
            limits=self.limits,
            dispatcher=dispatcher,
            relay=Relay(NoFilter(), self.clock),
            journal=self.journal,
            clock=self.clock,
            random=self.random,
        )

    def client(self, face: str, key: str = "open") -> httpx2.AsyncClient:
        """Return a plain HTTP client in front of the engine, through either face."""
        gateway = Gateway(lambda: self.engine, lambda: self.max_body)
        transport = (
            httpx2.ASGITransport(app=gateway) if face == "gateway" else EngineTransport(self.engine)
        )
        headers = {"authorization": f"Bearer {key}"}
        return httpx2.AsyncClient(transport=transport, base_url="http://headworks", headers=headers)

    @property
    def routes(self) -> list[str]:
        """Where requests went."""
        return [str(sent.route) for sent in self.upstream.sent]

    def assert_settled(self) -> None:
        """Every answer closed, every row closed, nothing held: once each."""
        assert [answer.closed for answer in self.upstream.answers] == [1] * len(
            self.upstream.answers
        )
        assert [row.closings for row in self.ledger.rows] == [1] * len(self.ledger.rows)
        assert self.limits.statistics().in_flight == 0
