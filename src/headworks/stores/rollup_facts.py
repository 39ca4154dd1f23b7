"""What a row of the ledger adds to a report, as SQL: the one definition, for rollups and for reports.

A row adds itself when it is passed, in the order of `seq`. It counts as a call until another attempt
of its call follows; that one then takes the call over (-1 here, +1 there), and what the row cost is
waste from then on. So the sums of all lines of a report are its total, whatever it is grouped by.

A row that is open when the writer passes it is added when it is closed, with what followed so far.

* `saved` is what the row would have cost at full prices, without the provider's prompt cache, less
  what it did cost. It is negative where entries were written that nothing was read from.
* `answered` is the part of the cost that went into output.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from headworks.stores.rollup_schema import AXES, SUMS

START: Final = "a.held_at / 900000000000 * 900"
"""The quarter of an hour that a row began in."""

_TAKEN_OVER: Final = "(a.seq IN (SELECT seq FROM rollups.taken))"
_IS_PLAIN: Final = """
    r.version IS NOT NULL AND a.cached >= 0 AND a.written_12h BETWEEN 0 AND a.written
    AND a.input BETWEEN a.cached + a.written AND 10000000
"""
_FULL: Final = """
    (a.input * r.input + max(a.output, a.reasoning, 0) * r.output + 999999) / 1000000
"""

_OWN: Final[Mapping[str, str]] = {
    "attempts": "1",
    **{
        name: f"(a.state = 'settled') * a.{name}"
        for name in ("input", "output", "cached", "written", "reasoning")
    },
    "cost": "coalesce(a.cost_nano, 0)",
    "estimated": "coalesce(a.cost_nano * (a.certainty != 'exact'), 0)",
    "saved": f"""
        CASE WHEN a.cost_nano > 0 AND (a.cached != 0 OR a.written != 0) AND {_IS_PLAIN}
        THEN {_FULL} - a.cost_nano ELSE 0 END
    """,
    "answered": """
        CASE WHEN a.cost_nano > 0 AND r.version IS NOT NULL
        THEN min(max(a.output, a.reasoning, 0) * r.output / 1000000, a.cost_nano) ELSE 0 END
    """,
    "unpriced": "(a.state = 'settled' AND a.cost_nano IS NULL)",
    "open": "(a.state = 'held')",
    "open_nano": "(a.state = 'held') * coalesce(a.estimate_nano, 0)",
}
_FRESH: Final = {**_OWN, "calls": "1", "waste": "0"}
_PASSED: Final = {
    **_OWN,
    "calls": f"NOT {_TAKEN_OVER}",
    "waste": f"coalesce(a.cost_nano, 0) * {_TAKEN_OVER}",
}
_TAKING: Final = {"calls": "-1", "waste": "coalesce(a.cost_nano, 0)"}

_RATES: Final = """
    LEFT JOIN temp.rates AS r ON r.version = a.price_version AND r.tier = a.tier
        AND a.input > r.above AND a.input <= r.most
"""
_TAGS: Final = """
    LEFT JOIN json_each(a.tags) AS tag ON tag.key = (
        SELECT min(same.key) FROM json_each(a.tags) AS same WHERE same.value = tag.value
    )
"""

_FROM_FRESH: Final = "ledger.attempts AS a"
_FROM_TAKING: Final = "ledger.attempts AS q CROSS JOIN ledger.attempts AS a ON a.call = q.call"
_WHERE_FRESH: Final = "a.seq > :mark AND a.seq <= :upto"
_WHERE_OPEN: Final = "a.seq IN (SELECT seq FROM rollups.open)"
_WHERE_TAKING: Final = """
    q.seq > :mark AND q.seq <= :upto AND q.attempt > 1 AND a.seq < q.seq
    AND NOT EXISTS (
        SELECT 1 FROM ledger.attempts AS b
        WHERE b.call = a.call AND b.seq > a.seq AND b.seq < q.seq AND b.attempt > 1
    )
"""
TAKE: Final = f"""
    INSERT OR IGNORE INTO rollups.taken SELECT a.seq FROM {_FROM_TAKING} WHERE {_WHERE_TAKING}
"""  # noqa: S608 - made of constants
"""Notes which rows those after `:mark` take their calls over from."""
_FROM_WITHIN: Final = """
    temp.within AS w CROSS JOIN ledger.attempts AS a
    ON a.seq BETWEEN w.first AND w.last AND a.held_at >= w.lo AND a.held_at < w.hi
"""
_WHERE_WITHIN: Final = """
    w.rowid BETWEEN :low AND :high AND a.seq NOT IN (SELECT seq FROM rollups.open)
"""


def passing(columns: Sequence[str], condition: str, sums: Sequence[str] = SUMS) -> str:
    """Return SQL for what the rows add that rollups up to `:mark` lack: those up to `:upto`."""
    parts = following(columns, condition, sums), opened(columns, condition, sums)
    return " UNION ALL ".join(parts)


def following(columns: Sequence[str], condition: str, sums: Sequence[str]) -> str:
    """Return SQL for what the rows after `:mark` up to `:upto` add."""
    fresh = _select(columns, sums, _FRESH, _FROM_FRESH, f"{_WHERE_FRESH} AND {condition}")
    taking = _select(columns, sums, _TAKING, _FROM_TAKING, f"{_WHERE_TAKING} AND {condition}")
    return f"{fresh} UNION ALL {taking}"


def opened(columns: Sequence[str], condition: str, sums: Sequence[str]) -> str:
    """Return SQL for what the rows add that were open when they were passed."""
    return _select(columns, sums, _PASSED, _FROM_FRESH, f"{_WHERE_OPEN} AND {condition}")


def within(columns: Sequence[str], condition: str, sums: Sequence[str]) -> str:
    """Return SQL for the part that rows of `temp.within`, from `:low` to `:high`, have in rollups."""
    values = {name: f"w.sign * ({value})" for name, value in _PASSED.items()}
    return _select(columns, sums, values, _FROM_WITHIN, f"{_WHERE_WITHIN} AND {condition}")


def _select(
    columns: Sequence[str],
    sums: Sequence[str],
    values: Mapping[str, str],
    source: str,
    condition: str,
) -> str:
    picked = [*columns, *(f"{values.get(name, '0')} AS {name}" for name in sums)]
    tags = _TAGS if AXES["tag"] in " ".join(columns) or "tag.value" in condition else ""
    rates = _RATES if "saved" in sums or "answered" in sums else ""
    return f"SELECT {', '.join(picked)} FROM {source} {rates} {tags} WHERE {condition}"  # noqa: S608 - made of constants
