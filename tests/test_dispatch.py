"""How a call gets its answer: again, elsewhere, or the truth; seen through both faces."""

import json
from dataclasses import dataclass

import pytest

from headworks.core.classify import classify
from headworks.errors import (
    ConnectFailed,
    ConnectionLost,
    DeadlineExceeded,
    FirstByteTimeout,
    StreamTruncated,
    UpstreamError,
)
from headworks.testing import FakeResponse
from tests.world import CHAT, World

pytestmark = pytest.mark.anyio
URL = "/v1/chat/completions"
Script = tuple[BaseException | bytes, ...]


@pytest.fixture
def world():
    return World()


@pytest.fixture(params=["gateway", "inprocess"])
async def client(world, request):
    async with world.client(request.param) as client:
        yield client


def code(response) -> object:
    return response.json()["error"]["code"]


def steps(script: Script) -> list[FakeResponse | BaseException]:
    """Return the script's steps; bytes are whole answers, made anew for each test."""
    return [FakeResponse(step) if isinstance(step, bytes) else step for step in script]


def answered(status: int, code: str = "", **more) -> UpstreamError:
    body = {"error": {"message": "m", "type": None, "code": code or None, "param": None}}
    error = classify(status, (), json.dumps(body).encode(), now=0.0)
    error.retry_after = more.get("retry_after")
    return error


@dataclass(frozen=True)
class Case:
    id: str
    script: Script
    routes: tuple[str, ...]
    status: int = 200
    code: str | None = None
    waited: float | None = None


FIRST, SECOND = "first/big", "second/small"
CASES = [
    Case("the first answer wins", (), (FIRST,)),
    Case("a lost connection is retried", (ConnectionLost(),), (FIRST, FIRST)),
    Case("so is a refused one", (ConnectFailed(),), (FIRST, FIRST)),
    Case("so is a server error", (answered(500),), (FIRST, FIRST)),
    Case("Retry-After is obeyed", (answered(429, retry_after=2.0),), (FIRST, FIRST), waited=2.0),
    Case("a long Retry-After moves on", (answered(429, retry_after=9.0),), (FIRST, SECOND), waited=0.0),
    Case("silence moves on at once", (FirstByteTimeout(),), (FIRST, SECOND), waited=0.0),
    Case("no money moves on at once", (answered(429, "insufficient_quota"),), (FIRST, SECOND), waited=0.0),
    Case("a refusal is final", (answered(400, "invalid_value"),), (FIRST,), 400, "invalid_value"),
    Case("of the first route what its model cannot do is final too", (answered(400, "unsupported_value"),), (FIRST,), 400, "unsupported_value"),
    Case("a fallback's model that cannot do it says nothing of the request", (FirstByteTimeout(), answered(400, "unsupported_value")), (FIRST, SECOND), 503, "all_routes_failed"),
    Case("but a request that is wrong there is wrong", (FirstByteTimeout(), answered(400, "invalid_value")), (FIRST, SECOND), 400, "invalid_value"),
    Case("three attempts are all", (answered(500),) * 4, (FIRST, FIRST, SECOND), 500, "all_routes_failed"),
    Case("over all routes", (FirstByteTimeout(),) * 3, (FIRST, SECOND), 504, "all_routes_failed"),
    Case("an unknown model moves on", (answered(404, "model_not_found"),) * 2, (FIRST, SECOND), 404, "all_routes_failed"),
    Case("mixed failures say so", (answered(404, "model_not_found"), FirstByteTimeout()), (FIRST, SECOND), 503, "all_routes_failed"),
    Case("the time is up", (DeadlineExceeded(),), (FIRST,), 504, "deadline_exceeded"),
    Case("JSON that is none is retried", (b"{",), (FIRST, FIRST)),
    Case("so is JSON that nobody can read to its end", (b'{"x":' + b"[" * 100_000,), (FIRST, FIRST)),
    Case("an error in a success's clothes", (b'{"error":{"code":"server_error","message":"m"}}',), (FIRST, FIRST)),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
async def test_retry_and_fallback(client, world, case):
    """Each kind of failure has one answer: again, elsewhere, or the truth."""
    world.upstream.script = steps(case.script)

    response = await client.post(URL, json=CHAT)

    assert tuple(world.routes) == case.routes
    assert response.status_code == case.status
    assert case.status == 200 or code(response) == case.code
    assert case.waited is None or sum(world.clock.slept) == case.waited
    assert response.headers["x-headworks-attempts"] == str(len(case.routes))
    world.assert_settled()


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ((ConnectFailed(),), [("exact", 0), ("exact", 7)]),
        ((answered(500),), [("exact", 0), ("exact", 7)]),
        ((ConnectionLost(),), [("unknown", 110), ("exact", 7)]),
        ((b"{",), [("unknown", 110), ("exact", 7)]),
    ],
    ids=["never sent", "refused", "may have worked", "worked and broke"],
)
async def test_every_attempt_has_its_row(client, world, script, expected):
    """What was not sent costs nothing; what may have cost is booked, upwards, and flagged."""
    world.upstream.script = steps(script)

    await client.post(URL, json=CHAT)

    assert [(row.certainty, row.cost) for row in world.ledger.rows] == expected
    assert world.journal.calls[0].cost == sum(cost for _, cost in expected)


