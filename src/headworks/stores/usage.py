"""Usage reports: what was spent, by whatever a call was for."""

import sqlite3
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime, tzinfo
from difflib import get_close_matches
from operator import itemgetter
from pathlib import Path
from typing import Any, Final, TypeVar

from headworks.core.periods import LABELS, NANO, Span
from headworks.errors import ConfigurationError
from headworks.stores import rollup_schema
from headworks.stores.ledger_damage import is_damage
from headworks.stores.usage_asked import Asked, Group
from headworks.stores.usage_bounds import NO_BOUNDS, Bounds
from headworks.stores.usage_reading import READ, Reading, Sums, reading
from headworks.stores.usage_users import Users, dearest, users

T = TypeVar("T")

AXES: Final = (*rollup_schema.AXES, *LABELS)
"""What a report may be grouped by."""
_CHOSEN: Final = tuple(rollup_schema.AXES)

_NOTHING: Final = (0,) * len(READ)
_COST: Final = READ.index("cost")
_IN_NANO: Final = frozenset({"cost", "estimated", "waste", "saved", "answered"})
_FIGURES: Final = tuple(f"{name}_nano" if name in _IN_NANO else name for name in READ)
_FIRST, _LAST = -(2**63), 2**63 - 1


@dataclass(frozen=True, slots=True)
class Query:
    """What a report is about.

    Attributes:
        by: Axes to group by.
        where: Values that calls must have, by axis; of several values any will do.
        since: Seconds since 1970; attempts count that began then or later. None is no bound.
        until: Likewise; attempts count that began before.
        zone: Whose clocks hours and days go by.
        top: How many groups are listed; the rest are others. None lists all.
        has_users: Whether the users of each group are counted.
    """

    by: Group = ("model",)
    where: Mapping[str, Collection[str]] = field(default_factory=dict[str, Collection[str]])
    since: float | None = None
    until: float | None = None
    zone: tzinfo = UTC
    top: int | None = None
    has_users: bool = False

    @property
    def has_times(self) -> bool:
        """Whether it groups by hours or days."""
        return not LABELS.keys().isdisjoint(self.by)


@dataclass(frozen=True, slots=True)
class Line:
    """One group of a report. Money is in nano-dollars.

    Attributes:
        group: The group's values, in the order that was asked for.
        calls: Calls whose last attempt is in the group, so that each call counts once.
        input: Tokens of settled attempts; `cached` and `written` are parts of it. `reasoning` is
            one of `output`.
        cost_nano: What is known to have been spent.
        estimated_nano: The part of it that rests on our own counts.
        waste_nano: The part of it that went into attempts that were followed by another.
        saved_nano: What the provider's prompt cache saved: without it, as much more was due.
        answered_nano: The part of the cost that went into output.
        unpriced: Settled attempts whose price is unknown: not in any sum, and not free.
        open: Attempts under way, and what they may cost at most, which is in no sum either.
        users: How many users there were, None if it was not asked.
    """

    group: Group = ()
    calls: int = 0
    attempts: int = 0
    input: int = 0
    output: int = 0
    cached: int = 0
    written: int = 0
    reasoning: int = 0
    cost_nano: int = 0
    estimated_nano: int = 0
    waste_nano: int = 0
    saved_nano: int = 0
    answered_nano: int = 0
    unpriced: int = 0
    open: int = 0
    open_nano: int = 0
    users: int | None = None


_figures: Final = itemgetter(
    *(_FIGURES.index(it.name) for it in fields(Line) if it.name in _FIGURES)
)
"""Returns sums in the order of a line's."""


@dataclass(frozen=True, slots=True)
class Usages:
    """A report: its groups, and the total, in which a call counts once.

    The dearest group comes first; where time is an axis, the earliest.

    Attributes:
        others: All groups that are not listed, None if there are none.
        rows_read: How many of the ledger's rows had to be read one by one, beside kept sums.
    """

    by: Group
    lines: tuple[Line, ...]
    total: Line
    others: Line | None = None
    rows_read: int = 0


