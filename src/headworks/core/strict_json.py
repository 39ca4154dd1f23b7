"""JSON from strangers: one meaning or none, bounded, and edited without touching the rest."""

from typing import Any

import jiter
import msgspec

from headworks.errors import InvalidJSON

MOST_DEPTH = 100
MOST_NODES = 1_000_000

_raw_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_encode = msgspec.json.encode
_CONTAINERS = (dict, list)


def parse_object(content: bytes) -> dict[str, Any]:
    """Return the JSON object in `content`.

    Duplicate keys are refused at every level, also when spelled with escapes: parsers differ in
    which one they take, so what our policies saw could differ from what the provider reads.
    Likewise NaN, lone surrogates, numbers beyond 4,300 digits, a byte order mark and trailing text.

    Raises:
        InvalidJSON: `content` is anything else, or deeper than 100 levels, or over 10^6 values.
    """
    try:
        fields: dict[str, Any] | None = jiter.from_json(
            content, catch_duplicate_keys=True, allow_inf_nan=False
        )
    except ValueError as error:
        raise InvalidJSON(f"The body is not valid JSON: {error}.") from None
    if not isinstance(fields, dict):
        raise InvalidJSON("The body must be a JSON object.")
    # So few brackets cannot be nested too deep, nor so few bytes hold too many values. `replace`
    # finds a few of them ten times as fast as `count` does.
    size = len(content)
    brackets = 2 * size - len(content.replace(b"{", b"")) - len(content.replace(b"[", b""))
    if brackets > MOST_DEPTH or size > MOST_NODES:
        _bound(fields)
    return fields


def edit(content: bytes, changes: dict[str, Any]) -> bytes:
    """Return the object `content` with top-level fields replaced, added, or removed (None).

    All other values keep their bytes. `content` must have passed `parse_object`.
    """
    fields: dict[str, Any] = _raw_fields(content)
    for name, value in changes.items():
        if value is None:
            fields.pop(name, None)
        else:
            fields[name] = value
    return _encode(fields)


def _bound(value: dict[str, Any]) -> None:
    level: list[Any] = [value]
    depth = nodes = 0
    while level:
        depth += 1
        nodes += sum(map(len, level))
        if depth > MOST_DEPTH:
            raise InvalidJSON(f"The body is nested deeper than {MOST_DEPTH} levels.")
        if nodes > MOST_NODES:
            raise InvalidJSON(f"The body holds more than {MOST_NODES:,} values.")
        level = [
            child
            for item in level
            for child in (item.values() if item.__class__ is dict else item)
            if type(child) in _CONTAINERS
        ]
