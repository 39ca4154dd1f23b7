"""Streams that the real API once sent, put together."""

import json
from typing import Any

import pytest
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletionChunk

import headworks
from tests.aggregation.asking import cut
from tests.fidelity.recordings import Exchange, exchanges

_CHAT, _COMPLETIONS, _RESPONSES = "/v1/chat/completions", "/v1/completions", "/v1/responses"
_OK = 200
Shape = tuple[frozenset[str], frozenset[str], frozenset[str]]


@pytest.fixture(scope="module")
def recorded():
    """All exchanges that went well."""
    return [one for one in exchanges() if one.status == _OK]


def streams(recorded: list[Exchange], path: str, least: int) -> list[Any]:
    """Return the events of each stream of an endpoint: fewer were not read."""
    found = [one for one in recorded if one.path.partition("?")[0].startswith(path)]
    bodies = [one.body for one in found if one.body.startswith((b"data:", b"event:"))]
    assert len(bodies) >= least
    return [(body, [json.loads(data) for _, data in cut(body)]) for body in bodies]


def without_nulls(value: Any) -> Any:
    """Return what is said, without what is said to be nothing."""
    if isinstance(value, dict):
        return {name: without_nulls(held) for name, held in value.items() if held not in (None, [])}
    return [without_nulls(one) for one in value] if isinstance(value, list) else value


def shape(answer: Any) -> Shape:
    """Return which fields a chat has, and which its first choice and that one's message."""
    choice = answer["choices"][0]
    return frozenset(answer) - {"usage"}, frozenset(choice), frozenset(choice["message"])


def test_chats_are_what_the_official_client_makes_of_them(recorded):
    """Of every recorded stream, choice by choice, to the last field of a call."""
    for body, chunks in streams(recorded, _CHAT, 110):
        state = ChatCompletionStreamState()
        for chunk in chunks:
            state.handle_chunk(ChatCompletionChunk.model_construct(**chunk))
        theirs: Any = state.current_completion_snapshot.to_dict(warnings=False)
        for choice in theirs["choices"]:
            for call in choice["message"].get("tool_calls") or ():
                del call["index"]
        ours: Any = headworks.aggregate(body)

        assert without_nulls(ours["choices"]) == without_nulls(theirs["choices"])
        assert ours.get("usage") == theirs.get("usage")
        assert (ours["id"], ours["model"]) == (chunks[-1]["id"], chunks[-1]["model"])


def test_chats_look_as_if_they_had_not_been_streamed(recorded):
    """They have the fields that the real API's chats in one piece have nowadays, no more or less."""
    seen = {
        shape(json.loads(one.body))
        for one in recorded
        if one.path == _CHAT and one.method == "POST" and one.body.startswith(b"{")
    }
    made = [headworks.aggregate(body) for body, _ in streams(recorded, _CHAT, 110)]
    recent = [one for one in made if one and "service_tier" in one and "routing" not in one]

    assert len(recent) >= 55
    assert [one for one in recent if shape(one) not in seen] == []


def test_legacy_completions_are_their_texts(recorded):
    """Every text, every reason, and what was used."""
    for body, chunks in streams(recorded, _COMPLETIONS, 18):
        parts = [part for chunk in chunks for part in chunk["choices"]]
        ours: Any = headworks.aggregate(body)

        assert ours["object"] == "text_completion"
        for choice in ours["choices"]:
            mine = [part for part in parts if part["index"] == choice["index"]]
            assert choice["text"] == "".join(part["text"] for part in mine)
            assert choice["finish_reason"] == mine[-1]["finish_reason"]
        assert ours.get("usage") == chunks[-1].get("usage")


def test_responses_are_their_last_event(recorded):
    """The terminal event repeats all; whatever came before changes nothing in it."""
    for body, events in streams(recorded, _RESPONSES, 65):
        assert headworks.aggregate(body) == events[-1]["response"]


def test_responses_without_their_last_event_have_their_output(recorded):
    """Items of every type that was recorded, but for seals, which are made anew each time."""
    kinds = set[str]()
    for _, events in streams(recorded, _RESPONSES, 65):
        full = events[-1]["response"]["output"]
        ours: Any = headworks.aggregate(events[:-1])
        if events[0]["type"] != "response.created":
            continue  # a stream that is taken up half way
        kinds |= {item["type"] for item in full}
        for item in (*ours["output"], *full):
            item.pop("encrypted_content", None)
        assert ours["output"] == full
    assert kinds >= {
        *("message", "reasoning", "function_call", "custom_tool_call", "web_search_call"),
        *("file_search_call", "code_interpreter_call", "image_generation_call", "mcp_list_tools"),
    }


def test_pieces_alone_add_up_to_the_texts(recorded):
    """Texts, summaries, arguments, inputs and code, where nothing repeats them at their end."""
    for _, events in streams(recorded, _RESPONSES, 65):
        if events[0]["type"] != "response.created":
            continue
        ours: Any = headworks.aggregate(
            event for event in events[:-1] if not event["type"].endswith(".done")
        )
        for item, full in zip(ours["output"], events[-1]["response"]["output"], strict=True):
            assert said(item) == said(full)


def said(item: Any) -> list[Any]:
    """Return all that an item says bit by bit."""
    parts = [*(item.get("content") or ()), *(item.get("summary") or ())]
    own = [item.get(name) for name in ("input", "code") if name in item]
    arguments = item.get("arguments") if item["type"] in {"function_call", "mcp_call"} else None
    return [
        *own,
        arguments,
        *[(p.get("text"), p.get("refusal"), p.get("annotations")) for p in parts],
    ]
