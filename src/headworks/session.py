"""The story of a WebSocket connection, from its handshake to its last farewell.

The handshake is a call like any other: authenticated, limited, routed, tried again, booked at no
cost, and recorded when the connection ends. What is asked for over the connection is booked by its
`Tab`; what is refused is told by an event, and the connection goes on. Where a provider begins a
response unasked and that is refused, the connection ends: it could not be prevented otherwise.

Two tasks carry messages, one each way, in order and one at a time, so that whoever is slow slows its
own connection alone. The first fact that ends the connection (a farewell, a limit of time, a
shutdown) is its verdict; it is passed to both ends, and what is still open is booked as counted.
"""

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from headworks.answer import Answer
from headworks.core.realtime import complaint
from headworks.errors import CallError, InvalidRequest, ShuttingDown, Unauthenticated
from headworks.ports import Clock, Close, Peer, UpstreamResponse
from headworks.tab import Books, Tab
from headworks.types import Call, Caller, Response, SocketRules

_log = logging.getLogger("headworks")

_NORMAL, _GOING_AWAY, _UNSUPPORTED = 1000, 1001, 1003
_NO_CODE, _LOST, _VIOLATION, _FAILED = 1005, 1006, 1008, 1011
_ENDED_WELL = frozenset({_NORMAL, _GOING_AWAY, _NO_CODE})
_FAREWELL = 1.0
"""Seconds that the two farewells may take."""
_DRAINED = Close(_GOING_AWAY, "shutting_down")
_STUCK = Close(_FAILED, "nothing was taken for too long")


class Opened(Response, kw_only=True):
    """The answer to a handshake: who has the caller's end runs the session with it."""

    session: "Session"
    subprotocol: str | None = None


@dataclass(frozen=True, slots=True)
class Sessions:
    """Opens sessions on connections whose handshake has succeeded.

    Attributes:
        peer: Return the upstream's end of a connection.
    """

    books: Books
    peer: Callable[[UpstreamResponse, SocketRules], Peer]
    clock: Clock
    rules: SocketRules

    async def open(self, answer: Answer, call: Call) -> "Session":
        """Return the session; the handshake is booked, and its route's health knows of it."""
        await answer.settle("completed")
        return Session(self, answer, call)


