"""What a provider answers instead of an answer: pages, nothing, too much, elsewhere, packed."""

import asyncio
import gzip
import itertools
import json
import os
import re
import zlib
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from email.utils import formatdate
from pathlib import Path
from typing import Any, cast

import pytest

from headworks.core.routing import NamedRouter, Target
from headworks.types import Plan, Route, Secret, Timeouts
from headworks.upstream.http1 import HttpClient
from headworks.upstream.openai import Credential, Provider, Providers
from tests.config.files import MINIMAL, refused
from tests.faults.processes import (
    Line,
    Process,
    chat,
    configuration,
    gateway_process,
    line_to,
    request,
)
from tests.faults.simworld.clockwork import EPOCH
from tests.faults.stage import Stage
from tests.faults.test_four_timeouts import FACES, HEAD, JSON, WHOLE, event, well
from tests.upstream.scripted import Script, Wire, chunked, serve, whole
from tests.world import World

pytestmark = pytest.mark.anyio

PAGE = b"<html><title>Bad Gateway</title>" + b"internal host 10.0.0.7 " * 20 + b"</html>"
LARGE = json.dumps({"error": {"message": "x" * 1_000_000, "type": "server_error"}}).encode()
ERROR = b'{"error":{"message":"m","type":"server_error","param":null,"code":null}}'
SSE = b"content-type: text/event-stream\r\n"


def always(*answers: bytes) -> Script:
    """Give these answers in turn, the last one for ever; each on whichever connection comes."""
    left = list(answers)

    async def script(wire: Wire) -> None:
        while True:
            await wire.request()
            await wire.send(left.pop(0) if len(left) > 1 else left[0])

    return script


# Errors.

BROKEN = (
    *(pytest.param(whole(ERROR, status, JSON), status, id=f"{status}") for status in (500, 502, 503, 529)),
    pytest.param(whole(PAGE, 502, b"content-type: text/html\r\n"), 502, id="a page"),
    pytest.param(whole(b"", 500), 500, id="nothing"),
    pytest.param(whole(LARGE, 500, JSON), 500, id="a megabyte"),
    pytest.param(chunked(LARGE).replace(b"200 OK", b"503 X", 1), 503, id="a megabyte in chunks"),
    pytest.param(whole(ERROR, 200, JSON), 502, id="an error that claims success"),
    pytest.param(whole(b"{]", 200, JSON), 502, id="no JSON"),
    pytest.param(whole(PAGE, 200, b"content-type: text/html\r\n"), 502, id="a page that claims success"),
    pytest.param(WHOLE[:-20].replace(b"\r\n", b"\r\nconnection: close\r\n", 1), 502, id="cut short"),
    pytest.param(whole(gzip.compress(WHOLE), 200, JSON + b"content-encoding: gzip\r\n"), 502, id="packed"),
    pytest.param(whole(b"\x1f\x8b garbage", 200, JSON + b"content-encoding: gzip\r\n"), 502, id="packed garbage"),
)  # fmt: skip


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize(("answer", "status"), BROKEN)
def test_what_is_no_answer_is_a_short_error_of_the_known_shape(
    answer: bytes, status: int, *, stream: bool, face: str
):
    """Three attempts at most, then an error that my client knows, without the provider's page."""

    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(answer)
        if b"connection: close" in answer:
            wire.writer.close()
        else:
            await always(answer)(wire)

    stage = Stage({"first": script}, routes=("first",))
    told, _ = stage.run(lambda one: one.ask(face, stream=stream))
    assert told.status_code == status
    assert set(told.json()["error"]) == {"message", "type", "param", "code"}
    assert len(told.content) < 1_000
    assert b"10.0.0.7" not in told.content
    assert 1 <= len(stage.asked) <= 3
    assert told.headers["x-headworks-attempts"] == str(len(stage.asked))


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize(("answer", "status"), BROKEN)
def test_what_is_no_answer_is_made_good_by_another_upstream(
    answer: bytes, status: int, *, stream: bool, face: str
):
    """A burst of errors at one provider costs me nothing but time: never a part of its answer."""
    stage = Stage({"first": always(answer, answer, answer), "second": well})
    if b"\r\nconnection: close" in answer:
        stage.scripts["first"] = cut_short
    told, _ = stage.run(lambda one: one.ask(face, stream=stream))
    assert told.status_code == 200
    assert told.text.count("Well.") == 1
    assert len(stage.asked) <= 3, status


