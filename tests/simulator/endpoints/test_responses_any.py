"""Whatever a request says, it is answered or refused."""

import copy
from collections.abc import Callable
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from headworks.simulator.problems import Refusal
from headworks.simulator.reply import Body
from tests.simulator.conftest import CONFIG
from tests.simulator.endpoints.practice import RESPONSES, Practice, told

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.sampled_from(["", "auto", "function", "é"]),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(["type", "name", "id", "format", "schema", "role", "content", "tools"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=5,
)
TOOL = {
    "type": "function",
    "name": "add",
    "strict": True,
    "parameters": {
        "type": "object",
        "properties": {"a": {"type": ["integer", "null"]}},
        "required": ["a"],
        "additionalProperties": False,
    },
}
FULL: dict[str, Any] = {
    "model": "gpt-4o",
    "input": [
        {"role": "user", "content": [{"type": "input_text", "text": "JSON"}]},
        {"type": "function_call", "call_id": "c", "name": "add", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "output": "1"},
        {"type": "reasoning", "id": "rs_1", "summary": []},
        {"role": "assistant", "content": "Well"},
        {
            "role": "user",
            "content": [{"type": "input_image", "image_url": "data:,", "detail": "low"}],
        },
    ],
    "include": ["file_search_call.results"],
    "metadata": {"a": "b"},
    "reasoning": {"effort": None},
    "stream": True,
    "stream_options": {"include_obfuscation": True},
    "text": {"format": {"type": "json_object"}, "verbosity": "low"},
    "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [TOOL]},
    "tools": [
        TOOL,
        {"type": "web_search", "user_location": {"type": "approximate"}},
        {"type": "mcp", "server_label": "docs", "server_url": "https://example.com"},
        {"type": "file_search", "vector_store_ids": ["vs_1"]},
        {"type": "code_interpreter", "container": {"type": "auto"}},
        {"type": "namespace", "name": "n", "tools": [TOOL]},
    ],
    "truncation": "auto",
    "conversation": None,
    "previous_response_id": None,
    "prompt": None,
    "background": False,
}


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the way to each value within a value."""
    if not isinstance(value, dict | list):
        return [path]
    inner = value.items() if isinstance(value, dict) else enumerate(value)
    return [path, *(way for key, part in inner for way in places(part, (*path, key)))]


def changed(path: tuple[Any, ...], value: Any) -> dict[str, Any]:
    fields = copy.deepcopy(FULL)
    place: Any = fields
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return fields


PLACES = [way for key, value in FULL.items() if key != "model" for way in places(value, (key,))]


def is_refused(ask: Callable[[], Any]) -> bool:
    """Return whether a request is refused for its own fault, instead of being answered."""
    try:
        ask()
    except Refusal as refusal:
        return refusal.status in {400, 404} and bool(refusal.error["message"])
    return False


@settings(max_examples=400, deadline=None)
@given(path=st.sampled_from(PLACES), value=VALUES)
def test_any_value_anywhere_is_answered_or_refused(path, value):
    """One wrong value in a rich request is no reason to break, whole or in a stream."""
    practice = Practice(CONFIG)
    fields = changed(path, value)
    body: list[Body] = []

    refused = is_refused(lambda: body.append(practice.answer("POST", RESPONSES, fields)))

    assert refused != bool(body)
    for answer in body:
        assert msgspec.json.decode(answer.whole(usage=True))["object"] == "response"
        assert told(answer)[-1].kind == "done"


@settings(max_examples=100, deadline=None)
@given(items=st.lists(VALUES, max_size=3) | VALUES)
def test_any_item_is_kept_or_refused(items):
    """So it is with what is to be kept in a conversation, and with what goes on from it."""
    practice = Practice(CONFIG)
    made: list[Any] = []

    def begin() -> None:
        made.append(practice.post("/v1/conversations", {"items": items}))

    def go_on() -> None:
        made.append(practice.ask(conversation=made[0]["id"]))

    if not is_refused(begin):
        assert practice.get(f"/v1/conversations/{made[0]['id']}/items")["object"] == "list"
        if not is_refused(go_on):
            assert practice.get(f"{RESPONSES}/{made[1]['id']}/input_items")["object"] == "list"
