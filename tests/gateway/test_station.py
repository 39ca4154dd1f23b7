"""A running gateway follows its configuration, shows its state, and never stops for a bad file."""

import asyncio
import json
import logging
import re
import socket
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from headworks.build import Assembly
from headworks.config.loading import load
from headworks.config.settings import Config
from headworks.errors import ConfigurationError
from headworks.gateway import station as station_module
from headworks.gateway.server import Server
from headworks.gateway.station import Station
from headworks.observe.metrics import Family
from headworks.system import SystemClock
from headworks.testing import EVENTS
from headworks.upstream import probe
from tests.faults.processes import ask, chat, request
from tests.ground import DOCUMENT, KEY, answering
from tests.upstream.scripted import Wire, chunked, serve, until

pytestmark = pytest.mark.anyio

DOCS = Path(__file__).parents[2] / "docs" / "metrics.md"
ON_FREE_PORTS = 'server: {listen: "127.0.0.1:0", admin: "127.0.0.1:0"}\n'
SSE = b"content-type: text/event-stream\r\n"
OTHER = "other-key-0123456789"


@pytest.fixture
def anyio_backend():
    return "asyncio", {"use_uvloop": True}


class Hasty:
    """The machine's clock, on which nobody waits longer than 5 ms."""

    now, time = SystemClock.now, SystemClock.time
    call_later = staticmethod(SystemClock().call_later)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(min(seconds, 0.005))


@dataclass
class Ground:
    """A gateway on real sockets, its file and how often it was read."""

    station: Station
    server: Server
    file: Path
    threads: list[threading.Thread] = field(default_factory=list)

    @property
    def port(self) -> int:
        return int(self.server.url.rpartition(":")[2])

    async def ask(self, key: str = KEY, **fields: Any) -> int:
        """Make a call and return its status."""
        return (await ask(self.port, chat(key=key, **fields))).status

    async def admin(self, path: str) -> bytes:
        """Return what the admin plane says."""
        port = int(self.server.admin_url.rpartition(":")[2])
        headers = {"host": "localhost"}
        return (await ask(port, request(b"", line=f"GET {path} HTTP/1.1", headers=headers))).body

    async def ready(self) -> Any:
        return json.loads(await self.admin("/readyz"))

    async def samples(self) -> dict[str, float]:
        """Return each metric with its labels as Prometheus writes them, and its value."""
        families = text_string_to_metric_families((await self.admin("/metrics")).decode())
        return {
            ",".join((sample.name, *sorted(sample.labels.values()))): sample.value
            for one in families
            for sample in one.samples
        }

    async def point_nowhere(self) -> int:
        """Let both upstreams lead to a port where nobody listens, and return the port."""
        with socket.create_server(("127.0.0.1", 0)) as unused:
            port: int = unused.getsockname()[1]
        before = self.station.assembly.config.upstreams["up"].base_url
        self.write((before, f"http://127.0.0.1:{port}/v1"))
        config = self.station.assembly
        await until(lambda: config.config.upstreams["up"].base_url != before)
        return port

    def write(self, change: tuple[str, str]) -> None:
        """Replace a part of the file."""
        before = self.file.read_text()
        assert change[0] in before
        self.file.write_text(before.replace(*change))


@asynccontextmanager
async def gateway(folder: Path, script: Any = answering, more: str = "") -> AsyncIterator[Ground]:
    """Run a gateway by a file in `folder`, before a scripted provider."""
    file = folder / "headworks.yaml"
    threads: list[threading.Thread] = []

    def read() -> Config:
        threads.append(threading.current_thread())
        return load(file, {})

    async with serve(script) as provider:
        document = DOCUMENT.format(folder=folder, port=provider.port, key=KEY)
        file.write_text(ON_FREE_PORTS + document + more)
        station = Station(Assembly(read(), clock=Hasty()), read)
        server = station.server(announce=lambda _: None)
        life = asyncio.ensure_future(server.run())
        await server.ready.wait()
        try:
            yield Ground(station, server, file, threads)
        finally:
            server.stop(at_once=True)
            await life


# State.


async def test_every_metric_is_documented_and_shown(tmp_path):
    """docs/metrics.md lists what a gateway shows, all of it and nothing else, as it is."""
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| (.*?) \| (.*) \|$", DOCS.read_text(), re.MULTILINE)
    documented = [
        Family(name, kind, tuple(re.findall(r"`(\w+)`", labels)), text)
        for name, kind, labels, text in rows
    ]
    async with gateway(tmp_path, more="budget: {usd: 1000}\n") as it:
        assert documented == list(it.station.assembly.metrics.families())
        assert await it.ask() == 200
        await until(lambda: it.station.assembly.reachability.states()["up"] != "unknown")
        shown = {name.partition(",")[0] for name in await it.samples()}
    state = {one.name for one in documented[documented.index(UP) :]}
    assert state <= shown


UP = Family(
    "headworks_upstream_up",
    "gauge",
    ("upstream",),
    "1 if a connection to the upstream came about at the last look, 0 if not.",
)


