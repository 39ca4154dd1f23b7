"""Large, endless, packed and lying requests cost the gateway little memory, and are not read to their end."""

import asyncio
import contextlib
import gzip
import math
import socket
import sys
import zlib
from collections.abc import AsyncGenerator, Generator, Iterable
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from itertools import chain, repeat
from pathlib import Path
from time import process_time

import pytest

from tests.faults.processes import Process, ask, chat, configuration, gateway_process, request
from tests.front.stage import PATIENCE, Recorder, send
from tests.gateway.conftest import OK, Answer, answers, connected, read_answer, serving

pytestmark = pytest.mark.anyio

MEGABYTE = 1_000_000
SPARE = 10 * MEGABYTE
"""Bytes by which no such request may make the process grow."""
LINGER = 2 * 1024 * 1024
"""Bytes that may be read beyond a limit: what is thrown away so that the refusal can be read, with a margin."""
MOST_BODY = MEGABYTE
"""As the configuration says."""

CHUNKED = {"transfer-encoding": "chunked"}


@asynccontextmanager
async def gateway(folder: Path) -> AsyncGenerator[Process]:
    """Run a gateway that has served once, and must serve at the end."""
    configuration(folder, 1)
    log = folder / "log"
    async with gateway_process(folder, log) as process:
        await refuses_strangers(process)
        yield process
        await refuses_strangers(process)
        assert await process.stop() == 0, log.read_text()[-2000:]
    assert "Traceback" not in log.read_text(), log.read_text()[-2000:]


async def refuses_strangers(process: Process) -> None:
    """Check that an ordinary request is understood."""
    reply = await ask(process.port, chat(key="nobody"))
    assert reply.status == 401, reply


def memory(pid: int, name: str) -> int:
    """Return a size of a process in bytes: VmRSS as it is, VmHWM as it was at the most."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    found = next(line for line in lines if line.startswith(name))
    return int(found.split()[1]) * 1024


def bytes_read(pid: int) -> int:
    """Return how many bytes a process has read, from sockets too."""
    return int(Path(f"/proc/{pid}/io").read_text().split()[1])


def head(**fields: str) -> bytes:
    """Return the head of a chat request without a length of its own."""
    told = {name.replace("_", "-"): value for name, value in fields.items()}
    return request(b"", headers=told).replace(b"content-length: 0\r\n", b"")


@dataclass(frozen=True)
class Case:
    """A request that goes on and on, how it is refused, and how much of it is read."""

    name: str
    begun: bytes
    more: bytes
    status: int
    most: int = 32 * 1024


CASES = (
    Case("a header of 1 MB and more", b"GET / HTTP/1.1\r\nhost: a\r\nx: ", b"a" * 4096, 431),
    Case("5,000 fields and more", b"GET / HTTP/1.1\r\nhost: a\r\n", b"x: a\r\n" * 50, 431),
    Case("a name without end", b"GET / HTTP/1.1\r\nhost: a\r\n", b"x" * 4096, 431),
    Case("a target of 64 KB and more", b"GET /", b"a" * 4096, 414),
    Case("a body of 1 GB", head(content_length="1000000000"), b" " * 65536, 413),
    Case("a body of 2^64 - 1", head(content_length="18446744073709551615"), b" " * 65536, 413),
    Case(
        "chunks without end",
        head(**CHUNKED),
        b"10000\r\n" + b" " * 65536 + b"\r\n",
        413,
        MOST_BODY,
    ),
    Case("one chunk of 1 TB", head(**CHUNKED) + b"ffffffffff\r\n", b" " * 65536, 413, MOST_BODY),
    Case("an extension without end", head(**CHUNKED) + b"5;a", b"a" * 4096, 400),
    Case(
        "trailers without end",
        head(**CHUNKED) + b"0\r\n",
        b"x: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n" * 90,
        400,
    ),
    Case("an endless stream of sizes", head(**CHUNKED), b"0" * 4096, 400),
)


def pour(port: int, pieces: Iterable[bytes]) -> Answer:
    """Send pieces for as long as they are taken, by a thread of its own; return the one answer."""
    received = b""
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as plug:
        with contextlib.suppress(ConnectionError):
            for piece in pieces:
                plug.sendall(piece)
        with contextlib.suppress(ConnectionError):
            while piece := plug.recv(65536):
                received += piece
    (answer,) = answers(received)
    return answer


async def test_large_requests_are_not_read_to_their_end(tmp_path, figure):
    """Each is refused by name as soon as that is known; little is read, and nothing is kept."""
    async with gateway(tmp_path) as process:
        size, worst = memory(process.pid, "VmRSS"), 0
        for case in CASES:
            before = bytes_read(process.pid)
            more = repeat(case.more, 64 * MEGABYTE // len(case.more))
            answer = await asyncio.to_thread(pour, process.port, chain((case.begun,), more))
            assert (answer.status, answer.headers["connection"]) == (case.status, "close"), case
            read = bytes_read(process.pid) - before
            assert read <= case.most + LINGER, (case.name, read)
            worst = max(worst, read - case.most)
        grown = memory(process.pid, "VmHWM") - size
        assert grown < SPARE
        figure(
            f"large requests: at most {worst >> 10} KB read beyond a limit, +{grown >> 10} KB held"
        )


def bomb(window: int) -> bytes:
    """Return half a megabyte that becomes five hundred."""
    packer = zlib.compressobj(9, wbits=window)
    return b"".join(packer.compress(bytes(MEGABYTE)) for _ in range(500)) + packer.flush()


async def test_packed_bodies_are_not_unpacked(tmp_path, figure):
    """A body in another coding, or in several, is refused as it is, however it is sent."""
    once, bare = bomb(31), bomb(15)
    packed = {"gzip": once, "x-gzip": once, "deflate": bare, "gzip, gzip": gzip.compress(once), "br": bare,
              "zstd": once, "GZIP": once, "identity, gzip": once, "": b"{}", "aes128gcm": b"{}"}  # fmt: skip
    kinds = ("application/json", "application/octet-stream", "multipart/form-data; boundary=b")
    async with gateway(tmp_path) as process:
        size, refused = memory(process.pid, "VmRSS"), 0
        for coding, content in packed.items():
            for kind in kinds:
                told = {"content-encoding": coding, "content-type": kind}
                reply = await ask(process.port, request(content, headers=told))
                assert reply.status == 415, (coding, kind, reply)
                assert reply.error["code"] == "unsupported_media_type"
                refused += 1
            hop = head(transfer_encoding=f"{coding}, chunked") + content
            assert (await asyncio.to_thread(pour, process.port, [hop])).status == 400
        grown = memory(process.pid, "VmHWM") - size
        assert grown < SPARE
        figure(f"bombs: {refused} of 500 MB refused, +{grown >> 10} KB held")


def in_chunks(content: bytes, size: int) -> bytes:
    """Return a whole request whose body comes in chunks of `size` bytes."""
    line = b"POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunks = (content[at : at + size] for at in range(0, len(content), size))
    return line + b"".join(b"%x\r\n%b\r\n" % (len(one), one) for one in chunks) + b"0\r\n\r\n"


async def cost(app: Recorder, url: str, sent: bytes) -> float:
    """Return the CPU seconds that one request takes, our own side's included."""
    begun = process_time()
    exchange = await send(url, [sent], 1)
    spent = process_time() - begun
    assert [one.status for one in exchange.answers] == [200]
    app.seen.clear()
    return spent


