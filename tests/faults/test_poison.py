"""A provider that says more than it was asked never gets a word of it to another caller.

What no client can see are bytes that reach a connection after its next request has: over HTTP/1.1
they are that request's answer. So the provider here lies at every moment up to that one, and no
later: it looks whether the next request is there already before it speaks unasked.
"""

import asyncio
import json
import random
import re
import select
from collections import Counter
from dataclasses import dataclass, field

import pytest

from headworks.upstream.http1 import ClientLimits, Statistics
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
from tests.upstream.scripted import Wire, chunked, serve, whole

pytestmark = pytest.mark.anyio

SEED = 20261125
CALLERS = 40
QUIET = 0.45  # seconds between waves of calls, for those who speak to idle connections
KEYS = (KEY, f"other-{KEY}", f"narrow-{KEY}")
TAG = re.compile(rb"tag-\d{6}")
LARGE = "x" * 200_000
JSON = b"content-type: application/json\r\n"


@dataclass
class Liar:
    """Answers each request with its own tag, now and then with more than that.

    Attributes:
        known: The lies it tells, and `share` how often; `lies` counts them.
        answers_early: Whether it answers large requests before it has read them.
    """

    chance: random.Random
    share: float
    known: tuple[str, ...]
    answers_early: bool
    lies: Counter[str] = field(default_factory=Counter)

    async def __call__(self, wire: Wire) -> None:
        while True:
            await self.answer(wire)

    async def answer(self, wire: Wire) -> None:
        head = await wire.reader.readuntil(b"\r\n\r\n")
        tag = TAG.findall(head)[0]
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        lie = self.chance.choice(self.known) if self.chance.random() < self.share else ""
        if length > len(LARGE) and self.answers_early:
            await self.early_answer(wire, told(tag), tag, length)
            return
        content = await wire.reader.readexactly(length)
        answer = streamed(tag) if json.loads(content).get("stream") else told(tag)
        if lie:
            await getattr(self, lie)(wire, answer, tag)
        else:
            await wire.send(answer)

    async def early_answer(self, wire: Wire, answer: bytes, tag: bytes, length: int) -> None:
        """Answer before the body is there; then answer the body."""
        self.lies["early answer"] += 1
        await wire.send(answer)
        await wire.reader.readexactly(length)
        await self.speak(wire, tag, "answer to the body")

    async def same_packet(self, wire: Wire, answer: bytes, tag: bytes) -> None:
        """Add a second answer, or a part of one, to the packet of the first."""
        self.lies["same packet"] += 1
        await wire.send(answer + self.surplus(tag))

    async def later(self, wire: Wire, answer: bytes, tag: bytes) -> None:
        """Add it a little later."""
        seconds = self.chance.choice((0.0, 0.001, 0.02, 0.1))
        await wire.send(answer)
        await asyncio.sleep(seconds)
        await self.speak(wire, tag, f"{seconds * 1000:g} ms later")

    async def idle(self, wire: Wire, answer: bytes, tag: bytes) -> None:
        """Add it when the connection has long been idle."""
        await wire.send(answer)
        await asyncio.sleep(self.chance.uniform(0.16, 0.4))
        await self.speak(wire, tag, "while idle")

    async def flood(self, wire: Wire, answer: bytes, tag: bytes) -> None:
        """Send more informational answers than anybody needs."""
        self.lies["1xx flood"] += 1
        hint = b"HTTP/1.1 103 Early Hints\r\nx-hint: %b\r\n\r\n" % tag
        await wire.send(hint * self.chance.randrange(9, 200) + answer)

    async def early_hints(self, wire: Wire, answer: bytes, tag: bytes) -> None:
        """Send informational answers that claim a body: another one's whole answer."""
        self.lies["1xx with a body"] += 1
        body = told(tag)
        await wire.send(
            b"HTTP/1.1 102 P\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body) + answer
        )

    async def half(self, wire: Wire, answer: bytes, tag: bytes) -> None:
        """Send half of an answer, say nothing, then begin another one."""
        self.lies["half an answer"] += 1
        await wire.send(answer[: self.chance.randrange(1, len(answer))] + told(tag))
        raise ConnectionError

    async def speak(self, wire: Wire, tag: bytes, lie: str) -> None:
        """Send an answer that nobody asked for, unless the next request has come."""
        if not has_request(wire):
            self.lies[lie] += 1
            await wire.send(self.surplus(tag))

    def surplus(self, tag: bytes) -> bytes:
        """Return bytes too many, with the tag of the request before."""
        return self.chance.choice((told(tag), streamed(tag), told(tag)[:30], tag, b"\r\n", b"\0"))


def told(tag: bytes) -> bytes:
    """Return a whole answer that says `tag`."""
    message = {"role": "assistant", "content": f"You said {tag.decode()}."}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    usage = {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13}
    answer = {"id": tag.decode(), "choices": [choice], "usage": usage}
    return whole(json.dumps(answer).encode(), fields=JSON)


def streamed(tag: bytes) -> bytes:
    """Return a stream that says `tag` in each of its events."""
    events = [
        {"id": tag.decode(), "choices": [{"index": 0, "delta": {"content": f"{tag.decode()} "}}]},
        {"id": tag.decode(), "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
    ]
    data = [b"data: " + json.dumps(event).encode() + b"\n\n" for event in events]
    answer = chunked(*data, b"data: [DONE]\n\n")
    return answer.replace(b"\r\n", b"\r\ncontent-type: text/event-stream\r\n", 1)


def has_request(wire: Wire) -> bool:
    """Whether bytes of the next request, or the end, have come."""
    if wire.writer.is_closing():
        return True
    poll = select.poll()
    poll.register(wire.writer.get_extra_info("socket").fileno(), select.POLLIN)
    buffered = wire.reader._buffer  # type: ignore[attr-defined] # no public name tells
    return bool(poll.poll(0) or buffered or wire.reader.at_eof())


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
        tag = f"tag-{self.count:06}"
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
