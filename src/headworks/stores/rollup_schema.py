"""Rollups: sums over the ledger's rows, so that reports need not read all of them.

They lie in a file of their own beside the ledger, are derived from it alone, and may be deleted at
any time: their writer makes them anew. `state` says how far they go: all rows up to `seq` are in
the sums but those of `open`, which were not closed when the writer passed them. So a report is the
sums, and the rows of `open`, and the rows after `seq`: exactly the sum of all rows, at any moment.
The row at `seq` is named with its call, so that sums never stand beside another ledger, and `chain`
says which row in the sums was closed last: should a power failure take that back, which is hashed
together with all that was closed before it, the sums are made anew. `quarters`
says where the rows of a quarter of an hour are, and `taken` which were followed by another attempt.

`sums` holds one row for each projection, length of time, block of time, and value of the
projection's axes. Where an axis may have very many values (users, tags) those of days are clustered
by value within 32 days: a list of users then reads them in order. Users have sums of such 32 days,
for long spans, and none of hours, which would be nearly as many as rows. What else is known of a user's calls, `part`, has few values beside
each.
"""

import os
import sqlite3
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import quote

import msgspec

from headworks.core.periods import DAY, HOUR, QUARTER
from headworks.core.pricing import NAMES, Price, Rates
from headworks.stores.ledger_schema import connect_read_only

AXES: Final[Mapping[str, str]] = {
    "model": "a.model_sent",
    "asked": "a.model_asked",
    "key": "a.key_name",
    "key_id": "a.key_id",
    "project": "a.project",
    "feature": "a.feature",
    "endpoint": "a.endpoint",
    "upstream": "a.upstream",
    "credential": "a.credential",
    "tier": "a.tier",
    "outcome": "coalesce(a.outcome, 'open')",
    "certainty": "coalesce(a.certainty, a.state)",
    "route": "a.upstream || '/' || a.model_sent",
    "user": "a.user",
    "session": "a.session",
    "tag": "coalesce(tag.value, '')",
}
"""What calls are told apart by, and how a row `a` of the ledger says it."""

WIDE: Final = tuple(AXES)[:12]
"""The axes that are also kept in all their combinations."""
WHENCE: Final = ("key", "key_id", "project", "feature", "model")
"""The axes that are kept beside users, and beside tags."""

SUMS: Final = (
    *("cost", "calls", "attempts", "input", "output", "cached", "written", "reasoning"),
    *("estimated", "waste", "saved", "answered", "unpriced"),
)
"""What is summed; see `rollup_facts`. The cost comes first: a row is read only as far as asked."""

FINE: Final = (DAY, HOUR, QUARTER)
_HOURS: Final = FINE[:2]
_PAIRS: Final = (("feature", "model"), ("project", "model"), ("key", "model"), ("route", "outcome"))
"""What is asked for so often that it is not put together from all combinations."""
_KEYS: Final = frozenset({"key", "key_id"})
"""Axes of perhaps thousands of values, which quarters of hours would hardly sum up."""
_MANY: Final = (("user",), ("tag",))
_PART_OF_DAY: Final = 6 * HOUR
_DAYS: Final = 32 * DAY


class Projection(NamedTuple):
    """Sums by some axes together.

    Attributes:
        number: What the file calls it; `number + 1` are its parts.
        of: By which axes; the value of several is a JSON array.
        parts: Those that may be told apart beside them.
        levels: The lengths of time for which sums are kept, in seconds, the longest first.
    """

    number: int
    of: tuple[str, ...]
    parts: tuple[str, ...] = ()
    levels: tuple[int, ...] = FINE

    @property
    def axes(self) -> tuple[str, ...]:
        """All its axes."""
        return self.of + self.parts

    def known(self, asked: Collection[str]) -> tuple[str, ...]:
        """Return those of some axes that it knows, as `of` and `parts` order them."""
        return tuple(axis for axis in self.axes if axis in asked)

    @property
    def is_clustered(self) -> bool:
        """Whether there may be very many values, whose sums lie together by value."""
        return self.of in _MANY

    def block(self, level: int) -> int:
        """Return the seconds that lie together, clustered by value."""
        if not self.is_clustered:
            return level
        return _DAYS if level >= DAY else DAY


PROJECTIONS: Final = (
    Projection(0, ()),
    *(
        Projection(number, (axis,), levels=_HOURS if axis in _KEYS else FINE)
        for number, axis in enumerate((*WIDE, "route"), 1)
    ),
    *(Projection(number, pair, levels=_HOURS) for number, pair in enumerate(_PAIRS, 14)),
    Projection(20, (*WIDE, "route"), levels=_HOURS),
    Projection(30, ("user",), levels=(_DAYS, DAY, _PART_OF_DAY)),
    Projection(32, ("user",), WHENCE, (DAY,)),
    Projection(40, ("tag",), ("model",), _HOURS),
    Projection(42, ("tag",), WHENCE, (DAY,)),
)
"""The smallest first: a report reads the first one that knows all its axes."""

