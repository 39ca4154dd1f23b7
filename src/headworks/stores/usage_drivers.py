"""Compares the costs of two periods, and says what drove the change."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from headworks.core.drivers import Drivers, Spent, drivers
from headworks.errors import ConfigurationError
from headworks.stores.usage import Line, Query, Usages, of_ledger, report
from headworks.stores.usage_bounds import NO_BOUNDS, Bounds

_SEGMENT: Final = ("model", "tier")

Segment = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Change:
    """How the cost of one model, at one service tier, changed, and what drove it."""

    model: str
    tier: str
    before: Line
    after: Line
    drivers: Drivers


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two periods, each with its bounds in seconds since 1970, and what drove the change.

    Attributes:
        drivers: The sum of those of all changes.
        changes: By model and tier, the largest first.
        rows_read: How many of the ledger's rows had to be read one by one, beside kept sums.
    """

    before: Line
    after: Line
    bounds: tuple[float, float, float]
    drivers: Drivers
    changes: tuple[Change, ...]
    rows_read: int = 0


def compare(path: Path, query: Query, bounds: Bounds = NO_BOUNDS) -> Comparison:
    """Return what drove the change of cost from the period before the query's to that one.

    The period before is as long. What the query groups by is of no account. See `core.drivers`.

    Raises:
        ConfigurationError: There is no readable ledger, or the query has no two bounds.
        UsageTooWide: It would take more than the bounds allow.
    """
    begin, end = query.since, query.until
    if begin is None or end is None or begin >= end:
        raise ConfigurationError(
            ["--compare: both periods need bounds; write --compare 7d, or --since and --until"]
        )
    after = replace(query, by=_SEGMENT, top=None, has_users=False)
    earlier = begin - (end - begin)
    before = replace(after, since=earlier, until=begin)
    old, new = of_ledger(
        path, lambda source: (report(source, before), report(source, after)), bounds
    )
    return _comparison(old, new, (earlier, begin, end))


def _comparison(old: Usages, new: Usages, bounds: tuple[float, float, float]) -> Comparison:
    before = {line.group: line for line in old.lines}
    after = {line.group: line for line in new.lines}
    parts = drivers(_spent(before), _spent(after), (_ended(old.total), _ended(new.total)))
    changes = [
        Change(
            model, tier, before.get((model, tier), Line()), after.get((model, tier), Line()), part
        )
        for (model, tier), part in parts.items()
    ]
    changes.sort(key=lambda change: (-abs(change.drivers.total), change.model, change.tier))
    return Comparison(
        old.total,
        new.total,
        bounds,
        sum(parts.values(), Drivers()),
        tuple(changes),
        max(old.rows_read, new.rows_read),
    )


def _ended(total: Line) -> int:
    return max(total.calls - total.open, 0)


def _spent(lines: Mapping[Segment, Line]) -> dict[Segment, Spent]:
    """Return what was used; attempts under way have used nothing yet."""
    return {
        group: Spent(
            line.attempts - line.open,
            line.input,
            line.output,
            line.cost_nano,
            line.saved_nano,
            line.answered_nano,
        )
        for group, line in lines.items()
    }
