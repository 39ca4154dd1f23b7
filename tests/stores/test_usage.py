"""The promise of reports: with rollups or without, whenever they are read, they are the rows' sums."""

import tempfile
from contextlib import closing
from dataclasses import replace
from datetime import UTC
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headworks.stores.ledger import Attempt, SqliteLedger
from headworks.stores.rollup_schema import rollups_path
from headworks.stores.rollups import Rollups
from headworks.stores.usage import AXES, Query, Usages, usage
from headworks.stores.usage_bounds import Bounds, UsageTooWide
from headworks.stores.verify import verify
from headworks.testing import FakeClock
from headworks.types import Usage
from tests.stores.books import MODEL, call, crash, open_ledger, route
from tests.stores.usage_oracle import expected

START = 1_800_000_000.0
DAY = 86_400.0

pick = st.integers(0, 10**6)
tokens = st.integers(0, 10**5)
used = st.builds(
    lambda cached, written, rest, output: Usage(cached + written + rest, output, cached, written),
    tokens,
    tokens,
    tokens,
    tokens,
)
names = st.sampled_from(["", "a", "b", "ü'"])
steps = st.one_of(
    st.tuples(
        st.just("hold"),
        st.booleans(),
        st.fixed_dictionaries(
            {"feature": names, "user": names, "session": names},
            optional={"tags": st.sampled_from([("x",), ("x", "y"), ("y", "y")])},
        ),
        st.sampled_from([MODEL, "mystery"]),
    ),
    st.tuples(st.just("settle"), pick, used, st.sampled_from(["exact", "estimated"])),
    st.tuples(st.just("release"), pick),
    st.tuples(st.just("wait"), st.sampled_from([0.5, 899.0, 3600.0, 40_000.0, 3 * DAY])),
    st.tuples(st.just("pass_rows"), st.integers(1, 9)),
    st.tuples(st.just("pass_rows"), st.integers(1, 9)),
    st.tuples(st.just("end"), st.sampled_from([crash, SqliteLedger.close])),
)
zones = st.sampled_from([UTC, *map(ZoneInfo, ("Europe/Berlin", "Asia/Kathmandu"))])
moments = st.one_of(
    st.none(), st.builds(lambda days: START + days * DAY, st.floats(-1, 9)), st.just(START)
)
chosen = st.dictionaries(
    st.sampled_from(["feature", "user", "model", "tag", "route"]),
    st.lists(st.sampled_from(["", "a", "ü'", "x", MODEL, f"openai/{MODEL}"]), min_size=1),
    max_size=2,
)


def query_of(by, where, bounds, zone):
    """Return a query, with its bounds in order."""
    since, until = bounds
    if since is not None and until is not None and since > until:
        since, until = until, since
    return Query(tuple(by), where, since, until, zone)


queries = st.builds(
    query_of,
    st.lists(st.sampled_from(AXES), max_size=3, unique=True),
    chosen,
    st.tuples(moments, moments),
    zones,
)


class Story:
    """A ledger that is written, and rollups that follow at their own pace."""

    def __init__(self, path: Path) -> None:
        self.path, self.clock = path, FakeClock()
        self.ledger = open_ledger(path, self.clock)
        self.holds: list[Attempt] = []
        self.calls = self.attempt = 0
        self.tags: dict[str, Any] = {}

    def hold(self, again, tags, model):
        self.attempt = self.attempt + 1 if again and self.calls else 1
        if self.attempt == 1:
            self.calls, self.tags = self.calls + 1, tags
        attempt = call(f"c{self.calls}", self.attempt, **self.tags)
        self.holds.append(self.ledger.hold_now(attempt, route(model), Usage(7, 7)))

    def settle(self, index, usage, certainty):
        if self.holds:
            self.holds.pop(index % len(self.holds)).settle(usage, certainty, "completed")

    def release(self, index):
        if self.holds:
            self.holds.pop(index % len(self.holds)).release("never_sent")

    def wait(self, seconds):
        self.clock.advance(seconds)

    def pass_rows(self, most):
        with closing(Rollups(self.path)) as rollups:
            rollups.advance(most)

    def end(self, how):
        how(self.ledger)
        self.holds.clear()
        self.ledger = open_ledger(self.path, self.clock)


