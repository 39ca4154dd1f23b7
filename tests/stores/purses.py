"""Budgets over a ledger in virtual time, and calls that count against them."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from headworks.core.budget import Account, Budget, BudgetAlert, Owner
from headworks.core.cost_bound import Extent
from headworks.ports import Hold
from headworks.stores.budget_alerts import ToldAlerts
from headworks.stores.budgeted import BudgetedLedger
from headworks.stores.budgets import MOST_USERS, MemoryBudgets
from headworks.stores.ledger import SqliteLedger
from headworks.testing import FakeClock
from headworks.types import Call, Caller, Request, Route, Tags, Usage
from tests.stores.books import MODEL, Book, crash, route

USD = 10**9
_NUMBERS = count(1)
TOKEN = 10_000
"""Nano-dollars of a token of output: 100,000 of them are a dollar."""


def usd(amount: float) -> int:
    """Return dollars as nano-dollars."""
    return round(amount * USD)


def tokens(amount: float) -> Usage:
    """Return a usage that costs so many dollars."""
    return Usage(0, usd(amount) // TOKEN)


@dataclass
class Heard:
    """Remembers alerts."""

    alerts: list[BudgetAlert] = field(default_factory=list[BudgetAlert])

    def budget(self, alert: BudgetAlert) -> None:
        """Hear one."""
        self.alerts.append(alert)

    @property
    def told(self) -> list[tuple[str, int]]:
        """Who was told of, and which percentage."""
        return [(alert.owner.spelled, alert.percent) for alert in self.alerts]


@dataclass
class Purse:
    """A ledger, the budgets over it, and what its owner hears."""

    ledger: SqliteLedger
    budgets: MemoryBudgets
    paying: BudgetedLedger
    heard: Heard

    def adopt(self, budgets: Mapping[Owner, Budget]) -> None:
        """Let budgets take effect, as a reload does."""
        plan = self.budgets.plan(budgets)
        self.ledger.flush()
        self.budgets.adopt(plan)

    async def hold(self, call: Call, amount: float = 0.1, to: Route | None = None) -> Hold:
        """Begin an attempt that may cost so many dollars."""
        return await self.paying.hold(call, to or route(), tokens(amount))

    async def spend(self, amount: float, call: Call | None = None) -> None:
        """Make an attempt that costs as much as was expected."""
        held = await self.hold(call or asked(f"spent-{next(_NUMBERS)}"), amount)
        held.settle(tokens(amount), "exact", "completed")
        await self.paying.written()

    def account(self, kind: str = "organisation", name: str = "") -> Account:
        """Return an account as it stands now."""
        found = (*self.budgets.named(), *self.budgets.crowd())
        return next(one for one in found if one.owner == (kind, name))

    def spent(self, kind: str = "organisation", name: str = "") -> float:
        """Return the dollars that were spent in the present period."""
        return self.account(kind, name).tally.spent / USD


def asked(
    name: str,
    *,
    caller: Caller | None = None,
    tags: Tags | None = None,
    method: str = "POST",
    path: str = "/v1/chat/completions",
    **fields: Any,
) -> Call:
    """Return a call that is about to make its first attempt."""
    body = {"model": "assistant", **fields}
    request = Request(
        method, path, content=json.dumps(body).encode(), fields=body, tags=tags or Tags()
    )
    return Call(name, request, 0.0, 0.0, caller or Caller("web", "key_1", "shop"), attempts=1)


@contextmanager
def purse(
    folder: Path,
    budgets: Mapping[Owner, Budget],
    clock: FakeClock | None = None,
    *,
    most: int = MOST_USERS,
    extent: Extent | None = None,
    crashes: bool = False,
) -> Iterator[Purse]:
    """Open a ledger and the budgets over it; at the end close them, or die without a word."""
    clock = clock or FakeClock()
    book, heard = Book(), Heard()
    ledger = SqliteLedger(folder / "h.ledger.db", book, clock, checkpointing=False)
    told = ToldAlerts(folder / "h.budgets.db")
    made = MemoryBudgets(ledger.path, clock, heard, told, most)
    paying = BudgetedLedger(ledger, made, book.price, lambda _: extent or Extent(100_000, 20_000))
    try:
        made.adopt(made.plan(budgets))
        yield Purse(ledger, made, paying, heard)
    finally:
        made.close()
        if crashes:
            crash(ledger)
        else:
            ledger.close()


__all__ = ["MODEL", "TOKEN", "USD", "Heard", "Purse", "asked", "purse", "tokens", "usd"]
