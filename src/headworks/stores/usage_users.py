"""Reports in which users are groups, or are counted: there may be hundreds of thousands of them."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from headworks.core.periods import NANO, Span
from headworks.stores.rollup_schema import PROJECTIONS, Projection
from headworks.stores.usage_asked import Asked, Group
from headworks.stores.usage_reading import (
    NO_PART,
    READ,
    Reading,
    Sums,
    decoded,
    lying,
)

Users = dict[Group, set[int | str]]

_COST: Final = READ.index("cost")
_ALONE: Final = next(it for it in PROJECTIONS if it.axes == ("user",))
_WIDENINGS: Final = (8, 64)
"""How many users are looked at for one group that is wanted, before all of them are."""
_RANKED: Final = """
    SELECT text, cost FROM (
        SELECT value, sum(cost) AS cost FROM (
            SELECT s.value AS value, sum(s.cost) AS cost
            FROM temp.pieces AS p CROSS JOIN rollups.sums AS s
                ON s.projection = :number AND s.level = p.level AND s.block = p.block
                AND s.start >= p.lo AND s.start < p.hi
            GROUP BY p.rowid, s.value
            UNION ALL
            SELECT names.id, extra.cost FROM temp.extra CROSS JOIN rollups.names
                ON names.projection = :number AND names.text = extra.text
        ) GROUP BY value ORDER BY cost DESC LIMIT :most
    ) CROSS JOIN rollups.names ON names.id = value
    UNION ALL
    SELECT * FROM (
        SELECT text, sum(cost) FROM temp.extra WHERE text NOT IN (
            SELECT text FROM rollups.names WHERE projection = :number
        ) GROUP BY text ORDER BY 2 DESC LIMIT :most
    )
    ORDER BY 2 DESC LIMIT :most
"""
_IDS: Final = """
    SELECT text, id FROM temp.extra CROSS JOIN rollups.names USING (text) WHERE projection = :number
"""


def dearest(source: Reading, asked: Asked, most: int) -> dict[Group, Sums] | None:
    """Return the sums of some groups with users, the `most` dearest ones among them.

    No group costs more than its user: so it looks at the dearest users, until the last of the
    groups that are wanted is dearer than the next user. None, where users are no groups, or so many
    would have to be looked at that reading all takes no longer.
    """
    if "user" not in asked.by or "user" in asked.where or asked.projection() is None:
        return None
    users = _ranked(source, asked, most * _WIDENINGS[-1] + 1)
    for many in (most * width for width in _WIDENINGS):
        found = source.read(asked, among=[name for name, _ in users[:many]])
        if many >= len(users):
            return found
        costs = sorted((sums[_COST] for sums in found.values()), reverse=True)
        if len(costs) >= most and costs[most - 1] > users[many][1]:
            return found
    return None


def _ranked(source: Reading, asked: Asked, most: int) -> list[tuple[str, int]]:
    """Return users, and what they cost at most, the dearest first."""
    alone = replace(asked, by=("user",), where={})
    labels = source.divide(alone, _ALONE, "outside")
    rows = [(*values, *cost) for values, cost in source.rows_of(alone, labels, ("cost",))]
    source.fill("extra", rows)
    return list(source.select(_RANKED, {"number": _ALONE.number, "most": most}))


def users(source: Reading, asked: Asked) -> Users:
    """Return who is in each group, by numbers or names; calls that name no user have none."""
    if "user" in asked.by:
        at = asked.by.index("user")
        groups = source.read(asked, ("attempts",))
        return {group: {*filter(None, [group[at]])} for group in groups}
    asked = replace(asked, by=(*asked.by, "user"))
    projection = asked.projection()
    inner, edges = _whole(asked.span, projection)
    named = [
        group for edge in edges for group in source.read(replace(asked, span=edge), ("attempts",))
    ]
    asked = replace(asked, span=inner)
    labels = source.divide(asked, projection, "within")
    order = asked.order(asked.axes)
    rows = source.rows_of(asked, labels, ("attempts",))
    named += [tuple([values[at] for at in order]) for values, _ in rows]
    found: Users = defaultdict(set)
    ids: dict[str, int] = {}
    if projection is not None:
        source.fill("extra", [(user, 0) for user in {"", *(user for *_, user in named)}])
        ids = dict(source.select(_IDS, {"number": projection.number}))
        _add_seen(found, source, asked, projection, labels)
    for *group, user in named:
        found[tuple(group)].add(ids.get(user, user))
    nobody = {"", ids.get("", "")}
    return {group: some - nobody for group, some in found.items()}


def _whole(span: Span, projection: Projection | None) -> tuple[Span, list[Span]]:
    """Return the blocks of a rollup that lie within a span, and what is left at its ends."""
    if projection is None:
        return span, []
    unit = projection.levels[-1] * NANO
    begin, end = -(-span.begin // unit) * unit, span.end // unit * unit
    if begin >= end:
        return Span(0, 0), [span]
    return Span(begin, end), [Span(span.begin, begin), Span(end, span.end)]


def _add_seen(
    found: Users,
    source: Reading,
    asked: Asked,
    projection: Projection,
    labels: Sequence[Group],
) -> None:
    """Add the users whom rollups know in blocks, by number."""
    _, part = source.pick(asked, projection)
    is_parted = part != NO_PART
    parts = source.select("SELECT * FROM temp.parts", {}) if is_parted else [(0, "[]")]
    beside = {number: decoded(text) for number, text in parts}
    together: dict[tuple[int, int], set[int]] = defaultdict(set)
    for label, number, user in source.select(
        f"SELECT p.label, {'s.part' if is_parted else '0'}, s.value {lying(asked, projection)}"
        f" GROUP BY p.rowid, s.value {', s.part' * is_parted}",
        {"number": projection.number},
    ):
        together[label, number].add(user)
    order = asked.order(projection.known(asked.axes))[:-1]
    for (label, number), some in together.items():
        values = (*labels[label], "", *beside[number])
        found[tuple([values[at] for at in order])] |= some
