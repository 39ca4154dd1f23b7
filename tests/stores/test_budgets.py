"""Budgets count what the ledger counts: for everybody from the first call on, and after any restart."""

import sqlite3
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from headworks.core.budget import EVERY_USER, ORGANISATION, Budget, BudgetExceeded, Owner
from headworks.core.cost_bound import CostUnbounded, Extent
from headworks.core.pricing import ModelUnpriced, cost
from headworks.errors import LedgerUnavailable
from headworks.stores.verify import verify
from headworks.testing import FakeClock
from headworks.types import NO_USAGE, Caller, Tags, Usage
from tests.stores.books import PRICE, route, rows
from tests.stores.purses import asked, purse, tokens, usd

pytestmark = pytest.mark.anyio

BERLIN = ZoneInfo("Europe/Berlin")
EVENING = datetime(2026, 11, 23, 22, tzinfo=BERLIN).timestamp()
HOUR = 3600.0
TEN = Budget(usd(10), "day", BERLIN)
KEY, PROJECT = Owner("key", "web"), Owner("project", "shop")
TAG, ANN = Owner("tag", "red"), Owner("user", "ann")
FOR_ANN = Tags(user="ann", tags=("red", "red", "blue"))


class Wall(FakeClock):
    """A clock that somebody sets."""

    def __init__(self) -> None:
        super().__init__(epoch=EVENING)

    def set_back(self, seconds: float) -> None:
        """Show an earlier time; what has passed has passed."""
        self._offset -= seconds


OWNERS = [ORGANISATION, PROJECT, KEY, TAG, ANN]


@pytest.mark.parametrize("owner", [*OWNERS, EVERY_USER])
async def test_a_budget_that_is_new_knows_what_was_spent_before(tmp_path: Path, owner: Owner):
    """By a reload or at a start: there is no first call that finds an empty account."""
    found = ANN if owner == EVERY_USER else owner
    with purse(tmp_path, {}, Wall()) as bag:
        await bag.paying.hold(asked("open", tags=FOR_ANN), route(), tokens(1))
        for name in "ab":
            done = await bag.paying.hold(asked(name, tags=FOR_ANN), route(), tokens(9))
            done.settle(tokens(3), "exact", "completed")
        await bag.paying.written()
        bag.adopt({owner: TEN})
        assert bag.spent(*found) == 7
        with pytest.raises(BudgetExceeded):
            await bag.hold(asked("too much", tags=FOR_ANN), 3.01)
        await bag.spend(1, asked("enough", tags=FOR_ANN))
        assert bag.spent(*found) == 8
    with purse(tmp_path, {owner: TEN}, Wall()) as bag:
        assert bag.spent(*found) == 8


async def test_a_budget_ends_where_its_owner_does(tmp_path: Path):
    """Others' calls count elsewhere; those without a budget go on for ever."""
    with purse(tmp_path, dict.fromkeys(OWNERS, Budget(usd(1)))) as bag:
        other = asked("other", caller=Caller("cron", "key_2", "lab"), tags=Tags("", "bob", "", ("blue",)))  # fmt: skip
        await bag.spend(0.5, asked("ann", tags=FOR_ANN))
        await bag.spend(0.5, other)
        assert [bag.spent(*owner) for owner in OWNERS] == [1, 0.5, 0.5, 0.5, 0.5]


async def test_a_new_secret_brings_no_new_money(tmp_path: Path):
    """A key's budget is its name's, not its secret's."""
    with purse(tmp_path, {KEY: TEN}) as bag:
        await bag.spend(6)
        await bag.spend(3, asked("later", caller=Caller("web", "key_9", "shop")))
        assert bag.spent(*KEY) == 9


async def test_a_denial_costs_nobody_anything(tmp_path: Path):
    """Neither the budgets that had room nor the ledger know of the call."""
    small = Budget(usd(1), "day", BERLIN)
    with purse(tmp_path, {**dict.fromkeys(OWNERS, TEN), TAG: small}) as bag:
        with pytest.raises(BudgetExceeded, match="tag red"):
            await bag.hold(asked("one", tags=FOR_ANN), 2)
        assert [bag.account(*one).tally.held for one in OWNERS] == [0] * len(OWNERS)
        assert [bag.account(*one).tally.refused for one in OWNERS] == [0, 0, 0, 1, 0]
        assert rows(bag.ledger.path) == []


