"""What an attempt is expected to cost is worked out once, for its budgets and for its row."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from headworks.core.budget import ORGANISATION, Budget
from headworks.core.pricing import Price, flat_price
from headworks.types import Usage
from tests.stores.books import MODEL, PRICE, route, rows
from tests.stores.purses import asked, purse, usd

pytestmark = pytest.mark.anyio

SPOKEN = flat_price(0, 0, measures={"character": 15 * 10**9})
BUDGETS = {
    "expected": Budget(usd(10), "day"),
    "strict": Budget(usd(10), "day", is_strict=True),
    "flagging": Budget(usd(10), "day", unpriced="flag"),
}


class Shelf:
    """Prices, and how often somebody asked for one."""

    def __init__(self) -> None:
        self.prices: dict[str, Price] = {MODEL: PRICE, "speech": SPOKEN}
        self.asked = 0

    def price(self, model: str) -> Price | None:
        """Return the price."""
        self.asked += 1
        return self.prices.get(model)


async def booked(
    folder: Path, kind: str, model: str, *, is_quoted: bool, **fields: Any
) -> tuple[list[dict[str, Any]], int, int]:
    """Return an attempt's row, what its budget holds, and how often its price was asked for."""
    shelf = Shelf()
    with purse(_made(folder), {ORGANISATION: BUDGETS[kind]}) as bag:
        bag.ledger.prices = shelf
        paying = replace(bag.paying, price=shelf.price)
        if is_quoted:
            paying = replace(paying, hold_quoted=bag.ledger.hold)
        held = await paying.hold(asked("one", **fields), route(model), Usage(100, 50))
        estimates, on_hold = rows(bag.ledger.path), bag.account().tally.held
        held.settle(Usage(90, 40), "exact", "completed")
        await paying.written()
        return [*estimates, *rows(bag.ledger.path)], on_hold, shelf.asked


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


@pytest.mark.parametrize(
    ("kind", "model", "fields"),
    [
        ("expected", MODEL, {}),
        ("strict", MODEL, {"max_tokens": 1000}),
        ("flagging", "nobody-knows", {}),
        ("expected", "speech", {"path": "/v1/audio/speech", "input": "Good morning."}),
    ],
)
async def test_a_row_is_the_same_whether_or_not_its_price_was_passed_on(
    tmp_path: Path, kind: str, model: str, fields: dict[str, Any]
):
    """What a report says does not depend on who asked for the price."""
    plain = await booked(tmp_path / "plain", kind, model, is_quoted=False, **fields)
    quoted = await booked(tmp_path / "quoted", kind, model, is_quoted=True, **fields)
    assert quoted[:2] == plain[:2]
    assert quoted[0]


async def test_a_price_is_asked_for_once(tmp_path: Path):
    """A price that changes in between cannot make a budget and its row disagree."""
    row, on_hold, times = await booked(tmp_path / "one", "expected", MODEL, is_quoted=True)
    assert times == 1
    assert row[0]["estimate_nano"] == on_hold > 0
