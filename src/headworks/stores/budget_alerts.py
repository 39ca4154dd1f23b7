"""Which thresholds of budgets were told, in a file, so that a restart does not tell them again."""

import logging
import os
import sqlite3
from contextlib import suppress
from pathlib import Path
from typing import Final

from headworks.core.budget import BudgetAlert

_log = logging.getLogger("headworks")

_TABLE: Final = """
    CREATE TABLE IF NOT EXISTS told (
        kind TEXT NOT NULL,
        name TEXT NOT NULL,
        per TEXT NOT NULL,
        begin INTEGER NOT NULL,
        percent INTEGER NOT NULL,
        PRIMARY KEY (kind, name, per, begin, percent)
    ) STRICT, WITHOUT ROWID
"""
_KEPT: Final = 100 * 86_400 * 10**9
"""Nanoseconds after whose begin a period is over, however long it was."""


def alerts_path(store: Path) -> Path:
    """Return the file's place, beside the store."""
    return store.with_name(f"{store.stem}.budgets{store.suffix or '.db'}")


class ToldAlerts:
    """The thresholds that were told. The file is made with the first; close it after that."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._db: sqlite3.Connection | None = None

    def note(self, alert: BudgetAlert) -> bool:
        """Note that a threshold is being told; return whether it is for the first time.

        Where the file cannot be written it counts as the first time: better twice than never.
        """
        owner = alert.owner
        row = (owner.kind, owner.name, alert.per, alert.begin, alert.percent)
        try:
            db = self._opened()
            is_new = db.execute("INSERT OR IGNORE INTO told VALUES (?, ?, ?, ?, ?)", row).rowcount
        except (sqlite3.Error, UnicodeEncodeError) as error:
            _log.warning("%s: alerts may come again after a restart: %s", self._path, error)
            return True
        return bool(is_new)

    def forget(self, now: int) -> None:
        """Forget the thresholds of periods that are long over."""
        if self._path.exists():
            try:
                self._opened().execute(
                    "DELETE FROM told WHERE per != 'total' AND begin < ?", (now - _KEPT,)
                )
            except sqlite3.Error as error:
                _log.warning("%s: cannot be swept: %s", self._path, error)

    def close(self) -> None:
        """Let go of the file. Idempotent."""
        if self._db is not None:
            self._db.close()
            self._db = None

    def _opened(self) -> sqlite3.Connection:
        if self._db is None:
            with suppress(OSError):  # names of people are in it; what is wrong SQLite will tell
                os.close(os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
            db = sqlite3.connect(
                self._path, isolation_level=None, timeout=0.05, check_same_thread=False
            )
            try:
                db.execute("PRAGMA synchronous=OFF")
                db.execute(_TABLE)
            except BaseException:
                db.close()
                raise
            self._db = db
        return self._db
