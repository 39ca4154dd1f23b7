"""The promises of the chain: whoever changes a closed row is found, and so is the row."""

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from hashlib import sha256

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headworks.stores import ledger_writer
from headworks.stores.ledger_chain import IDENTITY, OUTCOME
from headworks.stores.ledger_schema import MIGRATIONS
from headworks.stores.verify import verify
from headworks.types import NO_USAGE, Usage
from tests.stores.books import call, crash, open_ledger, route, rows

ESTIMATE = Usage(100, 50)


def book(ledger, name, usage=None, **tags):
    hold = ledger.hold_now(call(name, **tags), route(), ESTIMATE)
    hold.settle(usage or Usage(10, 5), "exact", "completed")


def change(path, *statements):
    with closing(sqlite3.connect(path)) as db, db:
        for statement in statements:
            db.execute(statement)


def chain_of(report):
    return [one for one in report.findings if "chain" in one or "link" in one]


@pytest.fixture
def path(tmp_path):
    """Six rows; those of calls c2 and c3 were closed in the other order."""
    path = tmp_path / "l.db"
    with closing(open_ledger(path)) as ledger:
        book(ledger, "c1")
        late = ledger.hold_now(call("c2"), route(), ESTIMATE)
        book(ledger, "c3", tags=("a", "b"))
        late.release("upstream_unreachable")
        for number in (4, 5, 6):
            book(ledger, f"c{number}", Usage(number, number), user="née 🙂")
    return path


def test_a_sound_chain_is_proved(path):
    """All closed rows are linked in the order of their closing; the head is told."""
    report = verify(path)

    assert report.findings == ()
    assert [row["link"] for row in rows(path)] == [1, 3, 2, 4, 5, 6]
    assert (report.links, report.chained_from) == (6, 1)
    assert report.head == f"6:{rows(path)[-1]['chain'].hex()}"


def test_the_chain_can_be_checked_without_headworks(path):
    """A link is SHA-256 of the one before and a JSON array of the row: anybody can compute it."""
    chain = bytes(32)
    for row in sorted(rows(path), key=lambda row: row["link"]):
        values = [row[name] for name in (*IDENTITY, *OUTCOME)]
        values = ["" if v is None and n in {"tags", "anomalies"} else v for n, v in zip((*IDENTITY, *OUTCOME), values, strict=True)]  # fmt: skip
        chain = sha256(chain + msgspec.json.encode(values)).digest()
        assert chain == row["chain"]


@dataclass(frozen=True)
class Case:
    id: str
    statements: tuple[str, ...]
    finding: str


