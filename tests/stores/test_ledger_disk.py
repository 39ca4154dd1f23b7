"""The promises of the ledger on a failing disk: nothing sent unbooked, nothing lost."""

import logging
import sqlite3
import subprocess
import sys
from contextlib import closing

import msgspec
import pytest

from headworks.errors import LedgerUnavailable
from headworks.stores import ledger_writer as module
from headworks.testing import FakeClock
from headworks.types import NO_USAGE, Usage
from tests.stores.books import call, open_ledger, route, rows

ESTIMATE = Usage(100, 50)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "headworks.ledger.db"


@pytest.fixture
def ledger(path):
    ledger = open_ledger(path)
    yield ledger
    ledger.close()


def fill(ledger):
    pages = ledger._writer.db.execute("PRAGMA page_count").fetchone()[0]
    ledger._writer.db.execute(f"PRAGMA max_page_count={pages}")


def free(ledger):
    ledger._writer.db.execute("PRAGMA max_page_count=1000000")


def until_refused(ledger):
    """Fill the last free page; return how many rows went into it."""
    for number in range(100):
        try:
            ledger.hold_now(call(f"filler{number}"), route(), ESTIMATE)
        except LedgerUnavailable:
            return number
    raise AssertionError


def test_a_full_disk_refuses_new_calls_and_recovers_by_itself(ledger, path, caplog):
    """While nothing can be booked nothing is sent; with space again all goes on, no restart."""
    fill(ledger)
    written = until_refused(ledger)
    for number in range(20):
        with pytest.raises(LedgerUnavailable) as refusal:
            ledger.hold_now(call(f"refused{number}"), route(), ESTIMATE)
        assert (refusal.value.status, refusal.value.retry_after) == (503, 1.0)
    free(ledger)
    ledger.hold_now(call("after"), route(), ESTIMATE)

    assert len(rows(path)) == written + 1
    assert ledger.statistics().failures == 21
    assert len([r for r in caplog.records if r.levelno == logging.ERROR]) == 1


@pytest.fixture
def intruder(path, ledger):
    """Another program that locks the file against every write."""
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        yield db


def test_a_settlement_that_the_disk_refused_is_written_later(ledger, path, intruder, caplog):
    """A disk that fails at the wrong moment loses nothing while the process lives."""
    holds = [ledger.hold_now(call(f"c{n}"), route(), ESTIMATE) for n in range(3)]
    intruder.execute("BEGIN IMMEDIATE")

    costs = [hold.settle(Usage(n, 0), "exact", "completed") for n, hold in enumerate(holds)]
    with pytest.raises(LedgerUnavailable):
        ledger.hold_now(call("refused"), route(), ESTIMATE)

    assert costs == [0, 2000, 4000]
    assert {row["state"] for row in rows(path)} == {"held"}
    assert (ledger.statistics().owed, ledger.statistics().open_holds) == (3, 3)
    assert len(caplog.records) == 1

    intruder.execute("ROLLBACK")
    ledger.hold_now(call("next"), route(), ESTIMATE)

    assert [row["cost_nano"] for row in rows(path)] == [0, 2000, 4000, None]
    assert (ledger.statistics().owed, ledger.statistics().open_holds) == (0, 1)


def test_trouble_is_logged_once_a_minute(path, caplog):
    """A failing disk does not flood the log, and does not fall silent either."""
    clock = FakeClock()
    with closing(open_ledger(path, clock)) as ledger:
        fill(ledger)
        until_refused(ledger)
        for wait in (1, 28, 30, 2, 1):
            clock.advance(wait)
            for number in range(20):
                with pytest.raises(LedgerUnavailable):
                    ledger.hold_now(call(f"refused{number}"), route(), ESTIMATE)
        free(ledger)

    assert len([r for r in caplog.records if r.levelno == logging.ERROR]) == 2


def test_a_close_writes_what_is_owed(ledger, path, intruder):
    """Settlements that waited for the disk are written before the file is let go."""
    hold = ledger.hold_now(call(), route(), ESTIMATE)
    intruder.execute("BEGIN IMMEDIATE")
    hold.settle(Usage(1, 0), "exact", "completed")
    intruder.execute("ROLLBACK")

    ledger.close()

    assert rows(path, "cost_nano") == [{"cost_nano": 2000}]


def test_settlements_that_can_never_be_written_do_not_block_the_others(ledger, path):
    """A row that the file refuses for good is given up, counted, and recovered at its estimate."""
    first = ledger.hold_now(call("c1"), route(), ESTIMATE)
    second = ledger.hold_now(call("c2"), route(), ESTIMATE)

    first.settle(msgspec.structs.replace(NO_USAGE, tier=None), "exact", "completed")
    second.settle(Usage(1, 0), "exact", "completed")

    assert [row["state"] for row in rows(path)] == ["held", "settled"]
    assert ledger.statistics().dropped == 1


def test_owed_settlements_are_bounded(ledger, path, intruder, monkeypatch):
    """A disk that never comes back does not eat the memory; what is given up is counted."""
    monkeypatch.setattr(module, "MOST_OWED", 2)
    holds = [ledger.hold_now(call(f"c{n}"), route(), ESTIMATE) for n in range(4)]
    intruder.execute("BEGIN IMMEDIATE")
    for hold in holds:
        hold.settle(Usage(1, 0), "exact", "completed")
    intruder.execute("ROLLBACK")
    ledger.close()

    assert [row["state"] for row in rows(path)] == ["held", "held", "settled", "settled"]
    with closing(open_ledger(path)) as again:
        assert again.statistics().recovered == 2


LIMITED = """
import resource, sys
from pathlib import Path
from headworks.errors import LedgerUnavailable
from headworks.types import Usage
from tests.stores.books import call, open_ledger, route
ledger = open_ledger(Path(sys.argv[1]))
hold = ledger.hold_now(call("first"), route(), Usage(1, 1))
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))
refused = 0
for number in range(100):
    try:
        ledger.hold_now(call(str(number)), route(), Usage(1, 1)).settle(Usage(1, 0), "exact", "ok")
    except LedgerUnavailable:
        refused += 1
hold.settle(Usage(5, 0), "exact", "ok")
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
ledger.hold_now(call("last"), route(), Usage(1, 1)).settle(Usage(1, 0), "exact", "ok")
ledger.close()
assert refused > 0
assert ledger.statistics().owed == 0
"""


def test_a_file_that_may_not_grow_loses_nothing(path):
    """The operating system itself refuses writes for a while; every row adds up afterwards."""
    subprocess.run([sys.executable, "-c", LIMITED, path], check=True)

    found = rows(path)
    assert found[0]["cost_nano"] == 10_000
    assert found[-1]["call"] == "last"
    assert {row["state"] for row in found} == {"settled"}
