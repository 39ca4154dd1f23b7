"""Budgets as an operator sees them: on the admin port, in metrics, through reloads and restarts."""

import json
from pathlib import Path
from typing import Any

import pytest

from headworks.core.budget import Budget, Owner
from headworks.gateway.budgets import Chosen
from headworks.testing import FakeClock
from tests.gateway import test_station
from tests.gateway.test_station import Ground, gateway
from tests.ground import DOCUMENT
from tests.stores.purses import purse
from tests.upstream.scripted import until

pytestmark = pytest.mark.anyio

BUDGETS = """\
budget: {usd: 5, per: month, time_zone: Europe/Berlin}
users: {default: {budget: {usd: 0.02, per: total, hard: false}}}
"""
PRICE = 0.000046
"""Dollars of the scripted answer: 3 tokens in, 4 out."""


@pytest.fixture(autouse=True)
def without_a_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the budget that the gateway of other tests has."""
    lines = [line for line in DOCUMENT.splitlines(keepends=True) if "budget:" not in line]
    monkeypatch.setattr(test_station, "DOCUMENT", "".join(lines))


async def shown(it: Ground) -> list[dict[str, Any]]:
    """Return what the admin port says of the budgets."""
    found: list[dict[str, Any]] = json.loads(await it.admin("/api/budgets"))["budgets"]
    return found


async def test_budgets_are_shown_as_they_stand(tmp_path: Path):
    """What is spent, held and left, when it begins anew; and the same in metrics, by budget."""
    async with gateway(tmp_path, more=BUDGETS) as it:
        assert await it.ask() == 200
        (everybody,) = await shown(it)
        samples = await it.samples()
    began, resets = everybody.pop("began"), everybody.pop("resets")
    assert began[8:19] == resets[8:19] == "01T00:00:00"
    assert began < resets
    assert everybody == {
        "kind": "organisation",
        "name": "",
        "per": "month",
        "time_zone": "Europe/Berlin",
        "hard": True,
        "reserve": "expected",
        "limit_usd": "5.000000000",
        "spent_usd": "0.000046000",
        "held_usd": "0.000000000",
        "left_usd": "4.999954000",
        "overrun_usd": "0.000000000",
        "unpriced_attempts": 0,
        "refused": 0,
        "reached": [],
    }
    names = ("spent", "held", "limit")
    told = [samples[f"headworks_budget_{name}_usd,organisation"] for name in names]
    assert told == [pytest.approx(PRICE), 0, 5]


async def test_metrics_of_one_scrape_are_of_the_same_budgets(tmp_path: Path):
    """The thousand that have used most, chosen once: there may be a hundred thousand."""
    clock = FakeClock()
    many = {Owner("key", str(at)): Budget(1000) for at in range(1100)}
    with purse(tmp_path, many, clock) as bag:
        for at, account in enumerate(bag.budgets.named()):
            account.tally.spent = at
        chosen = Chosen(bag.budgets, clock)
        first = {account.owner.name for account in chosen.accounts()}
        assert first == {str(at) for at in range(100, 1100)}
        bag.account("key", "0").tally.spent = 2000
        assert {account.owner.name for account in chosen.accounts()} == first
        clock.advance(1)
        assert {account.owner.name for account in chosen.accounts()} == (first | {"0"}) - {"100"}


async def test_a_reload_and_a_restart_keep_what_was_spent(tmp_path: Path):
    """A limit that is lowered below it holds from the next call on, and after the next start."""
    async with gateway(tmp_path, more=BUDGETS) as it:
        assert await it.ask() == 200
        config = it.station.assembly.config
        it.write(("usd: 5", "usd: 0.00005"))
        await until(lambda: it.station.assembly.config is not config)
        assert await it.ask() == 429
        lowered = BUDGETS.replace("usd: 5", "usd: 0.00005")
    async with gateway(tmp_path, more=lowered) as it:
        assert await it.ask() == 429
        (everybody,) = await shown(it)
        samples = await it.samples()
    assert (everybody["spent_usd"], everybody["refused"]) == ("0.000046000", 1)
    assert everybody["reached"] == [50, 80, 100]
    assert samples["headworks_limited_total,budget,first"] == 1
    assert (tmp_path / "store.budgets.db").stat().st_mode & 0o777 == 0o600


async def test_a_budget_that_a_reload_brings_knows_the_past(tmp_path: Path):
    """What was spent this month before anybody set a budget counts in it."""
    async with gateway(tmp_path) as it:
        assert await it.ask() == 200
        assert await shown(it) == []
        config = it.station.assembly.config
        it.file.write_text(it.file.read_text() + BUDGETS)
        await until(lambda: it.station.assembly.config is not config)
        (everybody,) = await shown(it)
    assert everybody["spent_usd"] == "0.000046000"
