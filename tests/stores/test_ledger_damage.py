"""The promises about flipped bytes: found at the start, kept, told; never a silent loss."""

import sqlite3
from contextlib import closing
from struct import pack

import pytest

from headworks.stores.ledger_damage import last_commit
from headworks.types import Usage
from tests.stores.books import call, crash, open_ledger, route, rows

ESTIMATE = Usage(100, 50)
FRAME = 24 + 1024


@pytest.fixture
def path(tmp_path):
    return tmp_path / "headworks.ledger.db"


def grown(path, count=60):
    ledger = open_ledger(path)
    for number in range(count):
        hold = ledger.hold_now(call(f"call-{number:04d}"), route(), ESTIMATE)
        hold.settle(Usage(1, 1), "exact", "completed")
    return ledger


def kill(ledger):
    """End as a killed process does: SQLite has no time to put its log into the file."""
    parts = [ledger.path, log_of(ledger.path)]
    contents = [part.read_bytes() for part in parts]
    crash(ledger)
    for part, content in zip(parts, contents, strict=True):
        part.write_bytes(content)


def log_of(path):
    return path.with_name(f"{path.name}-wal")


def flip(path, at):
    content = bytearray(path.read_bytes())
    content[at] ^= 0xFF
    path.write_bytes(content)


@pytest.mark.parametrize("is_clean", [True, False], ids=["closed", "killed"])
def test_a_changed_byte_in_the_last_rows_is_told_at_the_start(path, caplog, is_clean):
    """A word of a closed row that changed on the disk is found, though the file is well formed."""
    ledger = grown(path)
    if is_clean:
        ledger.close()
    else:
        ledger._writer.db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        crash(ledger)
    flip(path, path.read_bytes().index(b"shop", 20_000))

    with closing(open_ledger(path)) as again:
        assert again.statistics().damage.chain >= 1
        assert again.statistics().rows == 60
        again.hold_now(call("goes on"), route(), ESTIMATE)
    assert "WERE CHANGED after they were closed" in caplog.text


def test_a_changed_byte_in_the_structure_is_found_after_an_orderly_end_too(path, caplog):
    """Damage while the gateway was off is found when it comes back, not when a row is needed."""
    grown(path).close()
    for page in range(3, path.stat().st_size // 1024):
        flip(path, page * 1024)

    with closing(open_ledger(path)) as again:
        assert again.statistics().damage.file == 1
    assert "THE LEDGER IS DAMAGED" in caplog.text
    assert list(path.parent.glob("*.corrupt-*Z"))


WHERES = {"in a page": 24 + 100, "in a checksum": 20, "in a salt": 9, "in a page number": 3}


@pytest.mark.parametrize("where", WHERES)
def test_commits_lost_with_the_log_are_told_and_kept(path, caplog, where):
    """SQLite forgets a log from its first bad frame on without a word; the ledger says so."""
    kill(grown(path))
    flip(log_of(path), 32 + 40 * FRAME + WHERES[where])
    damaged = log_of(path).read_bytes()

    with closing(open_ledger(path)) as again:
        statistics = again.statistics()

    assert (statistics.damage.log, statistics.rows < 60) == (1, True)
    assert "LOG IS DAMAGED" in caplog.text
    (aside,) = path.parent.glob("*-wal.corrupt-*")
    assert aside.read_bytes() == damaged


def test_a_log_whose_head_is_damaged_is_told(path, caplog):
    """Not even the loss of the whole log is silent."""
    kill(grown(path))
    flip(log_of(path), 17)

    with closing(open_ledger(path)) as again:
        assert again.statistics().damage.log == 1


@pytest.mark.parametrize("count", [1, 60])
def test_an_undamaged_log_is_no_alarm(path, caplog, count):
    """A mere crash is no damage: not after a checkpoint, nor with old frames behind the new ones."""
    ledger = grown(path, count)
    ledger._writer.db.execute("PRAGMA wal_checkpoint(RESTART)")
    hold = ledger.hold_now(call("last"), route(), ESTIMATE)
    kill(ledger)

    with closing(open_ledger(path)) as again:
        assert again.statistics().damage.log == 0
        assert again.statistics().rows == count + 1
    assert hold.is_open
    assert "DAMAGED" not in caplog.text


def test_a_transaction_that_was_not_committed_is_no_loss(path, caplog):
    """Frames without a commit behind them were promised to nobody."""
    kill(grown(path))
    content = log_of(path).read_bytes()
    salt = content[16:24]
    log_of(path).write_bytes(content + pack(">II8s8x", 2, 0, salt) + bytes(1024))

    with closing(open_ledger(path)) as again:
        assert again.statistics().damage.log == 0
        assert again.statistics().rows == 60


def test_every_flip_in_a_log_is_survived(path, tmp_path):
    """Wherever a byte flips: the start succeeds, and either nothing is lost or it is told."""
    kill(grown(path, 12))
    database, log = path.read_bytes(), log_of(path).read_bytes()
    for at in range(0, len(log), 997):
        place = tmp_path / f"at{at}.db"
        place.write_bytes(database)
        log_of(place).write_bytes(log[:at] + bytes([log[at] ^ 0x10]) + log[at + 1 :])
        with closing(open_ledger(place)) as again:
            statistics = again.statistics()
        states = [row["state"] for row in rows(place)]
        is_whole = states == ["settled"] * 12 and statistics.recovered == 0
        assert is_whole or statistics.damage.log or statistics.damage.file, at


def test_no_log_has_no_commits(tmp_path):
    """A file that is not there, or too short to be a log, tells of nothing."""
    assert last_commit(tmp_path / "absent-wal") == 0
    (tmp_path / "short-wal").write_bytes(b"x" * 31)
    assert last_commit(tmp_path / "short-wal") == 0


def test_a_cut_tail_of_the_file_is_found(path, caplog):
    """A file that lost its last pages is moved aside, whatever is still in it."""
    grown(path).close()
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2 // 1024 * 1024])

    with closing(open_ledger(path)) as again:
        assert again.statistics().damage.file == 1
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT count(*) FROM attempts").fetchone() == (0,)
