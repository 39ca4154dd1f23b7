"""Keeps a gateway busy and watches what it holds: memory, descriptors, tasks, threads, queues.

A sample is what psutil sees of the process and what /metrics says of its state. After the warm-up
nothing may grow with time; what does is told as a slope with its bound, and ends in exit code 1.

    python -m tests.faults.soak --minutes 60 --report soak.json
"""

import argparse
import asyncio
import json
import random
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import psutil

from headworks.stores.ledger_schema import ledger_path
from headworks.stores.verify import verify
from headworks.upstream.http1 import ClientLimits
from tests.faults.nursery import Victim, nursery
from tests.faults.processes import Line, Reply, ask, configuration, line_to, rows
from tests.faults.verdicts import (
    assert_billed_is_booked,
    assert_closed,
    assert_received_is_booked,
    assert_seen_is_booked,
)
from tests.faults.witnesses import SEED, Provider, call_bytes, provider

CALLERS = 20
WARM_UP = 0.4
"""The share of the time that is no evidence."""
_METRIC = re.compile(r"^(headworks_\w+)(?:\{[^}]*\})? ([0-9.e+-]+)$", re.MULTILINE)
_HELD = (
    "headworks_tasks",
    "headworks_in_flight",
    "headworks_ledger_open_holds",
    "headworks_ledger_owed",
    "headworks_upstream_connections_open",
    "headworks_upstream_connections_busy",
    "headworks_upstream_waiting",
)
_SCRAPE = b"GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"


@dataclass(frozen=True)
class Bound:
    """How much a value may grow, or how large it may be where it follows the load.

    Attributes:
        slack: What it may differ by between two samples without being a trend.
        per_hour: What it may grow by in an hour; `per_100_000` in so many calls.
        most: What it may not exceed, in place of a bound of its growth.
    """

    name: str
    slack: float = 0.0
    per_hour: float = 0.0
    per_100_000: float = 0.0
    most: float | None = None


BOUNDS = (
    Bound("rss_mb", slack=10.0, per_hour=1.0, per_100_000=1.0),
    Bound("fds_beside_upstream", slack=8.0),
    Bound("threads", slack=1.0),
    Bound("headworks_tasks", slack=8.0),
    Bound("headworks_upstream_connections_open", most=ClientLimits().idle + 2 * CALLERS),
    Bound("headworks_in_flight", most=2 * CALLERS),
    Bound("headworks_ledger_open_holds", slack=CALLERS / 2),
    Bound("headworks_ledger_owed", slack=CALLERS / 2),
    Bound("headworks_upstream_waiting", slack=2.0),
)


@dataclass(frozen=True)
class Sample:
    """What a gateway held at a moment, in seconds since the beginning."""

    seconds: float
    calls: int
    values: Mapping[str, float]


