"""The periods that budgets run over: days, weeks and months by the calendar of a place.

Moments are whole nanoseconds since 1970.
"""

from collections.abc import Callable, Mapping
from datetime import date, datetime, timedelta, tzinfo
from typing import Final, Literal

from headworks.core.periods import NANO, Span

Per = Literal["day", "week", "month", "total"]

EVER: Final = Span(0, 2**63 - 1)
"""The one period of what never begins anew."""

_FIRST: Final[Mapping[str, Callable[[date], date]]] = {
    "day": lambda day: day,
    "week": lambda day: day - timedelta(days=day.weekday()),
    "month": lambda day: day.replace(day=1),
}
_LONGEST: Final[Mapping[str, timedelta]] = {
    "day": timedelta(days=1),
    "week": timedelta(days=7),
    "month": timedelta(days=32),
}
"""What leads from the first day of a period into the next one."""


def period(per: Per, now: int, zone: tzinfo) -> Span:
    """Return the period that a moment is in; weeks begin on Mondays.

    Each begins with its first midnight, and where the clocks leap over that, as they do so.
    """
    if per == "total":
        return EVER
    first = _FIRST[per](datetime.fromtimestamp(now // NANO, zone).date())
    begin = _midnight(first, zone)
    while True:
        first = _FIRST[per](first + _LONGEST[per])
        end = _midnight(first, zone)
        if now < end:
            return Span(begin, end)
        begin = end  # clocks that go back over midnight show the day before once more


def _midnight(day: date, zone: tzinfo) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=zone).timestamp()) * NANO
