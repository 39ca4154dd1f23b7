"""Folds two JSON schemas into one that allows what both allow, as far as one can say it."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from headworks.simulator.conforms import is_number, same
from headworks.simulator.fields import is_list, is_map

UNIONS: Sequence[str] = ("$ref", "allOf", "if", "dependentSchemas", "anyOf", "oneOf")
"""Keywords that say which schemas apply; of each, one schema holds as many as it has parents."""

_HIGHEST = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties", "minContains")
_LOWEST = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties", "maxContains")


def merged(first: Mapping[str, Any], second: object) -> dict[str, Any]:
    """Return both schemas in one; where that cannot be said, the second wins."""
    other: Mapping[str, Any] = second if is_map(second) else {}
    both = dict(first)
    for name, value in other.items():
        if name not in both:
            both[name] = value
        elif name in UNIONS or name == "not":
            both = _beside(both, name, value)
        else:
            both[name] = _ONE[name](both[name], value) if name in _ONE else value
    return both


def _beside(both: dict[str, Any], name: str, value: Any) -> dict[str, Any]:
    """Return a schema with a keyword twice, the second time within allOf."""
    parts = both.get("allOf")
    if name == "allOf":
        return {**both, "allOf": [*_items(parts), *_items(value)]}
    if name == "not":
        return {**both, "not": {"anyOf": [both["not"], value]}}
    return {**both, "allOf": [*_items(parts), {name: value}]}


def _items(value: Any) -> list[Any]:
    return value if is_list(value) else []


def _properties(first: Any, second: Any) -> Any:
    if not is_map(first) or not is_map(second):
        return second
    shared = {name: _both(first[name], second[name]) for name in first.keys() & second.keys()}
    return {**first, **second, **shared}


def _both(first: Any, second: Any) -> Any:
    if not is_map(first):
        return first if first is False else second
    return merged(first, second) if is_map(second) else first if second is True else second


def _kinds(first: Any, second: Any) -> Any:
    one, two = ([kind] if isinstance(kind, str) else _items(kind) for kind in (first, second))
    shared = [kind for kind in one if kind in two or (kind == "integer" and "number" in two)]
    shared += [kind for kind in two if kind == "integer" and "number" in one]
    return (shared[0] if len(shared) == 1 else shared) or second


def _choices(first: Any, second: Any) -> Any:
    shared = [one for one in _items(first) if any(same(one, two) for two in _items(second))]
    return shared or second


def _bound(choose: Callable[[Any, Any], Any], first: Any, second: Any) -> Any:
    return choose(first, second) if is_number(first) and is_number(second) else second


_ONE: Mapping[str, Callable[[Any, Any], Any]] = {
    "properties": _properties,
    "patternProperties": _properties,
    "items": _both,
    "additionalProperties": _both,
    "propertyNames": _both,
    "required": lambda one, two: [*_items(one), *_items(two)],
    "type": _kinds,
    "enum": _choices,
    "const": lambda one, _: one,
    "uniqueItems": lambda one, two: one is True or two is True,
    **dict.fromkeys(_HIGHEST, partial(_bound, max)),
    **dict.fromkeys(_LOWEST, partial(_bound, min)),
}
