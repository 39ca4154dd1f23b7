"""Everything that one run found out, and its file."""

import json
import os
import platform
import statistics
import sysconfig
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from scenarios import Measurement
from startup import Startup

_SIZES = 3
"""Numbers of streams that it takes to tell a stream from what comes once: none, some and many."""

LIBRARIES = ("uvicorn", "uvloop", "httptools", "msgspec")


@dataclass
class Result:
    """The figures of a run.

    Attributes:
        measured: Scenario, then subject, then one measurement a round.
        loads: Subject, then share of its greatest rate, then calls a second, p50 and p99 in µs.
        memory: Subject, then open streams, then megabytes.
        scaling: What is measured by what there is more of, then how many, then the figure.
        seconds: What the run took.
    """

    rounds: int
    seconds: float = 0.0
    versions: dict[str, str] = field(default_factory=dict)
    measured: dict[str, dict[str, list[Measurement]]] = field(default_factory=dict)
    loads: dict[str, dict[str, tuple[float, float, float]]] = field(default_factory=dict)
    memory: dict[str, dict[str, float]] = field(default_factory=dict)
    features: dict[str, float] = field(default_factory=dict)
    queue: dict[str, float] = field(default_factory=dict)
    in_process: dict[str, float] = field(default_factory=dict)
    accounting: dict[str, float] = field(default_factory=dict)
    scaling: dict[str, dict[str, float]] = field(default_factory=dict)
    startup: Startup | None = None

    def add(self, scenario: str, subject: str, found: Measurement | None) -> None:
        """Keep a round; one that failed is none."""
        rounds = self.measured.setdefault(scenario, {}).setdefault(subject, [])
        if found is not None:
            rounds.append(found)

    def add_load(self, subject: str, level: float, found: tuple[float, float, float]) -> None:
        """Keep the latency at a share of what the subject can do."""
        self.loads.setdefault(subject, {})[f"{level:g}"] = found

    def median(self, scenario: str, subject: str, what: str = "cpu") -> float | None:
        """Return the median of the rounds of `cpu`, `rate`, `p50` or `p99`, if there is one."""
        rounds = self.measured.get(scenario, {}).get(subject, [])
        values = [value for one in rounds if (value := getattr(one, what))]
        return statistics.median(values) if values else None

    def ratio(self, scenario: str, subject: str, to: str) -> float | None:
        """Return how many times the CPU time of `to` a subject takes."""
        ours, theirs = self.median(scenario, subject), self.median(scenario, to)
        return ours / theirs if ours and theirs else None

    def per_stream(self, subject: str) -> float | None:
        """Return the kilobytes that one more open stream takes.

        What the first streams bring into memory once (code, buffers, vocabularies) is not theirs.
        """
        found = sorted((int(count), mb) for count, mb in self.memory.get(subject, {}).items())
        if len(found) < _SIZES:
            return None
        (fewer, less), (most, more) = found[1], found[-1]
        return (more - less) * 1000 / (most - fewer)

    def save(self, folder: Path) -> Path:
        """Write `TIME.json` into the folder and return it."""
        folder.mkdir(parents=True, exist_ok=True)
        now = datetime.now(UTC)
        path = folder / f"{now:%Y%m%dT%H%M%SZ}.json"
        content = {
            "time": now.isoformat(timespec="seconds"),
            "python": python(),
            "python_configured": sysconfig.get_config_var("CONFIG_ARGS"),
            "machine": {
                "processor": processor(),
                "cpus": os.cpu_count(),
                "system": platform.release(),
            },
            "libraries": {name: version(name) for name in LIBRARIES},
            **asdict(self),
            "cpu_as_multiple_of_nginx": self._ratios("nginx"),
            "cpu_as_multiple_of_headworks": self._ratios("headworks"),
        }
        path.write_text(json.dumps(content, indent=1), encoding="utf-8")
        return path

    def _ratios(self, to: str) -> dict[str, dict[str, float]]:
        return {
            scenario: {
                subject: round(ratio, 3)
                for subject in subjects
                if (ratio := self.ratio(scenario, subject, to)) is not None
            }
            for scenario, subjects in self.measured.items()
        }


def python() -> str:
    """Return which Python this is, and how it was built: that alone is worth a quarter."""
    asked = sysconfig.get_config_var("CONFIG_ARGS") or ""
    speed = [flag for flag in ("--enable-optimizations", "--with-lto") if flag in asked]
    level = next(
        (word for word in (sysconfig.get_config_var("OPT") or "").split() if word[:2] == "-O"), ""
    )
    build = f"configured {'with ' + ' '.join(speed) if speed else 'without --enable-optimizations'}"
    compiler = platform.python_compiler()
    return f"{platform.python_version()} ({', '.join(filter(None, (compiler, level, build)))})"


def processor() -> str:
    """Return the name of the processor."""
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
