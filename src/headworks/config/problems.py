"""Everything that is wrong with a tree of values, told at once.

A reader that stops at the first error makes people run it ten times. This walk goes through the
whole tree along the structs of `schema`, and tells each unknown name (with the nearest known
one), each missing one and each value that does not fit; values themselves are never shown, as any
of them may be a secret in the wrong place.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import msgspec
import yaml

from headworks.config.schema import Document
from headworks.config.section import Section
from headworks.config.tree import UNRESOLVED, Path, Problem, Reading, as_list, as_mapping
from headworks.types import Secret

NOT_YET = "not available in this version of headworks"
_TYPES = {
    "object": "a mapping",
    "array": "a list",
    "str": "text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "null": "nothing",
}


def check(reading: Reading, kind: type[Section] = Document) -> tuple[Any, list[Problem]]:
    """Return the tree with each value converted for `kind`, and all that is wrong with it."""
    walk = _Walk(reading)
    return walk.read(reading.values, kind, ()), walk.problems


def as_secret(kind: type, value: object) -> object:
    """Convert what msgspec does not know: text to a `Secret`."""
    if kind is Secret and isinstance(value, str | Secret):
        return value if isinstance(value, Secret) else Secret(value)
    raise ValueError("Expected `str`")


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ", did you mean 'x'?" for the nearest known name, "" when none is near."""
    near = get_close_matches(name[:100], list(known), 1)
    return f", did you mean {near[0]!r}?" if near else ""


class _Walk:
    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self.problems: list[Problem] = []

    def read(self, value: Any, kind: Any, path: Path) -> Any:
        """Return the value, converted; what does not fit is told and left as it is."""
        if value is UNRESOLVED or value is None:
            return None if _may_be_empty(value, kind) else self._missing(value, path)
        kind = _without_none(kind)
        names, items = as_mapping(value), as_list(value)
        bare, _ = _parts(kind if names is None else _section_of(kind))
        if names is not None and isinstance(bare, type) and issubclass(bare, Section):
            return self._section(names, bare, path)
        if names is not None and get_origin(bare) in {dict, Mapping}:
            return self._mapping(names, bare, path)
        if items is not None and get_origin(bare) in {tuple, Sequence}:
            return self._list(items, kind, path)
        return self._leaf(value, kind, path)

    def _missing(self, value: object, path: Path) -> object:
        if value is None:
            self._tell(path, "has no value; give it one, or leave it out")
        return value

    def _section(self, value: dict[str, Any], kind: type[Section], path: Path) -> Any:
        fields = {field.encode_name: field for field in msgspec.structs.fields(kind)}
        for name in value:
            if name in kind.later:
                self._tell((*path, name), NOT_YET)
            elif name not in fields:
                near = did_you_mean(name, fields) or f"; known are {', '.join(fields)}"
                self._tell((*path, name), f"unknown key{near}")
        for name, field in fields.items():
            if field.required and name not in value:
                self._tell((*path, name), "is missing")
        return {
            name: self.read(child, fields[name].type, (*path, name))
            for name, child in value.items()
            if name in fields
        }

    def _mapping(self, value: dict[str, Any], kind: Any, path: Path) -> Any:
        name_kind, child_kind = get_args(kind)
        for name in value:
            self._leaf(name, name_kind, (*path, name))
        return {name: self.read(child, child_kind, (*path, name)) for name, child in value.items()}

    def _list(self, value: list[Any], kind: Any, path: Path) -> Any:
        bare, metas = _parts(kind)
        if not value and any(meta.min_length for meta in metas):
            self._tell(path, "the list is empty; name at least one")
        item = get_args(bare)[0]
        return [self.read(child, item, (*path, at)) for at, child in enumerate(value)]

    def _leaf(self, value: Any, kind: Any, path: Path) -> Any:
        is_strict = self._reading.origin(path) == "literal"
        try:
            read = msgspec.convert(value, kind, strict=is_strict, dec_hook=as_secret)
            for reader in _extras(_parts(kind)[1], "read"):
                reader(read.reveal() if isinstance(read, Secret) else read)
        except msgspec.ValidationError as error:
            self._tell(path, _plainly(str(error), value, kind))
        except ValueError as error:
            self._tell(path, str(error))
        else:
            return read
        return value

    def _tell(self, path: Path, message: str) -> None:
        self.problems.append(self._reading.problem(path, message))


