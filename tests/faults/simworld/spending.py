"""What the ledger on disk says of everybody who has a budget."""

import sqlite3
from collections.abc import Iterator, Mapping

from headworks.core.budget import EVERY_USER, Budget, Owner

_SPENT = """
    SELECT max(spent) FROM (
        SELECT sum(coalesce(cost_nano, CASE state WHEN 'held' THEN estimate_nano END)) AS spent
        FROM attempts WHERE {})
"""
_OF_OTHERS = "user NOT IN (?, 'ann') GROUP BY user"
"""Of all users but the one who may have a budget of its own."""
_OF = {
    "organisation": "'' = ?",
    "project": "project = ?",
    "key": "key_name = ?",
    "user": "user = ?",
    "tag": "tags LIKE '%\"' || ? || '\"%'",
}


def spending(
    ledger: sqlite3.Connection, budgets: Mapping[Owner, Budget]
) -> Iterator[tuple[Owner, int]]:
    """Yield what everybody with a budget has spent and holds, as it is on disk."""
    for owner in budgets:
        where = _OF[owner.kind] if owner != EVERY_USER else _OF_OTHERS
        (most,) = ledger.execute(_SPENT.format(where), (owner.name,)).fetchone()
        yield owner, most or 0
