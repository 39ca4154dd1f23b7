"""Periods begin and end with the calendar of a place, whatever its clocks do."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headworks.core.calendar import EVER, period
from headworks.core.periods import NANO

BERLIN = ZoneInfo("Europe/Berlin")
ZONES = ("UTC", "Europe/Berlin", "America/Havana", "America/Sao_Paulo", "Asia/Beirut",
         "Pacific/Apia", "Australia/Lord_Howe", "Asia/Kathmandu")  # fmt: skip


def at(text: str, zone: str = "Europe/Berlin") -> int:
    """Return a moment by the clocks of a place."""
    read = datetime.fromisoformat(text)
    return int((read if read.tzinfo else read.replace(tzinfo=ZoneInfo(zone))).timestamp()) * NANO


@pytest.mark.parametrize(
    ("per", "now", "begin", "end"),
    [
        ("day", "2026-11-23T13:00", "2026-11-23T00:00", "2026-11-24T00:00"),
        ("week", "2026-11-23T00:00", "2026-11-23T00:00", "2026-11-30T00:00"),
        ("week", "2026-11-22T23:59", "2026-11-16T00:00", "2026-11-23T00:00"),
        ("month", "2026-12-31T23:59", "2026-12-01T00:00", "2027-01-01T00:00"),
        ("month", "2028-02-29T12:00", "2028-02-01T00:00", "2028-03-01T00:00"),
        ("month", "2026-01-31T12:00", "2026-01-01T00:00", "2026-02-01T00:00"),
    ],
)
def test_periods_are_those_of_the_calendar(per, now, begin, end):
    """A day, a week from Monday on, a month of whatever length."""
    assert period(per, at(now), BERLIN) == (at(begin), at(end))


@pytest.mark.parametrize(("day", "hours"), [("2026-03-29", 23), ("2026-10-25", 25), ("2026-07-01", 24)])  # fmt: skip
def test_days_on_which_clocks_change_are_shorter_or_longer(day, hours):
    """Summer time moves an hour from one day of March to one of October."""
    span = period("day", at(f"{day}T12:00"), BERLIN)
    assert span.end - span.begin == hours * 3600 * NANO


def test_a_midnight_that_the_clocks_leap_over_is_when_they_do():
    """Where summer time begins at midnight, so does the day."""
    span = period("day", at("2018-11-04T12:00", "America/Sao_Paulo"), ZoneInfo("America/Sao_Paulo"))
    assert span.begin == at("2018-11-03T23:59:59", "America/Sao_Paulo") + NANO
    assert span.end - span.begin == 23 * 3600 * NANO


def test_what_never_begins_anew_has_one_period():
    """A total is for ever."""
    assert period("total", 0, UTC) == period("total", at("2100-01-01T00:00"), BERLIN) == EVER


@given(
    st.sampled_from(["day", "week", "month"]),
    st.sampled_from(ZONES),
    st.integers(946_684_800, 2_208_988_800),
)
def test_every_moment_is_in_one_period(per, zone, seconds):
    """Periods follow one another without a gap, whatever the place and the moment."""
    now, place = seconds * NANO, ZoneInfo(zone)
    span = period(per, now, place)
    assert span.begin <= now < span.end
    assert period(per, span.begin, place) == span
    assert period(per, span.end - 1, place) == span
    assert period(per, span.end, place).begin == span.end
