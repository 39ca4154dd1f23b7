"""What a call costs does not grow unnoticed: the instructions of fixed calls are on record."""

import pytest

from tests.speed.ratchet import complaint

COUNTED = ("json", "stream", "words", "embeddings", "refused", "inside")


@pytest.mark.timeout(900)  # a loaded machine is slow, and counts the same
@pytest.mark.parametrize("name", COUNTED)
def test_a_call_takes_as_many_instructions_as_are_recorded(figures, name):
    """A change that makes calls a tenth dearer says so in its record, or does not pass."""
    assert not complaint(name, figures.recorded[name], figures.found[name])


@pytest.mark.timeout(900)
def test_whatever_is_counted_is_compared(figures):
    """No scenario is counted, or on record, without being looked at."""
    assert set(figures.found) == set(figures.recorded) == set(COUNTED)


@pytest.mark.parametrize("found", [900_000, 1_000_000, 1_100_000])
def test_a_tenth_is_borne(found):
    """Packages, timers and compilers move a figure a little."""
    assert not complaint("json", 1_000_000, found)


def test_more_is_refused_with_the_way_to_record_it():
    """Whoever made calls dearer learns by how much, and what to do if it is worth it."""
    said = complaint("json", 1_000_000, 1_110_000)
    assert "json takes 1,110,000 instructions, +11.0%" in said
    assert "raise the record: .venv/bin/python bench/steps_count.py --record" in said


def test_what_was_won_is_to_be_recorded_too():
    """Else the next change could lose it unseen."""
    said = complaint("stream", 1_000_000, 880_000)
    assert "-12.0%" in said
    assert "Keep it: lower the record" in said
