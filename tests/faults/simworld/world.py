"""One world from its beginning to its end, with witnesses at every border."""

import asyncio
import hashlib
import math
import random
import re
import sqlite3
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any, cast

from headworks.build import Assembly
from headworks.engine import Engine
from headworks.gateway.asgi import Gateway
from headworks.gateway.listener import Listener
from headworks.gateway.station import Station
from headworks.stores.keystore import Grant, KeyStore
from headworks.stores.ledger_schema import connect_read_only, ledger_path
from headworks.stores.pepper import load_pepper
from headworks.testing import RecordingJournal, SeededRandom
from headworks.types import Presence, Request, Response, Secret
from tests.faults.simworld.asks import STORED, last_asks
from tests.faults.simworld.callers import PLACE, Ask, Caller, Reply
from tests.faults.simworld.clockwork import LoopClock, VirtualLoop
from tests.faults.simworld.limiter import Limiter, WatchedLimits, WatchedQueue
from tests.faults.simworld.network import Line, Network, Place
from tests.faults.simworld.providers import Arrival, Provider
from tests.faults.simworld.scenario import CALM_AT, Forecast, Scenario
from tests.faults.simworld.spending import spending

_CALL = re.compile(rb"\r\nx-headworks-call: ([^\r]+)\r\n")
_TAG = re.compile(rb"\r\nx-client-request-id: (tag-[0-9]+)\r\n")
_LAST = (b"data: [DONE]\n\n", b"event: response.completed\n", b"event: response.incomplete\n")
_PATIENCE = 400.0
"""Seconds in which calls must have ended after the last caller has."""
LAST_CALLS = 4
"""As many as a breaker's probes, and one more."""
_OPEN, _UNPAID = 80.0, 1_200.0
"""Seconds after which no breaker is open, and no credential rests."""
_IDLE = 55.0
"""Seconds after which the connections to an upstream that a reload replaced have closed themselves:
a call that began before may open one that the gateway's own end does not find."""


@dataclass
class Entry:
    """One call that entered the engine, and how often it left it."""

    tag: str
    exits: int = 0