CASES = [
    Case("a key", ("UPDATE attempts SET key_id = 'x' WHERE seq = 4",), "row 4: the chain breaks"),
    Case("a user", ("UPDATE attempts SET user = 'x' WHERE seq = 5",), "row 5: the chain breaks"),
    Case("tags", ("UPDATE attempts SET tags = NULL WHERE seq = 3",), "row 3: the chain breaks"),
    Case("a time", ("UPDATE attempts SET settled_at = 1 WHERE seq = 6",), "row 6: the chain breaks"),
    Case(
        "a cheaper one, all consistent",
        ("UPDATE attempts SET input = 0, cost_nano = 50000 WHERE seq = 1",),
        "row 1: the chain breaks",
    ),
    Case("a removed row", ("DELETE FROM attempts WHERE seq = 4",), "between row 2 and it"),
    Case("the first row removed", ("DELETE FROM attempts WHERE seq = 1",), "the beginning and it"),
    Case("the tail cut", ("DELETE FROM attempts WHERE seq > 4",), "what was closed last was removed"),
    Case(
        "two rows exchanged",
        (
            "UPDATE attempts SET link = 99 WHERE seq = 5",
            "UPDATE attempts SET link = 5 WHERE seq = 6",
            "UPDATE attempts SET link = 6 WHERE seq = 5",
        ),
        "row 6: the chain breaks",
    ),
    Case(
        "a row added in a place that is taken",
        (
            "CREATE TEMP TABLE t AS SELECT * FROM attempts WHERE seq = 4",
            "UPDATE t SET seq = 7, call = 'new'",
            "INSERT INTO attempts SELECT * FROM t",
        ),
        "row 7 was added",
    ),
    Case(
        "a row added without a place",
        (
            "CREATE TEMP TABLE t AS SELECT * FROM attempts WHERE seq = 4",
            "UPDATE t SET seq = 7, call = 'new', link = NULL, chain = NULL",
            "INSERT INTO attempts SELECT * FROM t",
        ),
        "row 7: it is closed, but not in the chain",
    ),
    Case(
        "a row opened again",
        ("UPDATE attempts SET state = 'held', certainty = NULL, cost_nano = NULL WHERE seq = 6",),
        "row 6: it is in the chain, but open again",
    ),
    Case(
        "a noted link",
        ("UPDATE boots SET mark_chain = zeroblob(32)",),
        "but run 1 of a gateway noted 000000000000…: this row or one before it was changed",
    ),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_every_change_is_found(path, case):
    """Whatever is changed, removed, added or reordered: the proof says so and names the row."""
    change(path, *case.statements)

    assert case.finding in "\n".join(chain_of(verify(path)))


_COLUMNS = [name for name in (*IDENTITY, *OUTCOME) if name not in {"seq", "state", "certainty"}]


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(_COLUMNS), st.integers(1, 6), st.integers(1, 2**40))
def test_no_column_can_be_changed_unseen(tmp_path_factory, column, seq, value):
    """There is no word or number of a closed row that the chain does not hold."""
    path = tmp_path_factory.mktemp("chain") / "l.db"
    with closing(open_ledger(path)) as ledger:
        for number in range(6):
            book(ledger, f"c{number}")
    (before,) = (row[column] for row in rows(path) if row["seq"] == seq)
    change(path, f"UPDATE attempts SET {column} = '{value}' WHERE seq = {seq}")  # noqa: S608 - a test's own words
    (after,) = (row[column] for row in rows(path) if row["seq"] == seq)

    broken = [one for one in chain_of(verify(path)) if one.startswith(f"row {seq}:")]
    assert bool(broken) == (before != after)


def test_a_copy_that_was_cut_consistently_does_not_have_a_head_noted_elsewhere(path):
    """Who forges the file can forge its own notes too, but not the head in somebody's log."""
    head = verify(path).head
    link = rows(path)[3]
    change(
        path,
        "DELETE FROM attempts WHERE seq > 4",
        f"UPDATE boots SET mark_link = {link['link']}, mark_chain = x'{link['chain'].hex()}'",  # noqa: S608 - a test's own words
    )

    assert verify(path).is_sound
    assert "the given head says a link 6" in verify(path, head).findings[0]


def test_a_ledger_without_a_chain_does_not_have_a_head_noted_elsewhere(path):
    """Neither one that was emptied, nor one whose chain was taken away as if there never was any."""
    head = verify(path).head
    change(
        path,
        "UPDATE attempts SET link = NULL, chain = NULL",
        "UPDATE boots SET mark_link = NULL, mark_chain = NULL",
    )
    assert verify(path).is_sound
    assert "the given head says a link 6" in verify(path, head).findings[0]


@pytest.mark.parametrize("head", ["?", "6", "6:", "6:xyz", "6:aaaa", f"-1:{'0' * 64}", "six:00"])
def test_a_head_that_is_none_is_named(path, head):
    """A head that was copied wrongly does not pass for one that fits."""
    assert "is no head of a chain" in verify(path, head).findings[0]


def test_a_head_that_differs_is_shown_beside_the_link(path):
    """Whatever a gateway noted of the same link itself."""
    head = verify(path).head
    (finding,) = verify(path, f"6:{'0' * 64}").findings
    assert finding.startswith(f"row 6: link 6 is {head[2:14]}…, but the given head says 0000")


