"""From the upstreams of a configuration to the accounts that things live in."""

from collections.abc import Iterator, Sequence

from headworks.absent import NoHomes
from headworks.config.settings import Config, CredentialConfig
from headworks.core.homes import Directory, Home
from headworks.ports import Homes
from headworks.stores.homes import KnownHomes
from headworks.stores.homes_file import HomesFile, Record

_Account = tuple[str, str, tuple[str, ...]]
"""An upstream, what its account is called there or "", and the names of its credentials."""


def homes(config: Config, file: HomesFile) -> Homes:
    """Return what finds the account of a thing; nothing is needed where there was ever but one.

    Raises:
        ConfigurationError: The file of what is remembered cannot be used.
    """
    accounts = list(_accounts(config))
    if not accounts or (len(accounts) == 1 and not file.is_there):
        return NoHomes()
    return KnownHomes(_directory(config, accounts, file), file)


def _directory(config: Config, accounts: Sequence[_Account], file: HomesFile) -> Directory:
    records = file.open()
    numbers: dict[_Account, list[int]] = {one: [] for one in accounts}
    for record in records:
        account = _account_of(record, accounts)
        if account is not None:
            numbers[account].append(record.number)
    for (upstream, called, names), known in numbers.items():
        if not known:
            known.append(file.number(upstream, names[0], called))
    file.adopt({number: known[0] for known in numbers.values() for number in known})
    all_ = {
        account: Home(known[0], account[0], account[2], config.upstreams[account[0]].timeouts)
        for account, known in numbers.items()
    }
    return Directory(
        tuple(all_.values()),
        {number: all_[account] for account, known in numbers.items() for number in known},
        {record.number: record.upstream for record in records},
        next(iter(all_.values())) if config.unknown_ids == "first" or len(all_) == 1 else None,
    )


def _accounts(config: Config) -> Iterator[_Account]:
    for name, upstream in config.upstreams.items():
        grouped: dict[str, list[str]] = {}
        for credential in upstream.credentials:
            account = _account(credential)
            grouped.setdefault(account or f" {credential.name}", []).append(credential.name)
        for account, names in grouped.items():
            yield name, "" if account.startswith(" ") else account, tuple(names)


def _account(credential: CredentialConfig) -> str:
    """Return what says whose things a credential sees, "" where that is not known for certain."""
    if credential.organization is None or credential.project is None:
        return ""
    return f"{credential.organization} {credential.project}"


def _account_of(record: Record, accounts: Sequence[_Account]) -> _Account | None:
    """Return the account that a record is of: by its own name, else by its credential's."""
    here = [one for one in accounts if one[0] == record.upstream]
    if record.account:
        named = [one for one in here if one[1] == record.account]
        if named:
            return named[0]
    for one in here:
        if record.credential in one[2] and not (record.account and one[1]):
            return one
    return None
