"""Reads the fields of a request, and refuses what the real API would refuse, in its words."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard

from headworks.simulator import problems
from headworks.simulator.problems import Refusal

MOST_CHOICES = 128
_MOST_STOPS = 4
_MOST_PAIRS, _LONGEST_KEY, _LONGEST_VALUE = 16, 64, 512
_NAME, _LONGEST_NAME = re.compile(r"[a-zA-Z0-9_-]+"), 64


def whole_number(
    fields: Mapping[str, Any], name: str, most: int | None = None, *, least: int = 1
) -> int | None:
    """Return a field that must be a number from `least` to `most`, None when it is not there."""
    value = fields.get(name)
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool):
        raise problems.wrong_field(name, "an integer", value)
    _check_range(name, "integer", value, least, most)
    return value


def number(fields: Mapping[str, Any], name: str, least: float, most: float) -> float | None:
    """Return a field that must be a number in these bounds, None when it is not there."""
    value = fields.get(name)
    if value is None:
        return None
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise problems.wrong_field(name, "a decimal", value)
    _check_range(name, "decimal", value, least, most)
    return value


def flag(fields: Mapping[str, Any], name: str) -> bool | None:
    """Return a field that must be true or false, None when it is not there."""
    value = fields.get(name)
    if value is None or isinstance(value, bool):
        return value
    raise problems.wrong_field(name, "a boolean", value)


def text(fields: Mapping[str, Any], name: str, most: int | None = None) -> str | None:
    """Return a field that must be a text of at most so many characters, None when not there."""
    value = fields.get(name)
    if value is None:
        return None
    check_text(name, value, most)
    return str(value)


def one_of(fields: Mapping[str, Any], name: str, known: Sequence[str], at: str = "") -> str | None:
    """Return a field that must be one of `known`, None when it is not there; `at` is its holder."""
    value, param = fields.get(name), f"{at}{name}"
    if value is None:
        return None
    if not isinstance(value, str):
        raise problems.wrong_field(param, f"one of {joined(known, 'or')}", value)
    if value not in known:
        message = f"Invalid value: '{value}'. Supported values are: {joined(known, 'and')}."
        raise Refusal(400, message, param=param, code="invalid_value")
    return value


def needed(fields: Mapping[str, Any], name: str, at: str = "") -> Any:
    """Return a field that must be there; `at` is its holder as `messages[0].`."""
    if fields.get(name) is None:
        raise problems.missing(f"{at}{name}")
    return fields[name]


def objects(value: object, param: str, most: int | None = None) -> Sequence[Mapping[str, Any]]:
    """Return a list of at least one object."""
    if not is_list(value):
        raise problems.wrong_field(param, "an array of objects", value)
    if not value:
        raise problems.empty_array(param)
    if most is not None and len(value) > most:
        raise _too_many_items(param, most, len(value))
    for index, item in enumerate(value):
        if not is_map(item):
            raise problems.wrong_field(f"{param}[{index}]", "an object", item)
    return value


def check_text(param: str, value: object, most: int | None = None) -> None:
    """Refuse what is no text, or a longer one."""
    if not isinstance(value, str):
        raise problems.wrong_field(param, "a string", value)
    if most is not None and len(value) > most:
        message = (
            f"Invalid '{param}': string too long. Expected a string with maximum length {most}, "
            f"but got a string with length {len(value)} instead."
        )
        raise Refusal(400, message, param=param, code="string_above_max_length")


def check_name(param: str, value: object) -> None:
    """Refuse what cannot be the name of a function or of a schema."""
    check_text(param, value)
    if value == "":
        message = (
            f"Invalid '{param}': empty string. Expected a string with minimum length 1, but got an "
            "empty string instead."
        )
        raise Refusal(400, message, param=param, code="empty_string")
    if not _NAME.fullmatch(str(value)):
        message = (
            f"Invalid '{param}': string does not match pattern. Expected a string that matches the "
            f"pattern '^{_NAME.pattern}$'."
        )
        raise Refusal(400, message, param=param, code="invalid_value")
    check_text(param, value, _LONGEST_NAME)


def check_known(fields: Mapping[str, Any], known: frozenset[str], at: str = "") -> None:
    """Refuse the first field that the API does not know."""
    if fields.keys() <= known:
        return
    param = at + next(name for name in fields if name not in known)
    raise Refusal(400, f"Unknown parameter: '{param}'.", param=param, code="unknown_parameter")


def check_metadata(fields: Mapping[str, Any]) -> None:
    """Refuse metadata that are not at most 16 short texts by short names."""
    found = fields.get("metadata")
    if found is None:
        return
    if not is_map(found):
        raise problems.wrong_field("metadata", "a metadata object", found)
    if len(found) > _MOST_PAIRS:
        message = (
            f"Invalid 'metadata': too many properties. Expected an object with at most {_MOST_PAIRS} "
            f"properties, but got an object with {len(found)} properties instead."
        )
        raise Refusal(400, message, param="metadata", code="object_above_max_properties")
    for key, value in found.items():
        if len(key) > _LONGEST_KEY:
            raise _long_key(key)
        check_text(f"metadata.{key}", value, _LONGEST_VALUE)


def choices(fields: Mapping[str, Any], most: int = MOST_CHOICES) -> int:
    """Return how many answers are wanted."""
    return whole_number(fields, "n", most) or 1


def stops(fields: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the texts that end an answer, at most four."""
    value = fields.get("stop")
    if value is None:
        return ()
    found = [value] if isinstance(value, str) else value
    if not is_list(found) or not all(isinstance(stop, str) for stop in found):
        raise problems.wrong_field("stop", "one of a string or array of strings", value)
    if len(found) > _MOST_STOPS:
        raise _too_many_items("stop", _MOST_STOPS, len(found))
    return tuple(stop for stop in found if stop)


