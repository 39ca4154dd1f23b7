"""Waits, as headers spell them. Total functions: what cannot be read is None, never 0."""

import math
import re
from datetime import UTC
from email.utils import parsedate_to_datetime

from headworks.types import Headers

LONGEST_RETRY_AFTER = 86_400.0
"""A provider that asks for more than a day is not believed."""

_SECOND = 1000
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART = r"(\d+(?:\.\d+)?|\.\d+)(ms|s|m|h)"
_DURATION = re.compile(rf"(?:{_PART})+", re.ASCII)
_PARTS = re.compile(_PART, re.ASCII)
_NUMBER = re.compile(r"\d+(?:\.\d*)?|\.\d+", re.ASCII)


def seconds(text: str) -> float | None:
    """Read "30", "1.5s", "500ms" or "1m30s" as seconds."""
    if _NUMBER.fullmatch(text):
        return float(text)
    if not _DURATION.fullmatch(text):
        return None
    return sum(float(number) * _UNITS[unit] for number, unit in _PARTS.findall(text))


def spell(wait: float) -> str:
    """Write seconds as OpenAI does, rounded up to the millisecond: "0s", "644ms", "1m3.2s"."""
    milliseconds = max(0, math.ceil(wait * 1000 - 0.01))
    if 0 < milliseconds < _SECOND:
        return f"{milliseconds}ms"
    minutes, rest = divmod(milliseconds, 60 * _SECOND)
    hours, minutes = divmod(minutes, 60)
    longer = f"{hours}h{minutes}m" if hours else f"{minutes}m" if minutes else ""
    return f"{longer}{rest / _SECOND:g}s"


def retry_after(headers: Headers, now: float) -> float | None:
    """Return the seconds a provider asks us to wait; `now` is in seconds since 1970.

    `retry-after-ms` is read before `retry-after`, which may be seconds, a float or an HTTP date
    (RFC 9110 §10.2.3). Negative, endless and absurd values are ignored.
    """
    fields = dict(headers)
    finer = _number(fields.get(b"retry-after-ms"))
    waits = (None if finer is None else finer / 1000, _after(fields.get(b"retry-after"), now))
    believed = (one for one in waits if one is not None and 0 <= one <= LONGEST_RETRY_AFTER)
    return next(believed, None)


def _number(value: bytes | None) -> float | None:
    text = (value or b"").decode("latin-1").strip()
    number = float(text) if _NUMBER.fullmatch(text) else None
    return number if number is not None and math.isfinite(number) else None


def _after(value: bytes | None, now: float) -> float | None:
    if value is None:
        return None
    if (number := _number(value)) is not None:
        return number
    try:
        date = parsedate_to_datetime(value.decode("latin-1"))
        return max(0.0, date.replace(tzinfo=date.tzinfo or UTC).timestamp() - now)
    except (ValueError, TypeError, OverflowError):
        return None
