"""`headworks serve`, as an operator types it: from nothing to a running gateway, or one clear line."""

import asyncio
import re
import signal
import socket
from contextlib import asynccontextmanager
from dataclasses import dataclass

import psutil
import pytest

from headworks.testing import WHOLE
from tests.cli.running import KEY, eventually, headworks, serving, write
from tests.upstream.scripted import Wire, serve, whole

pytestmark = pytest.mark.anyio

JSON = b"content-type: application/json\r\n"
FREE = {"HEADWORKS__SERVER__LISTEN": "127.0.0.1:0", "HEADWORKS__SERVER__ADMIN": "127.0.0.1:0"}


@asynccontextmanager
async def provider():
    """Answer every request; yield the port and what was asked."""
    seen: list[bytes] = []

    async def script(wire: Wire) -> None:
        while True:
            seen.append(await wire.request())
            await wire.send(whole(WHOLE, fields=JSON))

    async with serve(script) as server:
        yield server.port, seen


async def test_calls_have_a_file_of_their_own(tmp_path):
    """With `log.file` each call stands there and not in the log, and `headworks logs` shows it."""
    async with provider() as (port, _):
        file = write(tmp_path, port)
        file.write_text(file.read_text() + "log: {file: calls.jsonl}\n")
        async with serving(tmp_path) as it:
            reply = await it.ask()
            assert await it.stop() == 0
            assert reply.call not in it.log
        shown = await headworks(tmp_path, "logs", "--model", "assistant")
    assert reply.call in shown.out
    assert shown.code == 0


# Starting.


async def test_a_providers_key_alone_is_enough(tmp_path):
    """With OPENAI_API_KEY and no file, a key is made and told; it works, and nothing else does."""
    async with provider() as (port, seen):
        url = f"http://127.0.0.1:{port}/v1"
        given = {"OPENAI_API_KEY": "sk-provider", "OPENAI_BASE_URL": url, **FREE}
        async with serving(tmp_path, **given) as it:
            assert "Until this process ends" in it.said[0]
            assert "headworks keys create" in "".join(it.said)
            assert (await it.ask(it.made, model="gpt-6-sol")).status == 200
            assert (await it.ask("sk-provider")).status == 401
            assert await it.stop() == 0
            assert it.made not in it.log
    assert b"authorization: Bearer sk-provider\r\n" in seen[0]


async def test_with_nothing_at_all_the_ways_out_are_named(tmp_path):
    """One message says what is missing, and names init, the demo and the simulator."""
    done = await headworks(tmp_path, "serve")
    assert (done.code, done.out) == (1, "")
    for way in ("OPENAI_API_KEY", "headworks init", "headworks demo", "serve --simulate"):
        assert way in done.err
    assert "Traceback" not in done.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("key", [None, ""], ids=["unset", "empty"])
async def test_the_simulator_needs_no_key(tmp_path, key: str | None):
    """`serve --simulate` works on a machine that has no provider's key, not even an empty one."""
    given = FREE if key is None else {**FREE, "OPENAI_API_KEY": key}
    async with serving(tmp_path, "--simulate", **given) as it:
        assert (await it.ask(it.made, model="gpt-6-sol", max_completion_tokens=1)).status == 200
        assert await it.stop() == 0


async def test_the_simulator_takes_the_place_of_every_upstream(tmp_path):
    """A production file is tried out as it is: its models and keys, but no provider and no key of one."""
    file = write(tmp_path)
    file.write_text(file.read_text().replace("UPSTREAM_KEY", "OPENAI_API_KEY"))
    async with serving(tmp_path, "--simulate", "--config", str(file)) as it:
        assert len(it.said) == 1
        assert (await it.ask(KEY, max_completion_tokens=1)).status == 200


# What must be changed.


@dataclass(frozen=True)
class Case:
    """A start that cannot be, and what its one line says."""

    name: str
    told: str
    change: tuple[str, str] = ("", "")
    words: tuple[str, ...] = ()


