"""A provider that says more than it was asked never gets a word of it to another caller.

What no client can see are bytes that reach a connection after its next request has: over HTTP/1.1
they are that request's answer. So the provider here lies at every moment up to that one, and no
later: it looks whether the next request is there already before it speaks unasked.
"""

import asyncio
import json
import random
from collections import Counter
from dataclasses import dataclass, field

import pytest

from headworks.upstream.http1 import ClientLimits, Statistics
from tests.faults.liar import LARGE, TAG, Liar
from tests.faults.processes import (
    KEY,
    Gateway,
    Line,
    Reply,
    chat,
    configuration,
    gateway_of,
    line_to,
)
from tests.upstream.scripted import serve

pytestmark = pytest.mark.anyio

SEED = 20261125
CALLERS = 40
QUIET = 0.45  # seconds between waves of calls, for those who speak to idle connections
KEYS = (KEY, f"other-{KEY}", f"narrow-{KEY}")


@dataclass
class Crowd:
    """Callers of several keys, each call with a tag of its own."""

    gateway: Gateway
    chance: random.Random
    left: int = 0
    count: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    cancelled: int = 0
    foreign: list[tuple[bytes, Reply]] = field(default_factory=list)

    async def run(self) -> None:
        await asyncio.gather(*(self.call_on(KEYS[n % len(KEYS)]) for n in range(CALLERS)))

    async def call_on(self, key: str) -> None:
        """Call on one connection after the other, each until it ends or is given up."""
        while self.left > 0:
            async with line_to(self.gateway.port) as line:
                while self.left > 0 and await self.call(line, key):
                    pass

    async def call(self, line: Line, key: str) -> bool:
        """Make one call; return whether the connection may be used again."""
        self.left -= 1
        self.count += 1
        tag = f"t00-{self.count:06}"
        text = tag + (LARGE if self.chance.random() < 0.03 else "")
        content = chat(
            key=key,
            stream=self.chance.random() < 0.4,
            messages=[{"role": "user", "content": text}],
            headers={"x-client-request-id": tag},
        )
        asked = asyncio.ensure_future(line.ask(content))
        if self.chance.random() < 0.1:
            await asyncio.wait((asked,), timeout=self.chance.uniform(0, 0.02))
            if not asked.done():
                asked.cancel()
                self.cancelled += 1
                return False
        reply = await asked
        self.judge(tag.encode(), reply)
        return reply.has_ended and "connection" not in reply.headers

    def judge(self, tag: bytes, reply: Reply) -> None:
        """Look for a word that belongs to somebody else, in the head as well."""
        self.statuses[reply.status] += 1
        words = TAG.findall(reply.body + json.dumps(reply.headers).encode())
        if set(words) - {tag} or (reply.status == 200 and reply.has_ended and not words):
            self.foreign.append((tag, reply))


@dataclass(frozen=True)
class Case:
    """How careful the gateway is, and how it is lied to.

    Attributes:
        share: Of the answers that are lies.
        waves: Calls come in so many waves, with a rest after each; no lies in the `honest` first.
        reused: Share of the calls that went over a used connection, at least.
    """

    name: str
    limits: ClientLimits
    share: float
    lies: tuple[str, ...]
    calls: int
    waves: int = 1
    honest: int = 0
    reused: float = 0.0
    answers_early: bool = False


EARLY = ("same_packet", "flood", "early_hints", "half", "later")
LATE = ("later", "idle")
CASES = [
    Case("as it is", ClientLimits(), 0.02, EARLY + LATE, 3_000, waves=2, honest=1, reused=0.1),
    Case("never distrusting", ClientLimits(distrust_seconds=0), 0.02, LATE, 3_000, waves=6),
    Case(
        "nor resting",
        ClientLimits(quiet_seconds=0, distrust_seconds=0),
        0.1,
        EARLY,
        4_000,
        reused=0.4,
        answers_early=True,
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_ten_thousand_calls(tmp_path, figure, case):
    """No answer holds a word from another call, even without the cautions beyond hygiene."""
    chance = random.Random(SEED)
    liar = Liar(random.Random(SEED + 1), case.share, case.lies, answers_early=case.answers_early)
    async with serve(liar) as server, gateway_of(configuration(tmp_path, server.port)) as gateway:
        client = gateway.assembly.clients["up"]
        client._limits = case.limits
        crowd = Crowd(gateway, chance)
        begun = asyncio.get_running_loop().time()
        for wave in range(case.waves):
            liar.share = case.share if wave >= case.honest else 0.0
            crowd.left = case.calls // case.waves
            await crowd.run()
            await asyncio.sleep(QUIET if case.waves > 1 else 0)
        seconds = asyncio.get_running_loop().time() - begun
        pool: Statistics = client.statistics()

    assert crowd.foreign == []
    assert crowd.count >= case.calls
    assert crowd.statuses[200] > case.calls * 0.8
    assert crowd.cancelled > case.calls * 0.02
    assert pool.reused_total >= case.calls * case.reused
    assert set(crowd.statuses) <= {200, 502}, crowd.statuses
    figure(
        f"poison, {case.name}: seed {SEED}, {crowd.count} calls in {seconds:.1f} s, "
        f"{dict(crowd.statuses)}, {crowd.cancelled} cancelled, {pool.reused_total} on used "
        f"connections; lies {dict(sorted(liar.lies.items()))}"
    )
