"""What was spent before now, as the ledger's rows say it.

A row counts in the period in which it was held. A clock that was set back has stamped rows with a
time that is over; so a period's rows are all those from the first on that was held in it. Reports
go by the time that rows are stamped with: what they say is put right by the rows that are astray.
"""

import sqlite3
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC
from pathlib import Path
from typing import Any, Final

import msgspec

from headworks.core.budget import SET_BACK, Owner
from headworks.core.levels import LevelKind
from headworks.core.periods import NANO, QUARTER, Span
from headworks.stores.ledger_schema import connect_read_only
from headworks.stores.usage import of_ledger
from headworks.stores.usage_asked import Asked
from headworks.stores.usage_reading import Reading, lying

_END: Final = 2**63 - 1
_AXES: Final[Mapping[LevelKind, tuple[str, ...]]] = {
    "organisation": (),
    "project": ("project",),
    "key": ("key",),
    "user": ("user",),
    "tag": ("tag",),
}
_NAMES: Final[Mapping[LevelKind, str]] = {
    "organisation": "''",
    "project": "project",
    "key": "key_name",
    "user": "user",
}
_NAMED: Final = "seq >= :first AND seq IN (SELECT value FROM json_each(:rows))"
_EACH: Final = f"""
    SELECT {{name}}, sum(coalesce(cost_nano, estimate_nano, 0)) FROM attempts WHERE {_NAMED} GROUP BY 1
"""  # noqa: S608 - made of constants
_EACH_TAG: Final = f"""
    SELECT name, sum(cost) FROM (
        SELECT DISTINCT seq, tag.value AS name, coalesce(cost_nano, estimate_nano, 0) AS cost
        FROM attempts, json_each(attempts.tags) AS tag WHERE tags IS NOT NULL AND {_NAMED}
    ) GROUP BY 1
"""  # noqa: S608 - made of constants

_SUMMED: Final = """
    SELECT t.text, sum(f.cost) FROM (
        SELECT s.value, sum(s.cost) AS cost {lying} GROUP BY p.rowid, s.value
    ) AS f CROSS JOIN rollups.names AS t ON t.id = f.value GROUP BY t.id
"""

_FIRST: Final = f"""
    SELECT seq FROM ledger.attempts WHERE held_at >= :begin AND seq >= coalesce(
        (
            SELECT min(max(first, :low)) FROM rollups.quarters
            WHERE last >= :low AND (start + {QUARTER}) * {NANO} > :begin
        ),
        max(:low, :mark + 1)
    ) ORDER BY seq LIMIT 1
"""  # noqa: S608 - made of constants
_IS_OF: Final = f"a.held_at / {NANO * QUARTER} * {QUARTER} = q.start"
_ASTRAY: Final = f"""
    SELECT 1, a.seq FROM rollups.quarters AS q CROSS JOIN ledger.attempts AS a
        ON a.seq BETWEEN max(q.first, :first) AND q.last AND a.held_at < :begin
    WHERE q.start * {NANO} < :begin AND q.last >= :first AND {_IS_OF} AND a.state != 'held'
    UNION ALL
    SELECT -1, a.seq FROM rollups.quarters AS q CROSS JOIN ledger.attempts AS a
        ON a.seq BETWEEN q.first AND min(q.last, :first - 1) AND a.held_at >= :begin
    WHERE (q.start + {QUARTER}) * {NANO} > :begin AND q.first < :first AND {_IS_OF}
        AND a.state != 'held'
    UNION ALL
    SELECT CASE WHEN seq < :first THEN -1 ELSE 1 END, seq FROM ledger.attempts
    WHERE seq > :mark AND (seq < :first) = (held_at >= :begin) AND state != 'held'
"""  # noqa: S608 - made of constants
"""Closed rows from the first of a period on that are stamped with an earlier time, and vice versa."""
_OPEN: Final = """
    SELECT a.seq FROM rollups.open AS o CROSS JOIN ledger.attempts AS a ON a.seq = o.seq
    WHERE a.seq >= :first AND a.state = 'held'
    UNION ALL
    SELECT seq FROM ledger.attempts WHERE seq > :mark AND seq >= :first AND state = 'held'
"""

Sums = Mapping[str, int]
"""Nano-dollars by name."""


@dataclass(frozen=True, slots=True)
class Seeds:
    """What was spent, by kind of owner and the moment from which on it is asked.

    Attributes:
        last: The last row that was looked at.
        open: Those among them that were not closed, and are in no sum yet.
        firsts: The first row of each of these moments.
    """

    spent: Mapping[tuple[LevelKind, int], Sums] = field(
        default_factory=dict[tuple[LevelKind, int], Sums]
    )
    last: int = 0
    open: tuple[int, ...] = ()
    firsts: Mapping[int, int] = field(default_factory=dict[int, int])

    def of(self, owner: Owner, begin: int) -> int:
        """Return what an owner has spent since `begin`."""
        return self.spent.get((owner.kind, begin), {}).get(owner.name, 0)


