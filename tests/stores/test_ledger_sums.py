"""The promise of the ledger's sums: whatever happens, in whatever order, they are right."""

import tempfile
from contextlib import closing
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from headworks.core.pricing import cost
from headworks.stores.ledger import Attempt, SqliteLedger
from headworks.stores.usage import Query, usage
from headworks.stores.verify import verify
from headworks.types import Usage
from tests.stores.books import PRICE, call, crash, open_ledger, route

tokens = st.integers(0, 10**6)
used = st.builds(Usage, tokens, tokens, tokens)
pick = st.integers(0, 10**6)
steps = st.one_of(
    st.tuples(st.just("hold"), used, st.booleans()),
    st.tuples(st.just("settle"), pick, used, st.sampled_from(["exact", "estimated"])),
    st.tuples(st.just("release"), pick),
    st.tuples(st.just("end"), st.sampled_from([crash, SqliteLedger.close])),
)


class Story:
    """A ledger, and beside it what must come out, by arithmetic alone."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.ledger = open_ledger(path)
        self.holds: list[Attempt] = []
        self.open: dict[int, int] = {}
        self.total = self.estimated = self.calls = self.attempt = 0

    def hold(self, estimate, again):
        self.attempt = self.attempt + 1 if again and self.calls else 1
        self.calls += self.attempt == 1
        made = self.ledger.hold_now(call(f"c{self.calls}", self.attempt), route(), estimate)
        self.holds.append(made)
        self.open[id(made)] = cost(PRICE, estimate)

    def settle(self, index, used, certainty):
        if self.holds:
            hold = self.holds[index % len(self.holds)]
            hold.settle(used, certainty, "completed")
            if self.open.pop(id(hold), None) is not None:
                self.total += cost(PRICE, used)
                self.estimated += cost(PRICE, used) * (certainty != "exact")

    def release(self, index):
        if self.holds:
            hold = self.holds[index % len(self.holds)]
            hold.release("never_sent")
            self.open.pop(id(hold), None)

    def end(self, how):
        how(self.ledger)
        self.total += sum(self.open.values())
        self.estimated += sum(self.open.values())
        self.open.clear()
        self.holds.clear()
        self.ledger = open_ledger(self.path)


@settings(deadline=None, max_examples=60)
@given(st.lists(steps, max_size=40))
def test_sums_equal_the_oracle(script):
    """Holds, settlements, doubles, releases, crashes and restarts add up to the nano-dollar."""
    with tempfile.TemporaryDirectory() as folder:
        story = Story(Path(folder) / "l.db")
        for verb, *details in script:
            getattr(story, verb)(*details)
        with closing(story.ledger):
            found = usage(story.path, Query(by=("outcome",))).total
            report = verify(story.path)

    assert report.findings == ()
    assert (found.cost_nano, found.estimated_nano) == (story.total, story.estimated)
    assert (found.open, found.open_nano) == (len(story.open), sum(story.open.values()))
    assert (found.calls, len(report.held)) == (story.calls, len(story.open))
