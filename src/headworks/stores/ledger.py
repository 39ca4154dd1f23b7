"""Money: one durable row per attempt, in a SQLite file of its own.

Theory. An attempt costs money from its first byte on, whether or not we live to see its answer. So
its row is committed as `held`, at what it may cost, before that byte leaves, and is updated once,
to `settled` or `released`, before the caller gets the last byte of the answer. A process that dies
in between leaves a held row, which the next start settles at its estimate: never lost, never free.

What one turn of the event loop wants to write is one transaction, on the loop's own thread: `hold`
and `written` wait for its commit, and calls that arrive together pay for one commit together. A
commit survives kill -9; with synchronous=NORMAL a power cut may take the last moments. Checkpoints,
the one slow part, run in a thread of their own and share `_turn` with us (see `checkpoint`). Nobody
else writes the file; reports read it. Without a running loop each write is committed at once.

When the disk fails, `hold` refuses, so that nothing is spent that cannot be booked. `settle` cannot
refuse: what could not be written is kept, and written with the next row.
"""

import asyncio
import logging
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Collection
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import msgspec

from headworks.core.pricing import Price, anomalies, cost
from headworks.errors import LedgerUnavailable
from headworks.ports import Clock
from headworks.stores.checkpoint import Checkpointer
from headworks.stores.ledger_file import LedgerFile
from headworks.stores.ledger_rows import CLOSE, HOLD, NOTE_PRICE, Opened, Row, held_row, storable
from headworks.stores.ledger_schema import ledger_path
from headworks.types import NO_USAGE, Call, Certainty, Route, Usage

__all__ = ["Attempt", "PriceBook", "SqliteLedger", "Statistics", "ledger_path"]

_log = logging.getLogger("headworks.ledger")

_Waiter = asyncio.Future[None] | Future[None]
_Written = tuple[int, dict[int, sqlite3.Error]]
"""How many rows of a file a statement changed, and the faults of those that are faulty."""

_HOPELESS = (
    sqlite3.IntegrityError,
    sqlite3.InterfaceError,
    sqlite3.DataError,
    sqlite3.ProgrammingError,
)
"""What no second try will mend: the fault is in the row, or the file was closed."""

_UNSTORABLE = (UnicodeEncodeError, OverflowError)
"""What SQLite cannot hold as it is; see `storable`."""

_MOST_OWED = 100_000
_COMPLAIN_EVERY = 60.0


class PriceBook(Protocol):
    """Knows prices."""

    def price(self, model: str) -> Price | None:
        """Return the price in force, None when it is unknown."""
        ...


@dataclass(frozen=True, slots=True)
class Statistics:
    """What the ledger has seen.

    Attributes:
        rows: Attempts in the file.
        open_holds: Held rows of this process.
        failures: Writes that the disk refused.
        duplicates: Settlements of rows that were settled before; they changed nothing.
        recovered: Rows that an earlier process left open.
        owed: Settlements that wait for the disk.
        dropped: Settlements given up; their rows are settled at the estimate by the next start.
    """

    rows: int
    open_holds: int
    failures: int
    duplicates: int
    recovered: int
    owed: int
    dropped: int