@dataclass
class World:
    """Everything that is, and what was seen of it.

    Attributes:
        findings: What must not be, one sentence each.
        trace: What happened, in order; its digest is the world's fingerprint.
        rows: The ledger when all had ended.
        has_recovered: Whether calls were made when all had been well for long.
        stopped_at: When the gateway stopped to accept; `cut_at` when it cut off what was left.
    """

    plan: Scenario
    folder: Path
    loop: VirtualLoop
    keeps_trace: bool = False
    findings: list[str] = field(default_factory=list[str])
    trace: list[str] = field(default_factory=list[str])
    entries: list[Entry] = field(default_factory=list[Entry])
    replies: list[Reply] = field(default_factory=list[Reply])
    rows: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    revoked_at: float = math.inf
    stopped_at: float = math.inf
    cut_at: float = math.inf
    has_recovered: bool = False
    is_over: bool = False

    def __post_init__(self) -> None:
        self._heard: dict[int, bytearray] = {}
        self._last_on: dict[int, Arrival] = {}
        self._sent: Counter[str] = Counter()
        self._digest = hashlib.blake2b(digest_size=16)
        self.begun = self.loop.time()
        plan = self.plan
        self.network = Network(
            self.loop,
            plan.seed,
            self.note,
            Forecast(plan, lambda: self.loop.time() - self.begun),
            self._watch_line,
            writes_late="late writes" in plan.troubles,
        )
        self.journal = RecordingJournal()
        self.providers = {
            name: Provider(name, config, self.loop) for name, config in plan.providers.items()
        }
        for provider in self.providers.values():
            provider.on_arrival = self._on_arrival
        config = plan.config(self.folder)
        self.stored = self._stored_key(config.store)
        self.assembly = Assembly(
            config,
            journals=(self.journal,),
            clock=LoopClock(self.loop),
            random=SeededRandom(plan.seed),
        )
        self.limiter = Limiter(
            plan.ration, plan.ration.tight(plan.limits), self.loop.time, self.fail
        )
        cast("WatchedLimits", self.assembly.limits).limiter = self.limiter
        cast("WatchedQueue", self.assembly.queue).limiter = self.limiter
        self.station = Station(self.assembly, lambda: replace(self.assembly.config))
        self.ledger_path = ledger_path(config.store)
        self.ledger = connect_read_only(self.ledger_path)
        app = Gateway(self._watched, lambda: self.assembly.config.server.max_body)
        self.listener = Listener(
            cast("Any", app), cast("Any", Place(PLACE)), plan.http, self.station.lifecycle
        )
        _number(self.listener._protocol)

    @property
    def fingerprint(self) -> str:
        """Return what is the same for the same history, and for no other one."""
        return self._digest.hexdigest()

    def note(self, text: str, data: bytes | bytearray = b"") -> None:
        """Add a line to the trace."""
        line = f"{self.loop.time() - self.begun:.6f} {text}"
        self._digest.update(line.encode())
        self._digest.update(data)
        if self.keeps_trace:
            self.trace.append(f"{line} {bytes(data[:60])!r}" if data else line)

    def fail(self, finding: str) -> None:
        """Note what must not be."""
        self.note(f"FINDING {finding}")
        self.findings.append(finding)

    # Its life.

    async def live(self) -> None:
        """Begin, let everybody call, and end."""
        await self.station._start()
        await self.listener.start()
        for provider in self.providers.values():
            await provider.start()
        callers = [Caller(self._keyed(asks), self.begun) for asks in self.plan.callers]
        events = [self._revoke(), self._reload(), self._stop()]
        await asyncio.gather(*(caller.run() for caller in callers), *events)
        self.replies = [reply for caller in callers for reply in caller.replies]
        await self._calm_down()
        if self.plan.ends_well:
            await self._recover()
        for reply in self.replies:
            self.note(f"{reply.ask.tag} {reply.status} {reply.is_whole}", reply.body)
        self._read_ledger()

    async def end(self) -> None:
        """Close everything."""
        if self.plan.reloaded_at is not None:
            await asyncio.sleep(_IDLE)
        await self.listener.drain()
        await self.listener.close()
        await self.station._stop()
        self.is_over = True
        self.ledger.close()
        await asyncio.sleep(3.0)

    async def _calm_down(self) -> None:
        """Wait until nothing is under way, then let dead lines be found out."""
        if not await self._becomes(lambda: not self.station.lifecycle.in_flight):
            self.fail(f"{self.station.lifecycle.in_flight} calls have not ended")
        for line in self.network.lines:
            if line.is_mute:
                line.clear()
        if not await self._becomes(lambda: not any(one.open for one in self.providers.values())):
            self.fail("a provider still answers a request that nobody waits for")

    async def _recover(self) -> None:
        """Let all be well until nothing is held against a route any more; then call again."""
        is_unpaid = any(one.failure == "quota" for call in self.journal.calls for one in call.trail)
        calm = max(0.0, self.begun + CALM_AT - self.loop.time())
        await asyncio.sleep(calm + (_UNPAID if is_unpaid else _OPEN))
        self.note("all is well")
        self.has_recovered = True
        for ask in last_asks(LAST_CALLS):
            caller = Caller([ask], self.begun)
            await caller.run()
            self.replies += caller.replies
        await self._calm_down()

    async def _becomes(self, is_so: Callable[[], bool]) -> bool:
        until = self.loop.time() + _PATIENCE
        while not is_so() and self.loop.time() < until:  # noqa: ASYNC110 - there is no event
            await asyncio.sleep(1.0)
        return is_so()

    async def _revoke(self) -> None:
        at = self.plan.revoked_at
        if at is not None:
            await asyncio.sleep(at)
            self._store.revoke("stored")
            self.revoked_at = self.loop.time()
            self.note("revoked")

    async def _reload(self) -> None:
        """Take a configuration in which one upstream has changed."""
        at = self.plan.reloaded_at
        if at is not None:
            await asyncio.sleep(at)
            config = self.assembly.config
            upstreams = dict(config.upstreams)
            upstreams["east"] = replace(
                upstreams["east"], connections=max(1, self.plan.connections - 1)
            )
            self.station._load = lambda: replace(config, upstreams=upstreams)
            await self.station.reload()
            self.note(f"reloaded {self.station.configuration}")

    async def _stop(self) -> None:
        """Accept nothing more, answer what is under way, and cut it off when that takes too long."""
        at = self.plan.stopped_at
        if at is not None:
            await asyncio.sleep(at)
            self.note("stops")
            self.stopped_at = self.loop.time()
            self.station.lifecycle.draining = True
            drained = asyncio.ensure_future(self.listener.drain())
            await asyncio.wait((drained,), timeout=self.plan.drain)
            self.cut_at = self.loop.time()
            await self.listener.close()
            await drained

    def _keyed(self, asks: list[Ask]) -> list[Ask]:
        return [replace(ask, key=self.stored) if ask.key == STORED else ask for ask in asks]

    def _stored_key(self, path: Path) -> str:
        """Make the key that lives in the store."""
        if "revocation" not in self.plan.troubles:
            return "no-key-in-the-store"
        chance = random.Random(self.plan.seed)
        self._store = KeyStore(path, LoopClock(self.loop).time, entropy=chance.randbytes)
        pepper = load_pepper(path, Secret("a pepper of more than sixteen characters"))
        return self._store.create(Grant("stored"), pepper)[1].reveal()

    def _read_ledger(self) -> None:
        self.ledger.row_factory = sqlite3.Row
        self.rows = [
            dict(row) for row in self.ledger.execute("SELECT * FROM attempts ORDER BY seq")
        ]
        for row in self.rows:
            self.note(f"row {tuple(row.values())}")
        for call in self.journal.calls:
            self.note(f"call {call.id} {call.status} {call.outcome} {call.attempts} {call.cost}")

    # Its witnesses.

    def _watched(self) -> Engine:
        return cast("Engine", _Watched(self.assembly.engine, self.entries))

    def _on_arrival(self, arrival: Arrival) -> None:
        """Note where in what its line brings the answer to an attempt begins."""
        heard = self._heard[arrival.line]
        arrival.heard_from = len(heard)
        before = self._last_on.get(arrival.line)
        if before is not None:
            before.heard_to = len(heard)
        self._last_on[arrival.line] = arrival

    def _watch_line(self, line: Line) -> None:
        if line.place == PLACE:
            line.server.tap = _LastByte(self).look
        else:
            line.caller.tap = self._on_sent
            self._heard[line.number] = heard = bytearray()
            line.caller.hears = heard.extend

    def _on_sent(self, data: bytes) -> None:
        """Look whether an attempt's row is on disk when its first byte leaves."""
        found = _TAG.search(data)
        if found is None or self.is_over:
            return
        tag = found[1].decode()
        self._sent[tag] += 1
        (on_disk,) = self.ledger.execute(
            "SELECT count(*) FROM attempts WHERE session = ?", (tag,)
        ).fetchone()
        if on_disk < self._sent[tag]:
            self.fail(f"{tag}: attempt {self._sent[tag]} leaves, and {on_disk} rows are on disk")
        for owner, spent in spending(self.ledger, self.plan.ration.budgets):
            limit = self.plan.ration.budgets[owner].limit
            if spent > limit:
                self.fail(f"{tag}: {spent} is spent and held, and {limit} may be: {owner.spelled}")
        for name, client in self.assembly.clients.items():
            if (open_ := client.statistics().open) > self.plan.connections:
                self.fail(f"{open_} connections to {name}, and {self.plan.connections} may be")

    def line(self, reply: Reply) -> Line | None:
        """Return the line that a call went over."""
        return next((line for line in self.network.lines if line.number == reply.line), None)

    def is_prompt(self, reply: Reply) -> bool:
        """Whether a caller takes what comes at once, over a line that brings it at once."""
        return reply.ask.is_patient and self.is_prompt_line(reply)

    def is_prompt_line(self, reply: Reply) -> bool:
        """Whether a call went over a line that brings everything at once."""
        line = self.line(reply)
        return line is not None and line.weather.is_fast

    def heard(self, arrival: Arrival) -> bytes:
        """Return what had reached the gateway of the answer to one attempt."""
        return bytes(self._heard[arrival.line][arrival.heard_from : arrival.heard_to])

    def settled_on_disk(self, call: str) -> bool:
        """Whether every row of a call is closed, on disk."""
        (held,) = self.ledger.execute(
            "SELECT count(*) FROM attempts WHERE call = ? AND state = 'held'", (call,)
        ).fetchone()
        return not held


