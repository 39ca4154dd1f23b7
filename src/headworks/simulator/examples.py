"""Makes up a value that is valid under a JSON schema (2020-12 and what is left of its forerunners).

A value is built towards the schema: references within the document, `allOf`, one option of `anyOf`
and `oneOf`, `if` with `then`, bounds, patterns, formats. What cannot be built towards (`not`,
`oneOf` with overlapping options) is drawn again until it fits, a bounded number of times. Of a
schema that nothing fits, or that refers elsewhere, the value that came nearest is returned.
"""

from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from math import ceil, floor
from typing import Any, final

from headworks.simulator.chance import Chance
from headworks.simulator.conforms import conforms, is_number, resolve, same, schemas_of, texts
from headworks.simulator.fields import is_list, is_map
from headworks.simulator.formats import formatted
from headworks.simulator.patterns import matching
from headworks.simulator.schemas import UNIONS, merged
from headworks.simulator.words import NOUNS

_DEEP = 6  # from here on only what is required, and the shortest way out of a recursion
_DEEPEST = 40
_MOST_VALUES = 2_000
_TRIES, _ITEM_TRIES = 24, 12
_SPREAD = 40
_NESTING = frozenset({"properties", "items", "anyOf", "oneOf", "prefixItems"})
_OF_OBJECTS = ("properties", "required", "additionalProperties", "patternProperties")
_OF_ARRAYS = ("items", "prefixItems", "contains", "minItems", "uniqueItems")
_OF_NUMBERS = ("minimum", "maximum", "multipleOf", "exclusiveMinimum", "exclusiveMaximum")


def example(schema: object, chance: Chance) -> Any:
    """Return a value under `schema`; anything that is not a schema allows any object."""
    value: Any = {}
    try:
        for attempt in range(_TRIES):
            maker = _Maker(schema, chance, is_first=attempt == 0)
            value = maker.make(schema, 0)
            if maker.is_exhausted or conforms(value, schema):
                break
    except (RecursionError, OverflowError):  # nested deeper than our stack, or beyond all floats
        pass
    return value


