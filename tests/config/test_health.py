"""Breakers and retry budgets are set in plain words, and mistakes in them are told."""

import pytest
import yaml

from headworks.core.breaker import NEVER_OPEN, BreakerRules
from headworks.core.retry_budget import BudgetRules
from tests.config.files import MINIMAL, loaded, refused


def upstream(**fields: object):
    """Return the upstream of a configuration with these fields."""
    document = yaml.safe_load(MINIMAL)
    document["upstreams"]["openai"] |= fields
    return loaded(yaml.safe_dump(document), {"CALLS": "7"}).upstreams["openai"]


@pytest.mark.parametrize(
    ("given", "rules"),
    [
        (True, BreakerRules()),
        (False, NEVER_OPEN),
        ({}, BreakerRules()),
        ({"slow": "20s"}, BreakerRules(slow=20.0)),
        (
            {"failures": 0.3, "calls": "${env:CALLS}", "slow": 9, "slow_share": 1, "open": "1s", "longest": "2m", "probes": 1},
            BreakerRules(0.3, 7, 9.0, 1.0, 1.0, 120.0, 1),
        ),
    ],
)  # fmt: skip
def test_a_breaker_is_set_per_upstream(given, rules):
    """All of it, a part of it, or not at all: what is not named has its default."""
    assert upstream(breaker=given).breaker == rules


def test_a_retry_budget_is_set_per_upstream():
    """A share of the requests and a floor, either of which may be nothing."""
    assert upstream().retry_budget == BudgetRules(0.2, 3.0)
    assert upstream(retry_budget={"share": 0}).retry_budget == BudgetRules(0.0, 3.0)
    assert upstream(retry_budget={"floor": "${env:CALLS}"}).retry_budget == BudgetRules(0.2, 7.0)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("breaker: {failure: 0.5}", "breaker.failure: unknown key, did you mean 'failures'?"),
        ("breaker: {failures: 50}", "breaker.failures: expected a number <= 1.0"),
        ("breaker: {failures: 0}", "breaker.failures: expected a number >= 0.01"),
        ("breaker: {calls: 0}", "breaker.calls: expected a whole number >= 1"),
        ("breaker: {open: 90s}", "breaker.open: the first wait is longer than the longest one"),
        (
            "breaker: {longest: 1s}",
            "breaker.longest: the first wait is longer than the longest one",
        ),
        (
            "breaker: {slow_share: 0.5}",
            "breaker.slow_share: needs slow: the wait from which on an answer counts as slow",
        ),
        ("breaker: {open: 0s}", "breaker.open: this duration must be longer than 0s"),
        (
            "breaker: off",
            "breaker: expected true or false or a mapping, not text; for example {slow: 30s}",
        ),
        ("retry_budget: {share: 2}", "retry_budget.share: expected a number <= 1.0"),
        ("retry_budget: {floor: -1}", "retry_budget.floor: expected a number >= 0.0"),
        ("retry_budget: false", "retry_budget: expected a mapping, not true or false"),
    ],
)
def test_a_mistake_is_told_with_its_place(line, problem):
    """Each mistake gives one line: file, line, key, what is wrong."""
    assert f"headworks.yaml:5: upstreams.openai.{problem}" in refused(f"{MINIMAL}    {line}\n")
