"""An answer that has begun: what dispatch hands to relay, and what is booked for it.

Opening an answer goes as far as the commit point and not further: a whole answer is read to its
end, a stream to its first event. Until then a failure is free to be tried again; after it an
error can only be told to the caller.
"""

from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any, Self

import msgspec

from headworks.core.classify import classify
from headworks.core.endpoints import endpoint
from headworks.core.pricing import dearer, parse_usage
from headworks.core.streams import NOTHING, Reported, Stream, is_given, is_json, open_stream
from headworks.core.wire import media_type
from headworks.errors import MalformedResponse
from headworks.ports import Estimator, Hold, Ledger, UpstreamResponse
from headworks.types import NO_USAGE, Call, Certainty, Request, Usage


class _Whole(msgspec.Struct):
    usage: msgspec.Raw = NOTHING
    error: msgspec.Raw = NOTHING
    service_tier: Any = None


_decode_whole = msgspec.json.Decoder(_Whole).decode
_DRAIN = 0.1
"""Seconds to read a finished stream's last bytes, so that its connection can be used again."""


class Answer(msgspec.Struct):
    """An answer past its commit point: `whole`, or a `stream` of events, or neither: raw bytes.

    Attributes:
        is_billed: A usage in it is this request's own.
        is_owed: Something is to be paid even if the provider does not say what.
        must_be_json: An answer that is no JSON is no answer.
        first: The events that opening the stream has already brought, for the caller.
        relayed: What the caller reads, closed with the answer.
    """

    response: UpstreamResponse
    call: Call
    hold: Hold
    ledger: Ledger
    estimator: Estimator
    is_billed: bool = False
    is_owed: bool = False
    must_be_json: bool = False
    whole: bytes | None = None
    stream: Stream | None = None
    first: bytes | None = None
    relayed: AsyncGenerator[bytes] | None = None
    _source: AsyncIterator[bytes] | None = None
    _reported: Reported | None = None

    async def open(self, most: int) -> None:
        """Read as far as the commit point; a whole answer of over `most` bytes is refused.

        Raises:
            UpstreamError: The answer broke, or is an error in the clothes of success.
        """
        request = self.call.request
        kind = endpoint(request.method, request.path)
        self.is_billed, self.must_be_json = _is_billed(request), kind.takes_model
        self.is_owed = self.is_billed and bool(request.model) and not kind.is_free
        sent = _media_type(self.response)
        if sent == b"text/event-stream":
            self.stream = open_stream(kind.dialect, request)
            self._source = self.response.chunks()
            self.first = await self.events()
        elif request.stream and kind.dialect != "opaque":
            await self._refuse_whole(most)
        elif self.is_billed and (self.must_be_json or sent == b"application/json"):
            self._read_whole(await self.response.read(most))

    async def events(self) -> bytes | None:
        """Return the next events for the caller, None when the stream has ended as it should.

        Raises:
            UpstreamError: The stream broke; all events before that were returned.
        """
        stream, source = self.stream, self._source
        if stream is None or source is None:
            return None
        while not stream.is_over:
            chunk = await anext(source, None)
            out = stream.finish() if chunk is None else stream.feed(chunk)
            if out:
                return out
        if stream.error is not None:
            raise stream.error
        return None

    async def settle(self, outcome: str) -> None:
        """Book what the answer used, once; on disk when this returns."""
        self.book(outcome)
        await self.ledger.written()

    def book(self, outcome: str) -> None:
        """Book what the answer used, once; on disk soon.

        What has come counts as seen, even if its caller was too slow to get it.
        """
        if self.hold.is_open:
            if self.stream is not None and not self.stream.is_over:
                self.stream.feed(self.response.unread())
            usage, certainty = self._used()
            self.call.usage = usage
            charge(self.call, self.hold.settle(usage, certainty, outcome))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Book what is not booked yet and give the connection back. Idempotent."""
        try:
            self.book("abandoned")
            if self.relayed is not None:
                await self.relayed.aclose()
            if self.stream is not None and self.stream.ending is not None:
                await self.response.drain(_DRAIN)
        finally:
            await self.response.aclose()

    async def _refuse_whole(self, most: int) -> None:
        """A client that reads events takes a whole answer for an empty stream, without an error."""
        self._read_whole(await self.response.read(most))
        raise MalformedResponse("The provider sent a whole answer where a stream was asked for.")

    def _read_whole(self, content: bytes) -> None:
        self.whole = content
        try:
            whole = _decode_whole(content)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            is_odd = isinstance(error, msgspec.ValidationError) and is_json(content)
            if self.must_be_json and not is_odd:
                raise MalformedResponse("The provider's answer is not valid JSON.") from None
            return  # JSON of another shape is not ours to judge
        if is_given(whole.usage):
            self._reported = parse_usage(bytes(whole.usage), whole.service_tier)
        elif is_given(whole.error):
            raise classify(200, (), content, now=0.0)

    def _used(self) -> tuple[Usage, Certainty]:
        stream = self.stream
        reported = self._reported if stream is None else stream.reported
        if reported is None:
            return (self._recount(), "estimated") if self.is_owed else (NO_USAGE, "exact")
        usage, anomalies = reported
        return (dearer(usage, self._recount()), "estimated") if anomalies else (usage, "exact")

    def _recount(self) -> Usage:
        """Count what the provider did not say: never less than what was seen."""
        stream = self.stream
        text = (self.whole or b"") if stream is None else bytes(stream.text)
        usage = self.estimator.recount(_as_sent(self.call), text.decode("utf-8", "replace"))
        pieces = 0 if stream is None else stream.pieces
        return msgspec.structs.replace(usage, output=max(usage.output, pieces))


def _as_sent(call: Call) -> Request:
    """Return the request with the model that the provider was asked for: it decides the count."""
    request, route = call.request, call.route
    if route is None or request.model == route.model:
        return request
    return msgspec.structs.replace(request, fields={**request.fields, "model": route.model})


def charge(call: Call, cost: int | None) -> None:
    """Add an attempt's cost to its call's; one unknown price makes the sum unknown."""
    call.cost = None if cost is None or call.cost is None else call.cost + cost


def _is_billed(request: Request) -> bool:
    """Return whether the answer's usage is this request's own.

    What is read, cancelled or deleted later repeats the usage of the request that made it.
    """
    names_nothing_readable = bool(request.content) and not request.fields
    return request.method == "POST" and bool(request.model or names_nothing_readable)


def _media_type(response: UpstreamResponse) -> bytes:
    for name, value in response.headers:
        if name == b"content-type":
            return media_type(value)
    return b""
