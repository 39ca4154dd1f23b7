"""One call, carried in the engine's loop for somebody who waits in a thread or another loop.

The whole life of the call is one task beside the engine: it enters the call's context, hands over
what it yields, and leaves the context, so that no context is ever entered in one task and left in
another. The answer travels through an inbox, as these items in this order:

    WANTED …            while a large request goes out: the next piece of its body is to be given
    Response            the answer: whole if its content is bytes, and then the only item
    bytes …             else its chunks
    None                the end; the call is settled and recorded by now
    BaseException       or what broke it, in place of any of the above; the last item

A task runs ahead of a slow reader by at most `AHEAD` bytes. A reader who goes away cancels the
task, once; unless its key says `drain` and an attempt is under way, whose answer the task then
reads to its end for nobody.
"""

import asyncio
import math
import threading
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, suppress
from enum import Enum
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, ClassVar, Final, Protocol

from headworks.types import Presence, Request, Response, Secret

AHEAD = 64 * 1024
"""Bytes of a stream that may wait for their reader."""


class Wanted(Enum):
    """What asks a reader for the next piece of its request's body."""

    WANTED = "wanted"


WANTED: Final = Wanted.WANTED
_LOOKS_UP: Final = 1.0

Item = Response | bytes | BaseException | Wanted | None


class Carrier(Protocol):
    """What carries calls: an `Engine`."""

    def call(
        self, request: Request, key: Secret | None, presence: Presence | None = None
    ) -> AbstractAsyncContextManager[Response, bool | None]:
        """Carry one call; the response lives inside the `async with` block.

        `presence` learns when the caller leaves, and whether the call then goes on.
        """
        ...

    def refusal(self, error: Exception) -> Response | Exception:
        """Return the answer that tells a caller of an error, or what its client is to raise."""
        ...


Engine = Callable[[], Awaitable[Carrier]]
"""Returns the engine, starting it at the first use."""

Reading = Callable[[], tuple[Request, Secret | None]]
"""Returns the request and the key that came with it, or raises `CallerError`."""


class Host(Protocol):
    """Where calls run: the loop that the engine lives in."""

    def spawn(
        self, coroutine: Coroutine[Any, Any, "Item"], ended: Callable[["asyncio.Task[Item]"], None]
    ) -> Callable[[], object]:
        """Run a coroutine there, and `ended` when nothing of it is left.

        Returns what cancels it, to be called there.
        """
        ...

    def call_soon(self, callback: Callable[[], object]) -> None:
        """Run a callback there."""
        ...

    def refuse_waiting(self) -> None:
        """Raise `RuntimeError` in the loop's own thread: waiting there would never end."""
        ...


class Here:
    """The loop that is running: for an engine that lives in its caller's own loop.

    Attributes:
        running: The tasks of all calls; one whose reader has gone is held by nobody else.
    """

    __slots__ = ("_loop",)

    running: ClassVar[set["asyncio.Task[Item]"]] = set()

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()

    def spawn(
        self, coroutine: Coroutine[Any, Any, "Item"], ended: Callable[["asyncio.Task[Item]"], None]
    ) -> Callable[[], object]:
        """Run a coroutine as a task, and `ended` after it; return what cancels it, here."""
        task = self._loop.create_task(coroutine)
        self.running.add(task)
        task.add_done_callback(self.running.discard)
        task.add_done_callback(ended)
        return task.cancel

    def call_soon(self, callback: Callable[[], object]) -> None:
        """Run a callback at the next round; also safe from a finaliser in another thread."""
        with suppress(RuntimeError):  # the loop has ended, and every task with it
            self._loop.call_soon_threadsafe(callback)

    def refuse_waiting(self) -> None:
        """Raise: whoever is here is in the loop."""
        raise RuntimeError("An engine in this loop cannot be waited for in its thread.")


class Inbox(Protocol):
    """What is there of an answer, for its reader."""

    def take_nowait(self) -> Item:
        """Return the next item; there must be one."""
        ...

    def is_empty(self) -> bool:
        """Whether there is none yet."""
        ...


class ThreadInbox:
    """Items for somebody who waits in a thread."""

    __slots__ = ("_items",)

    def __init__(self) -> None:
        self._items = SimpleQueue[Item]()

    def put(self, item: Item) -> None:
        """Hand over an item. Never waits."""
        self._items.put(item)

    def take(self, timeout: float | None) -> Item:
        """Wait for the next item, or raise `TimeoutError` after so many seconds.

        It looks up each second: a Ctrl-C that comes just before Python waits is heard no sooner.
        """
        left = math.inf if timeout is None else timeout
        while True:
            try:
                return self._items.get(timeout=min(left, _LOOKS_UP))
            except Empty:
                left -= _LOOKS_UP
                if left <= 0.0:
                    raise TimeoutError from None

    def take_nowait(self) -> Item:
        """Return the next item; there must be one."""
        return self._items.get_nowait()

    def is_empty(self) -> bool:
        """Whether there is none yet."""
        return self._items.empty()


