"""The promises of a call, seen through both faces."""

import json

import pytest

from headworks.errors import (
    ConnectFailed,
    InvalidRequest,
    LedgerUnavailable,
    StreamTruncated,
    UpstreamError,
)
from headworks.testing import EVENTS, WHOLE, FakeResponse
from headworks.types import NO_USAGE, Request, Secret, Usage
from tests.world import CHAT, World

pytestmark = pytest.mark.anyio
URL = "/v1/chat/completions"


@pytest.fixture
def world():
    return World()


@pytest.fixture(params=["gateway", "inprocess"])
def face(request):
    return request.param


@pytest.fixture
async def client(world, face):
    async with world.client(face) as client:
        yield client


def code(response) -> object:
    return response.json()["error"]["code"]


async def test_a_whole_answer_is_relayed_unchanged(client, world):
    """The caller gets the provider's bytes, and learns what they cost."""
    response = await client.post(URL, json=CHAT)

    assert (response.status_code, response.content) == (200, WHOLE)
    assert response.headers["x-headworks-route"] == "first/big"
    assert response.headers["x-headworks-cost"] == "0.000000007"
    assert response.headers["x-request-id"] == response.headers["x-headworks-call"]
    assert [(row.usage, row.certainty) for row in world.ledger.rows] == [(Usage(3, 4), "exact")]
    assert world.journal.outcomes == ["completed"]
    world.assert_settled()


async def test_a_stream_is_relayed_without_what_was_not_asked_for(client, world):
    """Chunks come as they are; the usage chunk, which we asked for, stays with us."""
    response = await client.post(URL, json={**CHAT, "stream": True})

    shown = b"".join(EVENTS[:2]) + EVENTS[2].split(b"\n\n")[0] + b"\n\n" + EVENTS[3]
    assert response.content == shown
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert [(row.usage, row.certainty) for row in world.ledger.rows] == [(Usage(3, 4), "exact")]
    assert world.journal.outcomes == ["completed"]
    world.assert_settled()


async def test_a_stream_that_breaks_later_says_so(client, world):
    """After the first byte an error is an event, never a clean end and never a second model."""
    world.upstream.script = [FakeResponse(EVENTS, fault=StreamTruncated("cut"), fault_after=1)]

    response = await client.post(URL, json={**CHAT, "stream": True})

    assert response.content.startswith(EVENTS[0])
    assert b"[DONE]" not in response.content
    assert json.loads(response.content.split(b"data: ")[-1])["error"]["code"] == "upstream_stream_truncated"  # fmt: skip
    assert world.routes == ["first/big"]
    assert world.journal.outcomes == ["upstream_stream_truncated"]
    assert [(row.certainty, row.usage) for row in world.ledger.rows] == [
        ("estimated", Usage(10, 3))
    ]
    world.assert_settled()


@pytest.mark.parametrize(
    ("key", "path", "body", "status", "expected"),
    [
        ("nobody", URL, CHAT, 401, "invalid_api_key"),
        ("app", URL, {**CHAT, "model": "gold"}, 403, "model_not_allowed"),
        ("app", "/v1/files", {}, 403, "path_not_allowed"),
        ("app", "/v1/models/gold", None, 403, "model_not_allowed"),
        ("open", "/v1/organization/users", None, 403, "path_not_allowed"),
        ("open", URL, {}, 400, "invalid_request"),
        ("open", "/v2/x", None, 404, "path_not_found"),
    ],
)
async def test_refused_before_anything_is_spent(world, face, key, path, body, status, expected):
    """A refused call reaches no provider and no ledger row, and says why in the usual shape."""
    async with world.client(face, key) as client:
        response = await client.request("GET" if body is None else "POST", path, json=body)

    assert (response.status_code, code(response)) == (status, expected)
    assert response.headers["x-should-retry"] == "false"
    assert response.headers["x-request-id"] == response.headers["x-headworks-call"]
    assert (world.routes, world.ledger.rows) == ([], [])


async def test_limits_hold(world, face):
    """The fourth request of a minute is refused, with the time to wait and leave to retry."""
    async with world.client(face, "app") as client:
        answers = []
        for _ in range(4):
            answers.append(await client.post(URL, json=CHAT))
            world.clock.advance(1.0)

    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert code(answers[3]) == "rate_limit_exceeded"
    assert 1 <= int(answers[3].headers["retry-after"]) <= 60
    assert answers[3].headers["x-should-retry"] == "true"


