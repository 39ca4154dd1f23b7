"""Strict schemas: what one may not say, and the strict twin of a looser one."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

import msgspec

from headworks.simulator.fields import is_list, is_map
from headworks.simulator.problems import Refusal

Path = tuple[str, ...]

_TYPES = ("object", "array", "string", "number", "integer", "boolean", "null")
_SHAPES: Mapping[str, Callable[[Any], bool]] = {
    "type": lambda value: (
        _is_type(value) or (is_list(value) and bool(value) and all(map(_is_type, value)))
    ),
    **dict.fromkeys(("properties", "$defs", "definitions"), is_map),
    **dict.fromkeys(("required", "enum", "anyOf", "oneOf", "allOf"), is_list),
}
"""What a keyword's value must be for the schema to be one at all."""

_BANNED = ("allOf", "oneOf", "not", "if", "then", "else", "dependentRequired", "dependentSchemas")
_CODES = {"function": "invalid_function_parameters", "response_format": "invalid_json_schema"}


def check_schema(
    schema: Mapping[str, Any], name: str, param: str, kind: Literal["function", "response_format"]
) -> None:
    """Raise the refusal of what is no JSON schema, strict or not."""
    for _, part in _parts(schema, ()):
        for keyword, is_fine in _SHAPES.items():
            if keyword in part and not is_fine(part[keyword]):
                shown = msgspec.json.encode(part[keyword]).decode()
                text = f"Invalid schema for {kind} '{name}': {shown} is not valid under any of the given schemas."
                raise Refusal(400, text, param=param, code=_CODES[kind])


def _is_type(value: object) -> bool:
    return isinstance(value, str) and value in _TYPES


def check_strict(
    schema: Mapping[str, Any], name: str, param: str, kind: Literal["function", "response_format"]
) -> None:
    """Raise the refusal of a schema that is not strict, naming its first offence."""
    offence = next(offences(schema), None)
    if offence:
        text = f"Invalid schema for {kind} '{name}': {offence}"
        raise Refusal(400, text, param=param, code=_CODES[kind])


def offences(schema: Mapping[str, Any]) -> Iterator[str]:
    """Yield what makes a schema unfit for strict mode, in the words of the real API."""
    if "anyOf" in schema:
        yield "schema must have type 'object' and not have 'anyOf' at the top level."
    elif schema.get("type") != "object" and "$ref" not in schema:
        got = schema.get("type", "None")
        yield f"schema must be a JSON Schema of 'type: \"object\"', got 'type: \"{got}\"'."
    for path, part in _parts(schema, ()):
        where = f"In context={path!r}, "
        for keyword in _BANNED:
            if keyword in part:
                yield f"{where}'{keyword}' is not permitted."
        yield from (where + text for text in _of_part(part))


def _of_part(part: Mapping[str, Any]) -> Iterator[str]:
    if "$ref" in part:
        if len(part) > 1:
            others = sorted(set(part) - {"$ref", "$defs", "definitions"})
            if others:
                yield f"$ref cannot have keywords {{{', '.join(map(repr, others))}}}."
        return
    kind = part.get("type")
    kinds = kind if is_list(kind) else [kind]
    if kind is None and not {"anyOf", "enum", "const"} & set(part):
        yield "schema must have a 'type' key."
    if "object" in kinds:
        yield from _of_object(part)
    if "array" in kinds and "items" not in part:
        yield "array schema missing items."


def _of_object(part: Mapping[str, Any]) -> Iterator[str]:
    if part.get("additionalProperties") is not False:
        yield "'additionalProperties' is required to be supplied and to be false."
    properties = part.get("properties")
    names: list[str] = list(properties) if is_map(properties) else []
    needed = part.get("required")
    listed: list[Any] = needed if is_list(needed) else []
    wanted = "'required' is required to be supplied and to be an array including every key in properties."
    for name in names:
        if name not in listed:
            yield f"{wanted} Missing '{name}'."
    for name in listed:
        if name not in names:
            yield f"{wanted} Extra required key '{name}' supplied."


def _parts(schema: object, path: Path) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    """Yield every schema within a schema, itself first, with the way to it."""
    if not is_map(schema):
        return
    yield path, schema
    for name in ("properties", "$defs", "definitions"):
        inner = schema.get(name)
        for key, value in inner.items() if is_map(inner) else ():
            yield from _parts(value, (*path, name, key))
    yield from _parts(schema.get("items"), (*path, "items"))
    options = schema.get("anyOf")
    for index, option in enumerate(options if is_list(options) else ()):
        yield from _parts(option, (*path, "anyOf", str(index)))


def made_strict(schema: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the schema with every object closed and every property required, None if it cannot be."""
    strict = _closed(schema)
    return strict if next(offences(strict), None) is None else None


def _closed(schema: Mapping[str, Any]) -> dict[str, Any]:
    closed = {key: _closed_within(key, value) for key, value in schema.items()}
    kind, properties = closed.get("type"), closed.get("properties")
    if kind == "object" or (is_list(kind) and "object" in kind):
        if is_map(properties):
            closed["required"] = list(properties)
        else:
            closed |= {"properties": {}, "required": []}
        closed.setdefault("additionalProperties", False)
    return closed


def _closed_within(key: str, value: Any) -> Any:
    if key in {"properties", "$defs", "definitions"} and is_map(value):
        return {name: _closed(inner) if is_map(inner) else inner for name, inner in value.items()}
    if key == "items" and is_map(value):
        return _closed(value)
    if key == "anyOf" and is_list(value):
        return [_closed(option) if is_map(option) else option for option in value]
    return value
