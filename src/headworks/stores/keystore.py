"""Keys that are made, changed, rotated and revoked while gateways run.

Every method opens the store, changes it in one transaction and closes it: whoever serves notices
within a second (`SqliteKeys.follow`). Secrets are returned once and never stored.

A rotated key gets a new id and a new secret, and keeps its name, its grant and its `origin`: the
id of the first of its line, by which limits and usage go. So two secrets that overlap share one
limit, and a key's history does not end with its secret. What the key may do can be changed while
it lives, for all of its secrets at once.
"""

import re
import secrets
import sqlite3
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple

from headworks.core.grants import Grant
from headworks.core.keys import RANDOM_BYTES, mint
from headworks.stores.key_rows import COLUMNS, KeyRecord, read_record, write_record
from headworks.stores.pepper import Pepper
from headworks.stores.schema import StoreUnusable, open_store
from headworks.types import Secret

__all__ = [
    "Grant",
    "KeyRecord",
    "KeyRefused",
    "KeyStore",
    "Revocation",
    "read_revocations",
    "read_state",
    "spell_day",
]

_MARKS: Final = ", ".join("?" * len(COLUMNS.split(",")))
_CURRENT: Final = "revoked_at IS NULL AND replaced_by IS NULL"
_KEPT: Final = 86_400.0
"""Seconds for which it is known what was revoked: tokens live an hour at most."""
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class KeyRefused(Exception):
    """The store did not do what was asked; the message tells the operator why."""


class Revocation(NamedTuple):
    """The end of client tokens: of a user, of a key by its name, or of a user's from that key.

    Attributes:
        user: "" for any; `key` likewise.
        at: Seconds since 1970; tokens that are not younger are over.
    """

    user: str
    key: str
    at: float


