"""What the messages of a WebSocket connection mean for its accounts.

Theory. A connection carries many responses, in one of two dialects. Each is asked for by the
caller's `response.create`, or begun by the provider itself when somebody has finished speaking. It
is named by `response.created`, grows by deltas, and ends with an event that tells its usage:
`response.done` (Realtime), `response.completed` and its like (Responses). Responses of one lane
(`stream_id`) come in the order in which they were asked for; Realtime has one lane. An `error` ends
the response that it is about, or the oldest of its lane that has not begun: one that begins after
all is then taken for the provider's own, and booked anew.

Beside the responses a Realtime session may have its caller's sound transcribed, by a model of its
own, which its settings name; each transcript tells what it has used when it is there.

What has no report is counted upwards: text by its length, sound by its time. A Realtime response
reads all that was said before, so the last report and what came since are its input.
"""

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NamedTuple, cast
from urllib.parse import unquote_plus

import msgspec

from headworks.core.pricing import parse_usage
from headworks.core.shapes import as_fields
from headworks.core.stream_base import NOTHING, Reported, is_given
from headworks.core.strict_json import parse_object
from headworks.core.tokens import guess, output_bound
from headworks.errors import CallError, InvalidRequest
from headworks.types import NO_USAGE, Secret

Dialect = Literal["realtime", "responses"]

DIALECTS: Final[Mapping[str, Dialect]] = {
    "/v1/realtime": "realtime",
    "/v1/responses": "responses",
}
"""The paths that take WebSocket connections."""

LONGEST_ANSWER: Final = 4096
"""Output tokens of a Realtime response that sets no bound."""

_CREATE: Final = "response.create"
_KEY: Final = "openai-insecure-api-key."
_KEPT_BACK: Final = (_KEY, "openai-organization.", "openai-project.")
"""What browsers say in the list of subprotocols, where they cannot set header fields."""
_ENDINGS: Final = frozenset(
    {"response.done", "response.completed", "response.incomplete", "response.failed"}
)
_HEARD: Final = 1000
"""Characters of sound, in base64, that one token of input may have: 0.1 s at 8 kHz, 8 bits."""
_SPOKEN: Final = 500
"""The same of output: a token is 0.05 s."""
_MOST_ENDED: Final = 256
"""Ids of responses that are remembered behind their end."""


class Asked(NamedTuple):
    """A response that a caller asks for: its fields, and how errors about it are addressed."""

    fields: dict[str, Any]
    event_id: str
    lane: str


@dataclass(eq=False, slots=True)
class Turn:
    """One response.

    Attributes:
        before: Tokens that it reads beside what asks for it.
        text: What it has said, UTF-8; `sound` in tokens likewise.
        model: Which model it is by, "" for the one that was asked for.
    """

    event_id: str
    lane: str
    before: int
    id: str = ""
    pieces: int = 0
    sound: int = 0
    text: bytearray = field(default_factory=bytearray)
    model: str = ""


class Heard(NamedTuple):
    """What an event of the provider's does to a response.

    It was begun unasked, has ended as its provider reports, has broken off, or was refused.
    """

    kind: Literal["begun", "ended", "broken", "refused"]
    turn: Turn
    reported: Reported | None = None
    outcome: str = "completed"


class _Answer(msgspec.Struct):
    id: str | None = None
    status: str | None = None
    service_tier: Any = None
    usage: msgspec.Raw = NOTHING


class _Error(msgspec.Struct):
    event_id: str | None = None
    code: str | None = None
    type: str | None = None


class _Event(msgspec.Struct):
    type: str = ""
    response_id: str | None = None
    stream_id: str | None = None
    delta: Any = None
    response: _Answer | None = None
    error: _Error | None = None
    usage: msgspec.Raw = NOTHING
    session: Any = None


_decode = msgspec.json.Decoder(_Event).decode


