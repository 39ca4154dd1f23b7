"""Conversations: items that are kept together and grow with every response."""

from typing import Any

import pytest
from openai.types.conversations import Conversation, ConversationItem, ConversationItemList
from pydantic import TypeAdapter

from headworks.simulator.endpoints import stored
from headworks.simulator.problems import Refusal

CONVERSATIONS = "/v1/conversations"
HELLO = {"role": "user", "content": "Hello"}
TOOL = {"type": "function", "name": "add", "parameters": {"type": "object", "properties": {}}}


def refused(ask, *args, **more):
    with pytest.raises(Refusal) as caught:
        ask(*args, **more)
    return caught.value


def begun(practice, **fields: Any) -> str:
    return f"{CONVERSATIONS}/{practice.post(CONVERSATIONS, fields)['id']}"


def kinds(practice, path):
    listed = practice.get(f"{path}/items?order=asc&limit=100")
    TypeAdapter(ConversationItemList).validate_python(listed, strict=True)
    return [item["type"] for item in listed["data"]]


def test_a_conversation_has_a_life(practice):
    """It is begun, read, changed and ended."""
    made = practice.post(CONVERSATIONS, {"metadata": {"topic": "rivers"}})
    path = f"{CONVERSATIONS}/{made['id']}"

    TypeAdapter(Conversation).validate_python(made, strict=True)
    assert (made["object"], made["metadata"]) == ("conversation", {"topic": "rivers"})
    assert practice.get(path) == made
    assert practice.post(path, {"metadata": {"topic": "mills"}}) == practice.get(path)
    assert practice.get(path)["metadata"] == {"topic": "mills"}
    assert practice.delete(path) == {
        "id": made["id"],
        "object": "conversation.deleted",
        "deleted": True,
    }
    refusal = refused(practice.get, path)
    assert (refusal.status, refusal.error["message"]) == (
        404,
        f"Conversation with id '{made['id']}' not found.",
    )


def test_items_are_added_and_removed(practice):
    """Items are listed as they were added, read one by one, and removed."""
    path = begun(practice, items=[HELLO])
    added = practice.post(f"{path}/items", {"items": [{"role": "assistant", "content": "Well"}]})
    name = added["data"][0]["id"]

    TypeAdapter(ConversationItemList).validate_python(added, strict=True)
    assert (added["first_id"], added["last_id"], added["has_more"]) == (name, name, False)
    one = practice.get(f"{path}/items/{name}")
    assert one == added["data"][0]
    assert TypeAdapter[Any](ConversationItem).validate_python(one, strict=True).id == name
    assert kinds(practice, path) == ["message", "message"]
    assert practice.delete(f"{path}/items/{name}") == practice.get(path)
    assert kinds(practice, path) == ["message"]
    assert refused(practice.get, f"{path}/items/{name}").status == 404


def test_a_response_continues_a_conversation(practice):
    """The model reads all items; what was asked and answered is added."""
    path = begun(practice, items=[HELLO])
    name = path.rpartition("/")[2]

    first = practice.ask(input="Goodbye", conversation=name)
    second = practice.ask(input="Goodbye", conversation={"id": name})

    said = first["usage"]["output_tokens"]
    assert first["conversation"] == {"id": name}
    assert first["usage"]["input_tokens"] == 3 + (3 + 1 + 1) + (3 + 1 + 2)
    assert second["usage"]["input_tokens"] == 3 + (3 + 1 + 1) + 2 * (3 + 1 + 2) + (3 + 1 + said)
    assert kinds(practice, path) == ["message"] * 5


def test_a_streamed_response_continues_it_as_well(practice):
    """Once the stream is at its end the conversation is longer; and it is so once."""
    path = begun(practice)

    practice.stream(input="Hello", conversation=path.rpartition("/")[2])

    assert kinds(practice, path) == ["message"] * 2


def test_a_tool_loop_runs_in_a_conversation(practice):
    """Only the output is sent; the call that it belongs to is in the conversation."""
    path = begun(practice)
    fields = {"model": "gpt-6-sol", "tools": [TOOL], "conversation": path.rpartition("/")[2]}
    call = practice.ask(**fields)["output"][-1]
    output = {"type": "function_call_output", "call_id": call["call_id"], "output": "3"}

    answer = practice.ask(**fields, input=[output])

    assert answer["output"][-1]["type"] == "message"
    assert kinds(practice, path) == [
        *("message", "reasoning", "function_call", "function_call_output"),
        *("reasoning", "message"),
    ]


@pytest.mark.parametrize("rest", ["", "/items"])
def test_a_conversation_belongs_to_who_began_it(practice, rest):
    """Another key does not see it."""
    path = begun(practice)

    assert refused(practice.get, path + rest, credential="other").status == 404
    other = {"credential": "other"}
    assert refused(practice.ask, other, conversation=path.rpartition("/")[2]).status == 404


def test_the_oldest_conversations_are_forgotten(practice, monkeypatch):
    """Memory is bounded."""
    monkeypatch.setattr(stored, "_MOST_CONVERSATIONS", 1)
    first, second = begun(practice), begun(practice)

    assert refused(practice.get, first).status == 404
    assert practice.get(second)["object"] == "conversation"


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({}, "missing_required_parameter"),
        ({"items": []}, "empty_array"),
        ({"items": "Hello"}, "invalid_type"),
        ({"items": [HELLO] * 21}, "array_above_max_length"),
        ({"items": [{"role": "user"}]}, "missing_required_parameter"),
        ({"items": [HELLO], "name": "x"}, "unknown_parameter"),
    ],
)
def test_wrong_items_are_refused(practice, fields, code):
    """At most twenty items are added at once, and each must be one."""
    refusal = refused(practice.post, f"{begun(practice)}/items", fields)

    assert (refusal.status, refusal.error["code"]) == (400, code)