class KeyStore:
    """The keys of one store. Every method raises `KeyRefused` and then has changed nothing."""

    def __init__(
        self,
        path: Path,
        time: Callable[[], float],
        *,
        patience: float = 2.0,
        entropy: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        """Name the store.

        Args:
            path: The file; it is made by the first key.
            time: The wall clock, such as `Clock.time`.
            patience: Seconds to wait for other writers.
            entropy: Returns so many bytes that nobody can guess.
        """
        self._path, self._time, self._patience = path, time, patience
        self._entropy = entropy

    def create(self, grant: Grant, pepper: Pepper) -> tuple[KeyRecord, Secret]:
        """Make a key; its secret is known to nobody but the caller of this."""
        now = self._time()
        _check(grant, now)
        with self._changing() as store:
            _claim_pepper(store, pepper)
            for found in _select(store, f"name = :which AND {_CURRENT}", grant.name):
                raise KeyRefused(
                    f"a key named '{grant.name}' exists (id {found.id}, {found.status(now)}):"
                    " rotate it, revoke it or choose another name"
                )
            return self._insert(store, grant, pepper, None)

    def rotate(self, which: str, overlap: float, pepper: Pepper) -> tuple[KeyRecord, Secret]:
        """Replace a key, given by name or id; its older secrets end after `overlap` seconds."""
        now = self._time()
        if overlap < 0:
            raise KeyRefused("the overlap must not be negative")
        with self._changing() as store:
            _claim_pepper(store, pepper)
            old = _current(store, which, now)
            record, secret = self._insert(store, old.grant, pepper, old)
            store.execute(
                "UPDATE keys SET expires = min(coalesce(expires, :until), :until)"
                " WHERE origin = :origin AND id <> :id AND revoked_at IS NULL",
                {"until": now + overlap, "origin": record.origin, "id": record.id},
            )
            return record, secret

    def change(self, which: str, change: Callable[[Grant], Grant]) -> KeyRecord:
        """Let a key, given by name or id, do something else; older secrets that still work follow.

        Their own end is never put off by that.
        """
        now = self._time()
        with self._changing() as store:
            old = _current(store, which, now)
            grant = change(old.grant)
            if grant.name != old.grant.name:
                raise KeyRefused("a key keeps its name: make another one")
            _check(grant, now)
            for found in _select(store, "origin = :which AND revoked_at IS NULL", old.origin):
                ends = (found.grant.expires if found.replaced_by else None, grant.expires)
                expires = min((end for end in ends if end is not None), default=None)
                row = write_record(replace(found, grant=replace(grant, expires=expires)))
                store.execute(
                    f"UPDATE keys SET ({COLUMNS}) = ({_MARKS}) WHERE id = ?",  # noqa: S608 - constants
                    (*row, found.id),
                )
            return replace(old, grant=grant)

    def revoke(self, which: str) -> tuple[KeyRecord, ...]:
        """End a key now; return what this ended, nothing if it had been revoked before.

        A name ends all secrets of that name, those that still overlap too; an id ends that one.
        """
        with self._changing() as store:
            found = _find(store, which)
            store.executemany(
                "UPDATE keys SET revoked_at = ? WHERE id = ? AND revoked_at IS NULL",
                [(self._time(), record.id) for record in found],
            )
            ended = {record.id for record in found if record.revoked_at is None}
            return tuple(record for record in _find(store, which) if record.id in ended)

    def list(self) -> tuple[KeyRecord, ...]:
        """Return all keys there ever were, oldest first; none if there is no store yet."""
        if not self._path.exists():
            return ()
        with self._open() as store:
            return tuple(_select(store))

    def revoke_tokens(self, user: str = "", key: str = "") -> Revocation:
        """End the client tokens that a user has had so far, or a key has minted; or both at once.

        "" is any user, or any key. Tokens that are minted later work.
        """
        made = Revocation(user, key, self._time())
        with self._changing() as store:
            store.execute("DELETE FROM token_revocations WHERE at < ?", (made.at - _KEPT,))
            store.execute(
                "INSERT INTO token_revocations (user, key, at) VALUES (:user, :key, :at)"
                " ON CONFLICT (user, key) DO UPDATE SET at = max(at, excluded.at)",
                made._asdict(),
            )
        return made

    def revocations(self) -> tuple[Revocation, ...]:
        """Return whose client tokens were revoked, oldest first; a day later it is forgotten."""
        if not self._path.exists():
            return ()
        with self._open() as store:
            return tuple(read_revocations(store))

    def _insert(
        self, store: sqlite3.Connection, grant: Grant, pepper: Pepper, old: KeyRecord | None
    ) -> tuple[KeyRecord, Secret]:
        key = mint(self._entropy(RANDOM_BYTES))
        origin = key.id if old is None else old.origin
        digest, created = pepper.digest(key.secret.reveal()), self._time()
        record = KeyRecord(key.id, origin, grant, digest, created)
        if old is not None:
            store.execute("UPDATE keys SET replaced_by = ? WHERE id = ?", (key.id, old.id))
        row = write_record(record)
        store.execute(f"INSERT INTO keys ({COLUMNS}) VALUES ({_MARKS})", row)  # noqa: S608 - constants
        return record, key.secret

    @contextmanager
    def _changing(self) -> Generator[sqlite3.Connection]:
        with self._open() as store:
            store.execute("BEGIN IMMEDIATE")
            try:
                yield store
                store.execute("COMMIT")
            finally:
                store.rollback()

    @contextmanager
    def _open(self) -> Generator[sqlite3.Connection]:
        try:
            with closing(open_store(self._path, patience=self._patience)) as store:
                yield store
        except StoreUnusable as error:
            raise KeyRefused(str(error)) from error
        except OSError as error:
            raise KeyRefused(f"{self._path}: {error.strerror}") from error
        except sqlite3.Error as error:
            if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY:
                raise KeyRefused(
                    f"{self._path} is locked by another process; nothing was changed, try again"
                ) from error
            raise KeyRefused(f"{self._path}: {error}") from error


def read_state(store: sqlite3.Connection) -> tuple[int, bytes | None]:
    """Return the number of changes so far, and the fingerprint of the keys' pepper."""
    state: tuple[int, bytes | None] | None = store.execute(
        "SELECT revision, pepper FROM keys_state"
    ).fetchone()
    if state is None:
        raise StoreUnusable("the table keys_state is empty")
    return state


def read_revocations(store: sqlite3.Connection) -> Iterator[Revocation]:
    """Yield whose client tokens are over, oldest first."""
    rows = store.execute("SELECT user, key, at FROM token_revocations ORDER BY at")
    return (Revocation(*row) for row in rows)


def _check(grant: Grant, now: float) -> None:
    if not _NAME.fullmatch(grant.name):
        raise KeyRefused(
            f"{grant.name!r} cannot be a name: use 1 to 64 letters, digits, '.', '_' and '-'"
        )
    if not grant.project.isprintable() or not all(map(str.isprintable, grant.models or ())):
        raise KeyRefused("project and models must be printable text")
    if grant.expires is not None and grant.expires <= now:
        raise KeyRefused(f"the key would have expired already, on {spell_day(grant.expires)}")


def _claim_pepper(store: sqlite3.Connection, pepper: Pepper) -> None:
    """Note whose pepper hashes the store's keys, or refuse another one."""
    store.execute("UPDATE keys_state SET pepper = ? WHERE pepper IS NULL", (pepper.fingerprint(),))
    if read_state(store)[1] != pepper.fingerprint():
        raise KeyRefused("the store's keys were made with another pepper: restore that pepper")


def _select(store: sqlite3.Connection, where: str = "TRUE", which: str = "") -> Iterator[KeyRecord]:
    rows = store.execute(
        f"SELECT {COLUMNS} FROM keys WHERE {where} ORDER BY created, id",  # noqa: S608 - `where` is a constant
        {"which": which},
    )
    return map(read_record, rows)


def _find(store: sqlite3.Connection, which: str) -> list[KeyRecord]:
    """Return the key of that id, or else all keys of that name."""
    found = list(_select(store, "id = :which", which)) or list(
        _select(store, "name = :which", which)
    )
    if not found:
        raise KeyRefused(f"no key has the name or id '{which}'")
    return found


def _current(store: sqlite3.Connection, which: str, now: float) -> KeyRecord:
    """Return the key to rotate, which must be in force and not replaced already."""
    found = _find(store, which)
    record = next((r for r in found if r.replaced_by is None and not r.revoked_at), found[-1])
    if record.replaced_by is not None:
        raise KeyRefused(f"key '{which}' was replaced already, by {record.replaced_by}")
    if (status := record.status(now)) != "active":
        raise KeyRefused(f"key '{which}' is {status}: create a new one")
    return record


def spell_day(when: float) -> str:
    """Write a time for people."""
    return f"{datetime.fromtimestamp(when, UTC):%Y-%m-%d %H:%M} UTC"
