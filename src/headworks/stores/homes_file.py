"""Remembers which account made an id: in memory, and behind that in a file.

Ids are known at once; the file follows within milliseconds and never makes a call wait. One thread
has the file, so that a look into it comes after all that was to be written before. A process that
is killed loses what was still to be written: those ids are unknown then, and never somebody
else's. The file keeps no id itself but 128 bits of its hash, in whose order it is also swept: a
slice a minute, in which what is too old goes, or the oldest of it while the file is too large.
"""

import asyncio
import logging
import os
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final, NamedTuple

from headworks.core.homes import SEVERAL
from headworks.errors import ConfigurationError, HomesUnavailable
from headworks.ports import Clock

_log = logging.getLogger("headworks")

APPLICATION_ID: Final = 0x68656168
_SCHEMA: Final = (
    f"PRAGMA application_id = {APPLICATION_ID}",
    """
    CREATE TABLE homes (
        number INTEGER PRIMARY KEY,
        upstream TEXT NOT NULL,
        credential TEXT NOT NULL,
        account TEXT NOT NULL
    ) STRICT
    """,
    """
    CREATE TABLE ids (
        digest BLOB PRIMARY KEY,
        home INTEGER NOT NULL,
        until INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID
    """,
    "PRAGMA user_version = 1",
)
_LEARN: Final = """
    INSERT INTO ids (digest, home, until) VALUES (?, ?, ?) ON CONFLICT (digest) DO UPDATE
    SET home = merged(home, excluded.home), until = max(until, excluded.until) RETURNING home
"""
_DAMAGED: Final = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}

LINGER: Final = 0.01
"""Seconds that ids wait for others to be written with."""
MOST_IN_MEMORY: Final = 65_536
MOST_UNWRITTEN: Final = 1_000_000
"""Ids that are kept while the file cannot be written."""
MOST_BYTES: Final = 2_000_000_000
"""Size of the file: some forty million ids."""
_SWEEP_SECONDS: Final = 60.0
_SLICES: Final = 1024
_BEYOND: Final = b"\xff" * 17
"""Above every digest."""


class Record(NamedTuple):
    """What a number stands for; `account` is "" where nobody said which organisation it is."""

    number: int
    upstream: str
    credential: str
    account: str


@dataclass(frozen=True, slots=True)
class HomesStatistics:
    """Ids in memory, ids that are still to be written, and whether that failed last time."""

    remembered: int
    unwritten: int
    is_failing: bool


def homes_path(store: Path) -> Path:
    """Return the file's place, beside the store."""
    return store.with_name(f"{store.stem}.homes{store.suffix or '.db'}")


def digest(id_: str) -> bytes:
    """Return what stands for an id."""
    return blake2b(id_.encode(), digest_size=16).digest()


