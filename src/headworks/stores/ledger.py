"""Money: one durable row per attempt, in a SQLite file of its own.

Theory. An attempt costs money from its first byte on, whether or not we live to see its answer. So
its row is committed as `held`, at what it may cost, before that byte leaves, and is updated once,
to `settled` or `released`, before the caller gets the last byte of the answer. A process that dies
in between leaves a held row, which the next start settles at its estimate: never lost, never free.

What one turn of the event loop wants to write is one transaction, on the loop's own thread: `hold`
and `written` wait for its commit, and calls that arrive together pay for one commit together. While
no other attempt is under way nobody could share it, and the row is written without a wait. A commit
survives kill -9, but not a power cut: see `ledger_durable`. Checkpoints, the one slow part, run in
a thread of their own and share `_turn` with us (see `checkpoint`). Nobody else writes the file;
reports read it. Without a running loop each write is committed at once.

When the disk fails, `hold` refuses, so that nothing is spent that cannot be booked, but for callers
whose keys say that they go on. Their rows and all settlements, which cannot refuse, are kept and
written as soon as that is possible (see `ledger_writer`).
"""

import asyncio
import sqlite3
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar, Final, Protocol, TypeAlias

import msgspec

from headworks.core.cost_bound import Quote, expected, is_priced
from headworks.core.pricing import ModelUnpriced, Price
from headworks.errors import LedgerUnavailable
from headworks.ports import Clock
from headworks.stores.checkpoint import Checkpointer
from headworks.stores.ledger_attempt import Attempt
from headworks.stores.ledger_damage import Damage
from headworks.stores.ledger_rows import Row, held_row, is_refused
from headworks.stores.ledger_schema import ledger_path
from headworks.stores.ledger_writer import LedgerWriter
from headworks.stores.rollups import RollupWriter
from headworks.types import Call, Route, Usage

__all__ = ["Attempt", "PriceBook", "SqliteLedger", "Statistics", "ledger_path"]

_Waiter = asyncio.Future[bool] | Future[bool]
"""Told when a row is on disk; False when it will never be."""

_Waiting: TypeAlias = list[tuple[_Waiter, Call]]
Batch: TypeAlias = tuple[list[Row], _Waiting, list[asyncio.Future[None]]]
"""Rows for one commit, those who wait for them, and those who wait for the commit."""
_Verdict: TypeAlias = tuple[sqlite3.Error | None, bool]
Verdicts: TypeAlias = Mapping[int, _Verdict]
"""What was wrong with rows, by their number, and whether they are booked; others are well."""
_WELL: Final[_Verdict] = (None, True)
_ALL_WELL: Final[Verdicts] = MappingProxyType({})

