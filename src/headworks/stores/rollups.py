"""Keeps a ledger's rollups up to date, in a thread beside the gateway.

The writer passes over the ledger in slices of its `seq`. A slice is one transaction on the rollups'
own file, so that a process that is killed has passed a slice or has not; the ledger's file is only
read, in short transactions, and its writer never waits. All work is done by SQLite, which lets go
of Python's lock meanwhile. A ledger without rollups, such as one that an older version wrote, is
passed over from its beginning, in the same slices, with as long a pause after each as it took.
"""

import logging
import os
import sqlite3
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, Final

from headworks.errors import ConfigurationError
from headworks.ports import Clock
from headworks.stores.ledger_damage import is_damage
from headworks.stores.rollup_schema import connect, is_current, load_rates, rollups_path
from headworks.stores.rollup_steps import STEPS, WORKBENCH

_log = logging.getLogger("headworks.ledger")

SLICE: Final = 20_000
"""Rows that are passed in one transaction: the more, the less work each of them is."""
EVERY: Final = 1.0
PATIENCE: Final = 60.0
"""Seconds for which less than a slice waits for more."""
_OPCODES: Final = 50_000
_NICENESS: Final = 10
"""A tenth of a CPU that is wanted by all: some 6000 rows a second even then."""


class Rollups:
    """A ledger's rollups, open for writing by the process that writes the ledger.

    Rollups that are damaged, of another version or of another ledger are made anew.

    As soon as `is_stopped` says so, what is under way is given up.

    Raises:
        ConfigurationError: There is no readable ledger.
        sqlite3.Error: The file cannot be opened.
        OSError: Likewise.
    """

    def __init__(
        self,
        ledger: Path,
        path: Path | None = None,
        is_stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        self.path = path or rollups_path(ledger)
        self._db = _open(ledger, self.path)
        self._db.set_progress_handler(is_stopped, _OPCODES)
        for statement in WORKBENCH:
            self._db.execute(statement)

    def mark(self) -> int:
        """Return the `seq` up to which rows were passed."""
        return int(self._db.execute("SELECT seq FROM rollups.state").fetchone()[0])

    def open_rows(self) -> list[int]:
        """Return the `seq` of rows that were passed while they were open."""
        return [seq for (seq,) in self._db.execute("SELECT seq FROM rollups.open ORDER BY seq")]

    def behind(self) -> int:
        """Return how many rows there are to pass."""
        last = self._db.execute("SELECT max(seq) FROM ledger.attempts").fetchone()[0]
        return int(last or 0) - self.mark()

    def rows(self, statement: str) -> Iterator[tuple[Any, ...]]:
        """Yield what a SELECT finds."""
        return iter(self._db.execute(statement))

    def advance(self, most: int = SLICE, upto: int | None = None) -> bool:
        """Pass at most so many rows, in one transaction; return whether there are more.

        Raises:
            sqlite3.Error: Nothing was changed.
        """
        try:
            self._db.execute("BEGIN")
            mark = self.mark()
            (last,) = self._db.execute(
                "SELECT max(seq) FROM (SELECT seq FROM ledger.attempts"
                " WHERE seq > ? AND seq <= ? ORDER BY seq LIMIT ?)",
                (mark, upto or 2**63 - 1, most),
            ).fetchone()
            load_rates(self._db)
            bounds = {"mark": mark, "upto": last or mark}
            for step in STEPS:
                self._db.execute(step, bounds)
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise
        return last is not None and last - mark >= most

    def close(self) -> None:
        """Let go of the file. Idempotent."""
        self._db.close()


def _open(ledger: Path, path: Path) -> sqlite3.Connection:
    try:
        db = connect(ledger, path, is_writer=True)
        if is_current(db):
            return db
        db.close()
    except sqlite3.DatabaseError as error:
        if not is_damage(error):
            raise
    _remove(path)
    return connect(ledger, path, is_writer=True)


def _remove(path: Path) -> None:
    _log.info("%s is made anew", path)
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


class RollupWriter:
    """A background thread that keeps one ledger's rollups; what it cannot write, reports read."""

    def __init__(self, ledger: Path, clock: Clock) -> None:
        self._ledger = ledger
        self._clock = clock
        self._is_told = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ledger-rollups", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End, and wait for the thread; a slice under way is given up. Idempotent."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        _give_way()
        while not self._stop.wait(EVERY):
            try:
                with closing(Rollups(self._ledger, is_stopped=self._stop.is_set)) as rollups:
                    self._follow(rollups)
            except (sqlite3.Error, OSError, ConfigurationError) as error:
                if not self._stop.is_set():
                    self._complain(error)

    def _follow(self, rollups: Rollups) -> None:
        done = float("-inf")
        while not self._stop.wait(EVERY):
            behind = rollups.behind()
            is_due = self._clock.now() - done >= PATIENCE
            if behind >= SLICE or (is_due and (behind or rollups.open_rows())):
                self._catch_up(rollups)
                done = self._clock.now()

    def _complain(self, error: Exception) -> None:
        level = logging.DEBUG if self._is_told else logging.WARNING
        self._is_told = True
        _log.log(
            level, "no rollups of %s, reports read its rows meanwhile: %s", self._ledger, error
        )
        if isinstance(error, sqlite3.Error) and is_damage(error):
            _remove(rollups_path(self._ledger))
        else:
            self._stop.wait(PATIENCE)

    def _catch_up(self, rollups: Rollups) -> None:
        begun = self._clock.now()
        while rollups.advance():
            if self._stop.wait(self._clock.now() - begun):
                return
            begun = self._clock.now()


def _give_way() -> None:
    """Let this thread, and no other, stand back behind those who have work to do, where it can."""
    if sys.platform == "linux":
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
