"""What limits and money cost a call, and what many keys weigh: in one process, without a network.

    python bench/accounting.py [--calls N] [--keys N]

Each call is what the engine does of it: a reservation with the limits, its row in the ledger on
disk, the settlement on disk, and what was reserved put right. CPU time is that of all threads of
the process: the ledger writes in one of its own.
"""

import argparse
import asyncio
import gc
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from headworks.build import Assembly, assemble
from headworks.config.loading import read
from headworks.stores.limits import MemoryLimits
from headworks.system import SystemClock
from headworks.types import Call, Caller, RateLimits, Request, Route, Secret, Tags, Usage
from process import GATEWAY_CPU, pinned, rss_mb
from subjects import KEY, MODEL, body

TOGETHER = 64
ROUNDS = 7
_MOST = 10**9
_PLAIN = """\
store: sqlite:{folder}/headworks.db
upstreams: {{mock: {{base_url: "http://127.0.0.1:9/v1", credentials: [{{name: main, api_key: x}}]}}}}
models: {{{model}: {{routes: [mock/{model}]}}}}
keys: [{{name: bench, secret: {key}, project: bench, limits: {{rpm: {most}, parallel: 10000}}}}]
"""
_FULL = (
    _PLAIN.replace("limits: {{rpm: {most}, parallel: 10000}}", "limits: {limits}, budget: {budget}")
    + """\
limits: {limits}
projects: {{bench: {{limits: {limits}, budget: {budget}}}}}
users: {{default: {{limits: {limits}}}}}
tags: {{bench: {{limits: {limits}}}}}
budget: {budget}
"""
)
_LIMITS = "{rpm: 1000000000, tpm: 1000000000, rpd: 1000000000, tpd: 1000000000, parallel: 10000}"
_BUDGET = "{usd: 1000000, per: month}"
_REQUEST = Request(
    "POST",
    "/v1/chat/completions",
    content=body(),
    fields={"model": MODEL},
    tags=Tags(user="u42", tags=("bench",)),
)
_ESTIMATE, _USED = Usage(240, 1000), Usage(219, 48)


async def _carry(assembly: Assembly, caller: Caller, number: int) -> None:
    """Do for one call what costs: reserve, hold, settle, and put right what was reserved."""
    clock = assembly.clock
    call = Call(f"call_{number:025}", _REQUEST, clock.now(), clock.time(), caller)
    ledger = assembly.engine.dispatcher.ledger
    reservation = await assembly.engine.limits.reserve(call, _ESTIMATE)
    call.route = route = Route("mock", MODEL, "main")
    call.attempts = 1
    hold = await ledger.hold(call, route, _ESTIMATE)
    hold.settle(_USED, "exact", "completed")
    await ledger.written()
    reservation.settle(_USED)


async def _cost(assembly: Assembly, calls: int, together: int) -> float:
    """Return the CPU time of a call, in microseconds, of the least disturbed round."""
    caller = assembly.keys.authenticate(Secret(KEY))
    numbers = iter(range(10**9))

    async def work(share: int) -> None:
        for _ in range(share):
            await _carry(assembly, caller, next(numbers))

    times: list[float] = []
    for _ in range(ROUNDS):
        began = time.process_time()
        await asyncio.gather(*(work(calls // together) for _ in range(together)))
        times.append((time.process_time() - began) / (calls // together * together))
    await assembly.aclose()
    return min(times) * 1e6


async def _weight(keys: int) -> float:
    """Return the megabytes that so many keys take, each with all limits, after a call of each."""
    limits = MemoryLimits(SystemClock())
    bounds = RateLimits(_MOST, _MOST, _MOST, _MOST, _MOST)
    gc.collect()
    before = rss_mb(os.getpid())
    for number in range(keys):
        caller = Caller(f"key-{number}", f"key-{number}", limits=bounds)
        call = Call(f"call_{number}", _REQUEST, 0.0, 0.0, caller)
        (await limits.reserve(call, _ESTIMATE)).settle(_USED)
    gc.collect()
    return rss_mb(os.getpid()) - before


def measure() -> dict[str, float]:
    """Return the figures, measured by a process of its own on the gateway's CPU."""
    command = pinned([sys.executable, __file__], GATEWAY_CPU)
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


def _figures(calls: int, keys: int) -> Iterator[tuple[str, float]]:
    """Yield the name of each figure, and the figure: microseconds of CPU a call, megabytes."""
    import uvloop

    for name, configuration in (("plain", _PLAIN), ("full", _FULL)):
        for together in (1, TOGETHER):
            with tempfile.TemporaryDirectory(prefix="headworks-bench-") as folder:
                assembly = _assembled(configuration, Path(folder))
                with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                    yield f"{name}_{together}", runner.run(_cost(assembly, calls, together))
    yield "keys_mb", asyncio.run(_weight(keys))


def _assembled(configuration: str, folder: Path) -> Assembly:
    path = folder / "headworks.yaml"
    text = configuration.format(
        folder=folder, model=MODEL, key=KEY, most=_MOST, limits=_LIMITS, budget=_BUDGET
    )
    path.write_text(text, encoding="utf-8")
    return assemble(read(path, os.environ).config)


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--calls", type=int, default=2000, help="in each of the rounds")
    parser.add_argument("--keys", type=int, default=100_000)
    options = parser.parse_args()
    found: dict[str, Any] = dict(_figures(options.calls, options.keys))
    print(json.dumps({name: round(value, 1) for name, value in found.items()}))


if __name__ == "__main__":
    main()
