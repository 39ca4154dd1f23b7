"""What a stream of answers means, while it passes: its text, its usage, and whether it ended well.

One reader a dialect. Bytes go in, events for the caller come out; what was learned stands in the
reader's fields. A reader never raises: a fault stands in `error`, and the events before it still
go out. The last event (`ending`) is handed over apart, because the ledger settles before it.
"""

from typing import Any, cast

import msgspec
from typing_extensions import override

from headworks.core.classify import classify
from headworks.core.endpoints import Dialect
from headworks.core.pricing import parse_usage
from headworks.core.sse import SSEDecoder, encode
from headworks.errors import CallError, MalformedEvent, StreamTruncated, UpstreamError
from headworks.types import Request, Usage

NOTHING = msgspec.Raw(b"")
"""A field that is not there."""

Reported = tuple[Usage, tuple[str, ...]]


class Stream:
    """Events of a dialect that we do not know: relayed as they are, ended by their end.

    Attributes:
        reported: The provider's usage and what was odd about it, None until it says so.
        pieces: Count of output pieces; providers send about one token in each.
        text: The output so far, UTF-8.
        ending: The last event, once the stream has ended as it should.
        error: What broke the stream.
        begun: Whether anything for the caller has been decoded.
    """

    def __init__(self) -> None:
        self.reported: Reported | None = None
        self.pieces = 0
        self.text = bytearray()
        self.ending: bytes | None = None
        self.error: UpstreamError | None = None
        self.begun = False
        self._decoder = SSEDecoder()

    @property
    def is_over(self) -> bool:
        """Whether nothing more is to be read."""
        return self.ending is not None or self.error is not None

    def feed(self, chunk: bytes) -> bytes:
        """Return what the caller gets for `chunk`."""
        try:
            return self._take(self._decoder.feed(chunk))
        except UpstreamError as error:
            self.error = error
            return b""

    def finish(self) -> bytes:
        """Note that the provider's bytes are over; return what the caller still gets."""
        out = b"" if self.is_over else self._take(self._decoder.flush())
        if not self.is_over:
            self._conclude()
        return out

    def encode_error(self, error: CallError) -> bytes:
        """Return the events that tell the caller of `error`."""
        return encode(b"", msgspec.json.encode(error.body()))

    def _take(self, events: list[tuple[bytes, bytes]]) -> bytes:
        out: list[bytes] = []
        for name, data in events:
            if self.is_over:
                break
            if data[:6] == b"[DONE]":
                self._done()
            elif (piece := self._read(name, data)) is not None:
                out.append(piece)
        if out:
            self.begun = True
        return b"".join(out)

    def _read(self, name: bytes, data: bytes) -> bytes | None:
        if b"\n" in data:
            data = _one_line(data)
        try:
            return self._interpret(name, data)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            if isinstance(error, msgspec.ValidationError) and is_json(data):
                return encode(name, data)  # JSON of another shape is not ours to judge
            self.error = MalformedEvent("The provider sent an event that is not valid JSON.")
            return None

    def _interpret(self, name: bytes, data: bytes) -> bytes | None:
        """Learn from one event; return its bytes for the caller, None to keep it from them."""
        if b'"usage"' in data:
            self._learn_usage(_decode_opaque(data))
        return encode(name, data)

    def _done(self) -> None:
        """Note a [DONE]."""
        self.ending = _DONE

    def _conclude(self) -> None:
        """Decide what a clean close at this point means."""
        self.ending = b""

    def _learn_usage(self, holder: "_Opaque") -> None:
        if is_given(holder.usage):
            self.reported = parse_usage(bytes(holder.usage), holder.service_tier) or self.reported


def is_given(raw: msgspec.Raw) -> bool:
    """Return whether a field is there and not null."""
    value = bytes(raw)
    return value not in {b"", b"null"}


class _Opaque(msgspec.Struct):
    usage: msgspec.Raw = NOTHING
    service_tier: str | None = None


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


class _Chunk(_Opaque):
    choices: list[_Choice] | None = None
    error: msgspec.Raw = NOTHING


_decode_opaque = msgspec.json.Decoder(_Opaque).decode
_decode_chunk = msgspec.json.Decoder(_Chunk).decode
_decode_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_NULL_USAGE = b',"usage":null}'
_DONE = b"data: [DONE]\n\n"


