"""Spans of time are cut without a gap or an overlap, by any clocks."""

from datetime import UTC
from itertools import pairwise
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from headworks.core.periods import DAY, HOUR, NANO, QUARTER, Span, cover, hour_of, periods

moments = st.integers(0, 4 * 10**18)
zones = st.sampled_from(
    [
        UTC,
        *map(ZoneInfo, ("Europe/Berlin", "Asia/Kathmandu", "Australia/Lord_Howe", "Africa/Cairo")),
    ]
)
levels = st.sampled_from([(), (DAY,), (DAY, HOUR), (DAY, HOUR, QUARTER)])


@given(moments, st.integers(0, 40 * DAY * NANO), levels)
def test_blocks_and_the_rest_are_the_span(begin, length, known):
    """Every moment counts once: in a block or beside one, less what a block has too much."""
    span = Span(begin, begin + length)
    blocks, more, less = cover(span, known)
    pieces = sorted([*(Span(it.begin * NANO, it.end * NANO) for it in blocks), *more])

    reach = Span(
        min([begin, *(it.begin for it in less)]), max([span.end, *(it.end for it in less)])
    )
    assert all(one.end == two.begin for one, two in pairwise(pieces))
    assert [Span(pieces[0].begin, pieces[-1].end)] == [reach] if pieces else not length
    outside = [it for it in (Span(reach.begin, begin), Span(span.end, reach.end)) if it[0] < it[1]]
    assert less == outside
    assert all(it.begin < it.end for it in more)
    assert len(blocks) <= 2 * len(known)
    beside = [it.end - it.begin for it in more + less]
    assert sum(beside) <= length
    if known:
        assert sum(beside) <= known[-1] * NANO
    for it in blocks:
        assert it.begin % it.level == it.end % it.level == 0


@given(moments, st.integers(0, 9 * DAY * NANO), st.sampled_from(["hour", "day"]), zones)
def test_periods_follow_each_other(begin, length, kind, zone):
    """Hours and days of any place fill a span; each has a name of its own."""
    span = Span(begin, begin + length)
    found = list(periods(kind, span, zone))

    at = span.begin
    for period in found:
        assert period.span.begin == at < period.span.end
        at = period.span.end
    assert at == span.end
    labels = [period.label for period in found]
    assert len(set(labels)) == len(labels)


def test_hours_name_their_offset():
    """An hour says by which clocks it goes; by UTC it ends in Z."""
    assert hour_of(1_800_003_599, UTC) == "2027-01-15T08:00Z"
    assert hour_of(1_800_003_599, ZoneInfo("Asia/Kolkata")) == "2027-01-15T14:00+05:30"
