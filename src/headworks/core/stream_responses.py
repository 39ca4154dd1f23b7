"""Streams of the Responses API."""

from typing import Any

import msgspec
from typing_extensions import override

from headworks.core.recurring import Plain
from headworks.core.sse import MOST_EVENT, encode
from headworks.core.stream_base import NOTHING, Opaque, Stream, is_given
from headworks.errors import CallError, StreamTruncated


class _Incomplete(msgspec.Struct):
    reason: Any = None


class _Answer(Opaque):
    id: str | None = None
    error: msgspec.Raw = NOTHING
    incomplete_details: _Incomplete | None = None


class _Item(msgspec.Struct):
    type: str = ""


class _Added(msgspec.Struct):
    item: _Item


class _Happening(msgspec.Struct):
    type: str = ""
    sequence_number: int | None = None
    delta: Any = None
    response: _Answer | None = None
    error: msgspec.Raw = NOTHING


_decode_happening = msgspec.json.Decoder(_Happening).decode
_decode_added = msgspec.json.Decoder(_Added).decode
_FRAMES = frozenset({"message", "reasoning"})
"""Items that are added empty, to be filled."""

_ANNOUNCEMENTS = frozenset(
    {
        "response.created",
        "response.queued",
        "response.in_progress",
        "response.content_part.added",
        "response.reasoning_summary_part.added",
        "keepalive",
        "ping",
    }
)
"""Events that bring no content."""

_TERMINALS = frozenset({"response.completed", "response.incomplete", "response.failed"})


class ResponsesStream(Stream):
    """Events of the Responses API: the terminal event carries the usage; there is no [DONE]."""

    only_objects = True
    _is_numbered = True

    def __init__(self, most: int = MOST_EVENT) -> None:
        super().__init__(most)
        self._number = -1
        self._id: str | None = None

    @override
    def _done(self, name: bytes) -> None:
        """Ignore it: this dialect has terminal events instead."""

    @override
    def _interpret(self, name: bytes, data: bytes) -> bytes | None:
        event = _decode_happening(data)
        if event.type == "error":  # its number goes to what the caller gets in its place
            self.error = self._event_error(bytes(event.error) if is_given(event.error) else data)
            return None
        if event.sequence_number is not None:
            self._number = event.sequence_number
        if event.response is not None:
            self._id = event.response.id or self._id
            self._learn_usage(event.response)
        self.begun = self.begun or _has_content(event, data)
        if event.type.endswith(".delta") and isinstance(event.delta, str):
            self._learn_text(event.delta)
            self._plain = Plain(b"delta", event.delta) if event.response is None else None
        if event.type not in _TERMINALS:
            return encode(name, data)
        if event.response is not None:
            self._conclude_by(event.response)
        self.ending = encode(name, data if self.failure is None else self.mask(data))
        return None

    @override
    def _repeat(self, event: bytes, text: str) -> None:
        super()._repeat(event, text)
        if number := self._recurring.number_of(event):
            self._number = int(number)

    def _conclude_by(self, answer: _Answer) -> None:
        """Learn from the last event whether the answer is whole."""
        details = answer.incomplete_details
        self.filtered = details is not None and details.reason == "content_filter"
        if is_given(answer.error):
            self.failure = self._event_error(bytes(answer.error))
            self.filtered = self.failure.failure == "content_filter"

    @override
    def _conclude(self) -> None:
        self.error = StreamTruncated("The provider's stream ended without its terminal event.")

    @override
    def encode_error(self, error: CallError) -> bytes:
        out = b""
        body = error.body()["error"]
        if self._id is not None:
            self._number += 1
            failed: dict[str, Any] = {
                "type": "response.failed",
                "sequence_number": self._number,
                "response": {
                    "id": self._id,
                    "object": "response",
                    "status": "failed",
                    "error": {"code": body["code"] or body["type"], "message": body["message"]},
                    "output": [],  # frameworks walk through it before they look at the error
                },
            }
            out = encode(b"response.failed", msgspec.json.encode(failed))
        self._number += 1
        flat = {"code": body["code"], "message": body["message"], "param": body["param"]}
        event = {"type": "error", **flat, "sequence_number": self._number, "error": body}
        return out + encode(b"error", msgspec.json.encode(event))


def _has_content(event: _Happening, data: bytes) -> bool:
    """Return whether an event holds more than the announcement of content."""
    kind = event.type
    if kind in _ANNOUNCEMENTS or kind in _TERMINALS:
        return False
    if kind == "response.output_item.added":
        return _decode_added(data).item.type not in _FRAMES
    return bool(event.delta) if kind.endswith(".delta") else True