class SqliteLedger:
    """Writes the ledger. Fulfils `ports.Ledger`; may be used from any one thread at a time.

    `prices` may be replaced at any time: attempts under way keep the price they began with.

    Raises:
        ConfigurationError: Another process has the file, or it cannot be opened.
    """

    def __init__(
        self, path: Path, prices: PriceBook, clock: Clock, *, checkpointing: bool = True
    ) -> None:
        self.path = path
        self.prices = prices
        self._clock = clock
        self._file = LedgerFile(path, clock)
        self._db = self._file.db
        self._turn = threading.Lock()
        self._noted: set[str] = set()
        self._held: list[Row] = []
        self._holders: list[_Waiter] = []
        self._owed: deque[Row] = deque()
        self._readers: list[asyncio.Future[None]] = []
        self._prices_to_note: list[Row] = []
        self._due: asyncio.AbstractEventLoop | None = None
        self._last_seq = self._file.rows
        self._rows = self._file.rows
        self._open = self._failures = self._duplicates = self._dropped = 0
        self._complained = float("-inf")
        self._is_closed = False
        self._checkpointer = Checkpointer(path, self._turn) if checkpointing else None
        if self._checkpointer is not None:
            self._checkpointer.start()

    async def hold(self, call: Call, route: Route, estimate: Usage) -> "Attempt":
        """Write the attempt's row, or raise `LedgerUnavailable`. See `ports.Ledger`."""
        attempt, row = self._prepared(call, route, estimate)
        loop = self._due or asyncio.get_running_loop()
        committed = loop.create_future()
        self._held.append(row)
        self._holders.append(committed)
        self._flush_soon()
        try:
            await committed
        except asyncio.CancelledError:
            attempt.release("abandoned")
            raise
        return attempt

    def hold_now(self, call: Call, route: Route, estimate: Usage) -> "Attempt":
        """Do as `hold` does, without waiting for others' rows and without a loop."""
        attempt, row = self._prepared(call, route, estimate)
        committed = Future[None]()
        self._held.append(row)
        self._holders.append(committed)
        self._flush()
        committed.result()
        return attempt

    async def written(self) -> None:
        """Wait until everything that was settled so far is on disk. See `ports.Ledger`."""
        if self._due is not None:
            committed = self._due.create_future()
            self._readers.append(committed)
            await committed

    def close_row(self, row: Row) -> None:
        """Write what became of a held row: the last value is its `seq`. Never raises."""
        self._owed.append(row)
        if len(self._owed) > _MOST_OWED:
            self._owed.popleft()
            self._dropped += 1
        self._flush_soon()

    def note_duplicate(self) -> None:
        """Count a settlement that came a second time."""
        self._duplicates += 1

    def now(self) -> int:
        """Return nanoseconds since 1970."""
        return int(self._clock.time() * 1e9)

    def statistics(self) -> Statistics:
        """Return what happened so far."""
        return Statistics(
            rows=self._rows,
            open_holds=self._open,
            failures=self._failures,
            duplicates=self._duplicates,
            recovered=self._file.recovered,
            owed=len(self._owed),
            dropped=self._dropped,
        )

    def close(self) -> None:
        """Write what is owed, checkpoint, let go of the file. Idempotent."""
        if self._is_closed:
            return
        self._is_closed = True
        if self._checkpointer is not None:
            self._checkpointer.stop()
        self._flush()
        with self._turn:
            self._file.close(is_settled=self._open == 0)

    def _prepared(self, call: Call, route: Route, estimate: Usage) -> "tuple[Attempt, Row]":
        price = self.prices.price(route.model)
        if price is not None and price.version not in self._noted:
            numbers = msgspec.json.encode(price).decode()
            self._prices_to_note.append((price.version, route.model, numbers))
            self._noted.add(price.version)
        self._last_seq += 1
        row = (
            self._last_seq,
            *held_row(call, route, estimate, price, Opened(self._file.boot, self.now())),
        )
        return Attempt(self, self._last_seq, price), row

    def _flush_soon(self) -> None:
        """Commit at the loop's next turn, together with what else comes in this one."""
        if self._due is not None:
            return
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self._flush()
        else:
            self._due = loop
            loop.call_soon(self._flush)

    def _flush(self) -> None:
        """Commit what is waiting, and tell those who wait for it."""
        self._due = None
        held, self._held = self._held, []
        holders, self._holders = self._holders, []
        readers, self._readers = self._readers, []
        try:
            with self._turn:
                refused = self._commit(held)
        except sqlite3.Error as error:
            self._complain(error)
            refused = dict.fromkeys(range(len(held)), error)
        for number, committed in enumerate(holders):
            if committed.cancelled():
                continue
            if (refusal := refused.get(number)) is None:
                committed.set_result(None)
            else:
                committed.set_exception(_unavailable(refusal))
        for reader in readers:
            if not reader.cancelled():
                reader.set_result(None)

    def _commit(self, held: Collection[Row]) -> dict[int, sqlite3.Error]:
        """Write everything in one transaction; return the held rows that are faulty by themselves.

        Raises:
            sqlite3.Error: The disk failed, and nothing was changed.
        """
        try:
            return self._transact(held, self._write_together)
        except (*_HOPELESS, *_UNSTORABLE):
            return self._transact(held, self._write_singly)

    def _transact(
        self, held: Collection[Row], write: Callable[[str, Collection[Row]], _Written]
    ) -> dict[int, sqlite3.Error]:
        db, owed, prices = self._db, self._owed, self._prices_to_note
        is_alone = len(held) + len(owed) + len(prices) <= 1  # a transaction by itself
        try:
            if not is_alone:
                db.execute("BEGIN IMMEDIATE")
            write(NOTE_PRICE, prices)
            inserted, refused = write(HOLD, held)
            settled, dropped = write(CLOSE, owed)
            if not is_alone:
                db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise
        self._rows += inserted
        self._open += inserted - settled
        self._duplicates += len(owed) - len(dropped) - settled
        self._dropped += len(dropped)
        owed.clear()
        prices.clear()
        return refused

    def _write_together(self, statement: str, rows: Collection[Row]) -> _Written:
        """Write rows at once; raises whatever is wrong with any of them."""
        return (self._db.executemany(statement, rows).rowcount if rows else 0), {}

    def _write_singly(self, statement: str, rows: Collection[Row]) -> _Written:
        """Write rows as SQLite can hold them, all but those that are faulty by themselves."""
        changed, faults = 0, dict[int, sqlite3.Error]()
        for number, row in enumerate(rows):
            try:
                changed += self._db.execute(statement, tuple(map(storable, row))).rowcount
            except _HOPELESS as error:
                self._complain(error)
                faults[number] = error
        return changed, faults

    def _complain(self, error: sqlite3.Error) -> None:
        self._failures += 1
        now = self._clock.now()
        if now - self._complained >= _COMPLAIN_EVERY:
            self._complained = now
            _log.error("the ledger %s cannot be written: %s", self.path, error)


