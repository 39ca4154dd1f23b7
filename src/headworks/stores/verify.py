"""Proves a ledger: whole, free of doubles and gaps, and right to the nano-dollar."""

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import msgspec

from headworks.core.pricing import Price, cost, covers
from headworks.stores.ledger_chain import LENIENT
from headworks.stores.ledger_schema import connect_read_only
from headworks.stores.rollup_proof import wrong_sums
from headworks.stores.verify_chain import Chain
from headworks.types import Usage

_MOST = 100
"""Findings of one kind that are listed."""

_STATES = """
    SELECT state, count(*), coalesce(sum(cost_nano), 0), count(*) - count(cost_nano)
    FROM attempts GROUP BY state ORDER BY state
"""
_GAPS = """
    SELECT call, count(*), min(attempt), max(attempt) FROM attempts
    GROUP BY call HAVING min(attempt) != 1 OR max(attempt) != count(*)
"""
_DOUBLES = """
    SELECT call, attempt, count(*) FROM attempts NOT INDEXED
    GROUP BY call, attempt HAVING count(*) > 1
"""
_ODD_STATES = """
    SELECT seq, state, coalesce(certainty, 'none') FROM attempts
    WHERE NOT coalesce(
        state = 'held' AND certainty IS NULL AND cost_nano IS NULL
        OR state = 'released' AND certainty IS NULL AND cost_nano = 0
        OR state = 'settled' AND certainty IN ('exact', 'estimated', 'unknown'),
        0
    )
"""
_HELD = "SELECT seq, call, attempt FROM attempts WHERE state = 'held' ORDER BY seq"
_SETTLED = """
    SELECT seq, price_version, cost_nano, tier, input, output, cached, written, reasoning,
        written_12h
    FROM attempts WHERE state = 'settled' ORDER BY seq
"""


@dataclass(frozen=True, slots=True)
class StateSum:
    """The rows of one state."""

    state: str
    rows: int
    cost_nano: int
    without_cost: int


@dataclass(frozen=True, slots=True)
class Report:
    """What was found.

    Attributes:
        findings: What is wrong, one sentence each; a sound ledger has none.
        held: Rows that are open: attempts under way, or left for the next start to settle.
        links: Rows in the chain, and `head` its last link: a copy that is older ends before it.
        chained_from: The first row that a chain was begun for; None for a ledger without one.
    """

    rows: int
    states: tuple[StateSum, ...]
    held: tuple[str, ...]
    findings: tuple[str, ...]
    links: int = 0
    head: str = ""
    chained_from: int | None = None

    @property
    def is_sound(self) -> bool:
        """Whether nothing was found."""
        return not self.findings


def verify(path: Path, head: str = "") -> Report:
    """Read the whole ledger, change nothing, and say what is wrong with it.

    A gateway may go on writing meanwhile; everything is read as of one moment. `head` is one that
    was noted earlier, as `Report.head` spells it: the chain must still have it.

    Raises:
        ConfigurationError: There is no ledger, or it cannot be read at all.
    """
    with closing(connect_read_only(path)) as db:
        try:
            db.text_factory = LENIENT
            db.execute("BEGIN")
            damage = [f"damaged: {line}" for (line,) in db.execute("PRAGMA integrity_check(20)")]
            states = tuple(StateSum(*row) for row in db.execute(_STATES))
            chain = Chain(db, head)
            return Report(
                rows=sum(state.rows for state in states),
                states=states,
                held=tuple(f"{call}/{n} (row {seq})" for seq, call, n in db.execute(_HELD)),
                findings=(
                    *(line for line in damage if line != "damaged: ok"),
                    *_findings(db, chain, path),
                ),
                links=chain.end.number,
                head=chain.end.spelled if chain.end.number else "",
                chained_from=chain.begin,
            )
        except sqlite3.DatabaseError as error:
            return Report(0, (), (), (f"damaged: {error}",))


def _findings(db: sqlite3.Connection, chain: Chain, path: Path) -> Iterator[str]:
    rows = _doubles(db), _gaps(db), _odd_states(db), _wrong_costs(db)
    for found in (*rows, chain.faults(), wrong_sums(path)):
        for count, finding in enumerate(found):
            if count == _MOST:
                yield f"… and more of this kind than {_MOST}"
                break
            yield finding


def _doubles(db: sqlite3.Connection) -> Iterator[str]:
    for call, attempt, count in db.execute(_DOUBLES):
        yield f"{call}: attempt {attempt} has {count} rows"


def _gaps(db: sqlite3.Connection) -> Iterator[str]:
    for call, count, first, last in db.execute(_GAPS):
        yield f"{call}: {count} attempts are numbered {first} to {last}"


def _odd_states(db: sqlite3.Connection) -> Iterator[str]:
    for seq, state, certainty in db.execute(_ODD_STATES):
        yield f"row {seq}: state {state!r} with certainty {certainty!r} does not add up"


def _wrong_costs(db: sqlite3.Connection) -> Iterator[str]:
    prices = _prices(db)
    for seq, version, stored, tier, *counts in db.execute(_SETTLED):
        price = prices.get(version)
        if version is None:
            if stored is not None and (stored or any(counts)):
                yield f"row {seq}: has a cost of {stored} nano-dollars, but no price"
        elif price is None or price.version != version:
            yield f"row {seq}: its price {version} is missing or was changed"
        else:
            whole, output, cached, written, reasoning, long = counts
            usage = Usage(whole, output, cached, written, reasoning, tier, long)
            right = cost(price, usage) if covers(price, usage) else None
            if stored != right:
                yield f"row {seq}: costs {stored} nano-dollars, should be {right}"


def _prices(db: sqlite3.Connection) -> Mapping[str, Price]:
    found: dict[str, Price] = {}
    for version, numbers in db.execute("SELECT version, numbers FROM prices"):
        try:
            found[version] = msgspec.json.decode(numbers, type=Price)
        except msgspec.DecodeError:
            continue
    return found