def tier(fields: Mapping[str, Any]) -> str:
    """Return the service tier that the answer will name."""
    asked = fields.get("service_tier")
    return {"flex": "flex", "priority": "priority", "fast": "priority"}.get(str(asked), "default")


def section(fields: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return a field that is an object, empty when it is not there or something else."""
    value = fields.get(name)
    return value if is_map(value) else {}


def joined(words: Sequence[str], last: str) -> str:
    """Return quoted words as the real API lists them: 'a', 'b', and 'c'."""
    quoted = [f"'{word}'" for word in words]
    if len(quoted) < 3:  # noqa: PLR2004 - two are joined without a comma
        return f" {last} ".join(quoted)
    return f"{', '.join(quoted[:-1])}, {last} {quoted[-1]}"


def is_map(value: object) -> TypeGuard[dict[str, Any]]:
    """Return whether a JSON value is an object."""
    return isinstance(value, dict)


def is_list(value: object) -> TypeGuard[list[Any]]:
    """Return whether a JSON value is an array."""
    return isinstance(value, list)


def _check_range(
    name: str, kind: str, value: float, least: float | None, most: float | None
) -> None:
    if least is not None and value < least:
        side, code, bound = "below minimum", "below_min_value", f">= {least}"
    elif most is not None and value > most:
        side, code, bound = "above maximum", "above_max_value", f"<= {most}"
    else:
        return
    message = (
        f"Invalid '{name}': {kind} {side} value. Expected a value {bound}, but got {value} instead."
    )
    raise Refusal(400, message, param=name, code=f"{kind}_{code}")


def _too_many_items(param: str, most: int, size: int) -> Refusal:
    message = (
        f"Invalid '{param}': array too long. Expected an array with maximum length {most}, but got "
        f"an array with length {size} instead."
    )
    return Refusal(400, message, param=param, code="array_above_max_length")


def _long_key(key: str) -> Refusal:
    message = (
        f"Invalid property name in 'metadata': '{key[:3]}...{key[-3:]}' is too long. Expected a "
        f"string with maximum length {_LONGEST_KEY}, but got a string with length {len(key)} instead."
    )
    return Refusal(400, message, param=f"metadata.{key}", code="property_name_above_max_length")
