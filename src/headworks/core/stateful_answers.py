"""Which ids an answer tells of: of what it has made, and of what it shows to be there."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

import msgspec

from headworks.core.stateful import place
from headworks.types import Request

_UNFOLDING = frozenset({"batches", "fine_tuning/jobs", "responses", "uploads", "videos"})
"""What tells of further ids while it lives: files of results, an answer's items, a remix."""

_CHAT = "/v1/chat/completions"
_SHORT = ("/v1/responses", "/v1/chat/")
DAY = 86_400.0
SHORT_LIFE, LONG_LIFE = 31 * DAY, 3660 * DAY
"""Seconds that ids are known: OpenAI keeps responses for 30 days, other things until deleted."""


def has_news(request: Request) -> bool:
    """Return whether the answer may tell of ids that were not known before."""
    if request.path == _CHAT and request.method == "POST":
        return request.fields.get("store") is True or "audio" in request.fields
    if request.path == "/v1/responses":
        return True
    at = place(request.path) if request.method in {"GET", "POST"} else None
    return at is not None and (not at.id or at.kind in _UNFOLDING)


def life(request: Request) -> float:
    """Return for how many seconds the ids of a request's answer are worth knowing."""
    return SHORT_LIFE if request.path.startswith(_SHORT) else LONG_LIFE


def told(request: Request, content: bytes) -> list[str]:
    """Return the ids that a whole answer tells of."""
    at = place(request.path)
    decode = _decode_object if at is None else _DECODERS.get(at.kind, _decode_object)
    return _ids(decode, content, is_kept=_is_kept(request))


def told_by_event(request: Request, name: bytes, data: bytes) -> list[str]:
    """Return the ids that an event of an answer's stream tells of."""
    if request.path.startswith("/v1/chat/"):
        return _ids(_decode_chat, data, is_kept=_is_kept(request))
    if name in _EVENTS or (not name and any(event in data for event in _EVENTS)):
        return _ids(_decode_event, data, is_kept=_is_kept(request))
    return []


def _is_kept(request: Request) -> bool:
    """Return whether the answer itself can be referred to later."""
    if request.path == _CHAT and request.method == "POST":
        return request.fields.get("store") is True
    return request.fields.get("store") is not False


class _Item(msgspec.Struct):
    id: Any = None
    encrypted_content: Any = None
    container_id: Any = None


class _Response(msgspec.Struct):
    id: Any = None
    output: list[_Item] = []
    data: list[_Item] = []

    def ids(self, *, is_kept: bool) -> Iterator[object]:
        if is_kept:
            yield self.id
        for item in (*self.output, *self.data):
            if is_kept:
                yield item.id
            yield item.encrypted_content
            yield item.container_id


class _Happening(msgspec.Struct):
    """An event: of a response, or the beginning of a thread."""

    id: Any = None
    response: _Response | None = None
    item: _Item | None = None

    def ids(self, *, is_kept: bool) -> Iterator[object]:
        yield self.id
        items = [] if self.item is None else [self.item]
        yield from (self.response or _Response()).ids(is_kept=is_kept)
        yield from _Response(output=items).ids(is_kept=is_kept)


class _Speech(msgspec.Struct):
    id: Any = None


class _Said(msgspec.Struct):
    audio: _Speech | None = None


class _Choice(msgspec.Struct):
    message: _Said | None = None
    delta: _Said | None = None


class _Chat(msgspec.Struct):
    id: Any = None
    choices: list[_Choice] = []
    data: list[_Speech] = []

    def ids(self, *, is_kept: bool) -> Iterator[object]:
        if is_kept:
            yield self.id
        yield from (one.id for one in self.data)
        for choice in self.choices:
            said = choice.message or choice.delta
            if said is not None and said.audio is not None:
                yield said.audio.id


class _Object(msgspec.Struct):
    """Anything else that is kept, and the things that it names."""

    id: Any = None
    thread_id: Any = None
    output_file_id: Any = None
    error_file_id: Any = None
    result_files: Any = None
    file: Any = None
    data: Any = None

    def ids(self, *, is_kept: bool) -> Iterator[object]:
        del is_kept
        yield from (self.id, self.thread_id, self.output_file_id, self.error_file_id)
        if isinstance(self.file, dict):
            yield cast("dict[str, object]", self.file).get("id")
        if isinstance(self.result_files, list):
            yield from cast("list[object]", self.result_files)
        for one in cast("list[object]", self.data) if isinstance(self.data, list) else ():
            if isinstance(one, dict):
                listed = cast("dict[str, object]", one)
                yield from (listed.get(name) for name in ("id", "output_file_id", "error_file_id"))


_Telling = _Response | _Happening | _Chat | _Object
_Decode = Callable[[bytes], _Telling]
_decode_object: _Decode = msgspec.json.Decoder(_Object).decode
_decode_chat: _Decode = msgspec.json.Decoder(_Chat).decode
_decode_event: _Decode = msgspec.json.Decoder(_Happening).decode
_decode_response: _Decode = msgspec.json.Decoder(_Response).decode
_DECODERS: Mapping[str, _Decode] = {
    "chat/completions": _decode_chat,
    "responses": _decode_response,
}
_EVENTS = frozenset({b"response.created", b"response.output_item.done", b"thread.created"})


def _ids(decode: _Decode, content: bytes, *, is_kept: bool) -> list[str]:
    try:
        answer = decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return []
    found = answer.ids(is_kept=is_kept)
    return list(dict.fromkeys(one for one in found if isinstance(one, str) and one))
