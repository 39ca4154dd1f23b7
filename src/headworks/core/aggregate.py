"""Puts the events of a streamed answer together to the answer that it would have been in one piece.

One pass, while the events go by: texts are collected and joined once, so the cost is linear. What
comes out is equal to the answer without streaming, as far as the events tell it. Nothing of it
raises: what is no JSON object, and events of an unknown kind, are left out; fields that nobody
knows are kept, by the rules of `aggregate_grow`.
"""

import json
from typing import Any, Protocol, cast

import msgspec

from headworks.core.aggregate_chat import ChatAggregate
from headworks.core.aggregate_media import MediaAggregate
from headworks.core.aggregate_responses import ResponsesAggregate
from headworks.core.shapes import Fields, as_fields
from headworks.core.sse import SSEDecoder
from headworks.errors import MalformedEvent

MOST = 64 * 1024 * 1024
"""Bytes of events that one answer is put together from, unless told otherwise."""

_decode, _encode = msgspec.json.decode, msgspec.json.encode
_MEDIA = ("image_generation.", "image_edit.", "transcript.text.")
_PARSED: Any = {"parsed_arguments": True, "content": {"__all__": {"parsed": True}}}
_ADDED: Any = {"snapshot": True, "parsed": True, "response": {"output": {"__all__": _PARSED}}}
"""What the official clients' own stream helpers add to events."""


class Aggregate(Protocol):
    """One kind of answer in the making."""

    @property
    def is_complete(self) -> bool:
        """Whether the events have told the whole answer."""
        ...

    def feed(self, event: Fields) -> None:
        """Take in one event."""
        ...

    def result(self) -> Fields:
        """Return the answer as far as it was told."""
        ...


class Aggregator:
    """The complete answer of one stream: of a chat, a completion, a response, images, a transcript.

    Which of them it is, the events tell. The method `event` fits `Stream.seen`, for whoever wants
    the complete object of an answer that passes; where nobody wants it, nothing is decoded.

    Args:
        most: Bytes of events to put together; with more of them it gives up and forgets them all.

    Attributes:
        gave_up: Whether there was more than it may hold.
    """

    __slots__ = ("_answer", "_decoder", "_is_broken", "_left", "gave_up")

    def __init__(self, most: int = MOST) -> None:
        self._answer: Aggregate | None = None
        self._decoder = SSEDecoder(most)
        self._left = most
        self._is_broken = self.gave_up = False

    @property
    def is_complete(self) -> bool:
        """Whether the events have told the whole answer, and no error."""
        answer = self._answer
        return answer is not None and answer.is_complete and not self._is_broken

    def feed(self, event: object) -> None:
        """Take in what the stream brings next.

        That is an event as a dict or as the object of an official client, not to be changed by
        anybody afterwards, or bytes or text of the wire, cut anywhere.
        """
        if isinstance(event, bytes | bytearray):
            self._read(bytes(event))
        elif isinstance(event, str):
            self._read(event.encode("utf-8", "replace"))
        elif not self.gave_up:
            try:
                fields = _as_event(event)
                size = _size(fields)
            except (TypeError, ValueError, RecursionError):
                self._is_broken = True
            else:
                self._take(fields, size)

    def event(self, name: bytes, data: bytes) -> None:  # noqa: ARG002 - its JSON tells its type
        """Take in one event that was cut from the wire."""
        if self.gave_up or data[:6] == b"[DONE]":
            return
        fields = _parsed(data)
        if fields is None:
            self._is_broken = True
        else:
            self._take(fields, len(data))

    def finish(self) -> None:
        """Take in a last event on the wire that lacks its end."""
        for event in self._decoder.flush():
            self.event(*event)

    def result(self) -> Fields | None:
        """Return the answer as far as it was told, None where nothing was or it gave up.

        The finish_reason of a choice that has not ended is None; a response that has not is
        `incomplete` for the reason `upstream_stream_truncated`, or `failed` after an error event.
        What is within it is shared with later results.
        """
        return None if self._answer is None else self._answer.result()

    def _read(self, piece: bytes) -> None:
        if self.gave_up:
            return
        try:
            events = self._decoder.feed(piece)
        except MalformedEvent:
            self._give_up()
            return
        for event in events:
            self.event(*event)

    def _take(self, fields: Fields, size: int) -> None:
        self._left -= size
        if self._left < 0:
            self._give_up()
            return
        if fields.get("error") or fields.get("type") == "error":
            self._is_broken = True
        if self._answer is None:
            self._answer = _begin(fields)
        if self._answer is not None:
            self._answer.feed(fields)

    def _give_up(self) -> None:
        self.gave_up, self._answer = True, None


def _begin(fields: Fields) -> Aggregate | None:
    """Return what the first telling event is an event of."""
    if "choices" in fields:
        return ChatAggregate()
    kind: Any = fields.get("type")
    if not isinstance(kind, str):
        return None
    if kind.startswith("response."):
        return ResponsesAggregate()
    return MediaAggregate() if kind.startswith(_MEDIA) else None


def _parsed(data: bytes) -> Fields | None:
    """Return an event's object, an empty one for JSON of another kind, None for no JSON.

    What only the parser of official clients takes, such as half a surrogate pair, it takes as well.
    """
    try:
        value: object = _decode(data)
    except (ValueError, RecursionError):
        try:
            value = json.loads(data)
        except (ValueError, RecursionError):
            return None
    return as_fields(value)


def _as_event(event: Any) -> Fields:
    """Return the object of an event that an official client has read, without what it added."""
    if isinstance(event, dict):
        fields = cast("Fields", event)
        return as_fields(fields.get("chunk")) if fields.get("type") == "chunk" else fields
    if getattr(event, "type", None) == "chunk":
        event = getattr(event, "chunk", None)
    if not hasattr(event, "model_dump"):
        return {}
    return as_fields(
        event.model_dump(by_alias=True, exclude_unset=True, exclude=_ADDED, warnings=False)
    )


def _size(fields: Fields) -> int:
    """Return about how many bytes an event is on the wire, or raise for what never was on one."""
    try:
        return len(_encode(fields))
    except UnicodeEncodeError:
        return len(repr(fields))
