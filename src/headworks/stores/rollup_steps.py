"""How a slice of the ledger is passed, as SQL: rows, their sums by quarters, and on into the file."""
# ruff: noqa: S608 - every statement is made of constants

from typing import Final

from headworks.core.periods import DAY, HOUR
from headworks.stores.rollup_facts import START, TAKE, passing
from headworks.stores.rollup_schema import AXES, PROJECTIONS, SUMS, WHENCE, WIDE

_NAMES: Final = ", ".join(SUMS)
_TOTALS: Final = ", ".join(f"sum({name})" for name in SUMS)
_COLUMNS: Final = ", ".join(f"{name} INTEGER" for name in SUMS)
_UPSERT: Final = ", ".join(f"{name} = {name} + excluded.{name}" for name in SUMS)
_DIMS: Final = ", ".join(WIDE)
_WHENCE: Final = ", ".join(WHENCE)
_NUMBER: Final = {projection.axes: projection.number for projection in PROJECTIONS}
_WIDE, _USER, _TAG = _NUMBER[*WIDE, "route"], _NUMBER[("user",)], _NUMBER["tag", "model"]
_WHENCE_USER, _WHENCE_TAG = _NUMBER["user", *WHENCE], _NUMBER["tag", *WHENCE]
_NARROW: Final = tuple(p for p in PROJECTIONS if not p.is_clustered and p.number != _WIDE)
_MODEL: Final = WHENCE.index("model")
_ROUTE: Final = "upstream || '/' || model"
_FINEST: Final = min(next(p for p in PROJECTIONS if p.axes == ("user",)).levels)
_DAY: Final = f"start / {DAY} * {DAY}"


def _spelled(of: tuple[str, ...]) -> str:
    """Return what a projection calls its values."""
    axes = [_ROUTE if axis == "route" else axis for axis in of] or ["''"]
    return axes[0] if len(axes) == 1 else f"json_array({', '.join(axes)})"


_VALUE: Final = " ".join(f"WHEN {p.number} THEN {_spelled(p.of)}" for p in _NARROW)
_FACTS: Final = passing(
    (
        f"{START} AS start",
        *(f"{AXES[axis]} AS {axis}" for axis in WIDE),
        "a.user",
        "coalesce(a.tags, '[]') AS tags",
    ),
    "a.state != 'held'",
)

WORKBENCH: Final = (
    # Rows that differ in nothing but their sums are merged as they come: no sorting, and what
    # follows reads few. Users come first, because most rows differ in them.
    f"""
    CREATE TABLE temp.facts (
        start INTEGER, {_DIMS}, user, tags, {_COLUMNS},
        PRIMARY KEY (user, tags, start, {_DIMS})
    ) WITHOUT ROWID
    """,
    f"CREATE TABLE temp.wide (start INTEGER, {_DIMS}, {_COLUMNS})",
    f"CREATE TABLE temp.parts (projection INTEGER, start INTEGER, text, part, {_COLUMNS})",
    "CREATE TABLE temp.narrow (number INTEGER PRIMARY KEY, finest INTEGER)",
    *(f"INSERT INTO temp.narrow VALUES ({p.number}, {p.levels[-1]})" for p in _NARROW),
    "CREATE TABLE temp.levels (projection, level, size, PRIMARY KEY (projection, level))",
    *(
        f"INSERT INTO temp.levels VALUES ({p.number}, {level}, {p.block(level)})"
        for p in PROJECTIONS
        for level in p.levels
    ),
)
"""Tables of the writer's own, empty between two slices."""

