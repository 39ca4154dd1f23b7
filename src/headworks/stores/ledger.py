"""Money: one durable row per attempt, in a SQLite file of its own.

Theory. An attempt costs money from its first byte on, whether or not we live to see its answer. So
its row is committed as `held`, at what it may cost, before that byte leaves, and is updated once,
to `settled` or `released`, before the caller gets the last byte of the answer. A process that dies
in between leaves a held row, which the next start settles at its estimate: never lost, never free.

Both writes are single statements, each its own transaction, on the caller's thread: about 10 µs,
less than a hand-over to another thread would take. They survive kill -9; with synchronous=NORMAL a
power cut may take the last moments. Checkpoints, the one slow part, run in a thread of their own
and share `_turn` with us (see `checkpoint`). Nobody else writes the file; reports read it.

When the disk fails, `hold` refuses, so that nothing is spent that cannot be booked. `settle` cannot
refuse: what it could not write it keeps, and writes before the next row.
"""

import logging
import sqlite3
import threading
from collections import deque
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal, Protocol

import msgspec

from headworks.core.endpoints import endpoint
from headworks.core.pricing import Price, anomalies, cost
from headworks.errors import CallError, LedgerUnavailable
from headworks.ports import Clock
from headworks.stores.checkpoint import Checkpointer
from headworks.stores.ledger_file import LedgerFile
from headworks.stores.ledger_schema import ledger_path
from headworks.types import NO_USAGE, Call, Caller, Certainty, Route, Usage

__all__ = ["Attempt", "PriceBook", "SqliteLedger", "Statistics", "ledger_path"]

_log = logging.getLogger("headworks.ledger")

HOLD = """
    INSERT INTO attempts (
        call, attempt, boot, state, held_at, key_id, key_name, project, feature, user, session,
        tags, endpoint, upstream, credential, model_asked, model_sent, stream, estimate_nano,
        price_version, input, output, cached, written, written_12h, reasoning, tier, anomalies
    ) VALUES (
        ?, ?, ?, 'held', ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?
    )
"""
CLOSE = """
    UPDATE attempts
    SET state = ?, certainty = ?, outcome = ?, settled_at = ?, input = ?, output = ?, cached = ?,
        written = ?, written_12h = ?, reasoning = ?, tier = ?, cost_nano = ?, anomalies = ?
    WHERE seq = ? AND state = 'held'
"""
NOTE_PRICE = "INSERT OR IGNORE INTO prices (version, model, numbers) VALUES (?, ?, ?)"

Value = str | int | None
Row = tuple[Value, ...]

_NOBODY = Caller(name="", key_id="")
_HOPELESS = (
    sqlite3.IntegrityError,
    sqlite3.InterfaceError,
    sqlite3.DataError,
    sqlite3.ProgrammingError,
)
"""What no second try will mend: the fault is in the row, or the file was closed."""

