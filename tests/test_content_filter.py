"""What a model's configuration decides about refusals by a content filter, through both faces."""

import openai
import pytest

from headworks.stores.health_track import HealthRules
from headworks.testing import EVENTS, WHOLE, FakeResponse
from tests.policies import (
    BODIES,
    CAREFUL,
    DONE,
    FIRST,
    LEGACY,
    RESPONSES,
    ROLE,
    SAID,
    STREAM,
    URL,
    WHOLE_RESPONSE,
    chunk,
    refused,
    world_of,
)
from tests.world import CHAT

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["gateway", "inprocess"])
def face(request) -> str:
    return str(request.param)


FILTERED = [
    refused(400, "content_filter"),
    refused(400, "content_policy_violation"),
    refused(400, "moderation_blocked", "image_generation_user_error"),
    refused(400, "invalid_prompt"),
]


@pytest.mark.parametrize("error", FILTERED, ids=lambda error: error.code)
async def test_a_filtered_prompt_is_told_to_the_caller(face, error):
    """The provider's reason reaches the caller after one attempt; the call is marked."""
    world = world_of()
    world.upstream.script = [error]

    async with world.client(face) as client:
        response = await client.post(URL, json=CHAT)

    assert response.status_code == 400
    assert response.json()["error"]["code"] == error.code
    assert response.headers["x-headworks-filtered"] == "prompt"
    assert world.routes == [str(FIRST)]
    assert [call.filtered for call in world.journal.calls] == ["prompt"]


FILTERED_WHOLE = WHOLE.replace(b'"stop"', b'"content_filter"')
FILTERED_RESPONSE = WHOLE_RESPONSE.replace(
    b'"completed","output"',
    b'"incomplete","incomplete_details":{"reason":"content_filter"},"output"',
)
FAILED_RESPONSE = WHOLE_RESPONSE.replace(
    b'"completed","output"', b'"failed","error":{"code":"bio_policy","message":"m"},"output"'
)
FILTERED_EVENTS = [ROLE, chunk({}, "content_filter") + DONE]
ANSWERS = [
    (URL, FILTERED_WHOLE, False),
    (RESPONSES, FILTERED_RESPONSE, False),
    (RESPONSES, FAILED_RESPONSE, False),
    (URL, FILTERED_EVENTS, True),
    (URL, FILTERED_WHOLE, True),
]


@pytest.mark.parametrize(("url", "answer", "stream"), ANSWERS)
async def test_a_filtered_answer_passes_as_it_is_and_is_marked(face, url, answer, stream):
    """Without a policy the caller sees what the provider made of it; the record says so."""
    world = world_of()
    world.upstream.script = [FakeResponse(answer)]

    async with world.client(face) as client:
        response = await client.post(url, json={**BODIES[url], "stream": stream})

    assert response.status_code == 200
    assert b"content_filter" in response.content or b"bio_policy" in response.content
    assert [call.filtered for call in world.journal.calls] == ["answer"]
    assert len(world.routes) == 1


@pytest.mark.parametrize(("url", "answer", "stream"), ANSWERS)
async def test_a_filtered_answer_may_be_asked_of_another_model(face, url, answer, stream, caplog):
    """Where the operator says so another model answers; that is logged and stays on record."""
    world = world_of(on={"content_filter": (CAREFUL,)})
    healthy = EVENTS if stream else (WHOLE if url == URL else WHOLE_RESPONSE)
    world.upstream.script = [FakeResponse(answer), FakeResponse(healthy)]

    async with world.client(face) as client:
        response = await client.post(url, json={**BODIES[url], "stream": stream})

    assert world.routes == [str(FIRST), str(CAREFUL)]
    assert response.status_code == 200
    assert b"content_filter" not in response.content
    assert [(call.filtered, call.outcome) for call in world.journal.calls] == [
        ("answer", "completed")
    ]
    assert "the content filter of first/big stopped its answer" in caplog.text
    world.assert_settled()


async def test_a_reroute_that_is_filtered_too_is_told(face):
    """When nothing is left to ask, the caller sees the last model's own answer."""
    world = world_of(on={"content_filter": (CAREFUL,)})
    world.upstream.script = [refused(400, "content_filter"), FakeResponse(FILTERED_WHOLE)]

    async with world.client(face) as client:
        response = await client.post(URL, json=CHAT)

    assert (response.status_code, response.content) == (200, FILTERED_WHOLE)


