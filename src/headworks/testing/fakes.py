"""Fakes for tests: of the world beneath the engine, not of the engine.

headworks' own tests use them. They keep the contracts of `headworks.ports`, run in virtual time,
and remember what happened to them.
"""

import asyncio
import heapq
import itertools
import random as chance  # noqa: TID251 - this is where the Random of a test comes from
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from headworks.errors import DeadlineExceeded, MalformedResponse, Unauthenticated
from headworks.types import (
    NO_USAGE,
    Call,
    Caller,
    Certainty,
    Headers,
    Request,
    Route,
    Secret,
    Usage,
)

WHOLE = (
    b'{"id":"chatcmpl-1","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,'
    b'"message":{"role":"assistant","content":"Hello!"},"finish_reason":"stop"}],'
    b'"usage":{"prompt_tokens":3,"completion_tokens":4,"total_tokens":7}}'
)
"""A whole chat completion that used 3 + 4 tokens."""

_CHUNK = b'"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"m"'
EVENTS = (
    b"data: {" + _CHUNK + b',"choices":[{"index":0,"delta":{"role":"assistant","content":"Hel"}}]}'
    b"\n\n",
    b"data: {" + _CHUNK + b',"choices":[{"index":0,"delta":{"content":"lo!"}}]}\n\n',
    b"data: {"
    + _CHUNK
    + b',"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
    + b"data: {"
    + _CHUNK
    + b',"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":4,"total_tokens":7}}\n\n',
    b"data: [DONE]\n\n",
)
"""The same as a stream, cut as a network would cut it."""

_SSE: Headers = ((b"content-type", b"text/event-stream; charset=utf-8"),)
_JSON: Headers = ((b"content-type", b"application/json"),)


class FakeClock:
    """Time that passes when somebody waits for it, or is told to.

    Attributes:
        slept: The waits that were asked for, in order.
    """

    def __init__(self, start: float = 1000.0, *, epoch: float = 1.8e9, jumps: bool = True) -> None:
        """Start the clock.

        Args:
            start: What `now` returns at first.
            epoch: What `time` returns at first.
            jumps: Whether a sleep ends at once, earliest first; else `advance` ends it.
        """
        self._now = start
        self._offset = epoch - start
        self._jumps = jumps
        self._is_jumping = False
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._alarms: set[asyncio.Future[None]] = set()
        self._order = itertools.count()
        self.slept: list[float] = []

    def now(self) -> float:
        """Return seconds that only go forward."""
        return self._now

    def time(self) -> float:
        """Return seconds since 1970."""
        return self._now + self._offset

    async def sleep(self, seconds: float) -> None:
        """Wait, in virtual time."""
        self.slept.append(seconds)
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        heapq.heappush(self._sleepers, (self._now + seconds, next(self._order), future))
        if self._jumps and not self._is_jumping:
            self._is_jumping = True
            loop.call_soon(self._jump_on, loop)
        await future

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Callable[[], object]:
        """Call back when `advance`, or a sleep that ends later, has brought that time."""
        alarm = asyncio.get_running_loop().create_future()
        alarm.add_done_callback(lambda _: None if alarm.cancelled() else callback())
        self._alarms.add(alarm)
        alarm.add_done_callback(self._alarms.discard)
        heapq.heappush(self._sleepers, (self._now + seconds, next(self._order), alarm))
        return alarm.cancel

    def advance(self, seconds: float) -> None:
        """Let time pass, and wake everybody whose wait is over."""
        until = self._now + seconds
        while self._sleepers and self._sleepers[0][0] <= until:
            self._jump()
        self._now = until

    def _jump_on(self, loop: asyncio.AbstractEventLoop) -> None:
        """Wake one sleeper, let it run, and wake the next."""
        self._jump()
        left = self._sleepers
        if self._alarms:
            left = [one for one in left if not (one[2].done() or one[2] in self._alarms)]
        self._is_jumping = bool(left)
        if self._is_jumping:
            loop.call_soon(self._jump_on, loop)

    def _jump(self) -> None:
        while self._sleepers:
            due, _, future = heapq.heappop(self._sleepers)
            if not future.done():
                self._now = max(self._now, due)
                future.set_result(None)
                return


