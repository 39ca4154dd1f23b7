"""The promise of rollups: what a report takes does not grow with the ledger."""

import sqlite3
from contextlib import closing
from datetime import UTC

import pytest

from headworks.core.periods import Span
from headworks.stores.rollups import Rollups
from headworks.stores.usage_asked import Asked
from headworks.stores.usage_reading import Reading
from tests.stores.books import open_ledger

ROWS = 200_000
MANY = """
    WITH RECURSIVE counted(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM counted WHERE n < ?)
    INSERT INTO attempts (
        seq, call, attempt, boot, state, certainty, outcome, held_at, settled_at, key_id, key_name,
        project, feature, user, session, endpoint, upstream, credential, model_asked, model_sent,
        stream, input, output, cached, written, written_12h, reasoning, tier, cost_nano
    )
    SELECT n, 'c' || n, 1, 1, 'settled', 'exact', 'completed', 1800000000000000000 + n * 3000000000,
        0, 'key', 'web', 'shop', 'f' || n % 5, 'u' || n % 500, 's' || n, 'chat.completions', 'up',
        'main', 'm', 'm' || n % 3, 0, 10, 10, 0, 0, 0, 0, 'default', n
    FROM counted
"""


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """A week of two hundred thousand calls of five hundred users."""
    path = tmp_path_factory.mktemp("large") / "l.db"
    open_ledger(path).close()
    with closing(sqlite3.connect(path)) as db, db:
        db.execute(MANY, (ROWS,))
    with closing(Rollups(path)) as rollups:
        while rollups.advance(50_000):
            pass
    return path


@pytest.mark.parametrize(
    ("by", "most"),
    [
        ((), 10_000),
        (("model",), 10_000),
        (("feature", "outcome"), 20_000),
        (("day",), 10_000),
        (("hour", "model"), 100_000),
        (("user",), 500_000),
        (("user", "model"), 500_000),
        (("tag", "model"), 10_000),
        (("route", "outcome"), 10_000),
    ],
)
def test_a_report_does_not_read_the_rows(large, by, most):
    """What a report takes grows with what is in it, not with the ledger: SQLite's steps are counted."""
    hundreds = 0

    def count():
        nonlocal hundreds
        hundreds += 1

    with closing(Reading(large)) as reading:
        reading._db.set_progress_handler(count, 100)
        found = usage_of(reading, by)

    assert sum(calls for calls, *_ in found) == ROWS
    assert hundreds * 100 < most


"""Reading every row takes 30 steps each at least: six million."""


def usage_of(reading, by):
    """Return the calls of each group."""
    asked = Asked(by, {}, Span(-(2**63), 2**63 - 1), UTC)
    return list(reading.read(asked, ("calls",)).values())