async def test_a_budget_begins_anew_once(tmp_path: Path):
    """At midnight in Berlin, and not at the second one after the clock was set back by an hour."""
    clock = Wall()
    with purse(tmp_path, {ORGANISATION: TEN}, clock) as bag:
        await bag.spend(9)
        clock.advance(2 * HOUR - 1)
        with pytest.raises(BudgetExceeded):
            await bag.hold(asked("before"), 2)
        clock.advance(1)
        await bag.spend(8)
        clock.set_back(HOUR)
        assert bag.spent() == 8
        await bag.spend(1)
        with pytest.raises(BudgetExceeded):
            await bag.hold(asked("again"), 2)
        clock.advance(HOUR + 1)
        assert bag.spent() == 9
    with purse(tmp_path, {ORGANISATION: TEN}, clock) as bag:
        assert bag.spent() == 9
        clock.advance(24 * HOUR)
        assert bag.spent() == 0
        await bag.spend(10)


@pytest.mark.parametrize("owner", [ORGANISATION, EVERY_USER])
async def test_a_clock_that_was_wrong_by_days_gives_nothing_away(tmp_path: Path, owner: Owner):
    """What was spent by the wrong date counts at the right one, for users who share a budget too."""
    clock = Wall()
    with purse(tmp_path, {owner: TEN}, clock) as bag:
        await bag.spend(9, asked("wrong", tags=FOR_ANN))
        clock.set_back(72 * HOUR)
        with pytest.raises(BudgetExceeded):
            await bag.hold(asked("right", tags=FOR_ANN), 2)
        clock.advance(24 * HOUR)
        await bag.spend(2, asked("tomorrow", tags=FOR_ANN))


async def test_a_restart_while_the_clock_is_back_gives_nothing_away(tmp_path: Path):
    """The day before has come again; its money has not."""
    clock = Wall()
    with purse(tmp_path, {ORGANISATION: TEN}, clock) as bag:
        await bag.spend(9)
        clock.advance(2 * HOUR)
        await bag.spend(4)
        clock.set_back(HOUR)
    with purse(tmp_path, {ORGANISATION: TEN}, clock) as bag, pytest.raises(BudgetExceeded):
        await bag.hold(asked("again"), 2)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 60])
async def test_only_rows_of_the_period_count(tmp_path: Path, count: int):
    """However many there are from before, and wherever the period begins among them."""
    clock = Wall()
    with purse(tmp_path, {}, clock) as bag:
        for number in range(count):
            held = await bag.paying.hold(asked(f"old-{number}"), route(), tokens(1))
            held.settle(tokens(1), "exact", "completed")
            clock.advance(10 * HOUR)
        clock.advance(48 * HOUR)
        for number in range(2):
            held = await bag.paying.hold(asked(f"new-{number}"), route(), tokens(1))
            held.settle(tokens(1), "exact", "completed")
    with purse(tmp_path, {ORGANISATION: TEN, KEY: Budget(usd(99), "total")}, clock) as bag:
        assert bag.spent() == 2
        assert bag.spent(*KEY) == count + 2


async def test_a_crash_forgets_nothing(tmp_path: Path):
    """What was under way counts at what was held for it."""
    strict = Budget(usd(10), is_strict=True)
    with purse(tmp_path, {ORGANISATION: strict}, crashes=True) as bag:
        await bag.hold(asked("open", max_completion_tokens=50_000), 0.1)
        held = bag.account().tally.held
        await bag.spend(1)
    with purse(tmp_path, {ORGANISATION: strict}) as bag:
        assert bag.account().tally.spent == held + usd(1)
        assert held > usd(0.5)


async def test_what_nobody_saw_counts_as_the_most_that_it_may_be(tmp_path: Path):
    """A strict budget believes in no estimate; and the ledger says the same."""
    with purse(tmp_path, {ORGANISATION: Budget(usd(10), is_strict=True)}) as bag:
        hold = await bag.hold(asked("lost", max_completion_tokens=50_000), 0.1)
        held = bag.account().tally.held
        assert hold.settle(tokens(0.1), "unknown", "timeout") == held == bag.account().tally.spent
        await bag.paying.written()
        assert rows(bag.ledger.path, "cost_nano") == [{"cost_nano": held}]
        assert verify(bag.ledger.path).findings == ()


