"""The promises of rollups: they follow, survive, cost the ledger nothing, and are proved."""

import logging
import random
import signal
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headworks.core.pricing import Price, Rates, cost
from headworks.stores import rollups as module
from headworks.stores.ledger import SqliteLedger
from headworks.stores.rollup_schema import rollups_path
from headworks.stores.rollup_steps import STEPS
from headworks.stores.rollups import Rollups, RollupWriter
from headworks.stores.usage import Query, usage
from headworks.stores.verify import verify
from headworks.system import SystemClock
from headworks.testing import FakeClock
from headworks.types import Usage
from tests.stores.books import Book, call, open_ledger, route, rows
from tests.stores.usage_oracle import expected

BY = Query(("model", "feature", "user"))


def spend(ledger, first, last, clock=None):
    """Book calls, each at its own price."""
    for number in range(first, last):
        made = call(f"c{number}", user=f"u{number % 5}", feature=f"f{number % 2}")
        ledger.hold_now(made, route(), Usage(9, 9)).settle(Usage(number), "exact", "completed")
        if clock is not None:
            clock.advance(600.0)


def assert_right(path):
    """A report is what the rows say, and the rollups are proved."""
    assert {line.group: line for line in usage(path, BY).lines} == expected(path, BY)
    assert verify(path).findings == ()


@pytest.fixture
def path(tmp_path):
    """A ledger with two hundred calls in ten minutes each, all but the last fifty passed."""
    path, clock = tmp_path / "l.db", FakeClock()
    with closing(open_ledger(path, clock)) as ledger:
        spend(ledger, 0, 200, clock)
    with closing(Rollups(path)) as rollups:
        rollups.advance(150)
    return path


def test_the_ledger_is_never_kept_waiting(path):
    """While a slice is written, calls are booked as ever: nobody locks the ledger but its writer."""
    with closing(open_ledger(path)) as ledger, closing(Rollups(path)) as rollups:
        rollups._db.execute("BEGIN")
        for step in STEPS[:-3]:
            rollups._db.execute(step, {"mark": 150, "upto": 200})
            spend(ledger, ledger.statistics().rows, ledger.statistics().rows + 1)
        rollups._db.execute("COMMIT")

        assert ledger.statistics().failures == 0
    assert_right(path)


def test_old_rows_may_go_while_calls_are_booked(path):
    """Rows that were passed may be deleted in slices, as others are written: no sum changes."""
    by = Query(("model", "feature"))
    before = usage(path, by)
    with closing(open_ledger(path)) as ledger:
        for first in range(1, 140, 20):
            with closing(sqlite3.connect(path)) as db, db:
                db.execute("DELETE FROM attempts WHERE seq >= ? AND seq < ?", (first, first + 20))
            number = ledger.statistics().rows
            spend(ledger, 200 + number, 201 + number)
            with closing(Rollups(path)) as rollups:
                rollups.advance(10)
    after = usage(path, by)

    assert after.total.attempts == before.total.attempts + 7
    assert after.total.input - before.total.input == sum(range(400, 407))


FILLER = """
import sys
from pathlib import Path
from headworks.stores.rollups import Rollups
rollups = Rollups(Path(sys.argv[1]))
print("begun", flush=True)
while rollups.advance(7):
    print(rollups.mark(), flush=True)
"""


READER = """
import sys
from pathlib import Path
from headworks.stores.usage import Query, usage
path, last = Path(sys.argv[1]), 0
print("begun", flush=True)
while last < 400:
    total = usage(path, Query(("user", "model"))).total
    assert last <= total.calls == total.attempts, total
    last = total.calls - total.open
    assert total.input == last * (last - 1) // 2, total
"""


def test_others_read_while_one_writes(path):
    """Reports of other processes say at any moment what was booked, all of it and once."""
    readers = [
        subprocess.Popen([sys.executable, "-c", READER, path], stdout=subprocess.PIPE)
        for _ in range(2)
    ]
    for reader in readers:
        assert reader.stdout is not None
        reader.stdout.readline()
    with closing(open_ledger(path)) as ledger, closing(Rollups(path)) as rollups:
        for number in range(200, 400):
            spend(ledger, number, number + 1)
            rollups.advance(3)
        assert ledger.statistics().failures == 0
    for reader in readers:
        with reader:
            assert reader.wait(60) == 0


