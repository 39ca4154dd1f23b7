"""What the calls of the record cost now, counted once for all tests."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.needed import missing, program
from tests.speed.ratchet import RECORD

_BENCH = Path(__file__).parents[2] / "bench"


@dataclass(frozen=True)
class Figures:
    """Instructions of a call, by scenario: as they are recorded, and as they are."""

    recorded: dict[str, int]
    found: dict[str, int]


@pytest.fixture(scope="module")
def figures():
    """Both figures for the interpreter that runs the tests."""
    program("valgrind", "valgrind")
    count = [sys.executable, str(_BENCH / "steps_count.py")]
    asked = subprocess.run([*count, "--interpreter"], capture_output=True, text=True, check=True)
    interpreter = asked.stdout.strip()
    records = json.loads((_BENCH / "instructions.json").read_text())
    recorded = records.get(interpreter)
    if recorded is None:
        missing(f"no instructions are recorded for {interpreter}: {RECORD}")
    done = subprocess.run(count, capture_output=True, text=True, check=False)
    assert not done.returncode, done.stderr
    return Figures(recorded, json.loads(done.stdout)["instructions"])
