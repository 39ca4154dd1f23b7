"""Streams of chat completions, and of legacy completions."""

from typing import Any

import msgspec
from typing_extensions import override

from headworks.core.recurring import NO_USAGE, Plain
from headworks.core.sse import MOST_EVENT, encode
from headworks.core.stream_base import DONE, NOTHING, Opaque, Stream, is_given
from headworks.errors import StreamTruncated


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: str | None = None


class _ToolCall(msgspec.Struct):
    function: _Function | None = None


class _Delta(msgspec.Struct):
    content: str | None = None
    refusal: str | None = None
    tool_calls: list[_ToolCall] | None = None
    audio: msgspec.Raw = NOTHING


class _Choice(msgspec.Struct):
    index: int = 0
    delta: _Delta | None = None
    text: str | None = None
    finish_reason: str | None = None


class _Opening(msgspec.Struct):
    delta: dict[str, Any] | None = None
    text: str | None = None
    finish_reason: str | None = None


class _Openings(msgspec.Struct):
    choices: list[_Opening]


class _Chunk(Opaque):
    choices: list[_Choice] | None = None
    error: msgspec.Raw = NOTHING


_decode_chunk = msgspec.json.Decoder(_Chunk).decode
_decode_openings = msgspec.json.Decoder(_Openings).decode
_decode_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class ChatStream(Stream):
    """Chunks of chat completions (and legacy completions).

    `shows_usage` is whether the caller asked for the usage chunk, `choices` how many it did. It ends well when every choice
    got its finish_reason; a missing [DONE] is then supplied. The usage chunk is the last one before
    it (OpenAI API reference, `stream_options.include_usage`).
    """

    only_objects = True

    def __init__(self, most: int = MOST_EVENT, *, shows_usage: bool, choices: int = 1) -> None:
        super().__init__(most)
        self._shows_usage = shows_usage
        self._choices = choices
        self._open: set[int] = set()
        self._ended: set[int] = set()
        self._seen = 0

    @property
    @override
    def is_answered(self) -> bool:
        return len(self._ended) >= self._choices and not self._open

    @override
    def _done(self, name: bytes) -> None:
        self._conclude()

    @override
    def _interpret(self, name: bytes, data: bytes) -> bytes | None:
        chunk = _decode_chunk(data)
        if is_given(chunk.error):
            self.error = self._event_error(b'{"error":%b}' % bytes(chunk.error))
            return None
        if chunk.choices:
            for choice in chunk.choices:
                self._learn(choice)
            self.begun = self.begun or _has_content(data)
            if len(chunk.choices) == 1 and not is_given(chunk.usage):
                self._plain = _plain(chunk.choices[0])
        self._learn_usage(chunk)
        if not chunk.choices and is_given(chunk.usage):
            self.is_said = bool(self._seen) and not self._open
        if self._shows_usage:
            return (
                encode(name, data) if chunk.choices is not None or is_given(chunk.usage) else None
            )
        return self._without_usage(name, data, chunk)

    def _without_usage(self, name: bytes, data: bytes, chunk: _Chunk) -> bytes | None:
        if not chunk.choices and (is_given(chunk.usage) or chunk.choices is None):
            return None
        if b'"usage"' not in data:
            return encode(name, data)
        for null in NO_USAGE:
            if data.endswith(null + b"}"):
                return encode(name, data[: -len(null) - 1] + b"}")
        fields = _decode_fields(data)
        fields.pop("usage", None)
        return encode(name, msgspec.json.encode(fields))

    def _learn(self, choice: _Choice) -> None:
        self._seen += 1
        delta = choice.delta
        if choice.finish_reason is not None:
            self._open.discard(choice.index)
            self._ended.add(choice.index)
            self.filtered = self.filtered or choice.finish_reason == "content_filter"
        elif choice.index not in self._ended and not (delta and is_given(delta.audio)):
            self._open.add(choice.index)  # what a filter says behind an end opens nothing
        said = choice.text if delta is None else _said(delta)
        if said:
            self._learn_text(said)

    @override
    def _conclude(self) -> None:
        if self._open or not self._seen:
            self.error = StreamTruncated(
                "The provider's stream ended before every choice had its finish_reason."
            )
        else:
            self.ending = DONE


def _has_content(data: bytes) -> bool:
    """Return whether a chunk holds more than the role of who is going to speak.

    What we do not know, such as the thoughts that some providers show, is content too.
    """
    return any(
        choice.finish_reason
        or choice.text
        or any(value for name, value in (choice.delta or {}).items() if name != "role")
        for choice in _decode_openings(data).choices
    )


def _plain(choice: _Choice) -> Plain | None:
    """Return what a choice brings to one that has begun, None if that is more than one text."""
    delta = choice.delta
    if choice.finish_reason is not None:
        return None
    if delta is None:
        return Plain(b"text", choice.text or "")
    if delta.refusal or is_given(delta.audio) or (delta.content and delta.tool_calls):
        return None
    return Plain(b"content", delta.content) if delta.content else _arguments(delta)


def _arguments(delta: _Delta) -> Plain | None:
    """Return what a delta brings to the arguments of one tool, whose name has come before."""
    calls = delta.tool_calls
    said = calls[0].function if calls and len(calls) == 1 else None
    if said is None or said.name:
        return None
    return Plain(b"arguments", said.arguments or "")


def _said(delta: _Delta) -> str:
    """Return the output in a delta: what the provider bills tokens for."""
    if delta.tool_calls:
        functions = (call.function for call in delta.tool_calls if call.function is not None)
        return "".join((one.name or "") + (one.arguments or "") for one in functions)
    return delta.content or delta.refusal or ""
