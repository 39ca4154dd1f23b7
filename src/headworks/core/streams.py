"""Which reader a stream gets: one for each dialect."""

from typing import cast

from headworks.core.endpoints import Dialect
from headworks.core.stream_base import Stream
from headworks.core.stream_chat import ChatStream
from headworks.core.stream_responses import ResponsesStream
from headworks.types import Request

__all__ = ["ChatStream", "ResponsesStream", "Stream", "open_stream", "wants_usage"]


def open_stream(dialect: Dialect, request: Request) -> Stream:
    """Return the reader for the events that answer a request."""
    if dialect == "chat":
        return ChatStream(shows_usage=wants_usage(request))
    return ResponsesStream() if dialect == "responses" else Stream()


def wants_usage(request: Request) -> bool:
    """Return whether the caller asked for the usage chunk of a chat stream."""
    options: object = request.fields.get("stream_options")
    return (
        isinstance(options, dict)
        and cast("dict[str, object]", options).get("include_usage") is True
    )
