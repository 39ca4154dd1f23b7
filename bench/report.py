"""The result as a Markdown table, as JSON, and inside README.md."""

import json
import os
import platform
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from scenarios import Measurement
from startup import Startup

Rounds = dict[str, dict[str, list[Measurement]]]
"""Scenario, then subject, then one measurement a round."""

BEGIN, END = "<!-- bench:begin -->", "<!-- bench:end -->"
_LIBRARIES = ("uvicorn", "uvloop", "httptools", "msgspec")


@dataclass(frozen=True)
class Result:
    """Everything that one run found out."""

    versions: dict[str, str]
    measured: Rounds
    startup: Startup | None
    accounting: dict[str, float]
    rounds: int

    def least_cpu(self, scenario: str, subject: str) -> float | None:
        """Return the CPU time per unit of the least disturbed round, in microseconds."""
        times = [one.cpu for one in self._of(scenario, subject) if one.cpu is not None]
        return min(times, default=None)

    def least_p50(self, scenario: str, subject: str) -> float | None:
        """Return the median latency of the least disturbed round, in microseconds."""
        return min((one.p50 for one in self._of(scenario, subject)), default=None)

    def _of(self, scenario: str, subject: str) -> list[Measurement]:
        return self.measured.get(scenario, {}).get(subject, [])


def table(result: Result) -> str:
    """Return the Markdown table with its foot line."""
    head = [
        "| | direct | nginx | headworks | headworks : nginx | bound |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    return "\n".join(
        [
            *head,
            *_costs(result),
            *_latency(result),
            *_accounting(result),
            *_start(result),
            "",
            _foot(result),
        ]
    )


def _costs(result: Result) -> Iterator[str]:
    rows = (
        ("CPU per JSON call, 64 connections", "json64", "≤ 8"),
        ("CPU per JSON call, 1 connection", "json1", ""),
        ("CPU per SSE chunk, 16 streams at full speed", "sse", ""),
        ("CPU per SSE chunk, 100 streams at 20 ms", "paced", ""),
    )
    for title, scenario, bound in rows:
        nginx = result.least_cpu(scenario, "nginx")
        ours = result.least_cpu(scenario, "headworks")
        yield _row(title, "", _micro(nginx), _micro(ours), _ratio(ours, nginx), bound)
    ours, nginx = result.least_cpu("json64", "headworks"), result.least_cpu("json64", "nginx")
    yield _row("JSON calls per second and core", "", _rate(nginx), _rate(ours), "", "")


def _latency(result: Result) -> Iterator[str]:
    found = [result.least_p50("json1", name) for name in ("direct", "nginx", "headworks")]
    base, nginx, ours = found
    yield _row("p50 of a call, 1 connection", *(_micro(one) for one in found), "", "")
    if base is not None and ours is not None:
        added = "" if nginx is None else _micro(nginx - base)
        yield _row("p50 added to a direct call", "", added, _micro(ours - base), "", "≤ 500 µs")


def _accounting(result: Result) -> Iterator[str]:
    rows = (
        ("CPU of limits and ledger per call, one after another", "plain_1", "≤ 60 µs"),
        ("the same, 64 calls together", "plain_64", ""),
        ("with five levels of limits and three budgets, one after another", "full_1", "≤ 60 µs"),
        ("the same, 64 calls together", "full_64", ""),
    )
    for title, name, bound in rows:
        if (value := result.accounting.get(name)) is not None:
            yield _row(title, "", "", _micro(value), "", bound)
    if (weight := result.accounting.get("keys_mb")) is not None:
        yield _row("memory of 100,000 keys with limits", "", "", f"{weight:.0f} MB", "", "≤ 200 MB")


def _start(result: Result) -> Iterator[str]:
    if (start := result.startup) is None:
        return
    yield _row("ready to serve after", "", "", f"{start.ready:.2f} s", "", "< 1 s")
    yield _row("`import headworks`", "", "", f"{start.importing * 1e3:.0f} ms", "", "< 300 ms")
    yield _row("memory (RSS), idle", "", "", f"{start.idle:.0f} MB", "", "< 80 MB")
    yield _row("memory, one vocabulary", "", "", f"{start.vocabulary:.0f} MB", "", "< 160 MB")


def _foot(result: Result) -> str:
    subjects = [f"{name} {number}" for name, number in result.versions.items()]
    libraries = [f"{name} {version(name)}" for name in _LIBRARIES]
    return (
        f"{datetime.now(UTC):%d %B %Y}; {', '.join(subjects)}, Python {platform.python_version()}, "
        f"{', '.join(libraries)}; {_processor()}, {os.cpu_count()} CPUs, over loopback; least "
        f"disturbed of {result.rounds} interleaved rounds. headworks with keys, limits, ledger and "
        "metrics on; nginx with a key check and a rate limit."
    )


def save(result: Result, text: str, folder: Path) -> Path:
    """Write `TIME.json` and `TIME.md` into the folder; return the first."""
    folder.mkdir(parents=True, exist_ok=True)
    now = datetime.now(UTC)
    path = folder / f"{now:%Y%m%dT%H%M%SZ}.json"
    content = {
        "time": now.isoformat(timespec="seconds"),
        "python": sys.version,
        "machine": {
            "processor": _processor(),
            "cpus": os.cpu_count(),
            "system": platform.release(),
        },
        "libraries": {name: version(name) for name in _LIBRARIES},
        **asdict(result),
        "ratio_to_nginx": {
            scenario: _number(
                result.least_cpu(scenario, "headworks"), result.least_cpu(scenario, "nginx")
            )
            for scenario in result.measured
        },
    }
    path.write_text(json.dumps(content, indent=1), encoding="utf-8")
    path.with_suffix(".md").write_text(text + "\n", encoding="utf-8")
    return path


def rewrite(readme: Path, text: str) -> None:
    """Replace what stands between the two marks."""
    before, mark, rest = readme.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not mark or not end:
        raise SystemExit(f"{readme} has no {BEGIN} … {END}")
    readme.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}", encoding="utf-8")


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _micro(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.0f} µs" if value >= 10 else f"{value:.1f} µs"


def _rate(cpu: float | None) -> str:
    return f"{1e6 / cpu:,.0f}" if cpu else ""


def _number(ours: float | None, theirs: float | None) -> float | None:
    return round(ours / theirs, 3) if ours and theirs else None


def _ratio(ours: float | None, theirs: float | None) -> str:
    number = _number(ours, theirs)
    return "" if number is None else f"{number:.1f}"


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