def read_seeds(path: Path, wanted: Collection[tuple[LevelKind, int]]) -> Seeds:
    """Return what was spent by closed rows, for each kind and each moment that is wanted.

    It reads sums where they are kept, and the few rows that are not in them; any thread may call it.

    Raises:
        ConfigurationError: There is no readable ledger.
    """
    return of_ledger(path, lambda source: _seeds(source, wanted))


def read_on(path: Path, seeds: Seeds) -> Seeds:
    """Return the seeds with what has happened since; rows that are not closed count as estimated."""
    with closing(connect_read_only(path)) as db:
        db.execute("BEGIN")
        new = db.execute("SELECT seq FROM attempts WHERE seq > ?", (seeds.last,)).fetchall()
        rows = [*seeds.open, *(seq for (seq,) in new)]
        last = max((seq for (seq,) in new), default=seeds.last)
        firsts = {begin: _from(db, first, begin, last) for begin, first in seeds.firsts.items()}
        spent = dict(seeds.spent)
        for kind, begin in spent if rows else ():
            more = _sums(db.execute, kind, rows, firsts[begin])
            spent[kind, begin] = _with(spent[kind, begin], more)
        return Seeds(spent, last, firsts=firsts)


def _seeds(source: Reading, wanted: Collection[tuple[LevelKind, int]]) -> Seeds:
    firsts = {begin: _first(source, begin) for begin in {begin for _, begin in wanted}}
    astray = {begin: _astray(source, begin, first) for begin, first in firsts.items()}
    spent: dict[tuple[LevelKind, int], Sums] = {
        (kind, begin): _spent(source, kind, begin, astray[begin]) for kind, begin in wanted
    }
    held = source.select(_OPEN, {"first": min(firsts.values(), default=0)})
    return Seeds(spent, source.last, tuple(seq for (seq,) in held), firsts)


def _spent(
    source: Reading, kind: LevelKind, begin: int, astray: Mapping[int, Sequence[int]]
) -> Sums:
    asked = Asked(_AXES[kind], {}, Span(begin, _END), UTC)
    projection = asked.projection()
    labels = source.divide(asked, projection)
    spent: dict[str, int] = {}
    if projection is not None:
        summed = _SUMMED.format(lying=lying(asked, projection))
        spent = dict(source.select(summed, {"number": projection.number}))
    for group, (cost,) in source.rows_of(asked, labels, ("cost",)):
        name = "".join(group)
        spent[name] = spent.get(name, 0) + cost
    for sign, rows in astray.items():
        spent = _with(spent, _sums(source.select, kind, rows, 0), sign)
    return spent


def _astray(source: Reading, begin: int, first: int) -> dict[int, list[int]]:
    """Return closed rows that a report of what was held since `begin` lacks (1), or should not know (-1)."""
    found: dict[int, list[int]] = {}
    for sign, seq in source.select(_ASTRAY, {"begin": begin, "first": first}):
        found.setdefault(sign, []).append(seq)
    return found


def _first(source: Reading, begin: int) -> int:
    """Return the first row that was held at `begin` or later, found without reading all before it."""
    low, high = 1, source.last + 1
    while low < high:
        middle = (low + high) // 2
        found = source.select(
            "SELECT held_at FROM ledger.attempts WHERE seq >= :at LIMIT 1", {"at": middle}
        )
        if next(found)[0] < begin - SET_BACK:
            low = middle + 1
        else:
            high = middle
    first = next(source.select(_FIRST, {"begin": begin, "low": low}), None)
    return source.last + 1 if first is None else int(first[0])


def _from(db: sqlite3.Connection, first: int, begin: int, last: int) -> int:
    """Return the first row of a period, which may have begun since."""
    found = db.execute(
        "SELECT seq FROM attempts WHERE seq >= ? AND held_at >= ? ORDER BY seq LIMIT 1",
        (first, begin),
    ).fetchone()
    return last + 1 if found is None else int(found[0])


def _sums(
    select: Callable[[str, dict[str, Any]], Iterable[tuple[Any, ...]]],
    kind: LevelKind,
    rows: Sequence[int],
    first: int,
) -> dict[str, int]:
    query = _EACH_TAG if kind == "tag" else _EACH.format(name=_NAMES[kind])
    return dict(select(query, {"first": first, "rows": msgspec.json.encode(rows).decode()}))


def _with(known: Sums, more: Sums, sign: int = 1) -> dict[str, int]:
    return {**known, **{name: known.get(name, 0) + sign * cost for name, cost in more.items()}}
