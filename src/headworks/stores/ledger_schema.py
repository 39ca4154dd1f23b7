"""The ledger's file: where it lies, what its tables hold, and how it grows up.

One row of `attempts` is one attempt at an upstream. It is inserted as `held` before the first
byte leaves and updated once, to `settled` or `released`:

* held: the counts and `estimate_nano` are what the attempt may use.
* settled: the counts and `cost_nano` are what it used; `certainty` says how we know.
* released: it was never sent; it cost nothing.

A row that is closed gets its place in the chain (`link`, `chain`: see `ledger_chain`); rows that
were closed before there was one have none. A row of `boots` is one run of a gateway, with a mark
that it moves on from time to time: all rows below `mark_seq` are closed, and the chain had come to
`mark_link`, which is the row `mark_row`.

`cost_nano` of a settled row is NULL when the price was unknown. Pages are small, because a
commit writes whole pages. There is no index but the one that keeps attempts unique: each further
one would cost every call a tenth more, and reports can scan. There are no CHECKs either, which
would cost a quarter more: `headworks ledger verify` makes them.
"""

import sqlite3
from pathlib import Path
from urllib.parse import quote

from headworks.errors import ConfigurationError

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """
        CREATE TABLE boots (
            boot INTEGER PRIMARY KEY,
            opened_at INTEGER NOT NULL,
            pid INTEGER NOT NULL,
            first_seq INTEGER NOT NULL,
            closed_at INTEGER,
            recovered INTEGER NOT NULL DEFAULT 0
        ) STRICT
        """,
        """
        CREATE TABLE prices (
            version TEXT PRIMARY KEY,
            model TEXT NOT NULL,
            numbers TEXT NOT NULL
        ) STRICT
        """,
        """
        CREATE TABLE attempts (
            seq INTEGER PRIMARY KEY,
            call TEXT NOT NULL,
            attempt INTEGER NOT NULL,
            boot INTEGER NOT NULL,
            state TEXT NOT NULL,
            certainty TEXT,
            outcome TEXT,
            held_at INTEGER NOT NULL,
            settled_at INTEGER,
            key_id TEXT NOT NULL,
            key_name TEXT NOT NULL,
            project TEXT NOT NULL,
            feature TEXT NOT NULL,
            user TEXT NOT NULL,
            session TEXT NOT NULL,
            tags TEXT,
            endpoint TEXT NOT NULL,
            upstream TEXT NOT NULL,
            credential TEXT NOT NULL,
            model_asked TEXT NOT NULL,
            model_sent TEXT NOT NULL,
            stream INTEGER NOT NULL,
            estimate_nano INTEGER,
            price_version TEXT,
            input INTEGER NOT NULL,
            output INTEGER NOT NULL,
            cached INTEGER NOT NULL,
            written INTEGER NOT NULL,
            written_12h INTEGER NOT NULL,
            reasoning INTEGER NOT NULL,
            tier TEXT NOT NULL,
            cost_nano INTEGER,
            anomalies TEXT,
            UNIQUE (call, attempt)
        ) STRICT
        """,
    ),
    (
        "ALTER TABLE attempts ADD COLUMN link INTEGER",
        "ALTER TABLE attempts ADD COLUMN chain BLOB",
        "ALTER TABLE boots ADD COLUMN mark_seq INTEGER",
        "ALTER TABLE boots ADD COLUMN mark_row INTEGER",
        "ALTER TABLE boots ADD COLUMN mark_link INTEGER",
        "ALTER TABLE boots ADD COLUMN mark_chain BLOB",
    ),
)
"""What leads from each version of the schema to the next; never edited, only appended to."""

PAGE_SIZE = 1024


def ledger_path(store: str | Path) -> Path:
    """Return the ledger's place: beside a store such as `sqlite:headworks.db`, or a plain path.

    Raises:
        ConfigurationError: The store is no SQLite file.
    """
    path = Path(str(store).removeprefix("sqlite:"))
    if "://" in str(store) or str(store).startswith("sqlite::") or not path.name:
        raise ConfigurationError([f"store: {str(store)!r} is not of the form sqlite:path/to/file"])
    return path.with_name(f"{path.stem}.ledger{path.suffix or '.db'}")


def connect_read_only(path: Path) -> sqlite3.Connection:
    """Open a ledger for reports; a gateway that is writing it is not disturbed.

    Raises:
        ConfigurationError: There is no readable ledger, or it is newer than this program.
    """
    if not path.exists():
        raise ConfigurationError([f"{path}: there is no ledger here"])
    db = sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=5)
    try:
        refuse_newer(db, path)
    except sqlite3.Error as error:
        db.close()
        raise ConfigurationError([f"{path}: the ledger cannot be read: {error}"]) from None
    except ConfigurationError:
        db.close()
        raise
    return db


def refuse_newer(db: sqlite3.Connection, path: Path) -> int:
    """Return the file's schema version.

    Raises:
        ConfigurationError: A newer headworks wrote the file.
    """
    version: int = db.execute("PRAGMA user_version").fetchone()[0]
    if version > len(MIGRATIONS):
        problem = (
            f"{path}: this ledger was written by a newer headworks (schema {version}, "
            f"this program knows up to {len(MIGRATIONS)}); run that version or newer"
        )
        raise ConfigurationError([problem])
    return version


def migrate(db: sqlite3.Connection, path: Path) -> None:
    """Bring the file to the newest schema, all or nothing.

    Raises:
        ConfigurationError: A newer headworks wrote the file.
    """
    version = refuse_newer(db, path)
    if version == len(MIGRATIONS):
        return
    db.execute("BEGIN IMMEDIATE")
    try:
        for statement in (line for step in MIGRATIONS[version:] for line in step):
            db.execute(statement)
        db.execute(f"PRAGMA user_version={len(MIGRATIONS)}")
    except BaseException:
        db.execute("ROLLBACK")
        raise
    db.execute("COMMIT")
