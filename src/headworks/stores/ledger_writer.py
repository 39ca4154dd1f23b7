"""Writes the ledger's rows: what is waiting goes into the file in one transaction, or stays waiting.

While the disk fails, what must not be lost is kept in memory, up to a bound, and written down in
the spool as well, where that is possible. With the first commit that succeeds all of it is booked,
in the order in which it happened, and the spool is removed.

A transaction takes and gives back six locks on the file, a system call each. Four of them are its
reading's, and are spared while another reading, the `view`, stays open from one transaction to the
next: somebody else has to end it from time to time, since the log cannot be shortened beyond it.
"""

import logging
import sqlite3
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import Final, TypeAlias

from headworks.ports import Clock
from headworks.stores.ledger_chain import WIDTH, Link, chained
from headworks.stores.ledger_file import LedgerFile
from headworks.stores.ledger_recovery import Mark, close_row, write_mark
from headworks.stores.ledger_rows import CLOSE, HOLD, NOTE_PRICE, Row, Value, seq_of, storable
from headworks.stores.ledger_spool import Record, Spool

_log = logging.getLogger("headworks.ledger")

Faults: TypeAlias = Mapping[int, sqlite3.Error]
"""Why rows were refused, by their number."""

MOST_OWED: Final = 100_000
"""Rows of each kind that are kept in memory while the disk fails."""
_MARK_EVERY: Final = 1000
_COMPLAIN_EVERY: Final = 60.0
_PATIENCE: Final = 50
"""Milliseconds to wait for somebody else's lock; none while it lasts, since calls wait meanwhile."""

_HOPELESS = (
    sqlite3.IntegrityError,
    sqlite3.InterfaceError,
    sqlite3.DataError,
    sqlite3.ProgrammingError,
)
"""What no second try will mend: the fault is in the row, or the file was closed."""

_UNSTORABLE = (UnicodeEncodeError, OverflowError)
"""What SQLite cannot hold as it is; see `storable`."""

_FIRST_OPEN = "SELECT seq FROM attempts WHERE seq >= ? AND state = 'held' ORDER BY seq LIMIT 1"
_KNOWN: Final = "SELECT 1 FROM attempts WHERE call = ? LIMIT 1"
_VIEW = "SELECT boot FROM boots"
_NEXT = "SELECT coalesce(max(seq), 0) + 1 FROM attempts"


_NO_FAULTS: Final[Faults] = MappingProxyType({})
_Insert: TypeAlias = Callable[[str, Collection[Row]], tuple[int, Faults]]
"""Writes rows; returns how many, and the faulty ones."""
_End: TypeAlias = tuple[int, int, bytes]
"""The end of the chain: its last row, and that row's link."""
_Close: TypeAlias = Callable[[Sequence[tuple[Row, Row]]], tuple[int, int, _End]]
"""Closes rows; returns how many, how many are given up, and the chain's end then."""
_Written: TypeAlias = tuple[int, int, Faults, int, int, _End]
"""How many rows were inserted and given up, the faulty ones, and what `_Close` returns."""


class _RowGone(Exception):
    """A row that is to be closed is not held in the file."""


