"""Usage reports: what was spent, by whatever a call was for."""

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from headworks.errors import ConfigurationError
from headworks.stores.ledger_schema import connect_read_only

AXES: Final[Mapping[str, str]] = {
    "model": "model_sent",
    "asked": "model_asked",
    "key": "key_name",
    "key_id": "key_id",
    "project": "project",
    "feature": "feature",
    "user": "user",
    "session": "session",
    "endpoint": "endpoint",
    "upstream": "upstream",
    "credential": "credential",
    "tier": "tier",
    "outcome": "coalesce(outcome, 'open')",
    "certainty": "coalesce(certainty, state)",
    "hour": "strftime('%Y-%m-%dT%H:00Z', held_at / 1000000000, 'unixepoch')",
    "day": "strftime('%Y-%m-%d', held_at / 1000000000, 'unixepoch')",
    "tag": "tag.value",
}
"""What a report may be grouped by, and how; times are UTC."""

_SUMS = """
    count(DISTINCT call),
    count(*),
    coalesce(sum(input) FILTER (WHERE state = 'settled'), 0),
    coalesce(sum(output) FILTER (WHERE state = 'settled'), 0),
    coalesce(sum(cached) FILTER (WHERE state = 'settled'), 0),
    coalesce(sum(reasoning) FILTER (WHERE state = 'settled'), 0),
    coalesce(sum(cost_nano), 0),
    coalesce(sum(cost_nano) FILTER (WHERE certainty != 'exact'), 0),
    coalesce(sum(cost_nano) FILTER (WHERE EXISTS (
        SELECT 1 FROM attempts AS later
        WHERE later.call = attempts.call AND later.attempt > attempts.attempt
    )), 0),
    count(*) FILTER (WHERE state = 'settled' AND cost_nano IS NULL),
    count(*) FILTER (WHERE state = 'held'),
    coalesce(sum(estimate_nano) FILTER (WHERE state = 'held'), 0)
"""


@dataclass(frozen=True, slots=True)
class Line:
    """One group of a report.

    Attributes:
        group: The group's values, in the order that was asked for.
        input: Tokens of settled attempts; `cached` is a part of it. `output` likewise.
        cost_nano: What is known to have been spent.
        estimated_nano: The part of it that rests on our own counts.
        waste_nano: The part of it that went into attempts that were followed by another.
        unpriced: Settled attempts whose price is unknown: not in any sum, and not free.
        open: Attempts under way, and what they may cost at most, which is in no sum either.
    """

    group: tuple[str, ...]
    calls: int
    attempts: int
    input: int
    output: int
    cached: int
    reasoning: int
    cost_nano: int
    estimated_nano: int
    waste_nano: int
    unpriced: int
    open: int
    open_nano: int


@dataclass(frozen=True, slots=True)
class Usages:
    """A report: its groups, dearest first, and the total, in which a call counts once."""

    by: tuple[str, ...]
    lines: tuple[Line, ...]
    total: Line


def usage(
    path: Path,
    since: float | None = None,
    until: float | None = None,
    by: Sequence[str] = ("model",),
) -> Usages:
    """Return what was spent on attempts begun from `since` to before `until`, in seconds of 1970.

    A call with several tags counts under each of them when grouped by tag, and once in the total.

    Raises:
        ConfigurationError: There is no readable ledger, or `by` names something unknown.
    """
    unknown = [name for name in by if name not in AXES]
    if unknown:
        raise ConfigurationError(
            [f"--by: {name!r} is none of {', '.join(AXES)}" for name in unknown]
        )
    bounds = {"since": _nano(since, -(2**63)), "until": _nano(until, 2**63 - 1)}
    axes = [AXES[name] for name in by]
    with closing(connect_read_only(path)) as db:
        db.execute("BEGIN")  # both statements see one moment
        try:
            lines = tuple(_lines(db, axes, bounds)) if by else ()
            total = next(_lines(db, [], bounds))
        except sqlite3.Error as error:
            raise ConfigurationError([f"{path}: the ledger cannot be read: {error}"]) from None
    return Usages(tuple(by), lines, total)


def _lines(
    db: sqlite3.Connection, axes: Sequence[str], bounds: Mapping[str, int]
) -> Iterator[Line]:
    tags = "LEFT JOIN json_each(attempts.tags) AS tag" if AXES["tag"] in axes else ""
    groups = ", ".join(str(n + 1) for n in range(len(axes)))
    cost = len(axes) + 7
    rows = db.execute(
        f"""
        SELECT {", ".join([*axes, _SUMS])}
        FROM attempts {tags}
        WHERE held_at >= :since AND held_at < :until
        {f"GROUP BY {groups} ORDER BY {cost} DESC, {groups}" if axes else ""}
        """,  # noqa: S608 - made of the constants above
        bounds,
    )
    return (
        Line(tuple("" if v is None else str(v) for v in row[: len(axes)]), *row[len(axes) :])
        for row in rows
    )


def _nano(seconds: float | None, default: int) -> int:
    return default if seconds is None else int(seconds * 1e9)
