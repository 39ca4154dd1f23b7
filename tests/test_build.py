"""An engine is put together whole or not at all, changed whole or not at all, and always closed."""

import asyncio
import json
import logging
import os
import re
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from headworks import build
from headworks.build import RESTART_ONLY, Assembly
from headworks.config.loading import load
from headworks.config.settings import Config, KeyConfig, PriceConfig, UpstreamConfig
from headworks.core.intake import read_request
from headworks.errors import CallError, ConfigurationError, Unauthenticated
from headworks.stores.ledger_schema import ledger_path
from headworks.stores.usage import usage
from headworks.system import SystemClock
from headworks.testing import EVENTS, WHOLE, RecordingJournal
from headworks.types import Secret
from tests.upstream.scripted import Server, Wire, chunked, serve, ticks, whole

pytestmark = pytest.mark.anyio

KEY = "first-key-0123456789"
OTHER = "other-key-0123456789"
DOCUMENT = """\
store: sqlite:{folder}/store.db
upstreams:
  up:
    base_url: http://127.0.0.1:{port}/v1
    credentials: [{{name: main, api_key: sk-simulator}}]
  spare:
    base_url: http://127.0.0.1:{port}/v1
    credentials: [{{name: main, api_key: sk-simulator-2}}]
models:
  assistant: {{routes: [up/gpt-6-sol]}}
  other: {{routes: [spare/gpt-6-luna]}}
keys: [{{name: first, secret: {key}}}]
retry: {{first: 10ms, longest: 20ms}}
"""


def config(folder: Path, port: int = 1) -> Config:
    """Return a configuration with two upstreams at one place."""
    content = DOCUMENT.format(folder=folder, port=port, key=KEY).encode()
    return load(Path("headworks.yaml"), {}, lambda _: content)


def changed(before: Config, name: str, **changes: Any) -> Config:
    """Return a configuration in which one upstream differs."""
    upstreams = dict(before.upstreams)
    upstreams[name] = replace(upstreams[name], **changes)
    return replace(before, upstreams=upstreams)


def credential(upstream: UpstreamConfig, secret: str) -> Any:
    return (replace(upstream.credentials[0], api_key=Secret(secret)),)


async def answering(wire: Wire) -> None:
    while True:
        await wire.request()
        await wire.send(whole(WHOLE, fields=b"content-type: application/json\r\n"))


@dataclass
class Ground:
    """An assembly before a scripted provider."""

    assembly: Assembly
    server: Server

    async def ask(self, model: str = "assistant", *, key: str = KEY, stream: bool = False) -> bytes:
        """Make a call and return its answer."""
        body = json.dumps({"model": model, "messages": [], "stream": stream}).encode()
        kind = ((b"content-type", b"application/json"),)
        request = read_request("POST", "/v1/chat/completions", b"", kind, body)
        async with self.assembly.engine.call(request, Secret(key)) as response:
            content = response.content
            if isinstance(content, bytes):
                return content
            return b"".join([chunk async for chunk in content])


@asynccontextmanager
async def ground(folder: Path, script: Any = answering, **options: Any) -> AsyncIterator[Ground]:
    async with serve(script) as server:
        assembly = Assembly(config(folder, server.port), **options)
        try:
            yield Ground(assembly, server)
        finally:
            await assembly.aclose()


# Opening.


async def test_a_call_goes_all_the_way(tmp_path):
    """Configuration in, answer out: authenticated, routed, booked at the catalogue's price."""
    journal = RecordingJournal()
    async with ground(tmp_path, journals=(journal,)) as it:
        assert json.loads(await it.ask())["object"] == "chat.completion"
        with pytest.raises(Unauthenticated):
            await it.ask(key=OTHER)
    assert journal.outcomes == ["completed", "invalid_api_key"]
    booked = usage(ledger_path(tmp_path / "store.db"), by=["model"]).total
    assert (booked.calls, booked.open) == (1, 0)
    assert booked.cost_nano


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