def _extras(metas: Iterable[Any], name: str) -> list[Any]:
    return [meta.extra[name] for meta in metas if meta.extra and name in meta.extra]


def _may_be_empty(value: object, kind: object) -> bool:
    return value is None and any(_extras(_parts(kind)[1], "empty"))


def _parts(kind: Any) -> tuple[Any, tuple[Any, ...]]:
    """Return a type without its annotations, and these."""
    if get_origin(kind) is Annotated:
        bare, *metas = get_args(kind)
        return bare, tuple(metas)
    return kind, ()


def _without_none(kind: Any) -> Any:
    """Return the type of a value that is there: `X | None` as `X`, its annotations kept."""
    bare, metas = _parts(kind)
    args = [arg for arg in get_args(bare) if arg is not type(None)]
    if get_origin(bare) not in {Union, UnionType} or len(args) != 1:
        return kind
    return Annotated[(args[0], *metas)] if metas else args[0]


def _section_of(kind: Any) -> Any:
    """Return the section among the types that a value may have, for one that is a mapping."""
    args = get_args(_parts(kind)[0]) if get_origin(_parts(kind)[0]) in {Union, UnionType} else ()
    sections = [arg for arg in args if isinstance(arg, type) and issubclass(arg, Section)]
    return sections[0] if sections else kind


def _plainly(message: str, value: object, kind: object) -> str:
    """Say what msgspec says, in words for people and without the value."""
    bare, metas = _parts(_literal_of(kind))
    if get_origin(bare) is Literal:
        known = [str(arg) for arg in get_args(bare)]
        near = did_you_mean(value, known) if isinstance(value, str) else ""
        words = f"must be one of {', '.join(known)}" if known[1:] else f"must be {known[0]}"
        return f"{words}{near or _for_example(kind, ', or a mapping')}"
    if "matching regex" in message:
        return next(
            (f"must be {form}" for form in _extras(metas, "form")),
            "has a form that is not allowed",
        )
    expected = re.search(r"Expected `([^`]+)`( of length)?( [<>]=? ?\S+)?", message)
    if not expected:
        return "does not fit here"
    if expected[2]:
        return "is longer than it may be" if value else "is empty"
    text = f"expected {_spelled(expected[1])}{expected[3] or ''}"
    got = re.search(r"got `(\w+)`", message)
    text += f", not {_spelled(got[1])}" if got else ""
    wants_text = "str" in expected[1] and isinstance(value, int | float)
    return f"{text}; put it in quotes" if wants_text else f"{text}{_for_example(kind)}"


def _for_example(kind: Any, otherwise: str = "") -> str:
    """Return a mapping or a list that would do, as the schema has it, "" where it has none."""
    examples: Iterable[object] = (
        example for meta in _parts(kind)[1] for example in meta.examples or ()
    )
    mappings_only = bool(otherwise)
    right = next(
        (one for one in examples if as_mapping(one) or (as_list(one) and not mappings_only)), None
    )
    if right is None:
        return ""
    flow = yaml.safe_dump(right, default_flow_style=True, sort_keys=False, width=math.inf).strip()
    return f"{otherwise} such as {flow}" if otherwise else f"; for example {flow}"


def _literal_of(kind: Any) -> Any:
    """Return the words among the types that a value may have, for one that is no mapping."""
    args = get_args(_parts(kind)[0])
    return next((arg for arg in args if get_origin(arg) is Literal), kind)


def _spelled(kinds: str) -> str:
    names = [name for name in kinds.split(" | ") if name != "null" or kinds == "null"]
    return " or ".join(_TYPES.get(name, name) for name in names)


def values_at(values: Any, pattern: Path) -> list[tuple[Path, Any]]:
    """Return every value whose path fits the pattern, where "*" fits any name or position.

    What has not the expected form is passed over: its problem is told elsewhere.
    """
    found: list[tuple[Path, Any]] = [((), values)]
    for part in pattern:
        found = [
            ((*path, name), child)
            for path, value in found
            for name, child in _children(value)
            if part in {"*", name}
        ]
    return found


def _children(value: object) -> Iterable[tuple[str | int, Any]]:
    names, items = as_mapping(value), as_list(value)
    return names.items() if names is not None else enumerate(items or ())