class HomesFile:
    """Ids and the numbers of their homes. Nothing is opened before `open`; close it after that."""

    def __init__(
        self, path: Path, clock: Clock, *, memory: int = MOST_IN_MEMORY, most: int = MOST_BYTES
    ) -> None:
        self._path, self._clock, self._memory, self._most = path, clock, memory, most
        self._known: dict[bytes, int] = {}
        self._pending: dict[bytes, tuple[int, int]] = {}
        self._handed = 0
        self._timer: asyncio.TimerHandle | None = None
        self._thread: ThreadPoolExecutor | None = None
        self._same: Mapping[int, int] = {}
        self._conflicts: list[bytes] = []
        # Of the thread alone:
        self._db: sqlite3.Connection | None = None
        self._unwritten: dict[bytes, tuple[int, int]] = {}
        self._is_failing, self._taken = False, 0
        self._swept, self._slice = clock.now(), 0

    @property
    def is_there(self) -> bool:
        """Whether anything was ever remembered."""
        return self._path.exists()

    def open(self) -> list[Record]:
        """Open the file, or make it; return what its numbers stand for. Idempotent.

        Raises:
            ConfigurationError: It cannot be used.
        """
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, "headworks-homes")
        try:
            return self._thread.submit(self._open).result()
        except (sqlite3.Error, OSError) as error:
            raise ConfigurationError([f"{self._path}: cannot be opened: {error}"]) from None

    def number(self, upstream: str, credential: str, account: str) -> int:
        """Return a new number for a home.

        Raises:
            ConfigurationError: It cannot be written.
        """
        try:
            return self._on_thread().submit(self._number, (upstream, credential, account)).result()
        except sqlite3.Error as error:
            raise ConfigurationError([f"{self._path}: cannot be written: {error}"]) from None

    def adopt(self, same: Mapping[int, int]) -> None:
        """Take numbers for one and the same home that `same` maps to the same one."""
        self._same = dict(same)

    def learn(self, ids: Iterable[str], number: int, life: float) -> None:
        """Remember ids for so many seconds. Never waits.

        An id that is known from another home is nobody's from then on: it cannot be told whose.
        """
        self._settle_conflicts()
        until = int(self._clock.time() + life)
        for id_ in ids:
            key = digest(id_)
            known = self._known.pop(key, None)
            if known is None and key in self._pending:
                known = self._pending[key][0]
            self._known[key] = now = number if known is None else self._merged(known, number)
            if known != now:
                self._pending[key] = now, until
        _shorten(self._known, self._memory)
        _shorten(self._pending, MOST_UNWRITTEN)
        self._flush_soon()

    async def find(self, ids: Iterable[str]) -> dict[str, int]:
        """Return the numbers of those ids that are known.

        Raises:
            HomesUnavailable: The file cannot be read.
        """
        self._settle_conflicts()
        found: dict[str, int] = {}
        missing: dict[bytes, str] = {}
        for id_ in ids:
            key = digest(id_)
            known = self._known.pop(key, None)
            if known is None:
                missing[key] = id_
            else:
                self._known[key] = found[id_] = known  # the most recent last
        if missing:
            self._flush()
            loop, keys = asyncio.get_running_loop(), list(missing)
            kept = {key: self._pending[key][0] for key in keys if key in self._pending}
            try:
                read = await loop.run_in_executor(self._on_thread(), self._read, keys)
            except sqlite3.Error as error:
                _log.error("%s cannot be read: %s", self._path, error)
                raise HomesUnavailable from None
            for key, number in kept.items():
                read[key] = self._merged(read.get(key, number), number)
            for key, number in read.items():
                found[missing[key]] = number
                self._known.setdefault(key, number)
            _shorten(self._known, self._memory)
        return found

    def statistics(self) -> HomesStatistics:
        """Return what is known now."""
        unwritten = len(self._pending) + self._handed - self._taken + len(self._unwritten)
        return HomesStatistics(len(self._known), unwritten, self._is_failing)

    def close(self) -> None:
        """Write what is left and close the file. Idempotent."""
        self._flush(is_last=True)
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.submit(self._close)
            thread.shutdown()

    def _on_thread(self) -> ThreadPoolExecutor:
        if self._thread is None:
            raise HomesUnavailable
        return self._thread

    def _settle_conflicts(self) -> None:
        """Take over what the thread has found to have several homes."""
        while self._conflicts:
            self._known[self._conflicts.pop()] = SEVERAL

    def _merged(self, known: int, number: int) -> int:
        """Return the one home that an id has, whatever it was called, or that it has several."""
        same = self._same
        return known if same.get(known, known) == same.get(number, number) else SEVERAL

    def _flush_soon(self) -> None:
        if self._pending and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(LINGER, self._flush)

    def _flush(self, *, is_last: bool = False) -> None:
        """Hand over what is to be written; while a batch waits, no other: looks come behind."""
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()
        if self._thread is None or not self._pending:
            return
        if self._handed > self._taken and not is_last:
            self._flush_soon()
            return
        batch, self._pending = self._pending, {}
        self._handed += len(batch)
        self._thread.submit(self._write, batch)

    def _open(self) -> list[Record]:
        if self._db is None:
            try:
                self._db = self._connect()
            except sqlite3.DatabaseError as error:
                if getattr(error, "sqlite_errorcode", 0) & 0xFF not in _DAMAGED:
                    raise
                self._move_aside(error)
                self._db = self._connect()
        return [Record(*row) for row in self._db.execute("SELECT * FROM homes ORDER BY number")]

    def _connect(self) -> sqlite3.Connection:
        os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        db = sqlite3.connect(self._path, isolation_level=None, timeout=2.0)
        try:
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = NORMAL")
            db.create_function("merged", 2, self._merged)
            _prepare(db, self._path)
        except BaseException:
            db.close()
            raise
        return db

    def _move_aside(self, error: sqlite3.Error) -> None:
        now = datetime.fromtimestamp(self._clock.time(), UTC).strftime("%Y%m%dT%H%M%SZ")
        for suffix in ("", "-wal", "-shm"):
            part = self._path.with_name(self._path.name + suffix)
            if part.exists():
                part.rename(part.with_name(f"{self._path.name}.corrupt-{now}{suffix}"))
        _log.error("%s is damaged (%s) and was moved aside: ids are unknown", self._path, error)

    def _number(self, home: tuple[str, str, str]) -> int:
        sql = "INSERT INTO homes (upstream, credential, account) VALUES (?, ?, ?) RETURNING number"
        number: int = self._opened().execute(sql, home).fetchone()[0]
        return number

    def _opened(self) -> sqlite3.Connection:
        if self._db is None:
            raise sqlite3.OperationalError("it is not open")
        return self._db

    def _read(self, keys: Sequence[bytes]) -> dict[bytes, int]:
        find = self._opened().execute
        found: dict[bytes, int] = {}
        for key in keys:
            if key in self._unwritten:
                found[key] = self._unwritten[key][0]
                continue
            row = find("SELECT home FROM ids WHERE digest = ?", (key,)).fetchone()
            if row is not None:
                found[key] = row[0]
        return found

    def _write(self, batch: Mapping[bytes, tuple[int, int]]) -> None:
        for key, (number, until) in batch.items():
            other = self._unwritten.get(key)
            merged = number if other is None else self._merged(other[0], number)
            self._unwritten[key] = merged, until
        self._taken += len(batch)
        try:
            self._transact(self._save)
            self._sweep()
        except Exception as error:  # noqa: BLE001 - nobody awaits this: it is told and tried again
            self._fail(error)
        else:
            self._unwritten.clear()
            if self._is_failing:
                _log.warning("%s can be written again", self._path)
            self._is_failing = False

    def _save(self, db: sqlite3.Connection) -> None:
        for key, (number, until) in self._unwritten.items():
            if db.execute(_LEARN, (key, number, until)).fetchone()[0] == SEVERAL != number:
                self._conflicts.append(key)

    def _fail(self, error: Exception) -> None:
        if not self._is_failing:
            _log.error("%s cannot be written: ids may be unknown later: %s", self._path, error)
        self._is_failing = True
        _shorten(self._unwritten, MOST_UNWRITTEN)

    def _sweep(self) -> None:
        """Look through one slice of the file, if it is time or the file is too large."""
        now, today = self._clock.now(), int(self._clock.time())
        is_full = self._used() > self._most
        if is_full or now - self._swept >= _SWEEP_SECONDS:
            self._swept = now
            self._transact(lambda db: self._sweep_slice(db, today, is_full=is_full))

    def _used(self) -> int:
        names = ("page_count", "freelist_count", "page_size")
        pages, free, size = (
            self._opened().execute(f"PRAGMA {name}").fetchone()[0] for name in names
        )
        return int((pages - free) * size)

    def _sweep_slice(self, db: sqlite3.Connection, now: int, *, is_full: bool) -> None:
        at, self._slice = self._slice, (self._slice + 1) % _SLICES
        end = _BEYOND if at + 1 == _SLICES else _bound(at + 1)
        here = (_bound(at), end)
        db.execute("DELETE FROM ids WHERE digest >= ? AND digest < ? AND until < ?", (*here, now))
        if is_full:
            count = db.execute(
                "SELECT count(*) FROM ids WHERE digest >= ? AND digest < ?", here
            ).fetchone()[0]
            db.execute(
                "DELETE FROM ids WHERE digest IN (SELECT digest FROM ids"
                " WHERE digest >= ? AND digest < ? ORDER BY until LIMIT ?)",
                (*here, count // 4 + 1),
            )

    def _transact(self, work: Callable[[sqlite3.Connection], None]) -> None:
        db = self._opened()
        db.execute("BEGIN IMMEDIATE")
        try:
            work(db)
            db.execute("COMMIT")
        except BaseException:
            db.rollback()
            raise

    def _close(self) -> None:
        db, self._db = self._db, None
        if db is not None:
            db.close()


def _shorten(ids: dict[bytes, Any], most: int) -> None:
    """Forget the oldest of what is more than `most`."""
    while len(ids) > most:
        del ids[next(iter(ids))]


def _bound(at: int) -> bytes:
    """Return the least digest of a slice."""
    return (at << 54).to_bytes(8, "big")


def _prepare(db: sqlite3.Connection, path: Path) -> None:
    """Make the tables of a new file; refuse one that is not ours."""
    mark = db.execute("PRAGMA application_id").fetchone()[0]
    version = db.execute("PRAGMA user_version").fetchone()[0]
    is_empty = not db.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
    if is_empty and not version:
        db.execute("BEGIN IMMEDIATE")
        for statement in _SCHEMA:
            db.execute(statement)
        db.execute("COMMIT")
    elif mark != APPLICATION_ID:
        raise ConfigurationError([f"{path}: this is no file of headworks' ids"])
    elif version > 1:
        raise ConfigurationError([f"{path}: a newer headworks wrote it (version {version})"])
