"""The loads, and how one of them is measured on one subject."""

import json
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from process import LOAD_CPU, cpu_seconds, pinned
from subjects import EVENTS, HERE, KEY, Subject, body

WARM_UP = 0.5


@dataclass(frozen=True)
class Scenario:
    """A load.

    Attributes:
        behaviour: What the mock upstream shall do, see mockllm.c.
        least: Seconds that one measurement needs at least.
    """

    name: str
    title: str
    connections: int
    behaviour: str = ""
    least: float = 0.0

    @property
    def streams(self) -> bool:
        """Whether answers are server-sent events; the unit is then one event, else one call."""
        return self.behaviour.startswith("s")


SCENARIOS = (
    Scenario("json1", "1 KB chat call, 1 connection", 1),
    Scenario("json64", "1 KB chat call, 64 connections", 64),
    Scenario("sse", "100-chunk streams at full speed, 16 at once", 16, "s100-p0"),
    Scenario("paced", "100-chunk streams, a chunk each 20 ms, 100 at once", 100, "s100-p20", 3.0),
)


@dataclass(frozen=True)
class Measurement:
    """One round of one scenario on one subject; times in microseconds.

    Attributes:
        cpu: CPU time of the subject's process tree per call, or per event of a stream.
        rate: Calls, or events, per second.
        share: How much of its CPU the subject was using.
        p50: Latency of a whole call; of a stream, the age of an event on arrival. `p99` likewise.
    """

    cpu: float | None
    rate: float
    share: float
    p50: float
    p99: float


def measure(subject: Subject, scenario: Scenario, seconds: float, folder: Path) -> Measurement:
    """Put the load on the subject for some seconds; any failed call ends the program."""
    request = folder / f"{scenario.name}.json"
    request.write_bytes(body(scenario.behaviour))
    seconds = max(seconds, scenario.least)
    command = [str(HERE / "tools/llmload"), "-p", str(subject.port), "-k", KEY, "-b", str(request)]
    command += ["-c", str(scenario.connections), "-d", str(seconds), "-w", str(WARM_UP)]
    if scenario.streams:
        command += ["-s", "-x", str(EVENTS)]
    started, before = time.perf_counter(), _cpu(subject)
    done = subprocess.run(
        pinned(command, LOAD_CPU), capture_output=True, text=True, check=True, timeout=120
    )
    elapsed, used = time.perf_counter() - started, _cpu(subject) - before
    said: dict[str, Any] = json.loads(done.stdout)
    if said["errors"] or said["bad_status"] or not said["requests"]:
        raise SystemExit(f"{subject.name} failed calls of {scenario.name}: {done.stdout}")
    # Content events are counted as they arrive; a stream has EVENTS for each 100 of them.
    units = said["aged_events"] * EVENTS / 100 if scenario.streams else said["requests"]
    # CPU is read from before the warm-up to the end, calls are counted after it: scale by time.
    in_all = units * elapsed / said["seconds"]
    times = said["event_age_us"] if scenario.streams else said["lat_us"]
    return Measurement(
        cpu=used * 1e6 / in_all if subject.pid else None,
        rate=units / said["seconds"],
        share=used / elapsed,
        p50=times["p50"],
        p99=times["p99"],
    )


def _cpu(subject: Subject) -> float:
    return cpu_seconds(subject.pid) if subject.pid else 0.0
