"""What an answer says is counted, not the JSON around it."""

import json
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headworks.core.said import said


@dataclass(frozen=True)
class Case:
    id: str
    answer: Any
    words: list[str]


def choice(**message: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}


def item(**fields: Any) -> dict[str, Any]:
    return {"id": "resp_1", "object": "response", "output": [fields]}


CALL = {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": '{"a":1}'}}
CUSTOM = {"id": "call_2", "type": "custom", "custom": {"name": "run", "input": "ls"}}

CASES = [
    Case("a text", choice(role="assistant", content="Hello!"), ["Hello!"]),
    Case("a refusal", choice(content=None, refusal="No."), ["No."]),
    Case("calls", choice(content="", tool_calls=[CALL, CUSTOM]), ["look", '{"a":1}', "run", "ls"]),
    Case("an old call", choice(function_call=CALL["function"]), ["look", '{"a":1}']),
    Case("shown thoughts", choice(content="4", reasoning_content="2+2"), ["2+2", "4"]),
    Case("text in parts", choice(content=[{"type": "text", "text": "Hi"}]), ["Hi"]),
    Case("a completion", {"choices": [{"text": "once"}, {"text": "twice"}]}, ["once", "twice"]),
    Case("a message", item(type="message", content=[{"text": "Hi"}, {"refusal": "No."}]), ["Hi", "No."]),
    Case("a function", item(type="function_call", name="look", arguments="{}"), ["look", "{}"]),
    Case("a custom tool", item(type="custom_tool_call", name="run", input="ls"), ["run", "ls"]),
    Case("a summary", item(type="reasoning", summary=[{"text": "I think"}]), ["I think"]),
    Case("code", item(type="code_interpreter_call", code="1+1"), ["1+1"]),
    Case("a picture", item(type="image_generation_call", result="iVBORw0KGgo" * 100), []),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_the_models_words_are_found(case):
    """Texts, refusals, calls and thoughts count, and nothing beside them."""
    assert said(json.dumps(case.answer).encode()).split("\n") == (case.words or [""])


@pytest.mark.parametrize(
    "whole", [b"", b"not json", b"[1]", b'{"x":"y"}', b'{"choices":[{"message":{"audio":{}}}]}']
)
def test_what_cannot_be_told_apart_counts_whole(whole):
    """An answer of an unknown shape is counted as it is: too much rather than too little."""
    assert said(whole) == whole.decode()


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


@given(_json, _json)
def test_no_answer_breaks_it(choices, output):
    """Whatever a provider sends, it is counted."""
    assert isinstance(said(json.dumps({"choices": choices, "output": output}).encode()), str)
