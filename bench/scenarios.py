"""The loads, and how one of them is measured on one subject."""

import contextlib
import json
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from process import LOAD_CPU, cpu_seconds, pinned, pss_mb, settle
from subjects import CHUNKS, HERE, KEY, Kind, Subject, path, request

WARM_UP = 0.5
SETTLING = 2.0
"""Seconds after which streams that were opened are open."""


@dataclass(frozen=True)
class Scenario:
    """A load.

    Attributes:
        behaviour: What the mock upstream shall do, see mockllm.c.
        least: Seconds that one measurement needs at least.
        open_to: Names of the subjects that get it; all when empty.
        rate: Calls a second that are due, whatever the subject does; 0 is as fast as it can.
    """

    name: str
    title: str
    connections: int
    kind: Kind = "json"
    behaviour: str = ""
    size: int = 1024
    least: float = 0.0
    open_to: tuple[str, ...] = ()
    rate: float = 0.0

    def fits(self, subject: Subject) -> bool:
        """Say whether the subject is measured under this load."""
        wanted = not self.open_to or subject.name in self.open_to
        return wanted and self.kind in subject.kinds


_MANY = ("direct", "nginx", "envoy", "headworks", "headworks-bare", "uvicorn+aiohttp")
_FAST = (*_MANY, "tensorzero", "ferro")

SCENARIOS = (
    Scenario("json1", "1 KB chat call, 1 connection", 1),
    Scenario("json8", "1 KB chat call, 8 connections", 8, open_to=_FAST),
    Scenario("json64", "1 KB chat call, 64 connections", 64),
    Scenario("json256", "1 KB chat call, 256 connections", 256, open_to=_FAST),
    Scenario("big64", "20 KB chat call, 64 connections", 64, size=20_000),
    Scenario("embed", "100 embeddings in a call, 8 connections", 8, "embeddings"),
    Scenario("sse", "100-chunk streams at full speed, 16 at once", 16, "stream", "s100-p0"),
    Scenario("paced", "100 streams, a chunk each 20 ms", 100, "stream", "s100-p20", least=3.0),
    Scenario(
        "paced500",
        "500 streams of 300 chunks, a chunk each 20 ms",
        500,
        "stream",
        "s300-p20",
        least=6.5,
        open_to=_MANY,
    ),
)


@dataclass(frozen=True)
class Measurement:
    """One round of one scenario on one subject; times in microseconds.

    Attributes:
        cpu: CPU time of the subject's process tree per call, or per chunk of a stream; 0 of none.
        rate: Calls, or chunks, per second.
        share: How much of its CPU the subject was using.
        p50: Latency of a whole call; of a stream, the age of a chunk on arrival. `p99` likewise.
    """

    cpu: float
    rate: float
    share: float
    p50: float
    p99: float


class CallsFailed(SystemExit):
    """Calls were refused, cut or answered wrongly: what was measured says nothing.

    It ends the program, unless it is a peer that failed.
    """


def measure(subject: Subject, scenario: Scenario, seconds: float, folder: Path) -> Measurement:
    """Put the load on the subject for some seconds; raises `CallsFailed`."""
    seconds = max(seconds, scenario.least) * subject.slow
    command = load_command(subject, scenario, seconds, WARM_UP * subject.slow, folder)
    started, before = time.perf_counter(), _cpu(subject)
    done = subprocess.run(
        pinned(command, LOAD_CPU), capture_output=True, text=True, check=True, timeout=120
    )
    elapsed, used = time.perf_counter() - started, _cpu(subject) - before
    if subject.pid:
        settle(subject.pid)
    said: dict[str, Any] = json.loads(done.stdout)
    streams = scenario.kind == "stream"
    units = said["aged_events"] if streams else said["requests"]
    if said["errors"] or said["bad_status"] or not units:
        raise CallsFailed(f"{subject.name} failed calls of {scenario.name}: {done.stdout}")
    # CPU is read from before the warm-up to the end, calls are counted after it: scale by time.
    in_all = units * elapsed / said["seconds"]
    times = said["event_age_us"] if streams else said["lat_us"]
    return Measurement(
        cpu=used * 1e6 / in_all,
        rate=units / said["seconds"],
        share=used / elapsed,
        p50=times["p50"],
        p99=times["p99"],
    )


def load_command(
    subject: Subject, scenario: Scenario, seconds: float, warm_up: float, folder: Path
) -> list[str]:
    """Return the command of the load generator, which is left to be pinned."""
    file = folder / f"{subject.name}-{scenario.name}.json"
    file.write_bytes(request(scenario.kind, subject, scenario.behaviour, scenario.size))
    command = [str(HERE / "tools/llmload"), "-p", str(subject.port), "-k", KEY, "-b", str(file)]
    command += ["-c", str(scenario.connections), "-d", str(seconds), "-w", str(warm_up)]
    command += ["-u", path(scenario.kind, subject)]
    for line in subject.headers:
        command += ["-H", line]
    if scenario.rate:
        command += ["-r", str(scenario.rate)]
    if scenario.kind == "stream":
        chunks = int(scenario.behaviour.partition("-")[0].removeprefix("s"))
        command += ["-s", "-x", str(subject.events - CHUNKS + chunks)]
    return command


def memory(subject: Subject, counts: Sequence[int], folder: Path) -> dict[str, float]:
    """Return the subject's memory in MB while so many streams are open, a chunk each second.

    More are opened beside those that are: none is cut in between, which may cost memory too.
    """
    found: dict[str, float] = {}
    with contextlib.ExitStack() as stack:
        opened = 0
        for count in counts:
            if count > opened:
                stack.enter_context(_open(subject, count - opened, folder))
                opened = count
            found[str(count)] = pss_mb(subject.pid)
    settle(subject.pid)
    return found


@contextlib.contextmanager
def _open(subject: Subject, streams: int, folder: Path) -> Iterator[None]:
    """Keep so many streams open while the block lasts."""
    scenario = Scenario("memory", "", streams, "stream", "s100-p1000")
    command = load_command(subject, scenario, 90.0, 0.0, folder)
    load = subprocess.Popen(pinned(command, LOAD_CPU), stdout=subprocess.DEVNULL)
    try:
        time.sleep(streams / 400 * max(1.0, subject.slow) + SETTLING)
        yield
    finally:
        load.kill()
        load.wait()


def _cpu(subject: Subject) -> float:
    return cpu_seconds(subject.pid) if subject.pid else 0.0
