"""Budgets hold and settle whole nano-dollars: all or nothing, in the period in which it began."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headworks.core.budget import (
    ORGANISATION,
    Account,
    Budget,
    BudgetExceeded,
    Owner,
    dollars,
    reserve,
    settle,
)
from headworks.core.calendar import EVER, period
from headworks.core.periods import HOUR, NANO
from headworks.core.wire import retry_headers

NOON = int(datetime(2026, 11, 23, 12, tzinfo=UTC).timestamp()) * NANO
MIDNIGHT = NOON + 12 * HOUR * NANO


def account(limit: int = 10 * NANO, owner: Owner = ORGANISATION, **fields) -> Account:
    budget = Budget(limit, "day", **fields)
    return Account(owner, budget, period(budget.per, NOON, budget.zone))


levels = st.lists(
    st.builds(Budget, st.integers(1, 100), st.just("day"), is_hard=st.booleans()),
    min_size=1,
    max_size=5,
)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("hold"), st.integers(1, 60), st.sets(st.integers(0, 4), min_size=1)),
        st.tuples(st.just("settle"), st.integers(0, 100), st.integers(0, 100)),
    ),
    max_size=60,
)


@given(levels, steps)
def test_nested_budgets_are_never_exceeded(budgets, script):
    """Whatever is asked of whichever of them: none is exceeded, and a denial changes nothing."""
    accounts = [
        Account(Owner("tag", str(at)), one, period(one.per, NOON, one.zone))
        for at, one in enumerate(budgets)
    ]
    open_ = []
    spent = [0] * len(accounts)
    for verb, amount, which in script:
        before = [(one.tally.spent, one.tally.held) for one in accounts]
        if verb == "hold":
            asked = [(accounts[at], amount) for at in sorted(which) if at < len(accounts)]
            try:
                open_.append((reserve(asked, NOON), amount))
            except BudgetExceeded:
                assert [(one.tally.spent, one.tally.held) for one in accounts] == before
                assert any(
                    one.budget.is_hard
                    and one.tally.spent + one.tally.held + amount > one.budget.limit
                    for one, _ in asked
                )
        elif open_:
            held, most = open_.pop(which % len(open_))
            paid = min(amount, most)
            settle(held, paid)
            for one, _, _ in held:
                spent[int(one.owner.name)] += paid
        for at, one in enumerate(accounts):
            assert one.tally.spent == spent[at]
            assert one.tally.held >= 0
            assert not one.budget.is_hard or one.tally.spent + one.tally.held <= one.budget.limit
    for held, _ in open_:
        settle(held, 0)
    assert [one.tally.held for one in accounts] == [0] * len(accounts)


def test_a_period_begins_once():
    """At midnight, to the nano-second; and not again when the clock is set back by an hour."""
    one = account()
    settle(reserve([(one, NANO)], MIDNIGHT - 1), NANO)
    assert one.at(MIDNIGHT - 1).spent == NANO
    assert one.at(MIDNIGHT).spent == 0
    settle(reserve([(one, 5 * NANO)], MIDNIGHT), 5 * NANO)
    for now in (MIDNIGHT - HOUR * NANO, MIDNIGHT - 1, MIDNIGHT, MIDNIGHT + HOUR * NANO):
        assert one.at(now).spent == 5 * NANO


def test_a_clock_that_was_days_ahead_takes_along_what_was_spent():
    """Nobody waits for the day on which the clock was, and nothing is forgotten."""
    one = account()
    one.at(NOON + 30 * 24 * HOUR * NANO).spent = 7
    assert one.at(NOON).spent == 7
    assert one.tally.span.end == MIDNIGHT
    assert one.at(MIDNIGHT).spent == 0


def test_what_began_before_midnight_counts_before_midnight():
    """The new day begins with its whole budget, and pays for nothing of yesterday's."""
    one = account()
    held = reserve([(one, NANO)], MIDNIGHT - 1)
    assert one.at(MIDNIGHT).held == 0
    settle(held, NANO)
    assert (one.tally.spent, one.tally.held) == (0, 0)


