"""Budgets in this process: one account for each that is set, and for each user one as he comes.

The ledger's rows are the truth; accounts begin with their sums and go on in memory. What a row was
held at is what it counts for until it is closed, so that a crash forgets nothing.

Users who share one rule are kept in memory up to a bound. Of those beyond it the ones that have
spent least are forgotten, and whoever is new then begins with what the largest of these had spent:
never with less than he has spent himself.
"""

import heapq
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import tzinfo
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

from headworks.core.budget import (
    EVERY_USER,
    ORGANISATION,
    Account,
    Budget,
    BudgetAlert,
    BudgetExceeded,
    Held,
    Outlay,
    Owner,
    dollars,
    moment,
    reserve,
    settle,
)
from headworks.core.calendar import Per, period
from headworks.core.levels import LevelKind
from headworks.core.memo import Memo
from headworks.core.periods import Span
from headworks.ports import Alerts, Clock
from headworks.stores.budget_alerts import ToldAlerts
from headworks.stores.budget_seeds import Seeds, read_on, read_seeds
from headworks.types import Call

_log = logging.getLogger("headworks.budgets")

MOST_USERS: Final = 100_000
_FORGOTTEN: Final = 10
"""One in so many users is forgotten when there are too many."""
_LONGEST: Final = 256
"""Characters of a user's name that the ledger keeps."""
_NOBODY: Final[list[Account]] = []

_MOST_KINDS: Final = 4096
"""Kinds of calls whose accounts are remembered."""

Budgets = Mapping[Owner, Budget]
_Kind = tuple[str, str, str, tuple[str, ...]]
"""The project, the key, the user and the tags of calls."""


