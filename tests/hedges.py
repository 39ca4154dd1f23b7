"""A stage for models that hedge: an engine in virtual time before providers that take their time."""

import asyncio
import json
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, cast

from typing_extensions import override

from headworks.core.intake import read_request
from headworks.core.routing import NamedRouter, Target
from headworks.errors import CallError, DeadlineExceeded
from headworks.testing import EVENTS, WHOLE, FakeClock, FakeResponse, FakeUpstream
from headworks.types import Hedge, Plan, Presence, Request, Response, Route, Secret, Timeouts
from tests.faults.simworld.clockwork import LoopClock, VirtualLoop
from tests.world import CHAT, World

FIRST, SECOND = Route("first", "big", "main"), Route("second", "small", "main")
LONG = 1e6
"""Seconds that nobody waits for."""


@dataclass
class Slow(FakeResponse):
    """An answer whose pieces come after waits.

    Attributes:
        waits: Seconds before each piece; those that are missing are 0.
        closed_at: When it was closed.
    """

    waits: tuple[float, ...] = ()
    closed_at: float | None = None

    @override
    async def _meet_fate(self, *, is_end: bool = False) -> None:
        if not is_end and self._next < len(self.waits):
            await asyncio.sleep(self.waits[self._next])
        await super()._meet_fate(is_end=is_end)

    @override
    async def aclose(self) -> None:
        await super().aclose()
        self.closed_at = self.closed_at or asyncio.get_running_loop().time()


@dataclass
class Turn:
    """What becomes of one attempt: seconds until its head, and what makes that; None: all is well."""

    seconds: float = 0.0
    make: Callable[[], FakeResponse | BaseException] | None = None


@dataclass
class Visit:
    """One attempt that a provider saw; times are in seconds since the stage began."""

    route: Route
    begun: float
    remaining: float
    left: float | None = None


@dataclass
class Providers(FakeUpstream):
    """Providers whose attempts take their turns, or what `weather` says of a route."""

    turns: list[Turn] = field(default_factory=list[Turn])
    weather: Callable[[Route], Turn] = lambda _: Turn()
    visits: list[Visit] = field(default_factory=list[Visit])

    @override
    async def send(self, request: Request, route: Route, remaining: float) -> FakeResponse:
        now = asyncio.get_running_loop().time
        visit = Visit(route, now(), remaining)
        self.visits.append(visit)
        turn = self.turns.pop(0) if self.turns else self.weather(route)
        try:
            await asyncio.sleep(min(turn.seconds, remaining))
        except BaseException:
            visit.left = now()
            raise
        if turn.seconds > remaining:
            raise DeadlineExceeded
        healthy = FakeResponse(EVENTS if request.stream else WHOLE)
        answer = healthy if turn.make is None else turn.make()
        if isinstance(answer, BaseException):
            raise answer
        self.answers.append(answer)
        return answer


class Stage:
    """One model that hedges. What went wrong unseen is in `unseen`."""

    def __init__(self, *turns: Turn, hedge: Hedge | None = None, **policy: Any) -> None:
        self.loop = VirtualLoop()
        self.begun = self.loop.time()
        self.unseen: list[dict[str, Any]] = []
        self.loop.set_exception_handler(lambda _, context: self.unseen.append(context))
        self.upstream = Providers(turns=list(turns))
        routes = policy.pop("routes", (FIRST, SECOND))
        self.plan = Plan(routes, hedge=hedge or Hedge(after=2.0, share=1.0), **policy)
        router = NamedRouter({"up": Target(("main",), Timeouts())}, {"m": self.plan})
        self.world = World(router, self.upstream, cast("FakeClock", LoopClock(self.loop)))
        self.response: Response | None = None

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Run in virtual time to the end; nothing may be left behind then."""
        try:
            result = self.loop.run_until_complete(work)
            self.loop.run_until_complete(asyncio.sleep(0.0))  # the fakes' generators end
            assert not asyncio.all_tasks(self.loop)
        finally:
            self.loop.close()
        self.world.assert_settled()
        assert not self.unseen
        assert {one.in_flight for up in self.world.health.statistics() for one in up.routes} <= {0}
        rows = [(row.call_id, row.attempt) for row in self.world.ledger.rows]
        assert len(rows) == len(set(rows))
        return result

    async def carry(self, presence: Presence | None = None, **fields: Any) -> bytes:
        """Make a call, and return its answer or its error's code."""
        body = json.dumps({**CHAT, **fields}).encode()
        kind = ((b"content-type", b"application/json"),)
        request = read_request("POST", "/v1/chat/completions", b"", kind, body)
        try:
            async with self.world.engine.call(request, Secret("open"), presence) as response:
                self.response = response
                if isinstance(response.content, bytes):
                    return response.content
                return b"".join([piece async for piece in response.content])
        except CallError as error:
            return error.code.encode()

    def call(self, **fields: Any) -> bytes:
        """Make one call, and nothing else."""
        return cast("bytes", self.run(self.carry(**fields)))

    @property
    def seconds(self) -> float:
        """Seconds since the stage began."""
        return self.loop.time() - self.begun

    @property
    def sent(self) -> list[tuple[str, float]]:
        """Where attempts went, and when."""
        return [(str(one.route), one.begun - self.begun) for one in self.upstream.visits]

    @property
    def rows(self) -> list[tuple[str, str, str]]:
        """The ledger: where, how it ended, how sure the sum is."""
        return [(str(row.route), row.outcome, row.certainty) for row in self.world.ledger.rows]

    @property
    def trail(self) -> list[tuple[str, str, str, str, str]]:
        """The trail of the only call."""
        (call,) = self.world.journal.calls
        return [(str(one.route), one.failure, one.code, one.next, one.why) for one in call.trail]