def test_a_refusal_says_all_there_is_to_know():
    """Which budget, what is spent, what it may cost, and when it begins anew."""
    one = account(owner=Owner("key", "web"), zone=ZoneInfo("Europe/Berlin"))
    settle(reserve([(one, 0)], NOON), 9_876_000_000)
    with pytest.raises(BudgetExceeded) as caught:
        reserve([(one, 124_000_001)], NOON)
    error = caught.value
    assert str(error) == (
        "The budget of 'key web' is used up: limit $10.00 a day, spent $9.87, and this request may "
        "cost $0.13. It resets at 2026-11-24T00:00:00+01:00."
    )
    assert (error.status, error.type, error.code) == (
        429,
        "insufficient_quota",
        "insufficient_quota",
    )
    assert error.retry_after == 11 * HOUR
    assert (b"x-should-retry", b"false") in retry_headers(error)


def test_who_is_refused_for_what_others_hold_may_come_back():
    """Calls under way seldom cost all that is held for them."""
    one = account()
    held = reserve([(one, 6 * NANO)], NOON)
    with pytest.raises(BudgetExceeded, match=r"held for calls under way \$6\.00") as caught:
        reserve([(one, 6 * NANO)], NOON)
    assert (b"x-should-retry", b"true") in retry_headers(caught.value)
    assert caught.value.retry_after == 1.0
    settle(held, NANO)
    reserve([(one, 6 * NANO)], NOON)


def test_the_refusal_that_lasts_is_the_one_that_is_told():
    """One who comes back for the sake of one budget would be refused by the other."""
    first, second = account(), account(owner=Owner("key", "web"))
    held = reserve([(first, 9 * NANO)], NOON)
    settle(reserve([(second, 0)], NOON), 9 * NANO)
    with pytest.raises(BudgetExceeded, match="key web") as caught:
        reserve([(first, 2 * NANO), (second, 2 * NANO)], NOON)
    assert not caught.value.should_retry
    settle(held, 0)


def test_a_total_does_not_promise_to_reset():
    """There is nothing to wait for."""
    one = Account(ORGANISATION, Budget(NANO, "total"), EVER)
    with pytest.raises(BudgetExceeded, match="does not reset") as caught:
        reserve([(one, 2 * NANO)], NOON)
    assert caught.value.retry_after is None


def test_a_soft_budget_refuses_nothing():
    """It counts, and it tells."""
    one = account(NANO, is_hard=False)
    settle(reserve([(one, 5 * NANO)], NOON), 5 * NANO)
    assert [alert.percent for alert in one.reached()] == [50, 80, 100]


def test_each_threshold_is_reached_once_in_a_period():
    """Whatever goes past it, and however often; the next period has its own."""
    one = account(10 * NANO, soft=(50, 80, 100, 120), is_hard=False)
    told = []
    for now in (NOON, MIDNIGHT):
        for _ in range(13):
            settle(reserve([(one, NANO)], now), NANO)
            told.append([alert.percent for alert in one.reached()])
    day: list[list[int]] = [[]] * 4 + [[50], [], [], [80], [], [100], [], [120], []]
    assert told == day * 2


def test_what_nobody_can_price_is_counted():
    """It is money, of which nobody knows how much."""
    one = account()
    settle(reserve([(one, 1)], NOON), None)
    assert (one.tally.unpriced, one.tally.spent, one.tally.held) == (1, 0, 0)


@pytest.mark.parametrize(
    ("nano", "told"),
    [(0, "$0.00"), (1, "$0.000000001"), (1_500_000, "$0.0015"), (10_000_000, "$0.01"), (1_234_560_000_000, "$1,234.56"), (999_999_999, "$0.99")],
)  # fmt: skip
def test_amounts_are_spelled_as_people_read_them(nano, told):
    """Cents, and finer only where that is all there is; never more than was spent."""
    assert dollars(nano) == told
