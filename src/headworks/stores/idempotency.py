"""Answers that are kept for whoever sends the same request again, with the same idempotency key.

While a call is under way, whoever brings its key waits for it. When it is answered, the answer is
in the file before its last byte leaves, and on disk if it `is_synced`; when it fails, the next one is
let through. One thread has the file. It is made by the first call that brings a key.
"""

import asyncio
import logging
import os
import sqlite3
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

import msgspec

from headworks.core.idempotency import (
    IdempotencyKeyInUse,
    IdempotencyKeyReused,
    IdempotencyUnavailable,
    IdempotentAnswerNotKept,
    fingerprint,
    idempotency_key,
    kept_headers,
    place,
    without_key,
)
from headworks.ports import Clock
from headworks.stores.ledger_damage import is_damage, move_aside
from headworks.types import Call, Headers, Response

_log = logging.getLogger("headworks")

T = TypeVar("T")

LONGEST_WAIT: Final = 600.0
"""Seconds that a call waits for the one before it, if it does not say how long it may take."""
MOST_BYTES: Final = 1_000_000_000
"""Size of the file; then the oldest answers go before their time."""
MOST_WAITING: Final = 64_000_000
"""Bytes of requests that wait for others; beyond that they are refused, for they have no turn."""
_SWEEP_SECONDS: Final = 600.0
_AT_ONCE: Final = 200
_VERSION: Final = 1
_SCHEMA: Final = (
    """
    CREATE TABLE answers (
        place BLOB NOT NULL UNIQUE,
        request BLOB NOT NULL,
        call TEXT NOT NULL,
        at REAL NOT NULL,
        status INTEGER NOT NULL,
        headers BLOB NOT NULL,
        content BLOB
    ) STRICT
    """,
    "CREATE INDEX answers_at ON answers (at)",
    f"PRAGMA user_version = {_VERSION}",
)
_FIND: Final = (
    "SELECT request, call, status, headers, content FROM answers WHERE place = ? AND at > ?"
)
_KEEP: Final = "INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?, ?, ?, ?)"
_OLDEST: Final = "SELECT rowid FROM answers WHERE at <= ? ORDER BY at LIMIT ?"

_decode_headers = msgspec.json.Decoder(tuple[tuple[bytes, bytes], ...]).decode


class _Kept(NamedTuple):
    """An answer as it is kept; `content` is None where it was too large."""

    request: bytes
    call: str
    status: int
    headers: Headers
    content: bytes | None


@dataclass(frozen=True, slots=True)
class _Claim:
    """A call under way that has a key."""

    place: bytes
    request: bytes


@dataclass(frozen=True, slots=True)
class IdempotencyStatistics:
    """Calls under way that have a key, answers that were replayed, and those that were not kept."""

    claimed: int
    replayed: int
    failures: int


def idempotency_path(store: Path) -> Path:
    """Return the file's place, beside the store."""
    return store.with_name(f"{store.stem}.idempotency{store.suffix or '.db'}")