def test_the_chain_goes_on_over_restarts_and_crashes(path, monkeypatch):
    """However a gateway ends, the next one goes on where the chain had come to."""
    monkeypatch.setattr(ledger_writer, "_MARK_EVERY", 3)
    for run in range(4):
        ledger = open_ledger(path)
        old = ledger.hold_now(call(f"open{run}"), route(), ESTIMATE)
        for number in range(5):
            book(ledger, f"r{run}n{number}")
        if run == 2:
            old.settle(Usage(1, 1), "exact", "completed")
        if run % 2:
            ledger.close()
        else:
            crash(ledger)
    open_ledger(path).close()

    report = verify(path)
    assert report.findings == ()
    assert report.links == len(rows(path)) == 30
    assert [row["certainty"] for row in rows(path)].count("unknown") == 3


def test_the_head_is_in_the_log_when_a_gateway_ends(path, caplog):
    """Whoever keeps the log can prove later that nothing was cut off."""
    caplog.set_level("INFO")
    with closing(open_ledger(path)) as ledger:
        book(ledger, "c7")

    assert f"the chain's head is {verify(path).head}" in caplog.text


def old_ledger(path):
    """A ledger as versions without a chain wrote it: one row closed, one open."""
    with closing(sqlite3.connect(path)) as db, db:
        for statement in MIGRATIONS[0]:
            db.execute(statement)
        db.execute("PRAGMA user_version=1")
        db.execute("INSERT INTO boots (boot, opened_at, pid, first_seq) VALUES (1, 1, 1, 1)")
        for seq, state, cost in ((1, "'settled', 'exact'", "0"), (2, "'held', NULL", "NULL")):
            db.execute(
                f"INSERT INTO attempts VALUES ({seq}, 'c{seq}', 1, 1, {state}, 'ok', 1, 1, 'k', 'k',"  # noqa: S608 - a test's own words
                " '', '', '', '', NULL, 'responses', 'u', 'c', 'm', 'm', 0, NULL, NULL,"
                f" 0, 0, 0, 0, 0, 0, 'default', {cost}, NULL)"
            )


def test_a_ledger_from_before_the_chain_is_proved_as_far_as_it_goes(tmp_path):
    """An old ledger begins its chain with the first start; the proof says from which row on."""
    path = tmp_path / "l.db"
    old_ledger(path)
    assert verify(path).chained_from is None
    with closing(open_ledger(path)) as ledger:
        book(ledger, "c3")

    report = verify(path)
    assert report.findings == ()
    assert [(row["seq"], row["link"]) for row in rows(path)] == [(1, None), (2, 1), (3, 2)]
    assert (report.chained_from, report.links) == (3, 2)

    change(path, "UPDATE attempts SET link = NULL WHERE seq = 2")
    assert not verify(path).is_sound


def test_a_row_that_must_be_rewritten_is_linked_as_it_stands(tmp_path):
    """What no file can hold is chained as it was written in its place."""
    path = tmp_path / "l.db"
    with closing(open_ledger(path)) as ledger:
        hold = ledger.hold_now(call("c\ud800"), route(), ESTIMATE)
        book(ledger, "c2")
        hold.settle(Usage(1, 1), "estimated", "odd\udfff")
        book(ledger, "c3")

    report = verify(path)
    assert chain_of(report) == []
    assert report.links == 3


def test_a_row_that_cannot_be_closed_leaves_no_hole(tmp_path):
    """A settlement that the file refuses for good is not in the chain, and the next one fits."""
    path = tmp_path / "l.db"
    with closing(open_ledger(path)) as ledger:
        bad = ledger.hold_now(call("c1"), route(), ESTIMATE)
        bad.settle(msgspec.structs.replace(NO_USAGE, tier=None), "exact", "completed")
        book(ledger, "c2")

    assert verify(path).findings == ()
    assert [row["link"] for row in rows(path)] == [None, 1]