def test_kills_lose_and_double_nothing(path):
    """Kill -9 in the midst of a slice: the next process goes on where the last commit was."""
    rollups_path(path).unlink()
    chance = random.Random(20261123)
    for _ in range(6):
        filler = subprocess.Popen(
            [sys.executable, "-c", FILLER, path], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        with filler as process:
            assert process.stdout is not None
            for _ in range(chance.randrange(2, 9)):
                process.stdout.readline()
            process.send_signal(signal.SIGKILL)
        assert_right(path)
    with closing(Rollups(path)) as rollups:
        assert rollups.mark() > 30
        while rollups.advance():
            pass
    assert_right(path)


def other_ledger(path):
    """Put another ledger in its place, with as many rows."""
    path.unlink()
    with closing(open_ledger(path)) as ledger:
        for number in range(300):
            ledger.hold_now(call(f"x{number}"), route(), Usage(1)).release("never_sent")


def older_copy(path):
    """Restore the ledger from a time before the last rows, and go on with it."""
    path.unlink()
    with closing(open_ledger(path)) as ledger:
        spend(ledger, 0, 100)
        spend(ledger, 1000, 1100)


def noise(path):
    """Write noise over the rollups."""
    rollups_path(path).write_bytes(b"noise" * 2000)


def torn(path):
    """Write noise into the midst of them."""
    with rollups_path(path).open("r+b") as file:
        file.seek(8192)
        file.write(b"\xff" * 200_000)


def newer(path):
    """Say that another version wrote them."""
    with closing(sqlite3.connect(rollups_path(path))) as db:
        db.execute("PRAGMA user_version=99")


def gone(path):
    """Delete them."""
    rollups_path(path).unlink()


def power_failure(path):
    """Take the last settlements back, as a disk that lost power may, and keep the rows."""
    with closing(open_ledger(path)) as ledger:
        held = [ledger.hold_now(call(f"p{n}"), route(), Usage(9, 9)) for n in range(5)]
        with closing(sqlite3.connect(path)) as db, closing(sqlite3.connect(f"{path}.then")) as then:
            db.backup(then)
        for one in held:
            one.settle(Usage(1, 1), "exact", "completed")
        with closing(Rollups(path)) as rollups:
            rollups.advance()
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    path.with_name(f"{path.name}.then").rename(path)
    open_ledger(path).close()


@pytest.mark.parametrize(
    "strike", [other_ledger, older_copy, power_failure, noise, torn, newer, gone]
)
def test_rollups_that_are_not_the_ledgers_are_not_believed(path, strike, monkeypatch):
    """Damaged, restored, exchanged, deleted: reports read the rows, and the writer begins anew."""
    strike(path)

    assert {line.group: line for line in usage(path, BY).lines} == expected(path, BY)
    monkeypatch.setattr(module, "EVERY", 0.001)
    monkeypatch.setattr(module, "PATIENCE", 0.0)
    writer = RollupWriter(path, SystemClock())
    writer.start()
    while passed(path) < len(rows(path, "seq")):
        pass
    writer.stop()
    assert_right(path)


def test_wrong_sums_are_found(path):
    """A sum that was changed, lost or made up is named, with its group, time and figure."""
    with closing(sqlite3.connect(rollups_path(path))) as db, db:
        db.execute("UPDATE sums SET cost = cost + 1 WHERE projection = 1 AND level = 86400")
    findings = verify(path).findings
    assert len(findings) == 2
    assert findings[0].startswith(
        "rollups: model gpt-test (86400 s from 2027-01-15T00:00+00:00): cost "
    )

    with closing(sqlite3.connect(rollups_path(path))) as db, db:
        db.execute("UPDATE sums SET cost = cost - 1 WHERE projection = 1 AND level = 86400")
        db.execute("DELETE FROM sums WHERE projection = 6 AND level = 3600")
        db.execute("INSERT INTO names VALUES (9999, 6, 'made up')")
        db.execute(
            "INSERT INTO sums SELECT 6, level, block, 9999, part, start"
            ", 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1 FROM sums WHERE projection = 0 LIMIT 1"
        )
    found = verify(path).findings
    assert found[0] == "rollups: feature made up (900 s from 2027-01-15T08:00+00:00) is in no row"
    assert found[1] == "rollups: feature f0 (3600 s from 2027-01-15T08:00+00:00) is missing"
    assert len(found) == 51

    with closing(sqlite3.connect(rollups_path(path))) as db, db:
        db.execute("INSERT INTO taken VALUES (7)")
    told = "rollups: of row 7 they are wrong about whether an attempt followed it"
    assert verify(path).findings[-1] == told


def test_rows_that_close_while_they_are_proved_do_no_harm(path):
    """Proof and writing go on side by side."""
    with closing(open_ledger(path)) as ledger:
        holds = [ledger.hold_now(call(f"o{n}"), route(), Usage(5)) for n in range(9)]
        with closing(Rollups(path)) as rollups:
            rollups.advance()
        for hold in holds[:5]:
            hold.settle(Usage(3), "exact", "completed")
        assert verify(path).findings == ()
        assert usage(path).total.open == 4


PRICE = Price(
    {
        "default": Rates(2 * 10**9, 10**10, 10**9, 25 * 10**8, 3 * 10**9),
        "flex": Rates(10**9, 5 * 10**9, 5 * 10**8, 10**9, 10**9),
    },
    {"default": Rates(4 * 10**9, 2 * 10**10, 2 * 10**9, 5 * 10**9, 6 * 10**9)},
    above=1000,
)
counts = st.integers(0, 1500)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.builds(
            lambda cached, written, long, rest, output, tier: Usage(
                cached + written + long + rest, output, cached, written + long, 0, tier, long
            ),
            *[counts] * 5,
            st.sampled_from(["default", "flex", "batch", "auto", ""]),
        ),
        min_size=1,
        max_size=5,
    )
)
def test_what_the_cache_saves_is_what_full_prices_would_add(tmp_path_factory, used):
    """`saved` is the cost at full prices less the cost: by tier, size, and kind of cache entry."""
    path = tmp_path_factory.mktemp("saved") / "l.db"
    book = Book({"gpt-test": PRICE})
    ledger = SqliteLedger(path, book, FakeClock(), checkpointing=False)
    with closing(ledger):
        for number, one in enumerate(used):
            held = ledger.hold_now(call(f"c{number}"), route(), Usage(1))
            held.settle(one, "exact", "completed")
    plain = [Usage(one.input, one.output, 0, 0, 0, one.tier) for one in used]
    total = usage(path).total

    assert total.cost_nano == sum(cost(PRICE, one) for one in used)
    assert total.saved_nano == sum(cost(PRICE, one) for one in plain) - total.cost_nano


