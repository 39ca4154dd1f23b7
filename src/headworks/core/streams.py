"""Which reader a stream gets: one for each dialect."""

from typing import Final, cast

from headworks.core.endpoints import Dialect
from headworks.core.sse import MOST_EVENT
from headworks.core.stream_base import Stream
from headworks.core.stream_chat import ChatStream
from headworks.core.stream_responses import ResponsesStream
from headworks.types import Request

__all__ = [
    "ChatStream",
    "ResponsesStream",
    "Stream",
    "largest_event",
    "open_stream",
    "wants_usage",
]

_CALLERS_TOOLS: Final = frozenset({"function", "custom"})
"""Tools whose output is the caller's own."""
_REPEATS: Final = 8
"""An answer of the most tokens that models give takes some million bytes, thoughts included."""
_ESCAPED: Final = 3
"""Bytes for each byte of a text whose letters of two bytes are written with six."""


def open_stream(dialect: Dialect, request: Request, most: int = MOST_EVENT) -> Stream:
    """Return the reader for the events that answer a request, of at most so many bytes each."""
    if dialect == "chat":
        return ChatStream(most, shows_usage=wants_usage(request), choices=_choices(request))
    return ResponsesStream(most) if dialect == "responses" else Stream(most)


def largest_event(dialect: Dialect, request: Request, usual: int, whole: int) -> int:
    """Return how many bytes an event of an answer may have: a usual one, or a whole answer.

    An event may be a picture, sound or a file, from endpoints for these, from tools that run at the
    provider, and from whatever a stored prompt brings. The last events of a response repeat all of
    its answer, and all of them what it was asked, of which a provider may escape every letter.
    """
    fields = request.fields
    if dialect == "chat":
        return whole if "image" in _list(fields.get("modalities")) else min(usual, whole)
    if dialect == "opaque" or request.method != "POST" or fields.get("prompt"):
        return whole
    if any(_type(tool) not in _CALLERS_TOOLS for tool in _list(fields.get("tools"))):
        return whole
    return min(_REPEATS * usual + _ESCAPED * len(request.content), whole)


def _choices(request: Request) -> int:
    """Return how many choices were asked for: `n`, for each of the prompts of legacy completions."""
    count = request.fields.get("n")
    prompts = [one for one in _list(request.fields.get("prompt")) if not isinstance(one, int)]
    return (count if isinstance(count, int) else 1) * max(1, len(prompts))


def _list(value: object) -> list[object]:
    return cast("list[object]", value) if isinstance(value, list) else []


def _type(tool: object) -> object:
    return cast("dict[str, object]", tool).get("type") if isinstance(tool, dict) else None


def wants_usage(request: Request) -> bool:
    """Return whether the caller asked for the usage chunk of a chat stream."""
    options: object = request.fields.get("stream_options")
    return (
        isinstance(options, dict)
        and cast("dict[str, object]", options).get("include_usage") is True
    )
