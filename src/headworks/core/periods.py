"""Cuts spans of time into blocks whose sums are kept, and into the hours and days of a place.

Moments are whole nanoseconds since 1970, blocks whole seconds.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final, Literal, NamedTuple

QUARTER: Final = 900
"""Seconds: every clock that people go by today differs from UTC by a multiple of it."""
HOUR: Final = 3600
DAY: Final = 86_400
NANO: Final = 10**9

Ends = Literal["nearest", "within", "outside"]


class Span(NamedTuple):
    """From `begin` to before `end`, in nanoseconds."""

    begin: int
    end: int


class Blocks(NamedTuple):
    """Whole blocks of `level` seconds, from `begin` to before `end`, in seconds."""

    level: int
    begin: int
    end: int


class Period(NamedTuple):
    """An hour or a day as people name it."""

    label: str
    span: Span


class Cover(NamedTuple):
    """A span: its blocks, and what they lack, less what they have too much."""

    blocks: list[Blocks]
    more: list[Span]
    less: list[Span]


def cover(span: Span, levels: Sequence[int], ends: Ends = "nearest") -> Cover:
    """Return the blocks that a span is made of, and what they lack or have too much.

    `levels` are lengths in seconds, the longest first; each divides the one before. Blocks end at
    the boundary that is nearest to an end of the span, so that what is beside them is never longer
    than the span, and at each end half a block at most; or at the next one within, or outside.
    """
    if span.begin >= span.end:
        return Cover([], [], [])
    if not levels:
        return Cover([], [span], [])
    level, *finer = levels
    if not finer:
        return _cut(span, level, ends)
    unit = level * NANO
    begin, end = -(-span.begin // unit) * level, span.end // unit * level
    if begin >= end:
        return cover(span, finer, ends)
    before = cover(Span(span.begin, begin * NANO), finer, ends)
    after = cover(Span(end * NANO, span.end), finer, ends)
    return Cover(
        [*before.blocks, Blocks(level, begin, end), *after.blocks],
        before.more + after.more,
        before.less + after.less,
    )


def _cut(span: Span, level: int, ends: Ends) -> Cover:
    unit = level * NANO
    begin_up, end_up = {
        "nearest": (unit // 2,) * 2,
        "within": (unit - 1, 0),
        "outside": (0, unit - 1),
    }[ends]
    begin, end = (span.begin + begin_up) // unit * unit, (span.end + end_up) // unit * unit
    outer = (Span(begin, span.begin), Span(span.end, end))
    inner = (Span(span.begin, begin), Span(end, span.end))
    more, less = ([it for it in spans if it.begin < it.end] for spans in (inner, outer))
    beside = sum(it.end - it.begin for it in more + less)
    if begin >= end or (ends == "nearest" and beside > span.end - span.begin):
        return Cover([], [span], [])
    return Cover([Blocks(level, begin // NANO, end // NANO)], more, less)


def hour_of(seconds: int, zone: tzinfo) -> str:
    """Return the hour that a moment is in, by the clocks of a zone."""
    begun = datetime.fromtimestamp(seconds, zone).replace(minute=0, second=0)
    return begun.strftime("%Y-%m-%dT%H:00Z") if zone is UTC else begun.isoformat(timespec="minutes")


def day_of(seconds: int, zone: tzinfo) -> str:
    """Return the day that a moment is in, by the calendar of a zone."""
    return datetime.fromtimestamp(seconds, zone).strftime("%Y-%m-%d")


def _next_hour(seconds: int, zone: tzinfo) -> int:
    now = datetime.fromtimestamp(seconds, zone)
    return seconds + HOUR - now.minute * 60 - now.second


def _next_day(seconds: int, zone: tzinfo) -> int:
    tomorrow = datetime.fromtimestamp(seconds, zone).date() + timedelta(days=1)
    # midnight twice is the first of both; one that the clocks leap over is the moment they do so
    return int(datetime(tomorrow.year, tomorrow.month, tomorrow.day, tzinfo=zone).timestamp())


LABELS: Final[Mapping[str, Callable[[int, tzinfo], str]]] = {"hour": hour_of, "day": day_of}
_NEXT: Final[Mapping[str, Callable[[int, tzinfo], int]]] = {"hour": _next_hour, "day": _next_day}


def periods(kind: str, span: Span, zone: tzinfo) -> Iterator[Period]:
    """Yield the hours or days of a zone that a span touches, cut to it."""
    label, following = LABELS[kind], _NEXT[kind]
    at = span.begin
    while at < span.end:
        seconds = at // NANO
        end = min(following(seconds, zone) * NANO, span.end)
        yield Period(label(seconds, zone), Span(at, end))
        at = end