class TaskInbox:
    """Items for somebody who waits in a task of the loop that is running now."""

    __slots__ = ("_items", "_loop", "_thread", "_waiter")

    def __init__(self) -> None:
        self._items = deque[Item]()
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._waiter: asyncio.Future[None] | None = None

    def put(self, item: Item) -> None:
        """Hand over an item, from any thread. Never waits."""
        self._items.append(item)
        if self._waiter is None:
            return
        if self._thread == threading.get_ident():
            self._wake()
        else:
            with suppress(RuntimeError):  # the reader's loop has ended: nobody waits
                self._loop.call_soon_threadsafe(self._wake)

    async def take(self, timeout: float | None) -> Item:  # noqa: ASYNC109 - a plain timer, see wait
        """Wait for the next item, or raise `TimeoutError` after so many seconds."""
        while not self._items:
            await self._wait(timeout)
        return self._items.popleft()

    def take_nowait(self) -> Item:
        """Return the next item; there must be one."""
        return self._items.popleft()

    def is_empty(self) -> bool:
        """Whether there is none yet."""
        return not self._items

    async def _wait(self, timeout: float | None) -> None:  # noqa: ASYNC109 - as `take`
        # The waiter is announced before the second look at the items, and `put` looks for a
        # waiter after it has appended: whichever comes first, one of them sees the other.
        waiter = self._waiter = self._loop.create_future()
        timer = None if timeout is None else self._loop.call_later(timeout, _expire, waiter)
        try:
            if not self._items:
                await waiter
        finally:
            self._waiter = None
            if timer is not None:
                timer.cancel()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


def _expire(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_exception(TimeoutError())


class Exchange:
    """One call between the engine's loop and its reader.

    `start`, `took`, `give`, `cancel` belong to the reader; the rest happens in the engine's loop.
    """

    __slots__ = (
        "_asked",
        "_cancel",
        "_has_begun",
        "_host",
        "_presence",
        "_put",
        "_room",
        "_sent",
        "_taken",
        "is_ended",
    )

    def __init__(self, host: Host, put: Callable[[Item], None]) -> None:
        self._host = host
        self._presence = Presence()
        self._put = put
        self._sent = 0
        self._taken = 0
        self._room: asyncio.Future[None] | None = None
        self._asked: asyncio.Future[bytes] | None = None
        self._cancel: Callable[[], object] | None = None
        self._has_begun = False
        self.is_ended = False

    def start(self, engine: Engine, read: Reading) -> None:
        """Send the call on its way."""
        self._cancel = self._host.spawn(self._carry(engine, read), self._end)

    def took(self, item: Item) -> None:
        """Note that the reader took an item."""
        if isinstance(item, bytes):
            self._taken += len(item)
            if self._room is not None:
                self._host.call_soon(self._make_room)
        elif item is WANTED:
            return
        elif not isinstance(item, Response) or isinstance(item.content, bytes):
            self.is_ended = True

    def give(self, piece: bytes) -> None:
        """Hand over the next piece of the request's body, b"" at its end."""
        self._host.call_soon(partial(self._take_piece, piece))

    def cancel(self) -> None:
        """Give the call up, unless its end was taken. Idempotent, from any thread."""
        cancel, self._cancel = self._cancel, None
        if cancel is not None and not self.is_ended:
            self._host.call_soon(partial(self._leave, cancel))

    async def more(self) -> bytes:
        """Return the next piece of the request's body, b"" at its end."""
        self._asked = asyncio.get_running_loop().create_future()
        self._put(WANTED)
        return await self._asked

    def _take_piece(self, piece: bytes) -> None:
        if self._asked is not None and not self._asked.done():
            self._asked.set_result(piece)

    def _leave(self, cancel: Callable[[], object]) -> None:
        if self._presence.leave():
            self._put(None)  # the reader has its end now, the call later
            self._make_room()
        else:
            cancel()

    async def _carry(self, engine: Engine, read: Reading) -> Item:
        """Carry the call; return the last item for its reader. Never raises."""
        last: Item = None
        carrier: Carrier | None = None
        request: Request | None = None
        try:
            carrier = await engine()
            request, key = read()
            async with carrier.call(request, key, self._presence) as response:
                if isinstance(response.content, bytes):
                    last = response
                else:
                    self._has_begun = True
                    self._put(response)
                    await self._hand_over(response.content)
        except Exception as error:  # noqa: BLE001 - the reader's to raise, not this task's
            last = error if carrier is None or self._has_begun else carrier.refusal(error)
        except BaseException as fault:  # noqa: BLE001 - likewise
            last = fault
        if request is not None and request.upload is not None:
            request.upload.close()
        return last

    def _end(self, task: "asyncio.Task[Item]") -> None:
        """Hand over the last item, when the call is not counted as running any more."""
        self._put(asyncio.CancelledError() if task.cancelled() else task.result())

    async def _hand_over(self, content: AsyncIterator[bytes]) -> None:
        """Hand over a stream; once the reader is gone, drop it, up to the call's credit."""
        presence = self._presence
        async for chunk in content:
            if not presence.is_gone:
                self._sent += len(chunk)
                self._put(chunk)
                if self._is_far_ahead():
                    await self._wait_for_room()
            elif not presence.drop(chunk):
                return

    def _is_far_ahead(self) -> bool:
        return self._sent - self._taken > AHEAD and not self._presence.is_gone

    async def _wait_for_room(self) -> None:
        while self._is_far_ahead():
            # Announced before the second look, as in TaskInbox.
            self._room = asyncio.get_running_loop().create_future()
            if self._is_far_ahead():
                await self._room
            self._room = None

    def _make_room(self) -> None:
        if self._room is not None and not self._room.done():
            self._room.set_result(None)
