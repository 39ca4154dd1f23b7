"""A key that is described elsewhere than in a file obeys the file's rules, in the file's words."""

import json
from dataclasses import replace
from datetime import UTC
from typing import Any, get_args
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headworks.config.grants import Said, grant_of, written
from headworks.core.budget import Budget
from headworks.core.calendar import Per
from headworks.core.grants import Grant
from headworks.errors import ConfigurationError
from headworks.types import OnDisconnect, OnLedgerFailure, Priority, RateLimits, Unpriced
from tests.config.files import MINIMAL, refused

NAME = Said("--name", ("name",), "web")


def told(*said: Said) -> list[str]:
    """Return what is wrong."""
    with pytest.raises(ConfigurationError) as caught:
        grant_of((NAME, *said))
    return list(caught.value.problems)


WRONG: list[tuple[str, Any]] = [
    ("name", "a b"),
    ("models", []),
    ("models", ["a b"]),
    ("limits.rpm", "0"),
    ("limits.rpm", "many"),
    ("limits.queue", "-1"),
    ("limits.usd", "5"),
    ("limits.reserve", "strict"),
    ("limits.models.m.tpm", "0"),
    ("limits.models.m", {}),
    ("priority", "urgent"),
    ("budget.usd", "0"),
    ("budget.usd", "$5"),
    ("budget.per", "day"),
    ("budget", {"usd": "5", "per": "year"}),
    ("budget", {"usd": "5", "time_zone": "Berlin"}),
    ("budget", {"usd": "5", "soft": ["0"]}),
    ("expires", "soon"),
    ("on_disconnect", "finish"),
    ("on_ledger_failure", "hope"),
    ("unpriced", "maybe"),
    ("guards", "pii"),
    ("limit", "5"),
]


def in_a_file(path: str, value: Any) -> list[str]:
    """Return what a file is told in which a key says this, without the places."""
    key: dict[str, Any] = {"name": "web", "secret": "sixteen-letters!"}
    *outer, last = path.split(".")
    inner = key
    for name in outer:
        inner = inner.setdefault(name, {})
    # What is read from a variable is read as an option is.
    environ: dict[str, str] = {}

    def referred(said: Any) -> Any:
        if isinstance(said, dict):
            return {name: referred(one) for name, one in said.items()}
        if isinstance(said, list):
            return [referred(one) for one in said]
        environ[f"V{len(environ)}"] = said
        return f"${{env:V{len(environ) - 1}}}"

    inner[last] = referred(value)
    lines = refused(f"{MINIMAL}keys: [{json.dumps(key)}]\n", environ)
    return [line.split("keys[0].", 1)[1] for line in lines]


@pytest.mark.parametrize(("path", "value"), WRONG, ids=str)
def test_a_mistake_is_told_in_the_same_words(path: str, value: Any):
    """Whoever knows the file knows the options, and there is one list of rules."""
    option = f"--{path}"
    lines = told(Said(option, tuple(path.split(".")), value))
    assert lines == [f"{option}: {line}" for line in in_a_file(path, value)]


def test_all_mistakes_are_told_at_once():
    """Each with the option that it is about, and what the key has already with its name."""
    lines = told(Said("--rpm", ("limits", "rpm"), "0"), Said("--unpriced", ("unpriced",), "x"))
    assert [line.split(":")[0] for line in lines] == ["--rpm", "--unpriced"]
    strict = Grant("web", limits=RateLimits(tpm=5, reserve="strict"))
    with pytest.raises(ConfigurationError, match=r"^key web: limits\.reserve: does nothing"):
        grant_of([Said("--unset tpm", ("limits", "tpm"), None)], strict)


AMOUNT = st.none() | st.integers(1, 10**6)
LIMITS = st.builds(RateLimits, AMOUNT, AMOUNT, AMOUNT, st.none(), st.none())
NAMES = st.text("abc.:/-", min_size=1, max_size=5)
BUDGETS = st.builds(
    Budget,
    limit=st.integers(1, 10**18),
    per=st.sampled_from(get_args(Per)),
    zone=st.sampled_from([UTC, ZoneInfo("Europe/Berlin")]),
    soft=st.sets(st.integers(1, 1000), max_size=4).map(lambda found: tuple(sorted(found))),
    is_hard=st.booleans(),
    unpriced=st.sampled_from(get_args(Unpriced)),
).map(lambda one: one if one.is_hard else replace(one, unpriced="refuse"))
GRANTS = st.builds(
    Grant,
    name=st.just("web"),
    project=st.text("ab1", max_size=3),
    models=st.none() | st.frozensets(NAMES, min_size=1, max_size=3),
    limits=st.builds(
        lambda limits, queue, models: replace(limits, queue=queue, models=tuple(models.items())),
        LIMITS,
        st.none() | st.integers(0, 9),
        st.dictionaries(NAMES, LIMITS.filter(lambda one: one != RateLimits()), max_size=2),
    ),
    expires=st.none() | st.integers(2 * 10**9, 3 * 10**9).map(float),
    on_disconnect=st.sampled_from(get_args(OnDisconnect)),
    on_ledger_failure=st.sampled_from(get_args(OnLedgerFailure)),
    unpriced=st.sampled_from(get_args(Unpriced)),
    priority=st.sampled_from(get_args(Priority)),
    budget=st.none() | BUDGETS,
)


@given(GRANTS, st.booleans())
def test_what_is_written_of_a_grant_is_the_grant(grant: Grant, is_strict: bool):  # noqa: FBT001 - a case
    """Nothing is lost between what is shown and what is said: changing nothing changes nothing."""
    if is_strict and (grant.limits.tpm or any(one.tpm for _, one in grant.limits.models)):
        grant = replace(grant, limits=replace(grant.limits, reserve="strict"))
    if grant.budget and grant.budget.is_hard:
        grant = replace(grant, on_ledger_failure="refuse")
    if is_strict and grant.budget and grant.budget.is_hard:
        grant = replace(grant, budget=replace(grant.budget, is_strict=True))
    assert json.loads(json.dumps(written(grant))) == written(grant)
    assert grant_of((), grant) == grant
    changed = grant_of([Said("--project", ("project",), "2024")], grant)
    assert changed == replace(grant, project="2024")