def with_bad_authorities(before: Config, folder: Path) -> Config:
    (folder / "ca.pem").write_text("no certificate")
    return changed(before, "up", base_url="https://127.0.0.1:1/v1", ca_file=folder / "ca.pem")


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
    assert build._place(upstream).host == "127.0.0.2"
    found = build._proxy(upstream)
    assert found is not None
    assert found.authorization == Secret("Basic dXMgZXI6cEBzcw==")
    plain = build._proxy(replace(upstream, proxy=Secret("http://127.0.0.2:3129")))
    assert plain is not None
    assert (plain.port, plain.authorization) == (3129, None)


# Reloading.


async def test_a_reload_changes_keys_prices_and_models(tmp_path):
    """What is new works at once, what is gone is refused at once."""
    async with ground(tmp_path) as it:
        before = it.assembly.config
        key = KeyConfig("other", Secret(OTHER))
        models = {"new": before.models["assistant"]}
        prices = {"gpt-6-sol": PriceConfig(1_000_000, 2_000_000)}
        await it.assembly.reload(replace(before, keys=(key,), models=models, prices=prices))
        assert await it.ask("new", key=OTHER)
        with pytest.raises(Unauthenticated):
            await it.ask("new")
        request = read_request("GET", "/v1/models", b"", (), b"")
        async with it.assembly.engine.call(request, Secret(OTHER)) as listed:
            assert isinstance(listed.content, bytes)
            assert [one["id"] for one in json.loads(listed.content)["data"]] == ["new"]
    booked = usage(ledger_path(tmp_path / "store.db"), by=["model"])
    assert booked.total.cost_nano == 3 * 1 + 4 * 2


async def test_connections_outlive_a_reload_that_does_not_concern_them(tmp_path):
    """An unchanged upstream goes on with its connections; a changed one begins anew."""
    async with ground(tmp_path) as it:
        await it.ask("assistant")
        await it.ask("other")
        before = it.assembly.clients
        config_ = it.assembly.config
        spare = config_.upstreams["spare"]
        await it.assembly.reload(
            changed(config_, "spare", credentials=credential(spare, "sk-simulator-3"))
        )
        after = it.assembly.clients
        assert after["up"] is before["up"]
        assert after["up"].statistics().open == 1
        assert after["spare"] is not before["spare"]
        await it.ask("other")
        assert after["spare"].statistics().opened_total == 1
        assert it.server.accepted == 3
    assert before["spare"].statistics().open == 0


async def test_equal_files_make_equal_upstreams(tmp_path):
    """Reading the same file again changes no connection: secrets are compared, not their boxes."""
    async with ground(tmp_path) as it:
        before = it.assembly.clients
        await it.assembly.reload(config(tmp_path, it.server.port))
        assert it.assembly.clients == before


async def test_a_file_of_authorities_is_read_again(tmp_path):
    """A CA file that was replaced in place takes effect though its name is the same."""
    ca_file = Path(__file__)
    async with ground(tmp_path) as it:
        same = changed(it.assembly.config, "up", ca_file=ca_file)  # http: it is not opened
        await it.assembly.reload(same)
        before = it.assembly.clients
        await it.assembly.reload(same)
        assert it.assembly.clients["up"] is not before["up"]
        assert it.assembly.clients["spare"] is before["spare"]


BAD = {
    "two keys with one secret": lambda good, _: replace(
        good, keys=(KeyConfig("a", Secret(OTHER)), KeyConfig("b", Secret(OTHER)))
    ),
    "authorities that are none": with_bad_authorities,
}


@pytest.mark.parametrize("bad", BAD)
async def test_a_reload_that_fails_changes_nothing(tmp_path, bad: str):
    """The old configuration stays as a whole: keys, models, connections and prices."""
    async with ground(tmp_path) as it:
        await it.ask()
        before = it.assembly
        kept = (before.config, before.engine, before.clients, before.ledger.prices)
        broken = replace(BAD[bad](before.config, tmp_path), models={}, prices={})
        with pytest.raises(ConfigurationError):
            await it.assembly.reload(broken)
        after = it.assembly
        assert all(
            one is other
            for one, other in zip(
                kept, (after.config, after.engine, after.clients, after.ledger.prices), strict=True
            )
        )
        assert await it.ask()


