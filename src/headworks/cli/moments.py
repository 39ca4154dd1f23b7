"""Moments as people write them in options: 24h ago, or a date."""

import re
from datetime import UTC, datetime, timedelta

from headworks.errors import ConfigurationError

_SPAN = re.compile(r"(\d{1,5})([smhdw])", re.ASCII)
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def moment(option: str, text: str | None) -> float | None:
    """Return seconds since 1970, None for no bound.

    Raises:
        ConfigurationError: The text is no time.
    """
    if text in {None, "all"}:
        return None
    text = str(text)
    if span := _SPAN.fullmatch(text):
        past = timedelta(**{_UNITS[span.group(2)]: int(span.group(1))})
        return (_now() - past).timestamp()
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigurationError(
            [f"{option}: {text!r} is not a time; write 24h, 7d, 2026-11-01 or 2026-11-01T12:00Z"]
        ) from None
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


def _now() -> datetime:
    return datetime.now(UTC)  # noqa: TID251 - a command is where time comes in
