"""The plots of a result, as SVG files: on white, so that they can be read on any page.

.venv-bench-plots/bin/python bench/plots.py bench/results/TIME.json FOLDER
"""

import json
import statistics
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import environments
from headworks_settings import STEPS

Found = Mapping[str, Any]
COLOURS = {
    "headworks": "#d1360f",
    "headworks-bare": "#f08a5d",
    "nginx": "#2e8b57",
    "envoy": "#8c6bb1",
    "uvicorn+aiohttp": "#1f78b4",
    "tensorzero": "#b8860b",
    "ferro": "#17becf",
    "portkey": "#c51b8a",
    "litellm": "#444444",
}
OTHER = "#8a8f98"
STYLE = {
    "axes.axisbelow": True,
    "axes.edgecolor": "#9aa0a6",
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "figure.facecolor": "white",
    "font.size": 10,
    "grid.color": "#d8dbe0",
    "legend.frameon": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "headworks",
}


def drawn(result: Path, folder: Path | None = None) -> str:
    """Draw the plots in the environment that can, beside the result or elsewhere; say where."""
    if not environments.is_installed("plots"):
        return "No plots: make bench-peers ARGS=plots"
    python, place = environments.binaries("plots") / "python", folder or result.with_suffix("")
    command = [str(python), __file__, str(result), str(place)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else f"No plots: {done.stderr[-600:]}"


def _line(axes: Any, name: str, points: list[tuple[float, float]]) -> None:
    """Draw one subject's line; ours stands out."""
    is_ours = name == "headworks"
    axes.plot(
        *zip(*points, strict=True),
        "o-",
        color=COLOURS.get(name, OTHER),
        label=name,
        linewidth=2.4 if is_ours else 1.4,
        markersize=5 if is_ours else 3.5,
        zorder=3 if is_ours else 2,
    )


def _beside(axes: Any) -> None:
    """Name the lines beside the plot, in the order in which they end."""
    lines = sorted(axes.get_lines(), key=_end, reverse=True)
    axes.legend(handles=lines, loc="upper left", bbox_to_anchor=(1.01, 1.0), borderaxespad=0)


def _end(line: Any) -> float:
    return float(line.get_ydata()[-1])


def _plainly(value: float, _: object = None) -> str:
    """Return a number as people write it: 0.5, 20, 3,000."""
    return f"{value:,.0f}" if value >= 1 else f"{value:g}"


def _shortly(value: float, _: object = None) -> str:
    """Return a number in little room: 200, 10k, 1M."""
    for unit, sign in ((1e6, "M"), (1e3, "k")):
        if value >= unit:
            return f"{value / unit:g}{sign}"
    return f"{value:g}"


def _logarithmic(axis: Any, subs: tuple[float, ...] = (1.0, 2.0, 5.0)) -> None:
    """Label an axis at round numbers, written out."""
    from matplotlib.ticker import LogLocator, NullFormatter

    axis.set_major_locator(LogLocator(base=10, subs=subs))
    axis.set_major_formatter(_plainly)
    axis.set_minor_formatter(NullFormatter())


def _throughput(axes: Any, found: Found) -> None:
    """Draw calls a second against p99."""
    for name, levels in found["loads"].items():
        _line(axes, name, sorted((rate, p99 / 1000) for rate, _, p99 in levels.values()))
    axes.set(xscale="log", yscale="log", xlabel="calls per second on one core", ylabel="p99, ms")
    axes.set_title("Throughput against p99: each at shares of its greatest rate")
    _logarithmic(axes.xaxis, (1.0,))
    _logarithmic(axes.yaxis)
    _beside(axes)


def _bars(axes: Any, values: Mapping[str, float], colour: str = OTHER) -> None:
    colours = [COLOURS.get(name, colour) for name in values]
    bars = axes.barh(list(values), list(values.values()), color=colours, height=0.7)
    axes.bar_label(bars, fmt=_plainly, padding=4)
    axes.invert_yaxis()
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")


def _cpu(axes: Any, found: Found) -> None:
    """Draw CPU time of a call, least first."""
    medians = {
        name: statistics.median(one["cpu"] for one in rounds)
        for name, rounds in found["measured"].get("json64", {}).items()
        if rounds and rounds[0]["cpu"]
    }
    _bars(axes, dict(sorted(medians.items(), key=_second)))
    axes.set(xscale="log", xlabel="CPU of a call, µs (logarithmic)")
    axes.set_xlim(left=10, right=max(medians.values()) * 2)
    _logarithmic(axes.xaxis, (1.0,))
    axes.set_title("CPU of a call: 1 KB chat calls, 64 connections")


def _second(pair: tuple[str, float]) -> float:
    return pair[1]


def _memory(axes: Any, found: Found) -> None:
    """Draw memory against open streams."""
    for name, points in found["memory"].items():
        _line(axes, name, [(int(streams), mb) for streams, mb in points.items()])
    axes.set(yscale="log", xlabel="open streams", ylabel="memory, MB (logarithmic)")
    axes.xaxis.set_major_formatter(_plainly)
    _logarithmic(axes.yaxis)
    axes.set_title("Memory against open streams")
    _beside(axes)


def _features(axes: Any, found: Found) -> None:
    """Draw what a call costs with more and more switched on."""
    colour = COLOURS["headworks"]
    titles = {name: textwrap.fill(title, 24) for name, title, _ in STEPS}
    steps = {titles[name]: value for name, value in found["features"].items()}
    _bars(axes, steps, colour)
    axes.margins(x=0.12)
    axes.set(xlabel="CPU of a call, µs")
    axes.set_title("headworks, each step with what stands above it")


def _size(axes: Any, title: str, points: Mapping[str, float]) -> None:
    """Draw one figure by size: what is in proportion on straight axes, all else on few decades."""
    what, _, more = title.partition(" by ")
    _line(axes, "headworks", [(int(size), value) for size, value in points.items()])
    axes.set(xscale="linear" if more.startswith("bytes") else "log", xlabel=more)
    axes.set_ylim(bottom=0, top=max(points.values()) * 1.25)
    axes.xaxis.set_major_formatter(_shortly)
    axes.yaxis.set_major_formatter(_plainly)
    axes.set_title(what, fontsize=10, fontweight="normal")


def _scaling(plt: Any, found: Found, start: str, folder: Path, name: str) -> list[str]:
    """Draw all figures by size that begin so, side by side."""
    chosen = {title: one for title, one in found["scaling"].items() if title.startswith(start)}
    if not chosen:
        return []
    lines = -(-len(chosen) // 3)
    figure, grid = plt.subplots(
        lines, 3, figsize=(9.6, 2.9 * lines), layout="constrained", squeeze=False
    )
    for axes in grid.flat[len(chosen) :]:
        axes.set_visible(False)
    for axes, (title, points) in zip(grid.flat, chosen.items(), strict=False):
        _size(axes, title, points)
        axes.grid(visible=True)
    return [_saved(plt, figure, folder, name)]


def _saved(plt: Any, figure: Any, folder: Path, name: str) -> str:
    figure.savefig(folder / f"{name}.svg", metadata={"Date": None})
    plt.close(figure)
    return f"{name}.svg"


def main() -> None:
    """Draw all that the result has figures for."""
    import matplotlib as mpl

    mpl.use("svg")
    import matplotlib.pyplot as plt

    mpl.rcParams.update(STYLE)
    found = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    folder = Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    made: list[str] = []
    for draw, needed in (
        (_cpu, "measured"),
        (_throughput, "loads"),
        (_memory, "memory"),
        (_features, "features"),
    ):
        if found[needed]:
            figure, axes = plt.subplots(figsize=(8.4, 4.2), layout="constrained")
            axes.grid(visible=True)
            draw(axes, found)
            made.append(_saved(plt, figure, folder, draw.__name__.strip("_")))
    made += _scaling(plt, found, "CPU", folder, "scaling")
    made += _scaling(plt, found, "time", folder, "starts")
    print(f"Plots in {folder}: {', '.join(made)}")


if __name__ == "__main__":
    main()
