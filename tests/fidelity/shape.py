"""The structure of an answer: which keys it has and of which kind their values are, not what it says.

The outline of a stream is the order of its kinds of events. A run of equal events counts once, and
so does a run of equal output items: how long an answer is belongs to what it says.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

Facts = dict[str, set[str]]
"""Kinds of value by the path of their key; `absent` is the kind of a key that only some objects have."""

_KINDS = {str: "string", bool: "boolean", int: "number", float: "number", type(None): "null"}
_BYTES = "bytes"
_NOTE_IN_TEXT = "response.output_text.annotation.added response.output_text.delta"
"""Where in a text its notes come belongs to what it says."""


@dataclass
class Shape:
    """What is compared of an answer.

    Attributes:
        outline: The kinds of events in their order; of an answer in one piece, `whole`.
        facts: Of each kind of event, or of the whole.
        values: The few values that have to be equal.
    """

    outline: list[str]
    facts: Facts
    values: dict[str, Any] = field(default_factory=dict[str, Any])


def shape_of(content_type: str, body: bytes) -> Shape:
    """Return the structure of an answer's body."""
    if body.startswith((b"data:", b"event:")) or content_type.startswith("text/event-stream"):
        return _streamed(list(events(body)))
    try:
        content = json.loads(body)
    except ValueError:
        return Shape([_BYTES], {})
    notes = _Notes()
    notes.add(content, "")
    return Shape(["whole"], notes.facts(), _values(content))


def events(body: bytes) -> Iterator[tuple[str, Any]]:
    """Yield name and content of each event; `[DONE]` is its own content."""
    for block in body.decode().replace("\r\n", "\n").split("\n\n"):
        lines = [line.partition(":")[::2] for line in block.splitlines()]
        name = "".join(value.strip() for key, value in lines if key == "event")
        text = "\n".join(value.removeprefix(" ") for key, value in lines if key == "data")
        if text:
            yield name, text if text == "[DONE]" else json.loads(text)


def _streamed(listed: list[tuple[str, Any]]) -> Shape:
    notes = _Notes()
    values: dict[str, Any] = {}
    kinds: list[tuple[str, int]] = []
    for name, content in listed:
        kind = _kind(name, content)
        kinds.append((kind, _place(content)))
        if kind != "[DONE]":
            notes.add(content, f"{kind}:")
            values |= _values(content.get("response") or content)
    return Shape(_outline(kinds), notes.facts(), values)


def _kind(name: str, content: Any) -> str:
    """Return what an event is: its type, or by what a chunk carries."""
    if content == "[DONE]":
        return "[DONE]"
    if "type" in content:
        held = content.get("item") or content.get("part") or {}
        kind = "/".join(filter(None, (content["type"], held.get("type"))))
        return kind if name == content["type"] else f"{kind} named {name!r}"
    return _kind_of_chunk(content)


def _kind_of_chunk(content: Mapping[str, Any]) -> str:
    if not content.get("choices"):
        return "error" if "error" in content else "usage"
    choice = content["choices"][0]
    finish = str(choice.get("finish_reason") or "")
    if "delta" not in choice:
        return "finish" if finish else "text"
    return _kind_of_delta(choice["delta"], finish)


def _kind_of_delta(delta: Mapping[str, Any], finish: str) -> str:
    if not delta:
        return "finish"
    calls = delta.get("tool_calls") or [delta.get("function_call")]
    if calls[0] is not None:
        kind = "call" if "name" in calls[0].get("function", calls[0]) else "arguments"
        return f"role+{kind}" if "role" in delta else kind
    named = "role" if "role" in delta else "refusal" if "refusal" in delta else "text"
    return f"{named}+finish" if finish else named


def _place(content: Any) -> int:
    """Return to which choice an event belongs, -1 if to none."""
    if isinstance(content, dict) and content.get("choices"):
        return int(content["choices"][0].get("index", 0))
    return -1


def _outline(kinds: list[tuple[str, int]]) -> list[str]:
    """Return the order of kinds within each choice, then of all that belongs to none."""
    ways: dict[int, list[str]] = {}
    for kind, place in kinds:
        ways.setdefault(place, []).append(kind)
    rest = ways.pop(-1, [])
    outlines = sorted({" ".join(_without_repeats(way)) for way in ways.values()})
    return [*outlines, *_without_repeats(rest)]


def _without_repeats(kinds: list[str]) -> list[str]:
    runs = [kind for kind, _ in groupby(kinds)]
    text = " ".join(runs).replace(_NOTE_IN_TEXT, _NOTE_IN_TEXT.split(maxsplit=1)[0])
    before = ""
    while before != text:
        before, text = text, re.sub(r"(?<!\S)(\S+(?: \S+){0,12}?)(?: \1)+(?!\S)", r"\1", text)
    return text.split()


class _Notes:
    """What was seen of all values so far."""

    def __init__(self) -> None:
        self._kinds: Facts = {}
        self._objects: dict[str, list[set[str]]] = {}

    def add(self, content: Any, path: str) -> None:
        """Note the kind of a value and of all within it."""
        if isinstance(content, dict):
            self._kinds.setdefault(path, set()).add("object")
            self._objects.setdefault(path, []).append(set(content))
            for key, value in content.items():
                self.add(value, f"{path}.{key}")
        elif isinstance(content, list):
            self._kinds.setdefault(path, set()).add("array")
            for value in content[:1] if content and isinstance(content[0], float) else content:
                named = value.get("type", "") if isinstance(value, dict) else ""
                self.add(value, f"{path}[{named}]")
        else:
            self._kinds.setdefault(path, set()).add(_KINDS[type(content)])

    def facts(self) -> Facts:
        """Return the kinds by path."""
        for path, objects in self._objects.items():
            for key in set[str]().union(*objects) - objects[0].intersection(*objects):
                self._kinds[f"{path}.{key}"].add("absent")
        return self._kinds


def _values(content: Any) -> dict[str, Any]:
    if not isinstance(content, dict):
        return {}
    usage = content.get("usage") or {}
    prompt = usage.get("prompt_tokens", usage.get("input_tokens"))
    found = {} if prompt is None else {"prompt tokens": prompt}
    error = content.get("error")
    if isinstance(error, dict):
        found |= {f"error {key}": error.get(key) for key in ("type", "code", "param", "message")}
    return found
