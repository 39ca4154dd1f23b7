"""A ledger that books only what budgets have room for."""

from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field, replace
from itertools import repeat
from operator import attrgetter
from typing import Any

import msgspec

from headworks.core.budget import Account, Held, Outlay
from headworks.core.cost_bound import Extent, Quote, expected, is_priced, may_cost, most
from headworks.core.pricing import ModelUnpriced, Price, cost
from headworks.ports import Hold, Ledger
from headworks.stores.budgets import MemoryBudgets
from headworks.types import Call, Certainty, Request, Route, Usage

UNKNOWN = 1
"""What an attempt holds of which nobody knows what it costs: a budget that is used up has no room."""


_is_strict = attrgetter("is_strict")


@dataclass(frozen=True, slots=True)
class BudgetedLedger:
    """Holds money for each attempt before its row is written. Fulfils `ports.Ledger`.

    Attributes:
        price: Return the price of a model that is in force.
        extent: Return how long requests and answers can be at a route.
        readings: Which of the readings costs most, by price, tier and length.
        hold_quoted: As `ledger.hold`, for what has been priced here already.
    """

    ledger: Ledger
    budgets: MemoryBudgets
    price: Callable[[str], Price | None]
    extent: Callable[[Route], Extent]
    readings: dict[tuple[str, str, bool], int] = field(
        default_factory=dict[tuple[str, str, bool], int]
    )
    hold_quoted: Callable[[Call, Route, Usage, Quote], Coroutine[Any, Any, Hold]] | None = None

    def hold(self, call: Call, route: Route, estimate: Usage) -> Coroutine[Any, Any, Hold]:
        """Do as `ports.Ledger` says; where budgets apply, hold what it may cost as well.

        Raises:
            BudgetExceeded: A budget has no room; nothing was held anywhere.
            ModelUnpriced: The price is not known, and a budget does not take that.
            CostUnbounded: A strict budget cannot tell what the request may cost.
        """
        accounts = self.budgets.of(call)
        if not accounts:
            return self.ledger.hold(call, route, estimate)
        return self._hold(accounts, call, route, estimate)

    async def _hold(
        self, accounts: Sequence[Account], call: Call, route: Route, estimate: Usage
    ) -> Hold:
        outlays, bound, quote = self._outlays(accounts, call, route, estimate)
        held = self.budgets.reserve(outlays)
        try:
            booked = _bookable(call, accounts)
            if quote is None or self.hold_quoted is None:
                hold = await self.ledger.hold(booked, route, bound or estimate)
            else:
                hold = await self.hold_quoted(booked, route, estimate, quote)
        except BaseException:
            self.budgets.settle(held, 0)
            raise
        return BudgetedHold(self.budgets, hold, held, bound)

    def knows(self, call: str) -> bool:
        """Return whether the call has a row. See `ports.Ledger`."""
        return self.ledger.knows(call)

    def written(self) -> Coroutine[Any, Any, None]:
        """Wait until every settlement so far is on disk. See `ports.Ledger`."""
        return self.ledger.written()

    def _outlays(
        self, accounts: Sequence[Account], call: Call, route: Route, estimate: Usage
    ) -> tuple[list[Outlay], Usage | None, Quote | None]:
        """Return what each account is asked for, and where one is strict, the most it may be.

        And what is expected, where that is what is to be booked.
        """
        request = call.request
        if not may_cost(request):
            return list(zip(accounts, repeat(0))), None, None
        price = self.price(route.model) if is_priced(request) else None
        is_strict = any(map(_is_strict, accounts))
        if price is None:
            if is_strict and not (request.model and is_priced(request)):
                most(request, route, self.extent(route))
            return [_unpriced(account, route, request) for account in accounts], None, None
        quote = expected(request, price, estimate)
        usual = quote[2]
        if usual is None:
            return [_unpriced(account, route, request) for account in accounts], None, quote
        if not is_strict:
            return list(zip(accounts, repeat(usual))), None, quote
        bound = self._dearest(price, most(request, route, self.extent(route)))
        at_most = cost(price, bound)
        return (
            [(account, at_most if account.is_strict else usual) for account in accounts],
            bound,
            None,
        )

    def _dearest(self, price: Price, usage: Usage) -> Usage:
        """Return what the tokens are at most: writing them to a cache may cost extra."""
        name = (price.version, usage.tier, usage.input > price.above)
        which = self.readings.get(name)
        if which is None:
            costs = [cost(price, reading(usage)) for reading in _READINGS]
            which = self.readings[name] = costs.index(max(costs))
        return _READINGS[which](usage)


class BudgetedHold(msgspec.Struct, eq=False):
    """One attempt's row, and the money that is held for it. Fulfils `ports.Hold`."""

    _budgets: MemoryBudgets
    _hold: Hold
    _held: Sequence[Held]
    _bound: Usage | None

    @property
    def is_open(self) -> bool:
        """Whether neither `settle` nor `release` was called."""
        return self._hold.is_open

    @property
    def measures(self) -> frozenset[str]:
        """What its price bills by."""
        return self._hold.measures

    def settle(
        self, usage: Usage, certainty: Certainty, outcome: str, odd: tuple[str, ...] = ()
    ) -> int | None:
        """Book what the attempt used; see `ports.Hold`.

        What nobody saw counts as the most that it may have been, where a budget is strict.
        """
        was_open = self._hold.is_open
        if certainty == "unknown" and self._bound is not None:
            usage = self._bound
        spent = self._hold.settle(usage, certainty, outcome, odd)
        if was_open:
            self._budgets.settle(self._held, spent)
        return spent

    def release(self, outcome: str) -> None:
        """Close the row, and give back what was held."""
        was_open = self._hold.is_open
        self._hold.release(outcome)
        if was_open:
            self._budgets.settle(self._held, 0)


def _unpriced(account: Account, route: Route, request: Request) -> Outlay:
    budget = account.budget
    if not budget.is_hard or budget.unpriced == "flag":
        return account, UNKNOWN
    is_models = request.model and is_priced(request)
    what = f"of {route.model[:128]!r}" if is_models else f"of a request to {request.path[:128]}"
    raise ModelUnpriced(
        f"The price {what} is not known, and the budget of {account.owner.spelled!r} takes nothing "
        "without one.",
        param="model" if request.model else None,
    )


_READINGS: tuple[Callable[[Usage], Usage], ...] = (
    lambda usage: usage,
    lambda usage: msgspec.structs.replace(usage, written=usage.input),
    lambda usage: msgspec.structs.replace(usage, written=usage.input, written_12h=usage.input),
)


def _bookable(call: Call, accounts: Sequence[Account]) -> Call:
    """Return the call; under a hard budget as one that is not made unless its row is written."""
    caller = call.caller
    if caller is None or caller.on_ledger_failure == "refuse":
        return call
    if not any(account.budget.is_hard for account in accounts):
        return call
    # What is only in memory would be forgotten by a crash, and be spent once more.
    return msgspec.structs.replace(call, caller=replace(caller, on_ledger_failure="refuse"))
