"""Keeps a write-ahead log short without ever making its writer wait.

SQLite's own checkpoint runs inside some unlucky commit and stalls it for milliseconds. A PASSIVE
checkpoint in a thread never blocks the writer, but under constant load the log then never starts
over and grows without end; TRUNCATE makes commits fail. So: PASSIVE often, and when the log is
long, PASSIVE again, which leaves almost nothing to do, then RESTART while the writer is held off.
A writer that reads on between its commits ends that before each round.
"""

import logging
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

_log = logging.getLogger("headworks.ledger")

EVERY = 0.25
LIMIT = 16_000_000
"""Bytes of log beyond which it starts over."""
ALARM = 256_000_000
"""Bytes of log that mean that a reader has kept it open for far too long."""


def _no_view() -> bool:
    return False


class Checkpointer:
    """A background thread for one file.

    `turn` is the lock that its writer commits under, and under it `end_view` lets the writer read
    what is newest from then on.
    """

    def __init__(
        self, path: Path, turn: threading.Lock, end_view: Callable[[], bool] = _no_view
    ) -> None:
        self._path = path
        self._turn = turn
        self._end_view = end_view
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ledger-checkpoint", daemon=True)
        self._is_alarmed = False

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End, and wait for the thread. Idempotent."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        try:
            with closing(sqlite3.connect(self._path, isolation_level=None, timeout=0)) as db:
                frame: int = db.execute("PRAGMA page_size").fetchone()[0] + 24
                while not self._stop.wait(EVERY):
                    self._attempt(db, frame)
        except sqlite3.Error as error:
            _log.warning("no checkpoints of %s: %s", self._path, error)

    def _attempt(self, db: sqlite3.Connection, frame: int) -> None:
        try:
            self._alarm(self.round(db, frame))
        except sqlite3.Error as error:  # the disk's trouble is the writer's to report
            _log.debug("checkpoint of %s failed: %s", self._path, error)

    def round(self, db: sqlite3.Connection, frame: int) -> int:
        """Checkpoint once; return the log's length in bytes before it."""
        with self._turn:
            self._end_view()
        _, frames, _ = db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        if frames * frame >= LIMIT:
            db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            with self._turn:
                self._end_view()
                db.execute("PRAGMA wal_checkpoint(RESTART)").fetchone()
        return int(frames * frame)

    def _alarm(self, length: int) -> None:
        if length >= ALARM and not self._is_alarmed:
            _log.error(
                "the log of %s has %d MB: some program keeps a read of it open",
                self._path,
                length // 1_000_000,
            )
        self._is_alarmed = length >= ALARM
