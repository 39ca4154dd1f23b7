"""How values grow while a stream tells them piece by piece.

Of fields that nobody knows, too: a text is joined to what was there, a list is appended to or, where
its entries have an `index`, merged entry by entry, an object is merged field by field, and any other
value replaces the one before. `null` replaces nothing. Names in `_REPLACED` hold a word, not a text:
their last value that is not empty holds.
"""

from typing import Any

from headworks.core.shapes import Fields, as_fields

_REPLACED = frozenset({"id", "type", "role", "index", "object", "format", "status"})
_DEEPEST = 64
"""Levels that are merged; what is deeper is replaced."""


class Text:
    """A text that grows, from what it begins with: its pieces are joined once.

    Attributes:
        write: Takes a piece.
    """

    __slots__ = ("_pieces", "write")

    def __init__(self, begun: object = "") -> None:
        self._pieces = [begun] if isinstance(begun, str) else []
        self.write = self._pieces.append

    def result(self) -> str:
        """Return the text; halves of a character that came apart are one, those left alone U+FFFD."""
        value = "".join(self._pieces)
        self._pieces[:] = [value]
        try:
            value.encode()
        except UnicodeEncodeError:
            return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        return value


def grow(into: Fields, delta: Fields, depth: int = 0) -> None:
    """Merge a delta into what was told before; `delta` itself is not changed."""
    for name, value in delta.items():
        if value is None:
            into.setdefault(name, None)
        else:
            into[name] = _joined(name, into.get(name), value, depth)


def _joined(name: str, held: Any, value: Any, depth: int) -> Any:
    """Return what a value becomes by another one."""
    if value.__class__ is str:
        return _said(name, held, value)
    if depth == _DEEPEST:
        return value
    if value.__class__ is dict:
        fields: Fields = held if held.__class__ is dict else {}
        grow(fields, value, depth + 1)
        return fields
    if value.__class__ is list:
        entries = held if held.__class__ is Entries else Entries(is_calls=name == "tool_calls")
        entries.extend(value, depth + 1)
        return entries
    return value


def _said(name: str, held: Any, value: str) -> Any:
    if name in _REPLACED:
        return value or held or ""
    text = held if held.__class__ is Text else Text()
    text.write(value)
    return text


class Entries:
    """A list that grows: entries with an index are merged, others appended.

    Args:
        is_calls: Whether these are tool calls, whose index is of the stream alone. Not every
            provider counts them: there a name with an id of its own begins another call, and what
            has no index belongs to the call before.
    """

    __slots__ = ("_appended", "_at", "_is_calls", "_last", "_merged")

    def __init__(self, *, is_calls: bool = False) -> None:
        self._appended: list[Any] = []
        self._merged: list[tuple[int, Fields]] = []
        self._at: dict[int, Fields] = {}
        self._last = 0
        self._is_calls = is_calls

    def extend(self, entries: list[Any], depth: int) -> None:
        """Take in more entries."""
        for entry in entries:
            is_fields = entry.__class__ is dict
            if is_fields and (self._is_calls or entry.get("index").__class__ is int):
                self._merge(entry, depth)
            else:
                self._appended.append(entry)

    def result(self) -> list[Any]:
        """Return the list: what was merged by its index, then what was appended."""
        merged = [grown(entry) for _, entry in sorted(self._merged, key=_place)]
        if self._is_calls:
            for call in merged:
                call.pop("index", None)
        return [*merged, *self._appended]

    def _merge(self, entry: Fields, depth: int) -> None:
        index: Any = entry.get("index")
        if index.__class__ is not int:
            index = self._last
        self._last = index
        held = self._at.get(index)
        if held is None or (self._is_calls and _is_another(held, entry)):
            held = self._at[index] = {}
            self._merged.append((index, held))
        grow(held, entry, depth)


def grown(fields: Fields) -> Fields:
    """Return what has grown, as plain JSON."""
    return {name: _plain(value) for name, value in fields.items()}


def _plain(value: Any) -> Any:
    kind = value.__class__
    if kind is dict:
        return grown(value)
    return value.result() if kind is Text or kind is Entries else value


def _place(merged: tuple[int, Fields]) -> int:
    return merged[0]


def _is_another(held: Fields, entry: Fields) -> bool:
    """Return whether a tool call is not the one that is held: it has a name and another id."""
    id_, known = entry.get("id"), held.get("id")
    if not id_ or not known or id_ == known:
        return False
    inner = as_fields(entry.get("function") or entry.get("custom"))
    return bool(inner.get("name"))
