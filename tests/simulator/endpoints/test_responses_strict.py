"""Strict schemas of functions and answers."""

from dataclasses import dataclass
from typing import Any

import pytest

from headworks.simulator.endpoints.responses_strict import made_strict, offences

CLOSED = {"type": "object", "properties": {}, "required": [], "additionalProperties": False}


def closed(**properties: Any) -> dict[str, Any]:
    return {**CLOSED, "properties": properties, "required": list(properties)}


@dataclass(frozen=True)
class Case:
    id: str
    schema: dict[str, Any]
    offence: str | None


CASES = [
    Case("closed", closed(a={"type": "string"}), None),
    Case("nested", closed(a={"type": "array", "items": closed(b={"type": "number"})}), None),
    Case("nullable", closed(a={"type": ["string", "null"]}), None),
    Case("options", closed(a={"anyOf": [{"type": "string"}, closed()]}), None),
    Case("choices", closed(a={"enum": ["x"]}), None),
    Case(
        "recursive",
        {**closed(a={"$ref": "#/$defs/n"}), "$defs": {"n": closed(b={"$ref": "#"})}},
        None,
    ),
    Case(
        "no object",
        {"type": "array", "items": {"type": "string"}},
        "schema must be a JSON Schema of 'type: \"object\"', got 'type: \"array\"'.",
    ),
    Case(
        "nothing",
        {},
        "schema must be a JSON Schema of 'type: \"object\"', got 'type: \"None\"'.",
    ),
    Case(
        "options at the top",
        {"anyOf": [closed()]},
        "schema must have type 'object' and not have 'anyOf' at the top level.",
    ),
    Case(
        "open",
        {"type": "object", "properties": {}, "required": []},
        "In context=(), 'additionalProperties' is required to be supplied and to be false.",
    ),
    Case(
        "optional",
        {**closed(a={"type": "string"}, b={"type": "string"}), "required": ["a"]},
        "In context=(), 'required' is required to be supplied and to be an array including every "
        "key in properties. Missing 'b'.",
    ),
    Case(
        "too much required",
        {**closed(), "required": ["a"]},
        "In context=(), 'required' is required to be supplied and to be an array including every "
        "key in properties. Extra required key 'a' supplied.",
    ),
    Case(
        "open within",
        closed(a={"type": "array", "items": {**closed(), "additionalProperties": True}}),
        "In context=('properties', 'a', 'items'), 'additionalProperties' is required to be "
        "supplied and to be false.",
    ),
    Case(
        "a list of anything",
        closed(a={"type": "array"}),
        "In context=('properties', 'a'), array schema missing items.",
    ),
    Case(
        "anything",
        closed(a={"description": "x"}),
        "In context=('properties', 'a'), schema must have a 'type' key.",
    ),
    Case(
        "one of",
        closed(a={"type": "string", "oneOf": []}),
        "In context=('properties', 'a'), 'oneOf' is not permitted.",
    ),
    Case(
        "a reference that says more",
        {**closed(a={"$ref": "#/$defs/n", "description": "x"}), "$defs": {"n": closed()}},
        "In context=('properties', 'a'), $ref cannot have keywords {'description'}.",
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_the_first_offence_is_named(case):
    """What is wrong with a schema, and where, is said in the real API's words."""
    assert next(offences(case.schema), None) == case.offence


def test_a_loose_schema_is_made_strict():
    """Every object is closed and every property required, at every depth."""
    loose: dict[str, Any] = {
        "type": "object",
        "properties": {
            "a": {"type": "object", "properties": {"b": {"type": "string"}}, "required": []},
            "c": {"type": "array", "items": {"type": "object"}},
            "d": {"anyOf": [{"type": "object", "properties": {}}, {"type": "null"}]},
        },
        "$defs": {"e": {"type": ["object", "null"]}},
    }

    strict = made_strict(loose)

    assert strict is not None
    assert next(offences(strict), None) is None
    assert strict["required"] == ["a", "c", "d"]
    assert strict["properties"]["a"]["required"] == ["b"]
    assert strict["properties"]["d"]["anyOf"][0]["additionalProperties"] is False
    assert strict["$defs"]["e"]["additionalProperties"] is False
    assert loose["properties"]["a"]["required"] == []


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "additionalProperties": {"type": "string"}},
        {"type": "object", "properties": {"a": {}}},
        {"type": "string"},
    ],
    ids=str,
)
def test_what_cannot_be_strict_stays_loose(schema):
    """A schema that strict mode cannot say has no strict twin."""
    assert made_strict(schema) is None
