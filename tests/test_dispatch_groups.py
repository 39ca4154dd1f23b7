"""Calls choose between routes, and are not sent where they cannot be answered."""

import asyncio
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import pytest
from typing_extensions import override

from headworks.core.capability import Fitness
from headworks.core.context_window import Window
from headworks.core.groups import Conditions, Group, Member, Strategy
from headworks.core.routing import Draft, NamedRouter, Target
from headworks.errors import ConnectFailed, Failure
from headworks.testing import FakeResponse, SeededRandom
from headworks.types import Need, Plan, Request, Route, Timeouts
from tests.drill import Drill, Provider, Weather, answered
from tests.policies import FULL, SAID, STREAM, refused
from tests.world import CHAT, World

pytestmark = pytest.mark.anyio

A, B, C = Route("a", "x", "main"), Route("b", "y", "main"), Route("c", "z", "main")
Speed = Callable[[Route, float], float]


def member(route: Route, weight: float = 1.0) -> Member:
    return Member(str(route), (route,), weight)


def group(strategy: Strategy, *routes: Route, weights: tuple[float, ...] = ()) -> Group:
    pairs = zip(routes, weights or (1.0,) * len(routes), strict=True)
    return Group(strategy, tuple(member(route, weight) for route, weight in pairs))


def draft(
    *groups: Group,
    lacks: dict[str, set[Need]] | None = None,
    on: dict[Failure, tuple[Group, ...]] | None = None,
    load: Callable[[Route], float] = lambda _: 0.0,
) -> Draft:
    """Return a plan of these groups; of the models only what they lack is known."""
    routes = tuple(route for one in groups for each in one.members for route in each.routes)
    found = {
        str(route): frozenset[Need]((lacks or {}).get(str(route), set())) for route in (A, B, C)
    }
    fitness = Fitness(found, lambda _: Window()) if lacks else None
    chance = Conditions(SeededRandom(3).random, load, lambda _: None)
    fixed: dict[Failure, tuple[Route, ...]] = {
        failure: tuple(one.routes[0] for each in steps for one in each.members)
        for failure, steps in (on or {}).items()
    }
    return Draft(Plan(routes, on=fixed), groups, on or {}, fitness, chance)


def world_of(made: Draft) -> World:
    return World(NamedRouter({"up": Target(("main",), Timeouts())}, {"m": made}))


PICTURE = {
    "model": "m",
    "messages": [
        {
            "role": "user",
            "content": [{"type": "image_url", "image_url": {"url": "https://x/y.png"}}],
        }
    ],
}
TOOLS = {**CHAT, "tools": [{"type": "function", "function": {"name": "f"}}]}
SCHEMA = {
    "model": "m",
    "input": "Hi",
    "text": {"format": {"type": "json_schema", "name": "s", "schema": {}}},
}
PREFILL = {**CHAT, "messages": [*CHAT["messages"], {"role": "assistant", "content": "Sure:"}]}
CHATS, RESPONSES = "/v1/chat/completions", "/v1/responses"


@dataclass(frozen=True)
class Case:
    id: str
    body: dict[str, Any]
    lacks: set[Need]
    trail: str
    path: str = CHATS


CASES = [
    Case("a picture", PICTURE, {"vision"}, "a/x cannot vision"),
    Case("tools", TOOLS, {"tools"}, "a/x cannot tools"),
    Case("a schema", SCHEMA, {"json_schema"}, "a/x cannot json_schema", RESPONSES),
    Case("a prefill", PREFILL, {"prefill"}, "a/x cannot prefill"),
]


