"""An engine is put together whole or not at all, and always closed."""

import asyncio
import json
import logging
import os
import sqlite3
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from headworks import build
from headworks.build import Assembly
from headworks.config.settings import StepConfig
from headworks.errors import CallError, ConfigurationError, Failure, Unauthenticated
from headworks.stores.ledger_schema import ledger_path
from headworks.stores.usage import usage
from headworks.system import SystemClock
from headworks.testing import RecordingJournal
from headworks.types import NO_USAGE, Commit, Hedge, Request, Secret
from headworks.wiring.upstreams import place_of, proxy_of
from tests.ground import OTHER, config, ground, with_bad_authorities
from tests.upstream.scripted import ticks

pytestmark = pytest.mark.anyio


async def test_a_call_goes_all_the_way(tmp_path):
    """Configuration in, answer out: authenticated, routed, booked at the catalogue's price."""
    journal = RecordingJournal()
    async with ground(tmp_path, journals=(journal,)) as it:
        assert json.loads(await it.ask())["object"] == "chat.completion"
        with pytest.raises(Unauthenticated):
            await it.ask(key=OTHER)
    assert journal.outcomes == ["completed", "invalid_api_key"]
    booked = usage(ledger_path(tmp_path / "store.db")).total
    assert (booked.calls, booked.open) == (1, 0)
    assert booked.cost_nano


async def test_a_model_has_the_policies_that_are_configured(tmp_path):
    """What a model's section says of streams, failures and refusals is what its calls meet."""
    before = config(tmp_path)
    ways: dict[Failure, tuple[StepConfig, ...]] = {"rate_limit": before.models["other"].routes}
    assistant, hedge = before.models["assistant"], Hedge(2.0, 0.1)
    policies = replace(assistant, commit=Commit(200), on=ways, fixed_answer="No.", hedge=hedge)
    changed = replace(before, models={**before.models, "assistant": policies})
    assembly = Assembly(changed)
    try:
        asked = Request("POST", "/v1/chat/completions", fields={"model": "assistant"})
        plan = assembly.engine.dispatcher.router.plan(asked, NO_USAGE)
    finally:
        await assembly.aclose()
    assert (plan.commit, plan.fixed_answer, plan.hedge) == (Commit(200), "No.", hedge)
    (spare,) = plan.on["rate_limit"]
    assert (str(spare), spare.credential) == ("spare/gpt-6-luna", "main")


@pytest.mark.parametrize(
    ("place", "told"),
    [
        ("nowhere/store.db", "there is no folder"),
        ("file/store.db", "there is no folder"),
        ("closed/store.db", "cannot be written"),
    ],
)
async def test_a_store_that_cannot_be_made_is_told_with_its_folder(
    tmp_path, monkeypatch, place: str, told: str
):
    """No folder, no folder at all, no permission: one line each, and nothing is left behind."""
    (tmp_path / "file").touch()
    (tmp_path / "closed").mkdir(mode=0o500)
    real = os.access

    def access(path: Any, mode: int) -> bool:  # the superuser may write anywhere
        return Path(path).name != "closed" and real(path, mode)

    monkeypatch.setattr(os, "access", access)
    with pytest.raises(ConfigurationError) as caught:
        Assembly(replace(config(tmp_path), store=tmp_path / place))
    (problem,) = caught.value.problems
    assert problem.startswith("store: ")
    assert told in problem
    assert str((tmp_path / place).parent) in problem


async def test_a_relative_store_is_in_the_working_directory(tmp_path, monkeypatch):
    """The default store needs no folder of its own."""
    monkeypatch.chdir(tmp_path)
    assembly = Assembly(replace(config(tmp_path), store=Path("here.db")))
    await assembly.aclose()
    assert (tmp_path / "here.ledger.db").exists()


async def test_an_engine_that_cannot_be_built_lets_go_of_everything(tmp_path):
    """After a failed start the next one finds ledger and keys free."""
    good = config(tmp_path)
    with pytest.raises(ConfigurationError, match=r"upstreams\.up\.ca_file: .*ca\.pem"):
        Assembly(with_bad_authorities(good, tmp_path))
    await Assembly(good).aclose()


async def test_a_second_engine_on_a_ledger_is_refused_by_name(tmp_path):
    """Two gateways on one ledger would each write half of it: the second learns who has it."""
    async with ground(tmp_path) as it:
        with pytest.raises(ConfigurationError, match=str(os.getpid())):
            Assembly(it.assembly.config)
        assert await it.ask()


async def test_the_way_through_a_proxy_is_looked_at(tmp_path):
    """Behind a proxy it is the proxy that must be there; its password is decoded for it."""
    proxy = Secret("http://us%20er:p%40ss@127.0.0.2:3129")
    upstream = replace(config(tmp_path).upstreams["up"], proxy=proxy)
    assert place_of(upstream).host == "127.0.0.2"
    found = proxy_of(upstream)
    assert found is not None
    assert found.authorization == Secret("Basic dXMgZXI6cEBzcw==")
    plain = proxy_of(replace(upstream, proxy=Secret("http://127.0.0.2:3129")))
    assert plain is not None
    assert (plain.port, plain.authorization) == (3129, None)


async def test_everything_is_closed_once(tmp_path):
    """After the end no connection is open, the books are closed in order, a second end is none."""
    async with ground(tmp_path) as it:
        await it.assembly.start()
        await it.ask()
        await it.assembly.aclose()
        await it.assembly.aclose()
        assert all(one.statistics().open == 0 for one in it.assembly.clients.values())
        with pytest.raises(CallError):
            await it.ask()
    with sqlite3.connect(ledger_path(tmp_path / "store.db")) as books:
        assert books.execute("SELECT count(*) FROM boots WHERE closed_at IS NULL").fetchone() == (
            0,
        )
    books.close()


async def test_what_has_not_started_can_be_closed(tmp_path):
    """An engine that never served closes like any other."""
    assembly = Assembly(config(tmp_path))
    await assembly.aclose()
    assert assembly.ledger.statistics().rows == 0


class _Stubborn:
    """A clock whose first waits do not end when they are cancelled, but when `released` is set."""

    now, time = SystemClock.now, SystemClock.time
    call_later = staticmethod(SystemClock().call_later)

    def __init__(self) -> None:
        self.released = asyncio.Event()

    async def sleep(self, seconds: float) -> None:
        while not self.released.is_set():
            with suppress(asyncio.CancelledError):
                await self.released.wait()
                raise LookupError("a defect at the very end")
        await asyncio.sleep(seconds)


async def test_an_end_is_never_held_up(tmp_path, monkeypatch):
    """What does not end in the background is left behind after a while; the books are closed."""
    monkeypatch.setattr(build, "_CLOSE_SECONDS", 0.02)
    clock = _Stubborn()
    assembly = Assembly(config(tmp_path), clock=clock)
    await assembly.start()
    await ticks(3)
    await assembly.aclose()
    await Assembly(config(tmp_path)).aclose()
    clock.released.set()
    await ticks(5)


async def test_what_fails_in_the_background_is_told(tmp_path, monkeypatch, caplog):
    """A defect there is in the log at once, and does not keep anything from being closed."""
    async with ground(tmp_path) as it:

        async def fail() -> None:
            raise LookupError("a defect")

        monkeypatch.setattr(it.assembly.reachability, "follow", fail)
        await it.assembly.start()
        await ticks(3)
        assert "a defect" in caplog.text
        assert [one.levelno for one in caplog.records] == [logging.ERROR]
