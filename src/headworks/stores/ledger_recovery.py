"""Brings a ledger that was opened up to date: what is spooled is booked, no row stays open."""

import sqlite3
from collections.abc import Iterable
from typing import Final, NamedTuple

from headworks.stores.ledger_chain import (
    IDENTITY_SQL,
    OUTCOME,
    WIDTH,
    Link,
    broken_pairs,
    linked_rows,
)
from headworks.stores.ledger_rows import CLOSE, HOLD, NOTE_PRICE, Row, seq_of
from headworks.stores.ledger_spool import Record

_LOOK_BACK: Final = 1000
"""Rows that are compared with the chain at each start: some five milliseconds."""

_COUNTS: Final = ", ".join((*OUTCOME[4:11], "estimate_nano", "coalesce(anomalies, '')"))
_OPEN: Final = f"""
    SELECT {IDENTITY_SQL}, {_COUNTS} FROM attempts
    WHERE state = 'held' AND seq >= ? ORDER BY seq
"""  # noqa: S608 - made of constants
_HOLD_ONCE: Final = HOLD.replace("INSERT", "INSERT OR IGNORE", 1)
_MARK: Final = """
    UPDATE boots SET mark_seq = ?, mark_row = ?, mark_link = ?, mark_chain = ? WHERE boot = ?
"""


class Mark(NamedTuple):
    """How far all is done: rows below `seq` are closed, and the chain has come to a row's link."""

    seq: int = 0
    row: int = 0
    link: Link = Link()


def last_mark(db: sqlite3.Connection) -> Mark:
    """Return the mark of the run before this one; before there were any, its beginning."""
    found = db.execute(
        "SELECT coalesce(mark_seq, first_seq), mark_row, mark_link, mark_chain FROM boots"
        " ORDER BY boot DESC LIMIT 1"
    ).fetchone()
    if found is None or found[2] is None:
        return Mark(0 if found is None else found[0])
    return Mark(found[0], found[1], Link(found[2], found[3]))


def write_mark(db: sqlite3.Connection, boot: int, mark: Mark) -> None:
    """Move the mark of a run on."""
    db.execute(_MARK, (mark.seq, mark.row, *mark.link, boot))


def chain_end(db: sqlite3.Connection, mark: Mark, rows: int) -> tuple[Mark, list[int]]:
    """Return the mark with the chain's last link, and those of the last rows that do not fit."""
    last = list(linked_rows(db, min(mark.seq, rows - _LOOK_BACK)))
    broken = [row.seq for row in broken_pairs(last, mark.link)]
    if mark.row:
        noted = db.execute("SELECT link, chain FROM attempts WHERE seq = ?", (mark.row,)).fetchone()
        if noted != tuple(mark.link) and mark.row not in broken:
            broken.append(mark.row)
    if last and last[-1].link.number > mark.link.number:
        return Mark(mark.seq, last[-1].seq, last[-1].link), broken
    return mark, broken


def close_row(db: sqlite3.Connection, mark: Mark, identity: Row, outcome: Row) -> Mark:
    """Close a row that is held and link it; return the mark with the chain's last link."""
    link, seq = mark.link.next(identity, outcome), seq_of(identity)
    is_closed = db.execute(CLOSE, (*outcome, *link, seq)).rowcount
    return Mark(mark.seq, seq, link) if is_closed else mark


def book_spooled(db: sqlite3.Connection, mark: Mark, records: Iterable[Record]) -> Mark:
    """Book what a spool says, all but what is booked; return the mark as `close_row` does."""
    for kind, row in records:
        if kind == "price":
            db.execute(NOTE_PRICE, row)
        elif kind == "held":
            db.execute(_HOLD_ONCE, row)
        else:
            mark = close_row(db, mark, row[:WIDTH], row[WIDTH:])
    return mark


def settle_open(db: sqlite3.Connection, mark: Mark, now: int) -> tuple[Mark, int]:
    """Settle what is open from the mark on at its estimate; return the mark, and the count."""
    rows = db.execute(_OPEN, (mark.seq,)).fetchall()
    for row in rows:
        *counts, estimate, odd = row[WIDTH:]
        outcome = ("settled", "unknown", "recovered", now, *counts, estimate, odd)
        mark = close_row(db, mark, row[:WIDTH], outcome)
    return mark, len(rows)