VERSION: Final = 3
_SUM_COLUMNS = ", ".join(f"{name} INTEGER NOT NULL" for name in SUMS)
TABLES: Final = (
    "CREATE TABLE rollups.state (seq INTEGER NOT NULL, call TEXT, attempt INTEGER) STRICT",
    "INSERT INTO rollups.state VALUES (0, NULL, NULL)",
    "CREATE TABLE rollups.chain (seq INTEGER, link INTEGER PRIMARY KEY, chain BLOB) STRICT",
    "CREATE TABLE rollups.open (seq INTEGER PRIMARY KEY) STRICT",
    "CREATE TABLE rollups.taken (seq INTEGER PRIMARY KEY) STRICT",
    """
    CREATE TABLE rollups.quarters (
        start INTEGER PRIMARY KEY, first INTEGER NOT NULL, last INTEGER NOT NULL
    ) STRICT
    """,
    """
    CREATE TABLE rollups.names (
        id INTEGER PRIMARY KEY, projection INTEGER NOT NULL, text TEXT NOT NULL,
        UNIQUE (projection, text)
    ) STRICT
    """,
    f"""
    CREATE TABLE rollups.sums (
        projection INTEGER NOT NULL, level INTEGER NOT NULL, block INTEGER NOT NULL,
        value INTEGER NOT NULL, part INTEGER NOT NULL, start INTEGER NOT NULL, {_SUM_COLUMNS},
        PRIMARY KEY (projection, level, block, value, part, start)
    ) STRICT, WITHOUT ROWID
    """,
    f"PRAGMA rollups.user_version={VERSION}",
)
_RATES: Final = """
    CREATE TABLE temp.rates (
        version TEXT, tier TEXT, above INTEGER, most INTEGER, input INTEGER, output INTEGER,
        PRIMARY KEY (version, tier, above)
    ) WITHOUT ROWID
"""
_UNLINKED: Final = """
    SELECT 1 FROM rollups.chain AS c LEFT JOIN ledger.attempts AS a
        ON a.seq = c.seq AND a.link = c.link AND a.chain = c.chain
    WHERE a.seq IS NULL
"""
_NO_END: Final = 2**63 - 1


def rollups_path(ledger: Path) -> Path:
    """Return the place of a ledger's rollups: beside it."""
    return ledger.with_name(f"{ledger.stem}.rollups{ledger.suffix or '.db'}")


def connect(ledger: Path, rollups: Path | None, *, is_writer: bool = False) -> sqlite3.Connection:
    """Open a ledger for reading as `ledger`, and rollups beside it as `rollups`.

    Without `rollups` they are empty, and in a file that vanishes when it is closed.

    Raises:
        ConfigurationError: There is no readable ledger.
        sqlite3.Error: The rollups cannot be opened.
    """
    connect_read_only(ledger).close()
    if rollups is not None and is_writer:
        os.close(os.open(rollups, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    db = sqlite3.connect(
        "file::memory:", uri=True, isolation_level=None, timeout=5, check_same_thread=False
    )
    try:
        db.execute("ATTACH ? AS ledger", (_uri(ledger, "ro"),))
        mode = "rw" if is_writer else "ro"
        db.execute("ATTACH ? AS rollups", ("" if rollups is None else _uri(rollups, mode),))
        db.execute("PRAGMA temp_store=MEMORY")
        db.execute("PRAGMA automatic_index=OFF")
        db.execute(_RATES)
        if rollups is None or (is_writer and not _version(db)):
            _create(db)
    except BaseException:
        db.close()
        raise
    return db


def is_current(db: sqlite3.Connection) -> bool:
    """Return whether the rollups are of this version, and of the ledger that they lie beside."""
    if _version(db) != VERSION:
        return False
    seq, *row = db.execute("SELECT seq, call, attempt FROM rollups.state").fetchone()
    if not seq:
        return True
    found = db.execute("SELECT call, attempt FROM ledger.attempts WHERE seq = ?", (seq,)).fetchone()
    return found == tuple(row) and not db.execute(_UNLINKED).fetchall()


def load_rates(db: sqlite3.Connection) -> None:
    """Make `temp.rates`: what a million tokens cost at full price, by price, tier and size."""
    known = {version for (version,) in db.execute("SELECT DISTINCT version FROM temp.rates")}
    for version, numbers in db.execute("SELECT version, numbers FROM ledger.prices").fetchall():
        if version not in known:
            rows = [(version, *row) for row in _rates(numbers)]
            db.executemany("INSERT INTO temp.rates VALUES (?, ?, ?, ?, ?, ?)", rows)


def _rates(numbers: str) -> Iterator[tuple[str, int, int, int, int]]:
    try:
        price = msgspec.json.decode(numbers, type=Price)
    except msgspec.DecodeError:
        return
    bound = price.above if price.long else _NO_END
    for tier, rates in _spelled(price.tiers):
        yield tier, -1, bound, rates.input, rates.output
    for tier, rates in _spelled(price.long):
        yield tier, bound, _NO_END, rates.input, rates.output


def _spelled(tiers: Mapping[str, Rates]) -> Iterator[tuple[str, Rates]]:
    """Yield rates under every name that their tier goes by, as `pricing.cost` reads them."""
    default = tiers.get("default")
    for tier in {*tiers, *NAMES, "flex", "batch"}:
        rates = tiers.get(NAMES.get(tier, tier))
        if rates is None and NAMES.get(tier, tier) in {"flex", "batch"}:
            rates = default
        if rates is not None:
            yield tier, rates


def _create(db: sqlite3.Connection) -> None:
    db.execute("PRAGMA rollups.journal_mode=WAL")
    db.execute("PRAGMA rollups.synchronous=NORMAL")
    db.execute("BEGIN")
    for statement in TABLES:
        db.execute(statement)
    db.execute("COMMIT")


def _version(db: sqlite3.Connection) -> int:
    return int(db.execute("PRAGMA rollups.user_version").fetchone()[0])


def _uri(path: Path, mode: str) -> str:
    return f"file:{quote(str(path))}?mode={mode}"
