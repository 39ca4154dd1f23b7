"""The promises of the ledger: on disk before it matters, once, exact, and never free."""

import sqlite3
from contextlib import closing

import pytest

from headworks.core.pricing import flat_price
from headworks.errors import ConfigurationError
from headworks.stores.ledger import ledger_path
from headworks.stores.verify import verify
from headworks.types import NO_USAGE, Call, Request, Usage
from tests.stores.books import MODEL, Book, call, open_ledger, route, rows

ESTIMATE = Usage(100, 50)
HELD_NANO = 100 * 2000 + 50 * 10_000


@pytest.fixture
def path(tmp_path):
    return tmp_path / "headworks.ledger.db"


@pytest.fixture
def ledger(path):
    ledger = open_ledger(path)
    yield ledger
    ledger.close()


def test_an_attempt_is_on_disk_before_its_first_byte(ledger, path):
    """When `hold` returns, the row says who is about to spend what, for what, where."""
    hold = ledger.hold_now(
        call(feature="search", user="u1", session="s1", tags=("a", "b")), route(), ESTIMATE
    )

    (row,) = rows(path)
    assert hold.is_open
    expected = {
        "seq": 1, "call": "c1", "attempt": 1, "boot": 1, "state": "held", "certainty": None,
        "outcome": None, "settled_at": None, "key_id": "key_1", "key_name": "web",
        "project": "shop", "feature": "search", "user": "u1", "session": "s1",
        "tags": '["a","b"]', "endpoint": "chat.completions", "upstream": "openai",
        "credential": "main", "model_asked": "assistant", "model_sent": MODEL, "stream": 0,
        "estimate_nano": HELD_NANO, "input": 100, "output": 50, "cached": 0, "written": 0,
        "written_12h": 0, "reasoning": 0, "tier": "default", "cost_nano": None, "anomalies": None, "link": None, "chain": None,
        "held_at": 1_800_000_000_000_000_000, "price_version": row["price_version"],
    }  # fmt: skip
    assert row == expected


def test_a_settled_attempt_costs_what_it_used(ledger, path):
    """When `settle` returns, the exact cost is on disk and known to the caller."""
    hold = ledger.hold_now(call(), route(), ESTIMATE)

    cost = hold.settle(Usage(80, 20, cached=30, reasoning=5), "exact", "completed")

    (row,) = rows(path)
    assert cost == row["cost_nano"] == 50 * 2000 + 30 * 1000 + 20 * 10_000
    assert not hold.is_open
    assert (row["state"], row["certainty"], row["outcome"]) == ("settled", "exact", "completed")
    assert (row["input"], row["cached"], row["reasoning"]) == (80, 30, 5)
    assert row["estimate_nano"] == HELD_NANO


def test_a_released_attempt_costs_nothing(ledger, path):
    """An attempt that was never sent is kept as a row, at no cost."""
    hold = ledger.hold_now(call(), route(), ESTIMATE)

    hold.release("upstream_unreachable")

    (row,) = rows(path)
    assert not hold.is_open
    assert (row["state"], row["cost_nano"], row["input"]) == ("released", 0, 0)


def test_settling_twice_changes_nothing_and_is_counted(ledger, path):
    """However often a call is settled or released, it is booked once."""
    hold = ledger.hold_now(call(), route(), ESTIMATE)
    first = hold.settle(Usage(1, 1), "exact", "completed")
    before = rows(path)

    assert hold.settle(Usage(999, 999), "exact", "completed") == first
    hold.release("never_sent")

    assert rows(path) == before
    assert ledger.statistics().duplicates == 2


def test_a_row_that_is_closed_on_disk_stays_as_it_is(ledger, path):
    """The file itself refuses a second settlement, whatever the process believes."""
    hold = ledger.hold_now(call(), route(), ESTIMATE)
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("UPDATE attempts SET state = 'settled', cost_nano = 7")

    hold.settle(Usage(1, 1), "exact", "completed")

    assert rows(path, "cost_nano") == [{"cost_nano": 7}]
    assert ledger.statistics().duplicates == 1