async def cut_short(wire: Wire) -> None:
    await wire.request()
    await wire.send(WHOLE[:-20])
    wire.writer.close()


PACKED_STREAM = whole(gzip.compress(b"data: [DONE]\n\n"), 200, SSE + b"content-encoding: gzip\r\n")


@pytest.mark.parametrize("face", FACES)
def test_a_packed_stream_is_no_stream(face: str):
    """A provider that compresses what it was asked for plainly is not taken for an empty answer."""
    stage = Stage({"first": always(PACKED_STREAM)}, routes=("first",))
    told, _ = stage.run(lambda one: one.ask(face, stream=True))
    assert told.status_code == 502
    assert told.json()["error"]["code"] == "upstream_malformed_response"
    assert len(stage.asked) == 1


@pytest.mark.parametrize("face", FACES)
def test_a_packed_file_passes_as_what_it_is(face: str):
    """What is only carried keeps the name of its coding, so that my client can unpack it."""
    packed = whole(gzip.compress(b"lines"), 200, b"content-type: text/plain\r\ncontent-encoding: gzip\r\n")  # fmt: skip

    async def play(stage: Stage):
        async with stage.world.client(face) as client:
            return await client.get("/v1/files/f/content")

    told = Stage({"first": always(packed)}, routes=("first",)).run(play)
    assert (told.status_code, told.text) == (200, "lines")


# Waits that a provider asks for.


@dataclass(frozen=True)
class Wait:
    """What a 429 says, and the least and most seconds until it is asked again."""

    name: str
    fields: bytes
    least: float
    most: float


def after(value: object, name: str = "retry-after") -> bytes:
    return f"{name}: {value}\r\n".encode()


NONE = (0.0, 0.55)  # full jitter up to half a second
WAITS = (
    Wait("milliseconds", after(1500, "retry-after-ms"), 1.5, 1.55),
    Wait("seconds", after(2), 2.0, 2.05),
    Wait("part of a second", after("0.75"), 0.75, 0.8),
    Wait("the more exact one", after(1250, "retry-after-ms") + after(2), 1.25, 1.3),
    Wait("a date", after(formatdate(EPOCH + 4, usegmt=True)), 3.9, 4.05),
    Wait("nothing", b"", *NONE),
    *(Wait(f"absurd: {odd}", after(odd), *NONE) for odd in ("1e9", "-1", "NaN", "inf", "soon", "99999999999", "")),
    Wait("an absurd date", after("Fri, 01 Jan 1999 00:00:00 GMT"), *NONE),
)  # fmt: skip


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize("wait", WAITS, ids=lambda wait: wait.name)
def test_a_wait_is_obeyed_to_a_twentieth_of_a_second(wait: Wait, face: str):
    """Not earlier and not later than it was asked for; nonsense is not obeyed, nor is it a failure."""
    limited = whole(
        b'{"error":{"message":"m","code":"rate_limit_exceeded"}}', 429, JSON + wait.fields
    )
    stage = Stage({"first": always(limited, WHOLE)}, routes=("first",))
    told, _ = stage.run(lambda one: one.ask(face))
    assert told.status_code == 200
    (_, first), (_, second) = stage.asked
    assert wait.least - 0.006 <= second - first <= wait.most
    health = next(one for one in stage.world.health.statistics() if one.name == "first")
    [route] = health.routes
    assert (route.state, route.failures) == ("closed", 0)
    assert health.cooldowns == 1


@pytest.mark.parametrize("face", FACES)
def test_a_wait_beyond_the_deadline_is_passed_on(face: str):
    """Nobody waits in vain: I am told at once, with the provider's own wait."""
    limited = whole(
        b'{"error":{"message":"m","code":"rate_limit_exceeded"}}', 429, JSON + after(30)
    )
    stage = Stage({"first": always(limited)}, routes=("first",))

    async def play(stage: Stage):
        return await stage.ask(face, headers={"x-headworks-deadline": "10s"})

    told, seconds = stage.run(play)
    assert told.status_code == 429
    assert seconds < 0.1
    assert told.headers["retry-after"] == "30"
    assert len(stage.asked) == 1


