"""What a provider says of its limits: the `x-ratelimit-*` fields of an answer, the text of a 429.

A provider's bucket of capacity L refills by L / P a second. At the moment in which it admits a
request it writes `remaining = floor(level)` and `reset = (L - level) * P / L`, which is the time
until the bucket is full. So the fields give the level and, where something is taken, the period P.
Exact on 518 recorded answers.

A refusal says `Limit L, Used U, Requested R`: the level is L - U, and R is the charge.

Total functions: what cannot be read is left out.
"""

import re
from typing import Final, Literal, NamedTuple

from headworks.core.durations import seconds
from headworks.types import Headers

Measure = Literal[0, 1]
REQUESTS: Final = 0
TOKENS: Final = 1
MEASURES: Final = ("requests", "tokens")

MINUTE: Final = 60.0
DAY: Final = 86_400.0

_MOST: Final = 10**15
_DIGITS: Final = 15
_LONGEST: Final = 40
_FINE: Final = 100.0
"""Units a second from which a part of one does not count."""
_CUT: Final = 0.001
"""Seconds by which a reset is cut off: it is given in whole milliseconds."""


class Reading(NamedTuple):
    """The three fields of one measure: `reset` as it was spelled."""

    measure: Measure
    limit: int
    remaining: int
    reset: bytes

    def until_full(self) -> float | None:
        """Return the seconds until the bucket is full, None where they were not said."""
        text = self.reset.decode("latin-1")
        return seconds(text) if text and len(text) <= _LONGEST else None

    def period(self) -> float | None:
        """Return in how many seconds an empty bucket is full, None if this does not tell."""
        used, reset = self.limit - self.remaining, self.until_full()
        if not used or reset is None:
            return None
        for period in (MINUTE, DAY):
            second = period / self.limit
            if (used - 1) * second - _CUT < reset <= used * second + _CUT:
                return period
        return None

    def level(self, period: float) -> float:
        """Return what is left, with its fraction."""
        speed = self.limit / period
        reset = self.until_full() if speed < _FINE else None
        if reset is None:
            return min(float(self.limit), self.remaining + 0.5)
        return max(self.remaining, min(self.remaining + 1.0, self.limit - reset * speed))


class Told(NamedTuple):
    """What the text of a refusal tells."""

    measure: Measure
    period: float
    limit: int
    used: int
    requested: int


_NAMES: Final[tuple[tuple[Measure, bytes, bytes, bytes], ...]] = (
    (
        REQUESTS,
        b"x-ratelimit-limit-requests",
        b"x-ratelimit-remaining-requests",
        b"x-ratelimit-reset-requests",
    ),
    (
        TOKENS,
        b"x-ratelimit-limit-tokens",
        b"x-ratelimit-remaining-tokens",
        b"x-ratelimit-reset-tokens",
    ),
)
_WORDS: Final = re.compile(
    r"\b(requests|tokens) per (min|day)\b.{0,40}?Limit:? ([\d,]{1,15}), Used:? ([\d,]{1,15}), "
    r"Requested:? ([\d,]{1,15})",
    re.DOTALL | re.ASCII,
)
_PERIODS: Final = {"min": MINUTE, "day": DAY}


def readings(headers: Headers) -> list[Reading]:
    """Return what the fields of an answer say of the limits."""
    fields, found = dict(headers), list[Reading]()
    for measure, limit_name, remaining_name, reset_name in _NAMES:
        limit, remaining = _whole(fields.get(limit_name)), _whole(fields.get(remaining_name))
        if limit and remaining is not None and remaining <= limit:
            found.append(Reading(measure, limit, remaining, fields.get(reset_name, b"")))
    return found


def told(message: str) -> Told | None:
    """Return what the text of a refusal tells of the limit that was met."""
    found = _WORDS.search(message)
    if found is None:
        return None
    limit, used, requested = (int(text.replace(",", "") or 0) for text in found.groups()[2:])
    measure: Measure = TOKENS if found[1] == "tokens" else REQUESTS
    return Told(measure, _PERIODS[found[2]], limit, used, requested) if limit else None


def _whole(value: bytes | None) -> int | None:
    if value is None or len(value) > _DIGITS or not value.isdigit():
        return None
    number = int(value)
    return number if number <= _MOST else None