class ChatStream(Stream):
    """Chunks of chat completions (and legacy completions).

    `shows_usage` is whether the caller asked for the usage chunk. It ends well when every choice
    got its finish_reason; a missing [DONE] is then supplied.
    """

    def __init__(self, *, shows_usage: bool) -> None:
        super().__init__()
        self._shows_usage = shows_usage
        self._open: set[int] = set()
        self._seen = 0

    @override
    def _done(self) -> None:
        self._conclude()

    @override
    def _interpret(self, name: bytes, data: bytes) -> bytes | None:
        chunk = _decode_chunk(data)
        if is_given(chunk.error):
            self.error = event_error(bytes(chunk.error))
            return None
        if chunk.choices:
            for choice in chunk.choices:
                self._learn(choice)
        self._learn_usage(chunk)
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
        if data.endswith(_NULL_USAGE):
            return encode(name, data[: -len(_NULL_USAGE)] + b"}")
        fields = _decode_fields(data)
        fields.pop("usage", None)
        return encode(name, msgspec.json.encode(fields))

    def _learn(self, choice: _Choice) -> None:
        self._seen += 1
        delta = choice.delta
        if choice.finish_reason is not None:
            self._open.discard(choice.index)
        elif delta is None or not is_given(delta.audio):
            self._open.add(choice.index)
        said = choice.text if delta is None else _said(delta)
        if said:
            self.pieces += 1
            self.text += said.encode("utf-8", "replace")

    @override
    def _conclude(self) -> None:
        if self._open or not self._seen:
            self.error = StreamTruncated(
                "The provider's stream ended before every choice had its finish_reason."
            )
        else:
            self.ending = _DONE


class _Error(msgspec.Struct):
    message: Any = None
    type: Any = None
    code: Any = None
    param: Any = None


class _Answer(_Opaque):
    id: str | None = None
    error: _Error | None = None


class _Happening(msgspec.Struct):
    type: str = ""
    sequence_number: int | None = None
    delta: Any = None
    response: _Answer | None = None
    error: msgspec.Raw = NOTHING


_decode_happening = msgspec.json.Decoder(_Happening).decode
_TERMINALS = frozenset({"response.completed", "response.incomplete", "response.failed"})


class ResponsesStream(Stream):
    """Events of the Responses API: the terminal event carries the usage; there is no [DONE]."""

    def __init__(self) -> None:
        super().__init__()
        self._number = -1
        self._id: str | None = None

    @override
    def _done(self) -> None:
        """Ignore it: this dialect has terminal events instead."""

    @override
    def _interpret(self, name: bytes, data: bytes) -> bytes | None:
        event = _decode_happening(data)
        if event.type == "error":  # its number goes to what the caller gets in its place
            self.error = event_error(bytes(event.error) if is_given(event.error) else data)
            return None
        if event.sequence_number is not None:
            self._number = event.sequence_number
        if event.response is not None:
            self._id = event.response.id or self._id
            self._learn_usage(event.response)
        if event.type.endswith(".delta") and isinstance(event.delta, str):
            self.pieces += 1
            self.text += event.delta.encode("utf-8", "replace")
        if event.type in _TERMINALS:
            self.ending = encode(name, data)
            return None
        return encode(name, data)

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


def event_error(raw: bytes) -> UpstreamError:
    """Return the error that a stream's event carries, classified like one with a status."""
    return classify(200, (), raw, now=0.0)


def _said(delta: _Delta) -> str:
    """Return the output in a delta: what the provider bills tokens for."""
    if delta.tool_calls:
        functions = (call.function for call in delta.tool_calls if call.function is not None)
        return "".join((one.name or "") + (one.arguments or "") for one in functions)
    return delta.content or delta.refusal or ""


def _one_line(data: bytes) -> bytes:
    """Join JSON that was sent over several lines; a line end inside a string stays malformed."""
    return data.replace(b"\n", b" ") if is_json(data) else data


def is_json(data: bytes) -> bool:
    """Return whether `data` is JSON to its end; a typed decoder stops at the first wrong type."""
    try:
        msgspec.json.decode(data, type=msgspec.Raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False
    return True


def open_stream(dialect: Dialect, request: Request) -> Stream:
    """Return the reader for the events that answer a request."""
    if dialect == "chat":
        return ChatStream(shows_usage=wants_usage(request))
    return ResponsesStream() if dialect == "responses" else Stream()


def wants_usage(request: Request) -> bool:
    """Return whether the caller asked for the usage chunk of a chat stream."""
    options: object = request.fields.get("stream_options")
    return (
        isinstance(options, dict)
        and cast("dict[str, object]", options).get("include_usage") is True
    )
