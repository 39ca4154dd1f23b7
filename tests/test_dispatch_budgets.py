"""A budget that has no room for one route may have it for another; nothing else is sent."""

import asyncio
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from headworks.absent import NoAlerts
from headworks.core.budget import ORGANISATION, Budget
from headworks.core.cost_bound import Extent
from headworks.core.pricing import MILLION, Price, flat_price
from headworks.errors import ConnectionLost, FirstByteTimeout
from headworks.stores.budget_alerts import ToldAlerts
from headworks.stores.budgeted import BudgetedLedger
from headworks.stores.budgets import MemoryBudgets
from headworks.stores.ledger import SqliteLedger
from headworks.testing import WHOLE, FakeResponse, MemoryKeys
from headworks.types import Caller
from tests.hedges import LONG, Stage, Turn
from tests.stores.books import Book, open_ledger, rows
from tests.world import CHAT, World

pytestmark = pytest.mark.anyio

URL = "/v1/chat/completions"
PRICES: dict[str, Price] = {"big": flat_price(10 * MILLION, 10 * MILLION), "small": flat_price(MILLION, MILLION)}  # fmt: skip
BIG, SMALL = 1100, 110
"""What an attempt holds at the first route and at the second, in nano-dollars."""


@dataclass
class Bank:
    """A world in which everybody shares one budget."""

    limit: int
    folder: Path
    world: World = field(default_factory=World)
    prices: dict[str, Price] = field(default_factory=lambda: dict(PRICES))
    budget: dict[str, Any] = field(default_factory=dict[str, Any])

    def __post_init__(self) -> None:
        clock = self.world.clock
        told = ToldAlerts(self.folder / "told.db")
        books = self.folder / "empty.db"
        open_ledger(books, clock).close()
        self.budgets = MemoryBudgets(books, clock, NoAlerts(), told)
        self.adopt(Budget(self.limit, "total", soft=(), **self.budget))
        ledger = BudgetedLedger(
            self.world.ledger, self.budgets, self.prices.get, lambda _: Extent()
        )
        dispatcher = replace(self.world.engine.dispatcher, ledger=ledger)
        self.world.engine = replace(self.world.engine, dispatcher=dispatcher)

    def adopt(self, budget: Budget) -> None:
        self.budgets.adopt(self.budgets.plan({ORGANISATION: budget}))

    async def ask(self, *, key: str = "open", **fields: Any):
        async with self.world.client("gateway", key) as client:
            return await client.post(URL, json={**CHAT, **fields})

    @property
    def tally(self):
        return next(self.budgets.named()).tally

    @property
    def trail(self) -> list[tuple[str, str]]:
        return [(str(one.route), one.failure) for one in self.world.journal.calls[-1].trail]


async def test_a_budget_that_is_used_up_says_so(tmp_path: Path):
    """The caller's client does not repeat it; nothing was sent, nothing booked, no attempt counted."""
    bank = Bank(SMALL - 1, tmp_path)
    answer = await bank.ask()
    assert answer.status_code == 429
    error = answer.json()["error"]
    assert (error["type"], error["code"]) == ("insufficient_quota", "insufficient_quota")
    assert "limit $0.000000109" in error["message"]
    assert answer.headers["x-should-retry"] == "false"
    assert answer.headers["x-headworks-attempts"] == "0"
    assert (
        answer.headers["x-headworks-trail"] == "first/big unaffordable; second/small unaffordable"
    )
    assert (bank.world.upstream.sent, bank.world.ledger.rows) == ([], [])
    assert bank.world.journal.outcomes == ["insufficient_quota"]
    assert (bank.tally.held, bank.tally.spent) == (0, 0)
    bank.world.assert_settled()


@pytest.mark.parametrize("stream", [False, True])
async def test_what_is_too_dear_here_may_be_cheap_enough_there(tmp_path: Path, stream: bool):  # noqa: FBT001 - a case
    """The fallback is asked as the first attempt of its call, and its cost is what counts."""
    bank = Bank(SMALL, tmp_path)
    answer = await bank.ask(stream=stream)
    assert answer.status_code == 200
    assert bank.world.routes == ["second/small"]
    assert answer.headers["x-headworks-attempts"] == "1"
    assert [row.attempt for row in bank.world.ledger.rows] == [1]
    assert bank.trail == [("first/big", "unaffordable")]
    assert (bank.tally.held, bank.tally.spent) == (0, 7)
    bank.world.assert_settled()


async def test_a_retry_that_nobody_can_pay_ends_in_what_the_provider_said(tmp_path: Path):
    """The first attempt failed, and that is what the caller is told; the trail tells the rest."""
    bank = Bank(BIG + 50, tmp_path)
    bank.world.upstream.script = [ConnectionLost()]
    answer = await bank.ask()
    assert answer.status_code == 200  # 110 nano-dollars were lost, and the second route is cheap
    bank = Bank(BIG, tmp_path, prices={"big": PRICES["big"], "small": PRICES["big"]})
    bank.world.upstream.script = [FirstByteTimeout()]
    answer = await bank.ask()
    assert (answer.status_code, answer.json()["error"]["code"]) == (504, "all_routes_failed")
    assert bank.trail[0][1] == "timeout"
    assert bank.trail[-1] == ("second/small", "unaffordable")
    assert answer.headers["x-headworks-attempts"] == "1"
    assert bank.tally.held == 0
    bank.world.assert_settled()


async def test_attempts_that_failed_are_paid_as_the_provider_would(tmp_path: Path):
    """What broke is charged at the estimate; so the budget has less left for what comes next."""
    bank = Bank(10 * BIG, tmp_path)
    bank.world.upstream.script = [ConnectionLost(), FakeResponse()]
    assert (await bank.ask()).status_code == 200
    assert bank.tally.spent == bank.world.ledger.total == 110 + 7


