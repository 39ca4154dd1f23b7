"""A provider that tells each caller its own tag, in every event, and more than it was asked.

What no client can see are bytes that reach a connection after its next request has: over HTTP/1.1
they are that request's answer. So it lies at every moment up to that one, and no later: it looks
whether the next request is there already before it speaks unasked.
"""

import asyncio
import json
import random
import re
import select
from collections import Counter
from dataclasses import dataclass, field

from tests.upstream.scripted import Wire, chunked, whole

TAG = re.compile(rb"t\d\d-\d{6}")
"""A tenant, and the number of its call."""
LARGE = "x" * 200_000
JSON = b"content-type: application/json\r\n"


@dataclass
class Liar:
    """Answers each request with its own tag, now and then with more than that.

    Attributes:
        known: The lies it tells, and `share` how often; `lies` counts them.
        answers_early: Whether it answers large requests before it has read them.
        dribbles: Whether answers come in pieces, so that callers can leave in their middle.
        failures: Share of the answers that are errors, some of them worth another try.
        mixed: Requests whose head and body name different tags: they were mixed up on the way.
        confuses: Whether it tells every hundredth caller another one's tag.
    """

    chance: random.Random
    share: float
    known: tuple[str, ...]
    answers_early: bool
    dribbles: bool = False
    failures: float = 0.0
    confuses: bool = False
    lies: Counter[str] = field(default_factory=Counter)
    mixed: list[tuple[bytes, list[bytes]]] = field(default_factory=list)
    _last: bytes = b"t99-999999"

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
        if set(TAG.findall(head + content)) - {tag}:
            self.mixed.append((tag, TAG.findall(content)))
        tag, self._last = (self._last if self._is_confused() else tag), tag
        answer = self.fit(content, tag)
        if lie:
            await getattr(self, lie)(wire, answer, tag)
        elif self.dribbles:
            await self.dribble(wire, answer)
        else:
            await wire.send(answer)

    def _is_confused(self) -> bool:
        return self.confuses and self.chance.random() < 0.01

    def fit(self, content: bytes, tag: bytes) -> bytes:
        """Return an answer to the request: an event stream, a JSON object or an error."""
        if self.chance.random() < self.failures:
            status = self.chance.choice((400, 429, 500, 503))
            error = {"message": f"No luck, {tag.decode()}.", "type": "error", "code": None}
            return whole(json.dumps({"error": error}).encode(), status, fields=JSON)
        return streamed(tag) if json.loads(content).get("stream") else told(tag)

    async def dribble(self, wire: Wire, answer: bytes) -> None:
        """Send an answer in pieces."""
        while answer:
            count = self.chance.randrange(1, 900)
            await wire.send(answer[:count])
            answer = answer[count:]
            await asyncio.sleep(self.chance.choice((0, 0, 0, 0.001)))

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
    word = {"index": 0, "delta": {"content": f"{tag.decode()} "}}
    last = {"index": 0, "delta": {}, "finish_reason": "stop"}
    events = [{"id": tag.decode(), "choices": [one]} for one in (*[word] * 6, last)]
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
