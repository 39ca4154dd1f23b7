"""kill -9 of a busy gateway: what a caller has received to its end is on disk, once."""

import asyncio
import json
import random
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from headworks.gateway.lifecycle import Lifecycle
from headworks.gateway.server import running
from headworks.simulator import FaultRule, Latency, Simulator, SimulatorConfig
from headworks.stores.ledger_schema import ledger_path
from headworks.stores.verify import verify
from headworks.system import SystemClock
from tests.faults.processes import (
    UPSTREAM_KEY,
    Line,
    Process,
    Reply,
    chat,
    command,
    configuration,
    gateway_process,
    line_to,
    rows,
)

pytestmark = pytest.mark.anyio

SEED = 20261123
DONE = b"data: [DONE]\n\n"
KILLS = 30
CALLERS = 30
AIMED = 0.6  # share of the kills that come at the end of an answer
LONGEST = 0.7  # seconds of load before a kill
PRACTICE = SimulatorConfig(
    latency=Latency(first_token=0.01, tokens_per_second=200.0),
    answer_tokens=(4, 16),
    faults=(FaultRule("status", status=500, probability=0.05, model="gpt-6-sol"),),
    credentials={"main": UPSTREAM_KEY},
    seed=SEED,
)


@dataclass
class Provider:
    """The practice OpenAI, with an eye on which request came how often."""

    seen: Counter[str] = field(default_factory=Counter)
    port: int = 0

    def __post_init__(self) -> None:
        self.simulator = Simulator(PRACTICE, SystemClock())

    async def __call__(self, scope, receive, send) -> None:
        self.seen[dict(scope["headers"])[b"x-client-request-id"].decode()] += 1
        await self.simulator(scope, receive, send)


@asynccontextmanager
async def provider() -> AsyncGenerator[Provider]:
    """Run a provider on a free port."""
    seen = Provider()
    async with running(seen, seen, Lifecycle()) as server:
        seen.port = int(server.url.rpartition(":")[2])
        yield seen


@dataclass
class Crowd:
    """Callers who call until the gateway is gone.

    Attributes:
        left: So many ends are still received before `enough`; each is told of at once.
    """

    told: dict[str, Reply] = field(default_factory=dict)
    left: int = 0
    enough: Callable[[], None] = lambda: None

    def begin(
        self, gateway: Process, name: str, chance: random.Random
    ) -> list["asyncio.Future[None]"]:
        """Set everybody to work."""
        return [
            asyncio.ensure_future(
                self.keep_calling(gateway.port, f"{name}-{n}", random.Random(chance.random()))
            )
            for n in range(CALLERS)
        ]

    def look(self, reply: Reply) -> None:
        """Count the ends."""
        if reply.body.endswith(DONE) or "content-length" in reply.headers:
            self.left -= 1
            if not self.left:
                self.enough()

    async def keep_calling(self, port: int, name: str, chance: random.Random) -> None:
        """Make one call after the other; note each under a name of its own."""
        async with line_to(port) as line:
            line.on_piece = self.look
            await self.calls(line, name, chance)

    async def calls(self, line: Line, name: str, chance: random.Random) -> None:
        for number in range(1_000_000):
            tag = f"{name}-{number}"
            content = chat(
                stream=chance.random() < 0.5,
                messages=[{"role": "user", "content": f"Say something about {tag}"}],
                headers={"x-headworks-user": tag, "x-client-request-id": tag},
            )
            self.told[tag] = Reply()
            self.told[tag] = reply = await line.ask(content)
            if not reply.has_ended:
                return


