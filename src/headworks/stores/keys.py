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
from headworks.core.client_tokens import Asked, MintingNotAllowed, is_token
from headworks.core.grants import Grant
from headworks.core.keys import ID_LENGTH, PREFIX, mask, parse
from headworks.errors import ConfigurationError, Unauthenticated
from headworks.ports import Clock
from headworks.stores.client_tokens import (
    KeyEntry,
    Minted,
    Revocations,
    TokenBook,
)
from headworks.stores.key_rows import COLUMNS, KeyRecord, read_record
from headworks.stores.keystore import read_revocations, read_state, spell_day
from headworks.stores.pepper import Pepper
from headworks.stores.schema import StoreUnusable, open_reader, open_store
from headworks.types import Caller, Secret

POLL_SECONDS: Final = 0.25
"""How often the store is looked at: a change is effective well within a second."""
SHORTEST_SECRET: Final = 16
"""Characters of a key that the configuration spells out, at least."""

_BATCH: Final = 500
"""Records read without letting other calls run: about 3 ms."""
_MARK: Final = 8
"""Bytes of a configured key's digest by which its tokens know it."""
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


_NOBODY: Final = KeyEntry(bytes(32), Caller("", ""), None, "")
"""Stands where there is no record, so that an unknown id takes the same steps."""


@dataclass(frozen=True, slots=True)
class _Found:
    """What the store says: keys by id, the budgets of their names, and whose tokens are over."""

    entries: Mapping[str, KeyEntry]
    budgets: Budgets
    revocations: Revocations


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
        self._by_id: Mapping[str, KeyEntry] = MappingProxyType({})
        self._by_digest: Mapping[bytes, KeyEntry] = MappingProxyType({})
        self._reader: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None
        self._seen: int | None = None
        self._revision: int | None = None
        self._unreadable_since: float | None = None
        self._configured: Mapping[str, KeyEntry] = MappingProxyType({})
        self._tokens = TokenBook(pepper, clock, self._entry)
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
        """Return the key's or client token's caller, or raise `Unauthenticated`. Never waits.

        The time it takes tells nothing about ids and secrets: an unknown id is hashed and
        compared like a known one, and what the configuration spells out is found by its hash.
        """
        if key is None or not (text := key.reveal()):
            raise Unauthenticated(
                "You didn't provide an API key. Send it as 'Authorization: Bearer hw_…'."
            )
        if is_token(text):
            return self._tokens.caller(text)
        return self._holder(text).caller

    def check_minter(self, key: Secret | None) -> KeyEntry:
        """Return a key that may mint client tokens.

        Raises:
            Unauthenticated: The key is not valid.
            MintingNotAllowed: It may not mint, or is a client token itself.
        """
        caller = self.authenticate(key)
        if key is None or caller.token is not None:
            raise MintingNotAllowed("A client token cannot mint others: that is for its key.")
        entry = self._holder(key.reveal())
        self._tokens.means(entry)
        return entry

    def mint(self, key: Secret | None, asked: Asked) -> Minted:
        """Return a client token that an app's backend asks for with its key. Never waits.

        Raises `CallerError` where more is asked for than its tokens may have, or as `check_minter`.
        """
        return self._tokens.mint(self.check_minter(key), asked)

    def mint_for(self, name: str, asked: Asked) -> Minted | None:
        """Return a client token of the key that is in force under a name, None without one."""
        now = self._clock.time()
        for entry in (*self._configured.values(), *self._by_id.values()):
            if entry.caller.name == name and (entry.until is None or now < entry.until):
                return self._tokens.mint(entry, asked)
        return None

    def _entry(self, id_: str) -> KeyEntry | None:
        return self._by_id.get(id_) or self._configured.get(id_)

    def _holder(self, text: str) -> KeyEntry:
        """Return a key by its text, if it is in force."""
        digest = self._pepper.digest(text)
        entry = self._by_id.get(text[_ID], _NOBODY)
        if not hmac.compare_digest(entry.digest, digest):
            entry = self._by_digest.get(digest, _NOBODY)
        if entry is _NOBODY:
            raise _unknown(text)
        if entry.until is not None and self._clock.time() >= entry.until:
            raise Unauthenticated(f"This API key ({mask(text)}) {entry.end}.")
        return entry

    def callers(self) -> Iterator[Caller]:
        """Yield everybody who has a key, as of now; whoever has several, several times."""
        for entries in (self._by_id, self._by_digest):
            yield from (entry.caller for entry in entries.values())

    def replace_configured(self, configured: Sequence[ConfiguredKey]) -> None:
        """Put these keys in the place of all that the configuration named before, at once."""
        entries: dict[bytes, KeyEntry] = {}
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
        self._configured = {entry.id: entry for entry in entries.values()}

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
        entries: dict[str, KeyEntry] = {}
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
        revoked = {(one.user, one.key): one.at for one in read_revocations(reader)}
        self._found = _Found(entries, budgets, revoked)

    async def _follow(self, found: _Found) -> None:
        """Take over what was found; what can be taken before new budgets hold is not kept waiting."""
        self._tokens.revocations = found.revocations
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
        self._tokens.revocations = found.revocations

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


def _stored_entry(record: KeyRecord) -> KeyEntry:
    until, ended = record.grant.expires, "expired"
    if record.replaced_by is not None:
        ended = "was replaced by a new one and ended"
    end = "" if until is None else f"{ended} on {spell_day(until)}"
    if record.revoked_at is not None:  # over at once, whatever the clock says
        until, end = 0.0, f"was revoked on {spell_day(record.revoked_at)}"
    caller, tokens = _caller(record.grant, record.origin), record.grant.client_tokens
    return KeyEntry(record.digest, caller, until, end, record.id, tokens)


def _configured_entry(key: ConfiguredKey, pepper: Pepper) -> KeyEntry:
    until = key.grant.expires
    end = "" if until is None else f"expired on {spell_day(until)}"
    caller = _caller(key.grant, f"cfg_{key.grant.name}")
    digest = pepper.digest(key.secret.reveal())
    id_ = f"{caller.key_id}.{digest[:_MARK].hex()}"  # another secret is another key to its tokens
    return KeyEntry(digest, caller, until, end, id_, key.grant.client_tokens)


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
        buffering=grant.buffering,
        scopes=grant.scopes,
    )


def _unknown(text: str) -> Unauthenticated:
    """Say what is wrong with a key that nobody holds, as far as its text alone tells."""
    reason = "no such key"
    if text.startswith(PREFIX) and parse(text) is None:
        reason = "malformed: checksum does not match, was it cut?"
    elif text.startswith("sk-"):
        reason = "it looks like a provider's key, but this gateway issues its own"
    return Unauthenticated(f"Incorrect API key provided: {mask(text)} ({reason}).")
