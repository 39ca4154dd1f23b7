"""The worlds notice a product whose failure policy breaks a promise."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec
import pytest
from typing_extensions import override

from headworks.dispatch import Dispatcher
from headworks.errors import CallError
from headworks.relay import Relay
from headworks.types import Plan, Refusal, Route
from tests.faults.simworld.running import run
from tests.faults.simworld.scenario import scenario
from tests.faults.simworld.world import World

ENOUGH = 150  # seeds in which a fault of our own making must show


class Continuing(Relay):
    """Goes on with another model's words where a stream broke."""

    @override
    async def relay(self, answer, call):
        response = await super().relay(answer, call)
        if not isinstance(response.content, bytes) and call.request.path.endswith("completions"):
            response.content = self.spliced(response.content)
        return response

    async def spliced(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        async for chunk in chunks:
            if b'"error":{' in chunk:
                yield b'data: {"choices":[{"index":0,"delta":{"content":" another"}}]}\n\n'
                yield b"data: [DONE]\n\n"
            else:
                yield chunk


class Ending(Relay):
    """Ends a stream as if it were whole, after it has told an error."""

    @override
    async def relay(self, answer, call):
        response = await super().relay(answer, call)
        if not isinstance(response.content, bytes) and call.request.path.endswith("completions"):
            response.content = self.ended(response.content)
        return response

    async def ended(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        async for chunk in chunks:
            yield chunk
            if b'"error":{' in chunk:
                yield b"data: [DONE]\n\n"


class Terse(Relay):
    """Tells nobody how long to wait."""

    @override
    def fail(self, error, call):
        error.retry_after = None
        super().fail(error, call)


class Pushing(Relay):
    """Tells everybody to try again."""

    @override
    def fail(self, error, call):
        super().fail(error, call)
        kept = [one for one in error.headers if one[0] != b"x-should-retry"]
        error.headers = (*kept, (b"x-should-retry", b"true"))


class Dozing(Dispatcher):
    """Takes a nap before it gives up."""

    @override
    async def dispatch(self, call, estimate):
        try:
            return await super().dispatch(call, estimate)
        except CallError:
            await self.clock.sleep(0.3)
            raise


@dataclass
class Sulking:
    """Never takes back a route that was refused once."""

    real: Any
    gone: set[Route] = field(default_factory=set)

    def admit(self, route: Route, **about: Any) -> Any:
        given = self.refusal(route) or self.real.admit(route, **about)
        if isinstance(given, Refusal) and given.reason == "open":
            self.gone.add(route)
        return given

    def refusal(self, route: Route, **about: Any) -> Refusal | None:
        return Refusal("open", 1.0) if route in self.gone else self.real.refusal(route, **about)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)


@dataclass
class Patient:
    """Gives calls three times as long."""

    real: Any

    def plan(self, *arguments: Any) -> Plan:
        plan: Plan = self.real.plan(*arguments)
        waits = plan.routes[0].timeouts
        first = replace(plan.routes[0], timeouts=replace(waits, total=3 * waits.total))
        return replace(plan, routes=(first, *plan.routes[1:]))


@dataclass
class Unforgiving:
    """Passes on what a content filter said, whatever the operator wished."""

    real: Any

    def plan(self, *arguments: Any) -> Plan:
        plan: Plan = self.real.plan(*arguments)
        return replace(plan, fixed_answer=None)


@dataclass
class Cutting:
    """Drops the first turn of a conversation, and says nothing."""

    real: Any

    async def fit(self, request: Any, call: Any) -> Any:
        turns = request.fields.get("messages", ())
        if len(turns) > 1:
            fields = {**request.fields, "messages": turns[1:]}
            content = msgspec.json.encode(fields)
            request = msgspec.structs.replace(request, fields=fields, content=content)
        return await self.real.fit(request, call)

    async def refit(self, call: Any, error: Any) -> Any:
        return await self.real.refit(call, error)


Sabotage = Callable[[World], None]


def relay(kind: type[Relay]) -> Sabotage:
    def sabotage(world: World) -> None:
        engine = world.assembly.engine
        world.assembly.engine = replace(engine, relay=kind(engine.relay.filter, engine.relay.clock))

    return sabotage


def part(name: str, wrap: Callable[[Any], Any]) -> Sabotage:
    """Return what replaces one part of the dispatcher."""

    def sabotage(world: World) -> None:
        engine = world.assembly.engine
        dispatcher = replace(engine.dispatcher, **{name: wrap(getattr(engine.dispatcher, name))})
        world.assembly.engine = replace(engine, dispatcher=dispatcher)

    return sabotage


def dozing(world: World) -> None:
    engine = world.assembly.engine
    parts = {name: getattr(engine.dispatcher, name) for name in Dispatcher.__dataclass_fields__}
    world.assembly.engine = replace(engine, dispatcher=Dozing(**parts))


def cutting(world: World) -> None:
    engine = world.assembly.engine
    world.assembly.engine = replace(engine, context=Cutting(engine.context))


@dataclass(frozen=True)
class Case:
    """A fault of ours, what the worlds say to it, and the trouble that brings it to light."""

    name: str
    sabotage: Sabotage
    says: str
    trouble: str


CASES = [
    Case("two models are spliced", relay(Continuing), "it ended well, with", "provider faults"),
    Case(
        "an error is followed by an end",
        relay(Ending),
        "an error event and an end",
        "provider faults",
    ),
    Case(
        "nobody is told how long to wait", relay(Terse), "is not told how long to wait", "illness"
    ),
    Case("everybody is told to try again", relay(Pushing), "it is told to make more", "illness"),
    Case("giving up takes time", dozing, "s to say", "illness"),
    Case("a route is never taken back", part("health", Sulking), "all is well, and", "illness"),
    Case("attempts begin too late", part("router", Patient), "were left", "illness"),
    Case(
        "a fixed answer is not given",
        part("router", Unforgiving),
        "it was filtered, and says",
        "filters",
    ),
    Case("turns are dropped in silence", cutting, "nothing is told of it", "long requests"),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_faults_of_the_policy_show(case):
    """A product that breaks a promise about failures is found out."""
    for seed in range(ENOUGH):
        plan = scenario(seed)
        if case.trouble not in plan.troubles:
            continue
        world = run(seed, plan=plan, sabotage=case.sabotage)
        if any(case.says in finding for finding in world.findings):
            return
    pytest.fail("no world has noticed")
