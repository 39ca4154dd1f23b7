"""Keeps a gateway busy and watches what it holds: memory, descriptors, tasks, threads, queues.

Twenty callers call three endpoints, plain and streamed, through a provider that fails, cuts and
forgets; some hang up, some wait in line for a key with one place. A sample is what psutil sees of
the process and what /metrics says of its state. After the warm-up nothing may grow with time; what
does is told as a slope with its bound, and ends in exit code 1, as does an error without a cause.

    make soak ARGS="--minutes 60 --report soak.json"
"""

import argparse
import asyncio
import json
import random
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import psutil

from headworks.stores.ledger_schema import ledger_path
from headworks.stores.verify import verify
from headworks.upstream.http1 import ClientLimits
from tests.faults.nursery import Victim, nursery
from tests.faults.processes import KEY, Line, Reply, ask, configuration, line_to, rows
from tests.faults.verdicts import (
    assert_billed_is_booked,
    assert_closed,
    assert_received_is_booked,
    assert_seen_is_booked,
)
from tests.faults.witnesses import SEED, Provider, call_bytes, provider

CALLERS = 20
IN_LINE = 4
"""So many of the callers share a key that lets one call through at a time."""
EXPLAINED = {"200", "429", "500", "502", "503", "left"}
"""What the provider's faults come to, and callers who left."""
WARM_UP = 0.4
"""The share of the time that is no evidence."""
FIRST_CALLS = 300
"""Before the time begins: only then a slow machine, too, has loaded what is loaded at first use."""
_METRIC = re.compile(r"^(headworks_\w+)(?:\{[^}]*\})? ([0-9.e+-]+)$", re.MULTILINE)
_HELD = (
    "headworks_tasks",
    "headworks_in_flight",
    "headworks_ledger_open_holds",
    "headworks_ledger_owed",
    "headworks_upstream_connections_open",
    "headworks_upstream_connections_busy",
    "headworks_upstream_waiting",
    "headworks_queue_waiting",
    "headworks_queue_bytes",
    "headworks_queue_in_flight",
    "headworks_queue_served_total",
)
BUSY = (
    "headworks_in_flight",
    "headworks_ledger_open_holds",
    "headworks_ledger_owed",
    "headworks_upstream_connections_busy",
    "headworks_queue_waiting",
    "headworks_queue_bytes",
    "headworks_queue_in_flight",
)
"""What is 0 when no call is under way."""
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
    Bound("headworks_ledger_open_holds", most=2 * CALLERS),
    Bound("headworks_ledger_owed", most=2 * CALLERS),
    Bound("headworks_upstream_waiting", slack=2.0),
    Bound("headworks_queue_waiting", most=IN_LINE),
    Bound("headworks_queue_bytes", most=IN_LINE * 1000),
    Bound("headworks_queue_in_flight", most=CALLERS),
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

    def line(self) -> str:
        """Return the trend as a line of the report."""
        numbers = (self.least, self.most, self.grown, self.allowed)
        shown = " ".join(f"{number:9.2f}" for number in numbers)
        return f"{self.name:36} {shown}{'' if self.is_flat else '  TOO MUCH'}"


