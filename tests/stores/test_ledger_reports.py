"""The promises of reports and of the proof: every figure right, every fault found."""

import json
import sqlite3
from contextlib import closing
from dataclasses import dataclass

import pytest

from headworks.errors import ConfigurationError
from headworks.stores import verify as module
from headworks.stores.usage import AXES, Query, usage
from headworks.stores.verify import verify
from headworks.testing import FakeClock
from headworks.types import Usage
from tests.stores.books import MODEL, call, open_ledger, route, rows

START = 1_800_000_000.0


@pytest.fixture
def path(tmp_path):
    """A ledger with a bit of everything, an hour apart; one attempt is under way."""
    path, clock = tmp_path / "l.db", FakeClock()
    with closing(open_ledger(path, clock)) as ledger:
        lost = ledger.hold_now(call("c1", 1, feature="chat", user="u1"), route(), Usage(10, 10))
        lost.settle(Usage(10, 0), "estimated", "upstream_connection_lost")
        done = ledger.hold_now(call("c1", 2, feature="chat", user="u1"), route(), Usage(10, 10))
        done.settle(Usage(10, 5, cached=4, reasoning=1), "exact", "completed")
        clock.advance(3600)
        free = ledger.hold_now(
            call("c2", feature="search", tags=("a", "b")), route("mystery"), Usage()
        )
        free.settle(Usage(7, 7), "exact", "completed")
        gone = ledger.hold_now(call("c3", tags=("b",)), route(upstream="backup"), Usage(3))
        gone.release("upstream_unreachable")
        clock.advance(3600)
        ledger.hold_now(call("c4", tags=("a",)), route(), Usage(5))
        yield path


def test_a_report_has_every_figure(path):
    """Calls, attempts, tokens, money, estimates, waste, unpriced and open attempts: all there."""
    found = usage(path, Query(by=("model",)))

    assert [line.group for line in found.lines] == [(MODEL,), ("mystery",)]
    assert [(line.calls, line.attempts) for line in found.lines] == [(3, 4), (1, 1)]
    total = found.total
    assert (total.calls, total.attempts) == (4, 5)
    assert (total.input, total.output, total.cached, total.reasoning) == (27, 12, 4, 1)
    assert total.cost_nano == 20_000 + (6 * 2000 + 4 * 1000 + 50_000)
    assert (total.estimated_nano, total.waste_nano) == (20_000, 20_000)
    assert (total.unpriced, total.open, total.open_nano) == (1, 1, 10_000)


@pytest.mark.parametrize("axis", AXES)
def test_every_axis_adds_up(path, axis):
    """However a report is grouped, its lines sum to the total (a call has one value but for tags)."""
    found = usage(path, Query(by=(axis,)))

    if axis == "tag":
        assert {line.group: line.attempts for line in found.lines} == {
            ("a",): 2, ("b",): 2, ("",): 2,
        }  # fmt: skip
        assert found.total.attempts == 5
    else:
        assert sum(line.attempts for line in found.lines) == found.total.attempts
        assert sum(line.cost_nano for line in found.lines) == found.total.cost_nano


def test_dearest_first_and_several_axes(path):
    """What costs most stands on top; groups combine."""
    found = usage(path, Query(by=("feature", "outcome")))

    assert found.lines[0].group == ("chat", "completed")
    assert [line.cost_nano for line in found.lines] == [66_000, 20_000, 0, 0, 0]


@pytest.mark.parametrize(
    ("since", "until", "calls"),
    [
        (None, None, 4),
        (START, None, 4),
        (START + 3600, None, 3),
        (None, START + 3600, 1),
        (START + 3600, START + 7200, 2),
        (START + 9999, None, 0),
    ],
)
def test_a_report_covers_the_time_asked_for(path, since, until, calls):
    """From `since` on, and before `until`: no attempt falls between two reports or in both."""
    assert usage(path, Query(since=since, until=until)).total.calls == calls


def test_hours_and_days_are_utc(path):
    """Times in reports do not depend on where they are made."""
    hours = {line.group[0] for line in usage(path, Query(by=("hour",))).lines}

    assert hours == {"2027-01-15T08:00Z", "2027-01-15T09:00Z", "2027-01-15T10:00Z"}
    assert usage(path, Query(by=("day",))).lines[0].group == ("2027-01-15",)


