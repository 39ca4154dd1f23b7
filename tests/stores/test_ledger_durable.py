"""A ledger that waits for its disk: the same promises, and nobody else waits with it."""

import asyncio
import os
import sqlite3
from collections.abc import Generator
from contextlib import closing, contextmanager
from dataclasses import replace

import pytest

from headworks.errors import LedgerUnavailable
from headworks.stores.idempotency import SqliteIdempotency
from headworks.stores.ledger_durable import DurableLedger
from headworks.stores.ledger_spool import spool_path
from headworks.stores.verify import verify
from headworks.testing import FakeClock
from headworks.types import Usage
from tests.stores.books import Book, call, open_ledger, route, rows

pytestmark = pytest.mark.anyio

ONE = Usage(1, 1)


@pytest.fixture
def ledger(tmp_path):
    with closing(DurableLedger(tmp_path / "l.db", Book(), FakeClock(), checkpointing=False)) as one:
        yield one


@contextmanager
def slow_disk(ledger: DurableLedger) -> Generator[None]:
    """Let no commit come to its end within the block."""
    with ledger._turn:
        yield


def states(ledger: DurableLedger) -> list[str]:
    return [row["state"] for row in rows(ledger.path)]


async def turns() -> None:
    """Let all run that can."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_row_is_on_disk_when_the_call_goes_on(ledger):
    """Held before the first byte leaves, settled before the caller's last."""
    attempts = await asyncio.gather(*(ledger.hold(call(f"c{n}"), route(), ONE) for n in range(9)))
    assert states(ledger) == ["held"] * 9
    for attempt in attempts:
        attempt.settle(ONE, "exact", "completed")
    await ledger.written()
    assert states(ledger) == ["settled"] * 9
    assert verify(ledger.path).findings == ()


async def test_every_commit_waits_for_the_disk(ledger, tmp_path):
    """Rows and kept answers are synced; without the setting they are not."""
    answers = [
        SqliteIdempotency(tmp_path / f"{synced}.db", FakeClock(), is_synced=synced)
        for synced in (True, False)
    ]
    with closing(open_ledger(tmp_path / "normal.db")) as normal:
        files = (ledger._writer.db, normal._writer.db, *(one._opened() for one in answers))
        levels = [db.execute("PRAGMA synchronous").fetchone()[0] for db in files]
    for one in answers:
        one._close()
    assert levels == [2, 1, 2, 1]


async def test_a_slow_disk_keeps_nobody_else_waiting(ledger, monkeypatch):
    """While a commit takes its time the loop goes on, and those who come meanwhile share the next."""
    sizes: list[int] = []
    commit = ledger._writer.commit

    def counting(held):
        sizes.append(len(held))
        return commit(held)

    monkeypatch.setattr(ledger._writer, "commit", counting)
    with slow_disk(ledger):
        first = asyncio.ensure_future(ledger.hold(call("c0"), route(), ONE))
        await turns()
        others = [
            asyncio.ensure_future(ledger.hold(call(f"c{n}"), route(), ONE)) for n in range(1, 9)
        ]
        await turns()
        assert not any(one.done() for one in (first, *others))
    await asyncio.gather(first, *others)
    assert sizes == [1, 8]


async def test_a_settlement_that_comes_during_a_commit_is_in_the_next(ledger):
    """It waits for its own commit, not for the one that began without it."""
    attempt = await ledger.hold(call("c0"), route(), ONE)
    with slow_disk(ledger):
        other = asyncio.ensure_future(ledger.hold(call("c1"), route(), ONE))
        await turns()
        attempt.settle(ONE, "exact", "completed")
        written = asyncio.ensure_future(ledger.written())
        await turns()
        assert not written.done()
    await written
    assert states(ledger) == ["settled", "held"]
    assert other.done()


async def test_who_leaves_during_the_commit_leaves_no_open_row(ledger):
    """A caller who hangs up before its row is on disk costs nothing and holds nothing."""
    with slow_disk(ledger):
        waiting = asyncio.ensure_future(ledger.hold(call("c0"), route(), ONE))
        await turns()
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
    await ledger.written()
    assert states(ledger) == ["released"]
    assert ledger.statistics().open_holds == 0


