"""Usage queries as people write them, in options and in addresses."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, tzinfo
from typing import Final
from zoneinfo import ZoneInfo

from headworks.core.moments import moment, span
from headworks.errors import ConfigurationError
from headworks.stores.usage import Query

PER: Final = ("call", "user")
BEFORE: Final = "before"
"""Stands for a comparison of the period that is asked for anyway."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """What was written; the names are those of the options."""

    by: str = "model"
    where: Sequence[str] = ()
    since: str = "24h"
    until: str | None = None
    tz: str = "UTC"
    top: int | None = None
    per: str = ""

    def query(self, now: float) -> Query:
        """Return what is meant at a moment, in seconds since 1970.

        Raises:
            ConfigurationError: It makes no sense; the problems begin with the option's name.
        """
        zone = _zone(self.tz)
        if self.top is not None and self.top < 1:
            raise ConfigurationError([f"--top: {self.top} is not a number from 1 on"])
        return Query(
            tuple(_split(self.by)),
            _where(self.where),
            moment("--since", self.since, now, zone),
            moment("--until", self.until, now, zone),
            zone,
            self.top,
            "user" in units(self.per),
        )

    def comparison(self, compare: str, now: float) -> Query:
        """Return the later one of two periods that are to be compared.

        Raises:
            ConfigurationError: As above.
        """
        query = self.query(now)
        if compare == BEFORE:
            return replace(query, until=now if query.until is None else query.until)
        length = span(compare)
        if not length:
            problem = f"--compare: {compare!r} is not a span; write 24h, 7d or {BEFORE}"
            raise ConfigurationError([problem])
        end = now if query.until is None else query.until
        return replace(query, since=end - length, until=end)


def units(per: str) -> list[str]:
    """Return what costs are divided by.

    Raises:
        ConfigurationError: Something else than `PER`.
    """
    found = _split(per)
    if unknown := [unit for unit in found if unit not in PER]:
        raise ConfigurationError([f"--per: {unknown[0]!r} is none of {', '.join(PER)}"])
    return found


def _where(conditions: Sequence[str]) -> Mapping[str, Sequence[str]]:
    found: dict[str, list[str]] = {}
    for condition in conditions:
        name, sign, value = condition.partition("=")
        if not sign:
            raise ConfigurationError(
                [f"--where: {condition!r} is not of the form key=web; name an axis and a value"]
            )
        found.setdefault(name.strip(), []).append(value)
    return found


def _zone(name: str) -> tzinfo:
    if name.upper() in {"UTC", "Z"}:
        return UTC
    try:
        return ZoneInfo(name)
    except (LookupError, ValueError, OSError):
        raise ConfigurationError(
            [f"--tz: {name!r} is not a time zone that this machine knows; write Europe/Berlin"]
        ) from None


def _split(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]
