"""Two thousand callers who are slow on purpose are cut in time, and nobody else notices."""

import asyncio
import contextlib
import math
import re
import resource
import socket
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from headworks.gateway.heads import HttpLimits
from tests.front.stage import connect
from tests.gateway.conftest import OK, answers, connected, read_answer

pytestmark = pytest.mark.anyio

HEAD = b"POST /slow HTTP/1.1\r\nHost: a\r\n"
HEADS, BODIES, READERS = 1100, 700, 200
SPARE = 15.0
"""Seconds that a cut may come late on a busy machine."""
PAUSE = 0.005
"""Seconds between two requests of the caller whose patience is measured."""


@dataclass
class Stand:
    """The server, its size, and how its callers fare."""

    port: int
    pid: int
    waits: list[float] = field(default_factory=list)

    def size(self) -> int:
        """Return the most memory that it has had, in bytes."""
        text = Path(f"/proc/{self.pid}/status").read_text()
        found = re.search(r"VmHWM:\s+(\d+) kB", text)
        assert found
        return int(found[1]) * 1024

    async def ask(self, count: float) -> None:
        """Make so many requests, one after the other, on one connection."""
        loop = asyncio.get_running_loop()
        async with connected(f"http://127.0.0.1:{self.port}") as (reader, writer):
            while len(self.waits) < count:
                begun = loop.time()
                writer.write(OK)
                assert (await read_answer(reader)).status == 200
                self.waits.append(loop.time() - begun)
                await asyncio.sleep(PAUSE)

    def told(self) -> tuple[float, float]:
        """Return the waits in milliseconds that half and one in a hundred exceed, and forget them."""
        waits, self.waits = sorted(self.waits), []
        assert len(waits) > 20
        return 1000 * waits[len(waits) // 2], 1000 * waits[len(waits) * 99 // 100]


@asynccontextmanager
async def stand(limits: HttpLimits) -> AsyncGenerator[Stand]:
    """Run one with these limits."""
    told = (limits.head_seconds, limits.body_grace, limits.write_seconds)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.front.stand", *map(str, told), stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout
        line = (await process.stdout.readline()).decode()
        port = re.search(r"API http://127\.0\.0\.1:(\d+)", line)
        assert port, line
        yield Stand(int(port[1]), process.pid)
        process.terminate()
        assert await asyncio.wait_for(process.wait(), 20) == 0
    finally:
        if process.returncode is None:
            process.kill()


async def trickle(at: Stand, begun: bytes, more: bytes) -> tuple[float, list[int]]:
    """Send the beginning of a request, then a byte a second; return how long, and what was said."""
    loop = asyncio.get_running_loop()
    transport, caller = await connect(at.port)
    start = loop.time()
    transport.write(begun)
    for _ in range(60):
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(caller.ended.wait(), 1)
            break
        transport.write(more)
    spent = loop.time() - start
    transport.abort()
    return spent, [one.status for one in answers(bytes(caller.received))]


async def read_nothing(at: Stand) -> float:
    """Ask for a long answer, take none of it but send a byte a second; return how long that was borne."""
    loop = asyncio.get_running_loop()
    with socket.socket() as plug:
        plug.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        plug.setblocking(False)  # noqa: FBT003 - as the library has it
        await loop.sock_connect(plug, ("127.0.0.1", at.port))
        await loop.sock_sendall(plug, b"GET /big HTTP/1.1\r\nHost: a\r\n\r\n")
        start = loop.time()
        for _ in range(60):
            await asyncio.sleep(1)
            try:
                await loop.sock_sendall(plug, b"\r\n")
            except ConnectionError:
                break
        return loop.time() - start


async def test_two_thousand_slow_callers_harm_nobody(is_whole, figure):
    """Slow heads, slow bodies and slow readers are all cut in time; others are served as before."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    limits = HttpLimits()
    if not is_whole:
        limits = HttpLimits(head_seconds=3.0, body_grace=3.0, write_seconds=3.0)
    async with stand(limits) as at:
        size = at.size()
        await at.ask(100)
        _, before = at.told()
        good = asyncio.ensure_future(at.ask(math.inf))
        heads = [trickle(at, HEAD + b"X: ", b"a") for _ in range(HEADS)]
        begun = HEAD + b"Content-Length: 1000000\r\n\r\n"
        bodies = [trickle(at, begun, b"a") for _ in range(BODIES)]
        readers = [read_nothing(at) for _ in range(READERS)]
        slow, unread = await asyncio.gather(
            asyncio.gather(*heads, *bodies), asyncio.gather(*readers)
        )
        assert not good.done(), good
        (median, during), grown = at.told(), at.size() - size
        good.cancel()
    assert {tuple(said) for _, said in slow} == {(408,)}
    assert max(spent for spent, _ in slow[:HEADS]) < limits.head_seconds + SPARE
    assert max(spent for spent, _ in slow[HEADS:]) < limits.body_grace + SPARE
    assert max(unread) < limits.write_seconds + SPARE
    assert median < 250
    assert grown < 100_000_000
    figure(
        f"{HEADS} slow heads, {BODIES} slow bodies, {READERS} slow readers: cut after at most "
        f"{max(spent for spent, _ in slow):.1f} s and {max(unread):.1f} s, +{grown >> 20} MB; "
        f"others wait {before:.1f} ms, then {during:.1f} ms (p99)"
    )
