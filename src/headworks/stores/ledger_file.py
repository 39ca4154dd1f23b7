"""Opens the ledger's file for its one writer: locked, whole, up to date, and with no row left open."""

import fcntl
import logging
import os
import sqlite3
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from headworks.errors import ConfigurationError
from headworks.ports import Clock
from headworks.stores.ledger_schema import PAGE_SIZE, migrate

_log = logging.getLogger("headworks.ledger")

_CHECK_AT_MOST: Final = 512_000_000
_DAMAGED: Final = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}

RECOVER = """
    UPDATE attempts
    SET state = 'settled', certainty = 'unknown', outcome = 'recovered', settled_at = ?,
        cost_nano = estimate_nano
    WHERE state = 'held' AND seq >= ?
"""


class _Damaged(sqlite3.DatabaseError):
    sqlite_errorcode = sqlite3.SQLITE_CORRUPT


class LedgerFile:
    """The file, open for writing by this process alone.

    Rows that an earlier process left open are settled at their estimate. A damaged file is moved
    aside, loudly, and a new one begun.

    Attributes:
        boot: The number of this opening, from 1.
        recovered: How many rows were found open.
        rows: How many attempts the file held.

    Raises:
        ConfigurationError: Another process has the file, or it cannot be opened.
    """

    def __init__(self, path: Path, clock: Clock) -> None:
        self.path = path
        self._clock = clock
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

    def close(self, *, is_settled: bool) -> None:
        """Let go of the file; `is_settled` says that no row is open."""
        try:
            if is_settled:
                self.db.execute(
                    "UPDATE boots SET closed_at = ? WHERE boot = ?", (self._now(), self.boot)
                )
            self.db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except sqlite3.Error as error:
            _log.warning(
                "%s was not closed cleanly, the next start checks it: %s", self.path, error
            )
        finally:
            self.db.close()
            os.close(self._lock)

    def _now(self) -> int:
        return int(self._clock.time() * 1e9)

    def _open_or_replace(self) -> sqlite3.Connection:
        try:
            return self._open()
        except sqlite3.DatabaseError as error:
            code = getattr(error, "sqlite_errorcode", 0) & 0xFF
            if code not in _DAMAGED:
                raise
            self._move_aside(error)
        return self._open()

    def _open(self) -> sqlite3.Connection:
        os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        db = sqlite3.connect(self.path, isolation_level=None, timeout=0.05, check_same_thread=False)
        try:
            self._prepare(db)
        except BaseException:
            db.close()
            raise
        return db

    def _prepare(self, db: sqlite3.Connection) -> None:
        db.execute(f"PRAGMA page_size={PAGE_SIZE}")
        mode = db.execute("PRAGMA journal_mode=WAL").fetchone()[0]
        if mode != "wal":
            raise ConfigurationError(
                [f"{self.path}: this file system cannot hold a ledger (no write-ahead log)"]
            )
        db.execute("PRAGMA synchronous=NORMAL")
        db.execute("PRAGMA wal_autocheckpoint=0")
        migrate(db, self.path)
        first = db.execute("SELECT min(first_seq) FROM boots WHERE closed_at IS NULL").fetchone()[0]
        if first is not None:
            self._check(db)
        db.execute("BEGIN IMMEDIATE")
        self.recovered = self._recover(db, first) if first is not None else 0
        self.rows: int = db.execute("SELECT coalesce(max(seq), 0) FROM attempts").fetchone()[0]
        self.boot: int = db.execute(
            "INSERT INTO boots (opened_at, pid, first_seq) VALUES (?, ?, ?) RETURNING boot",
            (self._now(), os.getpid(), self.rows + 1),
        ).fetchone()[0]
        db.execute("COMMIT")

    def _check(self, db: sqlite3.Connection) -> None:
        if self.path.stat().st_size > _CHECK_AT_MOST:
            _log.warning(
                "%s was not closed cleanly and is too large to be checked at start: "
                "run `headworks ledger verify`",
                self.path,
            )
            return
        found = db.execute("PRAGMA quick_check(1)").fetchone()[0]
        if found != "ok":
            raise _Damaged(found)

    def _recover(self, db: sqlite3.Connection, first: int) -> int:
        now = self._now()
        count = db.execute(RECOVER, (now, first)).rowcount
        db.execute("UPDATE boots SET closed_at = ? WHERE closed_at IS NULL", (now,))
        db.execute(
            "UPDATE boots SET recovered = ? WHERE boot = (SELECT max(boot) FROM boots)", (count,)
        )
        if count:
            _log.warning(
                "%s: %d attempts were open when the last process ended; "
                "they are settled at their estimates and marked unknown",
                self.path,
                count,
            )
        return count

    def _move_aside(self, error: sqlite3.Error) -> None:
        now = datetime.fromtimestamp(self._clock.time(), UTC).strftime("%Y%m%dT%H%M%SZ")
        aside = _unused(self.path.with_name(f"{self.path.name}.corrupt-{now}"))
        for suffix in ("", "-wal", "-shm"):
            part = self.path.with_name(self.path.name + suffix)
            if part.exists():
                part.rename(aside.with_name(aside.name + suffix))
        _log.error(
            "THE LEDGER IS DAMAGED (%s). It was moved to %s and a new one was begun: "
            "usage before now is missing from reports until it is salvaged",
            error,
            aside,
        )


def _unused(path: Path) -> Path:
    names = (path.with_name(f"{path.name}{'.' * bool(n)}{n or ''}") for n in range(1000))
    return next(name for name in names if not name.exists())


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