@settings(deadline=None, max_examples=40)
@given(st.lists(steps, max_size=40), st.lists(queries, min_size=1, max_size=4))
def test_a_report_is_the_sum_of_the_rows(script, asked):
    """Retries, crashes, rows that close late: at any moment a report says what the rows say."""
    with tempfile.TemporaryDirectory() as folder:
        story = Story(Path(folder) / "l.db")
        for verb, *details in script:
            getattr(story, verb)(*details)
        with closing(story.ledger):
            for query in asked:
                lines = expected(story.path, query)
                found = usage(story.path, query)
                if query.by:
                    assert {line.group: line for line in found.lines} == lines
                whole = expected(story.path, Query((), query.where, query.since, query.until))
                if "tag" not in query.where or len(query.where["tag"]) == 1:
                    assert [found.total] == (list(whole.values()) or [type(found.total)()])
            assert verify(story.path).findings == ()


def both_ways(path: Path, query: Query) -> tuple[Usages, Usages]:
    """Return a report from rollups, and the same one from rows alone."""
    with_rollups = usage(path, query)
    kept = rollups_path(path)
    aside = kept.rename(kept.with_name("aside"))
    try:
        return with_rollups, usage(path, query)
    finally:
        aside.rename(kept)


@pytest.fixture(scope="module")
def books(tmp_path_factory):
    """Ninety days of calls, passed by rollups but for the last of them and an open one."""
    path, clock = tmp_path_factory.mktemp("usage") / "l.db", FakeClock()
    with closing(open_ledger(path, clock)) as ledger:
        early = ledger.hold_now(call("open", user="u0"), route(), Usage(5, 5))
        for number in range(600):
            for attempt in range(1, 2 + (number % 7 == 0)):
                made = call(
                    f"c{number}",
                    attempt,
                    user=f"u{number % 41}",
                    feature=f"f{number % 3}",
                    tags=("x", "y")[: number % 3],
                )
                hold = ledger.hold_now(made, route(MODEL if number % 5 else "mystery"), Usage(5, 5))
                hold.settle(Usage(number % 90, 5, number % 30), "exact", "completed")
            clock.advance(12_960.0)
        with closing(Rollups(path)) as rollups:
            rollups.advance(650)
        early.settle(Usage(9, 9), "estimated", "cut")
        yield path


@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize("top", [None, 1, 3])
def test_rollups_change_no_figure(books, axis, top):
    """Whatever is asked, with the rest as others or without: rollups only make it faster."""
    for since in (None, START + 10.123 * DAY):
        query = Query((axis,), since=since, until=START + 85 * DAY, top=top, has_users=True)
        found, plain = both_ways(books, query)

        assert replace(found, rows_read=0) == replace(plain, rows_read=0)
        assert found.rows_read <= plain.rows_read
        assert top is None or len(found.lines) <= top


PAIRS = [
    ("feature", "model"),
    ("user", "model"),
    ("key", "model"),
    ("project", "model"),
    ("tag", "model"),
    ("tag", "feature"),
    ("route", "outcome"),
    ("user", "outcome"),
]


@pytest.mark.parametrize("axes", PAIRS)
@pytest.mark.parametrize("time", [(), ("day",), ("hour",)])
def test_pairs_are_the_rows_sums(books, axes, time):
    """Two axes together, by the hours or days of any place, between any two moments."""
    for zone in (UTC, ZoneInfo("Asia/Kathmandu")):
        query = Query((*time, *axes), since=START + 9.3 * DAY, until=START + 30.07 * DAY, zone=zone)
        found = usage(books, query)

        assert {line.group: line for line in found.lines} == expected(books, query)


@pytest.mark.parametrize("by", [("user",), ("user", "model"), ("day", "user"), ("user", "outcome")])
@pytest.mark.parametrize("where", [{}, {"feature": ["f1"]}, {"user": ["u3", "u4"]}])
@pytest.mark.parametrize("top", [1, 2, 5, 1000])
def test_the_dearest_are_the_dearest(books, by, where, top):
    """A list that is cut begins as the whole one does, however few users are looked at for it."""
    query = Query(by, where, START + 9.3 * DAY, START + 30.07 * DAY)
    found, whole = usage(books, replace(query, top=top)), usage(books, query)
    ranked = sorted(whole.lines, key=lambda line: (-line.cost_nano, line.group))

    assert sorted(found.lines, key=lambda line: (-line.cost_nano, line.group)) == ranked[:top]
    assert found.total == whole.total


