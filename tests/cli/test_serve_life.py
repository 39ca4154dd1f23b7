"""A running gateway: what changes without a restart, and how it ends."""

import asyncio
import json
import re
import signal
import sqlite3
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from headworks.testing import EVENTS, WHOLE
from tests.cli.running import KEY, OTHER, SECRET, Serving, eventually, headworks, serving, write
from tests.faults.processes import Line, Reply, chat, line_to
from tests.upstream.scripted import Wire, chunked, serve, whole

pytestmark = pytest.mark.anyio

JSON = b"content-type: application/json\r\n"
SSE = b"content-type: text/event-stream\r\n"


@dataclass
class Provider:
    """Answers at once; a stream waits for `go` after its first event."""

    port: int = 0
    seen: list[bytes] = field(default_factory=list)
    go: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, wire: Wire) -> None:
        while True:
            asked = await wire.request()
            self.seen.append(asked)
            if b'"stream":true' not in asked.replace(b" ", b""):
                await wire.send(whole(WHOLE, fields=JSON))
                continue
            first, *rest = EVENTS
            await wire.send(chunked(first)[:-5].replace(b"OK\r\n", b"OK\r\n" + SSE))
            await self.go.wait()
            await wire.send(chunked(*rest).partition(b"\r\n\r\n")[2])


@asynccontextmanager
async def provider():
    answers = Provider()
    async with serve(answers) as server:
        answers.port = server.port
        yield answers


def rows(folder: Path) -> list[tuple[str, str, str]]:
    """Return state, certainty and outcome of every attempt in the books."""
    with closing(sqlite3.connect(folder / "headworks.ledger.db")) as books:
        return books.execute("SELECT state, certainty, outcome FROM attempts").fetchall()


# What changes without a restart.


async def test_keys_come_and_go_while_it_serves(tmp_path):
    """Created, rotated with overlap, revoked: each is effective within a second."""
    write(tmp_path)

    async def made(*words: str) -> str:
        done = await headworks(tmp_path, "keys", *words, "--json")
        assert done.code == 0, done.err
        return str(json.loads(done.out)["secret"])

    async with provider() as up:
        write(tmp_path, up.port)
        async with serving(tmp_path) as it:

            def works(key: str, *, is_in: bool = True) -> Any:
                async def asked() -> bool:
                    return (await it.ask(key)).status == (200 if is_in else 401)

                return asked

            first = await made("create", "--name", "web")
            assert await eventually(works(first)) < 1
            second = await made("rotate", "web", "--overlap", "1h")
            assert await eventually(works(second)) < 1
            assert await works(first)()
            assert (await headworks(tmp_path, "keys", "revoke", "web")).code == 0
            assert await eventually(works(second, is_in=False)) < 1
            assert await works(KEY)()


async def test_a_changed_file_takes_effect_by_itself(tmp_path):
    """Within a second or so the new key works and the old one is refused, without a signal."""
    async with provider() as up:
        write(tmp_path, up.port)
        async with serving(tmp_path) as it:
            assert (await it.ask(OTHER)).status == 401
            write(tmp_path, up.port, key=OTHER)

            async def is_changed() -> bool:
                return (await it.ask(OTHER)).status == 200

            assert await eventually(is_changed, 5) < 2
            assert (await it.ask(KEY)).status == 401


async def test_a_signal_takes_a_new_file_at_once(tmp_path):
    """SIGHUP: bad files are refused with their reason, good ones taken, new secrets never logged."""
    async with provider() as up:
        file = write(tmp_path, up.port)
        good = file.read_text()
        (tmp_path / "secret").write_text("sk-simulator-from-a-file")
        async with serving(tmp_path) as it:

            async def told(word: str) -> bool:
                return word in str((await it.ready())[1]["configuration"])

            file.write_text(good + "retyr: {}\n")
            it.signal(signal.SIGHUP)
            await eventually(lambda: told("retyr"))
            assert (await it.ask()).status == 200
            changed = good.replace("${env:UPSTREAM_KEY}", "${file:secret}").replace("10s", "20s")
            file.write_text(changed)
            it.signal(signal.SIGHUP)
            await eventually(lambda: told("current"))
            user = {"x-headworks-user": "sk-simulator-from-a-file"}
            async with line_to(it.ports[0]) as line:
                assert (await line.ask(chat(key=KEY, headers=user))).status == 200
            assert await it.stop() == 0
    assert b"Bearer sk-simulator-from-a-file\r\n" in up.seen[-1]
    assert "a change of server takes effect at the next start" in it.log
    assert "sk-simulator-from-a-file" not in it.log
    assert SECRET not in it.log


# How it ends.


@dataclass
class Streaming:
    """A gateway in the middle of a stream."""

    it: Serving
    up: Provider
    line: Line
    reply: Reply


@asynccontextmanager
async def streaming(folder: Path, *, drain: str = "10s"):
    """Run a gateway and a caller that has received its first event."""
    async with provider() as up:
        write(folder, up.port, drain=drain)
        async with serving(folder) as it, line_to(it.ports[0]) as line:
            line.writer.write(chat(key=KEY, stream=True))
            reply = Reply()
            await line.head(reply)
            first = await line.reader.readuntil(b"\n\n")
            assert b"Hel" in first
            yield Streaming(it, up, line, reply)


async def rest(line: Line) -> bytes:
    """Return what still comes, until the connection ends."""
    try:
        return await line.reader.read()
    except ConnectionError:
        return b""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_stream_is_finished_before_the_end(tmp_path, number: signal.Signals):
    """Not ready from the signal on, the stream goes on to its last byte, all is booked, code 0."""
    async with streaming(tmp_path) as at:
        at.it.signal(number)
        assert await eventually(at.it.is_draining) < 1
        at.up.go.set()
        assert b"data: [DONE]\n\n" in await rest(at.line)
        assert await at.it.ended() == 0
    assert rows(tmp_path) == [("settled", "exact", "completed")]
    (call,) = re.findall(r'^\{"time":.*"outcome":"completed".*\}$', at.it.log, re.MULTILINE)
    assert json.loads(call)["key"] == "first"


@pytest.mark.parametrize("how", ["second signal", "deadline"])
async def test_a_stream_that_outlasts_the_drain_is_booked(tmp_path, how: str):
    """At the deadline or a second signal the stream is cut, settled at what was seen, and code is 0."""
    async with streaming(tmp_path, drain="300ms" if how == "deadline" else "1h") as at:
        at.it.signal(signal.SIGTERM)
        if how == "second signal":
            assert at.it.process.stdout is not None
            assert b"draining: 1 in flight" in await at.it.process.stdout.readline()
            at.it.signal(signal.SIGTERM)
        assert b"[DONE]" not in await rest(at.line)
        assert await at.it.ended() == 0
        assert "Traceback" not in at.it.log
    assert rows(tmp_path) == [("settled", "estimated", "abandoned")]


async def test_the_last_calls_are_in_the_log(tmp_path):
    """The line of a call that ended just before the process is written all the same."""
    async with provider() as up:
        write(tmp_path, up.port)
        async with serving(tmp_path) as it:
            calls = [await it.ask() for _ in range(5)]
            assert await it.stop() == 0
            logged = re.findall(r'"call":"(\w+)"', it.log)
    assert logged == [one.call for one in calls]


async def test_an_idle_gateway_ends_at_once(tmp_path):
    """Nothing to finish, nothing to wait for."""
    write(tmp_path)
    async with serving(tmp_path) as it:
        loop = asyncio.get_running_loop()
        begun = loop.time()
        assert await it.stop() == 0
        assert loop.time() - begun < 2
    assert rows(tmp_path) == []
