"""Opens the ledger's file for its one writer: locked, whole, up to date, and with no row left open."""

import fcntl
import logging
import os
import sqlite3
from pathlib import Path
from typing import Final

from headworks.errors import ConfigurationError
from headworks.ports import Clock
from headworks.stores.ledger_chain import LENIENT
from headworks.stores.ledger_damage import (
    Damage,
    check_structure,
    copy_aside,
    is_damage,
    last_commit,
    move_aside,
)
from headworks.stores.ledger_recovery import (
    Mark,
    book_spooled,
    chain_end,
    last_mark,
    settle_open,
    write_mark,
)
from headworks.stores.ledger_schema import PAGE_SIZE, migrate
from headworks.stores.ledger_spool import Record, read_spool, spool_path

_log = logging.getLogger("headworks.ledger")

_LOOK: Final = 0.25
"""Seconds that a start may take to look through a file that was closed as it should."""
_LOOK_LONGER: Final = 2.0
"""The same after a crash."""


class LedgerFile:
    """The file, open for writing by this process alone.

    Rows that an earlier process left open are settled at their estimate. A damaged file is moved
    aside, loudly, and a new one begun. `is_synced` makes each commit wait for the disk.

    Attributes:
        boot: The number of this opening, from 1.
        recovered: How many rows were found open.
        rows: How many attempts the file held.
        mark: How far all was done.
        damage: What was found to be damaged.

    Raises:
        ConfigurationError: Another process has the file, or it cannot be opened.
    """

    def __init__(self, path: Path, clock: Clock, *, is_synced: bool = False) -> None:
        self.path = path
        self._clock, self._is_synced = clock, is_synced
        self.damage = Damage()
        self.boot = self.recovered = self.rows = 0
        self.mark = Mark()
        try:
            self._lock = _lock(path)
        except OSError as error:
            raise _unusable(path, error) from None
        try:
            self.db = self._open_or_replace()
        except (sqlite3.Error, OSError) as error:
            os.close(self._lock)
            raise _unusable(path, error) from None
        except ConfigurationError:
            os.close(self._lock)
            raise

    def close(self, mark: Mark, *, is_settled: bool) -> None:
        """Let go of the file; `is_settled` says that no row is open."""
        try:
            write_mark(self.db, self.boot, mark)
            if is_settled:
                self.db.execute(
                    "UPDATE boots SET closed_at = ? WHERE boot = ?", (self._now(), self.boot)
                )
            self.db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except sqlite3.Error as error:
            _log.warning(
                "%s was not closed cleanly, the next start checks it: %s", self.path, error
            )
        else:
            if mark.row:
                _log.info("%s: the chain's head is %s", self.path, mark.link.spelled)
        finally:
            self.db.close()
            os.close(self._lock)

    def _now(self) -> int:
        return int(self._clock.time() * 1e9)

    def _open_or_replace(self) -> sqlite3.Connection:
        try:
            return self._open()
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                raise
            aside = move_aside(self.path, self._clock.time())
            self.damage.file = 1
            _log.error(
                "THE LEDGER IS DAMAGED (%s). It was moved to %s and a new one was begun: "
                "usage before now is missing from reports until it is salvaged",
                error,
                aside,
            )
        return self._open()

    def _open(self) -> sqlite3.Connection:
        os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        commit = last_commit(self.path.with_name(f"{self.path.name}-wal"))
        db = sqlite3.connect(self.path, isolation_level=None, timeout=0.05, check_same_thread=False)
        try:
            self._prepare(db, commit)
        except BaseException:
            db.close()
            raise
        return db

    def _prepare(self, db: sqlite3.Connection, commit: int) -> None:
        db.execute(f"PRAGMA page_size={PAGE_SIZE}")
        mode = db.execute("PRAGMA journal_mode=WAL").fetchone()[0]
        if mode != "wal":
            raise ConfigurationError(
                [f"{self.path}: this file system cannot hold a ledger (no write-ahead log)"]
            )
        db.execute(f"PRAGMA synchronous={'FULL' if self._is_synced else 'NORMAL'}")
        db.execute("PRAGMA wal_autocheckpoint=0")
        self._compare_log(db, commit)
        migrate(db, self.path)
        is_open = bool(db.execute("SELECT 1 FROM boots WHERE closed_at IS NULL").fetchone())
        is_seen = check_structure(db, self._clock.now, _LOOK_LONGER if is_open else _LOOK)
        if is_open and not is_seen:
            _log.warning(
                "%s was not closed cleanly and is too large to be checked at start: "
                "run `headworks ledger verify`",
                self.path,
            )
        db.execute("BEGIN IMMEDIATE")
        db.text_factory = LENIENT
        self._begin(db)
        db.text_factory = str
        db.execute("COMMIT")
        spool_path(self.path).unlink(missing_ok=True)

    def _compare_log(self, db: sqlite3.Connection, commit: int) -> None:
        """Say so if SQLite does not read the log as far as its last commit; keep a copy of it."""
        _, frames, _ = db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        if frames < commit:
            self.damage.log = 1
            log = self.path.with_name(f"{self.path.name}-wal")
            _log.error(
                "THE LEDGER'S LOG IS DAMAGED: the last moments before the crash are lost. "
                "A copy of it was kept as %s",
                copy_aside(log, self._clock.time()),
            )

    def _begin(self, db: sqlite3.Connection) -> None:
        """Begin a run: find the chain's end, book what is spooled, settle what is open."""
        now = self._now()
        rows = db.execute("SELECT coalesce(max(seq), 0) FROM attempts").fetchone()[0]
        mark, broken = chain_end(db, last_mark(db), rows)
        if broken:
            self.damage.chain = len(broken)
            _log.error(
                "ROWS OF THE LEDGER %s WERE CHANGED after they were closed, row %d among them: "
                "run `headworks ledger verify`",
                self.path,
                broken[0],
            )
        mark = book_spooled(db, mark, self._spooled())
        mark, self.recovered = settle_open(db, mark, now)
        db.execute("UPDATE boots SET closed_at = ? WHERE closed_at IS NULL", (now,))
        db.execute(
            "UPDATE boots SET recovered = ? WHERE boot = (SELECT max(boot) FROM boots)",
            (self.recovered,),
        )
        self.rows = db.execute("SELECT coalesce(max(seq), 0) FROM attempts").fetchone()[0]
        self.boot = db.execute(
            "INSERT INTO boots (opened_at, pid, first_seq) VALUES (?, ?, ?) RETURNING boot",
            (now, os.getpid(), self.rows + 1),
        ).fetchone()[0]
        self.mark = Mark(self.rows + 1, mark.row, mark.link)
        write_mark(db, self.boot, self.mark)
        if self.recovered:
            _log.warning(
                "%s: %d attempts were open when the last process ended; "
                "they are settled at their estimates and marked unknown",
                self.path,
                self.recovered,
            )

    def _spooled(self) -> list[Record]:
        """Return what could not be written when the last process ended."""
        path = spool_path(self.path)
        if not path.exists():
            return []
        records, self.damage.spool = read_spool(path)
        _log.warning("%s: %d records are taken over from %s", self.path, len(records), path)
        if self.damage.spool:
            _log.error(
                "%d lines of %s ARE DAMAGED: their attempts are missing, or booked at their "
                "estimates. A copy was kept as %s",
                self.damage.spool,
                path,
                copy_aside(path, self._clock.time()),
            )
        return records


def _unusable(path: Path, error: Exception) -> ConfigurationError:
    return ConfigurationError([f"{path}: the ledger cannot be opened: {error}"])


def _lock(path: Path) -> int:
    """Take the lock beside the file and leave our process number in it; return its descriptor."""
    name = path.with_name(path.name + ".lock")
    lock = os.open(name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(lock, 0)
        os.write(lock, str(os.getpid()).encode())
    except BlockingIOError:
        owner = os.read(lock, 20).decode("ascii", "replace") or "unknown"
        os.close(lock)
        raise ConfigurationError(
            [f"{path}: process {owner} is using this ledger; each gateway needs its own"]
        ) from None
    except OSError:
        os.close(lock)
        raise
    return lock