async def test_every_answer_tells_how_our_limits_stand(world, face):
    """Answers, streams, errors and refusals of a key with limits have the usual headers of them."""
    world.upstream.script = [FakeResponse(WHOLE), FakeResponse(EVENTS), *map(ConnectFailed, "abc")]
    async with world.client(face, "app") as client:
        whole = await client.post(URL, json=CHAT)
        stream = await client.post(URL, json={**CHAT, "stream": True})
        failed = await client.post(URL, json=CHAT)
        refused = await client.post(URL, json=CHAT)
        before = await client.post(URL, json={**CHAT, "model": "gold"})

    told = [dict(answer.headers) for answer in (whole, stream, failed, refused)]
    assert [one["x-ratelimit-limit-requests"] for one in told] == ["3"] * 4
    assert [one["x-ratelimit-remaining-requests"] for one in told] == ["2", "1", "0", "0"]
    assert told[0]["x-ratelimit-reset-requests"] == "1m0.1s"
    assert [answer.status_code for answer in (failed, refused)] == [502, 429]
    assert refused.json()["error"]["type"] == "requests"
    assert not any(name.startswith("x-ratelimit") for name in before.headers)


async def test_a_key_without_limits_has_no_headers_of_any(client):
    """What no limit of ours holds for, tells of none."""
    response = await client.post(URL, json=CHAT)
    assert not any(name.startswith("x-ratelimit") for name in response.headers)


async def test_an_unwritable_ledger_stops_spending(client, world):
    """No row, no request: what cannot be booked is not bought."""
    world.ledger.fault = LedgerUnavailable("disk full", retry_after=1.0)

    response = await client.post(URL, json=CHAT)

    assert (response.status_code, code(response)) == (503, "ledger_unavailable")
    assert world.routes == []


async def test_guards_refuse(face):
    """A guard's word ends the call before it costs anything."""

    class Never:
        async def inspect(self, request, caller) -> None:
            raise InvalidRequest("Not this.", param="messages")

    world = World(guards=(Never(),))
    async with world.client(face) as client:
        response = await client.post(URL, json=CHAT)

    assert response.json()["error"] == {
        "message": "Not this.",
        "type": "invalid_request_error",
        "param": "messages",
        "code": "invalid_request",
    }
    assert world.routes == []


async def test_what_nobody_foresaw_is_told_without_detail(face, caplog):
    """A defect of ours is a 500 with the call's id; the log has the rest."""

    class Broken:
        async def inspect(self, request, caller) -> None:
            raise ZeroDivisionError("the secret is 42")

    world = World(guards=(Broken(),))
    async with world.client(face) as client:
        response = await client.post(URL, json=CHAT)

    assert (response.status_code, code(response)) == (500, "internal_error")
    assert "42" not in response.text
    assert response.headers["x-request-id"] in caplog.text


async def test_models_are_listed(world, face):
    """A key sees the models that it may use."""
    async with world.client(face, "app") as client:
        listed = (await client.get("/v1/models")).json()
        one = (await client.get("/v1/models/m")).json()

    assert listed["data"] == [one] == [{"id": "m", "object": "model", "created": 1, "owned_by": "headworks"}]  # fmt: skip
    assert world.routes == []


async def test_unknown_paths_pass_through(client, world):
    """Paths that nobody knows yet are carried like the rest, bytes as they are."""
    world.upstream.script = [FakeResponse(b"\x00PNG", headers=((b"content-type", b"image/png"),))]

    response = await client.post(
        "/v1/new/thing?a=b", content=b"raw", headers={"content-type": "x/y"}
    )

    assert (response.content, response.headers["content-type"]) == (b"\x00PNG", "image/png")
    sent = world.upstream.sent[0].request
    assert (sent.path, sent.query, sent.content) == ("/v1/new/thing", b"a=b", b"raw")
    assert world.journal.outcomes == ["completed"]
    world.assert_settled()


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/responses/resp_1"),
        ("POST", "/v1/responses/resp_1/cancel"),
        ("GET", "/v1/chat/completions"),
        ("DELETE", "/v1/responses/resp_1"),
    ],
)
async def test_usage_is_booked_once(client, world, method, path):
    """What is read again or cancelled repeats a usage that was booked when it was made."""
    world.upstream.script = [FakeResponse(WHOLE)]

    response = await client.request(method, path)

    assert response.content == WHOLE
    assert [(row.usage, row.certainty) for row in world.ledger.rows] == [(NO_USAGE, "exact")]


async def test_a_completion_without_usage_is_never_free(client, world):
    """A provider that does not say what it used is counted by us, upwards."""
    world.upstream.script = [FakeResponse(b'{"choices":[]}')]

    await client.post(URL, json=CHAT)

    assert [(row.usage.output > 0, row.certainty) for row in world.ledger.rows] == [
        (True, "estimated")
    ]