def test_an_unknown_price_is_not_zero(ledger, path):
    """Without a price there is no cost, and the row says so."""
    hold = ledger.hold_now(call(), route("mystery"), ESTIMATE)
    assert rows(path, "estimate_nano, anomalies") == [
        {"estimate_nano": None, "anomalies": "unpriced"}
    ]

    assert hold.settle(Usage(1, 1), "exact", "completed") is None
    assert rows(path, "cost_nano, anomalies") == [{"cost_nano": None, "anomalies": "unpriced"}]


def test_a_running_attempt_keeps_the_price_it_began_with(ledger):
    """A price change is for calls that begin after it."""
    before = ledger.hold_now(call("c1"), route(), ESTIMATE)
    ledger.prices = Book({MODEL: flat_price(10**15, 10**15)})
    after = ledger.hold_now(call("c2"), route(), ESTIMATE)

    assert before.settle(Usage(1, 0), "exact", "completed") == 2000
    assert after.settle(Usage(1, 0), "exact", "completed") == 10**9


def test_odd_counts_are_booked_and_flagged(ledger, path):
    """Counts that contradict each other are kept, priced upwards and flagged."""
    hold = ledger.hold_now(call(), route(), ESTIMATE)

    hold.settle(Usage(10, 5, cached=20, reasoning=9, tier="warp"), "exact", "completed")

    (row,) = rows(path)
    assert row["cost_nano"] == 10 * 2000 + 9 * 10_000
    assert row["anomalies"].split() == [
        "cached_exceeds_input", "reasoning_exceeds_output", "tier_without_price",
    ]  # fmt: skip


@pytest.mark.parametrize("text", ["\ud800", "a\0b", "x" * 10_000, "日本", "'; DROP TABLE attempts"])
def test_no_name_breaks_the_ledger(ledger, path, text):
    """Whatever a caller writes into its tags, the attempt is booked."""
    hold = ledger.hold_now(
        call(feature=text, user=text, tags=(text.replace("\ud800", "?"),)), route(), NO_USAGE
    )
    hold.settle(Usage(1, 1), "exact", "completed")

    (row,) = rows(path)
    assert (row["state"], len(row["feature"]) <= 256) == ("settled", True)


def test_no_count_breaks_the_ledger(ledger, path):
    """Counts beyond any column are kept as the largest that fits, and settle never raises."""
    hold = ledger.hold_now(call(), route(), Usage(10**30, 0))
    hold.settle(Usage(10**30, 10**30), "estimated", "completed")

    (row,) = rows(path)
    assert (row["state"], row["input"], row["cost_nano"]) == ("settled", 2**63 - 1, 2**63 - 1)


def test_calls_without_caller_or_known_path_are_booked_too(ledger, path):
    """What we know nothing about still leaves a row."""
    nameless = Call("c1", Request("TRACE", "/v1/anything"), 0.0, 0.0, attempts=1)
    ledger.hold_now(nameless, route(), NO_USAGE).release("refused")

    assert rows(path, "key_id, endpoint") == [{"key_id": "", "endpoint": "other"}]


@pytest.mark.parametrize(
    ("store", "ledger"),
    [
        ("sqlite:headworks.db", "headworks.ledger.db"),
        ("sqlite:/var/lib/hw/main.sqlite3", "/var/lib/hw/main.ledger.sqlite3"),
        ("data/store", "data/store.ledger.db"),
    ],
)
def test_the_ledger_lies_beside_the_store(store, ledger):
    """One setting places both files."""
    assert str(ledger_path(store)) == ledger


@pytest.mark.parametrize("store", ["postgresql://db/x", "sqlite:", "", "sqlite::memory:", "a://b"])
def test_a_store_that_is_no_file_has_no_ledger(store):
    """What cannot hold a ledger is refused by name."""
    with pytest.raises(ConfigurationError, match="store"):
        ledger_path(store)


def test_a_request_that_uses_no_tokens_is_free_at_any_model(ledger, path):
    """Listing files costs nothing, though nobody knows a price for it; its row is sound."""
    attempt = ledger.hold_now(call(), route("nobody-knows"), Usage(3, 0))

    assert attempt.settle(NO_USAGE, "exact", "completed") == 0
    assert verify(path).is_sound
