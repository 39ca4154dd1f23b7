"""Carries an answer to its caller, and settles before the caller's last byte."""

from collections.abc import AsyncGenerator, Awaitable
from dataclasses import dataclass

from headworks.answer import Answer
from headworks.core.streams import Stream
from headworks.core.wire import answer_headers, call_headers, retry_headers, usd
from headworks.errors import CallError
from headworks.ports import Clock, OutputFilter
from headworks.types import Call, Response

_STREAM_HEADERS = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
)


@dataclass(frozen=True, slots=True)
class Relay:
    """The stream's story: feed, filter, send on; settle; then the last event."""

    filter: OutputFilter
    clock: Clock

    async def relay(self, answer: Answer, call: Call) -> Response:
        """Return the response for `call`: whole, or live as long as the call."""
        call.answered = self.clock.now()
        call.status = answer.response.status
        if answer.whole is not None:
            content = self.filter.filter(answer.whole)
            await self._settle(answer, call)
            return Response(call.status, self._headers(answer, call), content)
        answer.relayed = (
            self._chunks(answer, call)
            if answer.stream is None
            else self._events(answer, answer.stream, call)
        )
        return Response(call.status, self._headers(answer, call), answer.relayed)

    def known(self, answer: Response, call: Call) -> Response:
        """Return the response for a call that needs no upstream."""
        call.answered = self.clock.now()
        call.status, call.outcome = answer.status, "completed"
        headers = (*answer.headers, *call_headers(call, call.answered))
        return Response(answer.status, headers, answer.content)

    def fail(self, error: CallError, call: Call) -> None:
        """Note how the call failed, and give the error the header fields that tell its caller."""
        call.outcome = _outcome(error)
        if call.answered is None:
            call.status = error.status
            error.headers = (*call_headers(call, self.clock.now()), *retry_headers(error, call))

    async def _events(self, answer: Answer, stream: Stream, call: Call) -> AsyncGenerator[bytes]:
        try:
            piece = answer.first
            while piece is not None:
                yield self.filter.filter(piece)
                piece = await answer.events()
        except CallError as error:
            call.outcome = _outcome(error)
            await answer.settle(call.outcome, error)
            yield stream.encode_error(error)
            return
        await self._settle(answer, call)
        if stream.ending:
            yield stream.ending

    async def _chunks(self, answer: Answer, call: Call) -> AsyncGenerator[bytes]:
        """Relay bytes that are neither JSON nor events. A break shows as a cut connection."""
        try:
            async for chunk in answer.response.chunks():
                yield chunk
        except CallError as error:
            call.outcome = _outcome(error)
            await answer.settle(call.outcome, error)
            raise
        await self._settle(answer, call)

    def _settle(self, answer: Answer, call: Call) -> Awaitable[None]:
        call.outcome = "drained" if call.presence.is_gone else "completed"
        return answer.settle(call.outcome)

    def _headers(self, answer: Answer, call: Call) -> tuple[tuple[bytes, bytes], ...]:
        headers = answer_headers(call, answer.response.headers, self.clock.now())
        if answer.whole is None and answer.stream is None:
            length = tuple(f for f in answer.response.headers if f[0] == b"content-length")
            return headers + length  # the bytes pass as they are
        if answer.stream is not None:
            return _STREAM_HEADERS + tuple(f for f in headers if f[0] != b"content-type")
        if answer.whole is not None and call.cost is not None:
            return (*headers, (b"x-headworks-cost", usd(call.cost).encode()))
        return headers


def _outcome(error: CallError) -> str:
    return error.code or str(error.status)
