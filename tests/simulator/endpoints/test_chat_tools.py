"""Tools of chats: which are called, with what, and how the calls look."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import jsonschema
import pytest

HELLO = [{"role": "user", "content": "Hello"}]
PARAMETERS = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "maxLength": 4},
        "unit": {"enum": ["celsius", "fahrenheit"]},
        "days": {"type": "integer", "minimum": 3, "maximum": 5},
    },
    "required": ["city", "unit", "days"],
    "additionalProperties": False,
}
NAMES = ("get_weather", "get_tides")
FUNCTIONS = [{"name": name, "description": "Looks up.", "parameters": PARAMETERS} for name in NAMES]
TOOLS = [{"type": "function", "function": function} for function in FUNCTIONS]
CUSTOM = {"type": "custom", "custom": {"name": "run_code", "description": "Runs code."}}


def named(name: str, kind: str = "function") -> dict[str, Any]:
    return {"type": kind, kind: {"name": name}}


@pytest.fixture
def create(client):
    """Creates a chat whose first choice is returned."""

    def create(**fields: Any) -> Any:
        given = {"model": "gpt-4o", "messages": HELLO, "tools": TOOLS, **fields}
        return client.chat.completions.create(**given).choices[0]

    return create


@pytest.fixture
def chunks(simulator):
    """Creates a chat and yields the first choice of each chunk of its stream."""

    def chunks(**fields: Any) -> Iterator[Any]:
        given = {"model": "gpt-4o", "messages": HELLO, "stream": True, **fields}
        headers = {"authorization": "Bearer sk-simulator"}
        answer = httpx.post(f"{simulator.base_url}/chat/completions", json=given, headers=headers)
        for event in answer.text.split("\n\n")[:-2]:
            yield json.loads(event.removeprefix("data: "))["choices"][0]

    return chunks


def test_a_tool_is_called_with_arguments_it_takes(create):
    """A question with tools at hand gets calls whose arguments the schema allows, whatever the seed."""
    for seed in range(20):
        choice = create(seed=seed)

        assert (choice.finish_reason, choice.message.content) == ("tool_calls", None)
        for call in choice.message.tool_calls:
            assert call.function.name in NAMES
            jsonschema.validate(json.loads(call.function.arguments), PARAMETERS)
        ids = {call.id for call in choice.message.tool_calls}
        assert len(ids) == len(choice.message.tool_calls)


def test_how_many_calls_come_at_once_can_be_said(create):
    """Asked for several there are several, forbidden there is one; else it depends on the question."""

    def counts(**fields):
        return {len(create(seed=seed, **fields).message.tool_calls) for seed in range(16)}

    assert counts(parallel_tool_calls=True) == {2, 3}
    assert counts(parallel_tool_calls=False) == {1}
    assert counts() == {1, 2}


def test_a_call_streams_in_the_real_shape(create, chunks):
    """The first delta names the tool; the rest are pieces of its arguments."""
    fields = {"tools": TOOLS, "parallel_tool_calls": False}
    whole = create(**fields).message.tool_calls[0]
    first, *rest, last = chunks(**fields)

    assert first["delta"] == {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {
                "index": 0,
                "id": whole.id,
                "type": "function",
                "function": {"name": whole.function.name, "arguments": ""},
            }
        ],
        "refusal": None,
    }
    pieces = [choice["delta"].pop("tool_calls")[0] for choice in rest]
    assert all(choice["delta"] == {} for choice in rest)
    assert all(piece.keys() == {"index", "function"} for piece in pieces)
    joined = "".join(piece["function"]["arguments"] for piece in pieces)
    assert joined == whole.function.arguments
    assert (last["delta"], last["finish_reason"]) == ({}, "tool_calls")


def test_several_calls_stream_one_after_the_other(create, chunks):
    """First comes the role alone, then each call with its index, then its arguments."""
    fields = {"tools": TOOLS, "parallel_tool_calls": True}
    whole = create(**fields).message.tool_calls
    first, *rest, last = chunks(**fields)

    assert first["delta"] == {"role": "assistant", "content": None}
    assert last["finish_reason"] == "tool_calls"
    built: list[dict[str, Any]] = []
    for choice in rest:
        (call,) = choice["delta"]["tool_calls"]
        if "id" in call:
            assert call["index"] == len(built)
            built.append({**call, "function": dict(call["function"])})
        else:
            assert call.keys() == {"index", "function"}
            built[call["index"]]["function"]["arguments"] += call["function"]["arguments"]
    told = [{"index": place, **call.model_dump()} for place, call in enumerate(whole)]
    assert built == told


def test_tool_choice_is_obeyed(create):
    """`none` forbids calls, a name demands one and ends plainly, `required` demands any."""
    none = create(tool_choice="none")
    one = create(tool_choice=named("get_tides"))
    some = create(tool_choice="required")

    assert (none.finish_reason, none.message.tool_calls) == ("stop", None)
    assert none.message.content
    assert [call.function.name for call in one.message.tool_calls] == ["get_tides"]
    assert (one.finish_reason, some.finish_reason) == ("stop", "tool_calls")
    assert some.message.tool_calls


@pytest.mark.parametrize("mode", ["auto", "required"])
def test_only_allowed_tools_are_called(create, mode):
    """Of all tools those on the list are called."""
    allowed = {"mode": mode, "tools": [named("get_tides")]}

    for seed in range(8):
        choice = create(tool_choice={"type": "allowed_tools", "allowed_tools": allowed}, seed=seed)
        assert {call.function.name for call in choice.message.tool_calls} == {"get_tides"}


def results(message: Any) -> list[Any]:
    calls = message.tool_calls
    return [message, *({"role": "tool", "tool_call_id": c.id, "content": "sunny"} for c in calls)]


def test_a_tools_result_is_answered_in_words(create):
    """Once the tool has spoken, the model does, so that loops end."""
    first = create()
    answer = create(messages=[*HELLO, *results(first.message)])

    assert (answer.finish_reason, answer.message.tool_calls) == ("stop", None)
    assert answer.message.content


def test_who_must_call_calls_what_was_not_called_yet(create):
    """A loop that demands a call at every turn comes to each tool."""
    fields = {"tool_choice": "required", "parallel_tool_calls": False}
    first = create(**fields).message
    second = create(messages=[*HELLO, *results(first)], **fields).message

    assert {first.tool_calls[0].function.name, second.tool_calls[0].function.name} == set(NAMES)


def test_a_custom_tool_takes_words(create, chunks):
    """Its input is text; a stream brings it in pieces."""
    choice = create(tools=[CUSTOM], parallel_tool_calls=False)
    (call,) = choice.message.tool_calls
    streamed = list(chunks(tools=[CUSTOM], parallel_tool_calls=False))

    assert (call.type, call.custom.name, choice.finish_reason) == (
        "custom",
        "run_code",
        "tool_calls",
    )
    pieces = [part["delta"]["tool_calls"][0]["custom"]["input"] for part in streamed[:-1]]
    assert "".join(pieces) == call.custom.input
    assert len(pieces) > 5
    again = create(tools=[CUSTOM], tool_choice=named("run_code", "custom")).message
    assert again.tool_calls[0].custom.name == "run_code"


def test_functions_are_called_the_old_way(create, chunks):
    """`functions` get a `function_call`, in one piece and in a stream."""
    fields = {"tools": None, "functions": FUNCTIONS}
    whole = create(**fields)
    first, *rest, last = chunks(functions=FUNCTIONS)

    called = whole.message.function_call
    assert (whole.message.content, whole.message.tool_calls) == (None, None)
    assert whole.finish_reason == last["finish_reason"] == "function_call"
    jsonschema.validate(json.loads(called.arguments), PARAMETERS)
    assert first["delta"]["function_call"] == {"name": called.name, "arguments": ""}
    assert first["delta"]["role"] == "assistant"
    pieces = [choice["delta"]["function_call"]["arguments"] for choice in rest]
    assert "".join(pieces) == called.arguments
    assert create(**fields, function_call="none").message.content
    by_name = create(**fields, function_call={"name": "get_tides"})
    assert (by_name.message.function_call.name, by_name.finish_reason) == ("get_tides", "stop")
    result = {"role": "function", "name": called.name, "content": "sunny"}
    assert create(**fields, messages=[*HELLO, result]).message.content


def test_calls_are_counted_and_cut_by_the_bound(client):
    """Names and arguments are output; a bound cuts the arguments, and too small a one the call."""

    def ask(**fields):
        given = {"model": "gpt-4o", "messages": HELLO, "tools": TOOLS, "parallel_tool_calls": True}
        return client.chat.completions.create(**given, **fields)

    whole = ask()
    assert whole.usage.completion_tokens > 20
    for limit in (1, 4, 9, whole.usage.completion_tokens - 1):
        cut = ask(max_tokens=limit)
        assert cut.usage.completion_tokens <= limit
        assert cut.choices[0].finish_reason == "length"
        told = cut.choices[0].message.tool_calls or []
        for call, full in zip(told, whole.choices[0].message.tool_calls, strict=False):
            assert full.function.arguments.startswith(call.function.arguments)
    assert ask(max_tokens=whole.usage.completion_tokens).choices == whole.choices