# Elsewhere.


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize(
    "where", ["http://127.0.0.1:{}/v1/x", "//127.0.0.1:{}/", "http://localhost:{}"]
)
@pytest.mark.parametrize("status", [300, 301, 302, 303, 307, 308])
async def test_a_credential_goes_nowhere_else(status: int, where: str, face: str):
    """A redirection to another host is an error: that host is not even connected to."""

    async def listen(wire: Wire) -> None:
        await wire.gone()

    async with serve(listen) as sniffer:
        location = f"location: {where.format(sniffer.port)}\r\n".encode()
        async with serve(always(whole(b"", status, location))) as server:
            client = HttpClient(server.origin)
            provider = Provider(client, "/v1", {"main": Credential(Secret("sk-ours"))})
            world = World(router=NamedRouter({"up": Target(("main",), Timeouts())}, {"m": Plan((Route("up", "m", "main"),))}))  # fmt: skip
            world.upstream = cast("Any", Providers({"up": provider}, world.clock))
            world.engine = world.make_engine()
            for stream in (False, True):
                async with world.client(face) as caller:
                    told = await caller.post("/v1/chat/completions", json={"model": "m", "stream": stream})  # fmt: skip
                assert told.status_code == 502
                assert told.json()["error"]["code"] == "upstream_malformed_response"
                assert "location" not in told.headers
            await client.aclose()
            assert server.accepted >= 1
        assert sniffer.accepted == 0


@pytest.mark.parametrize("name", ["verify", "verify_tls", "insecure", "tls", "skip_verify"])
def test_there_is_no_way_around_a_certificate(name: str):
    """No setting makes an unknown certificate good: a private authority is named by `ca_file`."""
    [problem] = refused(MINIMAL + f"    {name}: false\n")
    assert f"upstreams.openai.{name}: unknown key" in problem


# Too much.

MIB = 1_048_576
MOST_GROWTH = 20 * MIB
CAP = 4
UPLOADS = {"whole": 40 * MIB, "declared": 40 * MIB, "bomb": 400_000, "error": 100}
"""What is answered to uploads, and how much of it comes: as much as is taken, packed as it was."""


