"""How long a model thinks unseen: as it lately did, else as it was told to."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headworks.core.thoughts import Thoughts
from headworks.types import Usage

MODEL = "gpt-6-sol"
efforts = st.sampled_from(["none", "low", "medium", "high"])


def used(reasoning, output=10_000):
    return Usage(10, output, reasoning=reasoning)


def learned(*reports, model=MODEL, **fields):
    """Return what is known after a model has reported so many thoughts, each in one answer."""
    thoughts = Thoughts()
    for report in reports:
        thoughts.learn(model, fields, used(report))
    return thoughts


@pytest.mark.parametrize(
    ("model", "fields", "hidden"),
    [
        ("gpt-4o", {}, 0),
        ("gpt-5", {}, 512),
        ("o3", {"reasoning_effort": "high"}, 2048),
        ("gpt-6-sol", {"reasoning": {"effort": "minimal"}}, 64),
        ("gpt-5.1", {}, 0),
        ("gpt-5.1", {"reasoning_effort": "low"}, 128),
        ("gpt-5.5", {}, 512),
        ("gpt-5.14", {}, 512),
        ("gpt-5", {"reasoning_effort": "none"}, 0),
        ("gpt-5", {"reasoning_effort": "of a later day"}, 512),
        ("gpt-5", {"reasoning": "odd"}, 512),
        ("gpt-5", {"n": 3}, 1536),
        ("a name of our own", {"reasoning_effort": "low"}, 128),
        ("", {}, 0),
    ],
)
def test_as_it_was_told_to(model, fields, hidden):
    """Before a model has answered it is taken to think as it was told; others not at all."""
    assert Thoughts().likely(model, fields) == hidden


def test_as_it_lately_did():
    """Once a model has reported its thoughts, so many are expected, and no round number."""
    assert learned(100, 128, 90).likely(MODEL, {}) == 128


def test_what_is_rare_is_not_expected():
    """One answer in a hundred that thought for an hour does not make all others dear."""
    assert learned(*[100] * 40, 30_000, *[120] * 20).likely(MODEL, {}) == 120


def test_what_was_long_ago_is_forgotten():
    """A model that thinks less from today on is expected to."""
    assert learned(*[900] * 100, *[50] * 64).likely(MODEL, {}) == 50


def test_efforts_and_models_are_known_apart():
    """What a model thinks at one effort says nothing of another one, or of another model."""
    thoughts = learned(40, reasoning_effort="low")

    assert thoughts.likely(MODEL, {"reasoning": {"effort": "low"}}) == 40
    assert thoughts.likely(MODEL, {}) == 512
    assert thoughts.likely("gpt-5", {"reasoning_effort": "low"}) == 128


def test_each_choice_thinks():
    """Of three answers each is expected to have thought as long as one."""
    thoughts = learned(100, n=2)

    assert thoughts.likely(MODEL, {}) == 50
    assert thoughts.likely(MODEL, {"n": 3}) == 150


def test_an_answer_that_was_cut_short_teaches_nothing():
    """Thoughts that ended at the bound would have gone on."""
    thoughts = Thoughts()

    thoughts.learn(MODEL, {"max_completion_tokens": 20}, used(20, output=20))
    assert thoughts.likely(MODEL, {}) == 512

    thoughts.learn(MODEL, {"max_completion_tokens": 200}, used(20, output=90))
    assert thoughts.likely(MODEL, {}) == 20


def test_a_model_shows_that_it_thinks():
    """A model of any name that reports thoughts is one that thinks."""
    assert learned(70, model="ours").likely("ours", {}) == 70
    assert learned(0, model="ours").likely("ours", {}) == 0


def test_a_thinker_that_does_not_think():
    """A model that thinks by its name, and reports no thoughts, is billed for none."""
    assert learned(0, 0).likely(MODEL, {}) == 0


def test_names_without_end_need_no_memory_without_end():
    """Whoever makes names up forgets the first of them, and breaks nothing."""
    thoughts = Thoughts()
    for number in range(3_000):
        thoughts.learn(f"gpt-5-{number}", {}, used(7))

    assert len(thoughts._latest) == 1_000
    assert (thoughts.likely("gpt-5-0", {}), thoughts.likely("gpt-5-2999", {})) == (512, 7)


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=200), efforts)
def test_it_is_what_was_reported(reports, effort):
    """Whatever is reported, the expectation is one of the last reports, and not among the least."""
    fields, thoughts = {"reasoning_effort": effort}, Thoughts()
    for report in reports:
        thoughts.learn(MODEL, fields, used(report, output=10**7))
    latest, likely = sorted(reports[-64:]), thoughts.likely(MODEL, fields)

    assert likely in latest
    assert sum(one > likely for one in latest) <= len(latest) * 0.05
