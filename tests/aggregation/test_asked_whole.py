"""A provider that streams what was asked for in one piece is understood, through both faces."""

import json
from typing import Any

import pytest

from headworks.errors import StreamTruncated
from headworks.testing import EVENTS, WHOLE, FakeResponse
from headworks.types import Usage
from tests.world import CHAT, World

pytestmark = pytest.mark.anyio
URL = "/v1/chat/completions"
ERROR = b'data: {"error":{"message":"secret sk-1 m","type":"server_error","code":null}}\n\n'
FAILED = b"""event: response.failed
data: {"type":"response.failed","response":{"id":"r","status":"failed","output":[],\
"error":{"code":"invalid_prompt","message":"m"}}}

"""


@pytest.fixture
def world():
    return World()


@pytest.fixture(params=["gateway", "inprocess"])
async def client(world, request):
    async with world.client(request.param) as client:
        yield client


def answered(*pieces: bytes) -> FakeResponse:
    """Return a streamed answer with fields that are passed on."""
    headers = ((b"content-type", b"text/event-stream"), (b"openai-version", b"v"))
    return FakeResponse(pieces, headers=headers)


async def test_the_caller_gets_json(client, world):
    """What was asked for: one object, with its own content type, billed by its usage."""
    world.upstream.script = [answered(*EVENTS)]

    response = await client.post(URL, json=CHAT)

    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    assert response.headers["openai-version"] == "v"
    assert response.json() == {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [
            {
                "index": 0,
                "message": {
                    "role": "assistant",
                    "content": "Hello!",
                    "refusal": None,
                    "annotations": [],
                },
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7},
    }
    assert response.headers["x-headworks-cost"] == "0.000000007"
    assert [(row.usage, row.certainty) for row in world.ledger.rows] == [(Usage(3, 4), "exact")]
    world.assert_settled()


async def test_a_usage_that_is_not_told_is_counted(client, world):
    """By the words, not by the JSON around them."""
    world.upstream.script = [answered(EVENTS[0], EVENTS[1], EVENTS[2].partition(b"\n\n")[0])]

    response = await client.post(URL, json=CHAT)

    assert response.json()["choices"][0]["message"]["content"] == "Hello!"
    assert [(row.usage, row.certainty) for row in world.ledger.rows] == [
        (Usage(10, len("Hello!")), "estimated")
    ]


@pytest.mark.parametrize(
    "broken",
    [EVENTS[:2], (*EVENTS[:2], ERROR), (EVENTS[0], b"data: {\n\n"), (b"data: {}\n\n",)],
    ids=["truncated", "an error in it", "garbage in it", "nothing in it"],
)
async def test_a_break_is_repaired_unseen(client, world, broken):
    """Nothing has reached the caller yet, so the call is tried again."""
    world.upstream.script = [answered(*broken)]

    response = await client.post(URL, json=CHAT)

    assert (response.status_code, response.content) == (200, WHOLE)
    assert len(world.routes) == 2
    world.assert_settled()


async def test_a_break_to_the_last_is_an_error_with_a_status(client, world):
    """A caller who asked for no stream gets no error event either."""
    world.upstream.script = [
        FakeResponse(EVENTS[:2], fault=StreamTruncated(), fault_after=1) for _ in range(3)
    ]

    response = await client.post(URL, json=CHAT)

    assert response.status_code == 502
    assert "502 upstream_stream_truncated" in response.json()["error"]["message"]
    world.assert_settled()


async def test_an_answer_beyond_the_bound_is_refused(client, world):
    """What is put together is bounded by what a whole answer may have."""
    long = EVENTS[0].replace(b"Hel", b"x" * 400_000)
    world.upstream.script = [answered(*[long] * 3, *EVENTS) for _ in range(3)]

    response = await client.post(URL, json=CHAT)

    assert response.status_code == 502
    assert "502 upstream_malformed_response" in response.json()["error"]["message"]
    world.assert_settled()


async def test_a_response_is_its_last_event(client, world):
    """The Responses API repeats all at the end."""
    ended: dict[str, Any] = {
        "id": "r",
        "object": "response",
        "status": "completed",
        "output": [],
        "usage": None,
    }
    event = {"type": "response.completed", "sequence_number": 0, "response": ended}
    world.upstream.script = [answered(b"data: " + json.dumps(event).encode() + b"\n\n")]

    response = await client.post("/v1/responses", json={"model": "m", "input": "Hi"})

    assert response.json() == ended


async def test_a_failed_response_is_told_as_such(client, world):
    """What would fail again is not repeated: the caller gets the failed response."""
    world.upstream.script = [answered(FAILED)]

    response = await client.post("/v1/responses", json={"model": "m", "input": "Hi"})

    assert (response.status_code, response.json()["status"]) == (200, "failed")
    assert len(world.routes) == 1


async def test_a_filter_in_it_is_seen(client, world):
    """As in any whole answer."""
    stopped = EVENTS[2].replace(b'"stop"', b'"content_filter"')
    world.upstream.script = [answered(*EVENTS[:2], stopped, EVENTS[3])]

    response = await client.post(URL, json=CHAT)

    assert response.headers["x-headworks-filtered"] == "answer"


async def test_other_streams_pass_as_they_come(client, world):
    """Only where the form of the answer is known is it made another."""
    sent = b'data: {"type":"speech.audio.delta","audio":"AA=="}\n\n'
    world.upstream.script = [answered(sent)]

    response = await client.post("/v1/audio/speech", json={"model": "m", "input": "Hi"})

    assert response.content == sent
