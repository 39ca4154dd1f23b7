"""Responses from their events.

The terminal event repeats all of the response, and what it says holds. What the events before it
told is for a stream that breaks, and for providers whose last event leaves the output out. There an
item that is done holds, then a part that is done, then the pieces of text. Events that belong to no
item, progress, partial images and kinds that nobody knows are left out.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Final

from headworks.core.aggregate_grow import Text
from headworks.core.shapes import Fields, as_fields, as_list
from headworks.errors import StreamTruncated

_TERMINALS: Final = frozenset(
    {"response.completed", "response.incomplete", "response.failed", "response.cancelled"}
)
_LISTS: Final = ("content", "summary")
_INDEXES: Final = {"content": "content_index", "summary": "summary_index"}
_PARTS: Final = {"content_part": "content", "reasoning_summary_part": "summary"}
_PART_TEXTS: Final = {
    "output_text": ("content", "text", "output_text"),
    "refusal": ("content", "refusal", "refusal"),
    "reasoning_text": ("content", "text", "reasoning_text"),
    "reasoning_summary_text": ("summary", "text", "summary_text"),
}
"""By what events speak of: the list of the item, the field of the part with the text, its type."""

_EMPTY: Final[dict[str, Fields]] = {"output_text": {"annotations": [], "logprobs": []}}
_ITEM_TEXTS: Final = {
    "function_call_arguments": ("arguments", "function_call"),
    "mcp_call_arguments": ("arguments", "mcp_call"),
    "custom_tool_call_input": ("input", "custom_tool_call"),
    "code_interpreter_call_code": ("code", "code_interpreter_call"),
}
"""By what events speak of: the field of the item with the text, its type."""


class ResponsesAggregate:
    """A response of the Responses API.

    Attributes:
        is_complete: Whether its terminal event has come.
    """

    __slots__ = ("_error", "_items", "_response", "is_complete")

    def __init__(self) -> None:
        self._response: Fields = {}
        self._items: dict[int, _Item] = {}
        self._error: Fields | None = None
        self.is_complete = False

    def feed(self, event: Fields) -> None:
        """Take in one event; after the terminal one, none."""
        kind: Any = event.get("type")
        place: Any = event.get("output_index")
        if self.is_complete or not isinstance(kind, str):
            return
        if place.__class__ is int:
            learn = _LESSONS.get(kind)
            if learn is not None:
                item = self._items.get(place)
                if item is None:
                    item = self._items[place] = _Item()
                learn(item, event)
        elif isinstance(event.get("response"), dict):
            self._response = {**self._response, **event["response"]}
            self.is_complete = kind in _TERMINALS
            if self.is_complete and self._response.get("output"):
                self._items.clear()
        elif kind == "error":
            self._error = as_fields(event.get("error")) or event

    def result(self) -> Fields:
        """Return the response as far as it was told."""
        response = self._response
        is_whole = self.is_complete and response.get("status") == "completed"
        told_items = [item.result(is_whole=is_whole) for _, item in sorted(self._items.items())]
        output = {"output": told_items} if told_items or "output" not in response else {}
        if self.is_complete:
            return {**response, **output}
        return {"object": "response", **response, **output, **self._ending()}

    def _ending(self) -> Fields:
        """Return how a response ends whose stream broke."""
        if self._error is None:
            details = {"reason": StreamTruncated.code}
            return {"status": "incomplete", "incomplete_details": details}
        error = {name: self._error.get(name) for name in ("code", "message")}
        return {"status": "failed", "error": error}


class _Item:
    """One item of the output in the making."""

    __slots__ = ("_fields", "_is_done", "_lists", "_texts")

    def __init__(self) -> None:
        self._fields: Fields = {}
        self._lists: dict[str, dict[int, Fields]] = {}
        self._texts: dict[str, Text] = {}
        self._is_done = False

    def add(self, event: Fields) -> None:
        """Learn how it begins."""
        self._fields = as_fields(event.get("item"))
        self._texts.clear()
        self._lists = {
            name: {n: _own(part) for n, part in enumerate(self._fields[name])}
            for name in _LISTS
            if isinstance(self._fields.get(name), list)
        }

    def end(self, event: Fields) -> None:
        """Learn how it ends."""
        self._fields, self._is_done = as_fields(event.get("item")), True
        self._lists.clear()
        self._texts.clear()

    def put(self, event: Fields, *, name: str) -> None:
        """Take a part as it begins, or as it is done."""
        index: Any = event.get(_INDEXES[name])
        if index.__class__ is int and not self._is_done:
            self._lists.setdefault(name, {})[index] = _own(event.get("part"))

    def say(self, event: Fields, *, name: str, kind: str) -> None:
        """Take a piece of one of its own texts."""
        delta: Any = event.get("delta")
        if isinstance(delta, str) and not self._is_done:
            text = self._texts.get(name)
            if text is None:
                self._begin(kind, event)
                text = self._texts[name] = Text(self._fields.get(name))
            text.write(delta)

    def said(self, event: Fields, *, name: str, kind: str) -> None:
        """Take one of its own texts as a whole."""
        if isinstance(event.get(name), str) and not self._is_done:
            self._begin(kind, event)
            self._texts[name] = Text(event[name])

    def say_part(self, event: Fields, *, name: str, field: str, kind: str) -> None:
        """Take a piece of the text of a part."""
        delta: Any = event.get("delta")
        part = self._part(name, kind, event)
        if part is None or not isinstance(delta, str):
            return
        text: Any = part.get(field)
        if text.__class__ is not Text:
            text = part[field] = Text(text)
        text.write(delta)
        if event.get("logprobs"):
            _listed(part, "logprobs").extend(as_list(event["logprobs"]))

    def said_part(self, event: Fields, *, name: str, field: str, kind: str) -> None:
        """Take the text of a part as a whole."""
        part = self._part(name, kind, event)
        if part is not None and isinstance(event.get(field), str):
            part[field] = event[field]
            if event.get("logprobs"):
                part["logprobs"] = [*as_list(event["logprobs"])]

    def note(self, event: Fields) -> None:
        """Take a note to a text."""
        part = self._part("content", "output_text", event)
        if part is not None:
            _listed(part, "annotations").append(event.get("annotation"))

    def _part(self, name: str, kind: str, event: Fields) -> Fields | None:
        index: Any = event.get(_INDEXES[name])
        if self._is_done or index.__class__ is not int:
            return None
        self._begin("reasoning" if kind.startswith(("reasoning", "summary")) else "message", event)
        parts = self._lists.setdefault(name, {})
        if index not in parts:
            parts[index] = _own({"type": kind, **_EMPTY.get(kind, {})})
        return parts[index]

    def _begin(self, kind: str, event: Fields) -> None:
        """Tell from a piece what it is a piece of, where nothing told of the whole."""
        if not self._fields:
            role = {"role": "assistant"} if kind == "message" else {}
            self._fields = {
                "id": event.get("item_id"),
                "type": kind,
                "status": "in_progress",
                **role,
            }

    def result(self, *, is_whole: bool) -> Fields:
        """Return it as far as it was told; it is incomplete unless it is done, or all is."""
        texts = {name: text.result() for name, text in self._texts.items()}
        lists = {
            name: [_plain(part) for _, part in sorted(parts.items())]
            for name, parts in self._lists.items()
        }
        item = {**self._fields, **texts, **lists}
        if not self._is_done and "status" in item:
            item["status"] = "completed" if is_whole else "incomplete"
        return item


def _own(part: object) -> Fields:
    """Return a part whose lists may grow."""
    return {
        name: [*value] if value.__class__ is list else value
        for name, value in as_fields(part).items()
    }


def _listed(part: Fields, name: str) -> list[Any]:
    """Return the list of a part, made where there is none."""
    if part.get(name).__class__ is not list:
        part[name] = []
    return as_list(part[name])


def _plain(part: Fields) -> Fields:
    return {
        name: value.result() if value.__class__ is Text else value
        for name, value in _own(part).items()
    }


_Lesson = Callable[[_Item, Fields], None]


def _lessons() -> dict[str, _Lesson]:
    """Return what an item learns from each type of event."""
    lessons: dict[str, _Lesson] = {
        "output_item.added": _Item.add,
        "output_item.done": _Item.end,
        "output_text.annotation.added": _Item.note,
    }
    for stem, name in _PARTS.items():
        lessons[f"{stem}.added"] = lessons[f"{stem}.done"] = partial(_Item.put, name=name)
    for stem, (name, field, kind) in _PART_TEXTS.items():
        lessons[f"{stem}.delta"] = partial(_Item.say_part, name=name, field=field, kind=kind)
        lessons[f"{stem}.done"] = partial(_Item.said_part, name=name, field=field, kind=kind)
    for stem, (name, kind) in _ITEM_TEXTS.items():
        lessons[f"{stem}.delta"] = partial(_Item.say, name=name, kind=kind)
        lessons[f"{stem}.done"] = partial(_Item.said, name=name, kind=kind)
    return {f"response.{stem}": lesson for stem, lesson in lessons.items()}


_LESSONS: Final = _lessons()
