"""Keys that are made while the gateway runs: they do what those of its file do, and as soon."""

import asyncio
import json
import threading
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx2
import pytest
from starlette.applications import Starlette

from headworks.core.budget import ORGANISATION, Budget, Owner
from headworks.core.grants import Grant
from headworks.gateway.budgets import budget_routes
from headworks.stores.budgets import Budgets, Plan
from headworks.stores.keystore import KeyStore
from headworks.stores.pepper import load_pepper
from headworks.system import SystemClock
from headworks.types import RateLimits
from tests.gateway.test_station import Ground, gateway
from tests.ground import ground
from tests.stores.purses import purse
from tests.upstream.scripted import until

pytestmark = pytest.mark.anyio

APP = Owner("key", "app")
CENT = 10**7
SPENT = 46_000
"""Nano-dollars of the scripted answer."""


@dataclass
class Desk:
    """Where an operator types `headworks keys`, beside a running gateway."""

    folder: Path
    it: Ground

    def __post_init__(self) -> None:
        self.path = self.folder / "store.db"
        self.store = KeyStore(self.path, SystemClock().time)

    async def make(self, grant: Grant) -> str:
        """Make a key, and wait until it works."""
        _, secret = self.store.create(grant, load_pepper(self.path, None))
        await self._taken(grant.budget)
        return secret.reveal()

    async def rotate(self, budget: Budget | None) -> str:
        """Replace a key at once, and wait until its new secret works."""
        _, secret = self.store.rotate("app", 0, load_pepper(self.path, None))
        await self._taken(budget)
        return secret.reveal()

    async def set_budget(self, budget: Budget | None) -> None:
        """Change a key's budget, and wait until it holds."""
        self.store.change("app", lambda grant: replace(grant, budget=budget))
        await self._taken(budget)

    async def edit(self, change: tuple[str, str]) -> None:
        """Change the gateway's file, and wait until it was read."""
        config = self.it.station.assembly.config
        self.it.write(change)
        await until(lambda: self.it.station.assembly.config is not config)

    async def _taken(self, budget: Budget | None) -> None:
        keys = self.it.station.assembly.keys
        present = next(one for one in self.store.list() if not one.replaced_by)
        await until(lambda: present.id in keys._by_id and keys.budgets.get(APP) == budget)

    async def shown(self) -> dict[str, Any]:
        """Return what the admin port says of the key's budget."""
        budgets: list[dict[str, Any]] = json.loads(await self.it.admin("/api/budgets"))["budgets"]
        (found,) = (one for one in budgets if (one["kind"], one["name"]) == APP)
        return found


async def test_a_budget_of_a_stored_key_holds_like_any_other(tmp_path: Path):
    """From its first call on; it can be changed, is shown, and outlives secret, reload and restart."""
    tight, ample = Budget(SPENT + 1, "total"), Budget(50 * CENT, "total")
    async with gateway(tmp_path) as it:
        desk = Desk(tmp_path, it)
        key = await desk.make(Grant("app", budget=ample))
        assert await it.ask(key) == 200
        await desk.set_budget(tight)
        assert await it.ask(key) == 429
        shown = await desk.shown()
        assert (shown["limit_usd"], shown["spent_usd"]) == ("0.000046001", "0.000046000")
        assert (shown["refused"], shown["reached"]) == (1, [50, 80, 100])
        assert (await it.samples())["headworks_budget_spent_usd,key app"] == pytest.approx(46e-6)
        key = await desk.rotate(tight)
        assert await it.ask(key) == 429
        await desk.edit(("longest: 20ms", "longest: 30ms"))
        assert await it.ask(key) == 429
        await desk.set_budget(ample)
        assert await it.ask(key) == 200
        await desk.set_budget(tight)
    async with gateway(tmp_path) as it:
        desk = Desk(tmp_path, it)
        assert (await desk.shown())["spent_usd"] == "0.000092000"
        assert await it.ask(key) == 429
        await desk.set_budget(None)
        assert await it.ask(key) == 200
        await desk.set_budget(ample)
        assert (await desk.shown())["spent_usd"] == "0.000138000"


