"""Moments as people write them: 24h ago, or a date."""

import re
from datetime import UTC, datetime, tzinfo

from headworks.errors import ConfigurationError

_SPAN = re.compile(r"(\d{1,5})([smhdw])", re.ASCII)
_LONGEST = 100 * 365 * 86_400
_LAST = 130 * 365 * 86_400
"""A century, and the end of this one: what is reckoned with them fits into a row's nanoseconds."""
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


def span(text: str) -> int | None:
    """Return the seconds of a span such as 24h or 7d, at most a century; None if it is none."""
    found = _SPAN.fullmatch(text)
    return None if found is None else min(_LONGEST, int(found[1]) * _SECONDS[found[2]])


def moment(option: str, text: str | None, now: float, zone: tzinfo = UTC) -> float | None:
    """Return seconds since 1970, None for no bound; a date without a zone is one of `zone`.

    A date before 1970 counts as its beginning, one after 2099 as its last days.

    Raises:
        ConfigurationError: The text is no time.
    """
    if text is None or text == "all":
        return None
    if (past := span(text)) is not None:
        return now - past
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigurationError(
            [f"{option}: {text!r} is not a time; write 24h, 7d, 2026-11-01 or 2026-11-01T12:00Z"]
        ) from None
    at = (found if found.tzinfo else found.replace(tzinfo=zone)).timestamp()
    return float(min(max(at, 0), _LAST))