class SeededRandom:
    """Chance that repeats itself: the same seed, the same numbers and ids."""

    def __init__(self, seed: int = 0) -> None:
        self._random = chance.Random(seed)  # noqa: S311 - a test's chance, not a secret's
        self._calls = 0

    def random(self) -> float:
        """Return a number in [0, 1)."""
        return self._random.random()

    def call_id(self) -> str:
        """Return `call-00000001`, then `call-00000002`, and so on."""
        self._calls += 1
        return f"call-{self._calls:08d}"


@dataclass
class FakeResponse:
    """An upstream's answer, from a script.

    Attributes:
        content: The body whole, or in pieces as they arrive.
        fault: Raised instead of the piece at `fault_after`, or at the end.
        fault_after: Pieces that arrive before the fault.
        stalls_after: Pieces after which nothing comes any more, ever.
        closed: How often the answer was closed.
        arrived: What has come of it behind the pieces, for `unread`.
        shown: The credential that errors are told without.
        is_hurried: Whether what does not come is not waited for.
    """

    content: bytes | Sequence[bytes] = WHOLE
    status: int = 200
    headers: Headers = ()
    fault: BaseException | None = None
    fault_after: int | None = None
    stalls_after: int | None = None
    closed: int = 0
    arrived: bytes = b""
    is_hurried: bool = False
    shown: bytes = b""

    def __post_init__(self) -> None:
        self._pieces = [self.content] if isinstance(self.content, bytes) else list(self.content)
        self._next = 0
        self._stall: asyncio.Future[None] | None = None
        if not self.headers:
            self.headers = _JSON if isinstance(self.content, bytes) else _SSE

    async def read(self, most: int) -> bytes:
        """Return the whole body, or raise `MalformedResponse` over `most` bytes."""
        body = b"".join([piece async for piece in self.chunks()])
        if len(body) > most:
            raise MalformedResponse(f"The answer exceeds {most} bytes.")
        return body

    async def chunks(self) -> AsyncGenerator[bytes]:
        """Yield the pieces that have not been read, up to the fault or the stall."""
        for piece in (*self._pieces[self._next :], None):
            while self.stalls_after == self._next:
                await self._wait_for_nothing()
                yield b""
            await self._meet_fate(is_end=piece is None)
            if piece is not None:
                self._next += 1
                yield piece

    def expect(self, *, content: bool) -> None:
        """Return at once: nothing here takes time."""

    def unread(self) -> bytes:
        """Return `arrived`, once."""
        arrived, self.arrived = self.arrived, b""
        return arrived

    def nudge(self) -> None:
        """Let whoever waits for what never comes have an empty chunk."""
        if self._stall is not None and not self._stall.done():
            self._stall.set_result(None)

    def masked(self, content: bytes) -> bytes:
        """Return what was said without `shown`."""
        return content.replace(self.shown, b"***") if self.shown else content

    def hurry(self, seconds: float) -> None:  # noqa: ARG002 - nothing here takes time
        """Do not wait any more."""
        self.is_hurried = True

    async def drain(self, seconds: float) -> None:  # noqa: ARG002 - nothing here takes time
        """Forget what is left."""
        self._next = len(self._pieces)

    async def aclose(self) -> None:
        """Count."""
        self.closed += 1

    async def _meet_fate(self, *, is_end: bool = False) -> None:
        if self.fault is not None and (self.fault_after == self._next or is_end):
            raise self.fault

    async def _wait_for_nothing(self) -> None:
        """Wait for a nudge."""
        if self.is_hurried:
            raise DeadlineExceeded
        self._stall = asyncio.get_running_loop().create_future()
        await self._stall


@dataclass(frozen=True, slots=True)
class Sent:
    """One request that reached an upstream."""

    request: Request
    route: Route
    remaining: float