@dataclass(frozen=True)
class Trend:
    """How a value went after the warm-up: by a line of least squares, or by its largest."""

    name: str
    least: float
    most: float
    last: float
    grown: float
    allowed: float

    @property
    def is_flat(self) -> bool:
        """Whether the growth is within its bound."""
        return self.grown <= self.allowed


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Return the slope of the line of least squares."""
    count = len(points)
    mean_x, mean_y = sum(x for x, _ in points) / count, sum(y for _, y in points) / count
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / spread if spread else 0.0


def trend(bound: Bound, samples: Sequence[Sample]) -> Trend:
    """Judge one value over samples that were taken after the warm-up."""
    points = [(one.seconds, one.values[bound.name]) for one in samples]
    values = [value for _, value in points]
    seconds = points[-1][0] - points[0][0]
    calls = samples[-1].calls - samples[0].calls
    if bound.most is not None:
        return Trend(bound.name, min(values), max(values), values[-1], max(values), bound.most)
    allowed = bound.slack + bound.per_hour * seconds / 3600 + bound.per_100_000 * calls / 100_000
    grown = slope(points) * seconds
    return Trend(bound.name, min(values), max(values), values[-1], grown, allowed)


@dataclass
class Soak:
    """The load, and the record.

    Attributes:
        told: The outcome of each call, by its tag; whole replies only where `keeps`.
    """

    upstream: Provider
    chance: random.Random
    keeps: bool = True
    samples: list[Sample] = field(default_factory=list)
    told: dict[str, Reply] = field(default_factory=dict)
    statuses: Counter[str] = field(default_factory=Counter)
    calls: int = 0
    over: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self, victim: Victim, seconds: float, every: float) -> None:
        """Keep everybody calling, and take samples; at the end wait until all is quiet."""
        loop = asyncio.get_running_loop()
        begun = loop.time()
        crowd = [asyncio.create_task(self._call(victim, n)) for n in range(CALLERS)]
        while loop.time() - begun < seconds:
            await asyncio.sleep(every)
            self.samples.append(await self._sample(victim, loop.time() - begun))
        self.over.set()
        await asyncio.gather(*crowd)

    async def rest(self, victim: Victim) -> Mapping[str, float]:
        """Wait until the gateway carries nothing, and return what it still holds."""
        loop = asyncio.get_running_loop()
        until = loop.time() + 10
        while True:
            values = (await self._sample(victim, 0.0)).values
            busy = ("headworks_in_flight", "headworks_ledger_open_holds", "headworks_ledger_owed")
            if not any(values[name] for name in busy) or loop.time() > until:
                return values
            await asyncio.sleep(0.05)

    async def _call(self, victim: Victim, caller: int) -> None:
        chance = random.Random(self.chance.random())
        number = 0
        while not self.over.is_set():
            async with line_to(victim.port) as line:
                while not self.over.is_set() and chance.random() > 0.05:
                    number += 1
                    await self._ask(line, f"soak-{caller}-{number}", chance)
                number += 1
                await self._leave(line, f"soak-{caller}-{number}", chance)

    async def _ask(self, line: Line, tag: str, chance: random.Random) -> None:
        self.calls += 1
        reply = await asyncio.wait_for(line.ask(call_bytes(tag, chance)), 60)
        assert reply.has_ended, (tag, reply)
        self.statuses[str(reply.status)] += 1
        if self.keeps:
            self.told[tag] = reply

    async def _leave(self, line: Line, tag: str, chance: random.Random) -> None:
        """Call and hang up in the middle."""
        self.calls += 1
        self.statuses["left"] += 1
        line.writer.write(call_bytes(tag, chance))
        await asyncio.sleep(chance.uniform(0, 0.03))

    async def _sample(self, victim: Victim, seconds: float) -> Sample:
        scraped = (await ask(victim.admin, _SCRAPE)).body.decode()
        values: dict[str, float] = dict.fromkeys(_HELD, 0.0)
        for name, value in _METRIC.findall(scraped):
            if name in values:
                values[name] += float(value)
        process = psutil.Process(victim.pid)
        values["rss_mb"] = process.memory_info().rss / 1e6
        values["fds"], values["threads"] = process.num_fds(), process.num_threads()
        connections = values["headworks_upstream_connections_open"]
        values["fds_beside_upstream"] = values["fds"] - connections
        return Sample(seconds, self.calls, values)


@dataclass(frozen=True)
class Report:
    """What a soak came to."""

    seconds: float
    calls: int
    statuses: Mapping[str, int]
    trends: Sequence[Trend]
    at_rest: Mapping[str, float]
    samples: Sequence[Sample]

    @property
    def grown(self) -> list[Trend]:
        """What grew beyond its bound."""
        return [one for one in self.trends if not one.is_flat]

    def encode(self) -> str:
        """Return the report as JSON."""
        return json.dumps(asdict(self) | {"grown": [one.name for one in self.grown]}, indent=1)


async def soak(folder: Path, seconds: float, *, every: float = 0.5, keeps: bool = True) -> Report:
    """Load a gateway for so long, judge its ledger, and return what was recorded."""
    async with provider() as upstream, nursery(folder) as place:
        configuration(folder, upstream.port, level="warning")
        async with place.victim(gauges_tasks=True) as victim:
            record = Soak(upstream, random.Random(SEED), keeps)
            await record.run(victim, seconds, every)
            at_rest = await record.rest(victim)
    await asyncio.to_thread(_judge, folder, record)
    evidence = [one for one in record.samples if one.seconds > seconds * WARM_UP]
    trends = [trend(bound, evidence) for bound in BOUNDS]
    return Report(seconds, record.calls, dict(record.statuses), trends, at_rest, record.samples)


def _judge(folder: Path, record: Soak) -> None:
    report = verify(ledger_path(folder / "books.db"))
    assert (report.findings, report.held) == ((), ())
    if record.keeps:
        booked = rows(folder)
        assert_received_is_booked(record.told, booked)
        assert assert_closed(booked) == 0
        assert_seen_is_booked(record.upstream.seen, booked)
        assert_billed_is_booked(record.upstream.billed(), booked)


def main() -> None:
    """Soak for as long as asked, write the report, and end with 1 if something grew."""
    asked = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    asked.add_argument("--minutes", type=float, default=60.0)
    asked.add_argument("--report", type=Path, default=Path("soak.json"))
    options = asked.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        report = asyncio.run(soak(Path(folder), options.minutes * 60, every=5.0, keeps=False))
    options.report.write_text(report.encode())
    for one in report.trends:
        sys.stdout.write(
            f"{one.name:40} {one.least:9.1f} to {one.most:9.1f}, {one.grown:+8.2f} of "
            f"{one.allowed:.2f} {'' if one.is_flat else 'TOO MUCH'}\n"
        )
    sys.stdout.write(f"{report.calls} calls, {dict(report.statuses)}: see {options.report}\n")
    sys.exit(bool(report.grown))


if __name__ == "__main__":
    main()