@pytest.mark.parametrize("content", [b"MP3", (b'data: {"type":"image.partial"}\n\n',)])
async def test_what_a_model_made_is_never_free(client, world, content):
    """Speech and images that come without a usage are booked as estimates, not as nothing."""
    kind = b"audio/mpeg" if content == b"MP3" else b"text/event-stream"
    world.upstream.script = [FakeResponse(content, headers=((b"content-type", kind),))]

    await client.post("/v1/audio/speech", json={"model": "m", "input": "Hi"})

    assert [(row.usage.input > 0, row.certainty) for row in world.ledger.rows] == [
        (True, "estimated")
    ]


async def test_moderations_are_free(client, world):
    """What the provider gives away is booked at nothing."""
    world.upstream.script = [FakeResponse(b'{"results":[]}')]

    await client.post("/v1/moderations", json={"model": "m", "input": "Hi"})

    assert [(row.usage, row.certainty) for row in world.ledger.rows] == [(NO_USAGE, "exact")]


async def test_an_answer_without_a_content_type_is_read_all_the_same(client, world):
    """A completion is billed by its usage, whatever the provider calls its bytes."""
    world.upstream.script = [FakeResponse(WHOLE, headers=((b"server", b"x"),))]

    response = await client.post(URL, json=CHAT)

    assert response.content == WHOLE
    assert [(row.usage, row.certainty) for row in world.ledger.rows] == [(Usage(3, 4), "exact")]


async def test_heads_have_no_body(client, world):
    """A HEAD request is answered by the provider's head, its length included."""
    headers = ((b"content-type", b"application/json"), (b"content-length", b"99"))
    world.upstream.script = [FakeResponse(b"", headers=headers)]

    response = await client.head("/v1/files/file_1/content")

    assert (response.status_code, response.headers["content-length"]) == (200, "99")
    world.assert_settled()


async def test_downloads_keep_their_bytes(client, world):
    """A file is relayed as it is, also when it calls itself JSON and is none."""
    headers = ((b"content-type", b"application/json"), (b"content-length", b"5"))
    world.upstream.script = [FakeResponse(b"{not}", headers=headers)]

    response = await client.get("/v1/files/file_1/content")

    assert (response.content, response.headers["content-length"]) == (b"{not}", "5")
    assert world.journal.outcomes == ["completed"]


async def test_rate_limits_of_the_provider_are_not_the_callers(client, world):
    """The provider's limits are shown under a name that says whose they are."""
    headers = ((b"content-type", b"application/json"), (b"x-ratelimit-limit-requests", b"9"), (b"set-cookie", b"c"))  # fmt: skip
    world.upstream.script = [FakeResponse(WHOLE, headers=headers)]

    response = await client.post(URL, json=CHAT)

    assert response.headers["x-headworks-upstream-ratelimit-limit-requests"] == "9"
    assert not {"x-ratelimit-limit-requests", "set-cookie"} & set(response.headers)


async def test_tags_reach_the_journal(client, world):
    """What a call is for stands in its record."""
    headers = {"x-headworks-feature": "search", "x-headworks-user": "u1"}

    await client.post(URL, json=CHAT, headers=headers)

    tags = world.journal.calls[0].request.tags
    assert (tags.feature, tags.user) == ("search", "u1")


async def test_too_large_a_body_is_refused(world):
    """The gateway stops reading at its limit, declared or not."""
    async with world.client("gateway") as client:
        declared = await client.post(URL, json={**CHAT, "x": "y" * 10_000})

        async def pieces():
            for _ in range(20):
                yield b"x" * 1000

        kind = {"content-type": "application/json"}
        chunked = await client.post(URL, content=pieces(), headers=kind)

    assert [code(r) for r in (declared, chunked)] == ["body_too_large"] * 2


async def test_websockets_are_refused_clearly(world):
    """What is not relayed says so instead of failing half-way."""
    async with world.client("gateway") as client:
        response = await client.get("/v1/realtime", headers={"upgrade": "websocket"})

    assert (response.status_code, code(response)) == (501, "websocket_not_supported")


def test_errors_know_whose_fault_they_are():
    """Every upstream error says whether anything was sent."""
    assert not ConnectFailed().sent
    assert UpstreamError().sent


async def test_what_a_slow_caller_left_unread_is_booked(world):
    """Tokens that had come when their caller hung up are paid for, whether it got them or not."""
    start, unread = EVENTS[0], EVENTS[1]
    for arrived, output in ((b"", len("Hel")), (unread, len("Hello!"))):
        world.upstream.script.append(FakeResponse([start], stalls_after=1, arrived=arrived))
        request = Request("POST", URL, fields={"model": "m", "stream": True})
        async with world.engine.call(request, Secret("open")) as response:
            await anext(aiter(response.content))

        assert world.ledger.rows[-1].usage.output == output
        assert world.ledger.rows[-1].certainty == "estimated"