_TRY_AGAIN = 1.0
"""Seconds after which what is owed is tried again, if no row comes before."""


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
        late: Attempts that were made though their rows could not be written, which wait likewise.
        dropped: Settlements given up, whose rows are settled at the estimate by the next start, and
            attempts that will be in no row.
        damage: What was found to be damaged at the start.
    """

    rows: int
    open_holds: int
    failures: int
    duplicates: int
    recovered: int
    owed: int
    late: int
    dropped: int
    damage: Damage


class SqliteLedger:
    """Writes the ledger. Fulfils `ports.Ledger`; may be used from any one thread at a time.

    `prices` may be replaced at any time: attempts under way keep the price they began with.

    Raises:
        ConfigurationError: Another process has the file, or it cannot be opened.
    """

    _survives_power_cut: ClassVar[bool] = False

    def __init__(
        self, path: Path, prices: PriceBook, clock: Clock, *, checkpointing: bool = True
    ) -> None:
        self.path = path
        self.prices = prices
        self._time = clock.time
        self._writer = LedgerWriter(path, clock, is_synced=self._survives_power_cut)
        self._boot = self._writer.file.boot
        self._turn = threading.Lock()
        self._noted: set[str] = set()
        self._noting: list[Row] = []  # prices
        self._rows: list[Row] = []
        self._waiting: _Waiting = []  # for these rows
        self._readers: list[asyncio.Future[None]] = []
        self._due: asyncio.AbstractEventLoop | None = None
        self._again: asyncio.TimerHandle | None = None
        self._last_seq = self._writer.rows
        self._duplicates = 0
        self._is_closed = False
        self._writer.keeps_view = checkpointing
        self._beside = (
            (
                Checkpointer(path, self._turn, self._writer.end_view),
                RollupWriter(path, clock),
            )
            if checkpointing
            else ()
        )
        for thread in self._beside:
            thread.start()

    async def hold(
        self, call: Call, route: Route, estimate: Usage, quote: Quote | None = None
    ) -> Attempt:
        """Write the attempt's row, or raise `LedgerUnavailable`. See `ports.Ledger`.

        Whoever has asked what the estimate costs, at these `prices`, may pass that on.
        """
        attempt, row = self._prepared(call, route, estimate, quote)
        due = self._due
        loop = due or asyncio.get_running_loop()
        committed = loop.create_future()
        self._rows.append(row)
        self._waiting.append((committed, call))
        if due is None:
            if self._writer.open:
                self._due = loop
                loop.call_soon(self._flush)
            else:  # nobody is under way who might share the commit
                self._flush()
        try:
            attempt.is_booked = await committed
        except asyncio.CancelledError:
            attempt.release("abandoned")
            raise
        return attempt

    def hold_now(self, call: Call, route: Route, estimate: Usage) -> Attempt:
        """Do as `hold` does, without waiting for others' rows and without a loop."""
        attempt, row = self._prepared(call, route, estimate)
        committed = Future[bool]()
        self._rows.append(row)
        self._waiting.append((committed, call))
        self.flush()
        attempt.is_booked = committed.result()
        return attempt

    def knows(self, call: str) -> bool:
        """Return whether the call has a row. See `ports.Ledger`."""
        return self._writer.knows(call)

    async def written(self) -> None:
        """Wait until everything that was settled so far is on disk. See `ports.Ledger`."""
        if self._due is not None:
            committed = self._due.create_future()
            self._readers.append(committed)
            await committed

    def flush(self) -> None:
        """Write at once what waits for the loop's next turn."""
        self._flush()

    def close_row(self, held: Row, outcome: Row) -> None:
        """Write what became of a held row. Never raises."""
        self._writer.owe(held, outcome)
        if self._due is None:
            if self._writer.open > 1:
                self._flush_soon()
            else:
                self._flush()

    def note_duplicate(self) -> None:
        """Count a settlement that came a second time."""
        self._duplicates += 1

    def now(self) -> int:
        """Return nanoseconds since 1970."""
        return int(self._time() * 1e9)

    def statistics(self) -> Statistics:
        """Return what happened so far."""
        writer = self._writer
        return Statistics(
            rows=writer.rows,
            open_holds=writer.open,
            failures=writer.failures,
            duplicates=self._duplicates + writer.duplicates,
            recovered=writer.file.recovered,
            owed=len(writer.owed),
            late=len(writer.late),
            dropped=writer.dropped,
            damage=writer.file.damage,
        )

    def close(self) -> None:
        """Write what is owed, checkpoint, let go of the file. Idempotent."""
        if self._is_closed:
            return
        self._is_closed = True
        for thread in self._beside:
            thread.stop()
        self.flush()
        with self._turn:
            self._writer.close()

    def _prepared(
        self, call: Call, route: Route, estimate: Usage, quote: Quote | None = None
    ) -> tuple[Attempt, Row]:
        if quote is None:
            price = self.prices.price(route.model) if is_priced(call.request) else None
            quote = expected(call.request, price, estimate)
        price, estimate, cost = quote
        if cost is None and is_refused(call):
            raise ModelUnpriced(
                f"The price of {route.model[:128]!r} is not known, and the key may not use a model "
                "without one.",
                param="model",
            )
        if price is not None and price.version not in self._noted:
            numbers = msgspec.json.encode(price).decode()
            self._noting.append((price.version, route.model, numbers))
            self._noted.add(price.version)
        seq = self._last_seq = self._last_seq + 1
        opened = seq, self._boot, self.now()
        row = held_row(call, route, estimate, price, cost, opened)
        return Attempt(self, row, price), row

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
        batch = self._take()
        self._tell_all(batch, self._commit(batch))

    def _take(self) -> Batch:
        """Return what is waiting, which from now on waits no more."""
        self._due = None
        if self._again is not None:
            self._again.cancel()
            self._again = None
        if self._noting:
            self._writer.prices += self._noting
            self._noting = []
        batch = self._rows, self._waiting, self._readers
        self._rows, self._waiting, self._readers = [], [], []
        return batch

    def _commit(self, batch: Batch) -> Verdicts:
        """Write rows, or keep those whose callers go on while the disk fails."""
        rows, waiting, _ = batch
        try:
            with self._turn:
                faults = self._writer.commit(rows)
        except sqlite3.Error as error:
            return self._kept(rows, waiting, error)
        return {at: (fault, True) for at, fault in faults.items()} if faults else _ALL_WELL

    def _kept(self, rows: Sequence[Row], waiting: _Waiting, error: sqlite3.Error) -> Verdicts:
        """Keep the rows of those who go on, and write down what is owed."""
        verdicts = dict[int, _Verdict]()
        for at, (row, (_, call)) in enumerate(zip(rows, waiting, strict=True)):
            goes_on = _goes_on(call) and not self._is_closed
            verdicts[at] = (None, self._writer.keep(row)) if goes_on else (error, False)
        self._writer.spool()
        return verdicts

    def _tell_all(self, batch: Batch, verdicts: Verdicts) -> None:
        """Tell those who wait what became of their rows, and try again what is still owed."""
        _, waiting, readers = batch
        if verdicts:
            for at, (committed, _) in enumerate(waiting):
                _tell(committed, verdicts.get(at, _WELL))
        else:
            for committed, _ in waiting:
                if not committed.cancelled():
                    committed.set_result(True)
        for reader in readers:
            if not reader.cancelled():
                reader.set_result(None)
        if (self._writer.owed or self._writer.late) and not self._is_closed:
            with suppress(RuntimeError):  # without a loop the next row tries again
                loop = asyncio.get_running_loop()
                self._again = loop.call_later(_TRY_AGAIN, self._flush)


def _tell(committed: _Waiter, verdict: _Verdict) -> None:
    error, is_booked = verdict
    if committed.cancelled():
        return
    if error is None:
        committed.set_result(is_booked)
    else:
        committed.set_exception(_unavailable(error))


def _goes_on(call: Call) -> bool:
    return call.caller is not None and call.caller.on_ledger_failure == "continue"


def _unavailable(error: sqlite3.Error) -> LedgerUnavailable:
    refusal = LedgerUnavailable(
        "The ledger cannot be written, so nothing that costs money is sent.", retry_after=1.0
    )
    refusal.__cause__ = error
    return refusal
