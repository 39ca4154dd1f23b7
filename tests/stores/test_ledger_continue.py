"""The promises to keys that go on while the ledger cannot be written: booked later, never silently lost."""

import asyncio
import sqlite3
from contextlib import closing

import pytest

from headworks.core.pricing import ModelUnpriced
from headworks.errors import LedgerUnavailable
from headworks.stores import ledger as ledger_module
from headworks.stores import ledger_writer
from headworks.stores.ledger_spool import spool_path
from headworks.stores.verify import verify
from headworks.types import Caller, Request, Usage
from tests.stores.books import call, crash, open_ledger, route, rows

pytestmark = pytest.mark.anyio

ESTIMATE = Usage(100, 50)
BRAVE = Caller("brave", "key_2", on_ledger_failure="continue")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "headworks.ledger.db"


@pytest.fixture
def ledger(path):
    ledger = open_ledger(path)
    yield ledger
    ledger.close()


@pytest.fixture
def intruder(path, ledger):
    """Another program that locks the file against every write."""
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        yield db


def brave(name, model=None):
    made = call(name)
    made.caller = BRAVE
    return made


def attempt(ledger, name):
    ledger.hold_now(brave(name), route(), ESTIMATE).settle(Usage(1, 1), "exact", "completed")


def costs(path):
    return {row["call"]: (row["state"], row["cost_nano"]) for row in rows(path)}


SETTLED = ("settled", 12_000)


def test_such_a_key_goes_on_while_others_are_refused(ledger, path, intruder):
    """One key's calls go out and are booked when the disk is back; the other's never leave."""
    intruder.execute("BEGIN IMMEDIATE")
    for number in range(3):
        attempt(ledger, f"c{number}")
    with pytest.raises(LedgerUnavailable):
        ledger.hold_now(call("refused"), route(), ESTIMATE)
    seen = ledger.statistics()
    assert (seen.late, seen.owed, seen.rows) == (3, 3, 0)
    intruder.execute("ROLLBACK")
    attempt(ledger, "after")

    assert costs(path) == dict.fromkeys(["c0", "c1", "c2", "after"], SETTLED)
    seen = ledger.statistics()
    assert (seen.late, seen.owed, seen.rows, seen.open_holds, seen.dropped) == (0, 0, 4, 0, 0)
    assert not spool_path(path).exists()
    assert verify(path).is_sound


def test_the_operator_hears_of_the_failure_and_of_its_end(ledger, intruder, caplog):
    """An alarm when the file cannot be written, and a word when it can be again."""
    intruder.execute("BEGIN IMMEDIATE")
    attempt(ledger, "c1")
    intruder.execute("ROLLBACK")
    attempt(ledger, "c2")

    told = [record.message for record in caplog.records]
    assert ["cannot be written" in told[0], "can be written again" in told[-1]] == [True, True]


async def test_what_is_owed_is_written_without_another_call(path, intruder, ledger, monkeypatch):
    """When the disk is back, nobody has to call for the ledger to be complete."""
    monkeypatch.setattr(ledger_module, "_TRY_AGAIN", 0.01)
    intruder.execute("BEGIN IMMEDIATE")
    hold = await ledger.hold(brave("c1"), route(), ESTIMATE)
    hold.settle(Usage(1, 1), "exact", "completed")
    await ledger.written()
    intruder.execute("ROLLBACK")
    for _ in range(100):
        await asyncio.sleep(0.005)
        if not ledger.statistics().owed:
            break

    assert costs(path) == {"c1": SETTLED}


@pytest.mark.parametrize("reads", [1, 3])
def test_what_could_not_be_written_survives_a_crash(path, reads):
    """Killed while the disk failed: the next start takes over what was spooled, once."""
    ledger = open_ledger(path)
    normal = ledger.hold_now(call("normal"), route(), ESTIMATE)
    with closing(sqlite3.connect(path, isolation_level=None)) as intruder:
        intruder.execute("BEGIN IMMEDIATE")
        normal.settle(Usage(2, 1), "exact", "completed")
        attempt(ledger, "c1")
        ledger.hold_now(brave("open"), route(), ESTIMATE)
        intruder.execute("ROLLBACK")
    spooled = spool_path(path).read_bytes()
    assert spool_path(path).stat().st_mode & 0o777 == 0o600
    crash(ledger)
    for _ in range(reads):  # as if each start had died before it could remove the spool
        spool_path(path).write_bytes(spooled)
        open_ledger(path).close()

    assert not spool_path(path).exists()
    assert costs(path) == {
        "normal": ("settled", 14_000),
        "c1": SETTLED,
        "open": ("settled", 700_000),
    }
    report = verify(path)
    assert report.findings == ()
    assert report.links == 3


