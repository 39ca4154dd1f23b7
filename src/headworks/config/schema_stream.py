"""What may stand in headworks.yaml about streams on their way to their callers."""

from typing import Annotated

from msgspec import Meta

from headworks.config.section import Duration, Pause, Section, Size
from headworks.types import BufferMode


class Buffered(Section, frozen=True, kw_only=True):
    """How a stream's text is cut."""

    buffer: Annotated[
        BufferMode | None,
        Meta(
            description="Where a stream's text is cut: `off` passes it on as it comes, `words` and "
            "`sentences` behind whole ones, `interval` as often as `max_delay` says.",
            examples=["words"],
        ),
    ] = None
    max_delay: Annotated[
        Duration | None,
        Meta(
            description="How long a piece of text waits at most for the rest of its word or "
            "sentence.",
            examples=["50ms", "2s"],
        ),
    ] = None


class Stream(Section, frozen=True, kw_only=True):
    """How streams are passed on where neither the request, nor its key or model says so."""

    buffer: Annotated[
        BufferMode,
        Meta(
            description="Where a stream's text is cut: `off` passes it on as it comes, `words` and "
            "`sentences` behind whole ones, `interval` as often as `max_delay` says.",
            examples=["words"],
        ),
    ] = "off"
    max_delay: Annotated[
        Duration,
        Meta(
            description="How long a piece of text waits at most for the rest of its word or "
            "sentence.",
            examples=["2s"],
        ),
    ] = "50ms"
    keep_alive: Annotated[
        Pause,
        Meta(
            description="After how long without an answer a stream's caller gets the head and a "
            "comment, and then a comment each time; 0s sends nothing before the answer.",
            examples=["15s", "0s"],
        ),
    ] = "15s"
    max_event: Annotated[
        Size,
        Meta(
            description="Largest event of a chat's stream; larger ones are taken of streams that "
            "may hold pictures or the like.",
            examples=["1MB"],
        ),
    ] = "1MB"
