"""The result as Markdown."""

import os
from datetime import UTC, datetime
from importlib.metadata import version

from bounds import judged
from headworks_settings import STEPS
from result import LIBRARIES, Result, processor, python
from scenarios import SCENARIOS

PLOTS = {
    "Side by side": ("cpu", "CPU of a call"),
    "Latency at shares of the greatest rate, p50 / p99 in µs": ("throughput", "calls against p99"),
    "Memory of open streams, in MB": ("memory", "memory against open streams"),
    "What each feature costs": ("features", "CPU of a call with more and more switched on"),
}
"""The plot under a heading: its file, and what is seen on it."""
_SETTINGS = (
    "headworks with keys, limits on five levels, three budgets, ledger, metrics and a log line per "
    "call; headworks-bare with key, ledger and metrics only."
)


def short(result: Result) -> str:
    """Return what README.md shows: the subjects side by side, the bounds, and the foot line."""
    foot = f"{_foot(result)}; JSON calls with 64 connections. {_SETTINGS}"
    parts = (_subjects(result), _bounds(result), [foot])
    return "\n\n".join("\n".join(part) for part in parts if part)


def whole(result: Result, plots: str = "") -> str:
    """Return all tables, each under its heading; with plots where their folder is named."""
    parts = {
        "Side by side": _subjects(result),
        "CPU by scenario, in µs of a call or of a chunk": _scenarios(result),
        "p50 / p99 by scenario, in µs; of streams, a chunk's age on arrival": _latencies(result),
        "Latency at shares of the greatest rate, p50 / p99 in µs": _loads(result),
        "Memory of open streams, in MB": _memory(result),
        "Bounds": _bounds(result),
        "What each feature costs": _features(result),
        "Waiting for a limit": _queue(result),
        "Calls in process": _in_process(result),
        "Cost by size": _scaling(result),
    }
    shown = [f"{_foot(result)}. {_SETTINGS}"]
    for title, lines in parts.items():
        if len(lines) > 2:
            shown += [f"### {title}", "\n".join(lines)]
            shown += [_plot(plots, *PLOTS[title])] if plots and title in PLOTS else []
    return "\n\n".join(shown)


def scaling(result: Result, plots: str) -> str:
    """Return how cost grows with size, as a table under its plots."""
    return "\n\n".join(
        (
            _plot(plots, "scaling", "CPU of a call by size"),
            _plot(plots, "starts", "time to ready by size"),
            "\n".join(_scaling(result)),
            "\n".join(_bounds(result)),
            f"{_foot(result)}. {_SETTINGS.partition(';')[0]}.",
        )
    )


def _plot(folder: str, name: str, seen: str) -> str:
    return f"![{seen}]({folder}/{name}.svg)"


def _subjects(result: Result) -> list[str]:
    lines = _head(
        "",
        "version",
        "CPU per JSON call",
        "× headworks",
        "calls/s and core",
        "p50, 1 connection",
        "p99 at 70 % load",
        "CPU per chunk at 20 ms",
        "KB per open stream",
    )
    for name in _names(result):
        cpu = result.median("json64", name)
        load = result.loads.get(name, {}).get("0.7")
        lines.append(
            _row(
                f"**{name}**" if name == "headworks" else name,
                result.versions.get(name, ""),
                _micro(cpu),
                _times(result.ratio("json64", name, "headworks")),
                f"{1e6 / cpu:,.0f}" if cpu else "",
                _micro(result.median("json1", name, "p50")),
                _micro(load[2] if load else None),
                _micro(result.median("paced", name)),
                _number(result.per_stream(name)),
            )
        )
    return lines


def _names(result: Result) -> list[str]:
    named = [name for subjects in result.measured.values() for name in subjects]
    return list(dict.fromkeys(named))


def _by_scenario(result: Result, cells: dict[str, dict[str, str]]) -> list[str]:
    names = _names(result)
    lines = _head("", *names)
    for scenario in SCENARIOS:
        if found := cells.get(scenario.name):
            lines.append(_row(scenario.title, *(found.get(name, "") for name in names)))
    return lines


