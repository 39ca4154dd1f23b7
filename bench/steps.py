"""What each step of a call costs, beside its budget.

    python bench/steps.py             a table; the exit code is 1 if a step is above its budget
    python bench/steps.py --record    and set the budgets anew, a seventh above what was found, and
                                      write the table into docs/budget-per-call.md

Instructions are counted by valgrind, in the loop's thread, outside the kernel: the same calls take
the same number on every machine with this interpreter, so that is what the budgets are of.
Microseconds are those of this machine, of a call that nothing disturbs, kernel included. Calls come one after
the other; where many come together, the loop's share is smaller.
"""

import argparse
import contextlib
import json
import mmap
import os
import shutil
import statistics
import struct
import subprocess
import sysconfig
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from process import GATEWAY_CPU, pinned
from steps_count import Valgrind, interpreter
from steps_map import NAMES, STEPS, UNBOUNDED
from steps_scenarios import SCENARIOS, SHORT, SHORT_CHUNKS, Scenario
from steps_subject import HERE, Running, running
from subjects import CHUNKS

BUDGETS = HERE / "steps.json"
PAGE = HERE.parent / "docs/budget-per-call.md"
NOTHING = -1
"""The number of no step."""
_BEGIN, _END = "<!-- steps:begin -->\n", "<!-- steps:end -->"
_SHARED = struct.Struct("=q64q64q")
_WARM_UP = 40
_TIMED = 400
_BATCHES = 3
_JSON = next(one for one in SCENARIOS if one.name == "json")
_STREAM = next(one for one in SCENARIOS if one.name == "stream")

_LEAST = 1000
"""The smallest budget, and that of a step without one: for what now and then falls into it."""
_SMALL = 500
"""What costs less is left out."""

Costs = dict[str, float]


@dataclass(frozen=True)
class Profile:
    """What is done once: its instructions and microseconds, by step."""

    name: str
    title: str
    instructions: Costs
    microseconds: Costs


class Page:
    """What the gateway and we both see: which step it shall count, and how long each took."""

    def __init__(self, path: Path) -> None:
        path.write_bytes(bytes(_SHARED.size))
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), 0)
        self.path = path
        self.want(NOTHING)

    def want(self, step: int) -> None:
        """Have the instructions of a step collected, and of no other."""
        struct.pack_into("=q", self._map, 0, step)

    def nanoseconds(self) -> tuple[int, ...]:
        """Return how long each step has taken so far."""
        return _SHARED.unpack_from(self._map)[1 : 1 + len(NAMES)]


@contextlib.contextmanager
def _watched(folder: Path, before: tuple[str, ...] = ()) -> Iterator[tuple[Running, Page]]:
    """Run a gateway whose steps are watched while the block lasts."""
    library = folder / "steps_hook.so"
    include = sysconfig.get_path("include")
    source = str(HERE / "steps_hook.c")
    compiler = os.environ.get("CC", "cc")
    command = [compiler, "-O2", "-shared", "-fPIC", f"-I{include}", source, "-o", str(library)]
    subprocess.run(command, check=True)
    page = Page(folder / "page")
    program = (str(HERE / "steps_gateway.py"), str(library), str(page.path))
    with running(program, before) as subject:
        for scenario in (_JSON, _STREAM, SHORT):
            subject.carry(scenario, _WARM_UP)
        yield subject, page


def _counted(folder: Path) -> dict[str, Costs]:
    """Return the instructions of each step of one call, by scenario."""
    valgrind = Valgrind(folder)
    found: dict[str, Costs] = {}
    with _watched(folder, (*valgrind.command, "--collect-atstart=no")) as (subject, page):
        valgrind.begin(subject.pid)  # nothing is collected until now, nor from now on
        if any(_collected(_JSON, NOTHING, subject, page, valgrind) for _ in range(2)):
            raise SystemExit("instructions are collected that belong to no step")
        for scenario in (_JSON, _STREAM, SHORT):
            found[scenario.name] = {
                name: _collected(scenario, number, subject, page, valgrind)
                for number, name in enumerate(NAMES)
            }
    return found


def _collected(
    scenario: Scenario, step: int, subject: Running, page: Page, valgrind: Valgrind
) -> float:
    """Return the instructions of one step of a call."""
    page.want(step)
    subject.carry(scenario, 1)  # from its end on, exactly this step is collected
    valgrind.count(subject.pid)
    found: list[int] = []
    for _ in range(_BATCHES):
        subject.carry(scenario, scenario.calls)
        found.append(valgrind.count(subject.pid))
    return min(found) / scenario.calls


def _timed(folder: Path) -> dict[str, Costs]:
    """Return the microseconds of each step of one call, by scenario."""
    found: dict[str, Costs] = {}
    before = tuple(pinned((), GATEWAY_CPU))
    with _watched(folder, before) as (subject, page):
        if before:  # on its processor, and never in its way: only one of us has work at a time
            os.sched_setaffinity(0, {int(GATEWAY_CPU)})
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
        for scenario in (_JSON, _STREAM, SHORT):
            found[scenario.name] = _times(scenario, subject, page)
    return found


