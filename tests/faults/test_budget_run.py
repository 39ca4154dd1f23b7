"""Ten dollars are ten dollars: two hundred callers at once, retries and broken streams included."""

import asyncio
import json
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from typing_extensions import override

from headworks.absent import NoAlerts
from headworks.core.budget import ORGANISATION, Budget
from headworks.core.cost_bound import Extent
from headworks.core.pricing import MILLION, cost, flat_price
from headworks.errors import ConnectFailed, ConnectionLost, StreamTruncated
from headworks.stores.budget_alerts import ToldAlerts
from headworks.stores.budgeted import BudgetedLedger
from headworks.stores.budgets import MemoryBudgets
from headworks.stores.ledger import SqliteLedger
from headworks.stores.verify import verify
from headworks.testing import EVENTS, FakeResponse
from headworks.types import RateLimits, Request, Route, Usage
from tests.queueing.hall import Desk, Hall, Told
from tests.stores.books import Book

USD = 10**9
LIMIT = 10 * USD
CALLERS = 200
PRICE = flat_price(2_000 * MILLION, 10_000 * MILLION)
"""2,000 nano-dollars a token of input, 10,000 of output."""
LEAST, MOST = 5_000, 20_000
"""Tokens of an answer: five cents to twenty."""


@dataclass
class Biller(Desk):
    """A provider that bills what it does, and does not always do it well.

    Attributes:
        invoice: Nano-dollars that were billed.
    """

    is_calm: bool = False
    invoice: int = 0

    @override
    async def send(self, request: Request, route: Route, remaining: float) -> FakeResponse:
        used = Usage(10, self.chance.randint(LEAST, MOST))
        fate = 0.0 if self.is_calm else self.chance.random()
        if fate > 0.95:
            raise ConnectFailed("No connection.")
        self.invoice += cost(PRICE, Usage(3, 4) if fate > 0.8 else used)
        assert self.invoice <= LIMIT
        await super().send(request, route, remaining)
        if fate > 0.9:
            self.answers.pop()
            raise ConnectionLost("The provider has gone.")
        self.answers[-1] = FakeResponse(_whole(used))
        if fate > 0.8:
            self.answers[-1] = FakeResponse(EVENTS, fault=StreamTruncated("Broken."), fault_after=2)
        return self.answers[-1]


def _whole(used: Usage) -> bytes:
    usage = {"prompt_tokens": used.input, "completion_tokens": used.output}
    choice = {"message": {"role": "assistant", "content": "x"}, "finish_reason": "stop"}
    return json.dumps({"object": "chat.completion", "choices": [choice], "usage": usage}).encode()


def _is_final(answer: Told) -> bool:
    return answer.headers.get(b"x-should-retry") == b"false"


@pytest.mark.parametrize("is_calm", [True, False], ids=["calm", "faults"])
def test_a_strict_budget_holds_to_the_cent(tmp_path: Path, is_calm: bool):  # noqa: FBT001 - a case
    """200 callers who come again as told: never more than $10.00 is billed, and $9.70 are used."""
    desk = Biller(seconds=10.0, is_calm=is_calm)
    hall = Hall(desk=desk, app=RateLimits())
    budgets, books = opened(hall, tmp_path)
    most = 0

    async def caller(number: int) -> None:
        nonlocal most
        answer = await hall.call("app", f"{number}")
        while not (_is_final(answer) and answer.code == "insufficient_quota"):
            assert answer.code == "upstream_stream_truncated" or not _is_final(answer)
            most = max(most, desk.busy)
            await asyncio.sleep(answer.wait or 0.0)
            answer = await hall.call("app", f"{number}")

    async def lives() -> None:
        await asyncio.gather(*(caller(number) for number in range(CALLERS)))

    hall.run(lives())
    tally = next(budgets.named()).tally
    budgets.close()
    books.close()
    assert verify(books.path).findings == ()
    assert most > 30  # as many at once as there is money for
    assert tally.held == 0
    assert desk.invoice <= tally.spent <= LIMIT
    assert tally.spent >= 0.97 * LIMIT
    if is_calm:
        assert desk.invoice == tally.spent


def opened(hall: Hall, folder: Path) -> tuple[MemoryBudgets, SqliteLedger]:
    """Give the engine a ledger on disk, and a strict budget over it."""
    books = SqliteLedger(folder / "x.ledger.db", Book({"m": PRICE}), hall.world.clock)
    told = ToldAlerts(folder / "told.db")
    budgets = MemoryBudgets(books.path, hall.world.clock, NoAlerts(), told)
    budgets.adopt(budgets.plan({ORGANISATION: Budget(LIMIT, "total", soft=(), is_strict=True)}))
    ledger = BudgetedLedger(books, budgets, lambda _: PRICE, lambda _: Extent(100_000, MOST))
    hall.engine = replace(hall.engine, dispatcher=replace(hall.engine.dispatcher, ledger=ledger))
    return budgets, books