@pytest.mark.parametrize(
    "by", [(), ("feature",), ("day",), ("hour",), ("feature", "model"), ("tag",)]
)
@pytest.mark.parametrize("where", [{}, {"feature": ["f1"]}, {"user": ["u3", "", "u4"]}])
def test_nobody_is_counted_twice(books, by, where):
    """The users of a group are those whose rows are in it, at whatever moment the report begins."""
    query = Query(by, where, START + 9.3 * DAY, START + 30.07 * DAY, has_users=True)
    found = usage(books, query)
    rows = expected(books, replace(query, by=(*by, "user")))

    for line in found.lines:
        assert line.users == len({it[-1] for it in rows if it[:-1] == line.group} - {""})
    assert found.total.users == len({it[-1] for it in rows} - {""})


def test_a_report_says_what_it_read(books):
    """Sums need a few rows at most; what no sums are kept of, every row of its time."""
    assert usage(books, Query(("model",))).rows_read < 100
    assert usage(books, Query(("session",))).rows_read in {687, 688}  # the open one is looked up
    assert usage(books, Query(("session",), since=START + 80 * DAY)).rows_read < 200


def test_a_report_that_takes_too_long_is_given_up(books):
    """By then, and in the midst of reading: it says how much it would read, and what to do."""
    for patience in (0, 3):
        asked = 0

        def is_over(patience=patience):
            nonlocal asked
            asked += 1
            return asked > patience

        with pytest.raises(UsageTooWide, match=r"reads 6\d\d of the ledger's rows .* narrow"):
            usage(books, Query(("session",)), Bounds(is_over))
        assert asked == patience + 1


def test_a_report_that_is_too_long_is_not_made(books):
    """Nobody's memory is filled with groups."""
    assert len(usage(books, Query(("user",)), Bounds(groups=41)).lines) == 41
    with pytest.raises(UsageTooWide, match="more than 40 groups; group by less"):
        usage(books, Query(("user",)), Bounds(groups=40))


def test_the_rest_are_others(books):
    """The dearest groups are listed; the others sum to what is missing from the total."""
    found = usage(books, Query(("user",), top=3))
    everything = usage(books, Query(("user",)))

    assert found.lines == everything.lines[:3]
    assert everything.others is None
    assert found.others is not None
    assert found.total == everything.total
    for name in ("calls", "attempts", "cost_nano", "waste_nano", "saved_nano"):
        listed = sum(getattr(line, name) for line in found.lines)
        assert listed + getattr(found.others, name) == getattr(found.total, name)


def test_users_are_counted(books):
    """Each group says how many users it had; the total counts nobody twice."""
    found = usage(books, Query(("feature",), has_users=True))

    assert {line.group[0]: line.users for line in found.lines} == {
        "": 1, "f0": 41, "f1": 41, "f2": 41,
    }  # fmt: skip
    assert found.total.users == 41
    assert usage(books, Query(("feature",))).total.users is None


def test_time_runs_forward(books):
    """Reports by time are in its order, whatever was dearest."""
    days = [line.group[0] for line in usage(books, Query(("day",))).lines]

    assert days == sorted(days)
    assert len(days) == 91


@pytest.mark.parametrize(
    ("zone", "begin", "hours"),
    [
        ("Europe/Berlin", 1_806_188_400, 23),  # 2027-03-28
        ("Europe/Berlin", 1_824_933_600, 25),  # 2027-10-31
        ("Asia/Kolkata", 1_806_172_200, 24),
    ],
)
def test_days_are_those_of_the_place(tmp_path, zone, begin, hours):
    """A day goes from midnight to midnight there, also when the clocks change."""
    path, clock = tmp_path / "l.db", FakeClock()
    clock.advance(begin - START)
    with closing(open_ledger(path, clock)) as ledger:
        for number in range(48):
            ledger.hold_now(call(f"c{number}"), route(), Usage()).release("never_sent")
            clock.advance(3600)
        with closing(Rollups(path)) as rollups:
            rollups.advance()
        found = usage(path, Query(("day",), zone=ZoneInfo(zone)))

    assert found.lines[0].calls == hours


def test_hours_differ_when_the_clocks_go_back(tmp_path):
    """The hour that comes twice is two hours in a report."""
    path, clock = tmp_path / "l.db", FakeClock()
    clock.advance(1_824_940_800 - START)  # 2027-10-31T02:00+02:00 in Berlin
    with closing(open_ledger(path, clock)) as ledger:
        for number in range(4):
            ledger.hold_now(call(f"c{number}"), route(), Usage()).release("never_sent")
            clock.advance(3600)
    found = usage(path, Query(("hour",), zone=ZoneInfo("Europe/Berlin")))

    assert [line.group[0] for line in found.lines] == [
        "2027-10-31T02:00+02:00",
        "2027-10-31T02:00+01:00",
        "2027-10-31T03:00+01:00",
        "2027-10-31T04:00+01:00",
    ]