@final
class _Maker:
    """Makes one value; the first attempt takes the first of several options, others draw."""

    def __init__(self, root: object, chance: Chance, *, is_first: bool) -> None:
        self._root, self._chance, self._is_first = root, chance, is_first
        self._left = _MOST_VALUES

    @property
    def is_exhausted(self) -> bool:
        """Whether the value is too large to be tried again."""
        return self._left < 0

    def make(self, schema: object, depth: int) -> Any:
        """Return a value under one schema of the document."""
        self._left -= 1
        plan = self._plan(schema, depth)
        if "const" in plan:
            return plan["const"]
        choices = plan.get("enum")
        if is_list(choices) and choices:
            rest = {key: value for key, value in plan.items() if key != "enum"}
            fitting = [choice for choice in choices if conforms(choice, rest, self._root)]
            return self._chance.pick(fitting or choices)
        kind = self._kind(plan)
        if kind == "object":
            return self._object(plan, depth)
        if kind == "array":
            return self._array(plan, depth)
        return self._simple(kind, plan)

    def _simple(self, kind: str, plan: Mapping[str, Any]) -> Any:
        if kind in {"integer", "number"}:
            return _number(plan, kind, self._chance)
        if kind == "boolean":
            return self._chance.below(2) == 1
        return None if kind == "null" else _string(plan, self._chance)

    def _plan(self, schema: object, depth: int) -> Mapping[str, Any]:
        """Fold references, allOf, a branch and one option of each union into one plain schema."""
        plan: Mapping[str, Any] = schema if is_map(schema) else {}
        for _ in range(_DEEPEST):
            union = next((name for name in UNIONS if name in plan), None)
            if union is None:
                break
            rest = {key: value for key, value in plan.items() if key != union}
            for part in self._parts(union, plan, depth):
                rest = merged(rest, part)
            plan = rest
        return plan

    def _parts(self, union: str, plan: Mapping[str, Any], depth: int) -> Iterator[object]:
        value = plan[union]
        if union == "$ref":
            yield resolve(self._root, str(value))
        elif union == "allOf":
            yield from value if is_list(value) else ()
        elif union == "if":
            yield from (
                (value, plan.get("then", {})) if self._is_wanted() else (plan.get("else", {}),)
            )
        elif union == "dependentSchemas":
            yield from value.values() if is_map(value) else ()
        elif is_list(value) and value:
            yield self._option(value, depth)

    def _option(self, options: Sequence[Any], depth: int) -> object:
        """Return the first option or any, or when it is time to end a simple one."""
        if depth < _DEEP and self._left > 0:
            return options[0] if self._is_first else self._chance.pick(options)
        simple = (option for option in options if not self._nests(option))
        return next(simple, options[-1])

    def _nests(self, option: object) -> bool:
        plan: Mapping[str, Any] = option if is_map(option) else {}
        for _ in range(_DEEPEST):
            if "$ref" not in plan:
                break
            found = resolve(self._root, str(plan["$ref"]))
            plan = found if is_map(found) else {}
        return not _NESTING.isdisjoint(plan)

    def _is_wanted(self) -> bool:
        return self._is_first or self._chance.below(2) == 0

    def _kind(self, plan: Mapping[str, Any]) -> str:
        kind = plan.get("type")
        if is_list(kind):
            known = texts(plan, "type") or ["null"]
            others = [name for name in known if name != "null"] or known
            kind = others[0] if self._is_first else self._chance.pick(known)
        if isinstance(kind, str):
            return kind
        if not plan or not plan.keys().isdisjoint(_OF_OBJECTS):
            return "object"
        if not plan.keys().isdisjoint(_OF_ARRAYS):
            return "array"
        return "number" if not plan.keys().isdisjoint(_OF_NUMBERS) else "string"

    def _object(self, plan: Mapping[str, Any], depth: int) -> dict[str, Any]:
        if not plan and depth == 0:
            return {self._chance.pick(NOUNS): self._chance.pick(NOUNS)}
        if depth >= _DEEPEST or self._left < -_MOST_VALUES:
            return {}
        names = self._names(plan, depth)
        found: dict[str, Any] = {}
        for name in names:
            under: Any = {}
            for one in schemas_of(name, plan):
                under = merged(under, one) if is_map(one) else under
            found[name] = self.make(under, depth + 1)
        return found

    def _names(self, plan: Mapping[str, Any], depth: int) -> list[str]:
        """Return the names of the properties that an object will have."""
        fields = plan.get("properties")
        fields = fields if is_map(fields) else {}
        required = texts(plan, "required")
        most, least = _whole(plan.get("maxProperties"), 1 << 20), _whole(plan.get("minProperties"))
        is_brief = depth >= _DEEP or self._left < 0
        optional = [
            name for name in fields if name not in required and self._is_liked(fields[name])
        ]
        room = max(0, (least if is_brief else most) - len(required))
        chosen = {*required, *optional[:room]}
        names = [name for name in fields if name in chosen]
        names += [name for name in dict.fromkeys(required) if name not in fields]
        self._add_needed(names, plan)
        for _ in range(_SPREAD):
            if len(names) >= min(least, _MOST_VALUES):
                break
            name = self._name(plan)
            names += [name] if name not in names else []
        return names

    def _is_liked(self, schema: object) -> bool:
        """Return whether to have an optional property: at first each, later any."""
        return schema is not False and (self._is_first or self._chance.below(3) > 0)

    def _add_needed(self, names: list[str], plan: Mapping[str, Any]) -> None:
        needed = plan.get("dependentRequired")
        for name in names:
            others = texts(needed, name) if is_map(needed) else ()
            names.extend(other for other in others if other not in names)

    def _name(self, plan: Mapping[str, Any]) -> str:
        """Return a name for a property that the schema does not list."""
        if "propertyNames" in plan:
            return str(self.make(merged({"type": "string"}, plan["propertyNames"]), _DEEP))
        patterns = plan.get("patternProperties")
        if is_map(patterns) and patterns:
            found = matching(self._chance.pick(list(patterns)), self._chance)
            return found or self._chance.pick(NOUNS)
        return f"{self._chance.pick(NOUNS)}_{self._chance.below(100)}"

    def _array(self, plan: Mapping[str, Any], depth: int) -> list[Any]:
        heads = _listed(plan, "prefixItems")
        under = plan.get("items", plan.get("unevaluatedItems", True))
        if is_list(under):  # until draft 2019-09
            heads, under = under, plan.get("additionalItems", True)
        least, most = _whole(plan.get("minItems")), _whole(plan.get("maxItems"), _MOST_VALUES)
        if depth >= _DEEPEST or self._left < -_MOST_VALUES:
            return []
        is_brief = depth >= _DEEP or self._left < 0 or not self._is_wanted()
        heads = heads[: next((n for n, head in enumerate(heads) if head is False), len(heads))]
        wanted = len(heads) or 1 + self._chance.below(2)
        size = min(
            max(least, 0 if is_brief else wanted), most, len(heads) if under is False else most
        )
        needed = _whole(plan.get("minContains"), 1) if "contains" in plan else 0
        found: list[Any] = []
        for place in range(max(size, min(needed, most))):
            schema = heads[place] if place < len(heads) else under
            if len(heads) <= place < len(heads) + needed or (place < needed and not heads):
                schema = merged(schema if is_map(schema) else {}, plan["contains"])
            others = found if plan.get("uniqueItems") is True else ()
            found.append(self._item(schema, depth, unlike=others))
        return found

    def _item(self, schema: object, depth: int, *, unlike: Sequence[Any]) -> Any:
        item: Any = self.make(schema, depth + 1)
        for _ in range(_ITEM_TRIES):
            if not any(same(item, other) for other in unlike):
                break
            item = self.make(schema, depth + 1)
        return item


