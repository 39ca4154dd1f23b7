"""Tells whether a JSON value is valid under a JSON schema (2020-12), references within it alone.

Formats and `unevaluated…` are not judged; an expression that is not understood fits nothing.
"""

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any, TypeAlias, TypeGuard, final
from urllib.parse import unquote

from headworks.simulator.fields import is_list, is_map
from headworks.simulator.patterns import matches

_DEEPEST = 60
_MOST_WORK = 50_000


def conforms(value: object, schema: object, root: object = None) -> bool:
    """Return whether the value is valid; what takes too long to tell counts as valid.

    Args:
        value: Any JSON value.
        schema: What it must be valid under; anything but an object or false allows everything.
        root: Where local references begin, the schema itself if not given.
    """
    return _Judge(schema if root is None else root).fits(value, schema)


def same(first: object, second: object) -> bool:
    """Return whether two JSON values are equal: 1 is 1.0 but not true."""
    if isinstance(first, bool) or isinstance(second, bool):
        return first is second
    if is_list(first) and is_list(second):
        pairs = zip(first, second, strict=False)
        return len(first) == len(second) and all(same(one, other) for one, other in pairs)
    if is_map(first) and is_map(second):
        return first.keys() == second.keys() and all(same(first[k], second[k]) for k in first)
    return first == second


def resolve(root: object, reference: str) -> object:
    """Return what a local reference points at, {} if it points nowhere."""
    place: object = root
    if not reference.startswith("#"):
        return {}
    for step in unquote(reference[1:]).split("/")[1:]:
        name = step.replace("~1", "/").replace("~0", "~")
        if is_list(place):
            place = place[int(name)] if name.isdecimal() and int(name) < len(place) else {}
        else:
            place = place.get(name, {}) if is_map(place) else {}
    return place


