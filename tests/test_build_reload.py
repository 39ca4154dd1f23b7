"""A running engine is changed whole or not at all, and no call fails for it."""

import asyncio
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from headworks.build import RESTART_ONLY
from headworks.config.settings import KeyConfig, LedgerConfig, PriceConfig, UpstreamConfig
from headworks.core.breaker import BreakerRules
from headworks.core.grants import Grant
from headworks.core.intake import read_request
from headworks.errors import CircuitOpen, ConfigurationError, Unauthenticated
from headworks.stores.ledger_schema import ledger_path
from headworks.stores.usage import usage
from headworks.testing import EVENTS, WHOLE
from headworks.types import Secret
from tests.ground import OTHER, changed, config, ground, with_bad_authorities
from tests.upstream.scripted import Wire, chunked, ticks, whole

pytestmark = pytest.mark.anyio


def credential(upstream: UpstreamConfig, secret: str) -> Any:
    return (replace(upstream.credentials[0], api_key=Secret(secret)),)


async def test_a_reload_changes_keys_prices_and_models(tmp_path):
    """What is new works at once, what is gone is refused at once."""
    async with ground(tmp_path) as it:
        before = it.assembly.config
        key = KeyConfig(Grant("other"), Secret(OTHER))
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
    booked = usage(ledger_path(tmp_path / "store.db"))
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


async def test_health_outlives_a_reload_that_does_not_concern_it(tmp_path):
    """What is known of a route stays, under the new rules; an upstream that leads elsewhere begins anew."""
    async with ground(tmp_path) as it:
        health, before = it.assembly.health, it.assembly.config
        for name in ("up", "spare"):
            assert health.force(name, "open")
        with pytest.raises(CircuitOpen):
            await it.ask("assistant")
        with pytest.raises(CircuitOpen):
            await it.ask("other")
        rules = BreakerRules(calls=7)
        after = changed(before, "up", breaker=rules)
        spare = before.upstreams["spare"]
        after = changed(after, "spare", credentials=credential(spare, "sk-simulator-3"))
        await it.assembly.reload(after)
        with pytest.raises(CircuitOpen):
            await it.ask("assistant")
        assert await it.ask("other")
        (track,) = (one for key, one in health._tracks.items() if key[0] == "up")
        assert track.breaker.rules == rules


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
        good, keys=(KeyConfig(Grant("a"), Secret(OTHER)), KeyConfig(Grant("b"), Secret(OTHER)))
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
            ledger=LedgerConfig(survives_power_cut=True),
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
    booked = usage(ledger_path(tmp_path / "store.db")).total
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
