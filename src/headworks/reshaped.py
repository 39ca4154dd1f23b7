"""Answers in another shape than was asked for: a stream that came whole, a whole that was streamed."""

from collections.abc import Awaitable, Callable

import msgspec

from headworks.core.aggregate import Aggregator
from headworks.core.convert import as_events
from headworks.core.endpoints import Dialect
from headworks.core.stream_base import Stream
from headworks.errors import MalformedResponse, Retry
from headworks.ports import UpstreamResponse
from headworks.types import Headers

_encode = msgspec.json.encode


class Gathered:
    """A provider's stream that was made a whole answer; satisfies `UpstreamResponse`."""

    def __init__(self, response: UpstreamResponse) -> None:
        self.status = response.status
        others = (field for field in response.headers if field[0] != b"content-type")
        self.headers: Headers = ((b"content-type", b"application/json"), *others)
        self.read, self.chunks, self.unread = response.read, response.chunks, response.unread
        self.expect, self.hurry, self.masked = response.expect, response.hurry, response.masked
        self.drain, self.aclose = response.drain, response.aclose
        self.nudge = response.nudge


async def gather(stream: Stream, events: Callable[[], Awaitable[bytes | None]], most: int) -> bytes:
    """Return the whole answer that was asked for, from the events of the stream in its place.

    Raises:
        UpstreamError: The stream broke, or is no answer, or one of over `most` bytes.
    """
    gathered = Aggregator(most)
    stream.seen = gathered.event
    while await events() is not None and not gathered.gave_up:
        pass
    if gathered.gave_up:
        raise MalformedResponse(f"The answer is larger than {most} bytes.")
    answer = gathered.result()
    if answer is None:
        raise MalformedResponse("The provider sent a stream where JSON was asked for.")
    return _encode(answer)


def make_stream(stream: Stream, dialect: Dialect, whole: bytes) -> bytes:
    """Return the events of a whole answer, all of which `stream` has then seen.

    Official clients would take a whole answer to a stream for an empty one.

    Raises:
        UpstreamError: It is no answer of this dialect, or not a finished one.
    """
    events = as_events(dialect, whole)
    if events is None:
        raise MalformedResponse("The provider sent JSON where a stream was asked for.")
    content = stream.take(events)
    if not stream.is_over:
        stream.finish()
    if stream.error is not None:
        raise stream.error
    raise_failure(stream)
    return content


def raise_failure(stream: Stream) -> None:
    """Raise what the provider says went wrong, if another attempt may go well."""
    failure = stream.failure
    if failure is not None and failure.retry is not Retry.NEVER:
        raise failure