def _unavailable(error: sqlite3.Error) -> LedgerUnavailable:
    refusal = LedgerUnavailable(
        "The ledger cannot be written, so nothing that costs money is sent.", retry_after=1.0
    )
    refusal.__cause__ = error
    return refusal


class Attempt:
    """One row, held. Fulfils `ports.Hold`.

    Attributes:
        is_open: Whether neither `settle` nor `release` was called.
    """

    __slots__ = ("_cost", "_ledger", "_price", "_seq", "is_open")

    def __init__(self, ledger: SqliteLedger, seq: int, price: Price | None) -> None:
        self._ledger = ledger
        self._seq = seq
        self._price = price
        self.is_open = True
        self._cost: int | None = None

    def settle(self, usage: Usage, certainty: Certainty, outcome: str) -> int | None:
        """Book what the attempt used, once; return its cost. See `ports.Hold`."""
        if self.is_open:
            is_free = usage == NO_USAGE and certainty == "exact"
            self._cost = None if self._price is None else cost(self._price, usage)
            self._cost = 0 if is_free else self._cost
            self._close("settled", certainty, outcome, usage)
        else:
            self._ledger.note_duplicate()
        return self._cost

    def release(self, outcome: str) -> None:
        """Close the row at no cost, once. See `ports.Hold`."""
        if self.is_open:
            self._cost = 0
            self._close("released", None, outcome, NO_USAGE)
        else:
            self._ledger.note_duplicate()

    def _close(
        self,
        state: Literal["settled", "released"],
        certainty: Certainty | None,
        outcome: str,
        usage: Usage,
    ) -> None:
        self.is_open = False
        odd = anomalies(usage, self._price if state == "settled" else None)
        if self._cost is None:
            odd = ("unpriced", *odd)
        self._ledger.close_row(
            (
                state,
                certainty,
                outcome,
                self._ledger.now(),
                usage.input,
                usage.output,
                usage.cached,
                usage.written,
                usage.written_12h,
                usage.reasoning,
                usage.tier,
                self._cost,
                " ".join(odd),
                self._seq,
            )
        )