STEPS: Final = (
    f"INSERT INTO temp.facts {_FACTS} ON CONFLICT DO UPDATE SET {_UPSERT}",
    f"""
    INSERT INTO temp.wide SELECT start, {_DIMS}, {_TOTALS}
    FROM temp.facts GROUP BY start, {_DIMS}
    """,
    f"""
    INSERT INTO temp.parts
    SELECT number, start / finest * finest AS begin, CASE number {_VALUE} END AS text, '', {_TOTALS}
    FROM temp.wide CROSS JOIN temp.narrow GROUP BY number, begin, text
    """,
    f"""
    INSERT INTO temp.parts
    SELECT {_WIDE}, start, json_array({_DIMS}, {_ROUTE}), '', {_NAMES} FROM temp.wide
    """,
    f"""
    INSERT INTO temp.parts
    SELECT {_WHENCE_USER}, {_DAY} AS day, user, json_array({_WHENCE}), {_TOTALS}
    FROM temp.facts GROUP BY day, user, {_WHENCE}
    """,
    f"""
    INSERT INTO temp.parts
    SELECT {_USER}, start / {_FINEST} * {_FINEST} AS begin, user, '', {_TOTALS}
    FROM temp.facts GROUP BY begin, user
    """,
    f"""
    INSERT INTO temp.parts
    SELECT {_WHENCE_TAG}, hour, coalesce(tag.value, '') AS text, part, {_TOTALS}
    FROM (
        SELECT start / {HOUR} * {HOUR} AS hour, tags, json_array({_WHENCE}) AS part,
            {", ".join(f"sum({name}) AS {name}" for name in SUMS)}
        FROM temp.facts GROUP BY hour, tags, {_WHENCE}
    ) LEFT JOIN json_each(tags) AS tag ON tag.key = (
        SELECT min(same.key) FROM json_each(tags) AS same WHERE same.value = tag.value
    )
    GROUP BY hour, text, part
    """,
    f"""
    INSERT INTO temp.parts
    SELECT {_TAG}, start, text, json_array(json_extract(part, '$[{_MODEL}]')) AS beside, {_TOTALS}
    FROM temp.parts WHERE projection = {_WHENCE_TAG} GROUP BY start, text, beside
    """,
    TAKE,
    """
    INSERT OR IGNORE INTO rollups.names (projection, text)
    SELECT DISTINCT projection, text FROM temp.parts
    UNION ALL
    SELECT DISTINCT projection + 1, part FROM temp.parts WHERE part != ''
    """,
    f"""
    INSERT INTO rollups.sums
    SELECT parts.projection, level, start / size * size, n.id,
        CASE part WHEN '' THEN 0 ELSE (
            SELECT id FROM rollups.names
            WHERE projection = parts.projection + 1 AND text = parts.part
        ) END,
        start / level * level, {_NAMES}
    FROM temp.parts
    CROSS JOIN rollups.names AS n ON n.projection = parts.projection AND n.text = parts.text
    CROSS JOIN temp.levels ON levels.projection = parts.projection
    WHERE true
    ON CONFLICT DO UPDATE SET {_UPSERT}
    """,
    f"""
    INSERT INTO rollups.quarters
    SELECT {START} AS start, min(seq), max(seq) FROM ledger.attempts AS a
    WHERE seq > :mark AND seq <= :upto GROUP BY 1
    ON CONFLICT DO UPDATE SET first = min(first, excluded.first), last = max(last, excluded.last)
    """,
    """
    INSERT OR REPLACE INTO rollups.chain SELECT * FROM (
        SELECT seq, link, chain FROM ledger.attempts
        WHERE seq > :mark AND seq <= :upto AND link IS NOT NULL
        UNION ALL
        SELECT a.seq, a.link, a.chain
        FROM rollups.open AS o CROSS JOIN ledger.attempts AS a ON a.seq = o.seq
        WHERE a.link IS NOT NULL
    ) ORDER BY link DESC LIMIT 1
    """,
    "DELETE FROM rollups.chain WHERE link < (SELECT max(link) FROM rollups.chain)",
    """
    DELETE FROM rollups.open WHERE seq IN (
        SELECT a.seq FROM rollups.open AS o CROSS JOIN ledger.attempts AS a ON a.seq = o.seq
        WHERE a.state != 'held'
    )
    """,
    """
    INSERT INTO rollups.open
    SELECT seq FROM ledger.attempts WHERE seq > :mark AND seq <= :upto AND state = 'held'
    """,
    """
    UPDATE rollups.state SET (seq, call, attempt) = (
        SELECT seq, call, attempt FROM ledger.attempts WHERE seq = :upto
    ) WHERE :upto > :mark
    """,
    "DELETE FROM temp.facts",
    "DELETE FROM temp.wide",
    "DELETE FROM temp.parts",
)
"""Passes the rows after `:mark` up to `:upto`, and those of `open` that are closed by now."""