def test_an_orderly_end_keeps_what_is_still_owed(path):
    """A stop while the disk fails loses nothing either."""
    ledger = open_ledger(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as intruder:
        intruder.execute("BEGIN IMMEDIATE")
        attempt(ledger, "c1")
        ledger.close()
        intruder.execute("ROLLBACK")
    with closing(open_ledger(path)):
        assert costs(path) == {"c1": SETTLED}


def test_damaged_lines_of_a_spool_are_told_and_kept(path, caplog):
    """A line that cannot be read is counted, said and kept; the others are booked."""
    ledger = open_ledger(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as intruder:
        intruder.execute("BEGIN IMMEDIATE")
        for number in range(3):
            attempt(ledger, f"c{number}")
        intruder.execute("ROLLBACK")
    crash(ledger)
    content = bytearray(spool_path(path).read_bytes())
    content[content.index(b'"c1"') + 1] ^= 1
    spool_path(path).write_bytes(content + b"0bad")

    with closing(open_ledger(path)) as again:
        damage = again.statistics().damage

    assert damage.spool == 2
    assert costs(path) == {"c0": SETTLED, "c2": SETTLED}
    assert "ARE DAMAGED" in caplog.text
    (aside,) = path.parent.glob("*.spool.corrupt-*")
    assert aside.read_bytes() == content + b"0bad"


def test_memory_is_bounded_and_what_is_dropped_is_counted(ledger, path, intruder, monkeypatch):
    """Calls go on beyond the bound, but the operator can see how many are in no row."""
    monkeypatch.setattr(ledger_writer, "MOST_OWED", 2)
    intruder.execute("BEGIN IMMEDIATE")
    for number in range(5):
        attempt(ledger, f"c{number}")
    assert ledger.statistics().dropped == 3
    intruder.execute("ROLLBACK")
    attempt(ledger, "after")

    assert set(costs(path)) == {"c0", "c1", "after"}
    assert verify(path).is_sound


def test_without_room_for_a_spool_memory_alone_keeps_it(ledger, path, intruder):
    """The spool is a help, not a condition: where it cannot be written, calls go on all the same."""
    spool_path(path).mkdir()
    intruder.execute("BEGIN IMMEDIATE")
    attempt(ledger, "c1")
    intruder.execute("ROLLBACK")
    attempt(ledger, "c2")
    spool_path(path).rmdir()

    assert costs(path) == {"c1": SETTLED, "c2": SETTLED}


def test_a_read_only_file_stops_nobody_who_goes_on(path, ledger):
    """The file turns read-only and back: nothing is lost, no restart is needed."""
    ledger._writer.db.execute("PRAGMA query_only=ON")
    attempt(ledger, "c1")
    with pytest.raises(LedgerUnavailable):
        ledger.hold_now(call("refused"), route(), ESTIMATE)
    ledger._writer.db.execute("PRAGMA query_only=OFF")
    attempt(ledger, "c2")

    assert costs(path) == {"c1": SETTLED, "c2": SETTLED}


async def test_a_lock_holds_calls_up_once_and_not_at_each_turn(ledger, intruder):
    """Somebody who locks the file for ten seconds costs the loop one wait, not one a call."""
    intruder.execute("BEGIN IMMEDIATE")
    attempt(ledger, "c0")
    begun = asyncio.get_running_loop().time()
    for number in range(1, 101):
        attempt(ledger, f"c{number}")
    assert asyncio.get_running_loop().time() - begun < 1.0
    intruder.execute("ROLLBACK")


@pytest.mark.parametrize(
    ("policy", "model", "request_", "is_refused"),
    [
        ("flag", "mystery", Request("POST", "/v1/responses", fields={"model": "m"}), False),
        ("refuse", "mystery", Request("POST", "/v1/responses", fields={"model": "m"}), True),
        ("refuse", "gpt-test", Request("POST", "/v1/responses", fields={"model": "m"}), False),
        ("refuse", "", Request("GET", "/v1/files"), False),
        ("refuse", "", Request("POST", "/v1/files", content=b"form"), False),
        ("refuse", "", Request("POST", "/v1/audio/transcriptions", content=b"form"), True),
        ("refuse", "", Request("POST", "/v1/realtime/client_secrets", content=b"{}"), True),
        ("refuse", "", Request("POST", "/v1/responses/resp_1/cancel"), False),
        ("refuse", "mystery", Request("POST", "/v1/moderations", fields={"model": "m"}), False),
    ],
)
def test_a_model_without_a_price_is_refused_where_the_key_says_so(
    ledger, path, policy, model, request_, is_refused
):
    """Never free: an unknown price is flagged, or the call is not made and leaves no row."""
    made = call()
    made.request, made.caller = request_, Caller("careful", "key_3", unpriced=policy)
    if is_refused:
        with pytest.raises(ModelUnpriced) as refusal:
            ledger.hold_now(made, route(model), ESTIMATE)
        assert (refusal.value.status, refusal.value.should_retry) == (403, False)
        assert rows(path) == []
    else:
        ledger.hold_now(made, route(model), ESTIMATE)
        assert (rows(path)[0]["anomalies"] is None) == (model == "gpt-test")
