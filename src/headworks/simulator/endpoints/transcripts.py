"""POST /v1/audio/transcriptions and translations: as many words as the recording has time for."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import PurePath
from typing import Any, NamedTuple, final

import msgspec
from typing_extensions import override

from headworks.simulator import problems
from headworks.simulator.asked import Asked
from headworks.simulator.chance import Chance
from headworks.simulator.endpoints.audio import event, known_model
from headworks.simulator.fields import flag, is_list, number, one_of
from headworks.simulator.forms import typed
from headworks.simulator.problems import Refusal
from headworks.simulator.provider import Provider
from headworks.simulator.reply import JSON, Reply, Step
from headworks.simulator.sounds import seconds_of
from headworks.simulator.words import sentences
from headworks.types import Usage

_LISTENERS = (
    *("whisper-1", "gpt-4o-transcribe", "gpt-4o-mini-transcribe", "gpt-transcribe"),
    *("gpt-4o-mini-transcribe-2025-03-20", "gpt-4o-mini-transcribe-2025-12-15"),
    "gpt-4o-transcribe-diarize",
)
_KINDS = ("flac", "m4a", "mp3", "mp4", "mpeg", "mpga", "oga", "ogg", "opus", "wav", "webm")
_FORMATS = ("json", "text", "srt", "verbose_json", "vtt", "diarized_json")
_TIMED = frozenset({"srt", "verbose_json", "vtt"})
_LARGEST, _SHORTEST = 25 << 20, 0.1
_WORDS_PER_SECOND, _TOKENS_PER_SECOND = 2.5, 10
_SPEAKERS = "AB"


class Spoken(NamedTuple):
    """A sentence and when it is said, in seconds."""

    pieces: Sequence[str]
    start: float
    end: float

    @property
    def text(self) -> str:
        """The sentence."""
        return "".join(self.pieces)


@dataclass(frozen=True, slots=True)
class Recording:
    """What was heard, and how it shall be told."""

    model: str
    task: str
    form: str
    seconds: float
    said: Sequence[Spoken]
    streams: bool
    logprobs: bool
    granularities: frozenset[str]

    @property
    def text(self) -> str:
        """All of it."""
        return " ".join(spoken.text for spoken in self.said)


def transcriptions(provider: Provider, asked: Asked) -> "TranscriptReply":
    """Write down a recording in its own language."""
    model = known_model(provider, asked, _LISTENERS)
    return TranscriptReply(provider, _recording(asked, model, "transcribe"))


def translations(provider: Provider, asked: Asked) -> "TranscriptReply":
    """Write down a recording in English."""
    model = known_model(provider, asked, _LISTENERS[:1])
    return TranscriptReply(provider, _recording(asked, model, "translate"))


@final
class TranscriptReply(Reply):
    """A transcript in the form that was asked for."""

    def __init__(self, provider: Provider, recording: Recording) -> None:
        self._recording = recording
        count = provider.tokenizer.count
        self._counts = [count(spoken.text, "o200k_base") for spoken in recording.said]
        heard = ceil(recording.seconds * _TOKENS_PER_SECOND)
        self.usage = Usage(heard, sum(self._counts))
        is_json = recording.form.endswith("json")
        self.content_type = JSON if is_json else "text/plain; charset=utf-8"

    @override
    def is_streamed(self, fields: Mapping[str, Any]) -> bool:
        """Return whether the words come as events."""
        return self._recording.streams

    @override
    def whole(self, *, usage: bool) -> bytes:
        """Return the transcript."""
        recording = self._recording
        if recording.form == "srt":
            return _subtitles(recording.said, ",", numbered=True)
        if recording.form == "vtt":
            return b"WEBVTT\n\n" + _subtitles(recording.said, ".", numbered=False)
        if recording.form == "text":
            return recording.text.encode() + b"\n"
        body = _told(recording)
        if usage and recording.task == "transcribe":
            body["usage"] = self._usage()
        return msgspec.json.encode(body)

    @override
    def steps(self, *, usage: bool) -> Iterator[Step]:
        """Yield the words, and the whole text at the end."""
        recording = self._recording
        for number_, (spoken, tokens) in enumerate(zip(recording.said, self._counts, strict=True)):
            yield from self._sentence(number_, spoken, tokens)
            if recording.form == "diarized_json":
                yield Step("open", event(_diarized(number_, spoken)))
        done: dict[str, Any] = {"type": "transcript.text.done", "text": recording.text}
        if recording.logprobs:
            done["logprobs"] = [p for spoken in recording.said for p in _logprobs(spoken.pieces)]
        if usage:
            done["usage"] = self._usage()
        yield Step("done", event(done))

    @override
    def error(self, refusal: Refusal, sent: int) -> bytes:
        """Return an event that ends the stream as failed."""
        return event({"type": "error", "error": refusal.error})

    def _sentence(self, place: int, spoken: Spoken, tokens: int) -> Iterator[Step]:
        recording, left = self._recording, tokens
        for index, piece in enumerate(spoken.pieces):
            text = " " + piece if place and not index else piece
            body: dict[str, Any] = {"type": "transcript.text.delta", "delta": text}
            if recording.logprobs:
                body["logprobs"] = _logprobs([text])
            if recording.form == "diarized_json":
                body["segment_id"] = f"seg_{place}"
            share = left if index == len(spoken.pieces) - 1 else min(1, left)
            left -= share
            yield Step("token", event(body), share)

    def _usage(self) -> dict[str, Any]:
        recording, usage = self._recording, self.usage
        if recording.model == "whisper-1":
            return {"type": "duration", "seconds": ceil(recording.seconds)}
        return {
            "type": "tokens",
            "total_tokens": usage.input + usage.output,
            "input_tokens": usage.input,
            "input_token_details": {"text_tokens": 0, "audio_tokens": usage.input},
            "output_tokens": usage.output,
        }


def _recording(asked: Asked, model: str, task: str) -> Recording:
    fields = typed(asked.fields, {"stream": bool, "temperature": float})
    number(fields, "temperature", 0, 1)
    file = asked.upload("file")
    if file is None:
        raise problems.missing("file")
    if PurePath(file.filename).suffix[1:].lower() not in _KINDS:
        message = f"Unrecognized file format. Supported formats: {list(_KINDS)}"
        raise Refusal(400, message, param="file")
    if len(file.content) > _LARGEST:
        message = (
            f"Maximum content size limit ({_LARGEST}) exceeded ({len(file.content)} bytes read)"
        )
        raise Refusal(413, message, type="server_error")
    seconds = seconds_of(file.content)
    if seconds < _SHORTEST:
        message = "Audio file is too short. Minimum audio length is 0.1 seconds."
        raise Refusal(400, message, param="file", code="audio_too_short")
    digest = hashlib.blake2b(file.content, digest_size=16).hexdigest()
    include, grains = fields.get("include"), fields.get("timestamp_granularities")
    form = _form(fields, model, task)
    return Recording(
        model=model,
        task=task,
        form=form,
        seconds=seconds,
        said=_said(Chance(model, task, digest), seconds),
        streams=bool(flag(fields, "stream")) and model != "whisper-1" and form != "text",
        logprobs=is_list(include) and "logprobs" in include and form == "json",
        granularities=frozenset(map(str, grains if is_list(grains) else ["segment"])),
    )


def _form(fields: Mapping[str, Any], model: str, task: str) -> str:
    """Return the form of the answer, or raise the refusal of one that the model does not know."""
    known = _FORMATS if task == "transcribe" else _FORMATS[:-1]
    form = one_of(fields, "response_format", known) or "json"
    can_time, can_tell = model == "whisper-1", model.endswith("-diarize")
    if (form in _TIMED and not can_time) or (form == "diarized_json" and not can_tell):
        message = (
            f"response_format '{form}' is not compatible with model '{model}'. Use 'json' or "
            "'text' instead."
        )
        raise Refusal(400, message, param="response_format", code="unsupported_value")
    return form


def _said(chance: Chance, seconds: float) -> Sequence[Spoken]:
    """Return sentences that fill the time, each as long as its words."""
    wanted = max(3, round(seconds * _WORDS_PER_SECOND))
    chosen: list[Sequence[str]] = []
    for sentence in sentences(chance):
        chosen.append(sentence)
        if sum(len(pieces) - 1 for pieces in chosen) >= wanted:
            break
    whole, past, said = sum(map(len, chosen)), 0, list[Spoken]()
    for pieces in chosen:
        start, past = past, past + len(pieces)
        said.append(Spoken(pieces, *(round(n * seconds / whole, 2) for n in (start, past))))
    return said


def _told(recording: Recording) -> dict[str, Any]:
    if recording.form == "diarized_json":
        segments = [_diarized(place, spoken) for place, spoken in enumerate(recording.said)]
        told = {"task": recording.task, "duration": recording.seconds, "text": recording.text}
        return {**told, "segments": segments}
    body: dict[str, Any] = {"text": recording.text}
    if recording.logprobs:
        body["logprobs"] = [p for spoken in recording.said for p in _logprobs(spoken.pieces)]
    if recording.form != "verbose_json":
        return body
    body = {"task": recording.task, "language": "english", "duration": recording.seconds} | body
    if "word" in recording.granularities:
        body["words"] = [word for spoken in recording.said for word in _words(spoken)]
    if "segment" in recording.granularities:
        body["segments"] = [_segment(place, spoken) for place, spoken in enumerate(recording.said)]
    return body


def _segment(place: int, spoken: Spoken) -> dict[str, Any]:
    return {
        "id": place,
        "seek": 0,
        "start": spoken.start,
        "end": spoken.end,
        "text": f" {spoken.text}",
        "tokens": [50_364 + len(piece) for piece in spoken.pieces],
        "temperature": 0.0,
        "avg_logprob": -0.25,
        "compression_ratio": 1.2,
        "no_speech_prob": 0.01,
    }


def _words(spoken: Spoken) -> Iterator[dict[str, Any]]:
    words = [piece.strip() for piece in spoken.pieces if piece != "."]
    length = (spoken.end - spoken.start) / len(words)
    for place, word in enumerate(words):
        start = spoken.start + place * length
        yield {"word": word, "start": round(start, 2), "end": round(start + length, 2)}


def _diarized(place: int, spoken: Spoken) -> dict[str, Any]:
    return {
        "type": "transcript.text.segment",
        "id": f"seg_{place}",
        "start": spoken.start,
        "end": spoken.end,
        "text": spoken.text,
        "speaker": _SPEAKERS[place % len(_SPEAKERS)],
    }


def _logprobs(pieces: Sequence[str]) -> list[dict[str, Any]]:
    return [
        {"token": piece, "bytes": list(piece.encode()), "logprob": -len(piece) / 100}
        for piece in pieces
    ]


def _subtitles(said: Sequence[Spoken], point: str, *, numbered: bool) -> bytes:
    blocks = [
        (f"{place}\n" if numbered else "")
        + f"{_time(spoken.start, point)} --> {_time(spoken.end, point)}\n{spoken.text}\n"
        for place, spoken in enumerate(said, 1)
    ]
    return "\n".join([*blocks, ""]).encode()


def _time(seconds: float, point: str) -> str:
    milliseconds = round(seconds * 1000)
    minutes, rest = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{rest // 1000:02}{point}{rest % 1000:03}"