async def test_what_must_be_written_at_once_waits_for_the_commit_under_way(ledger):
    """A reload sees every row of calls that came before it, and these go on as if nothing was."""
    first = asyncio.ensure_future(ledger.hold(call("c0"), route(), ONE))
    await turns()
    second = asyncio.ensure_future(ledger.hold(call("c1"), route(), ONE))
    await turns()
    ledger.flush()
    assert states(ledger) == ["held", "held"]
    for attempt in await asyncio.gather(first, second):
        attempt.release("not_sent")
    await ledger.written()
    assert states(ledger) == ["released", "released"]


async def test_an_end_in_the_middle_of_a_commit_writes_everything(tmp_path):
    """Whoever closes the ledger loses no settlement, nor does anybody wait for ever."""
    ledger = DurableLedger(tmp_path / "l.db", Book(), FakeClock(), checkpointing=False)
    attempt = await ledger.hold(call("c0"), route(), ONE)
    late = asyncio.ensure_future(ledger.hold(call("c1"), route(), ONE))
    await turns()
    attempt.settle(ONE, "exact", "completed")
    ledger.close()
    assert states(ledger) == ["settled", "held"]
    (await late).release("not_sent")
    await turns()


def test_a_loop_that_has_ended_takes_nothing_along(tmp_path):
    """What was settled in a loop's last turn is written by the end at the latest."""
    with closing(DurableLedger(tmp_path / "l.db", Book(), FakeClock())) as ledger:

        async def settle() -> None:
            attempt = await ledger.hold(call("c0"), route(), ONE)
            attempt.settle(ONE, "exact", "completed")

        asyncio.run(settle())
    assert states(ledger) == ["settled"]


def test_without_a_loop_each_write_is_on_disk_when_it_returns(ledger):
    """Scripts need no loop."""
    attempt = ledger.hold_now(call(), route(), ONE)
    assert states(ledger) == ["held"]
    attempt.settle(ONE, "exact", "completed")
    assert states(ledger) == ["settled"]


async def test_while_the_disk_fails_calls_are_refused_or_spooled(ledger):
    """Keys that refuse get 503, keys that go on do, and all is booked when the disk is mended."""
    going = call("c1")
    assert going.caller
    going.caller = replace(going.caller, on_ledger_failure="continue")
    pages = ledger._writer.db.execute("PRAGMA page_count").fetchone()[0]
    ledger._writer.db.execute(f"PRAGMA max_page_count={pages}")
    wanted = (ledger.hold(call(f"f{number}"), route(), ONE) for number in range(100))
    told = [await asyncio.gather(one, return_exceptions=True) for one in wanted]
    refused = [one for (one,) in told if isinstance(one, LedgerUnavailable)]
    booked = 100 - len(refused)
    assert refused
    attempt = await ledger.hold(going, route(), ONE)
    assert spool_path(ledger.path).exists()
    ledger._writer.db.execute("PRAGMA max_page_count=1000000")
    attempt.settle(ONE, "exact", "completed")
    await ledger.written()
    assert states(ledger) == ["held"] * booked + ["settled"]
    assert not spool_path(ledger.path).exists()


def test_a_spool_that_was_not_synced_is_written_again(ledger, monkeypatch):
    """The kernel may have forgotten it, so nothing counts as written down until a sync succeeds."""
    syncs: list[int] = []

    def fsync(number: int) -> None:
        syncs.append(number)
        if len(syncs) == 1:
            raise OSError(5, "Input/output error")

    attempt = ledger.hold_now(call(), route(), ONE)
    with closing(sqlite3.connect(ledger.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        monkeypatch.setattr(os, "fsync", fsync)
        attempt.settle(ONE, "exact", "completed")
        ledger.flush()
    lines = spool_path(ledger.path).read_bytes().splitlines()
    assert len(lines) == 2
    assert len({*lines}) == 1
    assert len(syncs) == 3  # the file that failed, then the file and its folder
    ledger.flush()
    assert states(ledger) == ["settled"]
