"""Makes up a value that is valid under a JSON schema.

Knows what strict schemas may say: types, properties, required, enum, const, anyOf, oneOf, allOf,
local $ref (recursive ones too), items, bounds of numbers, strings and arrays, and the usual
formats. `pattern`, `not` and conditions are not followed.
"""

from collections.abc import Mapping
from math import ceil, floor
from typing import Any

from headworks.simulator.chance import Chance
from headworks.simulator.fields import is_list, is_map
from headworks.simulator.words import NOUNS

_DEEP = 6  # from here on only what is required, and the shortest way out of a recursion
_DEEPEST = 40
_FORMATS = {
    "date": "2026-11-20",
    "date-time": "2026-11-20T09:30:00Z",
    "time": "09:30:00Z",
    "duration": "PT30M",
    "email": "miller@example.com",
    "hostname": "example.com",
    "ipv4": "192.0.2.7",
    "ipv6": "2001:db8::7",
    "uri": "https://example.com/river",
    "uuid": "1b4e28ba-2fa1-41d2-883f-0016d3cca427",
}


def example(schema: object, chance: Chance) -> Any:
    """Return a value under `schema`; anything that is not a schema allows any object."""
    return _value(schema, schema, chance, 0)


def _value(schema: object, root: object, chance: Chance, depth: int) -> Any:
    plan = _resolved(schema, root, depth)
    if "const" in plan:
        return plan["const"]
    choices = plan.get("enum")
    if is_list(choices) and choices:
        return chance.pick(choices)
    for name in ("anyOf", "oneOf"):
        options = plan.get(name)
        if is_list(options) and options:
            rest = {key: value for key, value in plan.items() if key != name}
            return _value(_merged(rest, _option(options, root, depth)), root, chance, depth + 1)
    return _typed(plan, root, chance, depth)


def _resolved(schema: object, root: object, depth: int) -> Mapping[str, Any]:
    """Follow local references and fold allOf into one plain schema."""
    plan: Mapping[str, Any] = schema if is_map(schema) else {}
    for _ in range(_DEEPEST):
        reference = plan.get("$ref")
        if not isinstance(reference, str):
            break
        rest = {key: value for key, value in plan.items() if key != "$ref"}
        plan = _merged(rest, _at(root, reference))
    parts = plan.get("allOf")
    if is_list(parts) and depth < _DEEPEST:
        plan = {key: value for key, value in plan.items() if key != "allOf"}
        for part in parts:
            plan = _merged(plan, _resolved(part, root, depth + 1))
    return plan


def _at(root: object, reference: str) -> object:
    place: object = root
    if not reference.startswith("#"):
        return {}
    for step in reference[1:].split("/")[1:]:
        name = step.replace("~1", "/").replace("~0", "~")
        place = place.get(name, {}) if is_map(place) else {}
    return place


def _merged(first: Mapping[str, Any], second: object) -> dict[str, Any]:
    """Return both schemas in one: properties and required are joined, of the rest `second` wins."""
    other: Mapping[str, Any] = second if is_map(second) else {}
    both = {**first, **other}
    if is_map(first.get("properties")) and is_map(other.get("properties")):
        both["properties"] = {**first["properties"], **other["properties"]}
    if is_list(first.get("required")) and is_list(other.get("required")):
        both["required"] = [*first["required"], *other["required"]]
    return both


def _option(options: list[Any], root: object, depth: int) -> object:
    """Return the first option, or when it is time to end a simple one."""
    if depth < _DEEP:
        return options[0]
    simple = (option for option in options if not _nests(_resolved(option, root, depth)))
    return next(simple, options[-1])


def _nests(plan: Mapping[str, Any]) -> bool:
    return any(name in plan for name in ("properties", "items", "anyOf", "oneOf"))


def _typed(plan: Mapping[str, Any], root: object, chance: Chance, depth: int) -> Any:
    kind = _kind(plan)
    if kind == "object":
        return _object(plan, root, chance, depth)
    if kind == "array":
        return _array(plan, root, chance, depth)
    if kind in {"integer", "number"}:
        return _number(plan, kind, chance)
    if kind == "boolean":
        return chance.below(2) == 1
    return None if kind == "null" else _string(plan, chance)


def _kind(plan: Mapping[str, Any]) -> str:
    kind = plan.get("type")
    if is_list(kind):
        kind = next((name for name in kind if name != "null"), "null")
    if isinstance(kind, str):
        return kind
    if "properties" in plan or not plan:
        return "object"
    return "array" if "items" in plan else "string"


def _object(plan: Mapping[str, Any], root: object, chance: Chance, depth: int) -> dict[str, Any]:
    properties = plan.get("properties")
    fields: Mapping[str, Any] = properties if is_map(properties) else {}
    needed = plan.get("required")
    required: list[Any] = needed if is_list(needed) else []
    if not fields and not required and depth == 0:
        return {chance.pick(NOUNS): chance.pick(NOUNS)} if not plan else {}
    if depth >= _DEEPEST:
        return {}
    names = [name for name in fields if name in required or depth < _DEEP]
    names += [name for name in required if isinstance(name, str) and name not in fields]
    return {name: _value(fields.get(name, True), root, chance, depth + 1) for name in names}


def _array(plan: Mapping[str, Any], root: object, chance: Chance, depth: int) -> list[Any]:
    least, most = _whole(plan.get("minItems"), 0), _whole(plan.get("maxItems"), 100)
    size = min(max(least, 1 + chance.below(2) if depth < _DEEP else 0), most)
    if depth >= _DEEPEST:
        return []
    heads = plan.get("prefixItems")
    first: list[Any] = heads[:size] if is_list(heads) else []
    rest = [plan.get("items", True)] * (size - len(first))
    return [_value(item, root, chance, depth + 1) for item in [*first, *rest]]


def _number(plan: Mapping[str, Any], kind: str, chance: Chance) -> int | float:
    step = _amount(plan.get("multipleOf"), 1 if kind == "integer" else 0.5)
    low, high = _amount(plan.get("minimum")), _amount(plan.get("maximum"))
    above, below = _amount(plan.get("exclusiveMinimum")), _amount(plan.get("exclusiveMaximum"))
    lows = [ceil(low / step)] if low is not None else []
    lows += [floor(above / step) + 1] if above is not None else []
    highs = [floor(high / step)] if high is not None else []
    highs += [ceil(below / step) - 1] if below is not None else []
    last = min(highs, default=max(lows, default=0) + 40)
    first = max(lows, default=min(1, last))
    value = (first + chance.below(min(last - first, 40) + 1)) * step
    return int(value) if kind == "integer" else value


def _string(plan: Mapping[str, Any], chance: Chance) -> str:
    form = plan.get("format")
    if isinstance(form, str) and form in _FORMATS:
        return _FORMATS[form]
    least, most = _whole(plan.get("minLength"), 0), _whole(plan.get("maxLength"), 1 << 20)
    text = chance.pick(NOUNS)
    while len(text) < least:
        text += " " + chance.pick(NOUNS)
    return text[:most]


def _whole(value: object, default: int) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else default


def _amount(value: object, default: Any = None) -> Any:
    """Return a bound as it is, or `default`: whole numbers stay whole."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return value if is_number and (default is None or value != 0) else default
