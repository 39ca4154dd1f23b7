"""Reads JSON of which nothing is known: what has not the expected shape counts as empty."""

from typing import Any, cast

Fields = dict[str, Any]


def as_fields(value: object) -> Fields:
    """Return a JSON object, an empty one for anything else."""
    return cast("Any", value) if isinstance(value, dict) else {}


def as_list(value: object) -> list[Any]:
    """Return a JSON list, an empty one for anything else."""
    return cast("Any", value) if isinstance(value, list) else []


def pieces(value: object, most: int) -> list[str]:
    """Return a text in pieces of at most so many characters; none of anything else."""
    if not isinstance(value, str):
        return []
    return [value[at : at + most] for at in range(0, len(value), most)]
