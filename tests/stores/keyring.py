"""A store of keys in virtual time, seen from both sides."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from headworks.core.grants import Grant
from headworks.core.keys import mint
from headworks.errors import Unauthenticated
from headworks.stores.keys import Budgets, ConfiguredKey, SqliteKeys
from headworks.stores.keystore import KeyStore
from headworks.stores.pepper import Pepper
from headworks.testing import FakeClock
from headworks.types import RateLimits, Secret

PEPPER = Pepper(b"p" * 32)
START = 1_800_000_000.0
DAY = 86_400.0
GRANT = Grant("web", "shop", frozenset({"assistant", "x"}), RateLimits(60, 8))
GOOD = mint(bytes(range(40))).secret.reveal()
"""A well-formed key that no store has."""


@dataclass
class Keyring:
    """One store: `store` changes it as the command line does, `open` reads it as gateways do."""

    path: Path
    clock: FakeClock = field(default_factory=lambda: FakeClock(epoch=START))
    opened: list[SqliteKeys] = field(default_factory=list[SqliteKeys])

    @property
    def store(self) -> KeyStore:
        return KeyStore(self.path, self.clock.time, patience=0)

    def open(
        self,
        *configured: ConfiguredKey,
        pepper: Pepper = PEPPER,
        fund: Callable[[Budgets], Awaitable[None]] | None = None,
    ) -> SqliteKeys:
        more = () if fund is None else (fund,)
        self.opened.append(SqliteKeys(self.path, pepper, self.clock, configured, *more))
        return self.opened[-1]

    def close(self) -> None:
        for keys in self.opened:
            keys.close()


def refusal(keys: SqliteKeys, key: Secret | str | None) -> str:
    """Return what the caller with this key is told."""
    with pytest.raises(Unauthenticated) as caught:
        keys.authenticate(Secret(key) if isinstance(key, str) else key)
    return str(caught.value)
