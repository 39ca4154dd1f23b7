"""A reader of a stream whose text is cut anew, and the events that providers send."""

import json
from dataclasses import dataclass, field
from typing import Any

from headworks.core.buffering import Buffer
from headworks.core.buffering_texts import FORMS
from headworks.types import BufferMode

CHAT, COMPLETIONS, RESPONSES = FORMS
MODES: tuple[BufferMode, ...] = ("words", "sentences", "interval")
DELAY = 0.05


def encode(value: Any, *, spaced: bool = False) -> bytes:
    separators = (", ", ": ") if spaced else (",", ":")
    name = str(value.get("type", ""))
    head = b"event: " + name.encode() + b"\n" if name else b""
    return head + b"data: " + json.dumps(value, separators=separators, ensure_ascii=False).encode() + b"\n\n"  # fmt: skip


def chunk(text: str | None = None, index: int = 0, finish: str | None = None, **more: Any) -> Any:
    delta = {} if text is None else {"content": text}
    choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish}
    choice |= {name: more.pop(name) for name in ("delta", "logprobs") if name in more}
    return {"id": "c", "object": "chat.completion.chunk", "choices": [choice], **more}


def legacy(text: str, index: int = 0) -> Any:
    choice = {"text": text, "index": index, "logprobs": None, "finish_reason": None}
    return {"id": "c", "object": "text_completion", "choices": [choice]}


def delta(text: str, number: int, part: int = 0, **more: Any) -> Any:
    return {
        "type": "response.output_text.delta",
        "content_index": part,
        "delta": text,
        "item_id": "msg_1",
        "logprobs": [],
        "output_index": 0,
        "sequence_number": number,
        **more,
    }


@dataclass
class Reader:
    """A client: it takes what leaves, and remembers when."""

    path: str = CHAT
    mode: BufferMode = "words"
    delay: float = DELAY
    now: float = 100.0
    out: bytes = b""
    events: list[Any] = field(default_factory=list[Any])
    buffer: Buffer = field(init=False)

    def __post_init__(self) -> None:
        self.buffer = Buffer(FORMS[self.path], self.mode, self.delay)

    def feed(self, *values: Any, spaced: bool = False) -> list[Any]:
        """Feed some events at once; return those that leave."""
        wire = b"".join(one if isinstance(one, bytes) else encode(one, spaced=spaced) for one in values)  # fmt: skip
        return self._took(self.buffer.feed(wire, self.now))

    def wait(self, seconds: float) -> list[Any]:
        """Let time pass; return what leaves then."""
        self.now += seconds
        return self._took(self.buffer.feed(b"", self.now))

    def flush(self) -> list[Any]:
        return self._took(self.buffer.flush())

    def _took(self, out: bytes) -> list[Any]:
        self.out += out
        events = read(out)
        self.events += events
        return events


def read(wire: bytes) -> list[Any]:
    """Return the events of whole, well-formed SSE."""
    assert not wire or wire.endswith(b"\n\n")
    events = list[Any]()
    for block in wire.split(b"\n\n")[:-1]:
        *names, data = block.split(b"\n")
        assert data.startswith(b"data: ")
        value: Any = None if data == b"data: [DONE]" else json.loads(data[6:])
        if names:
            assert names == [b"event: " + value["type"].encode()]
        events.append(value)
    return events


def text_of(event: Any) -> str | None:
    """Return the text that an event brings, if that is all."""
    told = event or {}
    if told.get("type") == "response.output_text.delta":
        text = told["delta"]
    else:
        choice = (told.get("choices") or [{}])[0]
        text = choice.get("text", choice.get("delta", {}).get("content"))
    return text if isinstance(text, str) else None


def texts(events: list[Any]) -> list[str | None]:
    return [text_of(event) for event in events]
