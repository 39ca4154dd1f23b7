"""A liar that speaks to all endpoints, and in the shape that was not asked for now and then."""

import json
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from typing_extensions import override

from tests.faults.liar import JSON, TAG, Liar, streamed, told
from tests.upstream.scripted import Wire, chunked, whole

_LIES = ("same_packet", "flood", "early_hints", "half", "later")
_TAG = b"t00-000000"
_USAGE = {"input_tokens": 9, "output_tokens": 4, "total_tokens": 13}


def _response(status: str) -> dict[str, Any]:
    content = [{"type": "output_text", "text": f"You said {_TAG.decode()}.", "annotations": []}]
    item = {"type": "message", "id": "msg_1", "role": "assistant", "content": content}
    id_ = f"resp_{_TAG.decode()}"
    return {"id": id_, "object": "response", "status": status, "output": [item], "usage": _USAGE}


def _json(answer: Mapping[str, Any]) -> bytes:
    return whole(json.dumps(answer).encode(), fields=JSON + b"x-request-id: req-%b\r\n" % _TAG)


def _response_stream() -> bytes:
    delta = {"type": "response.output_text.delta", "item_id": "msg_1", "output_index": 0}
    begun = {**_response("in_progress"), "output": [], "usage": None}
    events: list[dict[str, Any]] = [
        {"type": "response.created", "response": begun},
        *[{**delta, "content_index": 0, "delta": f"{_TAG.decode()} "}] * 5,
        {"type": "response.completed", "response": _response("completed")},
    ]
    numbered = [{**event, "sequence_number": number} for number, event in enumerate(events)]
    answer = chunked(
        *(f"event: {one['type']}\ndata: {json.dumps(one)}\n\n".encode() for one in numbered)
    )
    return answer.replace(b"\r\n", b"\r\ncontent-type: text/event-stream\r\n", 1)


_VECTOR = {"object": "embedding", "index": 0, "embedding": [0.5, 0.25]}
_EMBEDDINGS = {"object": "list", "model": _TAG.decode(), "data": [_VECTOR], "usage": {"prompt_tokens": 3, "total_tokens": 3}}  # fmt: skip
ANSWERS = {
    ("chat", False): told(_TAG),
    ("chat", True): streamed(_TAG),
    ("responses", False): _json(_response("completed")),
    ("responses", True): _response_stream(),
    ("embeddings", False): _json(_EMBEDDINGS),
    ("form", False): _json({"text": f"You said {_TAG.decode()}.", "usage": {"type": "duration", "seconds": 3}}),
}  # fmt: skip


@dataclass
class Tongue(Liar):
    """Answers what is asked, each call with its own tag.

    Attributes:
        owned: By the tag in a request's head, all tags that may be in the request.
        turns: Share of the answers that come as a stream where none was asked for, or in one piece.
    """

    owned: dict[bytes, set[bytes]] = field(default_factory=dict[bytes, set[bytes]])
    turns: float = 0.06

    @override
    async def answer(self, wire: Wire) -> None:
        head = (await wire.reader.readuntil(b"\r\n\r\n")).lower()
        named = TAG.findall(head)[0]
        lie = self.chance.choice(self.known) if self.chance.random() < self.share else ""
        length = head.partition(b"content-length: ")[2].partition(b"\r\n")[0]
        if self.answers_early and int(length or 0) > 200_000:
            await self.early_answer(wire, told(named), named, int(length))
            return
        content = await (wire.reader.readexactly(int(length)) if length else _chunks(wire))
        tags = TAG.findall(content)
        if not self.owned.get(named, {named}).issuperset((*TAG.findall(head), *tags)):
            self.mixed.append((named, tags))
        tag, self._last = (self._last if self._is_confused() else tags[0]), tags[0]
        answer = self.fit(content, tag)
        if lie:
            await getattr(self, lie)(wire, answer, tag)
        elif self.dribbles and self.chance.random() < 0.3:
            await self.dribble(wire, answer)
        else:
            await wire.send(answer)

    @override
    def fit(self, content: bytes, tag: bytes) -> bytes:
        if self.chance.random() < self.failures:
            return self.failure(tag)
        if content.startswith(b"--"):
            asked, is_streamed = "form", False
        else:
            asked = "chat" if b'"messages"' in content else "responses"
            asked = "embeddings" if b'"dimensions"' in content else asked
            is_streamed = b'"stream": true' in content or b'"stream":true' in content
        if asked in {"chat", "responses"} and self.chance.random() < self.turns:
            self.lies["the other shape"] += 1
            is_streamed = not is_streamed
        return ANSWERS[asked, is_streamed].replace(_TAG, tag)

    def failure(self, tag: bytes) -> bytes:
        """Return an error, some of them worth another try."""
        status = self.chance.choice((400, 500, 502, 503))
        error = {"message": f"No luck, {tag.decode()}.", "type": "error", "code": None}
        return whole(json.dumps({"error": error}).encode(), status, fields=JSON)


async def _chunks(wire: Wire) -> bytes:
    """Read a body that comes in chunks."""
    body = b""
    while size := int(await wire.reader.readuntil(b"\r\n"), 16):
        body += await wire.reader.readexactly(size)
        await wire.reader.readexactly(2)
    await wire.reader.readexactly(2)
    return body


def honest(kind: type[Tongue], seed: int, **more: Any) -> Tongue:
    """Return a provider that lies in every way that a client can see through."""
    chance = random.Random(seed + 1)
    options: dict[str, Any] = {"dribbles": True, "failures": 0.06, **more}
    return kind(chance, 0.03, _LIES, answers_early=True, **options)