def _times(scenario: Scenario, subject: Running, page: Page) -> Costs:
    taken: list[tuple[float, ...]] = []
    cpu: list[float] = []
    for _ in range(_TIMED if scenario is _JSON else _TIMED // 10):
        steps, used = page.nanoseconds(), _cpu_ns(subject.pid)
        subject.carry(scenario, 1)
        taken.append(tuple((b - a) / 1e3 for a, b in zip(steps, page.nanoseconds(), strict=True)))
        cpu.append((_cpu_ns(subject.pid) - used) / 1e3)
    costs = dict(zip(NAMES, map(_calm, zip(*taken, strict=True)), strict=True))
    # The loop waits: of its time only what the processor worked for it counts.
    worked = _calm(cpu) - sum(costs.values()) + costs["loop"]
    return costs | {"loop": max(0.0, worked)}


def _calm(found: Sequence[float]) -> float:
    """Return the first decile: what it takes when nothing else disturbs."""
    return statistics.quantiles(found, n=10)[0]


def _cpu_ns(pid: int) -> int:
    """Return how long the loop's thread has had a processor."""
    return int(Path(f"/proc/{pid}/task/{pid}/schedstat").read_text().split()[0])


def _per_chunk(costs: dict[str, Costs]) -> Costs:
    long, short, chunks = costs["stream"], costs["short"], CHUNKS - SHORT_CHUNKS
    return {name: max(0.0, (long[name] - short[name]) / chunks) for name in NAMES}


def profiles() -> tuple[Profile, ...]:
    """Return what a call costs, and what a chunk of a stream costs."""
    with tempfile.TemporaryDirectory(prefix="headworks-steps-") as folder:
        counted, timed = _counted(Path(folder)), _timed(Path(folder))
    return (
        Profile("json", _JSON.title, counted["json"], timed["json"]),
        Profile("chunk", "a chunk of a stream", _per_chunk(counted), _per_chunk(timed)),
    )


def table(profile: Profile, budgets: Costs) -> Iterator[str]:
    """Yield the lines of a table in Markdown; steps that cost nothing are left out."""
    total, time_ = sum(profile.instructions.values()), sum(profile.microseconds.values())
    yield f"**{profile.title[0].upper()}{profile.title[1:]}**"
    yield ""
    yield "| step | | µs | instructions | share | budget |"
    yield "| --- | --- | ---: | ---: | ---: | ---: |"
    for name, title, _ in STEPS:
        cost, bound = profile.instructions[name], budgets.get(name)
        if cost < _SMALL and not bound:
            continue
        shown = "" if bound is None else f"{bound:,.0f}"
        mark = " **above**" if _is_above(name, cost, budgets) else ""
        yield (
            f"| {name} | {title} | {profile.microseconds[name]:.1f} | {cost:,.0f} | "
            f"{cost / total:.1%} | {shown}{mark} |"
        )
    whole = sum(budgets.values())
    yield f"| | all | {time_:.1f} | {total:,.0f} | | {whole:,.0f} |"
    yield ""


def _is_above(name: str, cost: float, budgets: Costs) -> bool:
    """Say whether a step costs more than it may; a step without a budget may cost a little."""
    return name not in UNBOUNDED and cost > budgets.get(name, _LEAST)


def budget(cost: float) -> int:
    """Return a budget for what costs so much now: a seventh more, in round numbers."""
    step = 10 ** max(2, len(str(int(cost))) - 2)
    return max(_LEAST, -int(-cost * 8 / 7 // step) * step)


def record(found: tuple[Profile, ...]) -> None:
    """Set the budgets for this interpreter, and renew the page that shows them."""
    recorded = _recorded()
    budgets = recorded[interpreter()] = {
        one.name: {
            name: budget(cost)
            for name, cost in one.instructions.items()
            if name not in UNBOUNDED and cost >= _SMALL
        }
        for one in found
    }
    BUDGETS.write_text(json.dumps(recorded, indent=2, sort_keys=True) + "\n")
    tables = "\n".join(line for one in found for line in table(one, budgets[one.name]))
    before, _, rest = PAGE.read_text().partition(_BEGIN)
    after = rest.partition(_END)[2]
    PAGE.write_text(f"{before}{_BEGIN}{interpreter()}.\n\n{tables}\n{_END}{after}")


def _recorded() -> dict[str, dict[str, Costs]]:
    recorded: dict[str, dict[str, Costs]] = json.loads(BUDGETS.read_text())
    return recorded


def _judged(found: tuple[Profile, ...], budgets: dict[str, Costs]) -> int:
    above = 0
    for one in found:
        print("\n".join(table(one, budgets[one.name])))
        above += sum(_is_above(name, one.instructions[name], budgets[one.name]) for name in NAMES)
    print(f"{above or 'no'} step{'s' * (above != 1)} above budget ({interpreter()})")
    return int(above > 0)


def main() -> int:
    """Print the tables; return 1 if a step is above its budget."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--record", action="store_true", help=f"set the budgets in {BUDGETS.name}")
    options = parser.parse_args()
    if shutil.which("valgrind") is None:
        raise SystemExit("the steps are counted by valgrind: apt-get install valgrind")
    if not options.record and interpreter() not in _recorded():
        raise SystemExit(f"no budgets for {interpreter()}: python bench/steps.py --record")
    found = profiles()
    if options.record:
        record(found)
    return _judged(found, _recorded()[interpreter()])


if __name__ == "__main__":
    raise SystemExit(main())
