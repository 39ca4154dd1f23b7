"""The items of a response's output: each knows the events that tell it and its final form.

An item is added as it begins, told bit by bit, and repeated whole when it is done.
"""

import base64
import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal, NamedTuple, final

from typing_extensions import override

from headworks.simulator.answers import Piece

Status = Literal["in_progress", "completed", "incomplete"]


class Event(NamedTuple):
    """One event of a stream, without its number.

    Attributes:
        kind: As of `Step`.
        fields: All but its type and number.
        tokens: Output tokens that are paid for once it is sent.
    """

    kind: Literal["open", "token", "close", "done"]
    type: str
    fields: Mapping[str, Any]
    tokens: int = 0


class Item(ABC):
    """One item of an output.

    Attributes:
        prefix: How its id begins.
        head: Tokens that are spent before its first bit.
        pieces: What is told bit by bit.
        is_cut: Whether the bound of the output ended it.
    """

    prefix: ClassVar[str]

    def __init__(
        self, serial: str, pieces: Sequence[Piece] = (), *, head: int = 0, is_cut: bool = False
    ) -> None:
        self.id = f"{self.prefix}_{serial}"
        self.pieces, self.head, self.is_cut = pieces, head, is_cut

    @property
    def tokens(self) -> int:
        """All its output tokens."""
        return self.head + sum(piece.tokens for piece in self.pieces)

    @property
    def text(self) -> str:
        """What the pieces say together."""
        return "".join(piece.text for piece in self.pieces)

    @property
    def status(self) -> Status:
        """How it ends."""
        return "incomplete" if self.is_cut else "completed"

    def stop(self) -> None:
        """End it half way, as a filter does."""
        self.pieces, self.is_cut = self.pieces[: len(self.pieces) // 2], True

    @abstractmethod
    def begun(self) -> dict[str, Any]:
        """Return it as it is added."""

    @abstractmethod
    def ended(self) -> dict[str, Any]:
        """Return it as it is done."""

    @abstractmethod
    def told(self) -> Iterator[Event]:
        """Yield the events between, without its id and place."""

    def events(self, place: int) -> Iterator[Event]:
        """Yield all events of the item at `place` of the output."""
        where = {"item_id": self.id, "output_index": place}
        added = {"item": self.begun(), "output_index": place}
        yield Event("open", "response.output_item.added", added, self.head)
        for event in self.told():
            yield event._replace(fields={**event.fields, **where})
        done = {"item": self.ended(), "output_index": place}
        yield Event("close", "response.output_item.done", done)


class Message(Item):
    """Words.

    Attributes:
        phase: `final_answer` or `commentary`, "" with models that do not tell.
        annotations: What the words rest on.
        logprobs: Of the tokens of each piece, empty where they are not wanted.
    """

    prefix = "msg"

    def __init__(
        self,
        serial: str,
        pieces: Sequence[Piece],
        *,
        is_cut: bool = False,
        phase: str = "",
        annotations: Sequence[Mapping[str, Any]] = (),
        logprobs: Sequence[Sequence[Mapping[str, Any]]] = (),
    ) -> None:
        super().__init__(serial, pieces, is_cut=is_cut)
        self._phase, self._annotations, self._logprobs = phase, annotations, logprobs

    @override
    def begun(self) -> dict[str, Any]:
        return self._form("in_progress", [])

    @override
    def ended(self) -> dict[str, Any]:
        return self._form(self.status, [self._whole()])

    @override
    def stop(self) -> None:
        super().stop()
        self._annotations, self._logprobs = (), self._logprobs[: len(self.pieces)]

    @override
    def told(self) -> Iterator[Event]:
        place = {"content_index": 0}
        yield Event("open", "response.content_part.added", {**place, "part": self._part("")})
        for index, piece in enumerate(self.pieces):
            logprobs = [_told(one) for one in self._logprobs[index]] if self._logprobs else []
            said = {**place, "delta": piece.text, "logprobs": logprobs}
            yield Event("token", "response.output_text.delta", said, piece.tokens)
        for index, note in enumerate(self._annotations):
            noted = {**place, "annotation": note, "annotation_index": index}
            yield Event("open", "response.output_text.annotation.added", noted)
        listed = [_told(one) for entries in self._logprobs for one in entries]
        said = {**place, "logprobs": listed, "text": self.text}
        yield Event("close", "response.output_text.done", said)
        yield Event("close", "response.content_part.done", {**place, "part": self._whole()})

    def _form(self, status: Status, content: list[dict[str, Any]]) -> dict[str, Any]:
        phase = {"phase": self._phase} if self._phase else {}
        form = {"id": self.id, "type": "message", "status": status, "content": content}
        return {**form, **phase, "role": "assistant"}

    def _part(self, text: str) -> dict[str, Any]:
        return {"type": "output_text", "annotations": [], "logprobs": [], "text": text}

    def _whole(self) -> dict[str, Any]:
        listed = [one for entries in self._logprobs for one in entries]
        noted = {"annotations": list(self._annotations), "logprobs": listed}
        return {**self._part(""), **noted, "text": self.text}


@final
class Refused(Message):
    """Words that say no, in a part of their own kind."""

    @override
    def told(self) -> Iterator[Event]:
        place = {"content_index": 0}
        yield Event("open", "response.content_part.added", {**place, "part": self._part("")})
        for piece in self.pieces:
            said = {**place, "delta": piece.text}
            yield Event("token", "response.refusal.delta", said, piece.tokens)
        yield Event("close", "response.refusal.done", {**place, "refusal": self.text})
        yield Event("close", "response.content_part.done", {**place, "part": self._whole()})

    @override
    def _part(self, text: str) -> dict[str, Any]:
        return {"type": "refusal", "refusal": text}

    @override
    def _whole(self) -> dict[str, Any]:
        return self._part(self.text)


class FunctionCall(Item):
    """A call of one of the caller's functions."""

    prefix = "fc"
    _type: ClassVar[str] = "function_call"
    _given: ClassVar[str] = "arguments"
    _event: ClassVar[str] = "response.function_call_arguments"

    def __init__(
        self,
        serial: str,
        pieces: Sequence[Piece],
        *,
        call_id: str,
        name: str,
        head: int = 0,
        is_cut: bool = False,
    ) -> None:
        super().__init__(serial, pieces, head=head, is_cut=is_cut)
        self._call_id, self._name = call_id, name

    @override
    def begun(self) -> dict[str, Any]:
        return self._form("in_progress", "")

    @override
    def ended(self) -> dict[str, Any]:
        return self._form(self.status, self.text)

    @override
    def told(self) -> Iterator[Event]:
        for piece in self.pieces:
            yield Event("token", f"{self._event}.delta", {"delta": piece.text}, piece.tokens)
        yield Event("close", f"{self._event}.done", {self._given: self.text})

    def _form(self, status: Status, given: str) -> dict[str, Any]:
        form = {"id": self.id, "type": self._type, "status": status}
        called = {self._given: given, "call_id": self._call_id, "name": self._name}
        return {**form, **dict(sorted(called.items()))}


@final
class CustomCall(FunctionCall):
    """A call of a custom tool, whose input is any text."""

    prefix = "ctc"
    _type = "custom_tool_call"
    _given = "input"
    _event = "response.custom_tool_call_input"


@final
class Reasoning(Item):
    """Thoughts: their tokens are paid for, and no more than a summary of them is shown.

    Attributes:
        summary: One part, as pieces; empty for none. Its tokens are not paid for.
    """

    prefix = "rs"

    def __init__(self, serial: str, tokens: int, summary: Sequence[Piece], created: int) -> None:
        super().__init__(serial, summary)
        self._tokens, self._created = tokens, created

    @property
    @override
    def tokens(self) -> int:
        return self._tokens

    @override
    def begun(self) -> dict[str, Any]:
        return self._form([], 0)

    @override
    def ended(self) -> dict[str, Any]:
        return self._form([_summary(self.text)] if self.pieces else [], self._tokens)

    @override
    def told(self) -> Iterator[Event]:
        if not self.pieces:
            return
        place = {"summary_index": 0}
        part = "response.reasoning_summary_part"
        yield Event("open", f"{part}.added", {**place, "part": _summary("")})
        for piece in self.pieces:
            said = {**place, "delta": piece.text}
            yield Event("open", "response.reasoning_summary_text.delta", said)
        said = {**place, "text": self.text}
        yield Event("open", "response.reasoning_summary_text.done", said)
        yield Event("open", f"{part}.done", {**place, "part": _summary(self.text)})

    @override
    def events(self, place: int) -> Iterator[Event]:
        for event in super().events(place):
            done = event.type == "response.output_item.done"
            yield event._replace(tokens=self._tokens) if done else event

    def _form(self, summary: list[dict[str, Any]], tokens: int) -> dict[str, Any]:
        return {
            "id": self.id,
            "type": "reasoning",
            "content": [],
            "encrypted_content": sealed(self.id, self._created, tokens),
            "summary": summary,
        }


@final
class Compaction(Item):
    """All that was said before, short and sealed."""

    prefix = "cmp"

    def __init__(self, serial: str, tokens: int, created: int) -> None:
        super().__init__(serial)
        self._tokens, self._created = tokens, created

    @property
    @override
    def tokens(self) -> int:
        return self._tokens

    @override
    def begun(self) -> dict[str, Any]:
        return self._form(0)

    @override
    def ended(self) -> dict[str, Any]:
        return self._form(self._tokens)

    @override
    def told(self) -> Iterator[Event]:
        return iter(())

    @override
    def events(self, place: int) -> Iterator[Event]:
        added, done = super().events(place)
        yield from (added, done._replace(tokens=self._tokens))

    def _form(self, tokens: int) -> dict[str, Any]:
        content = sealed(self.id, self._created, tokens)
        return {"id": self.id, "type": "compaction", "encrypted_content": content}


def sealed(key: str, created: int, tokens: int) -> str:
    """Return what looks like thoughts under a Fernet seal: the longer the more tokens they are."""
    size = 16 * (55 + tokens // 4)  # blocks of AES; the empty one of the real API is that long
    return _fernet(key.encode(), created, size)


def _fernet(key: bytes, created: int, size: int) -> str:
    content = hashlib.shake_128(key).digest(size)
    return base64.urlsafe_b64encode(b"\x80" + created.to_bytes(8) + content).decode()


def _summary(text: str) -> dict[str, Any]:
    return {"type": "summary_text", "text": text}


def _told(logprob: Mapping[str, Any]) -> dict[str, Any]:
    """Return a token's probability as events tell it: without its bytes."""
    top = [{"token": one["token"], "logprob": one["logprob"]} for one in logprob["top_logprobs"]]
    return {"token": logprob["token"], "logprob": logprob["logprob"], "top_logprobs": top}
