"""A call passes over what does not work, and what became of it is learned, however it ended."""

import json

import pytest

from headworks.core.intake import read_request
from headworks.core.routing import NamedRouter, Target
from headworks.errors import (
    ConnectFailed,
    FirstByteTimeout,
    LedgerUnavailable,
)
from headworks.stores.health import RouteHealth
from headworks.stores.health_track import HealthRules
from headworks.testing import FakeResponse
from headworks.types import Plan, Secret, Timeouts
from tests.drill import MAIN, Drill, answered
from tests.policies import CAREFUL, FIRST, SECOND, refused, world_of
from tests.world import CHAT, World


@pytest.mark.anyio
@pytest.mark.parametrize("face", ["gateway", "inprocess"])
async def test_an_open_breaker_is_told_truthfully(face):
    """503 at once, with when to come back and that coming back helps; nothing was sent."""
    world = World(NamedRouter({"up": Target(("main",), Timeouts())}, {}))
    world.upstream.script = [ConnectFailed() for _ in range(20)]
    async with world.client(face) as client:
        for _ in range(20):
            await client.post("/v1/chat/completions", json=CHAT)
        sent = len(world.upstream.sent)
        response = await client.post("/v1/chat/completions", json=CHAT)

    assert len(world.upstream.sent) == sent
    assert (response.status_code, response.json()["error"]["code"]) == (503, "circuit_open")
    assert 5000 <= int(response.headers["retry-after-ms"]) <= 11_250
    assert 5 <= int(response.headers["retry-after"]) <= 12
    assert response.headers["x-should-retry"] == "true"
    assert response.headers["x-headworks-attempts"] == "0"
    assert response.headers["x-headworks-trail"] == "up/m open"
    assert world.journal.outcomes[-1] == "circuit_open"
    assert world.limits.statistics().in_flight == 0


@pytest.mark.anyio
async def test_a_crowd_that_is_refused_does_not_come_back_at_once():
    """Of many that an open breaker refuses a few are told to come back, each at a time of its own."""
    world = World(NamedRouter({"up": Target(("main",), Timeouts())}, {}))
    world.upstream.script = [ConnectFailed() for _ in range(20)]
    async with world.client("inprocess") as client:
        answers = [await client.post("/v1/chat/completions", json=CHAT) for _ in range(200)]

    told = [one.headers for one in answers if one.json()["error"]["code"] == "circuit_open"]
    assert len(told) > 150
    assert 5 <= sum(one["x-should-retry"] == "true" for one in told) <= 40
    waits = [int(one["retry-after-ms"]) for one in told]
    assert max(waits) - min(waits) > 4000


@pytest.mark.anyio
async def test_a_ledger_that_fails_is_no_fault_of_the_route():
    """An attempt that was never sent leaves no trace in the route's health."""
    world = World()
    world.ledger.fault = LedgerUnavailable()
    async with world.client("inprocess") as client:
        answers = [await client.post("/v1/chat/completions", json=CHAT) for _ in range(30)]
    assert {answer.status_code for answer in answers} == {503}
    (first, *_) = [one for place in world.health.statistics() for one in place.routes]
    assert (first.calls, first.in_flight, first.state) == (0, 0, "closed")


def only_route(world: World) -> RouteHealth:
    """Return how the first route is."""
    return next(one for place in world.health.statistics() for one in place.routes)


@pytest.mark.anyio
async def test_a_fallback_that_does_not_work_is_no_reason_to_go_on():
    """Where only the asked route works it is worth the longer wait of an only route."""
    world = World()
    world.health.adopt({"first": HealthRules(), "second": HealthRules()})
    assert world.health.force("second", "open")
    world.upstream.script = [answered(429, "rate_limit", 9.0)]
    async with world.client("gateway") as client:
        response = await client.post("/v1/chat/completions", json=CHAT)

    assert response.status_code == 200
    assert (world.routes, world.clock.slept) == (["first/big"] * 2, [9.0])
    assert world.journal.calls[0].trail[0].why == "no other works"


def test_how_long_a_route_takes_is_learned():
    """The time until answers begin is known of each route that is used."""
    drill = Drill(Plan((MAIN,)), lambda _route, _now: None).traffic(20, 1)

    assert only_route(drill.world).latency == pytest.approx(0.2)
    assert only_route(drill.world).calls == 20


@pytest.mark.anyio
async def test_a_caller_who_leaves_is_no_failure():
    """A stream that nobody reads to its end leaves nothing behind."""
    world = World()
    body = json.dumps({**CHAT, "stream": True}).encode()
    kind = ((b"content-type", b"application/json"),)
    request = read_request("POST", "/v1/chat/completions", b"", kind, body)
    for _ in range(30):
        async with world.engine.call(request, Secret("open")) as response:
            assert not isinstance(response.content, bytes)
            await anext(response.content)

    route = only_route(world)
    assert (route.calls, route.in_flight, route.state) == (0, 0, "closed")
    assert set(world.journal.outcomes) == {"abandoned"}


FAILED = (
    b'event: response.created\ndata: {"type":"response.created","sequence_number":0,"response":{"id":"r"}}\n\n',
    b'event: response.output_text.delta\ndata: {"type":"response.output_text.delta","sequence_number":1,"delta":"Hi"}\n\n',
    b'event: response.failed\ndata: {"type":"response.failed","sequence_number":2,"response":{"id":"r","status":"failed","error":{"code":"server_error","message":"m"}}}\n\n',
)


@pytest.mark.anyio
async def test_a_failure_that_the_provider_tells_in_its_stream_counts():
    """A stream that ends in order with the provider's own failure is a failure all the same."""
    world = World()
    world.upstream.script = [FakeResponse(FAILED) for _ in range(10)]
    async with world.client("gateway") as client:
        for _ in range(10):
            body = {"model": "m", "input": "x", "stream": True}
            response = await client.post("/v1/responses", json=body)
            assert b"response.failed" in response.content

    assert (only_route(world).calls, only_route(world).failures) == (10, 10)


@pytest.mark.anyio
@pytest.mark.parametrize("is_open", [False, True], ids=["failed", "passed over"])
async def test_a_fallback_whose_model_cannot_is_followed_by_the_next(is_open):
    """What the model that was asked for can do is not refused for another one's sake."""
    world = world_of(FIRST, SECOND, CAREFUL)
    if is_open:
        world.health.adopt({name: HealthRules() for name in ("first", "second", "third")})
        world.health.force("first", "open")
    unfit = refused(400, "unsupported_parameter")
    world.upstream.script = [unfit] if is_open else [FirstByteTimeout(), unfit]
    async with world.client("gateway") as client:
        response = await client.post("/v1/chat/completions", json=CHAT)

    assert response.status_code == 200
    assert world.routes[-2:] == [str(SECOND), str(CAREFUL)]
    steps = [(one.next, one.why) for one in world.journal.calls[0].trail]
    assert steps[-1] == ("other route", "this route cannot")
    world.assert_settled()
