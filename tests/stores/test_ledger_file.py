"""The promises of the ledger's file: one owner, whole or moved aside, no row open for ever."""

import sqlite3
import threading
from contextlib import closing

import pytest

from headworks.errors import ConfigurationError, LedgerUnavailable
from headworks.stores import checkpoint, ledger_damage
from headworks.stores.checkpoint import Checkpointer
from headworks.stores.ledger import SqliteLedger
from headworks.stores.ledger_schema import MIGRATIONS, connect_read_only
from headworks.testing import FakeClock
from headworks.types import Usage
from tests.stores.books import Book, call, crash, open_ledger, route, rows

ESTIMATE = Usage(100, 50)
HELD_NANO = 100 * 2000 + 50 * 10_000


@pytest.fixture
def path(tmp_path):
    return tmp_path / "headworks.ledger.db"


@pytest.fixture
def ledger(path):
    ledger = open_ledger(path)
    yield ledger
    ledger.close()


def test_two_gateways_cannot_share_a_ledger(ledger, path):
    """The second one is told which process has the file; the first one goes on."""
    with pytest.raises(ConfigurationError, match=r"process \d+ is using this ledger"):
        open_ledger(path)

    ledger.hold_now(call(), route(), ESTIMATE)


def test_open_rows_are_settled_at_their_estimate_after_a_crash(path, caplog):
    """An attempt whose end nobody saw is booked at what it may have cost, and marked."""
    ledger = open_ledger(path)
    ledger.hold_now(call("c1"), route(), ESTIMATE).settle(Usage(1, 1), "exact", "completed")
    ledger.hold_now(call("c2"), route(), ESTIMATE)
    ledger.hold_now(call("c3"), route("mystery"), ESTIMATE)
    crash(ledger)

    with closing(open_ledger(path)) as again:
        statistics = again.statistics()

    _, open_row, unpriced = rows(path)
    assert (statistics.recovered, statistics.open_holds, statistics.rows) == (2, 0, 3)
    assert (open_row["state"], open_row["certainty"]) == ("settled", "unknown")
    assert (open_row["outcome"], open_row["cost_nano"]) == ("recovered", HELD_NANO)
    assert (unpriced["state"], unpriced["cost_nano"]) == ("settled", None)
    assert "2 attempts were open" in caplog.text


def test_rows_left_open_by_an_orderly_end_are_recovered_too(path):
    """A drain that ran out of time leaves no row open for ever."""
    ledger = open_ledger(path)
    ledger.hold_now(call(), route(), ESTIMATE)
    ledger.close()

    with closing(open_ledger(path)) as again:
        assert again.statistics().recovered == 1
    with closing(open_ledger(path)) as third:
        assert third.statistics().recovered == 0


def test_an_end_is_an_end(ledger, path):
    """After `close` nothing is booked, and closing again does no harm."""
    hold = ledger.hold_now(call(), route(), ESTIMATE)
    ledger.close()
    ledger.close()

    with pytest.raises(LedgerUnavailable):
        ledger.hold_now(call("c2"), route(), ESTIMATE)
    hold.settle(Usage(1, 1), "exact", "completed")
    assert rows(path, "state") == [{"state": "held"}]


@pytest.mark.parametrize("place", ["absent/l.db", "file/l.db", "."])
def test_a_place_that_cannot_be_written_is_named(tmp_path, place):
    """A start without a usable ledger says where it should be and what is wrong."""
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="the ledger cannot be opened"):
        open_ledger(tmp_path / place)


def test_a_ledger_of_a_newer_version_is_refused_untouched(path):
    """An older program neither reads wrongly nor harms what a newer one wrote."""
    open_ledger(path).close()
    with closing(sqlite3.connect(path)) as db:
        db.execute(f"PRAGMA user_version={len(MIGRATIONS) + 1}")

    with pytest.raises(ConfigurationError, match="newer headworks"):
        open_ledger(path)
    with pytest.raises(ConfigurationError, match="newer headworks"):
        connect_read_only(path)