class SqliteIdempotency:
    """Keeps answers in a file. Fulfils `ports.Idempotency`.

    Attributes:
        keep: How many seconds an answer is kept.
        max_body: The largest answer that is kept whole, in bytes.
    """

    def __init__(
        self, path: Path, clock: Clock, *, most: int = MOST_BYTES, is_synced: bool = False
    ) -> None:
        self._path, self._clock, self._most = path, clock, most
        self._is_synced = is_synced
        self.keep, self.max_body = 86_400.0, 1_000_000
        self._running: dict[bytes, _Claim] = {}
        self._claims: dict[str, _Claim] = {}
        self._waiters: dict[bytes, dict[asyncio.Future[None], None]] = {}
        self._waiting = 0
        self._replayed = self._failures = 0
        self._thread: ThreadPoolExecutor | None = None
        self._db: sqlite3.Connection | None = None  # of the thread alone, as is the time:
        self._swept = float("-inf")

    async def claim(self, call: Call) -> Response | None:
        """Return the answer to an equal request, or let the call go on. See `ports.Idempotency`."""
        key = idempotency_key(call.request)
        if not key or call.caller is None:
            return None
        claim = _Claim(place(call.caller, key), fingerprint(call.request))
        until = self._clock.now() + (call.request.timeout or LONGEST_WAIT)
        while (running := self._running.get(claim.place)) is not None:
            _refuse_other(running.request, claim.request)
            await self._wait(claim.place, len(call.request.content), until)
        self._running[claim.place] = self._claims[call.id] = claim
        call.request = without_key(call.request)
        kept = await self._on_thread(lambda: self._find(claim.place))
        if kept is None:
            return None
        self.release(call)
        _refuse_other(kept.request, claim.request)
        if kept.content is None:
            raise IdempotentAnswerNotKept
        self._replayed += 1
        call.replays = kept.call
        return Response(kept.status, kept.headers, kept.content)

    async def record(self, call: Call, response: Response) -> Response:
        """Return the response, to be kept when all of it has come. See `ports.Idempotency`."""
        claim = self._claims.get(call.id)
        if claim is None:
            return response
        content = response.content
        if isinstance(content, bytes):
            await self._store(claim, call, response, content)
            return response
        return Response(
            response.status, response.headers, self._recorded(claim, call, response, content)
        )

    def release(self, call: Call) -> None:
        """Let the next one go on who waits for the call. Idempotent. See `ports.Idempotency`."""
        if not self._claims:
            return
        claim = self._claims.pop(call.id, None)
        if claim is not None:
            del self._running[claim.place]
            self._wake(claim.place)

    async def follow(self) -> None:
        """Forget answers whose time is over, until cancelled."""
        while True:
            if self._path.exists():
                try:
                    await self._on_thread(self._sweep)
                except IdempotencyUnavailable as error:
                    _log.error("%s cannot be swept: %s", self._path, error.__cause__)
            await self._clock.sleep(_SWEEP_SECONDS)

    def statistics(self) -> IdempotencyStatistics:
        """Return what happened so far."""
        return IdempotencyStatistics(len(self._claims), self._replayed, self._failures)

    def close(self) -> None:
        """Write what is left and close the file. Idempotent."""
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.submit(self._close)
            thread.shutdown()

    async def _wait(self, place_: bytes, size: int, until: float) -> None:
        """Wait for the end of a call, or raise `IdempotencyKeyInUse` when it takes too long."""
        left = until - self._clock.now()
        if left <= 0 or self._waiting + size > MOST_WAITING:
            raise IdempotencyKeyInUse(retry_after=1.0)
        loop = asyncio.get_running_loop()
        waiter = loop.create_future()
        waiters = self._waiters.setdefault(place_, {})
        waiters[waiter] = None
        self._waiting += size
        timer = loop.create_task(self._clock.sleep(left))
        try:
            await asyncio.wait({waiter, timer}, return_when=asyncio.FIRST_COMPLETED)
        except BaseException:
            if waiter.done():  # its turn is somebody else's
                self._wake(place_)
            raise
        finally:
            timer.cancel()
            self._waiting -= size
            waiters.pop(waiter, None)
            if not waiters and self._waiters.get(place_) is waiters:
                del self._waiters[place_]

    def _wake(self, place_: bytes) -> None:
        """Let one of those go on who wait: the others would only find that it is under way again."""
        waiters = self._waiters.get(place_)
        if waiters:
            waiter = next(iter(waiters))
            del waiters[waiter]
            waiter.set_result(None)

    async def _recorded(
        self, claim: _Claim, call: Call, response: Response, content: AsyncIterator[bytes]
    ) -> AsyncGenerator[bytes]:
        """Pass a stream on; keep it if it ends well."""
        parts: list[bytes] = []
        size = 0
        async for chunk in content:
            size += len(chunk)
            if size > self.max_body:
                parts.clear()
            else:
                parts.append(chunk)
            yield chunk
        if call.outcome in {"completed", "drained"}:
            whole = b"".join(parts) if size <= self.max_body else None
            await self._store(claim, call, response, whole)

    async def _store(
        self, claim: _Claim, call: Call, response: Response, content: bytes | None
    ) -> None:
        if content is not None and len(content) > self.max_body:
            content = None
        headers = msgspec.json.encode(kept_headers(response.headers))
        now = self._clock.time()
        row = (claim.place, claim.request, call.id, now, response.status, headers, content)
        try:
            await self._on_thread(lambda: self._keep(row))
        except IdempotencyUnavailable as error:
            self._failures += 1
            _log.error("%s cannot be written: %s is not kept", self._path, call.id)
            _log.debug("because of", exc_info=error)

    async def _on_thread(self, work: Callable[[], T]) -> T:
        """Do something with the file, or raise `IdempotencyUnavailable`."""
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, "headworks-idempotency")
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        except (sqlite3.Error, OSError) as error:
            raise IdempotencyUnavailable(retry_after=1.0) from error

    def _find(self, place_: bytes) -> _Kept | None:
        since = self._clock.time() - self.keep
        row = self._opened().execute(_FIND, (place_, since)).fetchone()
        if row is None:
            return None
        request, call, status, headers, content = row
        return _Kept(request, call, status, _decode_headers(headers), content)

    def _keep(self, row: tuple[bytes, bytes, str, float, int, bytes, bytes | None]) -> None:
        self._opened().execute(_KEEP, row)
        if self._clock.time() - self._swept >= _SWEEP_SECONDS or self._used() > self._most:
            self._sweep()

    def _sweep(self) -> None:
        """Forget what is too old, a portion at a time, and the oldest while the file is too large."""
        now, db = self._clock.time(), self._opened()
        self._swept = now
        before: float = now - self.keep
        while found := db.execute(_OLDEST, (before, _AT_ONCE)).fetchall():
            db.executemany("DELETE FROM answers WHERE rowid = ?", found)
        while self._used() > self._most:
            found = db.execute(_OLDEST, (float("inf"), _AT_ONCE)).fetchall()
            db.executemany("DELETE FROM answers WHERE rowid = ?", found)
        db.execute("PRAGMA incremental_vacuum").fetchall()

    def _used(self) -> int:
        names = ("page_count", "freelist_count", "page_size")
        pages, free, size = (
            self._opened().execute(f"PRAGMA {name}").fetchone()[0] for name in names
        )
        return int((pages - free) * size)

    def _opened(self) -> sqlite3.Connection:
        if self._db is None:
            try:
                self._db = self._open()
            except sqlite3.DatabaseError as error:
                if not is_damage(error):
                    raise
                aside = move_aside(self._path, self._clock.time())
                _log.error("%s is damaged (%s) and was moved to %s", self._path, error, aside)
                self._db = self._open()
        return self._db

    def _open(self) -> sqlite3.Connection:
        os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        db = sqlite3.connect(self._path, isolation_level=None, timeout=2.0)
        try:
            db.execute("PRAGMA auto_vacuum = INCREMENTAL")
            db.execute("PRAGMA journal_mode = WAL")
            db.execute(f"PRAGMA synchronous = {'FULL' if self._is_synced else 'NORMAL'}")
            db.execute(
                "PRAGMA secure_delete = ON"
            )  # what is over is gone: these are people's texts
            _prepare(db)
        except BaseException:
            db.close()
            raise
        return db

    def _close(self) -> None:
        db, self._db = self._db, None
        if db is not None:
            db.close()


def _prepare(db: sqlite3.Connection) -> None:
    """Make the table of a new file; refuse one of a newer version."""
    version = db.execute("PRAGMA user_version").fetchone()[0]
    if version > _VERSION:
        raise sqlite3.NotSupportedError(f"a newer headworks wrote it (version {version})")
    if version == 0:
        db.executescript(f"BEGIN; {'; '.join(_SCHEMA)}; COMMIT")


def _refuse_other(one: bytes, other: bytes) -> None:
    if one != other:
        raise IdempotencyKeyReused
