"""Texts that match an expression, and whether they do."""

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headworks.simulator.chance import Chance
from headworks.simulator.pattern_tree import NotUnderstood, parse
from headworks.simulator.patterns import matches, matching

atoms = st.sampled_from(
    [
        *("a", "b", "-", ".", r"\d", r"\w", r"\s", r"\S", r"\W", "[a-c]", "[^a]", "[-a]", r"[\d.]"),
        *(r"\.", r"\x41", "^", "$", r"\b", r"\n"),
    ]
)
patterns = st.recursive(
    atoms,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map("".join),
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: f"(?:{'|'.join(parts)})"),
        st.tuples(inner, st.sampled_from(["*", "+", "?", "{2}", "{1,3}", "{2,}", "+?"])).map(
            lambda pair: f"(?:{pair[0]}){pair[1]}"
        ),
        st.tuples(st.sampled_from(["?=", "?!", "?<name>"]), inner).map(
            lambda pair: f"({pair[0].replace('<', 'P<')}{pair[1]})"
        ),
    ),
    max_leaves=8,
)


@given(pattern=patterns, text=st.text("abAc1-. \n_é", max_size=6))
def test_a_text_matches_as_python_says(pattern, text):
    """The verdict is that of the standard library, where both know the expression."""
    try:
        known = re.compile(pattern.replace("$", r"\Z"), re.ASCII)
    except re.error:
        return
    assert matches(pattern, text) is (known.search(text) is not None)


@given(pattern=patterns, seed=st.integers(0, 5))
def test_a_made_text_matches(pattern, seed):
    """What is made up for an expression matches it."""
    made = matching(pattern, Chance(seed))

    assert made is None or matches(pattern, made)


@pytest.mark.parametrize(
    "pattern",
    [
        r"^[a-z]{3}-\d{4}$",
        r"^(?=.*[A-Z])(?=.*\d).{8,}$",
        r"^(\([0-9]{3}\))?[0-9]{3}-[0-9]{4}$",
        r"^[^@\s]+@[^@\s]+\.[a-z]{2,}$",
        r"^#[0-9a-fA-F]{6}$",
        r"^(?!foo)\w{3}$",
        r"^\d{4}-(0[1-9]|1[0-2])-[0-2]\d$",
        r"(a+)+b$",
        "river",
    ],
)
def test_usual_patterns_are_met(pattern):
    """Telephone numbers, colours, addresses and passwords are made at the first go, each seed another."""
    made = [matching(pattern, Chance(seed)) for seed in range(20)]

    assert all(text is not None and re.search(pattern, text) for text in made)
    assert pattern == "river" or len(set(made)) > 2


@given(least=st.integers(0, 60), more=st.integers(0, 20), seed=st.integers(0, 3))
def test_a_made_text_is_as_long_as_it_must_be(least, more, seed):
    """An expression without end leaves the length to its bounds."""
    made = matching("^[a-f0-9]*$", Chance(seed), least, least + more)

    assert made is not None
    assert least <= len(made) <= least + more


@pytest.mark.parametrize(
    "pattern",
    ["(((a*)*)*)*b", "((a{1000}){1000}){1000}", "(((a?){1000}){1000}){1000}$", "(a|aa)+$" * 200],
)
def test_no_pattern_takes_long(pattern):
    """What would keep others busy for years is answered, or given up, at once."""
    begun = time.process_time()
    matches(pattern, "a" * 2_000)
    matching(pattern, Chance(0), 500)

    assert time.process_time() - begun < 10


@pytest.mark.parametrize(
    "pattern", ["[", "(", ")", "*", "a{3,1}", r"(a)\1", "(?i)a", "\\", "(" * 99]
)
def test_what_is_not_understood_is_said(pattern):
    """Back references, flags and nonsense match nothing and are made of nothing."""
    with pytest.raises(NotUnderstood):
        parse(pattern)
    assert matching(pattern, Chance(0)) is None
    assert not matches(pattern, "a")
