"""What headworks promises of its speed, and whether a run kept it."""

from collections.abc import Iterator
from dataclasses import dataclass

from result import Result

_STREAM_RATE = 500 * 50


@dataclass(frozen=True)
class Bound:
    """A promise, what was measured of it, and whether that keeps it."""

    title: str
    value: str
    bound: str
    is_kept: bool


def judged(result: Result) -> Iterator[Bound]:
    """Yield each promise that the run can judge."""
    yield from _cpu(result)
    yield from _latency(result)
    yield from _streams(result)
    yield from _inside(result)
    yield from _start(result)
    yield from _sizes(result)


def _cpu(result: Result) -> Iterator[Bound]:
    """Yield what a call may cost beside others."""
    yield from _most("CPU per JSON call, × nginx", result.ratio("json64", "headworks", "nginx"), 5)
    for peer, least in (("portkey", 15), ("litellm", 100), ("uvicorn+aiohttp", 1)):
        ratio = result.ratio("json64", peer, "headworks")
        if ratio is not None:
            title = f"CPU per JSON call of {peer}, × headworks"
            yield Bound(title, f"{ratio:.1f}", f"≥ {least}", ratio >= least)
    for peer in ("tensorzero", "ferro"):
        ratio = result.ratio("json64", "headworks", peer)
        yield from _most(f"CPU per JSON call, × {peer}", ratio, 1)


def _latency(result: Result) -> Iterator[Bound]:
    ours = result.median("json1", "headworks", "p50")
    nginx = result.median("json1", "nginx", "p50")
    if ours is not None and nginx is not None:
        yield from _most("p50 at 1 connection beyond nginx's", ours - nginx, 300, " µs")
    for peer in ("uvicorn+aiohttp", "tensorzero", "ferro", "portkey", "litellm"):
        theirs = result.median("json1", peer, "p50")
        if ours is not None and theirs is not None:
            title, bound = f"p50 at 1 connection, beside {peer}", f"< {theirs:.0f} µs"
            yield Bound(title, f"{ours:.0f} µs", bound, ours < theirs)
    if load := result.loads.get("headworks", {}).get("0.7"):
        yield from _most("p99 at 70 % load, × p50", load[2] / load[1], 5)


def _streams(result: Result) -> Iterator[Bound]:
    ratio = result.ratio("paced", "headworks", "nginx")
    yield from _most("CPU per chunk at 20 ms, × nginx", ratio, 3)
    rate = result.median("paced500", "headworks", "rate")
    if rate is not None:
        title, bound = "chunks per second of 500 streams at 20 ms", f"≥ {0.95 * _STREAM_RATE:,.0f}"
        yield Bound(title, f"{rate:,.0f}", bound, rate >= 0.95 * _STREAM_RATE)
    yield from _most("memory per open stream", result.per_stream("headworks"), 25, " KB")


def _inside(result: Result) -> Iterator[Bound]:
    if found := result.in_process:
        for together in (1, 16):
            more = found[f"engine_{together}"] - found[f"httpx_{together}"]
            title = f"CPU in process beyond the official client by itself, {together} at once"
            yield from _most(title, more, 150, " µs")
    steps = {
        "plain_1": "CPU of limits and ledger per call, one after another",
        "full_1": "the same with five levels of limits and three budgets",
    }
    for name, title in steps.items():
        yield from _most(title, result.accounting.get(name), 60, " µs")
    keys = result.accounting.get("keys_mb")
    yield from _most("memory of 100,000 keys with limits", keys, 200, " MB")


def _start(result: Result) -> Iterator[Bound]:
    if (start := result.startup) is not None:
        yield from _most("ready to serve after", start.ready * 1000, 1000, " ms")
        yield from _most("`import headworks`", start.importing * 1000, 300, " ms")
        yield from _most("memory (RSS), idle", start.idle, 80, " MB")
        yield from _most("memory, one vocabulary", start.vocabulary, 160, " MB")


def _sizes(result: Result) -> Iterator[Bound]:
    """Yield what the largest size costs beside the smallest: as much, but for its own bytes.

    A start reads all keys, so it is not judged here.
    """
    for title, found in result.scaling.items():
        if title.startswith("time"):
            continue
        sizes = sorted((int(size), cost) for size, cost in found.items())
        (least, first), (most, last) = sizes[0], sizes[-1]
        if title.endswith("bytes of its request"):
            middle, cost = sizes[len(sizes) // 2]
            small, large = (cost - first) / (middle - least), (last - cost) / (most - middle)
            more = f"CPU of a byte beyond {middle:,} in a request, × of one before"
            yield from _most(more, large / small, 1.5)
        else:
            yield from _most(f"{title}: {most:,} beside {least:,}, ×", last / first, 1.25)


def _most(title: str, value: float | None, most: float, unit: str = "") -> Iterator[Bound]:
    if value is not None:
        shown = f"{value:.0f}" if abs(value) >= 20 else f"{value:.2f}"
        yield Bound(title, f"{shown}{unit}", f"≤ {most:g}{unit}", value <= most)