async def test_what_only_a_start_can_change_is_told_and_kept(tmp_path, caplog):
    """The operator is warned, and what is in force stays what was started with."""
    async with ground(tmp_path) as it:
        before = it.assembly.config
        after = replace(
            before,
            server=replace(before.server, max_body=1),
            store=tmp_path / "elsewhere.db",
            key_pepper=Secret("another pepper, long enough"),
            log=replace(before.log, level="debug"),
            prices={"m": PriceConfig(1, 1)},
        )
        await it.assembly.reload(after)
        assert it.assembly.config == replace(before, prices=after.prices)
        warned = re.findall(r"a change of (\w+) takes effect at the next start", caplog.text)
        assert sorted(warned) == sorted(RESTART_ONLY)
        assert await it.ask()
    assert not (tmp_path / "elsewhere.db").exists()


def test_what_only_a_start_can_change_is_documented():
    """docs/configuration.md names each such section where it speaks of reloading."""
    text = (Path(__file__).parents[1] / "docs" / "configuration.md").read_text()
    reload = text.partition("## Reload\n")[2].partition("\n## ")[0]
    named = re.findall(r"`(\w+)`", reload.partition("changes nothing")[2])
    assert sorted(named) == sorted(RESTART_ONLY)


async def test_a_stream_outlives_a_reload(tmp_path):
    """Calls under way end as they began, though their upstream changed or went."""
    reloaded = asyncio.Event()

    async def script(wire: Wire) -> None:
        await wire.request()
        first, *rest = EVENTS
        head, end = chunked(first)[:-5].replace(b"OK\r\n", b"OK\r\n" + SSE), chunked(*rest)
        await wire.send(head)
        await reloaded.wait()
        await wire.send(end.partition(b"\r\n\r\n")[2])

    async with ground(tmp_path, script) as it:
        call = asyncio.ensure_future(it.ask(stream=True))
        while not it.server.accepted:
            await ticks(1)
        before = it.assembly.config
        upstreams = {"spare": before.upstreams["spare"]}
        models = {"other": before.models["other"]}
        await it.assembly.reload(replace(before, upstreams=upstreams, models=models))
        reloaded.set()
        assert (await call).endswith(b"data: [DONE]\n\n")
    booked = usage(ledger_path(tmp_path / "store.db"), by=["model"]).total
    assert (booked.input, booked.output, booked.open) == (3, 4, 0)


SSE = b"content-type: text/event-stream\r\n"


async def test_a_call_that_waits_to_try_again_outlives_a_reload(tmp_path):
    """No call fails because its upstream was changed between two of its attempts."""
    busy = whole(b"", 503, b"retry-after-ms: 50\r\n")
    answers = iter([busy, whole(WHOLE, fields=b"content-type: application/json\r\n")])

    async def script(wire: Wire) -> None:
        while True:
            await wire.request()
            await wire.send(next(answers))

    async with ground(tmp_path, script) as it:
        call = asyncio.ensure_future(it.ask())
        while not it.assembly.ledger.statistics().rows:
            await ticks(1)
        before = it.assembly.config
        for number in range(3):
            up = before.upstreams["up"]
            new = credential(up, f"sk-simulator-{number}")
            await it.assembly.reload(changed(before, "up", credentials=new))
        assert json.loads(await call)["object"] == "chat.completion"


async def test_new_names_are_counted_by_name(tmp_path):
    """A model that a reload brings, and every model of the catalogue, has a series of its own."""
    async with ground(tmp_path) as it:
        before = it.assembly.config
        await it.assembly.reload(replace(before, models={"new": before.models["assistant"]}))
        await it.ask("new")
        await it.ask("gpt-6-sol")
        await it.ask("invented")
        families = dict(it.assembly.metrics.samples())
        calls = next(
            found for one, found in families.items() if one.name == "headworks_calls_total"
        )
    assert {labels[0] for _, labels, _ in calls} == {"new", "gpt-6-sol", "other"}


async def test_new_upstreams_are_looked_at(tmp_path):
    """Which upstreams are there is known of the new configuration, not of the old one."""
    async with ground(tmp_path) as it:
        await it.assembly.reachability.look()
        before = it.assembly.config
        upstreams = {"up": before.upstreams["up"], "fresh": before.upstreams["spare"]}
        await it.assembly.reload(replace(before, upstreams=upstreams, models={}))
        assert it.assembly.reachability.states() == {"up": "reachable", "fresh": "unknown"}


# Closing.


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
