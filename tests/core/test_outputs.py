"""How long answers are is learned from those that came."""

import math

from hypothesis import given
from hypothesis import strategies as st

from headworks.core.outputs import Lengths, Outputs


@given(st.lists(st.integers(1, 900_000), min_size=20, max_size=399))
def test_95_of_100_answers_stay_within_what_is_told(lengths):
    """What is told is the 95th percentile, at most 10 % too high and never too low."""
    found = Lengths()
    for one in lengths:
        found.observe(one)
    true = sorted(lengths)[-1 - int(len(lengths) * 0.05)]

    told = found.p95

    assert told is not None
    assert true <= told <= 1.1 * true


def test_few_answers_tell_nothing():
    """With fewer than 20 answers nothing is learned."""
    found = Lengths()
    for _ in range(19):
        found.observe(100)
        assert found.p95 is None
    found.observe(100)
    assert found.p95 is not None


def test_what_was_long_ago_fades():
    """When answers become short, that is learned again."""
    found = Lengths()
    for _ in range(1_000):
        found.observe(50_000)
    for _ in range(2_000):
        found.observe(10)

    assert found.p95 == 10


def test_an_answer_beyond_all_measure_is_counted():
    """No length breaks it."""
    found = Lengths()
    for _ in range(30):
        found.observe(10**15)
    assert found.p95 == int(2 ** (159 / 8))
    assert math.log2(found.p95 or 0) > 19


def test_keys_and_models_are_learned_apart_and_the_oldest_forgotten():
    """One app's long answers tell nothing of another's, and memory is bounded."""
    outputs = Outputs()
    for _ in range(20):
        outputs.observe("k1", "m", 100)
    outputs.observe("k1", "m", 0)

    assert (outputs.likely("k1", "x"), outputs.likely("k2", "m")) == (None, None)
    assert 100 <= (outputs.likely("k1", "m") or 0) <= 109
    for number in range(10_000):
        outputs.observe(f"other {number}", "m", 1)
    assert outputs.likely("k1", "m") is None
    assert len(outputs._lengths) == 10_000
