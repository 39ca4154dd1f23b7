"""Promises to an app that moves to headworks: what the API answers is what it gets."""

import json
from typing import Any

import pytest
from pydantic import BaseModel

from tests.clients.conftest import each, text_of, value
from tests.clients.ground import EMBEDDER, MESSAGES, MODEL, narrow_key

pytestmark = pytest.mark.anyio

PARAMETERS: dict[str, Any] = {
    "type": "object",
    "properties": {"gauge": {"type": "string"}, "unit": {"enum": ["cm", "m"]}},
    "required": ["gauge", "unit"],
    "additionalProperties": False,
}
TOOLS: list[Any] = [
    {
        "type": "function",
        "function": {
            "name": "water_level",
            "description": "Return the water level at a gauge.",
            "parameters": PARAMETERS,
        },
    }
]


class Forecast(BaseModel):
    """An answer with a shape."""

    place: str
    centimetres: int


def facts(answer: Any) -> dict[str, Any]:
    """Return all that an answer says but when and under which number it was made."""
    said: dict[str, Any] = answer.model_dump(exclude_unset=True)
    return {name: fact for name, fact in said.items() if name not in {"id", "created"}}


async def test_a_whole_answer(app, truth):
    """An answer is, field by field, what the provider said; asking it once is enough."""
    answer = await app.ask(model=MODEL)

    assert facts(answer) == facts(truth.answer(MODEL))
    assert answer.usage.total_tokens > 0
    assert truth.attempts(MODEL) == 1


async def test_a_streamed_answer(app, truth):
    """A stream says what the whole answer says, ends by its finish reason, and tells no usage."""
    chunks = await app.stream(model=MODEL)

    assert text_of(chunks) == truth.text(MODEL)
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert all(chunk.choices and "usage" not in chunk.model_fields_set for chunk in chunks)
    assert len({chunk.id for chunk in chunks}) == 1


async def test_a_stream_tells_its_usage_to_those_who_ask(app, truth):
    """With `include_usage` the last chunk has the usage, and only that one."""
    *chunks, last = await app.stream(model=MODEL, stream_options={"include_usage": True})

    assert [chunk.usage for chunk in chunks] == [None] * len(chunks)
    assert last.choices == []
    assert last.usage == truth.answer(MODEL).usage


async def test_a_stream_of_several_choices(app, truth):
    """Choices that are streamed side by side arrive each with its own words and its own end."""
    chunks = await app.stream(model=MODEL, n=2)

    said = {0: "", 1: ""}
    ends = []
    for chunk in chunks:
        for choice in chunk.choices:
            said[choice.index] += choice.delta.content or ""
            ends += [choice.index] if choice.finish_reason else []
    assert list(said.values()) == [
        choice.message.content for choice in truth.answer(MODEL, n=2).choices
    ]
    assert sorted(ends) == [0, 1]


@pytest.mark.parametrize("model", ["forgets-done", "done-twice"])
async def test_an_odd_end_of_a_whole_stream_costs_nothing(app, truth, model):
    """A provider that forgets the last line or sends it twice has still answered in full."""
    assert text_of(await app.stream(model=model)) == truth.text(model)
    assert truth.attempts(model) == 1


async def test_a_tool_loop(app, truth):
    """The model's call has its arguments, its result goes back, and the answer follows."""
    client = app.client()
    asked = await app.ask(client, model=MODEL, tools=TOOLS)
    (call,) = asked.choices[0].message.tool_calls
    arguments = json.loads(call.function.arguments)
    result = {"role": "tool", "tool_call_id": call.id, "content": "182"}
    messages = [*MESSAGES, asked.choices[0].message.model_dump(exclude_none=True), result]
    answer = await app.ask(client, model=MODEL, messages=messages, tools=TOOLS)

    assert asked.choices[0].finish_reason == "tool_calls"
    assert call.function.name == "water_level"
    assert arguments.keys() == {"gauge", "unit"}
    assert arguments["unit"] in {"cm", "m"}
    assert answer.choices[0].message.content == truth.text(MODEL, messages=messages, tools=TOOLS)