class Talk:
    """Follows the messages of one connection. Never raises over what a provider says.

    Attributes:
        wanted: The models that the caller's last message wants its sound transcribed by.
        named: The models that it names for the connection, by the part of it that does.
    """

    def __init__(self, dialect: Dialect) -> None:
        self.dialect: Dialect = dialect
        self._waiting: list[Turn] = []
        self._begun: dict[str, Turn] = {}
        self._ended: OrderedDict[str, None] = OrderedDict()
        self._known = self._fresh = 0
        self._transcriber = ""
        self.wanted: tuple[str, ...] = ()
        self.named: dict[str, str] = {}

    @property
    def is_quiet(self) -> bool:
        """Whether no response is under way."""
        return not (self._waiting or self._begun)

    def read(self, content: bytes) -> Asked | None:
        """Return what a caller's message asks for, None where that is no response.

        Raises:
            CallerError: The message has no meaning, or more than one.
        """
        message = parse_object(content)
        kind = message.get("type")
        if not isinstance(kind, str):
            raise InvalidRequest("A message must be an object with a type.", param="type")
        self.wanted = _transcribers(message.get("session"))
        self.named = self._named(message)
        if kind != _CREATE:
            if kind == "input_audio_buffer.append":
                self._fresh += _sound(message.get("audio"), _HEARD)
            else:
                self._fresh += guess(content)
            return None
        event_id, lane = message.get("event_id"), message.get("stream_id")
        fields = message
        if self.dialect == "realtime":
            fields, lane = dict(as_fields(message.get("response"))), ""
        return Asked(fields, event_id if isinstance(event_id, str) else "", _lane(lane))

    def expect(self, asked: Asked) -> Turn:
        """Return the response that was asked for; it is waited for from now on."""
        turn = self._turn(asked.event_id, asked.lane)
        self._waiting.append(turn)
        return turn

    def forget(self, turn: Turn) -> None:
        """Wait no more for a response: it was not asked for after all."""
        if turn in self._waiting:
            self._waiting.remove(turn)

    def hear(self, content: bytes) -> Heard | None:
        """Return what an event of the provider's does to a response, None for nothing."""
        try:
            event = _decode(content)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None  # what has another shape is not ours to judge
        return self._end(event) if event.type in _ENDINGS else self._follow(event)

    def _named(self, message: Mapping[str, Any]) -> dict[str, str]:
        """Return what a message says of the model that the whole connection has."""
        if self.dialect == "responses":
            return {}
        parts = {
            part: as_fields(message.get(part)).get("model") for part in ("session", "response")
        }
        return {part: str(model) for part, model in parts.items() if model is not None}

    def _follow(self, event: _Event) -> Heard | None:
        match event.type:
            case "response.created":
                return self._begin(event)
            case "error":
                return self._break(event)
            case "conversation.item.input_audio_transcription.completed":
                return self._transcribe(event)
            case kind:
                if kind.endswith(".delta") and isinstance(event.delta, str):
                    self._grow(event, event.delta)
                self._transcriber = next(iter(_transcribers(event.session)), self._transcriber)
                return None

    def _transcribe(self, event: _Event) -> Heard | None:
        if not is_given(event.usage):
            return None
        reported = _reported(_Answer(usage=event.usage)) or (NO_USAGE, ("seconds_not_priced",))
        return Heard("ended", Turn("", "", 0, model=self._transcriber or "unknown"), reported)

    def _turn(self, event_id: str, lane: str) -> Turn:
        is_kept = self.dialect == "realtime"
        return Turn(event_id, lane, self._known + self._fresh if is_kept else 0)

    def _begin(self, event: _Event) -> Heard | None:
        id_ = _id(event)
        if not id_ or id_ in self._begun or id_ in self._ended:
            return None
        turn = self._oldest(_lane(event.stream_id))
        if turn is not None:
            self._waiting.remove(turn)
        found = turn or self._turn("", _lane(event.stream_id))
        found.id = id_
        self._begun[id_] = found
        return Heard("begun", found) if turn is None else None

    def _end(self, event: _Event) -> Heard | None:
        id_, lane = _id(event), _lane(event.stream_id)
        if id_ in self._ended:
            return None
        turn = self._begun.pop(id_, None) or self._oldest(lane) or self._turn("", lane)
        self.forget(turn)
        self._note_end(id_)
        answer = event.response or _Answer()
        reported = _reported(answer)
        if reported is not None:
            self._known, self._fresh = reported[0].input + reported[0].output, 0
        has_failed = "failed" in {answer.status, event.type.removeprefix("response.")}
        if reported is None and has_failed and not turn.pieces:
            return Heard("refused", turn, None, "failed")
        return Heard("ended", turn, reported, "failed" if has_failed else "completed")

    def _break(self, event: _Event) -> Heard | None:
        error = event.error or _Error()
        lane, outcome = _lane(event.stream_id), error.code or error.type or "error"
        turn = next((one for one in self._waiting if one.event_id == error.event_id), None)
        if turn is None and self.dialect == "responses":
            turn = next((one for one in self._begun.values() if one.lane == lane), None)
        if turn is None and not error.event_id:
            turn = self._oldest(lane, unnamed=self.dialect == "realtime")
        if turn is None:
            return None
        self.forget(turn)
        if self._begun.pop(turn.id, None) is None:
            return Heard("refused", turn, None, outcome)
        self._note_end(turn.id)
        return Heard("broken", turn, None, outcome)

    def _grow(self, event: _Event, delta: str) -> None:
        turn = self._begun.get(_id(event))
        if turn is None:
            lane = _lane(event.stream_id)
            turn = next((one for one in self._begun.values() if one.lane == lane), None)
        if turn is None:
            return
        turn.pieces += 1
        if event.type.endswith("audio.delta"):
            turn.sound += _sound(delta, _SPOKEN)
        else:
            turn.text += delta.encode("utf-8", "replace")

    def _oldest(self, lane: str, *, unnamed: bool = False) -> Turn | None:
        """Return the response of a lane that is next to begin."""
        found = (one for one in self._waiting if one.lane == lane)
        return next((one for one in found if not (unnamed and one.event_id)), None)

    def _note_end(self, id_: str) -> None:
        if id_:
            self._ended[id_] = None
            if len(self._ended) > _MOST_ENDED:
                self._ended.popitem(last=False)