async def test_what_was_never_sent_costs_nothing_though_its_time_is_up(client, world):
    """A call whose time ends while its provider is being connected is not booked."""
    unsent = DeadlineExceeded()
    unsent.sent = False
    world.upstream.script = [unsent]

    response = await client.post(URL, json=CHAT)

    assert (response.status_code, code(response)) == (504, "deadline_exceeded")
    assert [(row.outcome, row.cost) for row in world.ledger.rows] == [("deadline_exceeded", 0)]
    assert world.journal.calls[0].cost == 0
    world.assert_settled()


async def test_an_event_that_nobody_can_read_to_its_end_is_tried_again(client, world):
    """However deep a provider nests its JSON, it is the provider's failure and not ours."""
    world.upstream.script = [FakeResponse([b'data: {"usage":' + b"[" * 100_000 + b"\n\n"])]

    response = await client.post(URL, json={**CHAT, "stream": True})

    assert response.content.endswith(b"data: [DONE]\n\n")
    assert world.routes == [FIRST, FIRST]
    world.assert_settled()


@pytest.mark.parametrize("after", [0, 1])
async def test_a_stream_that_breaks_before_its_first_event_is_tried_again(client, world, after):
    """Until the caller has a byte, a failure is free to be repaired unseen."""
    broken = FakeResponse(
        [b": hello\n\n", b"data: x"], fault=StreamTruncated("cut"), fault_after=after
    )
    world.upstream.script = [broken]

    response = await client.post(URL, json={**CHAT, "stream": True})

    assert response.content.endswith(b"data: [DONE]\n\n")
    assert world.routes == [FIRST, FIRST]
    world.assert_settled()


@pytest.mark.parametrize("body", [{"conversation": "c1"}, {"background": True}])
async def test_what_may_have_had_effects_is_not_done_twice(client, world, body):
    """An ambiguous failure of a request with effects is told, not repeated."""
    world.upstream.script = [ConnectionLost()]

    response = await client.post("/v1/responses", json={"model": "m", "input": "x", **body})

    assert (response.status_code, code(response)) == (502, "upstream_connection_lost")
    assert len(world.routes) == 1


async def test_the_callers_deadline_bounds_the_call(client, world):
    """What the caller is prepared to wait goes to the provider's connection as a limit."""
    await client.post(URL, json=CHAT, headers={"x-headworks-deadline": "7s"})

    assert world.upstream.sent[0].remaining == 7


async def test_the_providers_error_survives(client, world):
    """Body, status and code of a provider's own refusal reach the caller unchanged."""
    world.upstream.script = [answered(400, "unknown_parameter")]

    response = await client.post(URL, json=CHAT)

    assert response.json() == {
        "error": {"message": "m", "type": None, "code": "unknown_parameter", "param": None}
    }
    assert response.headers["x-should-retry"] == "false"
