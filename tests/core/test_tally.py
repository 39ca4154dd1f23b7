"""What happened in the last seconds is counted exactly, to the second."""

from hypothesis import given
from hypothesis import strategies as st

from headworks.core.tally import Tally

steps = st.lists(st.one_of(st.floats(0, 0.4), st.floats(0, 50)), max_size=100)


@given(steps, st.integers(1, 40), st.floats(0, 1e6))
def test_the_last_seconds_are_counted_and_nothing_else(waits, seconds, now):
    """The count is that of the present second and of those before it, as many as were asked for."""
    tally, events = Tally(seconds), list[int]()
    for wait in waits:
        now += wait
        tally.add(now)
        events.append(int(now))
        assert tally.count(now) == sum(int(now) - seconds < event for event in events)
    assert tally.count(now + seconds) == 0


def test_what_was_cleared_is_gone():
    """A cleared tally begins anew, and goes on."""
    tally = Tally(3)
    tally.add(7.0)
    tally.clear()
    assert tally.count(7.0) == 0
    tally.add(7.5)
    assert tally.count(9.9) == 1
