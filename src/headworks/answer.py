"""An answer that has begun: what dispatch hands to relay, and what is booked for it.

Opening an answer goes as far as the commit point and not further: a whole answer is read to its
end, a stream to its first content or as far as its model's policy says. Until then a failure is
free to be tried again; after it an error can only be told to the caller.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable
from typing import Self

import msgspec
from typing_extensions import override

from headworks.core.classify import classify
from headworks.core.commit import is_met
from headworks.core.endpoints import Endpoint, endpoint, goes_on, is_billed, is_work, tells_batches
from headworks.core.filtering import is_filtered
from headworks.core.measures import MEASURES, USUAL, counted, is_measured
from headworks.core.pricing import dearer, parse_usage, plain_usage
from headworks.core.said import said
from headworks.core.sse import MOST_EVENT
from headworks.core.stream_base import Reported, Stream, is_given
from headworks.core.streams import largest_event, open_stream
from headworks.core.tokens import guess
from headworks.core.whole import Whole, read_whole
from headworks.core.wire import media_type
from headworks.errors import (
    AnswerFiltered,
    CallError,
    DeadlineExceeded,
    MalformedResponse,
    Retry,
    StreamTruncated,
    UpstreamError,
)
from headworks.ports import Admission, Estimator, Hold, Ledger, UpstreamResponse, Witness
from headworks.reshaped import Gathered, gather, make_stream, raise_failure
from headworks.types import (
    AT_FIRST_TOKEN,
    NO_USAGE,
    Call,
    Certainty,
    Commit,
    Request,
    Route,
    Usage,
)

_ABANDONED = GeneratorExit("nobody reads the answer")
_REST = 2.0
"""Seconds to wait for the last event of a stream that has said all."""
_BROKEN = 2
"""Tokens in the event in which a provider has broken off."""
_UNDER_WAY = 8
"""Tokens that it writes until it notices that we have: those of a tenth of a second, or so."""
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
        witness: Sees what the caller is going to see, where it may tell of new ids.
        tells_batches: It may tell what batches have used.
        admission: Learns how the attempt ended.
        route: Where it comes from, None for an answer of our own.
    """

    response: UpstreamResponse
    call: Call
    hold: Hold
    ledger: Ledger
    estimator: Estimator
    admission: Admission
    route: Route | None
    is_billed: bool = False
    is_owed: bool = False
    must_be_json: bool = False
    whole: bytes | None = None
    stream: Stream | None = None
    first: bytes | None = None
    relayed: AsyncGenerator[bytes] | None = None
    witness: Witness | None = None
    tells_batches: bool = False
    _source: AsyncIterator[bytes] | None = None
    _reported: Reported | None = None
    _is_filtered: bool | None = None
    _is_coded: bool = False
    _has_begun: bool = False

    @override
    def __repr__(self) -> str:
        """Return its name alone: what it says is its caller's own."""
        return object.__repr__(self)

    async def open(
        self,
        most: int,
        commit: Commit = AT_FIRST_TOKEN,
        *,
        refuses_filtered: bool = False,
        most_event: int = MOST_EVENT,
    ) -> None:
        """Read as far as the commit point; what would be over `most` bytes until then is refused.

        So is an event of over `most_event` bytes, where events are usually smaller.

        Raises:
            AnswerFiltered: The provider's content filter stopped the answer, and that is refused.
            UpstreamError: The answer broke, or is an error in the clothes of success.
        """
        request, told = self.call.request, dict(self.response.headers)
        kind = endpoint(request.method, request.path)
        self.is_billed, self.must_be_json = is_billed(request), kind.takes_model
        self.is_owed = self.is_billed and (kind.takes_model or is_work(request))
        if b"content-encoding" in told:
            self._is_coded = told[b"content-encoding"].lower() != b"identity"
        sent = media_type(told.get(b"content-type", b""))
        if sent == b"text/event-stream":
            await self._open_stream(kind, most, commit, most_event)
        elif request.stream and kind.dialect != "opaque":
            whole = self._seen(self._read_whole(await self.response.read(most)))
            stream = open_stream(kind.dialect, request)
            self.first = make_stream(stream, kind.dialect, whole)
            self.stream, self.whole = stream, None
        elif self.is_billed and (kind.takes_model or sent == b"application/json"):
            self._seen(self._read_whole(await self.response.read(most)))
        elif sent == b"application/json" and (self.witness is not None or tells_batches(request)):
            self.tells_batches = tells_batches(request)
            self.whole = self._seen(await self.response.read(most))
        if self._is_filtered is None and self.is_billed and kind.dialect != "opaque":
            self._is_filtered = self.whole is not None and is_filtered(self.whole)
        if refuses_filtered and self.is_filtered:
            raise AnswerFiltered

    async def _open_stream(self, kind: Endpoint, most: int, commit: Commit, largest: int) -> None:
        """Read a stream as far as its commit point, or to its end where none was asked for."""
        self._refuse_coded()
        request = self.call.request
        largest = largest_event(kind.dialect, request, largest, most)
        self.stream = stream = open_stream(kind.dialect, request, largest)
        stream.mask = self.response.masked
        stream.seen = None if self.witness is None else self.witness.event
        self._source = self.response.chunks()
        if request.stream or not self.is_billed or kind.dialect == "opaque":
            self.first = await self._hold(stream, most, commit)
            return
        whole = await gather(stream, self.events, most)
        await self.response.drain(_DRAIN)
        self.response, self.stream = Gathered(self.response), None
        self._seen(self._read_whole(whole))

    async def _hold(self, stream: Stream, most: int, commit: Commit) -> bytes | None:
        """Return what has come when the stream becomes the caller's, None if it ended before."""
        response = self.response
        response.expect(content=True)
        held: list[bytes] = []
        size = count = 0
        while (piece := await self.events()) is not None:
            held.append(piece)
            size += len(piece)
            count += piece.count(b"\n\n")
            if stream.begun:
                response.expect(content=False)
            if is_met(commit, stream, size, count):
                break
            if size > most:
                raise MalformedResponse(f"The answer is larger than {most} bytes.")
        else:
            raise_failure(stream)
        return b"".join(held) or None

    async def events(self) -> bytes | None:
        """Return the next events for the caller, None when the stream has ended as it should.

        After a `nudge` it may be none: b"".

        Raises:
            UpstreamError: The stream broke; all events before that were returned.
        """
        stream, source = self.stream, self._source
        if stream is None or source is None:
            return None
        while not stream.is_over:
            try:
                chunk = await (self._rest(source) if stream.is_said else anext(source, None))
            except StreamTruncated:
                if not stream.is_answered:
                    raise
                chunk = None
            out = stream.finish() if chunk is None else stream.feed(chunk)
            if out or chunk == b"":
                self._has_begun = self._has_begun or bool(out)
                return out
        if stream.error is not None:
            raise stream.error
        return None

    def nudge(self) -> None:
        """Let whoever waits for `events` go on now, with what there is."""
        self.response.nudge()

    async def _rest(self, source: AsyncIterator[bytes]) -> bytes | None:
        """Return what follows when all is said, None soon: not every provider says [DONE]."""
        self.response.hurry(_REST)
        try:
            return await anext(source, None)
        except DeadlineExceeded:
            return None

    @property
    def has_output(self) -> bool:
        """Whether the provider began an answer, or says what it bills."""
        stream = self.stream
        is_reported = stream is not None and stream.reported is not None
        return self._has_begun or is_reported or self._reported is not None

    @property
    def is_filtered(self) -> bool:
        """Whether the provider's content filter has stopped the answer, as far as it was read."""
        stream = self.stream
        if stream is None:
            return self._is_filtered is True
        error = stream.error
        return stream.filtered or (error is not None and error.failure == "content_filter")

    async def settle(self, outcome: str, error: CallError | None = None) -> None:
        """Book what the answer used, and what ended it, once; on disk when this returns."""
        self.book(outcome, error)
        told = None if self.stream is None else self.stream.failure
        self.admission.settle(error or told)
        await self.ledger.written()

    def book(self, outcome: str, error: BaseException | None = None) -> None:
        """Book what the answer used, once; on disk soon. `error` is what broke it.

        What has come counts as seen, even if its caller was too slow to get it.
        """
        if self.hold.is_open:
            call, stream = self.call, self.stream
            if stream is not None and not stream.is_over:
                stream.feed(self.response.unread())
            usage, certainty, odd = self._used(error)
            call.usage = usage
            if self.is_filtered:
                call.filtered = "answer"
            charge(call, usage, self.hold.settle(usage, certainty, outcome, odd))

    async def __aenter__(self) -> Self:
        return self

    def __aexit__(self, *_: object) -> Awaitable[None]:
        return self.aclose()

    async def aclose(self) -> None:
        """Book what is not booked yet and give the connection back. Idempotent."""
        try:
            self.book("abandoned")
            self.admission.settle(_ABANDONED)
            if self.relayed is not None:
                await self.relayed.aclose()
            if self.stream is not None and self.stream.ending is not None:
                await self.response.drain(_DRAIN)
        finally:
            await self.response.aclose()

    def _seen(self, content: bytes) -> bytes:
        """Return a whole answer that whoever remembers ids has seen."""
        if self.witness is not None:
            self.witness.whole(content)
        return content

    def _read_whole(self, content: bytes) -> bytes:
        """Learn from a whole answer; return it as the caller may see it."""
        if self._is_coded:
            self._refuse_coded()
        self.whole = content
        if (usage := plain_usage(content)) is not None:
            self._reported, self._is_filtered = (usage, ()), False
            return content
        if (whole := read_whole(content, must_be_json=self.must_be_json)) is None:
            return content  # JSON of another shape is not ours to judge
        if is_given(whole.usage):
            self._reported = parse_usage(bytes(whole.usage), whole.service_tier)
        if self._is_failure(whole):
            content = self.whole = self.response.masked(content)
            told = classify(200, (), content, now=0.0)
            if whole.status != "failed" or told.retry is not Retry.NEVER:
                raise told
        return content

    def _is_failure(self, whole: Whole) -> bool:
        """Return whether it is an error in the clothes of success: not a job that has one."""
        if not is_given(whole.error) or (is_given(whole.id) and not self.must_be_json):
            return False
        return self._reported is None or whole.status == "failed"

    def _refuse_coded(self) -> None:
        """Raise if what is to be read is compressed: it was asked for as it is, none unpacks it."""
        if self._is_coded:
            error = MalformedResponse("The provider compressed its answer, though asked not to.")
            error.retry = Retry.OTHER_ROUTE
            raise error

    def can_be_counted(self, error: BaseException) -> bool:
        """Return whether all that was said is here, though no usage: not if it came in parts."""
        is_whole = self.whole is not None and not isinstance(error, MalformedResponse)
        return self.stream is not None or is_whole

    def _used(self, error: BaseException | None) -> tuple[Usage, Certainty, tuple[str, ...]]:
        stream = self.stream
        reported = self._reported if stream is None else stream.reported
        if reported is None:
            return self._owed(error, ())
        usage, odd = reported
        if (tier := usage.tier) in MEASURES:
            is_priced = not odd and tier in self.hold.measures
            return (usage, "exact", ()) if is_priced else self._owed(error, odd)
        if is_measured(self.call.request.path) and self._is_counted():
            return self._owed(error, odd)
        if odd:
            return dearer(usage, self.recount(error)), "estimated", odd
        if usage.output:
            request, route = self.call.request, self.route
            self.estimator.learn(request, request.model if route is None else route.model, usage)
        return usage, "exact", ()

    def _is_counted(self) -> bool:
        """Return whether it is billed by something that is no token, and we know by how much."""
        measures = self.hold.measures
        return USUAL not in measures and bool(counted(self.call.request, measures, self.whole))

    def _owed(
        self, error: BaseException | None, odd: tuple[str, ...]
    ) -> tuple[Usage, Certainty, tuple[str, ...]]:
        """Count what is to be paid, in the measure that it is billed in."""
        if not self.is_owed:
            return NO_USAGE, "exact", ()
        request = self.call.request
        found = counted(request, self.hold.measures, self.whole)
        if found is not None:
            return found.usage, "exact" if found.is_exact else "estimated", odd
        used = self.recount(error)
        if goes_on(request):  # what it comes to is told later, to whoever looks, and billed here
            most = self.estimator.estimate(_as_sent(request, self.route))
            return dearer(used, most), "unknown", odd
        return used, "estimated", odd

    def recount(self, error: BaseException | None) -> Usage:
        """Count what the provider did not say: never less than what was seen."""
        sent, stream = _as_sent(self.call.request, self.route), self.stream
        if stream is None:
            lost = _announced(self.response) if self.whole is None else 0
            return self.estimator.recount(sent, said(self.whole or b""), lost)
        lost = _UNDER_WAY
        if stream.ending is not None:
            lost = 0
        elif isinstance(error or stream.error, UpstreamError):
            lost = _BROKEN
        usage = self.estimator.recount(sent, stream.text.decode("utf-8", "replace"), lost)
        return msgspec.structs.replace(usage, output=max(usage.output, stream.pieces))


def _as_sent(request: Request, route: Route | None) -> Request:
    """Return the request with the model that the provider was asked for: it decides the count."""
    if route is None or request.model == route.model:
        return request
    return msgspec.structs.replace(request, fields={**request.fields, "model": route.model})


def _announced(response: UpstreamResponse) -> int:
    """Return the tokens that a whole answer, of which nothing is left, can have had."""
    length = dict(response.headers).get(b"content-length", b"")
    return guess(int(length)) if length.isdigit() else 0


def charge(call: Call, usage: Usage, cost: int | None) -> None:
    """Add an attempt's tokens and cost to its call's; one unknown price makes the sum unknown."""
    call.tokens += usage.input + usage.output
    before = call.cost
    call.cost = None if cost is None or before is None else before + cost
