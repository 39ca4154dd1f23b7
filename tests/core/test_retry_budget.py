"""An upstream in trouble is asked again a bounded number of times."""

import math

from hypothesis import given
from hypothesis import strategies as st

from headworks.core.retry_budget import SECONDS, BudgetRules, RetryBudget

events = st.lists(
    st.tuples(st.one_of(st.floats(0, 0.2), st.floats(0, 15)), st.booleans()), max_size=300
)
rules_ = st.builds(BudgetRules, st.floats(0, 1), st.floats(0, 5))


@given(events, rules_, st.floats(0, 1e6))
def test_retries_are_a_share_of_requests(asked, rules, start):
    """Whatever callers want, retries never exceed their share and the floor, over any stretch."""
    budget, now, requests, retries = RetryBudget(rules), start, 0, 0
    for wait, wants_retry in asked:
        now += wait
        if not wants_retry:
            budget.deposit(now)
            requests += 1
        elif budget.left(now):
            budget.withdraw(now)
            retries += 1
    stretches = math.ceil((now - start) / SECONDS) + 1
    assert retries <= rules.share * requests + rules.floor * SECONDS * stretches + 1e-6


@given(st.integers(0, 2000), rules_)
def test_what_is_left_is_what_may_be_withdrawn(requests, rules):
    """The number that is shown is true: so many retries are allowed, and no more."""
    budget = RetryBudget(rules)
    for _ in range(requests):
        budget.deposit(5.0)
    left = budget.left(5.0)
    for _ in range(left):
        assert budget.left(5.0)
        budget.withdraw(5.0)
    assert not budget.left(5.0)
    assert budget.counts(5.0) == (requests, left)


def test_asking_costs_nothing():
    """Only a retry that is made is withdrawn."""
    budget = RetryBudget(BudgetRules(share=0.0, floor=0.1))
    assert [budget.left(1.0) for _ in range(5)] == [1] * 5


def test_rules_may_change():
    """A new share holds at once, for what has been counted too."""
    budget = RetryBudget(BudgetRules(share=0.0, floor=0.0))
    for _ in range(100):
        budget.deposit(1.0)
    assert budget.left(1.0) == 0
    budget.rules = BudgetRules(share=0.2, floor=0.0)
    assert budget.left(1.0) == 20
    assert budget.left(1.0 + SECONDS) == 0
