"""A route that has become slow is known at once; that it is fast again is believed slowly."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headworks.core.latency import DECAY, PeakMean


def test_bad_news_is_believed_at_once():
    """One slow answer after many fast ones is the mean."""
    mean = PeakMean(0.0)
    for second in range(100):
        mean.observe(0.1, float(second))
    mean.observe(3.0, 100.0)
    assert mean.seconds == 3.0


def test_good_news_is_believed_with_time():
    """After one decay a peak has lost all but 1/e of its weight."""
    mean = PeakMean(0.0)
    mean.observe(1.0, 0.0)
    mean.observe(0.0, DECAY)
    assert mean.seconds == pytest.approx(0.3679, abs=1e-4)
    mean.observe(0.0, 1000.0)
    assert mean.seconds == pytest.approx(0.0)


@given(st.lists(st.tuples(st.floats(0, 600), st.floats(0, 100)), min_size=1))
def test_the_mean_stays_between_what_was_seen(observed):
    """It is never below the fastest answer nor above the slowest."""
    mean, now = PeakMean(0.0), 0.0
    for seconds, wait in observed:
        now += wait
        mean.observe(seconds, now)
    seen = [seconds for seconds, _ in observed]
    assert min(0.0, *seen) - 1e-9 <= mean.seconds <= max(seen) + 1e-9
    assert mean.seconds >= observed[-1][0] - 1e-9
