"""The ledger's chain: whoever changes, removes, adds or reorders closed rows breaks it.

Rows are linked in the order in which they were closed, which is not that of their `seq`. A row's
`chain` is SHA-256 over the link before it and a JSON array of the row's columns, those of
`LINKED`: 32 zero bytes come before the first one. The chain has no key: who can write the file can
also forge all of it from some row on, but not so that the heads still fit that were noted
elsewhere: in `boots`, in the log when a gateway ends, in what `headworks ledger verify` has shown.
"""

import sqlite3
from collections.abc import Iterable, Iterator
from functools import partial
from hashlib import sha256
from typing import Final, NamedTuple

import msgspec

from headworks.stores.ledger_rows import Row

IDENTITY: Final = (
    *("seq", "call", "attempt", "boot", "held_at", "key_id", "key_name", "project", "feature"),
    *("user", "session", "tags", "endpoint", "upstream", "credential", "model_asked"),
    *("model_sent", "stream", "estimate_nano", "price_version"),
)
"""What a row says from its beginning to its end; the first values of `HOLD`."""

OUTCOME: Final = (
    *("state", "certainty", "outcome", "settled_at", "input", "output", "cached", "written"),
    *("written_12h", "reasoning", "tier", "cost_nano", "anomalies"),
)
"""What a row says once it is closed; the first values of `CLOSE`."""

_NULLS: Final = frozenset({"tags", "anomalies"})
LINKED: Final = ", ".join(
    f"coalesce({name}, '')" if name in _NULLS else name for name in (*IDENTITY, *OUTCOME)
)
"""The columns that are chained, as SQL; what is seldom there counts as an empty text."""

IDENTITY_SQL: Final = ", ".join(
    f"coalesce({name}, '')" if name in _NULLS else name for name in IDENTITY
)
WIDTH: Final = len(IDENTITY)

LENIENT: Final = partial(str, encoding="utf-8", errors="replace")
"""Reads texts of a damaged file, for `Connection.text_factory`: what was no text has another link."""

_encode = msgspec.json.Encoder().encode


class Link(NamedTuple):
    """A place in the chain: how many links there are up to it, and the last one."""

    number: int = 0
    chain: bytes = bytes(32)

    def next(self, identity: Row, outcome: Row) -> "Link":
        """Return the link of a row that is closed now; more of `identity` than it is, is cut.

        Raises:
            UnicodeEncodeError: A text holds what UTF-8 cannot say.
        """
        return Link(self.number + 1, chained(self.chain, identity, outcome))

    @property
    def spelled(self) -> str:
        """The link as people compare it."""
        return f"{self.number}:{self.chain.hex()}"


def chained(before: bytes, identity: Row, outcome: Row) -> bytes:
    """Return what follows a link in the chain; see `Link.next`."""
    return sha256(before + _encode(identity[:WIDTH] + outcome)).digest()


class LinkedRow(NamedTuple):
    """A row as the chain sees it."""

    seq: int
    link: Link
    values: Row

    def follows(self, before: Link) -> bool:
        """Return whether the row is as it was when it was linked to that link."""
        return before.next(self.values[:WIDTH], self.values[WIDTH:]) == self.link


def linked_rows(db: sqlite3.Connection, first: int = 0) -> Iterator[LinkedRow]:
    """Yield the chained rows from a `seq` on, in the order of the chain."""
    # The inner query sorts numbers alone: whole rows would fill the disk with their sorting. Its
    # LIMIT keeps SQLite from leaving its ORDER BY out.
    rows = db.execute(
        f"""
        SELECT attempts.link, chain, {LINKED}
        FROM (SELECT seq AS at, link FROM attempts
              WHERE seq >= ? AND link IS NOT NULL ORDER BY link LIMIT -1) AS places
        CROSS JOIN attempts ON attempts.seq = places.at
        """,  # noqa: S608 - made of the constants above
        (first,),
    )
    for number, chain, *values in rows:
        yield LinkedRow(values[0], Link(number, bytes(chain or b"")), tuple(values))


def broken_pairs(rows: Iterable[LinkedRow], mark: Link) -> Iterator[LinkedRow]:
    """Yield the rows of a part of the chain that do not follow the one before, if that is there."""
    at: Link | None = None
    for row in rows:
        is_next = at is not None and row.link.number == at.number + 1
        is_wrong = row.link.number == mark.number and row.link != mark
        if is_wrong or (is_next and at is not None and not row.follows(at)):
            yield row
        at = row.link
