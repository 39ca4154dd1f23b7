"""Who may call: keys from the configuration and from the store, found without asking a disk.

All keys are held in memory; `follow` notices changes that any process makes to the store. The
store is changed through `stores.keystore`, which knows nothing of this module's memory.

A key that is new works once its budget is in force, never before: what was spent under its name
may have to be added up first. All other changes take effect at once.
"""

import hmac
import logging
import sqlite3
from collections.abc import Awaitable, Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

from headworks.core.budget import Budget, Owner
from headworks.core.grants import Grant
from headworks.core.keys import ID_LENGTH, PREFIX, mask, parse
from headworks.errors import ConfigurationError, Unauthenticated
from headworks.ports import Clock
from headworks.stores.key_rows import COLUMNS, KeyRecord, read_record
from headworks.stores.keystore import read_state, spell_day
from headworks.stores.pepper import Pepper
from headworks.stores.schema import StoreUnusable, open_reader, open_store
from headworks.types import Caller, Secret

POLL_SECONDS: Final = 0.25
"""How often the store is looked at: a change is effective well within a second."""
SHORTEST_SECRET: Final = 16
"""Characters of a key that the configuration spells out, at least."""

_BATCH: Final = 500
"""Records read without letting other calls run: about 3 ms."""
_ID: Final = slice(len(PREFIX), len(PREFIX) + ID_LENGTH)

_log = logging.getLogger(__name__)

Budgets = Mapping[Owner, Budget]


@dataclass(frozen=True, slots=True)
class ConfiguredKey:
    """A key that the operator spelled out: any text of 16 characters or more."""

    grant: Grant
    secret: Secret


@dataclass(frozen=True, slots=True)
class KeyStatistics:
    """What is known, and since when (wall clock) the store could not be read, if so."""

    stored: int
    configured: int
    unreadable_since: float | None


@dataclass(frozen=True, slots=True)
class _Entry:
    """A key as `authenticate` needs it: from `until` on it is over, and `end` says why."""

    digest: bytes
    caller: Caller
    until: float | None
    end: str


_NOBODY: Final = _Entry(bytes(32), Caller("", ""), None, "")
"""Stands where there is no record, so that an unknown id takes the same steps."""


@dataclass(frozen=True, slots=True)
class _Found:
    """What the store says: keys by id, and the budgets of their names."""

    entries: Mapping[str, _Entry]
    budgets: Budgets


async def _unasked(_: Budgets) -> None:
    """Stand for whoever keeps budgets where nobody does."""


