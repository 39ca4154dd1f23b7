"""Reads a ledger's sums as of one moment: rollups where there are any, and rows where there are not.

A span of time is cut into blocks, whose sums are read; rows are read for what these lack at its
ends, or have too much. Then come the rows that the rollups lack. What no rollup knows (sessions, or
users by outcome) is read from the rows alone: exact too, but a second or two per million.
"""

import sqlite3
from collections.abc import Collection, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, Final

import msgspec

from headworks.core.periods import DAY, NANO, Cover, Ends, Span, cover
from headworks.stores.rollup_facts import START, following, opened, within
from headworks.stores.rollup_schema import (
    AXES,
    SUMS,
    Projection,
    connect,
    is_current,
    load_rates,
    rollups_path,
)
from headworks.stores.usage_asked import Asked, Group, condition, pieces
from headworks.stores.usage_bounds import NO_BOUNDS, Bounds, too_slow

Sums = tuple[int, ...]

READ: Final = (*SUMS, "open", "open_nano")
"""What is read of each group; rollups know no open rows."""

decoded: Final = msgspec.json.Decoder(Group).decode
_OPCODES: Final = 20_000
"""Some milliseconds of SQLite's work."""
_WORKBENCH: Final = (
    "CREATE TABLE temp.pieces (label INTEGER, level INTEGER, block INTEGER, lo INTEGER, hi INTEGER)",
    "CREATE TABLE temp.within (label, sign, first INTEGER, last INTEGER, lo INTEGER, hi INTEGER)",
    "CREATE TABLE temp.picked (id INTEGER PRIMARY KEY, text TEXT)",
    "CREATE TABLE temp.parts (id INTEGER PRIMARY KEY, text TEXT)",
    "CREATE TABLE temp.extra (text TEXT, cost INTEGER)",
    "CREATE TABLE temp.chosen (axis TEXT, value TEXT, PRIMARY KEY (axis, value)) WITHOUT ROWID",
)
_BLOCKS_CLUSTERED: Final = "s.block = p.block AND s.start >= p.lo AND s.start < p.hi"
_BLOCKS: Final = "s.block >= p.lo AND s.block < p.hi"
_WITHIN: Final = f"""
    INSERT INTO temp.within
    SELECT :label, :sign, first, last,
        max(start * {NANO}, :begin), min((start + 900) * {NANO}, :end)
    FROM rollups.quarters WHERE start > :begin / {NANO} - 900 AND start * {NANO} < :end
"""  # noqa: S608 - made of constants
_BESIDE: Final = """
    SELECT coalesce(sum(last - first + 1), 0) + :upto - :mark + (SELECT count(*) FROM rollups.open)
    FROM temp.within
"""
NO_PART: Final = "'[]'"
_TOGETHER: Final = 10_000
_BATCH: Final = 250_000
"""Rows that are grouped at a time, in memory: some 50 MB."""


