"""Behind nginx and haproxy no request is seen twice, or otherwise than the proxy read it."""

import asyncio
import re
from collections import Counter
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import pytest

from headworks.gateway.asgi import Gateway
from tests.front.framing import cases
from tests.front.mutation import mutated
from tests.front.proxies import PROXIES, proxy
from tests.front.stage import LAST, MARK, PATIENCE, Recorder, Seen, as_seen, connect
from tests.gateway.conftest import answers, serving
from tests.surface.mirror import Mirror, surface

pytestmark = pytest.mark.anyio

SEED = 20261125
SECRET = "front-7d1f3a"
KEY = b"Authorization: Bearer open\r\n"
CALLERS = 16
STATUS = re.compile(rb"HTTP/1\.[01] (\d{3}) ")


@dataclass
class Line:
    """A proxy, the gateway behind it, and the provider behind that."""

    port: int
    app: Recorder
    mirror: Mirror
    marks: Counter[bytes] = field(default_factory=Counter)
    statuses: Counter[int] = field(default_factory=Counter)

    def drained(self) -> Iterator[Seen]:
        """Yield what the gateway saw since the last look."""
        for port in list(self.app.seen):
            yield from self.app.seen.pop(port)

    def fault(self, one: Seen) -> str:
        """Say how a request differs from what the proxy sent on, "" where it does not."""
        told = Counter(name for name, _ in one.fields)
        named = dict(one.fields)
        mark, line = named.get(b"x-front", b""), named.get(b"x-front-line", b"")
        if not mark.startswith(SECRET.encode()) or told[b"x-front"] + told[b"x-front-line"] != 2:
            return "a request that the proxy never sent"
        self.marks[mark] += 1
        method, _, target = line.partition(b" ")
        if (method, as_seen(target)) != (one.method, one.target):
            return f"the proxy read {line!r}"
        return "" if self.marks[mark] == 1 else "a request that was seen twice"


@asynccontextmanager
async def line(name: str, folder: Path) -> AsyncGenerator[Line]:
    """Run all three."""
    async with surface("inprocess") as it:
        app = Recorder(Gateway(lambda: it.world.engine, lambda: 10**6))
        async with (
            serving(app) as server,
            proxy(name, folder, int(server.url.rpartition(":")[2]), SECRET) as port,
        ):
            yield Line(port, app, it.mirror)


async def attack(at: Line, sent: bytes) -> None:
    """Send bytes to the proxy and read whatever comes."""
    transport, caller = await connect(at.port)
    try:
        transport.write(sent)
        transport.write_eof()
        async with asyncio.timeout(PATIENCE):
            await caller.ended.wait()
    finally:
        transport.abort()
    at.statuses.update(map(int, STATUS.findall(caller.received)))


async def victim(at: Line, number: int) -> None:
    """Make a request as others do meanwhile; its answer must be its own."""
    target = f"/v1/victim-{number}"
    transport, caller = await connect(at.port)
    told = f"GET {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n".encode()
    transport.write(told + KEY + b"\r\n")
    async with asyncio.timeout(PATIENCE):
        await caller.ended.wait()
    transport.abort()
    (answer,) = answers(bytes(caller.received))
    assert (answer.status, answer.headers[MARK]) == (200, target)


def hostile(*, is_whole: bool) -> Iterator[bytes]:
    """Yield the odd messages, or an eighth of them, as calls that would reach the provider; then changed ones."""
    for number, sent in enumerate(dict.fromkeys(case.sent for case in cases())):
        if is_whole or number % 8 == 0:
            call = sent.replace(b"/ok", b"/v1/new").replace(b"/trap", b"/v1/trap")
            yield call.replace(b"Host: a\r\n", b"Host: a\r\n" + KEY) + LAST
    random = Random(SEED)
    for _ in range(20_000 if is_whole else 500):
        yield mutated(random).replace(b"/v1/chat/completions", b"/v1/new") + LAST


@pytest.mark.parametrize("name", PROXIES)
async def test_proxy_and_gateway_agree(name: str, tmp_path, is_whole, figure):
    """Of all odd messages none is read otherwise by the two, none twice, and nobody gets another's answer."""
    wrong: list[str] = []
    seen = 0
    async with line(name, tmp_path) as at:
        waiting = enumerate(hostile(is_whole=is_whole))

        async def go_on() -> None:
            nonlocal seen
            for number, sent in waiting:
                await attack(at, sent)
                await victim(at, number)
                for one in at.drained():
                    seen += 1
                    if fault := at.fault(one):
                        wrong.append(f"{fault}: {one} of about {sent!r}")

        await asyncio.gather(*(go_on() for _ in range(CALLERS)))
        served = Counter(one.headers["x-client-request-id"] for one in at.mirror.seen)
    assert not wrong, "\n".join(wrong[:5])
    assert max(served.values()) == 1
    assert {one.encode() for one in served} <= at.marks.keys()
    assert at.statuses[200] > 50 < at.statuses[400]
    assert {one for one in at.app.statuses if one >= 500} <= {501}  # websocket_not_supported
    assert 502 not in at.statuses
    figure(
        f"behind {name}: {seen} requests seen, {len(served)} by the provider, none smuggled; "
        f"hostile callers were answered {dict(sorted(at.statuses.items()))}"
    )