async def test_a_name_brings_along_what_was_spent_under_it(tmp_path: Path):
    """Whoever revokes a key and makes another of its name has no new money."""
    budget = Budget(SPENT + 1, "total", soft=())
    async with gateway(tmp_path) as it:
        desk = Desk(tmp_path, it)
        assert await it.ask(await desk.make(Grant("app"))) == 200
        desk.store.revoke("app")
        key = await desk.make(Grant("app", budget=budget))
        assert await it.ask(key) == 429
        assert (await desk.shown())["spent_usd"] == "0.000046000"


async def test_a_namesake_in_the_file_goes_before(tmp_path: Path):
    """A name has one budget: the file's, and the stored key's again without it."""
    async with gateway(tmp_path) as it:
        desk = Desk(tmp_path, it)
        await desk.make(Grant("app", budget=Budget(7 * CENT)))
        key, more = (
            "keys: [{",
            "keys: [{name: app, secret: another-key-0123456789, budget: {usd: 9}}, {",
        )
        for words, limit in (((key, more), "9.000000000"), ((more, key), "0.070000000")):
            await desk.edit(words)
            assert (await desk.shown())["limit_usd"] == limit


async def test_a_stored_key_waits_as_it_is_told(tmp_path: Path):
    """Its limits, its share of the queue and its priority take effect, and change with it."""
    async with gateway(tmp_path) as it:
        desk = Desk(tmp_path, it)
        key = await desk.make(Grant("app", limits=RateLimits(rpm=1, queue=0), priority="batch"))
        assert [await it.ask(key) for _ in range(2)] == [200, 429]
        caller = next(one for one in it.station.assembly.keys.callers() if one.name == "app")
        assert caller.priority == "batch"
        desk.store.change("app", lambda grant: replace(grant, limits=RateLimits(rpm=2)))
        await until(
            lambda: next(iter(it.station.assembly.keys._by_id.values())).caller.limits.rpm == 2
        )
        assert await it.ask(key) == 200


async def test_a_key_that_is_made_during_a_reload(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Neither undoes the budgets that the other brings."""
    shop, more = Owner("project", "shop"), Budget(CENT)
    async with ground(tmp_path) as it:
        budgets, go_on = it.assembly.budgets, threading.Event()
        asked: list[Budgets] = []
        genuine = budgets.plan

        def plan(wanted: Budgets) -> Plan:
            found = genuine(wanted)
            asked.append(wanted)
            if len(asked) == 1:
                go_on.wait(5)
            return found

        monkeypatch.setattr(budgets, "plan", plan)
        config = replace(it.assembly.config, budgets={shop: more})
        reloading = asyncio.ensure_future(it.assembly.reload(config))
        await until(lambda: bool(asked))
        path = tmp_path / "store.db"
        KeyStore(path, SystemClock().time).create(
            Grant("app", budget=more), load_pepper(path, None)
        )
        looking = asyncio.ensure_future(it.assembly.keys.refresh())
        await until(lambda: len(asked) > 1 or bool(it.assembly._funding._waiters))
        go_on.set()
        await asyncio.gather(reloading, looking)
        assert set(budgets.accounts) == {shop, APP}


async def test_of_very_many_keys_those_that_have_used_most_are_shown(tmp_path: Path):
    """A key for each customer makes no endless page; budgets of everybody else are never missing."""
    owners = [ORGANISATION, *(Owner("key", f"key-{number}") for number in range(1200))]
    with purse(tmp_path, {owner: Budget(10**9) for owner in owners}) as bag:
        for number, account in enumerate(bag.budgets.accounts.values()):
            account.tally.spent = number
        transport = httpx2.ASGITransport(app=Starlette(routes=budget_routes(bag.budgets)))
        async with httpx2.AsyncClient(transport=transport, base_url="http://admin") as client:
            page = (await client.get("/api/budgets")).json()
    names = [one["name"] for one in page["budgets"]]
    assert (names[0], names[1], names[-1], len(names)) == ("", "key-1199", "key-200", 1001)
