"""A whole engine over fakes, and the assembly that `build` would make of it."""

import asyncio
import threading
from dataclasses import dataclass, field

from headworks.absent import NoCache, NoContext, NoFilter, NoHomes, NoPrompts
from headworks.core.backoff import Backoff
from headworks.dispatch import Dispatcher
from headworks.engine import Engine
from headworks.errors import RateLimited
from headworks.inprocess.face import Headworks, TrustedKeys
from headworks.relay import Relay
from headworks.stores.health import MemoryHealth
from headworks.testing import (
    FakeClock,
    FakeUpstream,
    MemoryKeys,
    MemoryLedger,
    RecordingJournal,
    SeededRandom,
)
from headworks.types import Call, Caller, Plan, Request, Response, Route, Usage

KEY = "hw_shop"


class NoListing:
    def answer(self, request: Request, caller: Caller) -> Response | None:
        return None


class OneRoute:
    def plan(self, request: Request, estimate: Usage) -> Plan:
        return Plan((Route("openai", request.model, "main"),))


class TenTokens:
    def estimate(self, request: Request) -> Usage:
        return Usage(10, 10)

    def recount(self, request: Request, text: str, lost: int = 0) -> Usage:
        return Usage(10, len(text))

    def learn(self, request: Request, model: str, usage: Usage) -> None:
        pass


@dataclass
class Places:
    """Limits that know how many calls are in, and refuse on demand."""

    taken: int = 0
    settled: int = 0
    refusal: RateLimited | None = None

    async def reserve(self, call: Call, estimate: Usage) -> "Places":
        if self.refusal is not None:
            raise self.refusal
        self.taken += 1
        return self

    def settle(self, usage: Usage) -> None:
        self.taken -= 1
        self.settled += 1


@dataclass
class World:
    upstream: FakeUpstream = field(default_factory=FakeUpstream)
    ledger: MemoryLedger = field(default_factory=MemoryLedger)
    journal: RecordingJournal = field(default_factory=RecordingJournal)
    limits: Places = field(default_factory=Places)
    clock: FakeClock = field(default_factory=FakeClock)
    fault: Exception | None = None
    hangs: threading.Event | None = None
    starts: int = 0
    closes: int = 0

    def __post_init__(self) -> None:
        shop = Caller("shop", "k1", models=frozenset({"m"}))
        estimator, random = TenTokens(), SeededRandom()
        dispatcher = Dispatcher(
            OneRoute(),
            self.upstream,
            self.ledger,
            estimator,
            self.clock,
            random,
            Backoff(),
            1_000_000,
            MemoryHealth(self.clock, random),
            NoHomes(),
        )
        self.engine = Engine(
            keys=TrustedKeys(MemoryKeys({KEY: shop})),
            prompts=NoPrompts(),
            guards=(),
            context=NoContext(),
            listing=NoListing(),
            cache=NoCache(),
            estimator=estimator,
            limits=self.limits,
            dispatcher=dispatcher,
            relay=Relay(NoFilter(), self.clock),
            journal=self.journal,
            clock=self.clock,
            random=random,
        )

    def headworks(self) -> Headworks:
        return Headworks(lambda: self)

    async def start(self) -> None:
        self.starts += 1
        await asyncio.sleep(0)
        if self.fault is not None:
            raise self.fault
        if self.hangs is not None:
            self.hangs.set()
            await asyncio.get_running_loop().create_future()

    async def aclose(self) -> None:
        self.closes += 1

    def ended_once(self) -> bool:
        """Whether every call was closed, settled and recorded exactly once."""
        calls = len(self.journal.calls)
        return (
            [answer.closed for answer in self.upstream.answers] == [1] * calls
            and (self.limits.taken, self.limits.settled) == (0, calls)
            and [row.closings for row in self.ledger.rows] == [1] * calls
        )
