"""Walks through a ledger's chain, and names the rows where it breaks."""

import sqlite3
from collections.abc import Iterator
from typing import Final

from headworks.stores.ledger_chain import Link, LinkedRow, linked_rows

_WITH_CHAIN: Final = 2
"""The schema that has one."""
_MARKS: Final = """
    SELECT boot, first_seq, mark_link, mark_chain FROM boots
    WHERE mark_link IS NOT NULL ORDER BY boot
"""
_UNLINKED: Final = """
    SELECT seq FROM attempts
    WHERE state != 'held' AND (link IS NULL OR chain IS NULL) AND seq >= ? ORDER BY seq
"""
_LINKED_TOO_EARLY: Final = "SELECT seq FROM attempts WHERE state = 'held' AND link IS NOT NULL"


class Chain:
    """A ledger's chain, as of one moment.

    Attributes:
        begin: The first row that was begun when there was one; None if there never was.
        end: The last link that was seen.
    """

    def __init__(self, db: sqlite3.Connection, head: str = "") -> None:
        self._db = db
        self._head = head
        self.end = Link()
        self.begin: int | None = None
        self._marks: dict[int, list[tuple[str, bytes]]] = {}
        if db.execute("PRAGMA user_version").fetchone()[0] >= _WITH_CHAIN:
            for boot, first, number, chain in db.execute(_MARKS):
                self.begin = first if self.begin is None else self.begin
                if number:
                    self._marks[number] = [(f"run {boot} of a gateway noted", chain)]

    def faults(self) -> Iterator[str]:
        """Yield what is wrong with the chain, one sentence each."""
        if not self._note_head():
            yield f"{self._head!r} is no head of a chain: it looks like 1234:9f86d0…"
        if self.begin is not None:
            yield from self._breaks()
        for number, marks in sorted(self._marks.items()):
            for who, _ in marks:
                yield (
                    f"the chain ends with link {self.end.number}, but {who} a link {number}: "
                    "what was closed last was removed"
                )
        if self.begin is None:
            return
        for (seq,) in self._db.execute(_UNLINKED, (self.begin,)):
            yield f"row {seq}: it is closed, but not in the chain: it was added, or its link removed"
        for (seq,) in self._db.execute(_LINKED_TOO_EARLY):
            yield f"row {seq}: it is in the chain, but open again"

    def _breaks(self) -> Iterator[str]:
        at, name = Link(), "the beginning"
        for row in linked_rows(self._db):
            number = row.link.number
            if number == at.number:
                yield f"row {row.seq} was added: {name} has its place in the chain"
            elif number != at.number + 1:
                yield (
                    f"row {row.seq}: the chain breaks here: {number - at.number - 1} rows that "
                    f"were closed between {name} and it are missing"
                )
            elif not row.follows(at):
                yield f"row {row.seq}: the chain breaks here: it, or its place, was changed"
            yield from self._compare(row)
            at, name = row.link, f"row {row.seq}"
            self.end = at

    def _compare(self, row: LinkedRow) -> Iterator[str]:
        """Compare a row with what was noted when it was the last one."""
        for who, chain in self._marks.pop(row.link.number, ()):
            if chain != row.link.chain:
                yield (
                    f"row {row.seq}: link {row.link.number} is {row.link.chain.hex()[:12]}…, but "
                    f"{who} {chain.hex()[:12]}…: this row or one before it was changed"
                )

    def _note_head(self) -> bool:
        """Remember the head that was asked for; return whether it can be one."""
        if not self._head:
            return True
        number, _, chain = self._head.partition(":")
        try:
            at, mark = int(number), bytes.fromhex(chain)
        except ValueError:
            return False
        if at < 1 or len(mark) != len(Link().chain):
            return False
        self._marks.setdefault(at, []).append(("the given head says", mark))
        return True