def longest(fields: Mapping[str, Any]) -> int:
    """Return the most output tokens of a Realtime response."""
    return output_bound(fields) or LONGEST_ANSWER


def complaint(dialect: Dialect, error: CallError, asked: Asked | None, id_: str) -> str:
    """Return the event that tells a caller what was not done, and why."""
    told: dict[str, Any] = dict(error.body()["error"])
    event: dict[str, Any] = {"type": "error"}
    if dialect == "realtime":
        event["event_id"] = f"event_{id_}"
        told["event_id"] = asked.event_id if asked is not None and asked.event_id else None
    else:
        event["status"] = error.status
        told["type"] = told["type"] or "server_error"
        if asked is not None and asked.lane:
            event["stream_id"] = asked.lane
    return msgspec.json.encode({**event, "error": told}).decode()


def split_model(query: bytes) -> tuple[str, bytes]:
    """Return the model that a query names, "" for none, and the query without it.

    Raises:
        InvalidRequest: It names several.
    """
    parts = [part for part in query.split(b"&") if part]
    named = [part for part in parts if _name(part) == "model"]
    if len(named) > 1:
        raise InvalidRequest("The query must name one model.", param="model")
    rest = b"&".join(part for part in parts if part not in named)
    value = named[0].partition(b"=")[2] if named else b""
    return unquote_plus(value.decode("latin-1"), errors="replace"), rest


def split_subprotocols(offered: Iterator[str]) -> tuple[Secret | None, list[str]]:
    """Return the key that is hidden among subprotocols, and those that may go on."""
    key, others = None, list[str]()
    for one in offered:
        if one.startswith(_KEY):
            key = Secret(one.removeprefix(_KEY))
        elif one and not one.startswith(_KEPT_BACK):
            others.append(one)
    return key, others


def names_of(query: bytes) -> frozenset[str]:
    """Return the names of a query's parameters."""
    return frozenset(map(_name, query.split(b"&")))


def _name(part: bytes) -> str:
    """Return the name of a parameter as the most generous reader takes it."""
    return unquote_plus(part.partition(b"=")[0].decode("latin-1")).strip().lower()


def _lane(value: object) -> str:
    return value if isinstance(value, str) else ""


def _id(event: _Event) -> str:
    answer = event.response
    return (answer.id if answer is not None else event.response_id) or ""


def _transcribers(session: object) -> tuple[str, ...]:
    """Return the models that a session's settings have sound transcribed by, in both spellings."""
    settings = as_fields(session)
    sound = as_fields(as_fields(settings.get("audio")).get("input"))
    chosen = (sound.get("transcription"), settings.get("input_audio_transcription"))
    models = [as_fields(one).get("model") for one in chosen]
    return tuple(model for model in models if isinstance(model, str) and model)


def _sound(value: object, characters: int) -> int:
    return -(-len(value) // characters) if isinstance(value, str) else 0


def _reported(answer: _Answer) -> Reported | None:
    """Return the usage that an answer tells; Realtime spells the names of the details otherwise."""
    if not is_given(answer.usage):
        return None
    usage: object = msgspec.json.decode(answer.usage)
    if not isinstance(usage, dict):
        return None
    told = cast("dict[str, Any]", usage)
    for short, long in _DETAILS:
        if short in told:
            told.setdefault(long, told[short])
    return parse_usage(told, answer.service_tier)


_DETAILS: Final = (
    ("input_token_details", "input_tokens_details"),
    ("output_token_details", "output_tokens_details"),
)