def usage(path: Path, query: Query | None = None, bounds: Bounds = NO_BOUNDS) -> Usages:
    """Return what was spent.

    A call with several tags counts under each of them when grouped by tag, and once in the total.

    Raises:
        ConfigurationError: There is no readable ledger, or the query makes no sense.
        UsageTooWide: It would take more than the bounds allow.
    """
    return of_ledger(path, lambda source: report(source, query or Query()), bounds)


def of_ledger(path: Path, tell: Callable[[Reading], T], bounds: Bounds = NO_BOUNDS) -> T:
    """Return what is told of a ledger as of one moment; rollups that are damaged are not used.

    Raises:
        ConfigurationError: There is no readable ledger.
    """
    try:
        try:
            with reading(path, bounds=bounds) as source:
                return tell(source)
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                raise
        with reading(path, has_rollups=False, bounds=bounds) as source:
            return tell(source)
    except sqlite3.Error as error:
        raise ConfigurationError([f"{path}: the ledger cannot be read: {error}"]) from None


def report(source: Reading, query: Query) -> Usages:
    """Return what was spent; see `usage`."""
    _check(query)
    span = Span(_nano(query.since, _FIRST), _nano(query.until, _LAST))
    asked = Asked(query.by, query.where, span, query.zone)
    is_disjoint = "tag" not in query.by
    some = dearest(source, asked, query.top) if query.top and is_disjoint else None
    found = some if some is not None else source.read(asked) if query.by else {}
    is_whole = bool(query.by) and some is None and is_disjoint
    whole = found if is_whole else source.read(replace(asked, by=()))
    total = _sum(whole.values())
    ranked = sorted(found, key=lambda group: (-found[group][_COST], group))
    shown = ranked[: query.top]
    times = [at for at, axis in enumerate(query.by) if axis in LABELS]
    shown.sort(
        key=lambda group: [datetime.fromisoformat(group[at]) for at in times]
    )  # by time, and then as before
    seen = users(source, asked) if query.has_users else None
    lines = tuple(_line(group, found[group], seen) for group in shown)
    if some is None:
        rest = _sum(found[group] for group in ranked[len(shown) :])
    else:
        rest = tuple(map(int.__sub__, total, _sum(found[group] for group in shown)))
    hidden = None if seen is None else {g: names for g, names in seen.items() if g not in shown}
    return Usages(
        query.by,
        lines,
        _line((), total, seen and _together(seen)),
        _line((), rest, hidden and _together(hidden)) if any(rest) else None,
        source.rows,
    )


def _line(group: Group, sums: Sums, seen: Users | None) -> Line:
    users = None if seen is None else len(seen.get(group, ()))
    values: tuple[Any, ...] = (group, *_figures(sums), users)
    return Line(*values)


def _together(seen: Users) -> Users:
    return {(): set[int | str]().union(*seen.values())}


def _sum(sums: Iterable[Sums]) -> Sums:
    return tuple(map(sum, zip(_NOTHING, *sums, strict=True)))


def _check(query: Query) -> None:
    problems = [*_unknown("by", query.by, AXES), *_unknown("where", query.where, _CHOSEN)]
    if len(set(query.by)) < len(query.by):
        problems.append("--by: an axis is named twice")
    if query.since is not None and query.until is not None and query.since > query.until:
        problems.append("--since: it is later than --until")
    if problems:
        raise ConfigurationError(problems)


def _unknown(option: str, names: Iterable[str], known: Sequence[str]) -> Iterator[str]:
    for name in names:
        if name not in known:
            close = get_close_matches(name, known, 1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            hint = "; use --since and --until" if name in LABELS else hint
            yield f"--{option}: {name!r} is none of {', '.join(known)}{hint}"


def _nano(seconds: float | None, default: int) -> int:
    return default if seconds is None else int(seconds * NANO)