class LedgerWriter:
    """The one writer of an open file.

    Attributes:
        keeps_view: Whether somebody calls `end_view` from time to time, so that a view may be kept.
        owed: Rows that are to be closed: what `HOLD` has written, and what became of them.
        late: Rows of attempts that were made while they could not be written.
        prices: Prices that are to be noted.
        rows: Attempts in the file.
        open: Held rows of this process.
        failures: Writes that the disk refused.
        duplicates: Rows that were to be closed and are not held.
        dropped: Rows that were given up.
    """

    def __init__(self, path: Path, clock: Clock, *, is_synced: bool = False) -> None:
        self._clock = clock
        self.file = file = LedgerFile(path, clock, is_synced=is_synced)
        self.db = file.db
        self.keeps_view = False
        self._view: sqlite3.Cursor | None = None
        self.owed: deque[tuple[Row, Row]] = deque()
        self.late: deque[Row] = deque()
        self.prices: list[Row] = []
        self.rows = file.rows
        self.open = self.failures = self.duplicates = self.dropped = 0
        self._done, self._end = file.mark.seq, _end(file.mark)
        self._marked = file.mark.link.number
        self._spool = Spool(path, is_synced=is_synced)
        self._spooled = [0, 0, 0]
        self._is_failing = self._is_closed = self._is_told = False
        self._complained = float("-inf")

    def commit(self, held: Collection[Row]) -> Faults:
        """Write these rows and all that waits in one transaction; return those that are faulty.

        Raises:
            sqlite3.Error: The disk failed, and nothing was changed.
        """
        try:
            try:
                faults = self._transact(held, self._insert, self._close)
            except (*_HOPELESS, *_UNSTORABLE, _RowGone):
                faults = self._transact(held, self._insert_singly, self._close_singly)
        except sqlite3.Error as error:
            if self.end_view():  # somebody else wrote, or stands in the way: wait without it
                return self.commit(held)
            self._fail(error)
            raise
        if self._is_failing:
            self._recover()
        if self._end[1] - self._marked >= _MARK_EVERY:
            self._move_mark()
        if self._view is None and self.keeps_view:
            with suppress(sqlite3.Error):  # the next one is tried then
                self._view = self.db.execute(_VIEW)
        return faults

    def knows(self, call: str) -> bool:
        """Return whether the file has a row of the call; True where it cannot be read now."""
        try:
            return self.db.execute(_KNOWN, (call,)).fetchone() is not None
        except sqlite3.Error:
            return True

    def owe(self, held: Row, outcome: Row) -> None:
        """Let a row be closed by the next commit."""
        self.owed.append((held, outcome))
        if len(self.owed) > MOST_OWED:
            self.owed.popleft()
            self.dropped += 1
            self._spooled[2] = max(0, self._spooled[2] - 1)

    def keep(self, row: Row) -> bool:
        """Let the row of an attempt that is made all the same be written later; False: no room."""
        if len(self.late) >= MOST_OWED:
            self.dropped += 1
            return False
        self.late.append(row)
        return True

    def spool(self) -> None:
        """Write down what is waiting, if the disk takes that at least."""
        prices, late, owed = self._spooled
        records = [
            *(Record("price", row) for row in self.prices[prices:]),
            *(Record("held", row) for row in islice(self.late, late, None)),
            *(
                Record("closed", (*held[:WIDTH], *rest))
                for held, rest in islice(self.owed, owed, None)
            ),
        ]
        if not records or self._is_closed:
            return
        try:
            self._spool.append(records)
        except OSError as error:
            _log.debug("%s", error)  # the ledger's own trouble has been told
        else:
            self._spooled = [len(self.prices), len(self.late), len(self.owed)]

    def end_view(self) -> bool:
        """End the view, so that the log may be shortened; return whether there was one."""
        view, self._view = self._view, None
        if view is not None:
            view.close()
        return view is not None

    def close(self) -> None:
        """Let go of the file; what is still waiting is given to the spool."""
        if self.late or self.owed:
            self.spool()
        self._is_closed = True
        self.end_view()
        self._spool.close()
        with suppress(sqlite3.Error):
            self._done = self._first_open()
        self.file.close(self._mark, is_settled=self.open == 0)

    @property
    def _mark(self) -> Mark:
        """How far all is done."""
        row, number, chain = self._end
        return Mark(self._done, row, Link(number, chain))

    def _transact(self, held: Collection[Row], insert: _Insert, close: _Close) -> Faults:
        if len(held) + len(self.owed) <= 1 and not (self.late or self.prices):
            return self._write_one(held, insert, close)
        db = self.db
        try:
            db.execute("BEGIN IMMEDIATE")
            written = self._write(held, insert, close)
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise
        inserted, lost, faults, closed, hopeless, self._end = written
        self.rows += inserted
        self.open += inserted - closed
        self.duplicates += len(self.owed) - hopeless - closed
        self.dropped += lost + hopeless
        self.owed.clear()
        self.late.clear()
        self.prices.clear()
        return faults

    def _write_one(self, held: Collection[Row], insert: _Insert, close: _Close) -> Faults:
        """Write the only row there is: a transaction by itself."""
        if held:
            inserted, faults = insert(HOLD, held)
            self.rows += inserted
            self.open += inserted
            return faults
        if self.owed:
            closed, hopeless, self._end = close(self.owed)
            self.open -= closed
            self.duplicates += 1 - hopeless - closed
            self.dropped += hopeless
            self.owed.clear()
        return _NO_FAULTS

    def _write(self, held: Collection[Row], insert: _Insert, close: _Close) -> _Written:
        late = inserted = lost = 0
        faults = _NO_FAULTS
        if self.prices:
            insert(NOTE_PRICE, self.prices)
        if self.late:
            late, faulty = insert(HOLD, self.late)
            lost = len(faulty)
        if held:
            inserted, faults = insert(HOLD, held)
        closed, hopeless, end = close(self.owed) if self.owed else (0, 0, self._end)
        return late + inserted, lost, faults, closed, hopeless, end

    def _insert(self, statement: str, rows: Collection[Row]) -> tuple[int, Faults]:
        """Write rows at once; raises whatever is wrong with any of them."""
        return self.db.executemany(statement, rows).rowcount, _NO_FAULTS

    def _insert_singly(self, statement: str, rows: Collection[Row]) -> tuple[int, Faults]:
        """Write rows as SQLite can hold them, all but those that are faulty by themselves."""
        changed, faults = 0, dict[int, sqlite3.Error]()
        for number, row in enumerate(rows):
            try:
                changed += self.db.execute(statement, tuple(map(storable, row))).rowcount
            except _HOPELESS as error:
                self._complain(error)
                faults[number] = error
        return changed, faults

    def _close(self, owed: Sequence[tuple[Row, Row]]) -> tuple[int, int, _End]:
        """Close rows at once; raises whatever is wrong with any of them."""
        held = owed[0][0]
        _, number, chain = self._end
        rows: list[tuple[Value | bytearray, ...]] = []
        for held, outcome in owed:
            number += 1
            chain = chained(chain, held, outcome)
            rows.append((*outcome, number, bytearray(chain), held[0]))  # bytes take sqlite3 longer
        if self.db.executemany(CLOSE, rows).rowcount < len(rows):
            raise _RowGone
        return len(rows), 0, (seq_of(held), number, chain)

    def _close_singly(self, owed: Sequence[tuple[Row, Row]]) -> tuple[int, int, _End]:
        """Close rows as SQLite can hold them, all but those that are faulty or not held."""
        mark, hopeless = self._mark, 0
        begin = mark.link.number
        for held, outcome in owed:
            identity, rest = tuple(map(storable, held)), tuple(map(storable, outcome))
            try:
                mark = close_row(self.db, mark, identity, rest)
            except _HOPELESS as error:
                self._complain(error)
                hopeless += 1
        return mark.link.number - begin, hopeless, _end(mark)

    def _move_mark(self) -> None:
        """Note how far all is done, so that a start after a crash need not look further back."""
        self._marked = self._end[1]
        with suppress(sqlite3.Error):  # then the next one is noted
            self._done = self._first_open()
            write_mark(self.db, self.file.boot, self._mark)

    def _first_open(self) -> int:
        """Return the first row that is not closed, or the one that comes next."""
        found = self.db.execute(_FIRST_OPEN, (self._done,)).fetchone()
        seq: int = (found or self.db.execute(_NEXT).fetchone())[0]
        return seq

    def _fail(self, error: sqlite3.Error) -> None:
        self._complain(error)
        if not self._is_failing:
            self._is_failing = True
            with suppress(sqlite3.Error):
                self.db.execute("PRAGMA busy_timeout=0")

    def _recover(self) -> None:
        self._is_failing = False
        self._spooled = [0, 0, 0]
        self._spool.clear()
        self.db.execute(f"PRAGMA busy_timeout={_PATIENCE}")
        if self._is_told:
            self._is_told = False
            _log.warning("the ledger %s can be written again", self.file.path)

    def _complain(self, error: sqlite3.Error) -> None:
        self.failures += 1
        now = self._clock.now()
        if now - self._complained >= _COMPLAIN_EVERY:
            self._complained, self._is_told = now, True
            _log.error("the ledger %s cannot be written: %s", self.file.path, error)


def _end(mark: Mark) -> _End:
    return mark.row, mark.link.number, mark.link.chain