async def test_cache_writes_are_held_for_where_they_cost_extra(tmp_path: Path):
    """Nobody knows before which part of a request will be written to the cache."""
    with purse(tmp_path, {ORGANISATION: Budget(usd(10), is_strict=True)}) as bag:
        held = await bag.hold(asked("one", max_completion_tokens=10))
        whole = len(asked("one", max_completion_tokens=10).request.content) + 100
        assert bag.account().tally.held == cost(PRICE, Usage(whole, 10))
        held.release("upstream_unreachable")
        assert bag.account().tally.held == 0


async def test_what_was_not_sent_is_free(tmp_path: Path):
    """Released or refused by the provider, and settled only once however often it is said."""
    with purse(tmp_path, {ORGANISATION: TEN}) as bag:
        released, refused = await bag.hold(asked("a")), await bag.hold(asked("b"))
        for _ in range(2):
            released.release("upstream_unreachable")
            refused.settle(NO_USAGE, "exact", "rate_limit_exceeded")
        assert (bag.account().tally.spent, bag.account().tally.held) == (0, 0)
        assert not released.is_open


async def test_without_a_row_nothing_is_held(tmp_path: Path):
    """A disk that fails takes no money with it; and under a hard budget nobody goes on unbooked."""
    goes_on = Caller("web", "key_1", "shop", on_ledger_failure="continue")
    with purse(tmp_path, {PROJECT: TEN}) as bag:
        db = sqlite3.connect(bag.ledger.path, isolation_level=None)
        db.execute("BEGIN IMMEDIATE")
        with pytest.raises(LedgerUnavailable):
            await bag.hold(asked("one", caller=goes_on))
        assert bag.account(*PROJECT).tally.held == 0
        bag.adopt({PROJECT: Budget(usd(1), is_hard=False)})
        late = await bag.hold(asked("two", caller=goes_on))
        assert bag.account(*PROJECT).tally.held == usd(0.1)
        late.settle(tokens(0.1), "exact", "completed")
        db.execute("COMMIT")
        db.close()


async def test_models_without_a_price_are_never_free(tmp_path: Path):
    """Refused by a hard budget unless it says otherwise; then told apart, and not when it is used up."""
    lenient = Budget(usd(1), unpriced="flag")
    with purse(tmp_path, {ORGANISATION: Budget(usd(1))}) as bag:
        with pytest.raises(ModelUnpriced, match="budget of 'organisation'"):
            await bag.hold(asked("one"), to=route("gpt-secret"))
        bag.adopt({ORGANISATION: lenient})
        hold = await bag.hold(asked("two"), to=route("gpt-secret"))
        assert hold.settle(tokens(1), "exact", "completed") is None
        assert bag.account().tally.unpriced == 1
        await bag.spend(1)
        with pytest.raises(BudgetExceeded):
            await bag.hold(asked("three"), to=route("gpt-secret"))
        bag.adopt({ORGANISATION: Budget(usd(1), is_hard=False)})
        await bag.hold(asked("four"), to=route("gpt-secret"))


async def test_what_costs_nothing_goes_on_when_all_is_spent(tmp_path: Path):
    """Files can be deleted, batches looked at and texts moderated without money."""
    with purse(tmp_path, {ORGANISATION: Budget(usd(1), is_strict=True)}) as bag:
        await bag.spend(0.01, asked("more", max_completion_tokens=99_000))
        bag.adopt({ORGANISATION: Budget(usd(0.01), is_strict=True)})
        await bag.hold(asked("look", method="GET", path="/v1/responses/resp_1"))
        await bag.hold(asked("moderate", path="/v1/moderations"))
        with pytest.raises(BudgetExceeded):
            await bag.hold(asked("chat", max_completion_tokens=1))


