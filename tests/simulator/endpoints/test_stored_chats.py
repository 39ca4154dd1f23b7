"""Chats that were stored: told again, listed, changed, deleted, and nobody else's."""

from typing import Any

import openai
import pytest

from headworks.simulator import SimulatorConfig, running

HELLO: Any = [{"role": "user", "content": "Hello"}]


@pytest.fixture
def store(client):
    """Makes a chat that is stored."""

    def store(text="Hello", **fields):
        messages = [{"role": "user", "content": text}]
        return client.chat.completions.create(
            model="gpt-4o", messages=messages, store=True, **fields
        )

    return store


def test_a_stored_chat_is_told_again(client, store):
    """It is the answer that was given, with the metadata that came with the request."""
    made = store(metadata={"a": "b"})
    kept = client.chat.completions.retrieve(made.id)

    assert (kept.choices, kept.usage, kept.metadata) == (made.choices, made.usage, {"a": "b"})


def test_a_stream_is_stored_once_it_ended(client):
    """The chunks make the same chat."""
    chunks = list(
        client.chat.completions.create(model="gpt-4o", messages=HELLO, store=True, stream=True)
    )
    kept = client.chat.completions.retrieve(chunks[0].id)

    said = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert kept.choices[0].message.content == said
    assert kept.usage.completion_tokens == len(chunks) - 2


def test_what_is_not_stored_is_not_there(client):
    """Nothing is kept unless asked for."""
    made = client.chat.completions.create(model="gpt-4o", messages=HELLO)

    with pytest.raises(openai.NotFoundError, match=f"{made.id} not found"):
        client.chat.completions.retrieve(made.id)
    assert client.chat.completions.list().data == []


def test_stored_chats_are_listed_by_the_page(client, store):
    """Oldest first, by model and by metadata if wanted."""
    made = [store(f"Hello {n}", metadata={"even": str(n % 2 == 0)}).id for n in range(5)]
    listed = client.chat.completions.list

    assert [chat.id for chat in listed(limit=2)] == made
    assert [chat.id for chat in listed(limit=2).data] == made[:2]
    assert [chat.id for chat in listed(order="desc")] == made[::-1]
    assert [chat.id for chat in listed(metadata={"even": "True"})] == made[::2]
    assert listed(model="gpt-6-sol").data == []


def test_its_messages_are_listed(client, store):
    """Those that the chat answers, each with an id."""
    made = store([{"type": "text", "text": "Hello"}])
    (message,) = client.chat.completions.messages.list(made.id)

    assert (message.role, message.content, message.id) == ("user", None, f"{made.id}-0")
    assert message.content_parts[0].text == "Hello"


def test_metadata_can_be_changed(client, store):
    """Others take their place; bad ones are refused."""
    made = store(metadata={"a": "b"})
    client.chat.completions.update(made.id, metadata={"c": "d"})

    assert client.chat.completions.retrieve(made.id).metadata == {"c": "d"}
    with pytest.raises(openai.BadRequestError, match="too long"):
        client.chat.completions.update(made.id, metadata={"c": "x" * 513})


def test_a_deleted_chat_is_gone(client, store):
    """And cannot be deleted twice."""
    made = store()
    assert client.chat.completions.delete(made.id).deleted

    with pytest.raises(openai.NotFoundError):
        client.chat.completions.delete(made.id)


def test_the_oldest_is_forgotten_first(client, store, monkeypatch):
    """Memory has an end."""
    monkeypatch.setattr("headworks.simulator.endpoints.chat_store._MOST_CHATS", 2)
    made = [store(f"Hello {n}").id for n in range(3)]

    assert [chat.id for chat in client.chat.completions.list()] == made[1:]


def test_chats_belong_to_a_key():
    """Another key sees nothing of them."""
    with running(SimulatorConfig(credentials={"one": "sk-one", "two": "sk-two"})) as simulator:
        one, two = (
            openai.OpenAI(base_url=simulator.base_url, api_key=key, max_retries=0)
            for key in ("sk-one", "sk-two")
        )
        with one, two:
            made = one.chat.completions.create(model="gpt-4o", messages=HELLO, store=True)
            assert one.chat.completions.retrieve(made.id).id == made.id
            with pytest.raises(openai.NotFoundError):
                two.chat.completions.retrieve(made.id)
            assert two.chat.completions.list().data == []
