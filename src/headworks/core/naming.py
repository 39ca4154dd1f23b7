"""Where a request names models, but at the top of its body: in its path, its query, or deeper down."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.parse import quote, unquote, unquote_plus

from headworks.core.shapes import as_fields, as_list
from headworks.errors import InvalidRequest

_PATH: Final = re.compile(r"(/v1/(?:models|fine_tuning/checkpoints)/)([^/]+)(.*)")
_QUERIED: Final = ("/v1/realtime", "/v1/live")
"""Paths that are about the model that their query names."""
_APART: Final = ("/v1/models/", "/v1/fine_tuning/checkpoints/", *_QUERIED)
_OWN_WORDS: Final = frozenset(
    {
        "content",
        "input",
        "item",
        "item_schema",
        "messages",
        "metadata",
        "parameters",
        "schema",
        "variables",
    }
)
"""Fields that a caller fills as it likes."""
_LONGEST: Final = 256


def named_model(path: str, query: bytes) -> str:
    """Return the model that a normalised path or a query names, "" for none.

    Raises:
        InvalidRequest: It has more than 256 characters, or the query names several.
    """
    found = _PATH.fullmatch(path)
    if found is not None:
        names = [unquote(found[2])]
    elif query and path.startswith(_QUERIED):
        names = [unquote_plus(value.decode("latin-1")) for _, value in _parameters(query)]
    else:
        return ""
    if len(names) > 1:
        raise InvalidRequest("The query must name one model.", param="model")
    if names and len(names[0]) > _LONGEST:
        message = f"model must have at most {_LONGEST} characters."
        raise InvalidRequest(message, param="model")
    return names[0] if names else ""


def two_models() -> InvalidRequest:
    """Return what is told of a request that names one model here and another one there."""
    return InvalidRequest("The request must name one model, wherever it does.", param="model")


def session_model(path: str, fields: Mapping[str, Any]) -> str:
    """Return the model of the session that a body describes, "" for none.

    Raises:
        InvalidRequest: It is no name.
    """
    if "session" not in fields or not path.startswith(_QUERIED):
        return ""
    model = as_fields(fields["session"]).get("model") or ""
    if not isinstance(model, str) or len(model) > _LONGEST:
        message = f"session.model must be a string of at most {_LONGEST} characters."
        raise InvalidRequest(message, param="session.model")
    return model


def models_within(fields: Mapping[str, Any], *, everywhere: bool) -> Iterator[str]:
    """Yield the models that a body names below its top.

    They are those of tools; and everywhere, those of graders, sources of data and whatever else.
    """
    left: list[object] = [fields] if everywhere else [*as_list(fields.get("tools"))]
    while left:
        value = left.pop()
        part = as_fields(value)
        if isinstance(model := part.get("model"), str):
            yield model
        left += as_list(value)
        left += [one for name, one in part.items() if name not in _OWN_WORDS]


def stands_apart(path: str) -> bool:
    """Return whether a path, or its query, may name a model."""
    return path.startswith(_APART)


def renamed(path: str, query: bytes, model: str) -> tuple[str, bytes]:
    """Return the path and the query with another model in the place of the one they name, if any."""
    spelled = quote(model, safe=":")
    found = _PATH.fullmatch(path)
    if found is not None:
        return found[1] + spelled + found[3], query
    if query and path.startswith(_QUERIED):
        parts = query.split(b"&")
        for place, _ in _parameters(query):
            parts[place] = b"model=" + spelled.encode()
        return path, b"&".join(parts)
    return path, query


def _parameters(query: bytes) -> list[tuple[int, bytes]]:
    """Return the values of `model` in a query, as they are spelled, and which part each is."""
    pairs = (part.partition(b"=") for part in query.split(b"&"))
    return [
        (place, value)
        for place, (name, _, value) in enumerate(pairs)
        if unquote_plus(name.decode("latin-1")).strip() == "model"
    ]
