"""The admin plane's view of the budgets: what is spent of each, and when it begins anew."""

import heapq

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from headworks.build import Assembly
from headworks.core.budget import Account, moment
from headworks.core.calendar import EVER
from headworks.core.wire import usd
from headworks.gateway.replies import answer
from headworks.ports import Clock
from headworks.stores.budgets import MemoryBudgets

_AS_ONE = 1.0
"""Seconds in which metrics are of the same budgets: those of one scrape, which are chosen once."""
_MOST = 1000
"""Keys, and users without a budget of their own, that are shown: who has used most, if there are more."""


def budget_routes(budgets: MemoryBudgets) -> list[Route]:
    """Return the route that shows how budgets stand."""

    async def show(_: Request) -> Response:
        return answer(200, {"budgets": [_shown(one) for one in _selected(budgets)]})

    return [Route("/api/budgets", show, methods=["GET"])]


def show_budgets(assembly: Assembly) -> None:
    """Let the assembly's metrics show the budgets that have a name."""
    metrics, chosen = assembly.metrics, Chosen(assembly.budgets, assembly.clock).accounts
    metrics.gauge(
        "headworks_budget_spent_usd",
        "US dollars spent in the present period.",
        lambda: {one.owner.spelled: one.tally.spent / 1e9 for one in chosen()},
        "budget",
    )
    metrics.gauge(
        "headworks_budget_held_usd",
        "US dollars held for calls under way.",
        lambda: {one.owner.spelled: one.tally.held / 1e9 for one in chosen()},
        "budget",
    )
    metrics.gauge(
        "headworks_budget_limit_usd",
        "US dollars that may be spent in a period.",
        lambda: {one.owner.spelled: one.budget.limit / 1e9 for one in chosen()},
        "budget",
    )


class Chosen:
    """The budgets that metrics show; to choose among a hundred thousand takes a while."""

    def __init__(self, budgets: MemoryBudgets, clock: Clock) -> None:
        self._budgets, self._clock = budgets, clock
        self._accounts: list[Account] = []
        self._until = float("-inf")

    def accounts(self) -> list[Account]:
        """Return them as they stand now."""
        now = self._clock.now()
        if now >= self._until or len(self._budgets.accounts) <= _MOST:
            self._accounts, self._until = _named(self._budgets), now + _AS_ONE
        return self._accounts


def _selected(budgets: MemoryBudgets) -> list[Account]:
    crowd = heapq.nlargest(_MOST, budgets.crowd(), key=lambda one: one.tally.spent)
    return [*_named(budgets), *crowd]


def _named(budgets: MemoryBudgets) -> list[Account]:
    named = list(budgets.named())
    if len(named) <= _MOST:
        return named
    keys = (one for one in named if one.owner.kind == "key")
    return [
        *(one for one in named if one.owner.kind != "key"),
        *heapq.nlargest(_MOST, keys, key=_used),
    ]


def _used(account: Account) -> float:
    return (account.tally.spent + account.tally.held) / account.budget.limit


def _shown(account: Account) -> dict[str, object]:
    owner, budget, tally = account.owner, account.budget, account.tally
    span = tally.span
    return {
        "kind": owner.kind,
        "name": owner.name,
        "per": budget.per,
        "time_zone": str(budget.zone),
        "hard": budget.is_hard,
        "reserve": "strict" if budget.is_strict else "expected",
        "limit_usd": usd(budget.limit),
        "spent_usd": usd(tally.spent),
        "held_usd": usd(tally.held),
        "left_usd": usd(max(0, budget.limit - tally.spent - tally.held)),
        "overrun_usd": usd(max(0, tally.spent - budget.limit)),
        "unpriced_attempts": tally.unpriced,
        "refused": tally.refused,
        "reached": [percent for percent in budget.soft if percent <= tally.told],
        "began": None if span == EVER else moment(span.begin, budget.zone),
        "resets": None if span == EVER else moment(span.end, budget.zone),
    }
