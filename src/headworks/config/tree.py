"""YAML as a tree that remembers where everything stands.

Only plain types come out: mappings, lists, text, whole and decimal numbers, booleans, null, by the
rules of YAML 1.2's core schema (`on` and `no` are text, not booleans). What a hostile or mistaken
file could do to a loader is bounded before it costs anything: bytes, depth, and nodes after
aliases are followed.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, cast

import yaml
from typing_extensions import override

MOST_BYTES = 1_000_000
MOST_NODES = 100_000
MOST_DEPTH = 50

Path = tuple[str | int, ...]
"""The way from the root to a value: names and positions."""

Origin = Literal["literal", "mixed", "reference"]
"""Whether a text was written out, or came through references in part or as a whole."""

_TAG = "tag:yaml.org,2002:"
_MERGE = f"{_TAG}merge"
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_SHOWN = 60
_OPENING = (yaml.MappingStartEvent, yaml.SequenceStartEvent)
_CLOSING = (yaml.MappingEndEvent, yaml.SequenceEndEvent)
_COUNTED = (*_OPENING, yaml.ScalarEvent, yaml.AliasEvent)
_TRUE = frozenset({"true", "True", "TRUE"})
_SCALARS: dict[str, tuple[str, Callable[[str], Any]]] = {
    f"{_TAG}null": (r"~|null|Null|NULL|", lambda _: None),
    f"{_TAG}bool": (r"true|True|TRUE|false|False|FALSE", lambda text: text in _TRUE),
    f"{_TAG}int": (r"[-+]?[0-9]{1,18}", int),
    f"{_TAG}float": (
        r"[-+]?(?:\.[0-9]{1,30}|[0-9]{1,18}(?:\.[0-9]{0,30})?)(?:[eE][-+]?[0-9]{1,3})?",
        float,
    ),
}


class _Loader(yaml.CSafeLoader):
    """Resolves plain scalars by our table instead of YAML 1.1's."""


_PATTERNS = {tag: pattern for tag, (pattern, _) in _SCALARS.items()} | {_MERGE: "<<"}
_RESOLVERS = [(tag, re.compile(rf"(?:{pattern})\Z")) for tag, pattern in _PATTERNS.items()]
type.__setattr__(_Loader, "yaml_implicit_resolvers", {None: _RESOLVERS})


class _TooMuch(Exception):
    """The document is deeper or larger than any configuration."""


class _Unresolved:
    """Stands where a reference could not be followed; its problem is already told."""

    @override
    def __repr__(self) -> str:
        return "<unresolved>"


UNRESOLVED = _Unresolved()


@dataclass(frozen=True, slots=True)
class Place:
    """Where a value stands: a file and its line, or the name of an environment variable."""

    source: str
    line: int = 0

    @property
    def is_variable(self) -> bool:
        """Whether the value came by an environment variable instead of a file."""
        return not self.line

    @override
    def __str__(self) -> str:
        return f"{escaped(self.source)}:{self.line}" if self.line else escaped(self.source)


@dataclass(frozen=True, slots=True)
class Problem:
    """One finding: where, at which key, and what is wrong there."""

    place: Place
    path: Path
    message: str

    @override
    def __str__(self) -> str:
        where = f"{self.place}: {dotted(self.path)}" if self.path else f"{self.place}"
        return f"{where}: {self.message}"


@dataclass(frozen=True, slots=True)
class Node:
    """One value and its place: a mapping, a list or a scalar."""

    value: Any
    place: Place
    origin: Origin = "literal"

    @property
    def mapping(self) -> "dict[str, Node] | None":
        """The entries, None when this is no mapping."""
        return as_mapping(self.value)

    @property
    def items(self) -> "list[Node] | None":
        """The items, None when this is no list."""
        return as_list(self.value)


@dataclass(frozen=True, slots=True)
class Reading:
    """A tree as plain values, with the place and origin of each path."""

    values: Any
    places: Mapping[Path, Place]
    origins: Mapping[Path, Origin] = field(default_factory=dict[Path, Origin])

    def problem(self, path: Path, message: str) -> Problem:
        """Return the finding with its place: the path's own, or that of what it would be in."""
        ways = (path[:end] for end in range(len(path), -1, -1))
        return Problem(next(self.places[way] for way in ways if way in self.places), path, message)

    def origin(self, path: Path) -> Origin:
        """Return how the value at the path was written."""
        return self.origins.get(path, "literal")


def as_mapping(value: object) -> dict[str, Any] | None:
    """Return a mapping as one, None for anything else."""
    return cast("dict[str, Any]", value) if isinstance(value, dict) else None


def as_list(value: object) -> list[Any] | None:
    """Return a list as one, None for anything else."""
    return cast("Any", value) if isinstance(value, list) else None