CASES = (
    Case("no folder", "store: there is no folder", ("upstreams:", "store: sqlite:nowhere/x.db\nupstreams:")),
    Case("a folder that nobody may write", "/proc", ("upstreams:", "store: sqlite:/proc/x.db\nupstreams:")),
    Case("no such file", "cannot read this file", words=("--config", "nowhere.yaml")),
    Case("no such key in the environment", "UPSTREAM_KEI", ("UPSTREAM_KEY", "UPSTREAM_KEI")),
    Case("a CA file that holds none", "ca.pem", ("base_url: http://", "ca_file: ca.pem\n    base_url: https://")),
)  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_what_must_be_changed_is_one_line(tmp_path, case: Case):
    """The operator reads what and where, no traceback; the exit code is 1."""
    file = write(tmp_path)
    file.write_text(file.read_text().replace(*case.change))
    (tmp_path / "ca.pem").write_text("none")
    done = await headworks(tmp_path, "serve", *case.words)
    assert (done.code, done.out) == (1, "")
    (line,) = done.err.splitlines()
    assert line.startswith("headworks: ")
    assert case.told in line


async def test_all_mistakes_are_told_at_once(tmp_path):
    """Three mistakes in a file are three lines, each with its place."""
    file = write(tmp_path)
    file.write_text(file.read_text() + "retyr: {}\nlog: {level: loud}\nprices: {m: {input: x}}\n")
    done = await headworks(tmp_path, "serve")
    assert done.code == 1
    lines = done.err.splitlines()
    assert all(re.match(r"headworks: headworks\.yaml:\d+: ", line) for line in lines)
    assert [word for word in ("retyr", "log.level", "prices.m.input") if word not in done.err] == []


async def test_a_busy_port_is_named_and_no_key_is_made(tmp_path):
    """One line names setting and address; no key is shown that would never work."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        given = {**FREE, "HEADWORKS__SERVER__ADMIN": address, "OPENAI_API_KEY": "sk-x"}
        done = await headworks(tmp_path, "serve", **given)
    assert (done.code, done.out) == (1, "")
    (line,) = done.err.splitlines()
    assert "server.admin" in line
    assert address in line


async def test_a_second_gateway_on_the_same_books_is_told_who_has_them(tmp_path):
    """The line names the other process; the first gateway goes on."""
    write(tmp_path)
    async with serving(tmp_path) as it:
        done = await headworks(tmp_path, "serve")
        assert done.code == 1
        (line,) = done.err.splitlines()
        assert str(it.process.pid) in line
        assert (await it.ready())[0] == 200


# What it costs.


async def test_a_gateway_is_light(tmp_path):
    """Idle it holds under 80 MB, and it never loads what it does not need."""
    write(tmp_path)
    async with serving(tmp_path, PYTHONPROFILEIMPORTTIME="1") as it:
        resident = psutil.Process(it.process.pid).memory_info().rss
        assert await it.stop() == 0
        loaded = set(re.findall(r"\| +([\w.]+)$", it.log, re.MULTILINE))
    assert resident < 80_000_000
    assert "headworks.build" in loaded
    unneeded = {"openai", "httpx", "httpx2", "toktok", "rich", "headworks.simulator"}
    assert loaded & unneeded == set()


async def test_nobody_has_to_read_what_it_says(tmp_path):
    """`headworks serve | head -1`: a closed pipe ends neither the service nor its orderly end."""
    write(tmp_path)
    async with serving(tmp_path) as it:
        transport = it.process._transport.get_pipe_transport(1)  # type: ignore[attr-defined]  # to close it
        transport.close()
        reader, writer = await asyncio.open_connection("127.0.0.1", it.ports[0])
        writer.write(b"POST /v1/files HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\n")
        await eventually(it.is_busy)
        it.signal(signal.SIGTERM)
        await eventually(it.is_draining)
        writer.write(b"12345")
        assert b" 401 " in await reader.read()
        writer.close()
        assert await it.ended() == 0
        assert "Traceback" not in it.log