def assert_received_is_booked(told: dict[str, Reply], booked: list[dict[str, Any]]) -> int:
    """Every reply that was received to its end has one settled row per attempt; count them.

    A stream has ended for its reader at [DONE]: the official clients read no further.
    """
    by_user: dict[str, list[dict[str, Any]]] = {}
    for row in booked:
        by_user.setdefault(row["user"], []).append(row)
    received = {
        tag: reply for tag, reply in told.items() if reply.has_ended or reply.body.endswith(DONE)
    }
    for tag, reply in received.items():
        attempts = by_user[tag]
        assert reply.status == 200, reply
        assert {row["call"] for row in attempts} == {reply.call}
        assert len(attempts) == int(reply.headers["x-headworks-attempts"])
        assert [row["attempt"] for row in attempts] == list(range(1, len(attempts) + 1))
        assert {(row["state"], row["certainty"]) for row in attempts} == {("settled", "exact")}
        assert attempts[-1]["output"] > 0
        if reply.headers["content-type"] == "application/json":
            nano = sum(row["cost_nano"] for row in attempts)
            assert reply.headers["x-headworks-cost"] == f"{nano / 10**9:.9f}"
        else:
            assert reply.body.endswith(DONE)
    return len(received)


def assert_closed(booked: list[dict[str, Any]]) -> int:
    """Every row is closed; those that a kill left open stand at their estimate. Count them."""
    recovered = [row for row in booked if row["outcome"] == "recovered"]
    for row in recovered:
        assert (row["state"], row["certainty"]) == ("settled", "unknown")
        assert row["cost_nano"] == row["estimate_nano"] > 0
    assert {row["state"] for row in booked} <= {"settled", "released"}
    return len(recovered)


def assert_seen_is_booked(seen: Counter[str], booked: list[dict[str, Any]]) -> int:
    """Every request that the provider saw has one row; more only where a kill came in between."""
    counted = Counter(row["user"] for row in booked)
    assert [tag for tag, times in seen.items() if counted[tag] < times] == []
    unsent = {tag: counted[tag] - seen[tag] for tag in counted if counted[tag] > seen[tag]}
    lost = {row["user"] for row in booked if row["outcome"] == "recovered"}
    assert set(unsent) <= lost
    assert set(unsent.values()) <= {1}
    return len(unsent)


async def strike(gateway: Process, crowd: Crowd, name: str, chance: random.Random) -> None:
    """Let everybody call, and kill the gateway at a random moment or at the very end of an answer."""
    gone = asyncio.Event()

    def kill() -> None:
        if not gone.is_set():
            gateway.kill()
            gone.set()

    crowd.enough, crowd.left = kill, chance.randrange(1, 60) * (chance.random() < AIMED)
    calls = crowd.begin(gateway, name, chance)
    timer = asyncio.get_running_loop().call_later(chance.uniform(0.05, LONGEST), kill)
    await gone.wait()
    timer.cancel()
    await asyncio.gather(*calls)


async def test_thirty_kills_under_load(tmp_path, figure):
    """Kill a gateway under load, thirty times: no received answer lacks its row, none has two."""
    chance = random.Random(SEED)
    crowd = Crowd()
    starts: list[float] = []
    log = tmp_path / "log"
    ledger = ledger_path(tmp_path / "books.db")
    async with provider() as upstream:
        configuration(tmp_path, upstream.port)
        for kill in range(KILLS):
            async with gateway_process(tmp_path, log) as gateway:
                starts.append(gateway.seconds)
                if kill:
                    assert_closed(rows(tmp_path))
                await strike(gateway, crowd, str(kill), chance)
            assert_received_is_booked(crowd.told, rows(tmp_path))
            assert verify(ledger).findings == ()
        async with gateway_process(tmp_path, log) as gateway:
            assert await gateway.stop() == 0
    verified = await command(tmp_path, "ledger", "verify", "--json", log=log)
    printed, _ = await verified.communicate()

    booked = rows(tmp_path)
    received = assert_received_is_booked(crowd.told, booked)
    recovered, unsent = assert_closed(booked), assert_seen_is_booked(upstream.seen, booked)
    assert verified.returncode == 0, printed
    assert json.loads(printed)["findings"] == []
    assert received > 10 * KILLS
    assert recovered > KILLS
    figure(
        f"kill -9: seed {SEED}, {KILLS} kills, {len(crowd.told)} calls begun, {received} received "
        f"to their end, {len(booked)} rows, {recovered} recovered, {unsent} of them held but unsent"
    )
    figure(
        f"start of a gateway: {sorted(starts)[KILLS // 2]:.2f} s median, {max(starts):.2f} s at most"
    )
