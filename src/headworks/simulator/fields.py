"""Reads the fields of a request, and refuses what the real API would refuse."""

from collections.abc import Mapping
from typing import Any, TypeGuard

from headworks.simulator import problems

_MOST_CHOICES = 128
_MOST_STOPS = 4


def whole_number(fields: Mapping[str, Any], name: str, most: int | None = None) -> int | None:
    """Return a field that must be a number from 1 to `most`, None when it is not there."""
    value = fields.get(name)
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool):
        raise problems.wrong_field(name, "an integer", value)
    if value < 1:
        raise problems.wrong_value(name, "a value >= 1", value)
    if most is not None and value > most:
        raise problems.wrong_value(name, f"a value <= {most}", value)
    return value


def choices(fields: Mapping[str, Any]) -> int:
    """Return how many answers are wanted."""
    return whole_number(fields, "n", _MOST_CHOICES) or 1


def stops(fields: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the texts that end an answer."""
    value = fields.get("stop")
    if value is None:
        return ()
    found = [value] if isinstance(value, str) else value
    if not is_list(found) or not all(isinstance(stop, str) for stop in found):
        raise problems.wrong_field("stop", "a string or an array of strings", value)
    return tuple(stop for stop in found[:_MOST_STOPS] if stop)


def tier(fields: Mapping[str, Any]) -> str:
    """Return the service tier that the answer will name."""
    asked = fields.get("service_tier")
    return {"flex": "flex", "priority": "priority", "fast": "priority"}.get(str(asked), "default")


def section(fields: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return a field that is an object, empty when it is not there or something else."""
    value = fields.get(name)
    return value if is_map(value) else {}


def is_map(value: object) -> TypeGuard[dict[str, Any]]:
    """Return whether a JSON value is an object."""
    return isinstance(value, dict)


def is_list(value: object) -> TypeGuard[list[Any]]:
    """Return whether a JSON value is an array."""
    return isinstance(value, list)
