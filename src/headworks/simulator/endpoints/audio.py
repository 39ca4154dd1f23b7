"""POST /v1/audio/speech: a tone, or silence, as long as the text would take to say."""

import base64
from collections.abc import Iterator, Mapping
from math import ceil
from typing import Any, final

import msgspec
from typing_extensions import override

from headworks.simulator import problems
from headworks.simulator.asked import Asked
from headworks.simulator.fields import check_known, check_text, is_map, needed, number, one_of
from headworks.simulator.problems import Refusal
from headworks.simulator.provider import Provider
from headworks.simulator.reply import JSON, Raw, Reply, Step
from headworks.simulator.sounds import CONTENT_TYPES, Format, sound
from headworks.types import Usage

VOICES = (
    *("alloy", "ash", "ballad", "coral", "echo", "fable", "onyx", "nova", "sage", "shimmer"),
    *("verse", "marin", "cedar"),
)
_SPEAKERS = ("tts-1", "tts-1-hd", "gpt-4o-mini-tts", "gpt-4o-mini-tts-2025-12-15")
_KNOWN = frozenset(
    {"model", "input", "voice", "instructions", "response_format", "speed", "stream_format"}
)
_LONGEST = 4_096
_PER_CHARACTER, _SHORTEST = 0.02, 0.25  # seconds
_TOKENS_PER_SECOND = 20
_PIECE = 8_192


def speech(provider: Provider, asked: Asked) -> "Raw | SpeechReply":
    """Say a text: as bytes, or as events with the bytes in them."""
    fields = asked.fields
    model = known_model(provider, asked, _SPEAKERS)
    check_known(fields, _KNOWN)
    check_text("input", needed(fields, "input"), _LONGEST)
    _check_voice(needed(fields, "voice"))
    form: Format = one_of(fields, "response_format", tuple(CONTENT_TYPES)) or "mp3"  # type: ignore[assignment] # one of its names
    pace = number(fields, "speed", 0.25, 4.0) or 1.0
    seconds = max(_SHORTEST, len(fields["input"]) * _PER_CHARACTER / pace)
    words = provider.tokenizer.count(fields["input"], "o200k_base")
    usage = Usage(words, ceil(seconds * _TOKENS_PER_SECOND))
    content = sound(form, seconds)
    if one_of(fields, "stream_format", ("sse", "audio")) != "sse":
        return Raw(content, CONTENT_TYPES[form], usage)
    if model.startswith("tts-"):
        message = f"stream_format 'sse' is not supported with model '{model}'."
        raise Refusal(400, message, param="stream_format", code="unsupported_value")
    return SpeechReply(content, usage)


def known_model(provider: Provider, asked: Asked, known: tuple[str, ...]) -> str:
    """Return the model that is asked for: one of those that have no price, or any that is served."""
    return asked.model if asked.model in known else provider.served_model(asked, "audio")


@final
class SpeechReply(Reply):
    """Speech as events."""

    content_type = JSON

    def __init__(self, content: bytes, usage: Usage) -> None:
        self._content, self.usage = content, usage

    @override
    def is_streamed(self, fields: Mapping[str, Any]) -> bool:
        """Return True: this answer has no other form."""
        return True

    @override
    def whole(self, *, usage: bool) -> bytes:
        """Return the last event's object, for a fault that wants one."""
        return msgspec.json.encode(self._done(usage=usage))

    @override
    def steps(self, *, usage: bool) -> Iterator[Step]:
        """Yield the bytes in pieces, and the usage."""
        left = self.usage.output
        pieces = ceil(len(self._content) / _PIECE)
        for place in range(pieces):
            piece = self._content[place * _PIECE : (place + 1) * _PIECE]
            share = left // (pieces - place)
            left -= share
            body = {"type": "speech.audio.delta", "audio": base64.b64encode(piece).decode()}
            yield Step("token", event(body), share)
        yield Step("done", event(self._done(usage=usage)))

    @override
    def error(self, refusal: Refusal, sent: int) -> bytes:
        """Return an event that ends the stream as failed."""
        return event({"type": "error", "error": refusal.error})

    def _done(self, *, usage: bool) -> dict[str, Any]:
        counts = {
            "input_tokens": self.usage.input,
            "output_tokens": self.usage.output,
            "total_tokens": self.usage.input + self.usage.output,
        }
        return {"type": "speech.audio.done", **({"usage": counts} if usage else {})}


def event(body: Mapping[str, Any]) -> bytes:
    """Return an event of an audio stream: its type is in its object alone."""
    return b"data: " + msgspec.json.encode(body) + b"\n\n"


def _check_voice(voice: object) -> None:
    if is_map(voice):
        check_text("voice.id", needed(voice, "id", "voice."))
    elif not isinstance(voice, str):
        raise problems.wrong_field("voice", "one of a string or an object", voice)
    else:
        one_of({"voice": voice}, "voice", VOICES)