@pytest.mark.parametrize("path", ["/v1/batches", "/v1/realtime/client_secrets", "/v1/containers"])
async def test_work_that_names_no_model_is_not_free(tmp_path: Path, path: str):
    """It has no price; so a hard budget takes it as it takes models without one, a strict one never."""
    with purse(tmp_path, {ORGANISATION: Budget(usd(1))}) as bag:
        with pytest.raises(ModelUnpriced, match=f"a request to {path}"):
            await bag.hold(asked("one", path=path, model=None), to=route(""))
        bag.adopt({ORGANISATION: Budget(usd(1), unpriced="flag")})
        await bag.hold(asked("two", path=path, model=None), to=route(""))
        bag.adopt({ORGANISATION: Budget(usd(1), unpriced="flag", is_strict=True)})
        with pytest.raises(CostUnbounded, match=f"a request to {path}"):
            await bag.hold(asked("three", path=path, model=None), to=route(""))


async def test_a_training_does_not_cost_what_its_model_costs(tmp_path: Path):
    """A job that names a model costs what nobody knows: the price of answers is not that of training."""
    path = "/v1/fine_tuning/jobs"
    with purse(tmp_path, {ORGANISATION: Budget(usd(1))}) as bag:
        with pytest.raises(ModelUnpriced, match=f"a request to {path}"):
            await bag.hold(asked("one", path=path))
        bag.adopt({ORGANISATION: Budget(usd(1), unpriced="flag")})
        hold = await bag.hold(asked("two", path=path))
        assert hold.settle(tokens(1), "unknown", "completed") is None
        bag.adopt({ORGANISATION: Budget(usd(1), unpriced="flag", is_strict=True)})
        with pytest.raises(CostUnbounded, match=f"a request to {path}"):
            await bag.hold(asked("three", path=path))


async def test_a_strict_budget_refuses_what_has_no_bound(tmp_path: Path):
    """And says what to set; an expected one takes it."""
    with purse(tmp_path, {ORGANISATION: Budget(usd(1), is_strict=True)}, extent=Extent()) as bag:
        with pytest.raises(CostUnbounded, match="Set max_completion_tokens"):
            await bag.hold(asked("one"))
        bag.adopt({ORGANISATION: Budget(usd(1))})
        await bag.hold(asked("two"))