class _Crowd:
    """The users who share one rule, and what a new one begins with."""

    def __init__(self, budget: Budget, now: int, most: int, spent: Mapping[str, int]) -> None:
        self.budget = budget
        self._most = most
        self._span = period(budget.per, now, budget.zone)
        self._rule = Account(EVERY_USER, budget, self._span)
        self._floor = 0
        self.accounts: dict[str, Account] = {}
        for name, cost in heapq.nlargest(most, spent.items(), key=lambda item: item[1]):
            self.accounts[name] = Account(Owner("user", name), budget, self._span, cost)
        if len(spent) > most:
            self._floor = min(one.tally.spent for one in self.accounts.values())

    def account(self, name: str, now: int) -> Account:
        """Return a user's account, a new one for whom is not remembered."""
        span = self._rule.at(now).span
        if span.begin > self._span.begin:
            self._floor = 0
            self.accounts.clear()  # what is still held is settled in the period that is over
        self._span = span
        account = self.accounts.get(name)
        if account is None:
            if len(self.accounts) >= self._most:
                self._forget()
            account = Account(Owner("user", name), self.budget, span, self._floor)
            self.accounts[name] = account
        return account

    def adopt(self, budget: Budget) -> None:
        """Let another budget of the same periods hold for all of them."""
        self.budget = budget
        for account in (self._rule, *self.accounts.values()):
            account.adopt(budget)

    def _forget(self) -> None:
        idle = (one for one in self.accounts.values() if not one.tally.held)
        count = max(1, self._most // _FORGOTTEN)
        for account in heapq.nsmallest(count, idle, key=lambda one: one.tally.spent):
            self._floor = max(self._floor, account.tally.spent)
            del self.accounts[account.owner.name]


class Plan(NamedTuple):
    """Budgets that are to hold, and what that changes.

    Attributes:
        fresh: Accounts of those that are new, in their present periods.
        changed: Those whose periods stay as they were.
        gone: Whose do not hold any more.
        seeds: What was spent before, by whoever is new.
    """

    budgets: Budgets
    fresh: Mapping[Owner, Account]
    changed: Budgets
    gone: Sequence[Owner]
    seeds: Seeds


class MemoryBudgets:
    """The accounts of all budgets, and who is told when they are used up.

    Attributes:
        accounts: Those with a budget of their own.
    """

    def __init__(
        self, ledger: Path, clock: Clock, alerts: Alerts, told: ToldAlerts, most: int = MOST_USERS
    ) -> None:
        self._ledger, self._clock = ledger, clock
        self._alerts, self._told = alerts, told
        self._most = most
        self.accounts: dict[tuple[LevelKind, str], Account] = {}
        self._crowd: _Crowd | None = None
        self._has_any = self._by_user = self._by_tag = False
        self._known = Memo(self._named, _MOST_KINDS)

    def plan(self, budgets: Budgets) -> Plan:
        """Return what `adopt` needs. Changes nothing; any thread may call it, until then once.

        What takes long is done here: the ledger is read, and the accounts of many keys are made.
        """
        now = self._now()

        @cache
        def span(per: Per, zone: tzinfo) -> Span:
            return period(per, now, zone)

        fresh: dict[Owner, Account] = {}
        changed: dict[Owner, Budget] = {}
        for owner, one in budgets.items():
            account = None if owner == EVERY_USER else self.accounts.get(owner)
            if account is not None and account.budget is one:
                continue
            if not self._is_known(owner, one):
                fresh[owner] = Account(owner, one, span(one.per, one.zone))
            elif account is not None and account.budget != one:
                changed[owner] = one
        gone = [one.owner for one in self.accounts.values() if one.owner not in budgets]
        rule = budgets.get(EVERY_USER)
        if rule is not None and [one for one in (*fresh, *gone) if one.kind == "user"]:
            # whoever had a budget of his own, or has one now, is to be counted anew
            fresh[EVERY_USER] = Account(EVERY_USER, rule, span(rule.per, rule.zone))
        wanted: set[tuple[LevelKind, int]] = {
            (owner.kind, one.tally.span.begin) for owner, one in fresh.items()
        }
        seeds = read_seeds(self._ledger, sorted(wanted)) if wanted else Seeds()
        return Plan(budgets, fresh, changed, gone, seeds)

    def adopt(self, plan: Plan) -> None:
        """Let budgets take effect in the place of all before: at once, whatever did not change.

        One whose periods stay as they were goes on with what was spent. Of one that is new, calls
        under way count as estimated.
        """
        now, seeds, known = self._now(), plan.seeds, self.accounts
        if seeds.spent:
            seeds = read_on(self._ledger, seeds)
        for owner in plan.gone:
            del known[owner]
        for owner, one in plan.changed.items():
            known[owner].adopt(one)
        for owner, account in plan.fresh.items():
            account.tally.spent = seeds.of(owner, account.tally.span.begin)
        known.update((owner, one) for owner, one in plan.fresh.items() if owner != EVERY_USER)
        touched = [known[owner] for owner in (*plan.changed, *plan.fresh) if owner != EVERY_USER]
        touched += self._adopt_rule(plan, now, seeds)
        self._has_any = bool(plan.budgets)
        self._by_user, self._by_tag = (
            any(owner.kind == kind for owner in plan.budgets) for kind in ("user", "tag")
        )
        self._known.clear()
        if self._has_any:
            self._told.forget(now)
        for account in touched:
            if account.tally.spent:
                self._tell(account)

    def _adopt_rule(self, plan: Plan, now: int, seeds: Seeds) -> Iterable[Account]:
        """Let what holds for each user who is not named take effect; return whom that touches."""
        rule, crowd, fresh = plan.budgets.get(EVERY_USER), self._crowd, plan.fresh.get(EVERY_USER)
        if rule is None:
            self._crowd = None
            return ()
        if crowd is None or fresh is not None:
            begin = period(rule.per, now, rule.zone).begin
            spent = {
                name: cost
                for name, cost in seeds.spent.get(("user", begin), {}).items()
                if name and Owner("user", name) not in plan.budgets
            }
            crowd = self._crowd = _Crowd(rule, now, self._most, spent)
        elif crowd.budget == rule:
            return ()
        else:
            crowd.adopt(rule)
        return crowd.accounts.values()

    def of(self, call: Call) -> Sequence[Account]:
        """Return the accounts that a call counts against, the outermost first."""
        if not self._has_any or call.caller is None:
            return _NOBODY
        caller, tags = call.caller, call.request.tags
        user, found = tags.user if self._by_user else "", tags.tags if self._by_tag else ()
        kind = caller.project, caller.name, user, found
        return self._known[kind] if self._crowd is None else self._named(kind)

    def _named(self, kind: _Kind) -> Sequence[Account]:
        """Return the accounts that calls of one kind count against."""
        (project, key, user, tags), known = kind, self.accounts
        found = [known.get(ORGANISATION)]
        if project:
            found.append(known.get(("project", project)))
        found.append(known.get(("key", key)))
        if user:
            found.append(self._user(user[:_LONGEST]))
        found += [known.get(("tag", tag)) for tag in dict.fromkeys(tags)]
        return [account for account in found if account is not None]

    def reserve(self, outlays: Sequence[Outlay]) -> list[Held]:
        """Hold what is asked of each account, in all of them or in none.

        Raises:
            BudgetExceeded: One has no room; nothing was held anywhere.
        """
        try:
            return reserve(outlays, self._now())
        except BudgetExceeded as error:
            if not error.should_retry:
                self._tell_full(outlays)
            raise

    def settle(self, held: Sequence[Held], cost: int | None) -> None:
        """Put the cost in the place of what was held; None is a cost that nobody knows."""
        for account in settle(held, cost):
            self._tell(account)

    def named(self) -> Iterator[Account]:
        """Yield the accounts with a budget of their own, as they stand in their present periods."""
        now = self._now()
        for account in tuple(self.accounts.values()):
            account.at(now)
            yield account

    def crowd(self) -> Iterator[Account]:
        """Yield those of users who share a rule, likewise."""
        now = self._now()
        for account in () if self._crowd is None else tuple(self._crowd.accounts.values()):
            account.at(now)
            yield account

    def close(self) -> None:
        """Let go of the file of alerts. Idempotent."""
        self._told.close()

    def _user(self, name: str) -> Account | None:
        account = self.accounts.get(("user", name))
        if account is None and self._crowd is not None:
            return self._crowd.account(name, self._now())
        return account

    def _is_known(self, owner: Owner, budget: Budget) -> bool:
        """Return whether there is an account of the same periods."""
        if owner == EVERY_USER:
            known = None if self._crowd is None else self._crowd.budget
        else:
            account = self.accounts.get(owner)
            known = None if account is None else account.budget
        return known is not None and (known.per, known.zone) == (budget.per, budget.zone)

    def _tell_full(self, outlays: Sequence[Outlay]) -> None:
        for account, amount in outlays:
            if amount and account.tally.spent + amount > account.most:
                self._tell(account, is_full=True)

    def _tell(self, account: Account, *, is_full: bool = False) -> None:
        for alert in account.reached(is_full=is_full):
            if self._told.note(alert):
                self._alerts.budget(alert)
                _log.warning("%s", _spelled(alert, is_full=is_full))

    def _now(self) -> int:
        return int(self._clock.time() * 1e9)


def _spelled(alert: BudgetAlert, *, is_full: bool) -> str:
    since = "" if alert.per == "total" else f" since {moment(alert.begin)}"
    full = "; what costs more than is left is refused" if is_full else ""
    return (
        f"the budget of {alert.owner.spelled!r} has reached {alert.percent} %: "
        f"{dollars(alert.spent)} of {dollars(alert.limit)}{since}{full}"
    )
