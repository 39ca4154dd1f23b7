"""Chat completions, and legacy completions, from their chunks.

Fields of a chunk, of a choice and of a delta that nobody knows are kept: the last value of the
former two, the grown one of the latter. What only streams have (`obfuscation`, the index of a tool
call) is not. A message says `refusal` and `annotations` even where there are none, as OpenAI's
does without streaming.
"""

import base64
import binascii
from functools import partial
from typing import Any

from headworks.core.aggregate_grow import Text, grow, grown
from headworks.core.shapes import Fields, as_fields, as_list

_KINDS = {"chat.completion.chunk": "chat.completion"}
_decode = partial(base64.b64decode, validate=True)
_SILENT: Fields = {"role": "assistant", "content": None, "refusal": None}


class ChatAggregate:
    """A chat completion or a legacy completion; which of them its choices tell."""

    __slots__ = ("_choices", "_head")

    def __init__(self) -> None:
        self._head: Fields = {}
        self._choices: dict[int, _Choice] = {}

    @property
    def is_complete(self) -> bool:
        """Whether every choice has ended."""
        return bool(self._choices) and all(one.has_ended for one in self._choices.values())

    def feed(self, event: Fields) -> None:
        """Take in one chunk; what has a type instead of choices is none."""
        if "choices" not in event and "type" in event:
            return
        head = self._head
        for name, value in event.items():
            if name == "choices":
                self._take(as_list(value))
            elif (value is not None and value != "") or name not in head:
                head[name] = value

    def result(self) -> Fields:
        """Return the completion as far as it was told."""
        choices = [one.result(index) for index, one in sorted(self._choices.items())]
        usual = "text_completion" if any("text" in one for one in choices) else "chat.completion"
        kind: Any = self._head.get("object") or usual
        head = {**self._head, "object": _KINDS.get(kind, kind) if isinstance(kind, str) else usual}
        head.pop("obfuscation", None)
        if head.get("usage", 0) is None:
            del head["usage"]
        return {**head, "choices": choices}

    def _take(self, parts: list[Any]) -> None:
        for place, part in enumerate(parts):
            if part.__class__ is not dict:
                continue
            index: Any = part.get("index", place)
            if index.__class__ is not int:
                index = place
            choice = self._choices.get(index)
            if choice is None:
                choice = self._choices[index] = _Choice()
            choice.feed(part)


class _Choice:
    """One choice in the making."""

    __slots__ = ("_content", "_delta", "_fields", "_grown", "_is_text")

    def __init__(self) -> None:
        self._fields: Fields = {}
        self._grown: Fields = {}
        self._delta: Fields = {}
        self._content: Text | None = None
        self._is_text = False

    @property
    def has_ended(self) -> bool:
        """Whether it has said why it ends, or until when its speech is kept: that comes last."""
        is_spoken = "expires_at" in as_fields(self._delta.get("audio"))
        return is_spoken or self._fields.get("finish_reason") is not None

    def feed(self, part: Fields) -> None:
        """Take in what one chunk says of it."""
        fields = self._fields
        for name, value in part.items():
            if name == "delta":
                if value.__class__ is dict:
                    self._say(value)
            elif name in {"text", "logprobs"}:
                self._is_text = self._is_text or name == "text"
                grow(self._grown, {name: value})
            elif value is not None or name not in fields:
                fields[name] = value

    def _say(self, delta: Fields) -> None:
        """Take in a delta; nearly all of them are a piece of the content and nothing else."""
        content: Any = delta.get("content")
        if self._content is not None and len(delta) == 1 and content.__class__ is str:
            self._content.write(content)
            return
        audio = as_fields(delta.get("audio"))
        if audio:
            delta = {**delta, "audio": {**audio, "data": [audio.get("data")]}}
        grow(self._delta, delta)
        text: Any = self._delta.get("content")
        self._content = text if text.__class__ is Text else None

    def result(self, index: int) -> Fields:
        """Return it as a whole answer has it."""
        fields = {**self._fields, **grown(self._grown), "index": index}
        if not self._is_text:
            fields["message"] = self._message()
        return {**fields, "finish_reason": fields.get("finish_reason")}

    def _message(self) -> Fields:
        message = {**_SILENT, **grown(self._delta)}
        message.setdefault("annotations", [])
        audio = as_fields(message.get("audio"))
        if audio:
            message["audio"] = {**audio, "data": _rejoined(as_list(audio.get("data")))}
        return message


def _rejoined(pieces: list[Any]) -> str:
    """Return base64 that came in pieces, each of which may be padded, as that of all their bytes."""
    texts = [piece for piece in pieces if isinstance(piece, str)]
    try:
        return base64.b64encode(b"".join(map(_decode, texts))).decode()
    except (binascii.Error, ValueError):
        return Text("".join(texts)).result()
