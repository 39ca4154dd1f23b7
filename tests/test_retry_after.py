"""How long a provider asks to wait reaches the caller, if it is more than we wait in its place."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime

import pytest

from headworks.core.classify import classify
from headworks.core.routing import NamedRouter, Target
from headworks.errors import UpstreamError
from headworks.testing import FakeResponse
from headworks.types import Plan, Timeouts
from tests.world import CHAT, TWO_ROUTES, World

pytestmark = pytest.mark.anyio
URL = "/v1/chat/completions"
NOW = 1.8e9


@pytest.fixture(params=["one route", "two routes"])
def plan(request):
    return Plan(TWO_ROUTES.routes[:1]) if request.param == "one route" else TWO_ROUTES


@pytest.fixture(params=["gateway", "inprocess"])
def face(request):
    return request.param


@pytest.fixture(params=[False, True], ids=["whole", "stream"])
def body(request):
    return {**CHAT, "stream": request.param}


def limited(fields: dict[str, str]) -> UpstreamError:
    error = {"message": "m", "type": "requests", "code": "rate_limit_exceeded", "param": None}
    head = tuple((name.encode(), value.encode()) for name, value in fields.items())
    return classify(429, head, json.dumps({"error": error}).encode(), now=NOW)


def after(seconds: str) -> UpstreamError:
    return limited({"retry-after": seconds})


def world_of(plan: Plan) -> World:
    return World(NamedRouter({"up": Target(("main",), Timeouts())}, {"m": plan}))


@dataclass(frozen=True)
class Case:
    id: str
    value: str
    told: str
    deadline: str = "500s"
    name: str = "retry-after"


CASES = [
    Case("more than a minute", "90", "90"),
    Case("a fraction more", "60.2", "61"),
    Case("an hour", "3600", "3600"),
    Case("in milliseconds", "75500", "76", name="retry-after-ms"),
    Case("a date", format_datetime(datetime.fromtimestamp(NOW + 120, UTC), usegmt=True), "120"),
    Case("more than the caller's time", "30", "30", deadline="20s"),
    Case("as much as the caller's time", "20", "20", deadline="20s"),
    Case("more than a short time", "3", "3", deadline="2s"),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
async def test_a_wait_that_is_too_long_is_the_callers(plan, face, body, case):
    """It is told exactly, at once, and the client is told not to wait for it by itself."""
    world = world_of(plan)
    world.upstream.script = [limited({case.name: case.value}) for _ in plan.routes]
    async with world.client(face) as client:
        response = await client.post(
            URL, json=body, headers={"x-headworks-deadline": case.deadline}
        )

    assert response.status_code == 429
    assert response.headers["retry-after"] == case.told
    assert int(response.headers["retry-after-ms"]) <= int(case.told) * 1000
    assert response.headers["x-should-retry"] == "false"
    assert len(world.routes) == len(plan.routes)
    assert sum(world.clock.slept) == 0
    world.assert_settled()


async def test_of_several_routes_the_least_is_told(face, body):
    """Whichever route is free first is worth calling again for."""
    for waits in (["90", "75"], ["75", "90"]):
        world = world_of(TWO_ROUTES)
        world.upstream.script = [after(wait) for wait in waits]
        async with world.client(face) as client:
            response = await client.post(URL, json=body)

        assert (response.status_code, response.json()["error"]["code"]) == (
            429,
            "all_routes_failed",
        )
        assert response.headers["retry-after"] == "75"
        assert response.headers["retry-after-ms"] == "75000"
        assert response.headers["x-should-retry"] == "false"


async def test_the_next_caller_is_told_as_well(plan, face, body):
    """Without an attempt, by what is left of the pause."""
    world = world_of(plan)
    world.upstream.script = [after("90") for _ in plan.routes]
    async with world.client(face) as client:
        await client.post(URL, json=body)
        world.clock.advance(15)
        response = await client.post(URL, json=body)

    assert (response.status_code, response.json()["error"]["code"]) == (
        429,
        "upstream_cooling_down",
    )
    assert (response.headers["retry-after"], response.headers["x-should-retry"]) == ("75", "false")
    assert len(world.routes) == len(plan.routes)


async def test_a_wait_that_is_worth_it_is_ours(face, body):
    """Within the caller's time and a minute nobody is told anything: the call is answered."""
    world = world_of(Plan(TWO_ROUTES.routes[:1]))
    world.upstream.script = [after("30")]
    if body["stream"]:
        world.upstream.script.append(FakeResponse([b'data: {"choices":[{"index":0,"delta":{"content":"x"},"finish_reason":"stop"}]}\n\n', b"data: [DONE]\n\n"]))  # fmt: skip
    async with world.client(face) as client:
        response = await client.post(URL, json=body, headers={"x-headworks-deadline": "31s"})

    assert response.status_code == 200
    assert "retry-after" not in response.headers
    assert sum(world.clock.slept) == 30


async def test_after_our_own_attempts_nobody_tries_again(face, body):
    """A wait that would have been worth it is told too, but the client is not to multiply ours."""
    world = world_of(Plan(TWO_ROUTES.routes[:1]))
    world.upstream.script = [after("2") for _ in range(3)]
    async with world.client(face) as client:
        response = await client.post(URL, json=body)

    assert (response.status_code, len(world.routes)) == (429, 3)
    assert (response.headers["retry-after"], response.headers["x-should-retry"]) == ("2", "false")


@pytest.mark.parametrize("name", ["retry-after", "retry-after-ms"])
@pytest.mark.parametrize("value", ["NaN", "-1", "1e9", "1000000000000", "soon", "", "1e400", "inf", "0x10", "1 2", "\u0661"])  # fmt: skip
async def test_an_absurd_wait_is_neither_obeyed_nor_told(plan, face, value, name):
    """What is no wait is as good as none: the call is tried again soon, and no nonsense passes on."""
    world = world_of(plan)
    world.upstream.script = [limited({name: value}) for _ in range(3)]
    async with world.client(face) as client:
        response = await client.post(URL, json=CHAT)

    assert (response.status_code, len(world.routes)) == (429, 3)
    assert not {"retry-after", "retry-after-ms"} & set(response.headers)
    assert response.headers["x-should-retry"] == "false"
    assert sum(world.clock.slept) < 1.6


@pytest.mark.parametrize("absurd", ["soon", "-5", "1000000000000"])
async def test_an_absurd_wait_hides_no_sound_one(face, absurd):
    """Milliseconds that are none leave the seconds beside them in force."""
    world = world_of(Plan(TWO_ROUTES.routes[:1]))
    world.upstream.script = [limited({"retry-after-ms": absurd, "retry-after": "3"})]
    async with world.client(face) as client:
        response = await client.post(URL, json=CHAT)

    assert (response.status_code, sum(world.clock.slept)) == (200, 3.0)