@pytest.mark.parametrize("face", ["gateway", "inprocess"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
async def test_a_model_that_cannot_is_not_asked(case, face):
    """The next route answers, and header and journal say why the first one did not."""
    world = world_of(draft(group("order", A, B), lacks={"a/x": case.lacks}))
    async with world.client(face) as client:
        response = await client.post(case.path, json=case.body)

    assert (response.status_code, world.routes) == (200, ["b/y"])
    assert response.headers["x-headworks-trail"] == case.trail
    (line,) = world.journal.calls[0].trail
    assert (line.failure, line.code, line.next, line.why) == (
        case.trail[4:],
        "",
        "other route",
        "left out",
    )
    world.assert_settled()


async def test_a_call_that_all_can_answer_is_told_nothing():
    """What a fallback cannot do is no news as long as nobody falls back."""
    world = world_of(draft(group("order", A, B), lacks={"b/y": {"vision"}}))
    async with world.client("gateway") as client:
        response = await client.post(CHATS, json=PICTURE)

    assert (response.status_code, world.routes) == (200, ["a/x"])
    assert "x-headworks-trail" not in response.headers


async def test_the_fallback_is_one_that_can():
    """After a failure the call goes on to the next model that can read it; the trail tells both."""
    world = world_of(draft(group("order", A, B, C), lacks={"b/y": {"vision"}}))
    world.upstream.script = [ConnectFailed(), ConnectFailed()]
    async with world.client("gateway") as client:
        response = await client.post(CHATS, json=PICTURE)

    assert (response.status_code, world.routes) == (200, ["a/x", "a/x", "c/z"])
    assert "; b/y cannot vision; " in response.headers["x-headworks-trail"]
    trail = [line.failure for line in world.journal.calls[0].trail]
    assert trail == ["connection", "cannot vision", "connection"]


async def test_where_none_can_the_provider_says_so():
    """Nobody reads pictures here: the first model is asked as ever, and its answer is passed on."""
    world = world_of(draft(group("order", A, B), lacks={"a/x": {"vision"}, "b/y": {"vision"}}))
    world.upstream.script = [refused(400, "invalid_image")]
    async with world.client("gateway") as client:
        response = await client.post(CHATS, json=PICTURE)

    assert (response.status_code, response.json()["error"]["code"]) == (400, "invalid_image")
    assert world.routes == ["a/x"]


async def test_a_target_of_a_failure_that_cannot_is_left_out():
    """The routes for one kind of failure are judged like any other."""
    made = draft(
        group("order", A, C), lacks={"b/y": {"vision"}}, on={"quota": (group("order", B),)}
    )
    quota = refused(429, "insufficient_quota", "insufficient_quota")
    for body, expected in ((PICTURE, ["a/x", "c/z"]), (CHAT, ["a/x", "b/y"])):
        world = world_of(made)
        world.upstream.script = [quota]
        async with world.client("gateway") as client:
            assert (await client.post(CHATS, json=body)).status_code == 200
        assert world.routes == expected


@pytest.mark.parametrize("body", [STREAM, {**PREFILL, "stream": True}], ids=["plain", "prefilled"])
async def test_a_cut_answer_begins_anew_where_no_prefill_is_taken(body):
    """The fallback is asked the caller's own question, never to go on with half an answer.

    Where the caller's question is itself such a half answer, a model that takes none is left out.
    """
    world = world_of(draft(group("order", A, B, C), lacks={"b/y": {"prefill"}}))
    world.upstream.script = [FakeResponse(()), FakeResponse(())]
    async with world.client("gateway") as client:
        response = await client.post(CHATS, json=body)

    assert (response.status_code, response.content) == (200, FULL)
    assert world.routes[-1] == ("b/y" if body is STREAM else "c/z")
    assert {json.dumps(sent.request.fields["messages"]) for sent in world.upstream.sent} == {
        json.dumps(body["messages"])
    }
    assert SAID[0] not in response.content
    world.assert_settled()


async def test_weights_share_the_calls():
    """Nine of ten calls go to the first; when it fails the others of the group come next."""
    world = world_of(draft(group("weighted", A, B, weights=(9, 1)), group("order", C)))
    async with world.client("inprocess") as client:
        for _ in range(400):
            await client.post(CHATS, json=CHAT)
        share = Counter(world.routes)
        assert share["a/x"] / 400 == pytest.approx(0.9, abs=0.06)

        world.upstream.sent.clear()
        world.upstream.script = [
            refused(429, "insufficient_quota", "insufficient_quota") for _ in range(2)
        ]
        await client.post(CHATS, json=CHAT)
    assert (set(world.routes[:2]), world.routes[2]) == ({"a/x", "b/y"}, "c/z")


@dataclass
class Paced(Provider):
    """Providers that take as long as one says, beside the 0.2 s of all."""

    speed: Speed = lambda _route, _now: 0.0

    @override
    async def send(self, request: Request, route: Route, remaining: float) -> FakeResponse:
        await asyncio.sleep(self.speed(route, asyncio.get_running_loop().time()))
        return await super().send(request, route, remaining)


def drilled(
    speed: Speed, weather: Weather = lambda _route, _now: None, seconds: float = 120
) -> Drill:
    """Return what steady traffic through a least_latency group met."""
    worlds: list[World] = []

    def load(route: Route) -> float:
        return worlds[0].health.load(route)

    made = draft(group("least_latency", A, B), load=load)
    drill = Drill(cast("Plan", made), weather)
    worlds.append(drill.world)
    drill.provider = Paced(
        weather=lambda route, now: drill.weather(route, now - drill.begun),
        speed=lambda route, now: speed(route, now - drill.begun),
    )
    drill.world.upstream = drill.provider
    drill.world.engine = drill.world.make_engine()
    return drill.traffic(10, seconds)


def test_the_faster_route_gets_the_calls():
    """At 0.2 s against 1.2 s nearly all go to the faster one; the slower one is still looked at."""
    drill = drilled(lambda route, _now: 1.0 * (route == B))

    slow = drill.attempts(20, 120, "b")
    assert 0.9 < drill.attempts(20, 120, "a") / drill.attempts(20, 120) < 1.0
    assert slow >= 2  # what is known of a route pales in half a minute; then a call tries it
    assert drill.goodput(0, 120) == 1.0


def test_traffic_follows_when_speeds_change():
    """The route that has become the faster one has most calls within a minute."""
    drill = drilled(lambda route, now: 1.0 * ((route == B) == (now < 60)), seconds=180)

    assert drill.attempts(20, 60, "a") / drill.attempts(20, 60) > 0.9
    assert drill.attempts(120, 180, "b") / drill.attempts(120, 180) > 0.9


def test_equal_routes_share_the_load():
    """Two routes of the same speed get about half each, neither is left to starve."""
    drill = drilled(lambda _route, _now: 0.3)

    assert drill.attempts(0, 120, "a") / drill.attempts(0, 120) == pytest.approx(0.5, abs=0.1)


def test_a_route_that_fails_at_once_draws_no_calls():
    """Errors are quick, but they are not answers: the working route keeps the calls."""
    drill = drilled(
        lambda route, _now: 0.8 * (route == A),
        lambda route, _now: answered(500) if route == B else None,
    )

    assert drill.attempts(5, 120, "b") / drill.attempts(5, 120) < 0.1
    assert drill.goodput(0, 120) == 1.0


def test_what_is_in_flight_is_known_to_the_call():
    """When all has ended nothing is counted as under way, however it ended."""
    drill = drilled(
        lambda _route, _now: 0.1,
        lambda _route, now: {0: ConnectFailed(), 1: answered(500), 2: None}[int(now * 10) % 3],
        seconds=30,
    )

    routes = [one for place in drill.world.health.statistics() for one in place.routes]
    assert {one.upstream: one.in_flight for one in routes} == {"a": 0, "b": 0}
