"""The JSON Schema of headworks.yaml, as editors use it."""

import json
from typing import Any

import msgspec

from headworks.config.schema import Document

FILE = "headworks.schema.json"
"""What the published schema is called."""


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of headworks.yaml, for editors."""
    made = msgspec.json.schema(Document, schema_hook=lambda _: {"type": "string"})
    schema: dict[str, Any] = json.loads(json.dumps(made).replace(r"\\Z", "$"))  # ECMA 262's end
    for section in schema["$defs"].values():
        for name, field in section["properties"].items():
            section["properties"][name] = _or_reference(field)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "headworks.yaml",
        **schema,
    }


def json_schema_text() -> str:
    """Return the JSON Schema as the file that is published."""
    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"


def _or_reference(field: dict[str, Any]) -> dict[str, Any]:
    """Let a number or switch come from `${env:…}` too."""
    if field.get("type") not in {"integer", "number", "boolean"}:
        return field
    outer = {k: v for k, v in field.items() if k in {"description", "examples", "default"}}
    inner = {k: v for k, v in field.items() if k not in outer}
    return {**outer, "anyOf": [inner, {"type": "string", "pattern": r"^\$\{(env|file):"}]}