@contextmanager
def unwatched() -> Generator[None]:
    """Let nobody count lines for a while: what that costs is no price of ours."""
    watch = sys.gettrace()
    sys.settrace(None)
    try:
        yield
    finally:
        sys.settrace(watch)


async def test_a_hundred_thousand_chunks_cost_little_more_than_one(figure):
    """100,000 chunks cost at most twice what as many of one byte cost, beyond their bytes; and that is little.

    What 10 MB in one piece cost is half or all of it faults of fresh pages, as the process before happened to leave
    its memory: a ratio to that alone says little.
    """
    app = Recorder()
    body = bytes(10 * MEGABYTE)
    sent = {
        "one": in_chunks(body, len(body)),
        "many": in_chunks(body, 100),
        "tiny": in_chunks(body[:100_000], 1),
        "few tiny": in_chunks(body[:10_000], 1),
    }
    least = dict.fromkeys(sent, math.inf)
    async with serving(app) as server:
        with unwatched():
            for _ in range(5):
                for name, one in sent.items():
                    least[name] = min(least[name], await cost(app, server.url, one))
    told = ", ".join(f"{name} {1000 * spent:.1f} ms" for name, spent in least.items())
    figure(f"CPU of chunks: {told}")
    assert least["many"] < least["one"] + 2 * least["tiny"]
    assert least["tiny"] < 3 * least["one"]
    assert least["tiny"] < 30 * least["few tiny"]


async def test_others_are_served_while_tiny_chunks_come(figure):
    """A million chunks of one byte do not keep other callers waiting."""
    app, served = Recorder(), 0
    async with serving(app) as server, connected(server.url) as (reader, writer):
        tiny = asyncio.ensure_future(send(server.url, [in_chunks(bytes(MEGABYTE), 1)], 1))
        while not tiny.done():
            writer.write(OK)
            assert (await read_answer(reader)).status == 200
            served += 1
        assert [one.status for one in (await tiny).answers] == [200]
    assert served > 3
    figure(f"a million chunks of one byte: {served} requests served meanwhile")
