"""Promises to whoever puts the gateway before a server of their own, seen with a real model.

The model says what it likes; what counts is that an app on the official client is told all of it,
that the ledger has the server's own figures, and that nobody computes for an app that has left.
"""

import asyncio
import json
import math
from itertools import pairwise
from typing import Any

import openai
import pytest

from tests.realmodel.conftest import ALIAS, MODEL, Ground

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(300)]  # the first run installs

ASKED: list[Any] = [{"role": "user", "content": "Say a few words about water."}]
LIMIT = 12
CITY: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string", "enum": ["Paris"]}},
    "required": ["city"],
    "additionalProperties": False,
}
TOOL: Any = {"type": "function", "function": {"name": "get_weather", "parameters": CITY}}
TOOL_CALL: dict[str, Any] = {
    "model": MODEL,
    "messages": [
        {"role": "user", "content": "What is the weather in Paris?"},
        {"role": "assistant", "content": "<tool_call>"},  # how a small model is made to begin one
    ],
    "tools": [TOOL],
    "tool_choice": "required",
}
ENDS = {"tool_calls", "length"}
"""A small model repeats itself: it may call the tool until its tokens are used up."""


async def test_a_whole_answer(ground: Ground):
    """Text, usage and what else the server says arrive; the ledger has the same figures."""
    raw = await ground.client.chat.completions.with_raw_response.create(
        model=MODEL, messages=ASKED, max_tokens=LIMIT
    )
    answer = raw.parse()

    assert answer.choices[0].message.content
    assert answer.choices[0].finish_reason in {"stop", "length"}
    assert answer.model_extra is not None
    assert answer.model_extra["timings"]["predicted_n"] > 0
    assert raw.headers["x-headworks-attempts"] == "1"
    usage = answer.usage
    assert usage is not None
    assert 0 < usage.completion_tokens <= LIMIT
    assert usage.prompt_tokens_details is not None
    cached = usage.prompt_tokens_details.cached_tokens or 0
    ground.assert_booked(usage.prompt_tokens, usage.completion_tokens, cached)


@pytest.mark.parametrize("buffer", ["off", "words"])
async def test_a_stream(ground: Ground, buffer: str):
    """Each piece of text comes by itself, the usage last and only where I ask for it."""
    chunks: list[Any] = [
        chunk
        async for chunk in await ground.client.chat.completions.create(
            model=MODEL,
            messages=ASKED,
            max_tokens=LIMIT,
            stream=True,
            stream_options={"include_usage": True},
            extra_headers={"x-headworks-buffer": f"{buffer}; max_delay=10s"},
        )
    ]

    *said, last = chunks
    pieces = [piece for one in said if (piece := one.choices[0].delta.content)]
    assert len(pieces) > 2
    assert said[-1].choices[0].finish_reason in {"stop", "length"}
    assert last.choices == []
    if buffer == "words":
        assert all(one[-1].isspace() or two[0].isspace() for one, two in pairwise(pieces))
    else:
        assert len(pieces) <= last.usage.completion_tokens
    cached = last.usage.prompt_tokens_details.cached_tokens
    ground.assert_booked(last.usage.prompt_tokens, last.usage.completion_tokens, cached)


async def test_a_stream_without_usage(ground: Ground):
    """An app that does not ask for usage sees none, and is booked to the token all the same."""
    stream = await ground.client.chat.completions.create(
        model=MODEL, messages=ASKED, max_tokens=LIMIT, stream=True
    )
    chunks = [chunk async for chunk in stream]

    assert all(chunk.choices and chunk.usage is None for chunk in chunks)
    row = ground.row(certainty="exact", stream=1)
    assert len([one for one in chunks if one.choices[0].delta.content]) <= row["output"] <= LIMIT


async def test_a_response(ground: Ground):
    """The Responses API: whole, and as the events that the official client puts together."""
    answer = await ground.client.responses.create(
        model=MODEL, input="Say a few words.", max_output_tokens=LIMIT
    )

    assert answer.output_text
    usage = answer.usage
    assert usage is not None
    cached = usage.input_tokens_details.cached_tokens
    ground.assert_booked(usage.input_tokens, usage.output_tokens, cached)


async def test_a_response_as_a_stream(ground: Ground):
    """Its pieces are its text, its last event has the usage, and that is what is booked."""
    stream = await ground.client.responses.create(
        model=MODEL, input="Say a few words.", max_output_tokens=LIMIT, stream=True
    )
    events: list[Any] = [event async for event in stream]

    pieces = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert len(pieces) > 2
    [done] = [event for event in events if event.type == "response.output_text.done"]
    assert "".join(pieces) == done.text
    assert events[-1].type == "response.completed"
    usage = events[-1].response.usage
    cached = usage.input_tokens_details.cached_tokens
    ground.assert_booked(usage.input_tokens, usage.output_tokens, cached)


async def test_a_tool_is_called(ground: Ground):
    """A model's call of a function arrives with its name and its arguments."""
    answer = await ground.client.chat.completions.create(**TOOL_CALL, max_tokens=100)

    [choice] = answer.choices
    assert choice.finish_reason in ENDS
    call = choice.message.tool_calls[0].function
    assert (call.name, json.loads(call.arguments)) == ("get_weather", {"city": "Paris"})
    ground.row(certainty="exact")


