"""Whose key a request carries, and which organisation and project it works for."""

from collections.abc import Mapping
from typing import final

import msgspec

from headworks.simulator import problems
from headworks.simulator.config import SimulatedCredential
from headworks.simulator.problems import Refusal

_NANO = 10**9


class Account(msgspec.Struct, frozen=True):
    """Who a request comes from. `quota` is in nano-dollars; the secret is not here."""

    name: str
    organization: str
    project: str
    quota: int | None = None


@final
class Accounts:
    """All keys of one simulator."""

    def __init__(
        self, credentials: Mapping[str, str | SimulatedCredential], organization: str
    ) -> None:
        self._by_secret = {
            entry.secret: _account(name, entry, organization)
            for name, entry in ((n, _full(c)) for n, c in credentials.items())
        }
        self._by_name = {account.name: account for account in self._by_secret.values()}

    def named(self, name: str) -> Account:
        """Return the account of the credential of this name."""
        return self._by_name[name]

    def secrets(self) -> list[str]:
        """Return every key, for whoever starts the simulator."""
        return list(self._by_secret)

    def authenticate(self, headers: Mapping[bytes, bytes]) -> Account:
        """Return whose key the headers carry.

        Raises:
            Refusal: No key, an unknown one, or one of another organisation or project than named.
        """
        given = headers.get(b"authorization", b"").decode("latin-1")
        scheme, _, key = given.partition(" ")
        if scheme.lower() != "bearer" or not key.strip():
            raise problems.no_key()
        account = self._by_secret.get(key.strip())
        if account is None:
            raise problems.wrong_key(key.strip())
        if headers.get(b"openai-organization", b"") not in {b"", account.organization.encode()}:
            raise _mismatch("organization")
        if headers.get(b"openai-project", b"") not in {b"", account.project.encode()}:
            raise _mismatch("project")
        return account


def _full(credential: str | SimulatedCredential) -> SimulatedCredential:
    return SimulatedCredential(credential) if isinstance(credential, str) else credential


def _account(name: str, entry: SimulatedCredential, organization: str) -> Account:
    quota = None if entry.quota is None else int(entry.quota * _NANO)
    project = entry.project or f"proj_{name}"
    return Account(name, entry.organization or organization, project, quota)


def _mismatch(what: str) -> Refusal:
    return Refusal(
        401,
        f"OpenAI-{what.title()} header should match {what} for API key",
        code=f"mismatched_{what}",
    )


def quota_exceeded() -> Refusal:
    """Refuse a key whose money is spent; waiting does not help."""
    return Refusal(429, problems.QUOTA, type="insufficient_quota", code="insufficient_quota")