async def test_a_reroute_that_does_not_work_costs_nobody_the_answer(face):
    """What the model did say is worth more than an error, where no other one can be asked."""
    world = world_of(on={"content_filter": (CAREFUL,)})
    world.health.adopt({name: HealthRules() for name in ("first", "second", "third")})
    world.health.force("third", "open")
    world.upstream.script = [FakeResponse(FILTERED_WHOLE)]

    async with world.client(face) as client:
        response = await client.post(URL, json=CHAT)

    assert (response.status_code, response.content) == (200, FILTERED_WHOLE)
    assert [call.filtered for call in world.journal.calls] == ["answer"]


async def test_after_the_first_byte_a_filter_changes_nothing(face):
    """What the caller has begun to read is never replaced; the end says what happened."""
    world = world_of(on={"content_filter": (CAREFUL,)}, fixed_answer="No.")
    world.upstream.script = [FakeResponse([ROLE, SAID[0], *FILTERED_EVENTS[1:]])]

    async with world.client(face) as client:
        response = await client.post(URL, json=STREAM)

    assert response.content == ROLE + SAID[0] + FILTERED_EVENTS[1]
    assert [call.filtered for call in world.journal.calls] == ["answer"]


POLITE = "I cannot help with that."


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("url", [URL, LEGACY, RESPONSES])
async def test_a_fixed_answer_takes_the_place_of_a_refusal(face, url, stream):
    """The caller gets the operator's words in the form of the endpoint, told as filtered."""
    world = world_of(fixed_answer=POLITE)
    world.upstream.script = [refused(400, "content_filter")]

    async with world.client(face) as client:
        response = await client.post(url, json={**BODIES[url], "stream": stream})

    assert response.status_code == 200
    assert POLITE in response.text
    assert b'"content_filter"' in response.content
    if not stream:
        assert response.headers["content-type"] == "application/json"
        answer = response.json()
        assert (answer["model"], answer["usage"]["total_tokens"]) == ("m", 0)
    assert [row.cost for row in world.ledger.rows] == [0]
    assert [(call.filtered, call.outcome) for call in world.journal.calls] == [
        ("prompt", "completed")
    ]
    world.assert_settled()


async def test_official_clients_read_the_fixed_answer(face):
    """Both of the client's APIs take it for what it is: an answer that was filtered."""
    world = world_of(fixed_answer=POLITE)
    world.upstream.script = [refused(400, "content_filter"), FakeResponse(FILTERED_RESPONSE)]

    async with (
        world.client(face) as http,
        openai.AsyncOpenAI(api_key="open", base_url="http://headworks/v1", http_client=http) as client,
    ):  # fmt: skip
        chat = await client.chat.completions.create(model="m", messages=[])
        response = await client.responses.create(model="m", input="Hi")

    assert (chat.choices[0].message.content, chat.choices[0].finish_reason) == (POLITE, "content_filter")  # fmt: skip
    assert (response.output_text, response.status) == (POLITE, "incomplete")
    assert response.incomplete_details is not None
    assert response.incomplete_details.reason == "content_filter"
    assert response.usage is not None
    assert response.usage.total_tokens == 7


async def test_an_endpoint_without_text_has_no_fixed_answer(face):
    """Where no text can be an answer, the provider's refusal passes as it came."""
    world = world_of(fixed_answer=POLITE)
    world.upstream.script = [refused(400, "content_policy_violation")]

    async with world.client(face) as client:
        response = await client.post("/v1/embeddings", json={"model": "m", "input": "x"})

    assert response.status_code == 400
    assert response.json()["error"]["code"] == "content_policy_violation"


async def test_a_refusal_is_an_answer(face):
    """What a model declines in its own words is neither an error nor a filter's doing."""
    world = world_of(on={"content_filter": (CAREFUL,)}, fixed_answer=POLITE)
    declined = WHOLE.replace(b'"content":"Hello!"', b'"content":null,"refusal":"No."')
    world.upstream.script = [FakeResponse(declined)]

    async with world.client(face) as client:
        response = await client.post(URL, json=CHAT)

    assert (response.status_code, response.content) == (200, declined)
    assert [call.filtered for call in world.journal.calls] == [""]