async def test_a_scrape_shows_calls_connections_and_books(tmp_path):
    """What is under way, what the pool holds and what the ledger has seen: true at each scrape."""
    held = asyncio.Event()

    async def script(wire: Wire) -> None:
        await wire.request()
        await held.wait()
        await wire.send(chunked(*EVENTS).replace(b"OK\r\n", b"OK\r\n" + SSE))
        await wire.gone()

    async with gateway(tmp_path, script) as it:
        call = asyncio.ensure_future(it.ask(stream=True))
        await until(lambda: it.station.assembly.ledger.statistics().open_holds == 1)
        await until(lambda: it.station.assembly.reachability.states()["up"] != "unknown")
        during = await it.samples()
        held.set()
        assert await call == 200
        after = await it.samples()
    expected = {
        "headworks_in_flight": 1,
        "headworks_upstream_connections_busy,up": 1,
        "headworks_upstream_connections_open,spare": 0,
        "headworks_ledger_open_holds": 1,
        "headworks_ledger_rows": 1,
        "headworks_upstream_up,up": 1,
        "headworks_keys,configured": 1,
        "headworks_keys,stored": 0,
        "headworks_key_store_readable": 1,
        "headworks_configuration_current": 1,
        "headworks_journal_failures_total,Metrics": 0,
    }
    assert {name: during[name] for name in expected} == expected
    assert after["headworks_in_flight"] == 0
    assert after["headworks_ledger_open_holds"] == 0
    assert after["headworks_upstream_connections_opened_total,up"] == 1
    assert after["headworks_calls_total,assistant,completed,first"] == 1


async def test_upstreams_are_seen_and_set_on_the_admin_port(tmp_path):
    """An operator takes an upstream out, callers are told, and every view agrees."""
    order = b'{"state": "open"}'
    headers = {"host": "localhost", "content-type": "application/json"}
    line = "POST /api/upstreams/up/breaker HTTP/1.1"
    async with gateway(tmp_path) as it:
        assert await it.ask() == 200
        before = await it.samples()
        port = int(it.server.admin_url.rpartition(":")[2])
        told = await ask(port, request(order, line=line, headers=headers))
        assert (told.status, json.loads(told.body)["forced"]) == (200, "open")
        assert await it.ask() == 503
        up, spare = json.loads(await it.admin("/api/upstreams"))["upstreams"]
        after = await it.samples()
    assert [(one["model"], one["state"]) for one in up["routes"]] == [("gpt-6-sol", "open")]
    assert (spare["name"], spare["routes"]) == ("spare", [])
    state = "headworks_breaker_state,up/gpt-6-sol"
    assert (before[state], after[state]) == (0, 2)
    assert after["headworks_breaker_state,spare/gpt-6-luna"] == 0
    assert after["headworks_calls_total,assistant,circuit_open,first"] == 1
    told_to_return = 1
    assert after["headworks_retry_budget_left,up"] == 30 - told_to_return


async def test_an_upstream_may_come_late(tmp_path, monkeypatch):
    """The gateway starts without its provider, says degraded, and answers as soon as it is there."""
    monkeypatch.setattr(probe, "SOON", 0.01)

    async def answer_one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            await answering(Wire(reader, writer))
        writer.close()

    async with gateway(tmp_path) as it:
        port = await it.point_nowhere()
        states = it.station.assembly.reachability.states
        await until(lambda: set(states().values()) == {"degraded"})
        told = await it.ready()
        assert (told["status"], told["degraded"]) == ("ready", ["spare", "up"])
        assert (await it.samples())["headworks_upstream_up,up"] == 0
        refused = await ask(it.port, chat(key=KEY))
        assert (refused.status, refused.error["code"]) == (502, "upstream_unreachable")
        assert refused.error.keys() == {"message", "type", "param", "code"}
        async with await asyncio.start_server(answer_one, "127.0.0.1", port):
            assert await it.ask() == 200
            await until(lambda: set(states().values()) == {"reachable"})
            assert (await it.ready())["degraded"] == []


# Reload.


async def test_a_changed_file_takes_effect(tmp_path):
    """A new key works, the removed one gets 401; the file is read beside the loop, not on it."""
    async with gateway(tmp_path) as it:
        assert (await it.ask(), await it.ask(OTHER)) == (200, 401)
        it.write((KEY, OTHER))
        await until(lambda: len(it.threads) > 1)
        await until(lambda: it.station.assembly.config.keys[0].secret.reveal() == OTHER)
        assert (await it.ask(), await it.ask(OTHER)) == (401, 200)
        assert it.threads[-1] is not threading.main_thread()


async def test_a_signal_reloads_even_if_no_file_changed(tmp_path, caplog):
    """SIGHUP reads everything again: variables and files that references name may differ."""
    caplog.set_level(logging.INFO, logger="headworks")
    async with gateway(tmp_path) as it:
        it.server.hooks.on_reload()
        await until(lambda: "configuration reloaded" in caplog.text)
        assert len(it.threads) == 2