class Reading:
    """A ledger as of the moment at which this is made; its statements are one transaction.

    Attributes:
        last: The ledger's last row.
        rows: How many of the ledger's rows were read one by one, at most, for a figure.

    Raises:
        ConfigurationError: There is no readable ledger.
    """

    def __init__(self, path: Path, *, has_rollups: bool = True, bounds: Bounds = NO_BOUNDS) -> None:
        self.rows = 0
        self._bounds = bounds
        self._db = _open(path) if has_rollups else connect(path, None)
        for statement in _WORKBENCH:
            self._db.execute(statement)
        self._db.execute("BEGIN")
        # the rollups first: no later state of the ledger lacks a row that they know
        (self._mark,) = self._db.execute("SELECT seq FROM rollups.state").fetchone()
        (last,) = self._db.execute("SELECT max(seq) FROM ledger.attempts").fetchone()
        self.last: int = last or 0
        self._ends = {"mark": self._mark, "upto": self.last}
        load_rates(self._db)
        if bounds is not NO_BOUNDS:
            self._db.set_progress_handler(bounds.is_over, _OPCODES)

    def close(self) -> None:
        """Let go of the ledger. Idempotent."""
        self._db.close()

    def select(self, statement: str, values: Mapping[str, Any]) -> Iterator[tuple[Any, ...]]:
        """Yield what a SELECT finds; `:mark` is the last row that rollups know, `:upto` the last."""
        return iter(self._db.execute(statement, {**self._ends, **values}))

    def fill(self, table: str, rows: Sequence[tuple[Any, ...]]) -> None:
        """Put rows into a table of the workbench."""
        if rows:
            places = ", ".join("?" * len(rows[0]))
            self._db.executemany(f"INSERT INTO temp.{table} VALUES ({places})", rows)  # noqa: S608 - a table of ours

    def read(
        self, asked: Asked, sums: Sequence[str] = READ, *, among: Collection[str] | None = None
    ) -> dict[Group, Sums]:
        """Return the sums of every group; only of those `among` users, if given."""
        if among is not None:
            asked = replace(asked, where={**asked.where, "user": among})
        projection = asked.projection()
        labels = self.divide(asked, projection)
        groups: dict[Group, Sums] = {}
        if projection is not None:
            found = self._sums_of(asked, projection, labels, sums)
            known = projection.known(asked.axes)
            if asked.by == (*asked.times, *known):  # each group comes once, as it is
                while some := dict(islice(found, _TOGETHER)):
                    groups |= some
                    self._bounds.check(len(groups))
            else:
                self._add(groups, found, asked.order(known))
        self._add(groups, self.rows_of(asked, labels, sums), asked.order(asked.axes))
        if "attempts" in sums:  # what a block had too much leaves nothing
            attempts = sums.index("attempts")
            return {group: it for group, it in groups.items() if it[attempts]}
        return groups

    def _add(
        self,
        groups: dict[Group, Sums],
        found: Iterator[tuple[Group, Sums]],
        order: Sequence[int],
    ) -> None:
        while some := list(islice(found, _TOGETHER)):
            for values, sums in some:
                group = tuple([values[at] for at in order])
                known = groups.get(group)
                groups[group] = sums if known is None else tuple(map(int.__add__, known, sums))
            self._bounds.check(len(groups))

    def divide(
        self, asked: Asked, projection: Projection | None, ends: Ends = "nearest"
    ) -> list[Group]:
        """Empty the workbench and note blocks and rows to read; return what their times are called.

        Where blocks end outside, so do the sums.
        """
        levels = () if projection is None else projection.levels
        first, last = self._db.execute(
            "SELECT min(start) / :whole * :whole, (max(start) / :whole + 1) * :whole"
            " FROM rollups.quarters",
            {"whole": levels[0] if levels and not asked.times else DAY},
        ).fetchone()  # whole blocks: there is nothing before the first row, or after the last
        for table in ("pieces", "within", "chosen", "extra"):
            self._db.execute(f"DELETE FROM temp.{table}")  # noqa: S608 - a table of ours
        for axis, chosen in asked.where.items():
            self.fill("chosen", [(axis, value) for value in {*chosen}])
        span = Span(
            max(asked.span.begin, (first or 0) * NANO), min(asked.span.end, (last or 0) * NANO)
        )
        parts = list(asked.periods(span))
        for number, part in enumerate(parts):
            found = cover(part.span, levels, ends)
            self._note(number, found._replace(less=[]) if ends == "outside" else found, projection)
        self.rows = max(self.rows, *self._db.execute(_BESIDE, self._ends).fetchone())
        if self._bounds.is_over():
            raise too_slow(self.rows)
        return [asked.labels(part.span.begin // NANO) for part in parts]

    def _note(self, label: int, part: Cover, projection: Projection | None) -> None:
        if projection is not None:
            noted = [(label, *it) for one in part.blocks for it in pieces(one, projection)]
            self.fill("pieces", noted)
        for sign, spans in ((1, part.more), (-1, part.less)):
            ends = [{"label": label, "sign": sign, **it._asdict()} for it in spans]
            self._db.executemany(_WITHIN, ends)

    def _sums_of(
        self, asked: Asked, projection: Projection, labels: Sequence[Group], sums: Sequence[str]
    ) -> Iterator[tuple[Group, Sums]]:
        """Yield what rollups know: labels, values of known axes, and sums."""
        table, part = self.pick(asked, projection)
        is_single, is_parted = len(projection.of) == 1, part != NO_PART
        kept = [name for name in sums if name in SUMS]
        rows = self._db.execute(
            f"""
            SELECT label, t.text, {part}, {", ".join(f"sum({n})" if n in kept else "0" for n in sums)}
            FROM (
                SELECT p.label, s.value, s.part, {", ".join(f"sum(s.{n}) AS {n}" for n in kept)}
                {lying(asked, projection)}
                GROUP BY p.rowid, s.value {", s.part" * is_parted}
            ) AS f
            CROSS JOIN {table} AS t ON t.id = f.value
            {"CROSS JOIN temp.parts AS c ON c.id = f.part" * is_parted}
            GROUP BY label, {"t.id" if is_single else "t.text"}, {part}
            """,  # noqa: S608 - made of constants
            {"number": projection.number},
        )
        for label, text, beside, *found in rows:
            values = (text,) if is_single else decoded(text or "[]")
            more = decoded(beside) if is_parted else ()
            yield (*labels[label], *values, *more), tuple(found)

    def pick(self, asked: Asked, projection: Projection) -> tuple[str, str]:
        """Return a table of the values that are asked for, by id, and what tells parts apart."""
        part = NO_PART
        if not set(asked.axes).isdisjoint(projection.parts):
            self._fill_names("parts", projection.number + 1, projection.parts, asked)
            part = "c.text"
        if len(projection.of) <= 1 and asked.where.keys().isdisjoint(projection.of):
            return "rollups.names", part
        self._fill_names("picked", projection.number, projection.of, asked)
        return "temp.picked", part

    def _fill_names(self, table: str, number: int, axes: Group, asked: Asked) -> None:
        """Put the names that fit into a table, with the values of the axes that are asked for."""
        texts = {axis: f"json_extract(text, '$[{at}]')" for at, axis in enumerate(axes)}
        shown = f"json_array({', '.join(texts[axis] for axis in axes if axis in asked.axes)})"
        if table == "picked" and len(axes) == 1:
            shown = texts[axes[0]] = "text"
        where = condition(asked.where, texts)
        self._db.execute(f"DELETE FROM temp.{table}")  # noqa: S608 - one of two
        self._db.execute(
            f"""
            INSERT INTO temp.{table}
            SELECT id, {shown} FROM rollups.names WHERE projection = :number AND {where}
            """,  # noqa: S608 - made of constants
            {"number": number},
        )

    def rows_of(
        self, asked: Asked, labels: Sequence[Group], sums: Sequence[str]
    ) -> Iterator[tuple[Group, Sums]]:
        """Yield what only rows know: labels, values, and sums; some groups more than once."""
        named: dict[int, Group] = {-1 - number: label for number, label in enumerate(labels)}
        width = len(asked.axes) + 1
        groups = ", ".join(f"c{n}" for n in range(width))
        for source, ends in self._batches(asked, sums):
            rows = self._db.execute(
                f"""
                SELECT {groups}, {", ".join(f"sum({name})" for name in sums)}
                FROM ({source}) GROUP BY {groups}
                """,  # noqa: S608 - made of constants
                {**self._ends, **asked.span._asdict(), **ends},
            )
            for start, *found in rows:
                if start not in named:
                    named[start] = asked.labels(start)
                yield (*named[start], *map(str, found[: width - 1])), tuple(found[width - 1 :])

    def _batches(self, asked: Asked, sums: Sequence[str]) -> Iterator[tuple[str, dict[str, int]]]:
        """Yield SQL for some of the rows at a time, and between what they lie."""
        axes = [f"{AXES[axis]} AS c{n}" for n, axis in enumerate(asked.axes, 1)]
        where = condition(asked.where, AXES)
        inside = f"{where} AND a.held_at >= :begin AND a.held_at < :end"
        # a row within a period has its number, from -1 down, and a new one the time that it began
        new, old = (START, "-1 - w.label") if asked.times else ("0", "0")
        columns = [f"{new} AS c0", *axes]
        yield opened(columns, inside, sums), {}
        for mark in range(self._mark, self.last, _BATCH):
            ends = {"mark": mark, "upto": min(mark + _BATCH, self.last)}
            yield following(columns, inside, sums), ends
        for low, high in self._stretches():
            yield within([f"{old} AS c0", *axes], where, sums), {"low": low, "high": high}

    def _stretches(self) -> Iterator[tuple[int, int]]:
        """Yield from where to where in `temp.within` as many rows lie as are grouped at a time."""
        low = rows = 0
        sizes = self._db.execute("SELECT rowid, last - first + 1 FROM temp.within").fetchall()
        for number, size in sizes:
            rows += size
            if rows >= _BATCH or number == len(sizes):
                yield low, number
                low, rows = number + 1, 0


def lying(asked: Asked, projection: Projection) -> str:
    """Return where sums lie, and which of them are asked for, as far as their keys say it."""
    # few values of many: each is looked up in every block
    is_sought = projection.is_clustered and projection.of[0] in asked.where
    is_narrow = not asked.where.keys().isdisjoint(projection.parts)
    return f"""
        FROM temp.pieces AS p {"CROSS JOIN temp.picked AS v" * is_sought}
        CROSS JOIN rollups.sums AS s
        WHERE s.projection = :number AND s.level = p.level {"AND s.value = v.id" * is_sought}
            AND {_BLOCKS_CLUSTERED if projection.is_clustered else _BLOCKS}
            {"AND s.part IN (SELECT id FROM temp.parts)" * is_narrow}
    """  # noqa: S608 - made of constants


@contextmanager
def reading(
    path: Path, *, has_rollups: bool = True, bounds: Bounds = NO_BOUNDS
) -> Generator[Reading]:
    """Read a ledger as of this moment.

    Raises:
        ConfigurationError: There is no readable ledger, or it took too long.
    """
    source = Reading(path, has_rollups=has_rollups, bounds=bounds)
    try:
        yield source
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode == sqlite3.SQLITE_INTERRUPT:
            raise too_slow(source.rows) from None
        raise
    finally:
        source.close()


def _open(path: Path) -> sqlite3.Connection:
    """Open a ledger, with its rollups if they can be used."""
    rollups = rollups_path(path)
    if rollups.exists():
        with suppress(sqlite3.Error):  # whatever is wrong with them, the rows say it all
            db = connect(path, rollups)
            with ExitStack() as undo:
                undo.callback(db.close)
                if is_current(db):
                    undo.pop_all()
                    return db
    return connect(path, None)
