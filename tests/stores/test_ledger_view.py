"""Commits are cheaper while the writer goes on reading; nobody else may notice."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from headworks.errors import LedgerUnavailable
from headworks.stores import checkpoint
from headworks.stores.checkpoint import Checkpointer
from headworks.stores.ledger import SqliteLedger
from headworks.stores.verify import verify
from headworks.types import Usage
from tests.stores.books import call, open_ledger, route, rows

ESTIMATE = Usage(100, 50)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[SqliteLedger]:
    with closing(open_ledger(tmp_path / "headworks.ledger.db")) as opened:
        opened._writer.keeps_view = True
        yield opened


def attempt(ledger: SqliteLedger, name: str) -> None:
    ledger.hold_now(call(name), route(), ESTIMATE).settle(Usage(1, 1), "exact", "completed")


def states(ledger: SqliteLedger) -> list[str]:
    return [row["state"] for row in rows(ledger.path, "seq, state")]


def test_others_see_each_commit_at_once(ledger: SqliteLedger):
    """Reports read what was committed last, however long the writer has been reading."""
    with closing(sqlite3.connect(ledger.path)) as reader:
        for number in range(1, 20):
            attempt(ledger, f"c{number}")
            assert states(ledger) == ["settled"] * number
            found = reader.execute("SELECT count(*) FROM attempts WHERE state = 'settled'")
            assert found.fetchone() == (number,)


def test_the_log_starts_over_under_a_writer_that_reads_on(
    ledger: SqliteLedger, monkeypatch: pytest.MonkeyPatch
):
    """The write-ahead log stays short under load."""
    monkeypatch.setattr(checkpoint, "LIMIT", 50_000)
    keeper = Checkpointer(ledger.path, ledger._turn, ledger._writer.end_view)
    log = ledger.path.with_name(f"{ledger.path.name}-wal")
    with closing(sqlite3.connect(ledger.path, isolation_level=None, timeout=0)) as db:
        lengths = []
        for number in range(600):
            attempt(ledger, f"c{number}")
            if number % 20 == 0:
                lengths.append(keeper.round(db, 1048))
        assert max(lengths) < 250_000
        assert log.stat().st_size < 400_000
    assert verify(ledger.path).is_sound


def test_without_an_end_of_the_view_the_log_would_grow(
    ledger: SqliteLedger, monkeypatch: pytest.MonkeyPatch
):
    """Why somebody has to end it: the log cannot be shortened beyond what is being read."""
    monkeypatch.setattr(checkpoint, "LIMIT", 50_000)
    keeper = Checkpointer(ledger.path, ledger._turn)
    with closing(sqlite3.connect(ledger.path, isolation_level=None, timeout=0)) as db:
        lengths = []
        for number in range(600):
            attempt(ledger, f"c{number}")
            if number % 20 == 0:
                lengths.append(keeper.round(db, 1048))
    assert lengths[-1] > 1_000_000


def test_a_write_of_somebody_else_costs_no_call(ledger: SqliteLedger):
    """An operator's own change between two commits is no failure of the disk."""
    attempt(ledger, "c1")
    with closing(sqlite3.connect(ledger.path)) as other:
        other.execute("UPDATE boots SET pid = 7")
        other.commit()
    attempt(ledger, "c2")

    assert states(ledger) == ["settled"] * 2
    assert ledger.statistics().failures == 0


def test_a_lock_is_waited_for_and_told(ledger: SqliteLedger):
    """Whoever holds the file's lock refuses calls until it is gone; nothing is forgotten."""
    attempt(ledger, "c1")
    with closing(sqlite3.connect(ledger.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(LedgerUnavailable):
            ledger.hold_now(call("c2"), route(), ESTIMATE)
        other.execute("ROLLBACK")
    attempt(ledger, "c3")

    assert [row["call"] for row in rows(ledger.path)] == ["c1", "c3"]
    assert ledger.statistics().failures == 1


def test_an_end_leaves_no_log_behind(ledger: SqliteLedger):
    """The file is whole when the ledger is closed."""
    attempt(ledger, "c1")
    ledger.close()

    assert [part.name for part in ledger.path.parent.glob("*-wal")] == []
    assert states(ledger) == ["settled"]