def _scenarios(result: Result) -> list[str]:
    cells = {
        scenario: {name: _number(result.median(scenario, name)) for name in subjects}
        for scenario, subjects in result.measured.items()
    }
    return _by_scenario(result, cells)


def _latencies(result: Result) -> list[str]:
    cells = {
        scenario: {
            name: f"{_number(result.median(scenario, name, 'p50'))} / "
            f"{_number(result.median(scenario, name, 'p99'))}"
            for name, rounds in subjects.items()
            if rounds
        }
        for scenario, subjects in result.measured.items()
    }
    return _by_scenario(result, cells)


def _loads(result: Result) -> list[str]:
    levels = sorted({level for found in result.loads.values() for level in found}, key=float)
    lines = _head("", *(f"{float(level):.0%}" for level in levels))
    for name, found in result.loads.items():
        cells = [
            f"{_number(found[level][1])} / {_number(found[level][2])}" if level in found else ""
            for level in levels
        ]
        lines.append(_row(name, *cells))
    return lines


def _memory(result: Result) -> list[str]:
    counts = sorted({count for found in result.memory.values() for count in found}, key=int)
    lines = _head("", *(f"{int(count):,}" for count in counts), "KB a stream")
    for name, found in result.memory.items():
        cells = [_number(found.get(count)) for count in counts]
        lines.append(_row(name, *cells, _number(result.per_stream(name))))
    return lines


def _bounds(result: Result) -> list[str]:
    lines = _head("", "measured", "bound", "")
    for one in judged(result):
        lines.append(_row(one.title, one.value, one.bound, "kept" if one.is_kept else "**missed**"))
    return lines


def _features(result: Result) -> list[str]:
    lines = _head("with", "CPU per JSON call", "more than before")
    before: float | None = None
    for name, title, _ in STEPS:
        if (value := result.features.get(name)) is not None:
            more = "" if before is None else f"{value - before:+.1f} µs"
            lines.append(_row(title, _micro(value), more))
            before = value
    return lines


def _queue(result: Result) -> list[str]:
    lines = _head("64 callers, 4 places, answers after 5 ms", "")
    if found := result.queue:
        lines += [
            _row("calls per second", f"{found['rate']:,.0f} of {found['most']:,.0f}"),
            _row("CPU of a call that waited", _micro(found["waiting"])),
            _row("CPU of one that did not, at the same rate", _micro(found["not_waiting"])),
        ]
    return lines


def _in_process(result: Result) -> list[str]:
    lines = _head("CPU per call", "one after another", "16 together")
    titles = {
        "client": "the official client, answered from memory",
        "httpx": "over its own connections",
        "engine": "over headworks in the same process",
    }
    for name, title in titles.items():
        if f"{name}_1" in result.in_process:
            found = (result.in_process[f"{name}_{count}"] for count in (1, 16))
            lines.append(_row(title, *(_micro(value) for value in found)))
    return lines


def _scaling(result: Result) -> list[str]:
    lines = _head("", "size: figure")
    for title, found in result.scaling.items():
        cells = (f"{int(size):,}: {_number(value)}" for size, value in found.items())
        lines.append(_row(title, ", ".join(cells)))
    return lines


def _foot(result: Result) -> str:
    libraries = [f"{name} {version(name)}" for name in LIBRARIES]
    return (
        f"{datetime.now(UTC):%d %B %Y}; headworks {version('headworks')}, Python {python()}, "
        f"{', '.join(libraries)}; {processor()}, {os.cpu_count()} CPUs, over loopback; medians of "
        f"{result.rounds} interleaved rounds, of peers of every other"
    )


def _head(*cells: str) -> list[str]:
    return [_row(*cells), _row("---", *["---:"] * (len(cells) - 1))]


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}"


def _micro(value: float | None) -> str:
    return "" if value is None else f"{_number(value)} µs"


def _times(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}" if value < 10 else f"{value:.0f}"