_MOST_OWED = 100_000
_COMPLAIN_EVERY = 60.0
_LONGEST = 256
_LARGEST = 2**63 - 1


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
        self._owed: deque[Row] = deque()
        self._rows = self._file.rows
        self._open = self._failures = self._duplicates = self._dropped = 0
        self._complained = float("-inf")
        self._is_closed = False
        self._checkpointer = Checkpointer(path, self._turn) if checkpointing else None
        if self._checkpointer is not None:
            self._checkpointer.start()

    def hold(self, call: Call, route: Route, estimate: Usage) -> "Attempt":
        """Write the attempt's row, or raise `LedgerUnavailable`. See `ports.Ledger`."""
        price = self.prices.price(route.model)
        row = self._held_row(call, route, estimate, price)
        try:
            with self._turn:
                self._pay_off()
                if price is not None and price.version not in self._noted:
                    numbers = msgspec.json.encode(price).decode()
                    self._db.execute(NOTE_PRICE, (price.version, route.model, numbers))
                    self._noted.add(price.version)
                seq = self._write(HOLD, row).lastrowid or 0
                self._rows += 1
                self._open += 1
        except sqlite3.Error as error:
            self._complain(error)
            raise LedgerUnavailable(
                "The ledger cannot be written, so nothing that costs money is sent.",
                retry_after=1.0,
            ) from error
        return Attempt(self, seq, price)

    def close_row(self, row: Row) -> None:
        """Write what became of a held row: the last value is its `seq`. Never raises."""
        try:
            with self._turn:
                self._owed.append(row)
                if len(self._owed) > _MOST_OWED:
                    self._owed.popleft()
                    self._dropped += 1
                self._pay_off()
        except sqlite3.Error as error:
            self._complain(error)

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
        with self._turn:
            try:
                self._pay_off()
            except sqlite3.Error as error:
                self._complain(error)
            self._file.close(is_settled=self._open == 0)

    def _held_row(self, call: Call, route: Route, estimate: Usage, price: Price | None) -> Row:
        caller = call.caller or _NOBODY
        request = call.request
        tags = request.tags
        return (
            call.id,
            call.attempts,
            self._file.boot,
            self.now(),
            caller.key_id,
            caller.name,
            caller.project,
            tags.feature[:_LONGEST],
            tags.user[:_LONGEST],
            tags.session[:_LONGEST],
            msgspec.json.encode(tags.tags).decode() if tags.tags else None,
            endpoint_name(request.method, request.path),
            route.upstream,
            route.credential,
            request.model[:_LONGEST],
            route.model[:_LONGEST],
            request.stream,
            None if price is None else cost(price, estimate),
            None if price is None else price.version,
            estimate.input,
            estimate.output,
            estimate.cached,
            estimate.written,
            estimate.written_12h,
            estimate.reasoning,
            estimate.tier,
            "unpriced" if price is None else None,
        )

    def _pay_off(self) -> None:
        """Write every settlement that is owed; each is forgotten only once it is on disk."""
        while self._owed:
            try:
                changed = self._write(CLOSE, self._owed[0]).rowcount
            except _HOPELESS as error:
                self._dropped += 1
                self._complain(error)
            else:
                self._open -= changed
                self._duplicates += not changed
            self._owed.popleft()

    def _write(self, statement: str, row: Row) -> sqlite3.Cursor:
        try:
            return self._db.execute(statement, row)
        except (UnicodeEncodeError, OverflowError):
            return self._db.execute(statement, tuple(map(_storable, row)))

    def _complain(self, error: sqlite3.Error) -> None:
        self._failures += 1
        now = self._clock.now()
        if now - self._complained >= _COMPLAIN_EVERY:
            self._complained = now
            _log.error("the ledger %s cannot be written: %s", self.path, error)


class Attempt:
    """One row, held. Fulfils `ports.Hold`."""

    __slots__ = ("_cost", "_is_open", "_ledger", "_price", "_seq")

    def __init__(self, ledger: SqliteLedger, seq: int, price: Price | None) -> None:
        self._ledger = ledger
        self._seq = seq
        self._price = price
        self._is_open = True
        self._cost: int | None = None

    @property
    def is_open(self) -> bool:
        """Whether neither `settle` nor `release` was called."""
        return self._is_open

    def settle(self, usage: Usage, certainty: Certainty, outcome: str) -> int | None:
        """Book what the attempt used, once; return its cost. See `ports.Hold`."""
        if self._is_open:
            self._cost = None if self._price is None else cost(self._price, usage)
            self._close("settled", certainty, outcome, usage)
        else:
            self._ledger.note_duplicate()
        return self._cost

    def release(self, outcome: str) -> None:
        """Close the row at no cost, once. See `ports.Hold`."""
        if self._is_open:
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
        self._is_open = False
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
                " ".join(odd) or None,
                self._seq,
            )
        )


@lru_cache(maxsize=1024)
def endpoint_name(method: str, path: str) -> str:
    """Return the stable word that reports use for a path."""
    try:
        return endpoint(method, path).name
    except CallError:
        return "other"


def _storable(value: Value) -> Value:
    """Return what SQLite can hold in place of a lone surrogate or a number beyond 64 bits."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, int):
        return max(-_LARGEST, min(value, _LARGEST))
    return value
