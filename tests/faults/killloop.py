"""Kills a busy gateway, over and over, and judges by what its callers and its provider saw.

The promise: what a caller has received to its end is on disk, once; every attempt that the
provider saw has one row; what a kill interrupted stands at its estimate, flagged.

    python -m tests.faults.killloop --kills 500        random kills, for as long as one likes
"""

import argparse
import asyncio
import random
import signal
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from typing_extensions import override

from headworks.stores.ledger_schema import ledger_path
from headworks.stores.verify import verify
from tests.faults.failpoints import Failpoint
from tests.faults.nursery import PATIENCE, Nursery, Victim, nursery
from tests.faults.processes import Reply, configuration, rows
from tests.faults.verdicts import (
    assert_billed_is_booked,
    assert_closed,
    assert_received_is_booked,
    assert_seen_is_booked,
)
from tests.faults.witnesses import SEED, Crowd, Provider, provider

AIMED = 0.6
"""Share of the random kills that come at the end of an answer."""
LONGEST = 0.3
"""Seconds between the first end of an answer and a random kill, at most."""


@dataclass
class KillLoop:
    """Kills, restarts and judges, in one folder with one ledger.

    Attributes:
        never: Failpoints that were not reached within `patience` seconds.
    """

    folder: Path
    upstream: Provider
    nursery: Nursery
    chance: random.Random
    crowd: Crowd = field(default_factory=Crowd)
    never: list[str] = field(default_factory=list)
    patience: float = PATIENCE
    kills: int = 0
    recovered: int = 0
    _judged: int = 0
    _begun: int = 0

    @property
    def ledger(self) -> Path:
        return ledger_path(self.folder / "books.db")

    async def strike_at(self, point: Failpoint) -> None:
        """Put a gateway through what leads to a failpoint, and let it die there."""
        async with self.nursery.victim(point) as victim:
            if point.during != "start":
                await self._lead(victim, point)
            await asyncio.wait((victim.ended,), timeout=self.patience)
            is_dead = victim.ended.done() and victim.ended.result() == -signal.SIGKILL
            if not (is_dead and self.nursery.reached.exists()):
                self.never.append(str(point))
        self._judge()

    async def _lead(self, victim: Victim, point: Failpoint) -> None:
        """Let everybody call, and bring a stop or a reload about once answers have come."""
        enough = asyncio.Event()
        self.crowd.enough = enough.set
        self.crowd.left = 1 if point.during == "traffic" else 20
        calls = self.crowd.begin(victim.port, f"kill{self.kills}", self.chance)
        if point.during != "traffic":
            await asyncio.wait_for(enough.wait(), PATIENCE)
            victim.signal(signal.SIGTERM if point.during == "stop" else signal.SIGHUP)
        await asyncio.wait((victim.ended,), timeout=self.patience)
        victim.kill()
        await asyncio.gather(*calls)

    async def strike(self) -> None:
        """Kill a gateway from outside at a random moment, or at the very end of an answer."""
        async with self.nursery.victim() as victim:
            await strike(victim.kill, victim.port, self.crowd, f"kill{self.kills}", self.chance)
            await victim.ended
        self._judge()

    def _judge(self) -> None:
        """Judge what the last kill left: the rows of the last gateway, and those it recovered."""
        self.kills += 1
        if not self.ledger.exists():
            return
        booked = rows(self.folder, after=self._judged)
        if not booked and not self._begun:
            return
        prefix = f"kill{self.kills - 1}-"
        told = {tag: reply for tag, reply in self.crowd.told.items() if tag.startswith(prefix)}
        assert_received_is_booked(told, booked)
        assert verify(self.ledger).findings == ()
        earlier = [row for row in booked if row["seq"] <= self._begun]
        if any(row["seq"] > self._begun for row in booked):  # a gateway has been up since
            self.recovered += assert_closed(earlier)
            self._judged = self._begun
        self._begun = max((row["seq"] for row in booked), default=self._judged)


async def strike(
    kill: Callable[[], None], port: int, crowd: Crowd, name: str, chance: random.Random
) -> None:
    """Let everybody call a gateway, and kill it at a random moment or at an answer's very end."""
    gone = asyncio.Event()

    def end() -> None:
        if not gone.is_set():
            kill()
            gone.set()

    def end_soon() -> None:
        loop.call_later(chance.uniform(0, LONGEST), end)

    loop = asyncio.get_running_loop()
    is_aimed = chance.random() < AIMED
    crowd.enough, crowd.left = (end, chance.randrange(1, 60)) if is_aimed else (end_soon, 1)
    calls = crowd.begin(port, name, chance)
    await asyncio.wait_for(gone.wait(), PATIENCE)
    await asyncio.gather(*calls)


@dataclass(frozen=True)
class Outcome:
    """What a loop came to."""

    kills: int
    calls: int
    received: int
    rows: int
    recovered: int
    unsent: int
    exact: int
    never: Sequence[str]

    @override
    def __str__(self) -> str:
        return (
            f"{self.kills} kills, {self.calls} calls begun, {self.received} received to their end, "
            f"{self.rows} rows, {self.recovered} recovered, {self.unsent} held but unsent, "
            f"{self.exact} calls equal to the provider's bill"
        )


async def kill_loop(
    folder: Path,
    points: Sequence[Failpoint],
    random_kills: int,
    *,
    seed: int = SEED,
    patience: float = PATIENCE,
) -> Outcome:
    """Kill at every failpoint, then at random moments; raise at the first broken promise."""
    async with provider() as upstream, nursery(folder) as begun:
        configuration(folder, upstream.port, level="warning")
        loop = KillLoop(folder, upstream, begun, random.Random(seed), patience=patience)
        for point in points:
            await loop.strike_at(point)
        for _ in range(random_kills):
            await loop.strike()
        async with begun.victim() as last:
            last.signal(signal.SIGTERM)
            assert await asyncio.wait_for(last.ended, PATIENCE) == 0
        await asyncio.to_thread(upstream.simulator.books.wait_settled, PATIENCE)
    return judged(loop.crowd.told, upstream, rows(folder), loop)


def judged(
    told: Mapping[str, Reply],
    upstream: Provider,
    booked: list[dict[str, Any]],
    loop: KillLoop | None = None,
) -> Outcome:
    """Judge a whole run."""
    return Outcome(
        kills=loop.kills if loop else 0,
        calls=len(told),
        received=assert_received_is_booked(told, booked),
        rows=len(booked),
        recovered=assert_closed(booked),
        unsent=assert_seen_is_booked(upstream.seen, booked),
        exact=assert_billed_is_booked(upstream.billed(), booked),
        never=tuple(loop.never) if loop else (),
    )


def main() -> None:
    """Kill at random as often as asked, and say what came of it."""
    asked = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    asked.add_argument("--kills", type=int, default=500)
    asked.add_argument("--seed", type=int, default=SEED)
    options = asked.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        outcome = asyncio.run(kill_loop(Path(folder), (), options.kills, seed=options.seed))
    sys.stdout.write(f"seed {options.seed}: {outcome}\n")


if __name__ == "__main__":
    main()
