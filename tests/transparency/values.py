"""Values that a schema allows: all optional fields set, every branch and every word at least once."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from itertools import cycle
from typing import Any

from tests.transparency.description import Schema, resolve

MOST = 400
"""Values of one schema; a test says that it is enough."""

_ITEMS, _DEEP = 6, 5
_LEVELS = 40
_TEXTS = (
    "plain",
    "h\u00e9llo \U0001f600",
    'a "quoted" \\ back/slash',
    "\u2028line\u0085ends\r\n\t",
    "<|endoftext|> data: [DONE]",
    "\u0000\u001f\u007f",
)
_SCALARS: Mapping[str, tuple[Any, ...]] = {
    "string": _TEXTS,
    "number": (0.5, 1.0, -0.0, 2e-7, 1e21),
    "integer": (1, 0, 2, 4096, 9007199254740993, -1),
}
_RESTRICTIONS = frozenset({"required", "not", "title", "description"})
"""What a branch has that offers nothing, but forbids something."""


Key = tuple[int, int]
"""A branch or word: of which schema, and which one of it."""


class Endless(Exception):
    """A schema that holds itself has no end on this branch."""


class Values:
    """Makes values of one schema; what was not chosen yet is chosen next."""

    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        self._options: dict[int, list[Schema]] = {}
        self._uses: Counter[Key] = Counter()
        self._open: set[Key] = set()
        self._chosen: list[Key] = []
        self._behind: defaultdict[Key, set[Key]] = defaultdict(set)
        self._scalars = {kind: cycle(values) for kind, values in _SCALARS.items()}
        self._path: list[int] = []

    @property
    def unused(self) -> int:
        """How many branches and words, of those that were met, no value has used."""
        return len(self._open)

    def all(self) -> Iterator[Any]:
        """Yield values until nothing that the schema allows is left out."""
        for _ in range(MOST):
            yield self._make(self._schema)
            if not self._open:
                return

    def _make(self, node: Schema) -> Any:
        node = resolve(node)
        if self._path.count(id(node)) > 1 or len(self._path) > _LEVELS:
            raise Endless
        self._path.append(id(node))
        try:
            return self._made(node)
        finally:
            self._path.pop()

    def _made(self, node: Schema) -> Any:
        options = self._options.get(id(node))
        if options is None:
            options = self._options[id(node)] = _alternatives(node)
        if options:
            value = self._choose(node, options)
            is_part = "properties" in node and isinstance(value, dict)
            return {**self._object(node), **value} if is_part else value
        if "allOf" in node:
            return self._all_of(node)
        if "const" in node:
            return node["const"]
        return self._of_type(node.get("type", "object" if "properties" in node else "string"), node)

    def _all_of(self, node: Schema) -> Any:
        parts = [self._make(one) for one in node["allOf"]]
        if not all(isinstance(one, dict) for one in parts):
            return parts[0]
        whole = self._object(node)
        for part in parts:
            whole |= part
        return whole

    def _choose(self, node: Schema, options: list[Any]) -> Any:
        """Make a value of the option behind which most is left to be used, or that was least."""
        keys = [(id(node), n) for n in range(len(options))]
        self._open.update(key for key in keys if key not in self._uses)
        for outer in self._chosen:
            self._behind[outer].update(keys)
        for key in sorted(keys, key=self._rank):
            self._uses[key] += 1
            self._open.discard(key)
            self._chosen.append(key)
            try:
                return self._make(options[key[1]])
            except Endless:
                continue
            finally:
                self._chosen.pop()
        raise Endless

    def _rank(self, key: Key) -> tuple[bool, bool, int]:
        return key not in self._open, self._behind[key].isdisjoint(self._open), self._uses[key]

    def _of_type(self, kind: str, node: Schema) -> Any:
        if kind in self._scalars:
            return next(self._scalars[kind])
        if kind == "array":
            return self._array(node)
        return self._object(node) if kind == "object" else None

    def _object(self, node: Schema) -> dict[str, Any]:
        made = {}
        for name, one in node.get("properties", {}).items():
            try:
                made[name] = self._make(one)
            except Endless:
                if name in node.get("required", ()):
                    raise
        others = node.get("additionalProperties")
        if isinstance(others, dict) and others:
            made["any_name"] = self._make(others)
        return made

    def _array(self, node: Schema) -> list[Any]:
        """Make items until one brings nothing new."""
        most = _ITEMS if len(self._path) < _DEEP else 2
        made: list[Any] = []
        while len(made) < most:
            before = self._uses.total(), len(self._uses)
            try:
                made.append(self._make(node.get("items", {})))
            except Endless:
                break
            if len(self._uses) == before[1]:
                break
        return made


def _alternatives(node: Schema) -> list[Schema]:
    """Return the schemas of which a value obeys one; none, if it obeys this one alone."""
    branches = [*node.get("oneOf", ()), *node.get("anyOf", ())]
    branches = [one for one in branches if not one.keys() <= _RESTRICTIONS]
    words = node.get("enum", (True, False) if node.get("type") == "boolean" else ())
    kinds = node["type"] if isinstance(node.get("type"), list) else ()
    return branches or [{"const": one} for one in words] or [{**node, "type": one} for one in kinds]
