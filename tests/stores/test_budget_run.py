"""The promise of budgets, over a whole run: never a cent over, and nearly all of it usable."""

import asyncio
import random
from collections.abc import Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from headworks.core.budget import ORGANISATION, Budget, BudgetExceeded
from headworks.core.pricing import cost
from headworks.errors import CallError
from headworks.testing import FakeClock
from headworks.types import NO_USAGE, Usage
from tests.stores.books import PRICE, route
from tests.stores.purses import TOKEN, Purse, asked, purse, usd

pytestmark = pytest.mark.anyio

LIMIT = usd(10)
LONGEST = usd(0.2) // TOKEN
SHORTEST = usd(0.05) // TOKEN


async def turns() -> None:
    """Let everybody run until all wait for time to pass."""
    for _ in range(20):
        await asyncio.sleep(0)


@dataclass
class Provider:
    """What clients do, and what the provider bills for it: the judge.

    Attributes:
        invoice: Nano-dollars that were billed.
        worst: What was billed beyond what had been expected, at most, for one attempt.
        is_calm: Whether all goes well.
    """

    chance: random.Random
    clock: FakeClock
    likely: int = LONGEST
    is_calm: bool = False
    invoice: int = 0
    most_in_flight: int = 0
    in_flight: int = 0
    made: int = 0
    worst: int = 0
    errors: list[CallError] = field(default_factory=list[CallError])

    async def client(self, purse: Purse) -> None:
        """Make calls, one after the other, until the budget is used up."""
        while await self._call(purse):
            pass

    async def _call(self, purse: Purse) -> bool:
        self.made += 1
        call = asked(f"call-{self.made}", max_completion_tokens=LONGEST, stream=True)
        for number in range(1, 4):
            call.attempts = number
            try:
                hold = await purse.paying.hold(call, route(), Usage(50, self.likely))
            except BudgetExceeded as error:
                self.errors.append(error)
                await self.clock.sleep(error.retry_after or 0.0)
                return error.should_retry
            self.in_flight += 1
            self.most_in_flight = max(self.most_in_flight, self.in_flight)
            used = Usage(self.chance.randint(10, 60), self.chance.randint(SHORTEST, LONGEST))
            fate = 0.0 if self.is_calm else self.chance.random()
            billed = 0 if fate > 0.9 else cost(PRICE, used)
            self.invoice += billed
            self.worst = max(self.worst, billed - cost(PRICE, Usage(50, self.likely)))
            await self.clock.sleep(self.chance.uniform(0.5, 20))
            self.in_flight -= 1
            if fate < 0.6:
                hold.settle(used, "exact", "completed")
                return True
            if fate < 0.75:  # the stream broke, and what it came to was counted
                hold.settle(used, "estimated", "abandoned")
                return True
            if fate < 0.9:  # nobody answered, and it is billed all the same
                hold.settle(Usage(50, self.likely), "unknown", "upstream_first_byte_timeout")
            elif fate < 0.95:
                hold.settle(NO_USAGE, "exact", "server_error")
            else:
                hold.release("upstream_unreachable")
        return True


async def run(work: Coroutine[Any, Any, None], seconds: int, clock: FakeClock) -> None:
    """Let the clients work for so long, then be gone."""
    task = asyncio.ensure_future(work)
    for _ in range(seconds):
        await turns()
        if task.done():
            break
        clock.advance(1.0)
    await turns()
    task.cancel()
    await asyncio.wait([task])


async def _clients(provider: Provider, bag: Purse) -> None:
    async with asyncio.TaskGroup() as group:
        for _ in range(200):
            group.create_task(provider.client(bag))


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_a_strict_budget_holds_to_the_cent(tmp_path: Path, seed: int):
    """200 clients, broken streams, retries, two crashes: $10.00 are enough, and $9.70 are used."""
    clock = FakeClock(jumps=False)
    provider = Provider(random.Random(seed), clock)
    budgets = {ORGANISATION: Budget(LIMIT, "total", is_strict=True)}
    spent = 0
    for seconds in (6, 9, 3000):
        with purse(tmp_path, budgets, clock, crashes=seconds < 10) as bag:
            provider.in_flight = 0
            await run(_clients(provider, bag), seconds, clock)
            assert provider.invoice <= LIMIT
            spent = bag.account().tally.spent
    assert provider.most_in_flight > 40  # as many as there is money for
    assert provider.invoice <= spent <= LIMIT
    assert spent >= 0.97 * LIMIT


async def test_nearly_all_of_a_strict_budget_buys_something(tmp_path: Path):
    """Where the provider says what it bills, $9.70 of $10.00 are spent at the provider."""
    clock = FakeClock(jumps=False)
    provider = Provider(random.Random(4), clock, is_calm=True)
    with purse(tmp_path, {ORGANISATION: Budget(LIMIT, "total", is_strict=True)}, clock) as bag:
        await run(_clients(provider, bag), 3000, clock)
        assert bag.account().tally.spent == provider.invoice
    assert 0.97 * LIMIT <= provider.invoice <= LIMIT


@pytest.mark.parametrize("seed", [1, 2])
async def test_an_expected_budget_is_exceeded_by_no_more_than_was_wrong(tmp_path: Path, seed: int):
    """Where less is held than may come, the overrun is what the calls under way had more."""
    clock = FakeClock(jumps=False)
    provider = Provider(random.Random(seed), clock, likely=SHORTEST)
    with purse(tmp_path, {ORGANISATION: Budget(LIMIT, "total")}, clock) as bag:
        await run(_clients(provider, bag), 3000, clock)
        spent = bag.account().tally.spent
    assert spent > LIMIT
    assert spent - LIMIT <= provider.worst * provider.most_in_flight
    assert not provider.in_flight