@pytest.mark.parametrize("buffer", ["off", "words"])
async def test_a_tool_is_called_in_a_stream(ground: Ground, buffer: str):
    """The pieces of a call's arguments are JSON when they are put together, buffered or not."""
    headers = {"x-headworks-buffer": buffer}
    stream = await ground.client.chat.completions.create(
        **TOOL_CALL, max_tokens=100, stream=True, extra_headers=headers
    )
    pieces: list[tuple[str, str]] = []
    finish = None
    async for chunk in stream:
        [choice] = chunk.choices
        finish = choice.finish_reason or finish
        first = [one.function for one in choice.delta.tool_calls or () if one.index == 0]
        pieces += [(one.name or "", one.arguments or "") for one in first]

    assert len(pieces) > 2
    name, arguments = ("".join(parts) for parts in zip(*pieces, strict=True))
    assert (name, json.loads(arguments)) == ("get_weather", {"city": "Paris"})
    assert finish in ENDS
    ground.row(certainty="exact", stream=1)


async def test_an_answer_of_a_shape(ground: Ground):
    """A schema reaches the server, which holds its model to it."""
    shape: Any = {"type": "json_schema", "json_schema": {"name": "place", "schema": CITY}}
    answer = await ground.client.chat.completions.create(
        model=MODEL, messages=ASKED, max_tokens=100, response_format=shape
    )

    assert answer.choices[0].finish_reason == "stop"
    assert json.loads(answer.choices[0].message.content or "") == {"city": "Paris"}


async def test_embeddings(ground: Ground):
    """Vectors come in the packed form that the official client asks for, and are booked."""
    answer = await ground.client.embeddings.create(model=MODEL, input=["water", "a dam"])

    assert [one.index for one in answer.data] == [0, 1]
    for one in answer.data:
        assert len(one.embedding) == 576
        assert math.isclose(math.hypot(*one.embedding), 1.0, rel_tol=1e-3)
    ground.assert_booked(answer.usage.prompt_tokens, 0)


async def test_an_old_completion(ground: Ground):
    """The endpoint that apps should have left works too."""
    answer = await ground.client.completions.create(model=MODEL, prompt="Water", max_tokens=4)

    assert answer.choices[0].text
    assert answer.usage is not None
    ground.row(certainty="exact", output=answer.usage.completion_tokens)


REFUSED: dict[str, dict[str, Any]] = {
    "too long": {"messages": [{"role": "user", "content": "word " * 3000}]},
    "not a list": {"messages": "no"},
    "too many": {"messages": ASKED, "n": 99},
    "a wrong schema": {
        "messages": ASKED,
        "response_format": {"type": "json_schema", "json_schema": {"schema": {"type": "odd"}}},
    },
}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("body", REFUSED.values(), ids=REFUSED)
async def test_an_error_of_the_server_is_passed_on(
    ground: Ground, body: dict[str, Any], *, stream: bool
):
    """What the server refuses I am told in its own words, after one attempt that costs nothing."""
    asked = {**body, "stream": stream}
    direct = await ground.model.post("/v1/chat/completions", {**asked, "model": ALIAS})
    with pytest.raises(openai.BadRequestError) as caught:
        await ground.client.post(
            "/chat/completions", body={**asked, "model": MODEL}, cast_to=object
        )

    assert direct.status_code == 400
    assert caught.value.response.json() == direct.json()
    assert caught.value.response.headers["x-headworks-attempts"] == "1"
    ground.row(cost_nano=0, output=0)


async def test_a_credential_that_the_server_refuses(ground: Ground):
    """The operator's wrong key is not the app's, and another route serves the call."""
    with pytest.raises(openai.APIStatusError) as caught:
        await ground.client.chat.completions.create(model="disowned", messages=ASKED)
    assert caught.value.status_code == 502
    assert caught.value.code == "upstream_auth_failed"

    raw = await ground.client.chat.completions.with_raw_response.create(
        model="rescued", messages=ASKED, max_tokens=2
    )
    assert raw.headers["x-headworks-attempts"] == "2"


@pytest.mark.parametrize("how", ["stream", "whole", "response"])
async def test_nobody_computes_for_an_app_that_has_left(ground: Ground, how: str):
    """When I leave in the middle of a long answer, the model stops, and what was said is booked."""
    most = 1500
    before = await ground.model.said()
    if how == "stream":
        await _leave_a_stream(ground, most)
    elif how == "response":
        await _leave_a_response(ground, most)
    else:
        await _leave_a_whole(ground, most)
    assert await ground.model.wait_idle(10.0)
    assert await ground.model.said() - before < most
    certainty = "unknown" if how == "whole" else "estimated"
    row = ground.row(state="settled", outcome="abandoned", certainty=certainty)
    assert row["cost_nano"] > 0


async def _leave_a_stream(ground: Ground, most: int) -> None:
    stream: Any = await ground.client.chat.completions.create(
        model=MODEL,
        messages=ASKED,
        max_tokens=most,
        stream=True,
        extra_body={"ignore_eos": True},
    )
    for _ in range(4):
        await anext(stream)
    assert await ground.model.is_busy()
    await stream.close()


async def _leave_a_response(ground: Ground, most: int) -> None:
    stream: Any = await ground.client.responses.create(
        model=MODEL,
        input="Talk.",
        max_output_tokens=most,
        stream=True,
        extra_body={"ignore_eos": True},
    )
    async for event in stream:
        if event.type == "response.output_text.delta":
            break
    assert await ground.model.is_busy()
    await stream.close()


async def _leave_a_whole(ground: Ground, most: int) -> None:
    create: Any = ground.client.chat.completions.create
    asked = asyncio.ensure_future(
        create(model=MODEL, messages=ASKED, max_tokens=most, extra_body={"ignore_eos": True})
    )
    while not await ground.model.is_busy():  # noqa: ASYNC110 - there is no event
        await asyncio.sleep(0.01)
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