async def test_alerts_come_once_in_a_period(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    """As money is spent, at a start that finds it spent, and not again after any restart."""
    clock = Wall()
    with purse(tmp_path, {KEY: TEN}, clock, crashes=True) as bag:
        await bag.spend(4.9)
        assert bag.heard.told == []
        await bag.spend(0.1)
        assert bag.heard.told == [("key web", 50)]
        await bag.hold(asked("open"), 3)
    assert caplog.messages[0].startswith(
        "the budget of 'key web' has reached 50 %: $5.00 of $10.00"
    )
    with purse(tmp_path, {KEY: TEN}, clock) as bag:  # the open attempt was settled as estimated
        assert bag.heard.told == [("key web", 80)]
        with pytest.raises(BudgetExceeded):
            await bag.hold(asked("again"), 3)
        assert bag.heard.told[1:] == [("key web", 100)]
    with purse(tmp_path, {KEY: TEN}, clock) as bag:
        with pytest.raises(BudgetExceeded):
            await bag.hold(asked("again"), 3)
        assert bag.heard.told == []
        clock.advance(24 * HOUR)
        await bag.spend(5)
        assert bag.heard.told == [("key web", 50)]


async def test_who_changes_over_to_the_budget_of_every_user_takes_along_what_was_spent(
    tmp_path: Path,
):
    """And back again: nobody begins anew since the operator has named him, or does not any more."""
    rule, own, ann = Budget(usd(1)), Owner("user", "ann"), Tags(user="ann")
    with purse(tmp_path, {EVERY_USER: rule}) as bag:
        await bag.spend(0.4, asked("one", tags=ann))
        for budgets in ({EVERY_USER: rule, own: Budget(usd(2))}, {EVERY_USER: rule}):
            bag.adopt(budgets)
            found = [
                one for one in (*bag.budgets.named(), *bag.budgets.crowd()) if one.owner == own
            ]
            assert [one.tally.spent for one in found] == [usd(0.4)]
            with pytest.raises(BudgetExceeded):
                await bag.hold(asked("much", tags=ann), 1.7)


async def test_budgets_that_do_not_change_are_left_alone(tmp_path: Path):
    """One new key among many costs as much as one new key: nothing is counted or told anew."""
    many = {Owner("key", f"key {at}"): Budget(usd(1)) for at in range(50)}
    with purse(tmp_path, many) as bag:
        before = list(bag.budgets.named())
        alike = {owner: replace(one) for owner, one in many.items()}
        plan = bag.budgets.plan({**alike, KEY: TEN})
        assert (list(plan.fresh), plan.changed, list(plan.gone)) == ([KEY], {}, [])
        bag.budgets.adopt(plan)
        after = list(bag.budgets.named())
        assert all(one is other for one, other in zip(before, after, strict=False))
        assert len(after) == 51
        bag.adopt({KEY: TEN})
        assert [one.owner for one in bag.budgets.named()] == [KEY]


async def test_a_change_of_the_limit_keeps_what_was_spent(tmp_path: Path):
    """Calls under way settle as ever; thresholds that were told are not told again."""
    with purse(tmp_path, {KEY: TEN}) as bag:
        await bag.spend(5)
        hold = await bag.hold(asked("open"), 1)
        bag.adopt({KEY: Budget(usd(8), "day", BERLIN)})
        assert (bag.spent(*KEY), bag.account(*KEY).tally.held) == (5, usd(1))
        hold.settle(tokens(1), "exact", "completed")
        assert bag.spent(*KEY) == 6
        bag.adopt({KEY: Budget(usd(7), "day", BERLIN)})
        assert bag.heard.told == [("key web", 50), ("key web", 80)]
        bag.adopt({KEY: Budget(usd(7), "month", UTC)})
        await bag.paying.written()
        assert bag.spent(*KEY) == 6


async def test_each_user_has_what_the_rule_says(tmp_path: Path):
    """One user's spending is not another's; who is named has a budget of his own."""
    with purse(tmp_path, {EVERY_USER: Budget(usd(1)), ANN: Budget(usd(5))}) as bag:
        for user in ("ann", "bob", "eve"):
            await bag.spend(0.9, asked(user, tags=Tags(user=user)))
        with pytest.raises(BudgetExceeded, match="user bob"):
            await bag.hold(asked("bob-2", tags=Tags(user="bob")), 0.2)
        await bag.spend(3, asked("ann-2", tags=Tags(user="ann")))
        await bag.spend(3, asked("nobody"))
    with purse(tmp_path, {EVERY_USER: Budget(usd(1)), ANN: Budget(usd(5))}) as bag:
        assert [bag.spent("user", name) for name in ("ann", "bob", "eve")] == [3.9, 0.9, 0.9]


@pytest.mark.parametrize("restarts", [False, True])
async def test_a_crowd_of_users_is_bounded_and_nobody_gains(tmp_path: Path, restarts: bool):  # noqa: FBT001 - a case
    """Whoever was forgotten begins with no less than he had spent."""
    budgets, clock = {EVERY_USER: Budget(usd(1), "day", BERLIN)}, Wall()
    spent = {f"user-{number}": 0.01 * (number % 7 + 1) for number in range(100)}
    with purse(tmp_path, budgets, clock, most=20) as bag:
        held = await bag.hold(asked("held", tags=Tags(user="patient")), 0.001)
        for user, amount in spent.items():
            await bag.spend(amount, asked(user, tags=Tags(user=user)))
            assert len(list(bag.budgets.crowd())) <= 20
        held.settle(tokens(0.001), "exact", "completed")
        assert bag.spent("user", "patient") == 0.001  # what is held for is not forgotten
    with purse(tmp_path, budgets, clock, most=20 if restarts else 10**6) as bag:
        for user, amount in spent.items():
            await bag.hold(asked(f"{user}-2", tags=Tags(user=user)), 0.001)
            assert bag.spent("user", user) >= round(amount, 6) > 0
        clock.advance(24 * HOUR)
        await bag.spend(1, asked("tomorrow", tags=Tags(user="user-6")))
        assert bag.spent("user", "user-6") == 1