@dataclass
class FakeUpstream:
    """Answers from a script, step by step: exceptions are raised, responses returned.

    When the script is at its end, every request succeeds: `EVENTS` for a stream, else `WHOLE`.

    Attributes:
        sent: What was sent, in order.
        answers: What was answered, in order.
    """

    script: list[FakeResponse | BaseException] = field(
        default_factory=list[FakeResponse | BaseException]
    )
    sent: list[Sent] = field(default_factory=list[Sent])
    answers: list[FakeResponse] = field(default_factory=list[FakeResponse])

    async def send(self, request: Request, route: Route, remaining: float) -> FakeResponse:
        """Take the script's next step."""
        self.sent.append(Sent(request, route, remaining))
        await asyncio.sleep(0)  # noqa: TID251 - a network always lets others run
        if self.script:
            step = self.script.pop(0)
        else:
            step = FakeResponse(EVENTS if request.stream else WHOLE)
        if isinstance(step, BaseException):
            raise step
        self.answers.append(step)
        return step


@dataclass
class MemoryKeys:
    """Keys in a dict; `default` is who calls without one."""

    callers: Mapping[str, Caller] = field(default_factory=dict[str, Caller])
    default: Caller | None = None

    def authenticate(self, key: Secret | None) -> Caller:
        """Return the key's caller, or raise `Unauthenticated`."""
        caller = self.default if key is None else self.callers.get(key.reveal())
        if caller is None:
            raise Unauthenticated
        return caller


@dataclass
class MemoryRow:
    """One attempt's row: held, then settled or released.

    Attributes:
        closings: How often it was closed: once, if all is well.
    """

    call_id: str
    attempt: int
    route: Route
    estimate: Usage
    price: int | None
    usage: Usage = NO_USAGE
    certainty: Certainty = "unknown"
    outcome: str = ""
    cost: int | None = 0
    closings: int = 0
    odd: tuple[str, ...] = ()
    measures: frozenset[str] = frozenset()

    @property
    def is_open(self) -> bool:
        """Whether neither `settle` nor `release` was called."""
        return self.closings == 0

    def settle(
        self, usage: Usage, certainty: Certainty, outcome: str, odd: tuple[str, ...] = ()
    ) -> int | None:
        """Book what the attempt used; return nano-dollars."""
        self.closings += 1
        self.odd = odd
        self.usage, self.certainty, self.outcome = usage, certainty, outcome
        self.cost = None if self.price is None else self.price * (usage.input + usage.output)
        return self.cost

    def release(self, outcome: str) -> None:
        """Close the row of an attempt that cost nothing."""
        self.closings += 1
        self.certainty, self.outcome = "exact", outcome


@dataclass
class MemoryLedger:
    """Rows in a list.

    Attributes:
        price: Nano-dollars a token, None for an unknown price.
        fault: Raised by `hold`: the ledger cannot be written.
    """

    price: int | None = 1
    fault: Exception | None = None
    rows: list[MemoryRow] = field(default_factory=list[MemoryRow])

    async def hold(self, call: Call, route: Route, estimate: Usage) -> MemoryRow:
        """Write the attempt's row."""
        if self.fault is not None:
            raise self.fault
        row = MemoryRow(call.id, call.attempts, route, estimate, self.price)
        self.rows.append(row)
        return row

    def knows(self, call: str) -> bool:
        """Return whether the call has a row."""
        return any(row.call_id == call for row in self.rows)

    async def written(self) -> None:
        """Return at once: memory is all there is."""

    @property
    def total(self) -> int:
        """Nano-dollars of all rows whose price is known."""
        return sum(row.cost or 0 for row in self.rows)


@dataclass
class RecordingJournal:
    """Finished calls in a list."""

    calls: list[Call] = field(default_factory=list[Call])

    def record(self, call: Call) -> None:
        """Note a finished call."""
        self.calls.append(call)

    @property
    def outcomes(self) -> list[str]:
        """What became of each call."""
        return [call.outcome for call in self.calls]
