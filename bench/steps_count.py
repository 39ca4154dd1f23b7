"""How many instructions fixed calls take, as valgrind counts them; and the record of them.

    python bench/steps_count.py             print them as JSON
    python bench/steps_count.py --record    and write them down in bench/instructions.json

The same calls take the same instructions on a busy machine and on an idle one. What the
process does by the clock is measured first, and taken off; of several batches the least disturbed
counts. All threads count. What the kernel does is not in it. Another interpreter needs another
number of instructions, so each has its own record.
"""

import argparse
import json
import platform
import re
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from steps_scenarios import SCENARIOS, Scenario
from steps_subject import HERE, INSIDE, SERVE, Running, running

RECORD = HERE / "instructions.json"
BATCHES = 6
_WARM_UP = 6
"""Batches after which the interpreter has adapted its code to them."""
_IDLE = 0.5
_TOTAL = re.compile(rb"^(?:summary|totals): (\d+)", re.MULTILINE)


def interpreter() -> str:
    """Return what the number of instructions depends on, beside our code and the locked packages."""
    arguments = sysconfig.get_config_var("CONFIG_ARGS") or ""
    kind = "optimised" if "--enable-optimizations" in arguments else "plain"
    version = f"{platform.python_implementation()} {platform.python_version()}"
    return f"{version}, {kind}, {platform.python_compiler()}, {platform.machine()}"


class Valgrind:
    """Counts the instructions of a process, once it is told to."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.command = (
            "valgrind",
            "--quiet",
            "--tool=callgrind",
            "--instr-atstart=no",  # a start takes long enough without being counted
            f"--callgrind-out-file={folder}/counts",
            f"--vgdb-prefix={folder}/vgdb",  # its pipes go with the folder
        )

    def begin(self, pid: int) -> None:
        """Count from now on."""
        self._tell(pid, "instrumentation", "on")

    def count(self, pid: int) -> int:
        """Return how many instructions the process took since it was last asked."""
        self._tell(pid, "dump")
        (counts,) = self._folder.glob("counts.*")
        found = _TOTAL.search(counts.read_bytes())
        counts.unlink()
        if found is None:
            raise SystemExit("valgrind counted nothing")
        return int(found[1])

    def _tell(self, pid: int, *words: str) -> None:
        command = ["vgdb", f"--vgdb-prefix={self._folder}/vgdb", f"--pid={pid}", *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"valgrind does not listen: {done.stderr}")


class _Batches:
    """Counts calls of a process, without what it does by the clock meanwhile."""

    def __init__(self, subject: Running, valgrind: Valgrind) -> None:
        self._subject, self._valgrind = subject, valgrind
        self._rate = 0.0
        valgrind.begin(subject.pid)
        self._idle()
        self._rate = min(self._idle() for _ in range(3))

    def cost(self, scenario: Scenario) -> int:
        """Return what a call takes: a batch, less what it takes to be asked after no call."""
        self._batch(scenario, 1)
        whole = min(self._batch(scenario, scenario.calls) for _ in range(BATCHES))
        none = min(self._batch(scenario, 0) for _ in range(BATCHES))
        return round((whole - none) / scenario.calls)

    def _batch(self, scenario: Scenario, calls: int) -> float:
        began = time.monotonic()
        self._subject.carry(scenario, calls)
        found = self._valgrind.count(self._subject.pid)
        return found - self._rate * (time.monotonic() - began)

    def _idle(self) -> float:
        """Return the instructions that a second takes in which nobody calls."""
        began = time.monotonic()
        time.sleep(_IDLE)
        return self._valgrind.count(self._subject.pid) / (time.monotonic() - began)


def counts() -> Iterator[tuple[str, int]]:
    """Yield the name of each scenario, and the instructions of one of its calls."""
    for program in (SERVE, INSIDE):
        scenarios = [one for one in SCENARIOS if one.inside == (program == INSIDE)]
        with tempfile.TemporaryDirectory(prefix="headworks-steps-") as folder:
            valgrind = Valgrind(Path(folder))
            with running(program, valgrind.command) as subject:
                for scenario in scenarios:
                    subject.carry(scenario, _WARM_UP * scenario.calls)
                batches = _Batches(subject, valgrind)
                for scenario in scenarios:
                    yield scenario.name, batches.cost(scenario)


def record(found: dict[str, int]) -> None:
    """Write down what was found, in place of what was recorded for this interpreter."""
    recorded = json.loads(RECORD.read_text())
    recorded[interpreter()] = found
    RECORD.write_text(json.dumps(recorded, indent=2, sort_keys=True) + "\n")


def main() -> None:
    """Count, print, and record if asked to."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--record", action="store_true", help=f"write them into {RECORD.name}")
    parser.add_argument("--interpreter", action="store_true", help="say only for which this is")
    options = parser.parse_args()
    if options.interpreter:
        print(interpreter())
        return
    found = dict(counts())
    if options.record:
        record(found)
    json.dump({"interpreter": interpreter(), "instructions": found}, sys.stdout, indent=2)
    print()


if __name__ == "__main__":
    main()
