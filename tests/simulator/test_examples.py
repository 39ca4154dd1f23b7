"""Made-up values are valid under their schema."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headworks.simulator.chance import Chance
from headworks.simulator.examples import example

TYPES = {"string": str, "boolean": bool, "object": dict, "array": list, "null": type(None)}


def is_valid(value: Any, schema: Any) -> bool:
    """Judge a value by the keywords that the generator claims to know."""
    if schema is True or schema == {}:
        return True
    if "const" in schema or "enum" in schema:
        return value in schema.get("enum", [schema.get("const")])
    if "anyOf" in schema:
        return any(is_valid(value, option) for option in schema["anyOf"])
    kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    if isinstance(value, int | float) and not isinstance(value, bool):
        return bool({"integer", "number"} & set(kinds)) and is_valid_number(value, schema, kinds)
    return any(isinstance(value, TYPES[kind]) for kind in kinds if kind in TYPES) and (
        is_valid_size(value, schema)
    )


def is_valid_number(value: float, schema: Any, kinds: list[str]) -> bool:
    step = schema.get("multipleOf", 1 if "number" not in kinds else 0.5)
    low, high = schema.get("minimum", value), schema.get("maximum", value)
    return bool(low <= value <= high and value % step == 0)


def is_valid_size(value: Any, schema: Any) -> bool:
    if isinstance(value, str):
        return bool(schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", len(value)))
    if isinstance(value, list):
        size = schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value))
        return size and all(is_valid(item, schema.get("items", {})) for item in value)
    if isinstance(value, dict):
        fields = schema.get("properties", {})
        known = all(name in fields and is_valid(v, fields[name]) for name, v in value.items())
        return known and set(schema.get("required", ())) <= value.keys()
    return True


small = st.integers(0, 5)
leaves = st.one_of(
    st.builds(
        lambda low, more: {"type": "string", "minLength": low, "maxLength": low + more},
        small,
        small,
    ),
    st.builds(
        lambda low, more: {"type": "integer", "minimum": low, "maximum": low + more}, small, small
    ),
    st.builds(lambda low: {"type": "number", "minimum": -low, "maximum": 0}, small),
    st.just({"type": ["null", "integer"], "multipleOf": 3, "minimum": 4, "maximum": 9}),
    st.just({"type": "boolean"}),
    st.just({"type": "null"}),
    st.builds(lambda values: {"enum": values}, st.lists(st.text() | small, min_size=1, max_size=3)),
    st.builds(lambda value: {"const": value}, st.none() | st.text()),
)
schemas = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.builds(lambda options: {"anyOf": options}, st.lists(inner, min_size=1, max_size=3)),
        st.builds(
            lambda items, low: {
                "type": "array",
                "items": items,
                "minItems": low,
                "maxItems": low + 1,
            },
            inner,
            small,
        ),
        st.builds(
            lambda fields: {"type": "object", "properties": fields, "required": list(fields)[:1]},
            st.dictionaries(st.text(min_size=1, max_size=3), inner, max_size=3),
        ),
    ),
    max_leaves=8,
)


@given(schema=schemas, seed=st.integers(0, 9))
def test_every_example_is_valid(schema, seed):
    """Whatever the schema asks for, the answer has it."""
    value = example(schema, Chance(seed))

    assert is_valid(value, schema), value


TREE = {
    "$ref": "#/$defs/tree",
    "$defs": {
        "tree": {
            "type": "object",
            "properties": {
                "value": {"allOf": [{"$ref": "#/$defs/size"}, {"maximum": 4}]},
                "children": {"type": "array", "items": {"$ref": "#/$defs/tree"}},
                "parent": {"anyOf": [{"$ref": "#/$defs/tree"}, {"type": "null"}]},
            },
            "required": ["value", "children", "parent"],
        },
        "size": {"type": "integer", "minimum": 3},
    },
}


def test_a_recursive_schema_comes_to_an_end():
    """A tree has leaves, and each of its nodes all that it needs."""
    trees = [example(TREE, Chance("tree"))]
    while trees:
        tree = trees.pop()
        assert tree.keys() == {"value", "children", "parent"}
        assert tree["value"] in {3, 4}
        trees += tree["children"] + ([tree["parent"]] if tree["parent"] else [])


@pytest.mark.parametrize(
    "schema",
    [None, True, 5, {"$ref": "#/nowhere"}, {"$ref": "#"}, {"type": "array", "prefixItems": 3}],
    ids=repr,
)
def test_a_broken_schema_breaks_nothing(schema):
    """A schema that is none gives some value."""
    example(schema, Chance(0))


@given(words=st.lists(st.text()))
def test_chance_repeats_itself(words):
    """The same seeds give the same draws, in bounds."""
    first, second = Chance(*words), Chance(*words)
    draws = [(first.unit(), first.below(7), first.hex(5)) for _ in range(20)]

    assert draws == [(second.unit(), second.below(7), second.hex(5)) for _ in range(20)]
    assert all(0 <= unit < 1 and 0 <= low < 7 and len(digits) == 5 for unit, low, digits in draws)