async def test_a_streamed_tool_call(app, truth):
    """The pieces of a streamed call add up to the call of the whole answer."""
    chunks = await app.stream(model=MODEL, tools=TOOLS)

    calls = [call for chunk in chunks for call in chunk.choices[0].delta.tool_calls or ()]
    (whole,) = truth.answer(MODEL, tools=TOOLS).choices[0].message.tool_calls
    assert (calls[0].id, calls[0].function.name) == (whole.id, whole.function.name)
    assert "".join(call.function.arguments for call in calls) == whole.function.arguments
    assert chunks[-1].choices[0].finish_reason == "tool_calls"


async def test_structured_output(app):
    """`parse` returns an object of the app's own class, on both of the API's ways to ask."""
    client = app.client()
    chat = await value(
        client.chat.completions.parse(model=MODEL, messages=MESSAGES, response_format=Forecast)
    )
    response = await value(
        client.responses.parse(model=MODEL, input="Tomorrow?", text_format=Forecast)
    )

    assert isinstance(chat.choices[0].message.parsed, Forecast)
    assert isinstance(response.output_parsed, Forecast)


async def test_embeddings(app, truth):
    """Vectors arrive number by number as they were made, in the order of the texts."""
    texts = ["weir", "sluice"]
    found = await value(app.client().embeddings.create(model=EMBEDDER, input=texts))

    made = truth.client.embeddings.create(model=EMBEDDER, input=texts)
    assert [one.embedding for one in found.data] == [one.embedding for one in made.data]
    assert found.usage == made.usage


async def test_a_response(app, truth):
    """The Responses API answers as it does directly."""
    answer = await value(app.client().responses.create(model=MODEL, input="Hello"))
    said = truth.client.responses.create(model=MODEL, input="Hello")

    assert (answer.status, answer.output_text) == ("completed", said.output_text)
    assert answer.usage == said.usage


async def test_a_streamed_response(app, truth):
    """Its events come in order, numbered without a gap, and end by the whole response."""
    asking = app.client().responses.create(model=MODEL, input="Hello", stream=True)
    events = [event async for event in each(await value(asking))]

    said = truth.client.responses.create(model=MODEL, input="Hello")
    deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert [event.type for event in events][:: len(events) - 1] == [
        "response.created",
        "response.completed",
    ]
    assert "".join(deltas) == events[-1].response.output_text == said.output_text
    assert events[-1].response.usage == said.usage


async def test_the_list_of_models(app):
    """An app sees the names that it may ask for, and no others."""
    offered = await value(app.client().models.list())
    narrow = app.client(narrow_key(app.name))
    allowed = await value(narrow.models.list())
    one = await value(narrow.models.retrieve(MODEL))

    assert {model.id for model in offered.data} == {MODEL, "stalls"}
    assert [model.id for model in allowed.data] == [one.id] == [MODEL]


async def test_an_answer_has_the_number_of_its_call(app):
    """`_request_id` is the call's id, by which log and ledger know it: another one each time."""
    client = app.client()
    raw = await value(
        client.chat.completions.with_raw_response.create(model=MODEL, messages=MESSAGES)
    )
    answer = await value(raw.parse())

    assert answer._request_id == raw.request_id == raw.headers["x-headworks-call"]
    assert (await app.ask(client, model=MODEL))._request_id != answer._request_id


async def test_an_answer_tells_how_it_came_about(app, truth):
    """Raw answers show the route, the attempts and the cost; the provider's own id stays to be had."""
    asking = app.client().chat.completions.with_raw_response
    raw = await value(asking.create(model="fails-once", messages=MESSAGES))
    priced = await value(asking.create(model=MODEL, messages=MESSAGES))

    assert raw.retries_taken == 0
    assert raw.headers["x-headworks-attempts"] == "2" == str(truth.attempts("fails-once"))
    assert raw.headers["x-headworks-route"] == "practice/fails-once"
    assert raw.headers["x-headworks-cache"] == "miss"
    assert raw.headers["x-headworks-upstream-request-id"].startswith("req_")
    assert float(raw.headers["x-headworks-overhead-ms"]) >= 0
    assert float(priced.headers["x-headworks-cost"]) > 0