async def test_an_invalid_file_changes_nothing_and_is_told(tmp_path, caplog):
    """The old configuration serves; /readyz, the log and a metric say why; the next file counts."""
    async with gateway(tmp_path) as it:
        it.write(("retry:", "rettry:"))
        await until(lambda: it.station.configuration != "current")
        told = await it.ready()
        assert told["status"] == "ready"
        assert "rettry" in told["configuration"]
        assert "did you mean 'retry'?" in told["configuration"]
        assert "the old one stays" in caplog.text
        assert (await it.samples())["headworks_configuration_current"] == 0
        assert await it.ask() == 200
        it.write(("rettry:", "retry:"))
        await until(lambda: it.station.configuration == "current")
        assert (await it.ready())["configuration"] == "current"


@pytest.mark.parametrize(
    "error", [ConfigurationError(["line 1: one", "line 2: two"]), OSError("x")]
)
async def test_whatever_goes_wrong_in_a_reload_the_old_one_serves(
    tmp_path, monkeypatch, caplog, error: Exception
):
    """Every problem is in the log, the first one in /readyz; nothing ends."""
    async with gateway(tmp_path) as it:

        async def fail(_config: Config) -> None:
            raise error

        with monkeypatch.context() as broken:
            broken.setattr(it.station.assembly, "reload", fail)
            await it.station.reload()
        assert it.station.configuration.startswith("old kept: ")
        problems = error.problems if isinstance(error, ConfigurationError) else ("see the log",)
        assert all(problem in caplog.text for problem in problems)
        assert await it.ask() == 200
        await it.station.reload()
        assert it.station.configuration == "current"


async def test_odd_things_in_a_new_file_are_told(tmp_path, caplog):
    """A reload warns as a start does."""
    async with gateway(tmp_path) as it:
        it.write(("first, secret", "first, models: [nowhere], secret"))
        await until(lambda: "no route leads to 'nowhere'" in caplog.text)


async def test_files_that_a_reload_brings_are_followed(tmp_path):
    """A secret that the new file refers to is watched from then on, like the file itself."""
    secret = tmp_path / "secret"
    secret.write_text(OTHER)
    async with gateway(tmp_path) as it:
        it.write((f"secret: {KEY}", f"secret: '${{file:{secret}}}'"))
        await until(lambda: secret in it.station.assembly.config.files)
        assert await it.ask(OTHER) == 200
        secret.write_text(OTHER + "-rotated")
        await until(lambda: it.station.assembly.config.keys[0].secret.reveal() != OTHER)
        assert (await it.ask(OTHER), await it.ask(OTHER + "-rotated")) == (401, 200)


async def test_a_stream_runs_on_through_a_reload(tmp_path):
    """A caller in the middle of an answer does not notice that its upstream changed."""
    reloaded = asyncio.Event()

    async def script(wire: Wire) -> None:
        await wire.request()
        first, *rest = EVENTS
        await wire.send(chunked(first)[:-5].replace(b"OK\r\n", b"OK\r\n" + SSE))
        await reloaded.wait()
        await wire.send(chunked(*rest).partition(b"\r\n\r\n")[2])

    async with gateway(tmp_path, script) as it:
        call = asyncio.ensure_future(ask(it.port, chat(key=KEY, stream=True)))
        await until(lambda: it.station.lifecycle.in_flight == 1)
        it.write(("api_key: sk-simulator}", "api_key: sk-simulator-9}"))
        before = it.station.assembly.clients["up"]
        await until(lambda: it.station.assembly.clients["up"] is not before)
        reloaded.set()
        reply = await call
    assert (reply.status, reply.has_ended) == (200, True)
    assert reply.body.endswith(b"data: [DONE]\n\n")


async def test_the_end_does_not_wait_for_a_reload(tmp_path, monkeypatch):
    """A gateway that is told to stop while a slow file is read stops all the same."""
    monkeypatch.setattr(station_module, "_STOP_SECONDS", 0.05)
    begun, free = threading.Event(), threading.Event()
    async with gateway(tmp_path) as it:

        def slow() -> Config:
            begun.set()
            free.wait(10)
            return it.station.assembly.config

        monkeypatch.setattr(it.station, "_load", slow)
        it.server.hooks.on_reload()
        await until(begun.is_set)
    free.set()
    assert it.server.ended.is_set()


async def test_an_address_that_is_taken_is_told_before_anything_starts(tmp_path):
    """A second gateway on the same port is refused with the setting's name."""
    async with gateway(tmp_path) as it:
        taken = it.server.url.removeprefix("http://")
        file = it.file.read_text().replace("127.0.0.1:0", taken, 1)
        file = file.replace("store.db", "second.db")
        config = load(it.file, {}, lambda _: file.encode())
        second = Assembly(replace(config, files=()))
        with pytest.raises(ConfigurationError, match=r"server\.listen: cannot listen"):
            Station(second, lambda: config).server(announce=lambda _: None)
        await second.aclose()