def test_the_thread_follows_and_ends(tmp_path, monkeypatch):
    """Where a gateway runs, its rollups come by themselves; closing it waits for no slice."""
    monkeypatch.setattr(module, "EVERY", 0.001)
    monkeypatch.setattr(module, "PATIENCE", 0.0)
    path, others = tmp_path / "l.db", {*threading.enumerate()}
    with closing(SqliteLedger(path, Book(), SystemClock())) as ledger:
        spend(ledger, 0, 50)
        while passed(path) < 50:
            pass
    assert {*threading.enumerate()} <= others
    assert_right(path)


def passed(path):
    """Return how many rows were passed, as another program sees it."""
    try:
        with closing(sqlite3.connect(f"file:{rollups_path(path)}?mode=ro", uri=True)) as db:
            return db.execute("SELECT seq FROM state").fetchone()[0]
    except sqlite3.Error:
        return 0


def test_a_folder_that_takes_no_rollups_is_told_once_and_reports_go_on(path, monkeypatch, caplog):
    """Without rollups everything works, only more slowly."""
    rollups_path(path).unlink()
    rollups_path(path).mkdir()
    monkeypatch.setattr(module, "EVERY", 0.0)
    caplog.set_level(logging.WARNING)
    writer = RollupWriter(path, SystemClock())
    writer.start()
    while not caplog.records:
        pass
    writer.stop()

    assert "reports read its rows meanwhile" in caplog.text
    assert {line.group: line for line in usage(path, BY).lines} == expected(path, BY)