class Session:
    """One connection."""

    def __init__(self, parts: Sessions, answer: Answer, call: Call) -> None:
        route = answer.route
        assert route is not None  # noqa: S101 - what we answer ourselves is no connection
        self._clock, self._rules, self._call = parts.clock, parts.rules, call
        self._upstream = parts.peer(answer.response, parts.rules)
        self._tab = Tab(parts.books, call, route)
        self._began = self._last = parts.clock.now()
        self._verdict: asyncio.Future[Close] = asyncio.get_running_loop().create_future()
        self._cancel: Callable[[], object] | None = None
        self._is_draining = False

    def drain(self) -> None:
        """Begin no response any more, and end when none is under way."""
        self._is_draining = True
        self._end_if_drained()

    async def run(self, caller: Peer, renew: Callable[[], Caller]) -> None:
        """Carry messages both ways until the connection ends, and settle what is open.

        `renew` returns the caller as its key is now: one that was revoked ends the connection with
        the next response that is asked for.
        """
        self._tab.renew = renew
        spawn = asyncio.get_running_loop().create_task
        tasks = [
            spawn(self._guarded(carry(caller))) for carry in (self._carry_up, self._carry_down)
        ]
        how = _DRAINED
        try:
            self._look()
            how = await self._verdict
        finally:
            if self._cancel is not None:
                self._cancel()
            for task in tasks:
                task.cancel()
            is_well = how.code in _ENDED_WELL
            self._call.outcome = "completed" if is_well else f"closed_{how.code}"
            if not self._tab.is_empty:
                self._call.outcome = "abandoned"
            self._tab.abandon()
        await asyncio.wait(tasks)
        farewells = [spawn(caller.close(how)), spawn(self._upstream.close(how))]
        _, late = await asyncio.wait(farewells, timeout=_FAREWELL)
        for task in late:
            task.cancel()

    async def _guarded(self, carrying: Awaitable[Close]) -> None:
        """Carry messages one way; its end, however it comes, ends the connection."""
        try:
            self._end(await carrying)
        except Exception:  # noqa: BLE001 - whatever it is, both ends hear of it
            _log.exception("call %s failed unforeseen", self._call.id)
            self._end(Close(_FAILED, "internal_error"))

    async def _carry_up(self, caller: Peer) -> Close:
        while True:
            message = await caller.receive()
            if isinstance(message, Close):
                return _said(message, Close(_GOING_AWAY))
            if isinstance(message, bytes):
                return Close(_UNSUPPORTED, "messages are JSON, sent as text")
            self._last = self._clock.now()
            await self._take(message, caller)

    async def _take(self, message: str, caller: Peer) -> None:
        """Pass a message up, or tell the caller why not."""
        asked = None
        try:
            content = _encoded(message)
            asked = self._tab.read(content)
            if asked is None:
                rendered = self._tab.render(content)
                message = message if rendered is content else rendered.decode()
            else:
                if self._is_draining:
                    raise ShuttingDown
                message = (await self._tab.ask(asked, content)).decode()
                self._look()
        except CallError as error:
            told = complaint(self._tab.talk.dialect, error, asked, self._call.id)
            await self._bounded(caller.send(told))
            if isinstance(error, Unauthenticated):
                self._end(Close(_VIOLATION, error.code))
        else:
            await self._bounded(self._upstream.send(message))

    async def _carry_down(self, caller: Peer) -> Close:
        while True:
            message = await self._upstream.receive()
            if isinstance(message, Close):
                return _said(message, Close(_FAILED, "upstream_connection_lost"))
            self._last = self._clock.now()
            try:
                content = message.encode() if isinstance(message, str) else message
                if await self._tab.hear(content):
                    self._look()
            except CallError as error:
                told = complaint(self._tab.talk.dialect, error, None, self._call.id)
                await self._bounded(caller.send(told))
                return Close(_VIOLATION, error.code)
            await self._bounded(caller.send(message))
            self._end_if_drained()

    async def _bounded(self, sending: Awaitable[None]) -> None:
        """Send, or end the connection whose reader takes nothing for too long."""
        cancel = self._clock.call_later(self._rules.write, self._give_up)
        try:
            await sending
        finally:
            cancel()

    def _give_up(self) -> None:
        self._end(_STUCK)

    def _look(self) -> None:
        """End the connection if its time is over, else look again when it may be."""
        if self._cancel is not None:
            self._cancel()
            self._cancel = None
        now, rules = self._clock.now(), self._rules
        ends = {
            self._began + rules.longest: "the longest time of a connection is over",
            self._last + rules.idle: "nothing was said for too long",
            min(self._tab.until, default=math.inf): "deadline_exceeded",
        }
        due = min(ends)
        if due > now:
            self._cancel = self._clock.call_later(due - now, self._look)
            return
        is_late = ends[due] == "deadline_exceeded"
        self._end(Close(_FAILED if is_late else _GOING_AWAY, ends[due]))

    def _end_if_drained(self) -> None:
        if self._is_draining and self._tab.is_empty:
            self._end(_DRAINED)

    def _end(self, how: Close) -> None:
        """Note what ends the connection: the first fact decides."""
        if not self._verdict.done():
            self._verdict.set_result(how)


def _encoded(message: str) -> bytes:
    try:
        return message.encode()
    except UnicodeEncodeError:
        raise InvalidRequest("A message must be Unicode.") from None


def _said(how: Close, lost: Close) -> Close:
    """Return how one end closed, as the other one may be told."""
    if how.code == _LOST:
        return lost
    return Close(_NORMAL) if how.code == _NO_CODE else how