def _number(plan: Mapping[str, Any], kind: str, chance: Chance) -> int | float:
    """Return a whole multiple of the step, near the lower bound; between the bounds if none is."""
    given = plan.get("multipleOf")
    step = Fraction(str(given)) if is_number(given) and given > 0 else Fraction(1, 2)
    if kind == "integer":
        step = Fraction(step.numerator if is_number(given) and given > 0 else 1)
    lows = [ceil(_exact(plan["minimum"]) / step)] if is_number(plan.get("minimum")) else []
    highs = [floor(_exact(plan["maximum"]) / step)] if is_number(plan.get("maximum")) else []
    if is_number(plan.get("exclusiveMinimum")):
        lows.append(floor(_exact(plan["exclusiveMinimum"]) / step) + 1)
    if is_number(plan.get("exclusiveMaximum")):
        highs.append(ceil(_exact(plan["exclusiveMaximum"]) / step) - 1)
    last = min(highs, default=max(lows, default=0) + _SPREAD)
    first = max(lows, default=min(1, last))
    if first > last and kind == "number" and not given:
        return _between(plan)
    times = first + chance.below(min(last - first, _SPREAD) + 1)
    while times < last and not (float(times * step) / float(step)).is_integer():
        times += 1  # who divides floats does not see that 0.28 is a multiple of 0.01
    value = times * step
    return int(value) if kind == "integer" or value.denominator == 1 else float(value)


def _exact(value: float) -> Fraction:
    return Fraction(str(value))


def _between(plan: Mapping[str, Any]) -> float:
    lows = [_exact(plan[n]) for n in ("minimum", "exclusiveMinimum") if is_number(plan.get(n))]
    highs = [_exact(plan[n]) for n in ("maximum", "exclusiveMaximum") if is_number(plan.get(n))]
    return float((max(lows) + min(highs)) / 2)


def _string(plan: Mapping[str, Any], chance: Chance) -> str:
    least, most = _whole(plan.get("minLength")), _whole(plan.get("maxLength"), 1 << 20)
    pattern, form = plan.get("pattern"), plan.get("format")
    if isinstance(pattern, str):
        found = matching(pattern, chance, least, most)
        if found is not None:
            return found
    text = formatted(form, chance) if isinstance(form, str) else ""
    text = text or chance.pick(NOUNS)
    while len(text) < min(least, _MOST_VALUES):
        text += " " + chance.pick(NOUNS)
    return text[:most]


def _listed(plan: Mapping[str, Any], name: str) -> Sequence[Any]:
    value = plan.get(name)
    return value if is_list(value) else ()


def _whole(value: Any, default: int = 0) -> int:
    is_whole = is_number(value) and value == int(value)
    return max(0, int(value)) if is_whole else default