def _silently(_: Sample) -> None:
    """Tell nobody."""


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
    warm: asyncio.Event = field(default_factory=asyncio.Event)
    over: asyncio.Event = field(default_factory=asyncio.Event)
    tell: Callable[[Sample], object] = _silently

    async def run(self, victim: Victim, seconds: float, every: float) -> None:
        """Keep everybody calling, and take samples; at the end wait until all is quiet."""
        loop = asyncio.get_running_loop()
        crowd = [asyncio.create_task(self._call(victim, n)) for n in range(CALLERS)]
        await asyncio.wait_for(self.warm.wait(), 120)
        begun = loop.time()
        while loop.time() - begun < seconds:
            await asyncio.sleep(every)
            self.samples.append(await self._sample(victim, loop.time() - begun))
            self.tell(self.samples[-1])
        self.over.set()
        await asyncio.gather(*crowd)

    async def rest(self, victim: Victim) -> Mapping[str, float]:
        """Wait until the gateway carries nothing, and return what it still holds."""
        loop = asyncio.get_running_loop()
        until = loop.time() + 10
        while True:
            values = (await self._sample(victim, 0.0)).values
            if not any(values[name] for name in BUSY) or loop.time() > until:
                return values
            await asyncio.sleep(0.05)

    async def _call(self, victim: Victim, caller: int) -> None:
        chance = random.Random(self.chance.random())
        key = f"alone-{KEY}" if caller < IN_LINE else KEY
        number = 0
        while not self.over.is_set():
            async with line_to(victim.port) as line:
                while not self.over.is_set() and chance.random() > 0.05:
                    number += 1
                    tag = f"soak-{caller}-{number}"
                    await self._ask(line, tag, call_bytes(tag, chance, key))
                number += 1
                await self._leave(line, call_bytes(f"soak-{caller}-{number}", chance, key), chance)

    async def _ask(self, line: Line, tag: str, call: bytes) -> None:
        self.calls += 1
        reply = await asyncio.wait_for(line.ask(call), 60)
        assert reply.has_ended, (tag, reply)
        self.statuses[str(reply.status)] += 1
        if self.calls >= FIRST_CALLS:
            self.warm.set()
        if self.keeps:
            self.told[tag] = reply

    async def _leave(self, line: Line, call: bytes, chance: random.Random) -> None:
        """Call and hang up in the middle."""
        self.calls += 1
        self.statuses["left"] += 1
        line.writer.write(call)
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
    def problems(self) -> list[str]:
        """What grew beyond its bound, errors that no fault explains, and what was never let go."""
        return [
            *(f"{one.name} grows" for one in self.trends if not one.is_flat),
            *(f"{self.statuses[one]} × {one}" for one in sorted(self.statuses.keys() - EXPLAINED)),
            *(f"{name} is {self.at_rest[name]:g} at rest" for name in BUSY if self.at_rest[name]),
        ]

    def encode(self) -> str:
        """Return the report as JSON."""
        return json.dumps(asdict(self) | {"problems": self.problems}, indent=1)

    def lines(self) -> list[str]:
        """Return the report for people."""
        return [
            f"{'':36} {'least':>9} {'most':>9} {'grown':>9} {'allowed':>9}",
            *(one.line() for one in self.trends),
            f"{self.calls:,} calls in {self.seconds / 60:.1f} minutes: "
            + ", ".join(f"{count:,} × {one}" for one, count in sorted(self.statuses.items())),
            *(f"PROBLEM: {one}" for one in self.problems),
        ]


async def soak(
    folder: Path,
    seconds: float,
    *,
    every: float = 0.5,
    keeps: bool = True,
    tell: Callable[[Sample], object] = _silently,
) -> Report:
    """Load a gateway for so long, judge its ledger, and return what was recorded."""
    async with provider() as upstream, nursery(folder) as place:
        configuration(folder, upstream.port, level="warning")
        async with place.victim(gauges_tasks=True) as victim:
            record = Soak(upstream, random.Random(SEED), keeps, tell=tell)
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
    """Soak for as long as asked, write the report, and end with 1 if it found a problem."""
    asked = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    asked.add_argument("--minutes", type=float, default=10.0)
    asked.add_argument("--report", type=Path, help="a file for all samples, as JSON")
    options = asked.parse_args()
    seconds = options.minutes * 60
    with tempfile.TemporaryDirectory() as folder:
        load = soak(Path(folder), seconds, every=min(5.0, seconds / 60), keeps=False, tell=_tell)
        report = asyncio.run(load)
    if options.report:
        options.report.write_text(report.encode(), encoding="utf-8")
    sys.stdout.write("\n".join(report.lines()) + "\n")
    sys.exit(bool(report.problems))


def _tell(sample: Sample) -> None:
    values = sample.values
    sys.stderr.write(
        f"{sample.seconds:6.0f} s: {sample.calls:,} calls, RSS {values['rss_mb']:.1f} MB, "
        f"{values['fds']:.0f} fds, {values['headworks_tasks']:.0f} tasks, "
        f"{values['headworks_queue_waiting']:.0f} waiting\n"
    )


if __name__ == "__main__":
    main()
