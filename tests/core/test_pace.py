"""A provider that asks to slow down gets what it asks for, and nobody waits longer than that takes."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headworks.core.pace import PERIOD, Lull, Pace

NEVER = -1e9
"""The end of a pause that there is not."""


@dataclass
class Gate:
    """Callers before a pace: who may not go lines up and comes back as told."""

    pace: Pace
    gone: list[float] = field(default_factory=list[float])
    waiting: list[float] = field(default_factory=list[float])

    def come(self, now: float, *, in_line: bool = False) -> bool:
        wait = self.pace.wait(now, NEVER, in_line=in_line)
        if wait:
            self.pace.bind(now)
            self.pace.line_up(now, NEVER)
            self.waiting.append(now + wait)
            return False
        self.pace.take(now, in_line=in_line)
        self.gone.append(now)
        return True

    def until(self, end: float, every: float = 1e9) -> int:
        """Let time pass, with a new caller every so many seconds; return how often one lost its place."""
        new, lost = end, 0
        if every < 1e9:
            new = max(self.gone + self.waiting, default=100.0)
        while min([new, *self.waiting]) < end:
            now = min([new, *self.waiting])
            if now == new:
                new += every
                self.come(now)
            else:
                self.waiting.remove(now)
                lost += not self.come(now, in_line=True)
        return lost


def test_a_pace_begins_lower_than_it_was():
    """Seven of ten calls go on, evenly: the next slot is told exactly."""
    gate = Gate(Pace(10.0, 100.0))
    assert gate.pace.rate(100.0) == pytest.approx(7.0)
    assert gate.pace.wait(100.0, NEVER) == pytest.approx(1 / 7)
    assert not gate.come(100.0)
    assert gate.pace.wait(100.0, NEVER) == pytest.approx(2 / 7, rel=1e-3)


def test_asking_costs_nothing():
    """However many look, the slot is the same as before."""
    pace = Pace(10.0, 100.0)
    assert {pace.wait(100.05, NEVER) for _ in range(100)} == {pace.wait(100.05, NEVER)}


def test_a_crowd_that_waits_goes_one_by_one():
    """A hundred callers at once get a hundred slots: in order, each at its time, and none comes twice."""
    gate = Gate(Pace(10.0, 100.0))
    for _ in range(100):
        gate.come(100.0)
    assert gate.until(200.0) == 0
    assert len(gate.gone) == 100
    gaps = [after - before for before, after in zip(gate.gone, gate.gone[1:], strict=False)]
    assert 1 / 7.3 < min(gaps) <= max(gaps) < 1 / 6.9


def test_who_comes_later_takes_nobodys_place():
    """Callers keep coming twice as fast as may go; nobody who waits is told to wait again."""
    gate = Gate(Pace(10.0, 100.0))
    assert gate.until(160.0, every=0.0517) == 0
    assert len(gate.gone) == pytest.approx(7 * 60, abs=12)


def test_a_place_that_nobody_takes_is_lost_and_nothing_else():
    """Callers who have gone meanwhile hold up nobody behind them."""
    pace = Pace(10.0, 100.0)
    for _ in range(70):
        pace.line_up(100.0, NEVER)
    assert pace.wait(109.0, NEVER) == pytest.approx(1 + 1 / 7, abs=0.1)
    assert pace.wait(109.0, NEVER, in_line=True) == 0.0
    pace.take(109.0, in_line=True)
    assert pace.wait(112.0, NEVER) == 0.0
    assert pace.wait(130.0, NEVER, in_line=True) == 0.0


def test_places_that_nobody_takes_are_forgotten():
    """Callers who line up and leave, for hours, leave nothing behind."""
    pace = Pace(10.0, 100.0)
    for turn in range(10_000):
        pace.line_up(100.0 + turn, NEVER)
    assert len(pace._lined_up) < 100


def test_calls_by_chance_need_not_wait():
    """What was not used in the last second may go at once, and no more."""
    pace = Pace(10.0, 100.0)
    gone = 0
    while not pace.wait(150.0, NEVER):
        pace.take(150.0)
        gone += 1
    assert gone in {7, 8}


def test_it_grows_by_half_in_a_quarter_of_an_hour():
    """That is as fast as the provider lets traffic grow."""
    pace = Pace(10.0, 100.0)
    rates = [pace.rate(100.0 + minutes * 60) for minutes in (0, 7.5, 15, 30)]
    assert rates == pytest.approx([7.0, 7.0 * 1.5**0.5, 10.5, 15.75])


def test_one_burst_is_one_cut():
    """Refusals of what was sent before a cut, or right after it, change nothing."""
    pace = Pace(10.0, 100.0)
    assert not any(pace.cut(10.0, begun, 105.0) for begun in (50.0, 99.999))
    assert not pace.cut(10.0, 100.5, 100.9)
    assert pace.rate(100.0) == pytest.approx(7.0)
    assert pace.cut(10.0, 100.5, 101.0)
    assert pace.rate(101.0) == pytest.approx(4.9, rel=1e-3)


def test_a_cut_counts_from_what_really_went():
    """Where fewer calls came than might have gone, the new pace is below theirs."""
    pace = Pace(10.0, 100.0)
    assert pace.cut(4.0, 110.0, 111.0)
    assert pace.rate(111.0) == pytest.approx(2.8)


def test_a_cut_breaks_up_the_line():
    """Places that were given at the old pace count no more: the new one holds at once."""
    gate = Gate(Pace(10.0, 100.0))
    for _ in range(300):
        gate.come(100.0)
    gate.until(110.0)
    gone = len(gate.gone)
    assert gate.pace.cut(7.0, 105.0, 110.0)
    gate.until(140.0)
    assert len(gate.gone) - gone <= 30 * 5.0 + 1


def test_a_bad_minute_is_not_paid_for_with_hours():
    """However often it is told to slow down, it falls to a quarter at most in 15 minutes."""
    pace = Pace(20.0, 100.0)
    for second in range(101, 161):
        pace.cut(20.0, second - 0.5, second)
    assert pace.rate(160.0) == pytest.approx(5.0, rel=0.05)
    pace.cut(20.0, 999.0, 100.0 + PERIOD)
    for second in range(1001, 1060):
        pace.cut(20.0, second - 0.5, second)
    assert pace.rate(1060.0) < 2.0


@given(st.lists(st.floats(1.0, 2000.0), max_size=200), st.floats(0.0, 1000.0))
def test_it_never_comes_to_a_stop(gaps, rate):
    """One call in ten seconds goes, whatever the provider says and however often."""
    now = 0.0
    pace = Pace(rate, now)
    for gap in gaps:
        now += gap
        pace.cut(0.0, now, now)
        assert pace.rate(now) >= 0.1
        assert pace.wait(now, NEVER) <= 10.0 + 1e-6


def test_what_holds_nobody_back_ends():
    """A quarter of an hour after it was last felt it is over, not before."""
    pace = Pace(10.0, 100.0)
    assert not pace.is_over(100.0 + PERIOD - 1)
    assert pace.is_over(100.0 + PERIOD)
    pace.bind(500.0)
    assert not pace.is_over(100.0 + PERIOD)
    assert pace.is_over(500.0 + PERIOD)


def test_a_pause_comes_first():
    """During a pause nobody goes, in line or not; after it they go at the pace."""
    pace = Pace(10.0, 100.0)
    assert pace.wait(101.0, 120.0) == pytest.approx(19.0)
    pace.line_up(101.0, 120.0)
    assert pace.wait(101.0, 120.0) == pytest.approx(19.0 + 1 / 7, rel=1e-2)
    assert pace.wait(119.0, 120.0, in_line=True) == pytest.approx(1.0, abs=0.2)
    assert pace.wait(120.0, 120.0, in_line=True) == 0.0


def test_a_lull_doubles_while_limits_go_on():
    """1, 2, 4, 8 seconds and no longer; what was sent before its end says nothing new."""
    lull, now, told = Lull(100.0), 100.0, []
    for _ in range(6):
        told.append(lull.wait(now))
        assert not lull.renew(now + told[-1] - 0.01, now + 20)
        now += told[-1]
        assert lull.renew(now, now)
    assert told == [1.0, 2.0, 4.0, 8.0, 8.0, 8.0]


def test_callers_return_from_a_lull_as_they_came():
    """Nobody is told its end, where all would meet, but its length."""
    lull = Lull(100.0)
    back = [now + lull.wait(now) for now in (100.0, 100.4, 100.9)]
    assert back == pytest.approx([101.0, 101.4, 101.9])
    assert lull.wait(101.0) == 0.0


def test_after_months_it_is_as_good_as_none():
    """A route that nobody used for a year is used again without a defect."""
    pace = Pace(10.0, 0.0)
    now = 3e7
    pace.line_up(now, now + 5)
    pace.take(now + 5, in_line=True)
    assert pace.wait(now + 6, NEVER) == 0.0
