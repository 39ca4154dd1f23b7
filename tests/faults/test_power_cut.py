"""The power fails while calls are booked: what was acknowledged is on disk, once, and in the chain.

Files are rebuilt as the disk would have them at random moments, from a trace of the writer's system
calls: what was not synced is there by chance, page by page.
"""

import asyncio
import random
import sys
from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from headworks.stores.ledger_durable import DurableLedger
from headworks.stores.verify import verify
from tests.faults.payers import CALLERS
from tests.faults.powercut import Disk, Step, steps_of, trace
from tests.faults.processes import ask, chat, configuration, gateway_of
from tests.faults.test_ledger_faults import Provider
from tests.stores.books import open_ledger, rows
from tests.upstream.scripted import serve

pytestmark = pytest.mark.anyio

SEED = 20261123
CUTS = 100
CALLS = 40
"""Of each caller."""
LEDGER = "l.ledger.db"
KEPT = {LEDGER, f"{LEDGER}-wal", f"{LEDGER}.spool"}


@dataclass
class Found:
    """What all cuts of one run came to.

    Attributes:
        acknowledged: Rows that the writer was told to be on disk, held and settled, over all cuts.
        lost: Cuts that lost any of them, and how many of them were lost.
    """

    cuts: int = 0
    acknowledged: int = 0
    losing: int = 0
    lost: int = 0


def traced(folder: Path, durability: str, *, inject: str = "") -> list[Step]:
    """Book calls in a process that is traced to its end."""
    (folder / "live").mkdir()
    writer = [sys.executable, "-m", "tests.faults.payers", str(folder / "live" / LEDGER)]
    trace([*writer, durability, str(CALLS)], folder / "trace", inject=inject)
    return steps_of(folder / "trace")


def cut_often(folder: Path, steps: list[Step], cuts: int = CUTS) -> Found:
    """Cut the power at random moments, and look at what is left of the ledger each time."""
    begin = next(one.begun for one in steps if one.text.endswith(LEDGER.encode()))
    moments = [one.begun for one in steps if one.begun > begin and one.call != "openat"]
    chance, found = random.Random(SEED), Found()
    for cut in sorted(chance.sample(moments, cuts)):
        disk = Disk(folder / "live", cut, chance)
        disk.replay(steps)
        left = folder / f"cut-{cut}"
        left.mkdir()
        for name, content in disk.files():
            if name in KEPT:
                (left / name).write_bytes(content)
        lost = lost_after(left / LEDGER, disk.said)
        found.cuts += 1
        found.acknowledged += len(disk.said)
        found.losing += bool(lost)
        found.lost += len(lost)
    return found


def lost_after(ledger: Path, said: list[str]) -> list[str]:
    """Let the next start recover the ledger; return what was acknowledged and is not in it.

    Whatever else is there is there once, closed, and rightly chained. Of a spool, a line that
    nobody was told of may be torn.
    """
    with closing(open_ledger(ledger)) as book:
        damage = book.statistics().damage
    found = {row["call"]: row for row in rows(ledger)}
    assert max(Counter(row["call"] for row in rows(ledger)).values(), default=1) == 1
    assert {row["state"] for row in found.values()} <= {"settled", "released"}
    assert (damage.file, damage.chain) == (0, 0)
    assert verify(ledger).findings == ()
    return [line for line in said if not is_booked(line, found)]


def is_booked(line: str, found: dict[str, dict[str, object]]) -> bool:
    """Return whether the ledger says what was acknowledged; a refusal says nothing of it."""
    kind, call, *cost = line.split()
    if kind == "refused":
        return True
    row = found.get(call)
    if row is None or kind == "held":
        return row is not None
    return (row["certainty"], row["cost_nano"]) == ("exact", int(cost[0]))


def test_a_power_cut_loses_nothing_that_was_acknowledged(tmp_path, figure):
    """With `durability: full` each row that a call waited for is there after any power cut."""
    found = cut_often(tmp_path, traced(tmp_path, "full"))

    assert (found.losing, found.lost) == (0, 0)
    assert found.acknowledged > CUTS * CALLERS
    figure(f"power cuts, full: seed {SEED}, {found}")


def test_without_full_durability_a_power_cut_loses_rows(tmp_path, figure):
    """With `normal` the same cuts do lose rows, but never the ledger: they would show a loss."""
    steps = traced(tmp_path, "normal")
    disk = Disk(tmp_path / "live", 1 << 60, random.Random(SEED))
    disk.replay(steps)
    assert disk.whole(LEDGER) == (tmp_path / "live" / LEDGER).read_bytes()
    found = cut_often(tmp_path, steps, CUTS // 4)

    assert found.losing > found.cuts / 2
    figure(f"power cuts, normal: seed {SEED}, {found}")


def test_what_is_not_synced_is_not_acknowledged(tmp_path, figure):
    """While the disk fails to sync, calls are refused or go on through the spool; it ends by itself.

    The process lives, later calls are booked, and a power cut at any moment of it loses nothing
    that was acknowledged, though the kernel forgets what it failed to write.
    """
    steps = traced(tmp_path, "full", inject="fdatasync:error=EIO:when=30..60")
    failed = [one for one in steps if one.call == "fdatasync" and one.result]
    disk = Disk(tmp_path / "live", 1 << 60, random.Random(SEED))
    disk.replay(steps)
    said = Counter(line.split()[0] for line in disk.said)
    refused = {line.split()[1] for line in disk.said if line.startswith("refused")}

    assert len(failed) > 10
    assert said["refused"] > 10
    assert said["held"] == said["settled"] == CALLERS * CALLS - said["refused"]
    assert disk.said[-1].startswith("settled")
    booked = {row["call"] for row in rows(tmp_path / "live" / LEDGER)}
    assert len(booked) == said["held"]
    assert not booked & refused
    found = cut_often(tmp_path, steps, CUTS // 2)
    assert (found.losing, found.lost) == (0, 0)
    assert any("spool" in step.text.decode("latin-1") for step in steps)
    figure(f"syncs that fail: seed {SEED}, {len(failed)} of them, {dict(said)}, {found}")


async def test_a_gateway_waits_for_its_disk_if_it_is_told_to(tmp_path):
    """`ledger: {durability: full}` in the configuration is all it takes."""
    script = Provider()
    async with serve(script) as server:
        file = configuration(tmp_path, server.port)
        file.write_text(f"{file.read_text()}ledger: {{durability: full}}\n")
        async with gateway_of(file) as gateway:
            assert isinstance(gateway.assembly.ledger, DurableLedger)
            calls = (ask(gateway.port, chat(model="single")) for _ in range(20))
            assert [reply.status for reply in await asyncio.gather(*calls)] == [200] * 20
            db = gateway.assembly.idempotency._open()
            assert db.execute("PRAGMA synchronous").fetchone()[0] == 2
            db.close()
        assert script.asked == 20
    assert [row["state"] for row in rows(tmp_path / "books.ledger.db")] == ["settled"] * 20
