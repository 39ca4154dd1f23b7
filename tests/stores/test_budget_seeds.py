"""The promise of budgets at a start: they begin with what the rows say, to the nano-dollar, at once."""

import json
import sqlite3
import tempfile
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headworks.core.calendar import EVER, period
from headworks.core.levels import LevelKind
from headworks.stores.budget_seeds import Seeds, _seeds, read_on, read_seeds
from headworks.stores.ledger import Attempt, SqliteLedger
from headworks.stores.rollup_schema import rollups_path
from headworks.stores.rollups import Rollups
from headworks.stores.usage_reading import Reading
from headworks.testing import FakeClock
from headworks.types import Usage
from tests.stores.books import MODEL, call, crash, open_ledger, route, rows
from tests.stores.test_report_cost import MANY

EVENING = datetime(2026, 11, 23, 18, 10, tzinfo=UTC).timestamp()
KINDS: tuple[LevelKind, ...] = ("organisation", "project", "key", "user", "tag")
COLUMNS = {"project": "project", "key": "key_name", "user": "user"}
ZONES = (UTC, *map(ZoneInfo, ("Europe/Berlin", "Asia/Kolkata", "Asia/Kathmandu")))
MOST_SET_BACK = 24 * 3600.0

pick = st.integers(0, 10**6)
names = st.sampled_from(["", "a", "b"])
steps = st.one_of(
    st.tuples(
        st.just("hold"),
        st.fixed_dictionaries({"user": names}, optional={"tags": st.sampled_from([("x",), ("x", "y", "x")])}),
        st.sampled_from([MODEL, MODEL, "mystery"]),
    ),
    st.tuples(st.just("settle"), pick, st.builds(Usage, st.integers(0, 999), st.integers(0, 999))),
    st.tuples(st.just("settle"), pick, st.builds(Usage, st.integers(0, 999), st.integers(0, 999))),
    st.tuples(st.just("release"), pick),
    st.tuples(st.just("wait"), st.sampled_from([0.5, 700.0, 3600.0, 20_000.0])),
    st.tuples(st.just("set_back"), st.sampled_from([1.0, 1000.0, 3600.0, 30_000.0])),
    st.tuples(st.just("pass_rows"), st.integers(1, 9)),
    st.tuples(st.just("end"), st.sampled_from([crash, SqliteLedger.close])),
)  # fmt: skip


class Story:
    """A ledger by a clock that people set, and rollups that follow at their own pace."""

    def __init__(self, path: Path) -> None:
        self.path, self.clock = path, FakeClock(epoch=EVENING)
        self.ledger = open_ledger(path, self.clock)
        self.holds: list[Attempt] = []
        self.count, self.back = 0, 0.0

    def hold(self, tags, model):
        self.count += 1
        held = self.ledger.hold_now(call(f"c{self.count}", **tags), route(model), Usage(7, 7))
        self.holds.append(held)

    def settle(self, index, usage):
        if self.holds:
            self.holds.pop(index % len(self.holds)).settle(usage, "exact", "completed")

    def release(self, index):
        if self.holds:
            self.holds.pop(index % len(self.holds)).release("never_sent")

    def wait(self, seconds):
        self.clock.advance(seconds)

    def set_back(self, seconds):
        if self.back + seconds <= MOST_SET_BACK:
            self.back += seconds
            self.clock._offset -= seconds

    def pass_rows(self, most):
        with closing(Rollups(self.path)) as rollups:
            rollups.advance(most)

    def end(self, how):
        how(self.ledger)
        self.holds.clear()
        self.ledger = open_ledger(self.path, self.clock)

    def tell(self, script):
        for verb, *details in script:
            getattr(self, verb)(*details)


def sums(path, kind, begin):
    """Add up rows, one after the other, from the first of the period on."""
    every = rows(path)
    first = next((row["seq"] for row in every if row["held_at"] >= begin), len(every) + 1)
    found: dict[str, int] = {}
    for row in every[first - 1 :]:
        cost = row["cost_nano"] if row["state"] != "held" else row["estimate_nano"]
        whose = json.loads(row["tags"] or "[]") if kind == "tag" else [row[COLUMNS[kind]]] if kind in COLUMNS else [""]  # fmt: skip
        for name in {*whose}:
            found[name] = found.get(name, 0) + (cost or 0)
    return found


def spent(seeds: Seeds):
    """Return what was spent, without those who spent nothing."""
    return {
        (kind, begin, name): cost
        for (kind, begin), costs in seeds.spent.items()
        for name, cost in costs.items()
        if cost and (name or kind != "tag")
    }


@settings(deadline=None, max_examples=60)
@given(st.lists(steps, max_size=40), st.lists(steps, max_size=8), st.sampled_from(ZONES))
def test_a_budget_begins_with_the_sum_of_the_rows(before, meanwhile, zone):
    """Whoever's it is, wherever his day begins, however clocks were set, whatever is still open."""
    with tempfile.TemporaryDirectory() as folder:
        story = Story(Path(folder) / "l.db")
        story.tell(before)
        now = int(story.clock.time() * 10**9)
        begins = {period(per, now, zone).begin for per in ("day", "week", "total")}
        seeds = read_seeds(story.path, [(kind, begin) for kind in KINDS for begin in begins])
        story.tell(meanwhile)
        with closing(story.ledger):
            right = {
                (kind, begin, name): cost
                for kind in KINDS
                for begin in begins
                for name, cost in sums(story.path, kind, begin).items()
                if cost
            }
            assert spent(read_on(story.path, seeds)) == right


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """Two days of a hundred thousand calls of five hundred users, the last thousand not passed."""
    path = tmp_path_factory.mktemp("large") / "l.db"
    open_ledger(path).close()
    with closing(sqlite3.connect(path)) as db, db:
        db.execute(MANY, (100_000,))
    with closing(Rollups(path)) as rollups:
        rollups.advance(99_000)
    return path


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("begin", [EVER.begin, 1_800_100_000 * 10**9])
def test_a_start_does_not_read_the_rows(large, kind, begin):
    """However long the ledger is: SQLite's steps are counted."""
    hundreds = 0

    def count():
        nonlocal hundreds
        hundreds += 1

    with closing(Reading(large)) as reading:
        reading._db.set_progress_handler(count, 100)
        found = _seeds(reading, [(kind, begin)])

    assert spent(found) == {(kind, begin, name): cost for name, cost in sums(large, kind, begin).items()}  # fmt: skip
    assert hundreds * 100 < 400_000, "reading every row takes 30 steps each: three million"


@pytest.mark.parametrize("noise", [b"", b"noise" * 2000])
def test_broken_rollups_change_no_budget(tmp_path, noise):
    """Where the rollups are damaged or gone, the rows are read."""
    story = Story(tmp_path / "l.db")
    for _ in range(3):
        story.tell([("hold", {"user": "a"}, MODEL), ("settle", 0, Usage(5, 5)), ("pass_rows", 9)])
    story.ledger.close()
    rollups_path(story.path).write_bytes(noise)

    assert spent(read_seeds(story.path, [("user", 0)])) == {("user", 0, "a"): 180_000}