class SqliteKeys:
    """The keys of a store, and those of the configuration beside them.

    Attributes:
        budgets: Those of the store's keys. Whoever opens this lets them take effect; from then on
            `fund` is called to do so whenever others are to hold.

    A store that does not exist yet is empty. Raises `ConfigurationError` if there is one that
    cannot be read now, or whose keys were hashed with another pepper; one that becomes unreadable
    later leaves the keys last known in force.
    """

    def __init__(
        self,
        path: Path,
        pepper: Pepper,
        clock: Clock,
        configured: Sequence[ConfiguredKey] = (),
        fund: Callable[[Budgets], Awaitable[None]] = _unasked,
    ) -> None:
        self._path, self._pepper, self._clock = path, pepper, clock
        self._fund = fund
        self.budgets: Budgets = {}
        self._found: _Found | None = None
        self._by_id: Mapping[str, _Entry] = MappingProxyType({})
        self._by_digest: Mapping[bytes, _Entry] = MappingProxyType({})
        self._reader: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None
        self._seen: int | None = None
        self._revision: int | None = None
        self._unreadable_since: float | None = None
        self.replace_configured(configured)
        try:
            if path.exists():
                open_store(path).close()
            self._begin()
        except (sqlite3.Error, OSError, StoreUnusable, ArithmeticError, ValueError) as error:
            self.close()
            raise ConfigurationError([f"{path}: the keys cannot be read: {error}"]) from error
        except ConfigurationError:
            self.close()
            raise

    def authenticate(self, key: Secret | None) -> Caller:
        """Return the key's caller, or raise `Unauthenticated`. Never waits.

        The time it takes tells nothing about ids and secrets: an unknown id is hashed and
        compared like a known one, and what the configuration spells out is found by its hash.
        """
        if key is None or not (text := key.reveal()):
            raise Unauthenticated(
                "You didn't provide an API key. Send it as 'Authorization: Bearer hw_…'."
            )
        digest = self._pepper.digest(text)
        entry = self._by_id.get(text[_ID], _NOBODY)
        if not hmac.compare_digest(entry.digest, digest):
            entry = self._by_digest.get(digest, _NOBODY)
        if entry is _NOBODY:
            raise _unknown(text)
        if entry.until is not None and self._clock.time() >= entry.until:
            raise Unauthenticated(f"This API key ({mask(text)}) {entry.end}.")
        return entry.caller

    def callers(self) -> Iterator[Caller]:
        """Yield everybody who has a key, as of now; whoever has several, several times."""
        for entries in (self._by_id, self._by_digest):
            yield from (entry.caller for entry in entries.values())

    def replace_configured(self, configured: Sequence[ConfiguredKey]) -> None:
        """Put these keys in the place of all that the configuration named before, at once."""
        entries: dict[bytes, _Entry] = {}
        problems: list[str] = []
        for key in configured:
            if len(key.secret.reveal()) < SHORTEST_SECRET:
                problems.append(
                    f"key '{key.grant.name}': the secret must have at least {SHORTEST_SECRET} characters"
                )
            entry = _configured_entry(key, self._pepper)
            if (other := entries.setdefault(entry.digest, entry)) is not entry:
                problems.append(
                    f"keys '{other.caller.name}' and '{key.grant.name}' have the same secret"
                )
        if problems:
            raise ConfigurationError(problems)
        self._by_digest = entries

    async def follow(self) -> None:
        """Take over what other processes change in the store, until cancelled."""
        try:
            while True:
                await self._clock.sleep(POLL_SECONDS)
                await self.refresh()
        finally:
            self.close()

    async def refresh(self) -> None:
        """Look at the store once; an unreadable one is logged once and changes nothing."""
        try:
            with closing(self._poll()) as batches:
                for _ in batches:
                    await self._clock.sleep(0)
            if self._found is not None:
                await self._follow(self._found)
        except Exception as error:  # noqa: BLE001 - whatever it is, the next look may succeed
            self.close()
            if self._unreadable_since is None:
                self._unreadable_since = self._clock.time()
                _log.error(
                    "%s: changes cannot be taken over, the last known keys stay: %s",
                    self._path,
                    error,
                )
        else:
            if self._unreadable_since is not None:
                self._unreadable_since = None
                _log.warning("%s: changes are taken over again", self._path)

    def statistics(self) -> KeyStatistics:
        """Return what is known now."""
        return KeyStatistics(len(self._by_id), len(self._by_digest), self._unreadable_since)

    def close(self) -> None:
        """Let go of the file. Idempotent; the keys stay known."""
        reader, self._reader, self._seen = self._reader, None, None
        if reader is not None:
            reader.close()

    def _begin(self) -> None:
        for _ in self._poll():
            pass
        if self._found is not None:
            self._take(self._found)

    def _poll(self) -> Generator[None]:
        """Read the store's keys if they have changed; yields between batches of records."""
        reader = self._connect()
        if reader is None:
            return
        version = reader.execute("PRAGMA data_version").fetchone()[0]
        if version == self._seen:
            return
        reader.execute("BEGIN")
        try:
            revision, pepper = read_state(reader)
            if pepper not in (None, self._pepper.fingerprint()):
                raise ConfigurationError(
                    [f"{self._path}: its keys were made with another pepper: restore that pepper"]
                )
            if revision != self._revision:
                yield from self._reload(reader)
            self._seen, self._revision = version, revision
        finally:
            reader.rollback()

    def _reload(self, reader: sqlite3.Connection) -> Generator[None]:
        entries: dict[str, _Entry] = {}
        newest: dict[str, tuple[bool, float, Budget | None]] = {}
        rows = reader.execute(f"SELECT {COLUMNS} FROM keys")  # noqa: S608 - a constant
        while batch := rows.fetchmany(_BATCH):
            for record in map(read_record, batch):
                entries[record.id] = _stored_entry(record)
                if record.revoked_at is None:
                    name, budget = record.grant.name, record.grant.budget
                    rank = (record.replaced_by is None, record.created)
                    if name not in newest or rank > newest[name][:2]:
                        newest[name] = (*rank, budget)
            yield
        budgets = {Owner("key", name): one[2] for name, one in newest.items() if one[2]}
        self._found = _Found(entries, budgets)

    async def _follow(self, found: _Found) -> None:
        """Take over what was found; what can be taken before new budgets hold is not kept waiting."""
        if found.budgets != self.budgets:
            known = self.budgets
            late = {owner.name for owner, one in found.budgets.items() if known.get(owner) != one}
            self._by_id = {
                id_: entry
                for id_, entry in found.entries.items()
                if id_ in self._by_id or entry.caller.name not in late
            }
            await self._fund(found.budgets)
        self._take(found)

    def _take(self, found: _Found) -> None:
        self._by_id, self.budgets, self._found = found.entries, found.budgets, None

    def _connect(self) -> sqlite3.Connection | None:
        """Return a connection to the file that is at the path now, or None before the first."""
        try:
            found = self._path.stat()
        except FileNotFoundError:
            if self._file is None:
                return None
            raise
        file = (found.st_dev, found.st_ino)
        if self._reader is None or file != self._file:
            self.close()
            self._reader = open_reader(self._path)
            if self._reader is not None and file != self._file:
                self._file, self._revision = file, None
        return self._reader


def _stored_entry(record: KeyRecord) -> _Entry:
    until, ended = record.grant.expires, "expired"
    if record.replaced_by is not None:
        ended = "was replaced by a new one and ended"
    end = "" if until is None else f"{ended} on {spell_day(until)}"
    if record.revoked_at is not None:  # over at once, whatever the clock says
        until, end = 0.0, f"was revoked on {spell_day(record.revoked_at)}"
    return _Entry(record.digest, _caller(record.grant, record.origin), until, end)


def _configured_entry(key: ConfiguredKey, pepper: Pepper) -> _Entry:
    until = key.grant.expires
    end = "" if until is None else f"expired on {spell_day(until)}"
    caller = _caller(key.grant, f"cfg_{key.grant.name}")
    return _Entry(pepper.digest(key.secret.reveal()), caller, until, end)


def _caller(grant: Grant, key_id: str) -> Caller:
    return Caller(
        grant.name,
        key_id,
        grant.project,
        grant.models,
        grant.limits,
        grant.on_disconnect,
        grant.on_ledger_failure,
        grant.unpriced,
        grant.priority,
    )


def _unknown(text: str) -> Unauthenticated:
    """Say what is wrong with a key that nobody holds, as far as its text alone tells."""
    reason = "no such key"
    if text.startswith(PREFIX) and parse(text) is None:
        reason = "malformed: checksum does not match, was it cut?"
    elif text.startswith("sk-"):
        reason = "it looks like a provider's key, but this gateway issues its own"
    return Unauthenticated(f"Incorrect API key provided: {mask(text)} ({reason}).")