def is_number(value: object) -> TypeGuard[float]:
    """Return whether a JSON value is a number."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_multiple(value: float, step: float) -> bool:
    """Return whether a number is a whole multiple of another, as both are written."""
    return not step or not Fraction(str(value)) % Fraction(str(step))


_TYPES: Mapping[str, Callable[[Any], bool]] = {
    "null": lambda value: value is None,
    "boolean": lambda value: isinstance(value, bool),
    "integer": lambda value: is_number(value) and value == int(value),
    "number": is_number,
    "string": lambda value: isinstance(value, str),
    "array": is_list,
    "object": is_map,
}
_BOUNDS: Mapping[str, Callable[[Any, Any], bool]] = {
    "minimum": lambda value, bound: value >= bound,
    "maximum": lambda value, bound: value <= bound,
    "exclusiveMinimum": lambda value, bound: value > bound,
    "exclusiveMaximum": lambda value, bound: value < bound,
    "multipleOf": is_multiple,
}
_SIZES: Mapping[type, Mapping[str, Callable[[Any, Any], bool]]] = {
    of: {
        f"min{kind}": lambda value, bound: len(value) >= bound,
        f"max{kind}": lambda value, bound: len(value) <= bound,
    }
    for of, kind in ((str, "Length"), (list, "Items"), (dict, "Properties"))
}
_Schema: TypeAlias = Mapping[str, Any]


def _is_a(kind: object, value: object) -> bool:
    return isinstance(kind, str) and kind in _TYPES and _TYPES[kind](value)


@final
class _Judge:
    """Judges values under the schemas of one document."""

    def __init__(self, root: object) -> None:
        self._root, self._left, self._depth = root, _MOST_WORK, 0

    def fits(self, value: object, schema: object) -> bool:
        """Return whether the value is valid under the schema."""
        self._left -= 1
        if not is_map(schema) or self._depth > _DEEPEST or self._left < 0:
            return schema is not False
        self._depth += 1
        found = (
            self._fits_plainly(value, schema)
            and self._fits_logic(value, schema)
            and (not is_list(value) or self._fits_items(value, schema))
            and (not is_map(value) or self._fits_properties(value, schema))
        )
        self._depth -= 1
        return found

    def _fits_plainly(self, value: object, schema: _Schema) -> bool:
        kinds = schema.get("type")
        kinds = [kinds] if isinstance(kinds, str) else kinds
        if is_list(kinds) and not any(_is_a(kind, value) for kind in kinds):
            return False
        choices = schema.get("enum")
        if is_list(choices) and not any(same(value, choice) for choice in choices):
            return False
        if "const" in schema and not same(value, schema["const"]):
            return False
        if is_number(value):
            return _is_within(value, schema, _BOUNDS)
        return self._fits_size(value, schema)

    def _fits_size(self, value: object, schema: _Schema) -> bool:
        pattern = schema.get("pattern")
        if isinstance(value, str) and isinstance(pattern, str) and not matches(pattern, value):
            return False
        return _is_within(value, schema, _SIZES.get(type(value), {}))

    def _fits_logic(self, value: object, schema: _Schema) -> bool:
        reference = schema.get("$ref")
        if isinstance(reference, str) and not self.fits(value, resolve(self._root, reference)):
            return False
        if "if" in schema:
            branch = "then" if self.fits(value, schema["if"]) else "else"
            if not self.fits(value, schema.get(branch)):
                return False
        return self._fits_options(value, schema)

    def _fits_options(self, value: object, schema: _Schema) -> bool:
        def fitting(name: str) -> int:
            return sum(self.fits(value, option) for option in _list(schema, name))

        return (
            fitting("allOf") == len(_list(schema, "allOf"))
            and ("anyOf" not in schema or fitting("anyOf") > 0)
            and ("oneOf" not in schema or fitting("oneOf") == 1)
            and ("not" not in schema or not self.fits(value, schema["not"]))
        )

    def _fits_items(self, value: Sequence[Any], schema: _Schema) -> bool:
        heads = _list(schema, "prefixItems")
        pairs = zip(value, [*heads, *[schema.get("items")] * len(value)], strict=False)
        if not all(self.fits(item, under) for item, under in pairs):
            return False
        if "contains" in schema:
            found = sum(self.fits(item, schema["contains"]) for item in value)
            bounds = {
                "minItems": schema.get("minContains", 1),
                "maxItems": schema.get("maxContains"),
            }
            if not _is_within(value[:found], bounds, _SIZES[list]):
                return False
        if schema.get("uniqueItems") is not True:
            return True
        return not any(same(one, two) for n, one in enumerate(value) for two in value[:n])

    def _fits_properties(self, value: _Schema, schema: _Schema) -> bool:
        if not all(name in value for name in texts(schema, "required")):
            return False
        if not all(self.fits(name, schema.get("propertyNames")) for name in value):
            return False
        if not all(
            self.fits(item, under)
            for name, item in value.items()
            for under in schemas_of(name, schema)
        ):
            return False
        needed = _map(schema, "dependentRequired")
        if not all(n in value for name in needed if name in value for n in texts(needed, name)):
            return False
        under = _map(schema, "dependentSchemas")
        return all(self.fits(value, under[name]) for name in under if name in value)


def schemas_of(name: str, schema: _Schema) -> list[Any]:
    """Return all schemas under which the property of an object falls."""
    named = _map(schema, "properties")
    found = [named[name]] if name in named else []
    patterns = _map(schema, "patternProperties")
    found += [under for pattern, under in patterns.items() if matches(pattern, name)]
    return found or [schema.get("additionalProperties")]


def texts(schema: _Schema, name: str) -> list[str]:
    """Return the texts of a list."""
    return [item for item in _list(schema, name) if isinstance(item, str)]


def _is_within(
    value: object, schema: _Schema, tests: Mapping[str, Callable[[Any, Any], bool]]
) -> bool:
    return all(
        test(value, schema[name])
        for name, test in tests.items()
        if name in schema and is_number(schema[name])
    )


def _list(schema: _Schema, name: str) -> Sequence[Any]:
    value = schema.get(name)
    return value if is_list(value) else ()


def _map(schema: _Schema, name: str) -> Mapping[str, Any]:
    value = schema.get(name)
    return value if is_map(value) else {}