def bomb(size: int) -> bytes:
    """Return `size` MiB of the same byte, packed."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    return b"".join([*(packer.compress(bytes(MIB)) for _ in range(size)), packer.flush()])


async def flood(wire: Wire, head: bytes, piece: bytes) -> None:
    """Send a body that does not end."""
    data = b"%x\r\n%b\r\n" % (len(piece), piece)
    await wire.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n" + head + b"\r\n")
    while True:
        await wire.send(data)


PIECE = 65_536
FLOODS = {
    "whole": (JSON, b"[" * PIECE),
    "line": (SSE, b"data: " + b"x" * PIECE),
    "event": (SSE, b"data: " + b"x" * 100 + b"\n"),
    "comments": (SSE, b": " + b"x" * PIECE + b"\n\n"),
    "f": (b"content-type: application/octet-stream\r\n", bytes(PIECE)),
}
LENGTHS = {"declared": 200, "error": 500}
DOWNLOADS = (b"f", b"declared")
UPLOAD = (
    b'--b\r\ncontent-disposition: form-data; name="purpose"\r\n\r\n{"content": "%b"}\r\n'
    b'--b\r\ncontent-disposition: form-data; name="file"; filename="a"\r\n\r\n%b\r\n--b--\r\n'
)
FORM = {"content-type": "multipart/form-data; boundary=b"}
POSTED = "POST /v1/files HTTP/1.1"


async def endless(wire: Wire) -> None:
    """Answer as the last message orders, without measure."""
    while True:
        order = re.search(rb'(?:"content": "|GET /v1/files/)(\w+)', await wire.request())
        kind = order[1].decode() if order else ""
        if kind == "cut":
            await wire.send(HEAD + event("Well"))
            return
        if kind in FLOODS:
            await flood(wire, *FLOODS[kind])
        elif kind in LENGTHS:
            await wire.send(
                b"HTTP/1.1 %d X\r\n" % LENGTHS[kind] + JSON + b"content-length: 10000000000\r\n\r\n"
            )
            while True:
                await wire.send(bytes(PIECE))
        else:
            fields = (SSE if kind == "bombstream" else JSON) + b"content-encoding: gzip\r\n"
            await wire.send(whole(BOMB, fields=fields))


BOMB = bomb(512)


def resident(gateway: Process) -> int:
    """Return the most memory that a gateway has held, in bytes."""
    status = Path(f"/proc/{gateway._process.pid}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found is not None
    return int(found[1]) * 1024


@asynccontextmanager
async def flooded(folder: Path) -> AsyncGenerator[Process]:
    async with serve(endless) as server:
        file = configuration(folder, server.port, silence="2s")
        text = file.read_text()  # a route that fails all the time would soon be left alone
        file.write_text(text.replace("    base_url:", "    breaker: false\n    base_url:"))
        async with gateway_process(folder, folder / "log") as gateway:
            yield gateway


async def read_on(line: Line, content: bytes, size: int) -> tuple[int, bytes]:
    """Ask, and read so many bytes of the answer, or to its end; return how many, and the last."""
    line.writer.write(content)
    count, data = 0, b""
    with suppress(ConnectionError):
        while count < size and (data := await line.reader.read(65_536)):
            count += len(data)
            is_error = count < 2_000 and not data.startswith(b"HTTP/1.1 200 ")
            if data.endswith(b"\r\n0\r\n\r\n") or (is_error and b"content-length" in data):
                break
    return count, data


async def warm(gateway: Process) -> int:
    """Let a gateway load all that it loads late, such as a vocabulary; return what it then holds."""
    cut = chat(model="single", stream=True, messages=[{"role": "user", "content": "cut"}])
    async with line_to(gateway.port) as line:
        await read_on(line, cut, 10_000)
    before = 0
    while before != (before := resident(gateway)):  # noqa: ASYNC110 - there is no event
        await asyncio.sleep(1.0)
    return before


async def flood_of(gateway: Process, content: bytes, size: int) -> tuple[int, bytes]:
    """Ask what is answered without measure; `size` bytes are enough."""
    async with line_to(gateway.port) as line:
        return await asyncio.wait_for(read_on(line, content, size), 60.0)


async def test_no_answer_fills_our_memory(tmp_path, figure, monkeypatch):
    """Bombs, bodies, lines, events and errors without end: each is cut off, and costs below 20 MB."""
    monkeypatch.setitem(os.environ, "HEADWORKS__SERVER__MAX_ANSWER", f"{CAP}MiB")
    kinds = [("whole", False), ("declared", False), ("error", False), ("bomb", False)]
    kinds += [(kind, True) for kind in ("line", "event", "comments", "bombstream", "error")]
    async with flooded(tmp_path) as gateway:
        asked = [
            chat(model="single", stream=stream, messages=[{"role": "user", "content": kind}])
            for kind, stream in kinds
        ]
        before = await warm(gateway)
        for content in asked:
            count, _ = await flood_of(gateway, content, 100 * MIB)
            assert 100 < count < 10_000, content
        for kind, size in itertools.product(UPLOADS, (10, 400_000)):
            body = UPLOAD % (kind.encode(), bytes(size))
            content = request(body, line=POSTED, headers=FORM)
            count, last = await flood_of(gateway, content, UPLOADS[kind])
            assert count >= UPLOADS[kind], last
        for name in DOWNLOADS:
            download = b"GET /v1/files/%b/content HTTP/1.1" % name
            content = request(b"", line=download.decode())
            count, last = await flood_of(gateway, content, 100 * MIB)
            assert count >= 100 * MIB, last
        grown = resident(gateway) - before
    figure(f"floods: {len(asked) + 10} kinds, memory grew by {grown / MIB:.1f} MiB at most")
    assert grown < MOST_GROWTH