def test_what_cannot_be_reported_is_said(path, tmp_path):
    """An unknown group, a missing ledger and a file that is none are named, not traced back."""
    with pytest.raises(ConfigurationError, match="'moon' is none of model"):
        usage(path, Query(by=("moon",)))
    with pytest.raises(ConfigurationError, match="there is no ledger here"):
        usage(tmp_path / "absent.db")
    (tmp_path / "text.db").write_text("hello " * 1000)
    with pytest.raises(ConfigurationError, match="cannot be read"):
        usage(tmp_path / "text.db")


def test_a_sound_ledger_is_proved_sound(path):
    """Nothing is found, the states are summed, and what is open is listed."""
    report = verify(path)

    assert report.is_sound
    assert report.held == ("c4/1 (row 5)",)
    assert {state.state: (state.rows, state.cost_nano) for state in report.states} == {
        "held": (1, 0), "released": (1, 0), "settled": (3, 86_000),
    }  # fmt: skip
    assert report.rows == 5


@dataclass(frozen=True)
class Fault:
    id: str
    sql: str
    finding: str


FAULTS = [
    Fault("a cost", "UPDATE attempts SET cost_nano = 1 WHERE seq = 2", "row 2: costs 1 nano"),
    Fault("no cost", "UPDATE attempts SET cost_nano = NULL WHERE seq = 2", "row 2: costs None"),
    Fault("a count", "UPDATE attempts SET input = 11 WHERE seq = 2", "should be 68000"),
    Fault("free of charge", "UPDATE attempts SET cost_nano = 0 WHERE seq = 3", "but no price"),
    Fault("a gap", "DELETE FROM attempts WHERE seq = 1", "c1: 1 attempts are numbered 2 to 2"),
    Fault("a state", "UPDATE attempts SET state = 'lost' WHERE seq = 1", "does not add up"),
    Fault("a certainty", "UPDATE attempts SET certainty = NULL WHERE seq = 1", "does not add up"),
    Fault("a dear release", "UPDATE attempts SET cost_nano = 1 WHERE seq = 4", "does not add up"),
    Fault("a price gone", "DELETE FROM prices", "is missing or was changed"),
    Fault(
        "a price changed",
        "UPDATE prices SET numbers = replace(numbers, '2000000000', '2')",
        "is missing or was changed",
    ),
    Fault("a price broken", "UPDATE prices SET numbers = '{'", "is missing or was changed"),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.id)
def test_every_fault_is_found(path, fault):
    """Whoever or whatever changed the ledger, the proof names the row and the fault."""
    with closing(sqlite3.connect(path)) as db, db:
        db.execute(fault.sql)

    report = verify(path)

    assert not report.is_sound
    assert fault.finding in "\n".join(report.findings)


def test_doubled_rows_are_found(path):
    """Even a file whose index was cheated cannot hide an attempt that is booked twice."""
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("ALTER TABLE attempts RENAME TO old")
        db.execute("CREATE TABLE attempts AS SELECT * FROM old")
        db.execute("INSERT INTO attempts SELECT * FROM old WHERE seq = 2")
        db.execute("DROP TABLE old")

    assert "c1: attempt 2 has 2 rows" in verify(path).findings


def test_a_flood_of_findings_is_cut(path, monkeypatch):
    """A wholly broken ledger is reported in a page, not in a million lines."""
    monkeypatch.setattr(module, "_MOST", 2)
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("UPDATE attempts SET state = 'lost'")

    assert [f for f in verify(path).findings if "more of this kind" in f]


def test_a_damaged_file_is_reported_not_raised(path):
    """Damage within the file is a finding like any other."""
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    content = bytearray(path.read_bytes())
    content[5 * 1024 :] = b"\xff" * (len(content) - 5 * 1024)
    path.write_bytes(content)

    report = verify(path)

    assert any("damaged" in finding for finding in report.findings)


def test_prices_are_kept_with_the_rows(path):
    """The numbers that a cost was made from stay in the ledger, whatever the catalogue says later."""
    with closing(sqlite3.connect(path)) as db:
        ((version, model, numbers),) = db.execute("SELECT * FROM prices").fetchall()

    assert model == MODEL
    assert json.loads(numbers)["tiers"]["default"]["input"] == 2_000_000_000
    assert {row["price_version"] for row in rows(path)} == {version, None}
