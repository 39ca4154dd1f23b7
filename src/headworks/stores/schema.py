"""The tables of the store, and how an older file becomes a newer one."""

import os
import sqlite3
from contextlib import suppress
from pathlib import Path
from typing import Final

APPLICATION_ID: Final = 0x68656164
"""Marks the file as ours ("head"): see `PRAGMA application_id`."""

MIGRATIONS: Final[tuple[tuple[str, ...], ...]] = (
    (
        f"PRAGMA application_id = {APPLICATION_ID}",
        """
        CREATE TABLE keys (
            id TEXT PRIMARY KEY,
            origin TEXT NOT NULL,
            name TEXT NOT NULL,
            digest BLOB NOT NULL CHECK (length(digest) = 32),
            project TEXT NOT NULL,
            models TEXT,
            rpm INTEGER,
            parallel INTEGER,
            created REAL NOT NULL,
            expires REAL,
            revoked_at REAL,
            replaced_by TEXT REFERENCES keys (id) DEFERRABLE INITIALLY DEFERRED
        ) STRICT, WITHOUT ROWID
        """,
        """
        CREATE UNIQUE INDEX keys_current ON keys (name)
        WHERE revoked_at IS NULL AND replaced_by IS NULL
        """,
        "CREATE INDEX keys_origin ON keys (origin)",
        # One row: whose pepper hashed the digests, and a number that grows with every change of a
        # key, by whomever, so that a reader knows in microseconds whether to read again.
        """
        CREATE TABLE keys_state (
            one INTEGER PRIMARY KEY CHECK (one = 1),
            revision INTEGER NOT NULL,
            pepper BLOB
        ) STRICT
        """,
        "INSERT INTO keys_state (one, revision) VALUES (1, 0)",
        *(
            f"""
            CREATE TRIGGER keys_{change.lower()} AFTER {change} ON keys BEGIN
                UPDATE keys_state SET revision = revision + 1;
            END
            """  # noqa: S608 - made of constants
            for change in ("INSERT", "UPDATE", "DELETE")
        ),
    ),
    (
        """
        ALTER TABLE keys ADD COLUMN on_disconnect TEXT NOT NULL DEFAULT 'cancel'
        CHECK (on_disconnect IN ('cancel', 'drain'))
        """,
    ),
    (
        """
        ALTER TABLE keys ADD COLUMN on_ledger_failure TEXT NOT NULL DEFAULT 'refuse'
        CHECK (on_ledger_failure IN ('refuse', 'continue'))
        """,
        """
        ALTER TABLE keys ADD COLUMN unpriced TEXT NOT NULL DEFAULT 'flag'
        CHECK (unpriced IN ('refuse', 'flag'))
        """,
        # What there is beside `rpm` and `parallel`, as JSON.
        "ALTER TABLE keys ADD COLUMN limits TEXT",
    ),
    (
        """
        ALTER TABLE keys ADD COLUMN priority TEXT NOT NULL DEFAULT 'interactive'
        CHECK (priority IN ('interactive', 'background', 'batch'))
        """,
        "ALTER TABLE keys ADD COLUMN budget TEXT",  # JSON
    ),
    (
        "ALTER TABLE keys ADD COLUMN client_tokens TEXT",  # JSON
        # Client tokens of this user, minted by the key of this name, are over if they are not
        # younger; '' is any user, or any key.
        """
        CREATE TABLE token_revocations (
            user TEXT NOT NULL,
            key TEXT NOT NULL CHECK (user <> '' OR key <> ''),
            at REAL NOT NULL,
            PRIMARY KEY (user, key)
        ) STRICT, WITHOUT ROWID
        """,
        *(
            f"""
            CREATE TRIGGER token_revocations_{change.lower()} AFTER {change} ON token_revocations
            BEGIN
                UPDATE keys_state SET revision = revision + 1;
            END
            """  # noqa: S608 - made of constants
            for change in ("INSERT", "UPDATE")
        ),
    ),
    (
        "ALTER TABLE keys ADD COLUMN scopes TEXT",  # JSON
        "ALTER TABLE keys ADD COLUMN buffering TEXT",  # JSON
    ),
)
"""One tuple of statements for each version; `PRAGMA user_version` counts those applied.

Only ever append: a file of any age is brought up by what it lacks, in one transaction.
"""

HEAD: Final = len(MIGRATIONS)


class StoreUnusable(Exception):
    """The file is not a store that this version can use; the message says why."""


def open_store(path: Path, *, patience: float = 2.0) -> sqlite3.Connection:
    """Open the store for writing; create it or bring it up to date where needed.

    Waits up to `patience` seconds for other writers. Raises `StoreUnusable`, `sqlite3.Error` or
    `OSError`; what was begun is undone.
    """
    with suppress(FileExistsError):  # only its owner may read it; SQLite's side files follow suit
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    store = sqlite3.connect(path, timeout=patience, isolation_level=None)
    try:
        _claim(store, path)
        if store.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
            store.execute("PRAGMA journal_mode = WAL")
        store.execute("PRAGMA synchronous = FULL")
        store.execute("PRAGMA foreign_keys = ON")
        if _version(store) < HEAD:
            _migrate(store)
    except BaseException:
        store.close()
        raise
    return store


def open_reader(path: Path) -> sqlite3.Connection | None:
    """Open an existing file for reading alone, or return None if it is no store yet.

    Never waits for more than 50 ms: it is used on the event loop. Raises as `open_store` does.
    """
    store = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=rw",
        uri=True,
        timeout=0.05,
        isolation_level=None,
        check_same_thread=False,  # opened where the engine is built, used where it runs
    )
    try:
        store.execute("PRAGMA query_only = ON")
        _claim(store, path)
        if _version(store) == HEAD:
            return store
    except BaseException:
        store.close()
        raise
    store.close()
    return None


def _claim(store: sqlite3.Connection, path: Path) -> None:
    """Refuse a file that is somebody else's, or of a later version of ours."""
    version, mark = _version(store), store.execute("PRAGMA application_id").fetchone()[0]
    empty = not store.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
    if mark != APPLICATION_ID and not (empty and version == 0):
        raise StoreUnusable(f"{path} is not a headworks store")
    if version > HEAD:
        raise StoreUnusable(f"{path} was written by a newer headworks (version {version})")


def _version(store: sqlite3.Connection) -> int:
    version: int = store.execute("PRAGMA user_version").fetchone()[0]
    return version


def _migrate(store: sqlite3.Connection) -> None:
    store.execute("BEGIN IMMEDIATE")
    try:
        for statements in MIGRATIONS[_version(store) :]:
            for statement in statements:
                store.execute(statement)
        store.execute(f"PRAGMA user_version = {HEAD}")
        store.execute("COMMIT")
    except BaseException:
        store.execute("ROLLBACK")
        raise