def dotted(path: Path) -> str:
    """Spell a path: `keys[0].limits.rpm`; unusual names stand in quotes."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            name = part if _PLAIN_NAME.fullmatch(part) else f'"{escaped(part)}"'
            text += f".{name}" if text else name
    return text


def told(problems: Iterable[Problem]) -> list[str]:
    """Return the findings as lines, each once, in the order of their places."""
    ordered = sorted(problems, key=lambda one: (one.place.source, one.place.line))
    return list(dict.fromkeys(str(one) for one in ordered))


def escaped(text: str) -> str:
    """Return the text fit for a terminal: one line, no control characters, not endless."""
    shown = text if len(text) <= 4 * _SHOWN else f"{text[: 4 * _SHOWN]}…"
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in shown)


def parse(content: bytes, source: str, problems: list[Problem]) -> Node | None:
    """Return the file's tree; what is wrong with it is added to `problems`."""
    start = Place(source, 1)
    try:
        text = _text(content)
        _bound(yaml.parse(text, Loader=_Loader))
        root = yaml.compose(text, Loader=_Loader)
        return Node({}, start) if root is None else _Builder(source, problems).build(root)
    except _TooMuch as error:
        problems.append(Problem(start, (), str(error)))
    except UnicodeDecodeError:
        problems.append(Problem(start, (), "is not UTF-8 text"))
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        said = ", ".join(part for part in (error.context, error.problem) if part)
        problems.append(Problem(Place(source, line), (), f"not valid YAML: {said}"))
    except yaml.YAMLError:
        problems.append(Problem(start, (), "not valid YAML: holds a control character"))
    return None


def scalar(text: str) -> object:
    """Read one scalar as it would stand in a file; quotes make it text."""
    if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'":
        try:
            node = yaml.compose(text, Loader=_Loader)
        except (yaml.YAMLError, UnicodeEncodeError):
            return text
        return node.value if isinstance(node, yaml.ScalarNode) else text
    for pattern, convert in _SCALARS.values():
        if re.fullmatch(pattern, text):
            return convert(text)
    return text


def flatten(root: Node) -> Reading:
    """Return the tree's plain values, places and origins."""
    places: dict[Path, Place] = {}
    origins: dict[Path, Origin] = {}

    def plain(node: Node, path: Path) -> Any:
        places[path] = node.place
        if node.origin != "literal":
            origins[path] = node.origin
        if node.mapping is not None:
            return {name: plain(child, (*path, name)) for name, child in node.mapping.items()}
        if node.items is not None:
            return [plain(child, (*path, at)) for at, child in enumerate(node.items)]
        return node.value

    return Reading(plain(root, ()), places, origins)


def _text(content: bytes) -> str:
    if len(content) > MOST_BYTES:
        raise _TooMuch(f"is larger than {MOST_BYTES} bytes")
    return content.decode("utf-8-sig")


def _bound(events: Iterable[yaml.Event]) -> None:
    depth = count = 0
    for event in events:
        count += isinstance(event, _COUNTED)
        depth += isinstance(event, _OPENING) - isinstance(event, _CLOSING)
        _check_bounds(count, depth)


def _check_bounds(count: int, depth: int) -> None:
    if depth > MOST_DEPTH:
        raise _TooMuch(f"is nested more than {MOST_DEPTH} levels deep")
    if count > MOST_NODES:
        raise _TooMuch(f"holds more than {MOST_NODES} values")


class _Builder:
    """Turns composed YAML nodes into a tree, following aliases within the bounds."""

    def __init__(self, source: str, problems: list[Problem]) -> None:
        self._source, self._problems, self._count = source, problems, 0

    def build(self, node: yaml.Node, path: Path = (), place: Place | None = None) -> Node:
        self._count += 1
        _check_bounds(self._count, len(path))
        place = place or self._place(node)
        if isinstance(node, yaml.MappingNode) and node.tag == f"{_TAG}map":
            return Node(self._entries(node, path), place)
        if isinstance(node, yaml.SequenceNode) and node.tag == f"{_TAG}seq":
            items = [self.build(item, (*path, at)) for at, item in enumerate(node.value)]
            return Node(items, place)
        return Node(self._scalar(node, path), place)

    def _entries(self, node: yaml.MappingNode, path: Path) -> dict[str, Node]:
        inherited: dict[str, Node] = {}
        own: dict[str, Node] = {}
        for key, value in node.value:
            if key.tag == _MERGE:
                for name, child in self._inherited(value, path):
                    inherited.setdefault(name, child)
            elif not isinstance(key, yaml.ScalarNode):
                self._complain(key, path, "a key must be plain text")
            elif key.value in own:
                first = own[key.value].place.line
                self._complain(key, (*path, key.value), f"stands here twice, first in line {first}")
            else:
                own[key.value] = self.build(value, (*path, key.value), self._place(key))
        return {**inherited, **own}

    def _inherited(self, node: yaml.Node, path: Path) -> Iterator[tuple[str, Node]]:
        sources = node.value if isinstance(node, yaml.SequenceNode) else [node]
        for source in sources:
            tree = self.build(source, (*path, "<<"))
            if tree.mapping is None:
                self._complain(source, path, "<< takes a mapping or a list of mappings")
            else:
                yield from tree.mapping.items()

    def _scalar(self, node: yaml.Node, path: Path) -> object:
        if node.tag == f"{_TAG}str":
            return node.value
        known = _SCALARS.get(node.tag)
        if known and isinstance(node, yaml.ScalarNode) and re.fullmatch(known[0], node.value):
            return known[1](node.value)
        self._complain(node, path, "only plain YAML values are allowed, no tags of other types")
        return UNRESOLVED

    def _place(self, node: yaml.Node) -> Place:
        return Place(self._source, node.start_mark.line + 1)

    def _complain(self, node: yaml.Node, path: Path, message: str) -> None:
        self._problems.append(Problem(self._place(node), path, message))