async def test_a_route_without_a_price_is_passed_by(tmp_path: Path):
    """Where a priced one is left, the call goes there."""
    bank = Bank(BIG, tmp_path, prices={"small": PRICES["small"]})
    assert (await bank.ask()).status_code == 200
    assert bank.world.routes == ["second/small"]
    bank = Bank(BIG, tmp_path, prices={})
    answer = await bank.ask()
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "model_unpriced")


@pytest.mark.parametrize("stream", [False, True])
async def test_a_key_may_pass_routes_by_that_have_no_price(tmp_path: Path, stream: bool):  # noqa: FBT001 - a case
    """The route that is priced is asked, as the first attempt; the trail names the one that is not."""
    world = World(keys=MemoryKeys({"careful": Caller("careful", "k3", unpriced="refuse")}))
    book = Book({"small": PRICES["small"]})
    with closing(SqliteLedger(tmp_path / "l.db", book, world.clock, checkpointing=False)) as ledger:
        dispatcher = replace(world.engine.dispatcher, ledger=ledger)
        world.engine = replace(world.engine, dispatcher=dispatcher)
        async with world.client("gateway", "careful") as client:
            answer = await client.post(URL, json={**CHAT, "stream": stream})
            assert answer.status_code == 200
            assert answer.headers["x-headworks-trail"] == "first/big unaffordable"
            assert answer.headers["x-headworks-attempts"] == "1"
            assert world.routes == ["second/small"]
            book.prices.clear()
            refused = await client.post(URL, json={**CHAT, "stream": stream})
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "model_unpriced")
        assert world.routes == ["second/small"]
    booked = rows(tmp_path / "l.db", "model_sent, attempt, state")
    assert booked == [{"model_sent": "small", "attempt": 1, "state": "settled"}]


async def test_a_strict_budget_tells_what_to_set(tmp_path: Path):
    """A request whose answer has no bound is refused, with the field that gives it one."""
    bank = Bank(10**6, tmp_path, budget={"is_strict": True})
    refused = (await bank.ask()).json()["error"]
    assert (refused["code"], refused["param"]) == ("cost_unbounded", "max_completion_tokens")
    assert (await bank.ask(max_completion_tokens=10)).status_code == 200


async def test_callers_at_once_share_what_is_there(tmp_path: Path):
    """Who comes while all of it is held for others is told to come back, and is then served."""
    bank = Bank(BIG + 50, tmp_path, prices={"big": PRICES["big"], "small": PRICES["big"]})
    answers = await asyncio.gather(*(bank.ask() for _ in range(5)))
    assert sorted(answer.status_code for answer in answers) == [200, 429, 429, 429, 429]
    refused = next(answer for answer in answers if answer.status_code != 200)
    assert refused.headers["x-should-retry"] == "true"
    assert refused.headers["retry-after-ms"] == "1000"
    assert (await bank.ask()).status_code == 200
    assert (bank.tally.spent, bank.tally.held) == (14, 0)
    bank.world.assert_settled()


async def test_who_cannot_pay_uses_up_no_rate_either(tmp_path: Path):
    """Neither the requests of a minute nor places among parallel calls: three a minute are left."""
    bank = Bank(SMALL - 1, tmp_path)
    for _ in range(5):
        assert (await bank.ask(key="app")).status_code == 429
    bank.adopt(Budget(10 * BIG, "total"))
    answers = [await bank.ask(key="app") for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert answers[3].json()["error"]["code"] == "rate_limit_exceeded"


async def test_two_hundred_callers_never_exceed_a_strict_budget(tmp_path: Path):
    """Streams and whole answers, broken connections and retries, until there is no money left."""
    flat = dict.fromkeys(PRICES, PRICES["small"])
    bank = Bank(limit := 12_000, tmp_path, prices=flat, budget={"is_strict": True})
    long = WHOLE.replace(b'"completion_tokens":4,"total_tokens":7', b'"completion_tokens":50')
    assert long != WHOLE
    for number in range(1000):
        bank.world.upstream.script.append(FakeResponse(long) if number % 20 else ConnectionLost())
    statuses: list[int] = []
    for _ in range(20):
        several = (bank.ask(stream=one % 2 == 0, max_completion_tokens=50) for one in range(200))
        statuses = [answer.status_code for answer in await asyncio.gather(*several)]
        assert bank.world.ledger.total == bank.tally.spent <= limit
        assert bank.tally.held == 0
        if 200 not in statuses:
            break
    assert set(statuses) == {429}
    assert bank.tally.spent >= 0.97 * limit
    bank.world.assert_settled()


def test_a_second_attempt_needs_money_too(tmp_path: Path):
    """Who cannot pay for two waits for the first; nothing is left held, and one row is written."""
    stage = Stage(Turn(10.0))
    bank = Bank(BIG + SMALL - 1, tmp_path, stage.world)
    assert stage.call() == WHOLE
    assert stage.sent == [("first/big", 0.0)]
    assert [row.attempt for row in stage.world.ledger.rows] == [1]
    assert stage.world.journal.calls[0].attempts == 1
    assert bank.tally.held == 0


def test_two_attempts_beside_each_other_are_both_paid(tmp_path: Path):
    """The one that was given up counts as the ledger counts it."""
    stage = Stage(Turn(LONG), Turn(0.5))
    bank = Bank(BIG + SMALL, tmp_path, stage.world)
    assert stage.call() == WHOLE
    assert len(stage.sent) == 2
    assert bank.tally.spent == stage.world.ledger.total == stage.world.journal.calls[0].cost
    assert bank.tally.held == 0
