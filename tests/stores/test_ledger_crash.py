"""The promise behind "on disk": kill -9 at any moment loses nothing that was acknowledged."""

import random
import subprocess
import sys
from contextlib import closing

from headworks.stores.verify import verify
from tests.stores.books import open_ledger, rows

WRITER = """
import os, sys
from pathlib import Path
from headworks.stores.ledger import SqliteLedger
from headworks.testing import FakeClock
from headworks.types import Usage
from tests.stores.books import Book, call, route
ledger = SqliteLedger(Path(sys.argv[1]), Book(), FakeClock())
run, number, open_holds = sys.argv[2], 0, []
while True:
    number += 1
    name = f"{run}-{number}"
    open_holds.append((name, number, ledger.hold_now(call(name), route(), Usage(number, 1))))
    os.write(1, f"held {name} {number * 2000 + 10000}\\n".encode())
    if number % 3 == 0:
        name, used, hold = open_holds.pop(0)
        cost = hold.settle(Usage(used, 0), "exact", "completed")
        os.write(1, f"settled {name} {cost}\\n".encode())
"""
KILLS = 30


def test_thirty_kills_lose_no_acknowledged_row(tmp_path):
    """Every row that a killed process had acknowledged is there, settled exactly or recovered."""
    path = tmp_path / "l.db"
    chance = random.Random(20261123)
    held: dict[str, int] = {}
    settled: dict[str, int] = {}
    for run in range(KILLS):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, path, str(run)], stdout=subprocess.PIPE
        )
        with writer as process:
            assert process.stdout is not None
            lines = [process.stdout.readline() for _ in range(chance.randrange(1, 1500))]
            process.kill()
            lines += process.stdout.read().splitlines(keepends=True)
        for line in lines:
            if line.endswith(b"\n"):
                kind, name, cost = line.decode().split()
                (held if kind == "held" else settled)[name] = int(cost)

    with closing(open_ledger(path)):
        found = {row["call"]: row for row in rows(path)}

    assert len(held) > KILLS
    assert [name for name in held if name not in found] == []
    for name, row in found.items():
        assert row["state"] == "settled"
        if name in settled:
            assert (row["certainty"], row["cost_nano"]) == ("exact", settled[name])
        elif name in held and row["certainty"] == "unknown":
            assert row["cost_nano"] == held[name]
    assert verify(path).is_sound
