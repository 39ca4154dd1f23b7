"""Made-up values are valid under their schema."""

import json
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headworks.simulator.chance import Chance
from headworks.simulator.examples import example

FORMATS = jsonschema.Draft202012Validator.FORMAT_CHECKER
KEYWORDS = [
    *("$ref", "$defs", "type", "enum", "const", "allOf", "anyOf", "oneOf", "not", "if", "then"),
    *("else", "properties", "required", "additionalProperties", "patternProperties", "minLength"),
    *("maxLength", "pattern", "format", "minimum", "maximum", "exclusiveMinimum", "multipleOf"),
    *("items", "prefixItems", "contains", "minContains", "maxContains", "minItems", "maxItems"),
    *("uniqueItems", "minProperties", "maxProperties", "propertyNames", "dependentRequired"),
    *("dependentSchemas", "additionalItems", "unevaluatedItems"),
]
small = st.integers(0, 5)
names = st.sampled_from(["a", "b", "c"])
leaves = st.one_of(
    st.builds(
        lambda low, more: {"type": "string", "minLength": low, "maxLength": low + more},
        small,
        small,
    ),
    st.sampled_from(["^[a-f]{2,4}$", "river", r"^\d+-\d+$", "^(red|blue)$"]).map(
        lambda pattern: {"type": "string", "pattern": pattern}
    ),
    st.sampled_from(["date-time", "date", "time", "email", "uuid", "ipv4", "ipv6", "regex"]).map(
        lambda form: {"type": "string", "format": form}
    ),
    st.builds(
        lambda low, more: {"type": "integer", "minimum": low, "exclusiveMaximum": low + more + 1},
        small,
        small,
    ),
    st.builds(lambda low: {"type": "number", "minimum": -low, "maximum": 0}, small),
    st.just({"type": "number", "exclusiveMinimum": 0.1, "exclusiveMaximum": 0.2}),
    st.just({"type": "number", "multipleOf": 0.01, "minimum": 0.005}),
    st.just({"type": "integer", "multipleOf": 1.5, "minimum": 1}),
    st.just({"type": ["null", "integer"], "multipleOf": 3, "minimum": 4, "maximum": 9}),
    st.just({"type": "boolean"}),
    st.just({"type": "null"}),
    st.sampled_from([True]),
    st.builds(lambda values: {"enum": values}, st.lists(st.text() | small, min_size=1, max_size=3)),
    st.builds(lambda value: {"const": value}, st.none() | st.text()),
)


def arrays(items: Any, low: int, head: Any) -> dict[str, Any]:
    return {
        "type": "array",
        "prefixItems": [head],
        "items": items,
        "minItems": low,
        "maxItems": low + 1,
    }


def objects(fields: Any, least: int, others: Any) -> dict[str, Any]:
    found = {"type": "object", "properties": fields, "required": list(fields)[:1]}
    return {**found, "minProperties": least, "additionalProperties": others}


def choices(name: str) -> Any:
    return lambda options: {name: options}


schemas = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map(choices("anyOf")),
        st.tuples(inner).map(list).map(choices("oneOf")),
        st.tuples(inner).map(list).map(choices("allOf")),
        st.builds(arrays, inner, small, inner),
        st.builds(objects, st.dictionaries(names, inner, max_size=3), small, inner),
        st.builds(
            lambda one, two: {
                "if": {"type": "string"},
                "then": {"maxLength": 60},
                "anyOf": [one, two],
            },
            inner,
            inner,
        ),
        st.builds(lambda one: {"type": "array", "contains": one, "minContains": 2}, inner),
    ),
    max_leaves=8,
)


@given(schema=schemas, seed=st.integers(0, 9))
@settings(deadline=None)
def test_every_example_is_valid(schema, seed):
    """Whatever the schema asks for, the answer has it, says another validator."""
    value = example(schema, Chance(seed))

    jsonschema.Draft202012Validator(schema, format_checker=FORMATS).validate(value)


CASES: dict[str, Any] = {
    "two options overlap": {
        "oneOf": [
            {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]},
            {"type": "object", "properties": {"b": {"type": "integer"}}, "required": ["b"]},
        ]
    },
    "something is forbidden": {"type": "string", "not": {"enum": ["river", "road"]}},
    "a condition has an else": {
        "type": "object",
        "properties": {"kind": {"enum": ["a"]}, "size": {"type": "integer"}},
        "required": ["kind"],
        "if": {"properties": {"kind": {"const": "b"}}},
        "then": {"required": ["other"]},
        "else": {"required": ["size"]},
    },
    "parts of a whole": {
        "allOf": [
            {"type": "integer", "minimum": 3},
            {"maximum": 9, "minimum": 1},
            {"type": "number", "multipleOf": 4},
        ]
    },
    "parts of an object": {
        "allOf": [
            {"properties": {"a": {"type": "string", "minLength": 2}}, "required": ["a"]},
            {"properties": {"a": {"maxLength": 3}, "b": {"enum": [1, 2]}}, "required": ["b"]},
        ]
    },
    "both ways to choose": {
        "anyOf": [{"type": "object", "required": ["a"]}, {"type": "object", "required": ["b"]}],
        "oneOf": [{"properties": {"c": {"const": 1}}, "required": ["c"]}, {"type": "string"}],
    },
    "each only once": {
        "type": "array",
        "items": {"enum": [1, 2, 3]},
        "uniqueItems": True,
        "minItems": 3,
    },
    "a tuple": {"type": "array", "prefixItems": [{"const": 1}, {"type": "string"}], "items": False},
    "names by pattern": {
        "type": "object",
        "patternProperties": {"^x-[a-z]{3}$": {"type": "integer"}},
        "additionalProperties": False,
        "minProperties": 2,
    },
    "names under a schema": {
        "type": "object",
        "propertyNames": {"maxLength": 2},
        "minProperties": 2,
    },
    "one needs another": {
        "type": "object",
        "properties": {"card": {"type": "string"}, "address": {"type": "string"}},
        "required": ["card"],
        "dependentRequired": {"card": ["address"]},
        "dependentSchemas": {"card": {"properties": {"address": {"minLength": 30}}}},
    },
    "a password": {"type": "string", "pattern": "^(?=.*[A-Z])(?=.*[0-9]).{8,12}$", "maxLength": 10},
    "a choice within bounds": {"enum": [1, "two", 30], "type": "integer", "maximum": 9},
    "an old tuple": {
        "type": "array",
        "prefixItems": [{"type": "null"}],
        "contains": {"type": "null"},
    },
}


@pytest.mark.parametrize("schema", CASES.values(), ids=CASES.keys())
def test_hard_schemas_are_met(schema):
    """What takes thought is right as well, and for other seeds mostly another value."""
    made = [example(schema, Chance(seed)) for seed in range(12)]

    for value in made:
        jsonschema.Draft202012Validator(schema).validate(value)


anything = st.recursive(
    st.none() | st.booleans() | small | st.text(max_size=3) | st.floats(-9, 9),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(KEYWORDS) | names, inner, max_size=5)
    ),
    max_leaves=25,
)


@given(schema=anything)
@settings(deadline=None)
def test_no_schema_breaks_it(schema):
    """Nonsense in any keyword gives some value that is JSON."""
    json.dumps(example(schema, Chance(0)))


def test_a_schema_that_branches_without_end_is_cut():
    """Ten references to itself at every level do not make ten thousand million values."""
    fields = {f"p{n}": {"$ref": "#"} for n in range(10)}
    schema = {"type": "object", "properties": fields, "required": list(fields)[:2]}

    assert len(json.dumps(example(schema, Chance(0)))) < 200_000


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