def test_a_migration_that_fails_leaves_nothing_behind(path, monkeypatch):
    """A schema change happens whole or not at all, and can be tried again."""
    broken = (*MIGRATIONS[0], "CREATE NONSENSE")
    monkeypatch.setattr("headworks.stores.ledger_schema.MIGRATIONS", (broken,))
    with pytest.raises(ConfigurationError, match="syntax error"):
        open_ledger(path)
    monkeypatch.undo()

    with closing(open_ledger(path)) as ledger:
        assert ledger.statistics().rows == 0


def grown(path, count=200):
    ledger = open_ledger(path)
    for number in range(count):
        ledger.hold_now(call(f"c{number}"), route(), ESTIMATE).settle(
            Usage(1, 1), "exact", "completed"
        )
    ledger._writer.db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return ledger


@pytest.mark.parametrize("damage", ["flips", "header", "no database", "truncated"])
def test_a_damaged_ledger_is_moved_aside_loudly(path, caplog, damage):
    """The gateway starts with a fresh file, the damaged one is kept, and the log cries out."""
    crash(grown(path))
    content = bytearray(path.read_bytes())
    if damage == "flips":
        for page in range(5, len(content) // 1024):
            content[page * 1024 : page * 1024 + 12] = b"\xff" * 12
    elif damage == "header":
        content[16:40] = b"\xff" * 24
    elif damage == "no database":
        content[:100] = b"not a database at all".ljust(100)
    else:
        del content[len(content) // 2 // 1024 * 1024 :]
    path.write_bytes(content)

    with closing(open_ledger(path)) as ledger:
        ledger.hold_now(call("fresh"), route(), ESTIMATE)
        assert ledger.statistics().rows == 1

    (aside,) = path.parent.glob("*.corrupt-*Z")
    assert aside.read_bytes() == content
    assert "THE LEDGER IS DAMAGED" in caplog.text


def test_damaged_ledgers_do_not_overwrite_each_other(path):
    """Every damaged file is kept, even when two are found within a second."""
    for _ in range(3):
        path.write_bytes(b"not a database at all" * 100)
        open_ledger(path).close()

    assert len(list(path.parent.glob("*.corrupt-*"))) == 3


def test_a_ledger_too_large_to_check_still_starts(path, monkeypatch, caplog):
    """A huge file does not delay the start; the log says what to run instead."""
    crash(grown(path, 3))
    monkeypatch.setattr(ledger_damage, "_BYTES_A_SECOND", 10)

    with closing(open_ledger(path)):
        assert "headworks ledger verify" in caplog.text


def test_nobody_else_may_read_the_file(ledger, path):
    """Who asked for what is private: the files belong to their owner alone."""
    ledger.hold_now(call(), route(), ESTIMATE)

    modes = {file.name: file.stat().st_mode & 0o777 for file in path.parent.iterdir()}
    assert set(modes.values()) == {0o600}
    assert len(modes) == 4


def test_the_log_starts_over_when_it_is_long(path, monkeypatch, caplog):
    """The write-ahead log stays short under load, and a reader that keeps it long is reported."""
    monkeypatch.setattr(checkpoint, "LIMIT", 50_000)
    monkeypatch.setattr(checkpoint, "ALARM", 60_000)
    ledger = open_ledger(path)
    keeper = Checkpointer(path, threading.Lock())
    with closing(ledger), closing(sqlite3.connect(path, isolation_level=None)) as db:
        sizes = []
        for number in range(600):
            ledger.hold_now(call(f"c{number}"), route(), ESTIMATE)
            if number % 20 == 0:
                keeper._attempt(db, 1048)
                sizes.append(path.with_name(path.name + "-wal").stat().st_size)
        assert max(sizes[-5:]) < 400_000
        assert len([r for r in caplog.records if "keeps a read of it open" in r.message]) >= 1


def test_what_runs_in_the_background_ends_with_the_ledger(path):
    """Nothing runs on after a close."""
    before = threading.active_count()
    ledger = SqliteLedger(path, Book(), FakeClock())
    ledger.hold_now(call(), route(), ESTIMATE).settle(Usage(1, 1), "exact", "completed")
    assert threading.active_count() > before

    ledger.close()

    assert threading.active_count() == before
