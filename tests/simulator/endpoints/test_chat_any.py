"""Whatever a chat or a text to complete says, it is answered or refused."""

import copy
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headworks.simulator.asked import Asked
from headworks.simulator.endpoints.chat import ChatReply
from headworks.simulator.endpoints.completions import CompletionsReply
from headworks.simulator.problems import Refusal
from headworks.simulator.provider import Provider
from headworks.testing import FakeClock
from tests.simulator.conftest import CONFIG

PROVIDER = Provider(CONFIG, FakeClock())
CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
SCHEMA = {
    "type": "object",
    "properties": {"a": {"type": "string", "pattern": "^a+$"}, "b": {"$ref": "#/$defs/x"}},
    "required": ["a"],
    "$defs": {"x": {"anyOf": [{"type": "integer"}, {"type": "null"}]}},
}
TURNS: list[Any] = [
    {"role": "user", "content": "Hello in json"},
    {"role": "assistant", "content": None, "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "c", "content": [{"type": "text", "text": "x"}]},
    {
        "role": "user",
        "content": [{"type": "image_url", "image_url": {"url": "https://example.com"}}],
    },
]
TOOLS: list[Any] = [
    {"type": "function", "function": {"name": "f", "strict": False, "parameters": SCHEMA}},
    {"type": "custom", "custom": {"name": "g"}},
]
ALLOWED = {"mode": "auto", "tools": [{"type": "function", "function": {"name": "f"}}]}
FULL: dict[str, Any] = {
    "chat": {
        "model": "gpt-4o",
        "messages": TURNS,
        "tools": TOOLS,
        "tool_choice": {"type": "allowed_tools", "allowed_tools": ALLOWED},
        "parallel_tool_calls": True,
        "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}},
        "n": 2,
        "logprobs": True,
        "top_logprobs": 2,
        "stop": ["x"],
        "stream": True,
        "stream_options": {"include_usage": True},
        "metadata": {"a": "b"},
        "max_tokens": 30,
        "prompt_cache_options": {"ttl": "30m"},
        "logit_bias": {"1": 2},
    },
    "functions": {
        "model": "gpt-4o",
        "messages": TURNS[:1],
        "functions": [{"name": "f", "parameters": SCHEMA}],
        "function_call": {"name": "f"},
        "stream": True,
    },
    "words": {
        "model": "gpt-6-sol",
        "messages": TURNS[:1],
        "reasoning_effort": "low",
        "max_completion_tokens": 100,
        "store": True,
        "moderation": {"model": "m"},
    },
    "predicted": {
        "model": "gpt-4o",
        "messages": TURNS[:1],
        "prediction": {"type": "content", "content": [{"type": "text", "text": "abc " * 30}]},
    },
    "text": {
        "model": "davinci-002",
        "prompt": ["a", "b"],
        "n": 2,
        "best_of": 2,
        "logprobs": 2,
        "echo": True,
        "max_tokens": 3,
        "stop": "x",
        "suffix": "s",
        "stream": True,
        "stream_options": {"include_usage": True},
    },
}
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 5)
    | st.sampled_from(["", "auto", "function", "é", 10**30, 0.5, 1e308]),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(
                ["type", "name", "id", "function", "schema", "role", "content", "$ref"]
            ),
            inner,
            max_size=3,
        )
    ),
    max_leaves=5,
)


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield every holder within a value, with a key of it."""
    keys = list(value) if isinstance(value, dict) else range(len(value))
    for key in keys:
        yield value, key
        if isinstance(value[key], dict | list):
            yield from places(value[key])


def answered(name: str, fields: Any) -> ChatReply | CompletionsReply | Refusal:
    """Return what comes of a request."""
    asked = Asked("POST", "/v1/any", "me", "0" * 48, 1_700_000_000, fields)
    try:
        return (CompletionsReply if name == "text" else ChatReply)(PROVIDER, asked)
    except Refusal as refusal:
        return refusal


def refused_well(refusal: Refusal) -> bool:
    return refusal.status in {400, 403, 404} and bool(refusal.error["message"])


@pytest.mark.parametrize("name", FULL)
@given(data=st.data())
@settings(deadline=None, max_examples=150)
def test_any_value_anywhere_is_answered_or_refused(name, data):
    """A mistake anywhere is a refusal with its words; all else is JSON, whole and in a stream."""
    fields = copy.deepcopy(FULL[name])
    for _ in range(data.draw(st.integers(1, 2))):
        holder, key = data.draw(st.sampled_from(list(places(fields))))
        holder[key] = data.draw(VALUES)
    reply = answered(name, fields)
    if isinstance(reply, Refusal):
        assert refused_well(reply)
        return
    msgspec.json.decode(reply.whole(usage=True))
    *steps, done = reply.steps(usage=True)
    for step in steps:
        msgspec.json.decode(step.data.removeprefix(b"data: "))
    assert done.data == b"data: [DONE]\n\n"
    assert sum(step.tokens for step in steps) <= reply.usage.output


@pytest.mark.parametrize("name", FULL)
def test_the_requests_that_are_varied_are_right(name):
    """Each of them is answered as it stands, and its stream costs what the whole costs."""
    reply = answered(name, FULL[name])

    assert not isinstance(reply, Refusal), reply
    assert sum(step.tokens for step in reply.steps(usage=True)) == reply.usage.output > 0