class _LastByte:
    """Looks at what leaves for one caller: at the last byte of an answer its row must be closed."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._call = ""

    def look(self, data: bytes) -> None:
        """Take note of a head, and judge the end."""
        head = _CALL.search(data) if data.startswith(b"HTTP/1.1 ") else None
        if head is not None:
            self._call = head[1].decode()
        is_whole = head is not None and b"\r\ncontent-length: " in data
        is_last = self._call and (is_whole or any(last in data for last in _LAST))
        if is_last and not self._world.settled_on_disk(self._call):
            self._world.fail(f"{self._call} is not settled on disk, and its last byte leaves")


class _Watched:
    """An engine, and who enters and leaves it."""

    def __init__(self, engine: Engine, entries: list[Entry]) -> None:
        self._engine, self._entries = engine, entries
        self.refusal, self.keys = engine.refusal, engine.keys

    @asynccontextmanager
    async def call(
        self, request: Request, key: Secret | None, presence: Presence | None = None
    ) -> AsyncGenerator[Response]:
        """Carry one call."""
        entry = Entry(dict(request.headers).get(b"x-client-request-id", b"").decode())
        self._entries.append(entry)
        try:
            async with self._engine.call(request, key, presence) as response:
                yield response
        finally:
            entry.exits += 1


def _number(kind: type[Any]) -> None:
    """Give connections a hash by the order in which they come: sets of them keep one order."""
    numbers = count()

    def number(self: Any) -> int:
        if "number" not in self.__dict__:
            self.__dict__["number"] = next(numbers)
        found: int = self.__dict__["number"]
        return found

    setattr(kind, "__hash__", number)  # noqa: B010 - a class is no place for a plain assignment
