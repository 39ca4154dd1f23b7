"""Carries an answer to its caller, and settles before the caller's last byte.

A stream whose answer is long in coming gets its head before it: then comments keep the way to the
caller open, while routes are tried behind them as ever. From its head on the call's status is 200,
so that a failure of all of them is an event in the stream, like one in the middle of an answer.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Final, Self

from headworks.answer import Answer
from headworks.attempt import book_batches
from headworks.core.buffering import Buffer, Buffers
from headworks.core.endpoints import Dialect, endpoint
from headworks.core.sse import KEEP_ALIVE
from headworks.core.streams import Stream, open_stream
from headworks.core.wire import answer_headers, call_headers, error_headers, usd
from headworks.errors import CallError
from headworks.ports import Clock, OutputFilter
from headworks.session import Opened, Sessions
from headworks.types import Call, Request, Response

_log = logging.getLogger("headworks")

_STREAM_HEADERS = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
)
_NOT_YET_KNOWN: Final = frozenset(
    b"x-headworks-" + name
    for name in (b"attempts", b"filtered", b"overhead-ms", b"route", b"trail")
)
"""Fields that an answer on its way may still change."""


class Coming:
    """An answer on its way, in a task beside its caller's; whoever holds it closes it.

    Attributes:
        relayed: What the caller reads meanwhile, closed with the answer.
    """

    def __init__(self, task: asyncio.Task[Answer]) -> None:
        self.relayed: AsyncGenerator[bytes] | None = None
        self._task: asyncio.Task[Answer] | None = task
        self._answer: Answer | None = None
        self._waiter: asyncio.Future[None] | None = None
        task.add_done_callback(self._wake)

    async def take(self, clock: Clock, patience: float) -> Answer | None:
        """Return the answer, None if it has not come after so many seconds.

        Raises:
            CallError: There is none.
        """
        task = self._task
        assert task is not None  # noqa: S101 - nobody asks again for what has come
        try:
            if not task.done():
                await self._wait(clock, patience)
            if task.done():
                self._task = None
                self._answer = task.result()
        finally:
            del task  # else it and what it raised would hold each other
        return self._answer

    async def aclose(self) -> None:
        """End what is under way, wait for its end, and close the answer. Idempotent."""
        task, self._task = self._task, None
        answer, self._answer = self._answer, None
        try:
            if task is not None:
                answer = await _ended(task)
            if self.relayed is not None:
                await self.relayed.aclose()
        finally:
            if answer is not None:
                await answer.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def _wait(self, clock: Clock, seconds: float) -> None:
        self._waiter = asyncio.get_running_loop().create_future()
        cancel = clock.call_later(seconds, self._wake)
        try:
            await self._waiter
        finally:
            cancel()
            self._waiter = None

    def _wake(self, _task: object = None) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


async def _ended(task: asyncio.Task[Answer]) -> Answer | None:
    """Cancel a task, wait for its end however often we are cancelled, and return what it brought."""
    task.cancel()
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait((task,))
        except asyncio.CancelledError as error:
            cancelled = error
    answer, fault = None, None if task.cancelled() else task.exception()
    if fault is not None and not isinstance(fault, CallError):
        _log.error("what a caller did not wait for failed unforeseen", exc_info=fault)
    elif fault is None and not task.cancelled():
        answer = task.result()
    if cancelled is None:
        return answer
    try:
        if answer is not None:
            await answer.aclose()
        raise cancelled
    finally:
        del cancelled


@dataclass(frozen=True, slots=True)
class Relay:
    """The stream's story: feed, filter, cut, send on; settle; then the last event.

    Attributes:
        keep_alive: Seconds without an answer after which a stream begins with a comment, and
            between two of them; 0 waits for the answer.
        buffers: Which streams are cut anew.
        sessions: What connections become, None where none are taken.
        batches: Those that are booked, as far as is remembered.
    """

    filter: OutputFilter
    clock: Clock
    keep_alive: float = 0.0
    buffers: Buffers = field(default_factory=Buffers)
    sessions: Sessions | None = None
    batches: set[str] = field(default_factory=set[str])

    def wait(
        self, dispatching: Coroutine[Any, Any, Answer], call: Call
    ) -> Coroutine[Any, Any, Answer | Coming]:
        """Return the answer; of a stream that is long in coming, what it will come by.

        Raises:
            CallError: There is no answer, and its caller has nothing yet.
        """
        is_alive = self.keep_alive and _is_events(call.request)
        return self._wait(dispatching) if is_alive else dispatching

    async def _wait(self, dispatching: Coroutine[Any, Any, Answer]) -> Answer | Coming:
        coming = Coming(asyncio.get_running_loop().create_task(dispatching))
        try:
            answer = await coming.take(self.clock, self.keep_alive)
        except BaseException:
            await coming.aclose()
            raise
        return coming if answer is None else answer

    async def relay(self, answer: Answer | Coming, call: Call) -> Response:
        """Return the response for `call`: whole, or live as long as the call."""
        if isinstance(answer, Coming):
            return self._early(answer, call)
        call.answered = self.clock.now()
        call.status = answer.response.status
        if call.request.socket:
            return await self._open(answer, call)
        if answer.whole is not None:
            content = self.filter.filter(answer.whole)
            if answer.tells_batches:
                await book_batches(answer, self.batches)
            await self._settle(answer, call)
            return Response(call.status, self._headers(answer, call), content)
        answer.relayed = (
            self._chunks(answer, call)
            if answer.stream is None
            else self._stream(answer, answer.stream, call)
        )
        return Response(call.status, self._headers(answer, call), answer.relayed)

    async def _open(self, answer: Answer, call: Call) -> Response:
        """Return the answer to a handshake, with the session that is to be run."""
        assert self.sessions is not None  # noqa: S101 - who takes handshakes has them
        session = await self.sessions.open(answer, call)
        chosen = dict(answer.response.headers).get(b"sec-websocket-protocol")
        return Opened(
            call.status,
            self._headers(answer, call),
            b"",
            session=session,
            subprotocol=None if chosen is None else chosen.decode("latin-1"),
        )

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
            error.headers = error_headers(call, error, self.clock.now())

    def _early(self, coming: Coming, call: Call) -> Response:
        """Return the head of a stream whose answer is on its way, with what is known of it."""
        call.status = 200
        fields = call_headers(call, self.clock.now())
        known = tuple(one for one in fields if one[0] not in _NOT_YET_KNOWN)
        coming.relayed = self._awaited(coming, call)
        return Response(call.status, _STREAM_HEADERS + known, coming.relayed)

    async def _awaited(self, coming: Coming, call: Call) -> AsyncGenerator[bytes]:
        """Keep the stream alive until its answer has come, then relay that."""
        answer = None
        try:
            while answer is None:
                yield KEEP_ALIVE
                answer = await coming.take(self.clock, self.keep_alive)
        except CallError as error:
            call.outcome = _outcome(error)
            request = call.request
            yield open_stream(_dialect(request), request).encode_error(error)
            return
        call.answered = self.clock.now()
        assert answer.stream is not None  # noqa: S101 - `_is_events` says that it will be one
        answer.relayed = self._stream(answer, answer.stream, call)
        async for piece in answer.relayed:
            yield piece

    def _stream(self, answer: Answer, stream: Stream, call: Call) -> AsyncGenerator[bytes]:
        buffer = self.buffers.open(call)
        events = self._events(answer, stream, call)
        return events if buffer is None else self._recut(answer, events, buffer)

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

    async def _recut(
        self, answer: Answer, events: AsyncGenerator[bytes], buffer: Buffer
    ) -> AsyncGenerator[bytes]:
        """Pass events on with their text cut anew; what is held leaves when its time is up."""
        now, alarm = self.clock.now, _Nudge(self.clock, answer)
        try:
            async for piece in events:
                if out := buffer.feed(piece, now()):
                    yield out
                if buffer.due is not None and not alarm.is_set:
                    alarm.set(buffer.due - now())
            if out := buffer.flush():
                yield out
        finally:
            alarm.cancel()
            await events.aclose()

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
            return _STREAM_HEADERS + tuple([f for f in headers if f[0] != b"content-type"])
        if answer.whole is not None and call.cost is not None:
            return (*headers, (b"x-headworks-cost", usd(call.cost).encode()))
        return headers


class _Nudge:
    """One alarm at a time that lets whoever waits for an answer's events go on."""

    __slots__ = ("_answer", "_cancel", "_clock", "is_set")

    def __init__(self, clock: Clock, answer: Answer) -> None:
        self.is_set = False
        self._clock = clock
        self._answer = answer
        self._cancel: Callable[[], object] | None = None

    def set(self, seconds: float) -> None:
        """Ring once, after so long."""
        self.is_set = True
        self._cancel = self._clock.call_later(max(0.0, seconds), self._ring)

    def cancel(self) -> None:
        """Do not ring any more."""
        if self._cancel is not None:
            self._cancel()
            self._cancel = None

    def _ring(self) -> None:
        self.is_set = False
        self._answer.nudge()


def _dialect(request: Request) -> Dialect:
    return endpoint(request.method, request.path).dialect


def _is_events(request: Request) -> bool:
    """Return whether the answer can be nothing but events that we know how to write."""
    return request.stream and request.method == "POST" and _dialect(request) != "opaque"


def _outcome(error: CallError) -> str:
    return error.code or str(error.status)
