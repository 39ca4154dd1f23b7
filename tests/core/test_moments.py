"""Times can be written as people write them."""

from zoneinfo import ZoneInfo

import pytest

from headworks.core.moments import moment, span
from headworks.errors import ConfigurationError

NOW = 1_800_000_000.0


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("24h", NOW - 86_400),
        ("1w", NOW - 604_800),
        ("2027-01-15", 1_799_971_200.0),
        ("2027-01-15T08:00Z", NOW),
        ("2027-01-15T09:00+01:00", NOW),
        ("all", None),
        (None, None),
    ],
)
def test_spans_days_and_moments(text, seconds):
    """A span ago, a day in UTC, a moment with a zone; all is no bound."""
    assert moment("--since", text, NOW) == seconds


def test_a_day_is_one_of_the_place():
    """Where a zone is given, days begin at midnight there."""
    assert moment("--since", "2027-01-15", NOW, ZoneInfo("Europe/Berlin")) == 1_799_967_600.0
    assert moment("--since", "2027-01-15T00:00Z", NOW, ZoneInfo("Europe/Berlin")) == 1_799_971_200.0


@pytest.mark.parametrize("since", ["99999w", "0001-01-01T00:00+14:00", "9999-12-31"])
@pytest.mark.parametrize("until", ["9999-12-31T23:59:59-12:00", "9999-12-31", "99999w"])
def test_every_moment_can_be_reckoned_with(since, until):
    """Whatever is written, the period before that one still fits into a row's nanoseconds."""
    begin, end = moment("--since", since, NOW), moment("--until", until, NOW)
    assert begin is not None
    assert end is not None
    begin, end = sorted((begin, end))
    assert abs(begin - (end - begin)) < 2**63 / 10**9


@pytest.mark.parametrize("text", ["yesterday", "999999d", "1y", "", "-1h", "\u0661h"])
def test_what_is_no_time_is_said(text):
    """The option and the forms that are understood are named."""
    with pytest.raises(ConfigurationError, match="is not a time; write 24h"):
        moment("--until", text, NOW)
    assert span(text) is None
