"""Objects and events of `/responses`, held against the types of the official client."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import BaseModel, TypeAdapter

from tests.simulator.conftest import CONFIG
from tests.simulator.endpoints.practice import Practice

ADD: dict[str, Any] = {
    "type": "function",
    "name": "add",
    "strict": True,
    "parameters": {
        "type": "object",
        "properties": {"a": {"type": "number"}, "b": {"type": "number"}},
        "required": ["a", "b"],
        "additionalProperties": False,
    },
}
SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string"}},
    "required": ["name"],
    "additionalProperties": False,
}
EVENT = TypeAdapter[Any](ResponseStreamEvent)
ADDED = ["output_item.added", "content_part.added"]
SAID = ["output_text.done", "content_part.done", "output_item.done"]
TEXT = [*ADDED, "output_text.delta", *SAID]
NOTED = [*ADDED, "output_text.delta", "output_text.annotation.added", *SAID]
SUMMED = [
    "reasoning_summary_part.added",
    "reasoning_summary_text.delta",
    "reasoning_summary_text.done",
    "reasoning_summary_part.done",
]
RECORDED = {
    "billing",
    "frequency_penalty",
    "presence_penalty",
    "store",
    "obfuscation",
    "output[].status",
    "item.status",
    "tools[].n",
}
"""What the real API sends and the client's types do not know."""


def around(*kinds: str) -> list[str]:
    return ["output_item.added", *kinds, "output_item.done"]


@dataclass(frozen=True)
class Case:
    id: str
    kinds: list[str]
    fields: dict[str, Any] = field(default_factory=dict[str, Any])
    ordered: str = ""
    end: str = "completed"
    begin: tuple[str, ...] = ("created", "in_progress")


CASES = [
    Case("a text", TEXT),
    Case(
        "a text with probabilities",
        TEXT,
        {"include": ["message.output_text.logprobs"], "top_logprobs": 2},
    ),
    Case("a bound", TEXT, {"max_output_tokens": 16}, end="incomplete"),
    Case("a filter", TEXT, ordered="content_filter", end="incomplete"),
    Case("a failure", [], ordered="failed", end="failed"),
    Case("a refusal", [*ADDED, "refusal.delta", "refusal.done", *SAID[1:]], ordered="refusal"),
    Case(
        "in the background", TEXT, {"background": True}, begin=("created", "queued", "in_progress")
    ),
    Case("thoughts", [*around(), *TEXT], {"model": "gpt-6-sol"}),
    Case(
        "thoughts with a summary",
        [*around(*SUMMED), *TEXT],
        {"model": "gpt-6-sol", "reasoning": {"summary": "auto"}},
    ),
    Case(
        "nothing but thoughts",
        around(),
        {"model": "gpt-6-sol", "max_output_tokens": 20},
        end="incomplete",
    ),
    Case(
        "a call",
        around("function_call_arguments.delta", "function_call_arguments.done"),
        {"tools": [ADD]},
    ),
    Case(
        "a custom call",
        around("custom_tool_call_input.delta", "custom_tool_call_input.done"),
        {"tools": [{"type": "custom", "name": "query"}]},
    ),
    Case(
        "a search of the web",
        [
            *around(
                *(f"web_search_call.{step}" for step in ("in_progress", "searching", "completed"))
            ),
            *NOTED,
        ],
        {"tools": [{"type": "web_search"}], "include": ["web_search_call.action.sources"]},
    ),
    Case(
        "a search of files",
        [
            *around(
                *(f"file_search_call.{step}" for step in ("in_progress", "searching", "completed"))
            ),
            *NOTED,
        ],
        {
            "tools": [{"type": "file_search", "vector_store_ids": ["vs_1"]}],
            "include": ["file_search_call.results"],
        },
    ),
    Case(
        "code",
        [
            *around(
                "code_interpreter_call.in_progress",
                "code_interpreter_call_code.delta",
                "code_interpreter_call_code.done",
                "code_interpreter_call.interpreting",
                "code_interpreter_call.completed",
            ),
            *TEXT,
        ],
        {
            "tools": [{"type": "code_interpreter", "container": {"type": "auto"}}],
            "include": ["code_interpreter_call.outputs"],
        },
    ),
    Case(
        "a compacted past",
        [*around(), *TEXT],
        {
            "input": "river " * 1_200,
            "context_management": [{"type": "compaction", "compact_threshold": 1_000}],
        },
    ),
    Case(
        "JSON under a schema",
        TEXT,
        {"text": {"format": {"type": "json_schema", "name": "n", "schema": SCHEMA}}},
    ),
    Case(
        "every tool that is known",
        TEXT,
        {
            "tools": [
                {"type": "mcp", "server_label": "docs", "server_url": "https://example.com/mcp"},
                {"type": "image_generation"},
                {"type": "computer"},
                {"type": "local_shell"},
                {"type": "apply_patch"},
                {"type": "tool_search"},
            ]
        },
    ),
    Case(
        "every parameter",
        TEXT,
        {
            "instructions": "Be kind.",
            "max_tool_calls": 3,
            "metadata": {"a": "b"},
            "parallel_tool_calls": False,
            "prompt_cache_key": "key",
            "prompt_cache_retention": "24h",
            "safety_identifier": "somebody",
            "service_tier": "flex",
            "store": False,
            "temperature": 0.5,
            "text": {"verbosity": "low"},
            "tool_choice": {
                "type": "allowed_tools",
                "mode": "auto",
                "tools": [{"type": "apply_patch"}],
            },
            "tools": [{"type": "apply_patch"}],
            "top_p": 0.5,
            "truncation": "auto",
            "user": "me",
        },
    ),
]


def each_kind_once(kinds: list[str]) -> list[str]:
    return [kind for place, kind in enumerate(kinds) if kinds[place - 1 : place] != [kind]]


def unknown(model: Any, path: str = "") -> Iterator[str]:
    """Yield the keys that a model was given and does not declare, as the last of their path."""
    if isinstance(model, BaseModel):
        yield from (f"{path}{key}" for key in model.model_extra or {})
        for name in type(model).model_fields:
            yield from unknown(getattr(model, name), f"{name}.")
    elif isinstance(model, list):
        for item in model:
            yield from unknown(item, path.replace(".", "[]."))


def declared(found: Iterator[str]) -> set[str]:
    return {key.removeprefix("response.") for key in found} - RECORDED


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_events_come_in_the_documented_order(practice, case):
    """Whatever is answered, its events come in their order, are numbered from 0 and end once."""
    events = practice.stream({"ordered": case.ordered}, **case.fields)

    kinds = [event.content["type"].removeprefix("response.") for event in events]
    assert each_kind_once(kinds) == [*case.begin, *case.kinds, case.end]
    assert [event.name for event in events] == [event.content["type"] for event in events]
    assert [event.content["sequence_number"] for event in events] == list(range(len(events)))
    assert [event.kind for event in events].count("done") == 1
    assert events[-1].kind == "done"


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_everything_is_of_the_client_s_types(practice, case):
    """Each event and object is valid, strictly, and has no key that the real one does not send."""
    events = practice.stream({"ordered": case.ordered}, **case.fields)
    whole = practice.ask({"ordered": case.ordered}, **case.fields)

    for event in events:
        parsed = EVENT.validate_python(event.content, strict=True)
        assert parsed.type == event.name
        assert declared(unknown(parsed)) == set()
    assert declared(unknown(Response.model_validate(whole, strict=True))) == set()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_the_last_event_tells_what_the_others_told(practice, case):
    """The items that were added and done are the output, and their tokens are those of the usage."""
    events = practice.stream({"ordered": case.ordered}, **case.fields)

    response = events[-1].content["response"]
    done = [event.content for event in events if event.name == "response.output_item.done"]
    assert [event["item"] for event in done] == response["output"]
    assert [event["output_index"] for event in done] == list(range(len(done)))
    assert sum(event.tokens for event in events) == response["usage"]["output_tokens"]
    assert response["status"] == case.end


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_deltas_add_up(practice, case):
    """What an item is told in bits is what it says when it is done."""
    events = practice.stream({"ordered": case.ordered}, **case.fields)

    said: dict[str, str] = {}
    for event in events:
        name = event.content.get("item_id", "")
        said[name] = said.get(name, "") + event.content.get("delta", "")
    for item in events[-1].content["response"]["output"]:
        told = item.get("arguments", item.get("input", item.get("code")))
        parts = [*item.get("summary", ()), *(item.get("content") or ())]
        whole = "".join(part.get("text", part.get("refusal", "")) for part in parts)
        assert said.get(item["id"], "") == (whole if told is None else told)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_a_stream_and_a_whole_answer_say_the_same(practice, case):
    """The last event of a stream is the response that a request without a stream gets, ids aside."""
    if case.fields.get("background"):
        whole = practice.ask({"ordered": case.ordered}, **case.fields)
        whole = practice.get(f"/v1/responses/{whole['id']}")
    else:
        whole = practice.ask({"ordered": case.ordered}, **case.fields)

    events = Practice(CONFIG).stream({"ordered": case.ordered}, **case.fields)
    last = events[-1].content["response"]

    assert whole.pop("billing") == {"payer": "developer"}
    assert whole.keys() == last.keys()
    assert [shape(item) for item in whole["output"]] == [shape(item) for item in last["output"]]
    same = whole.keys() - {"id", "output"}
    assert {key: whole[key] for key in same} == {key: last[key] for key in same}


def shape(item: dict[str, Any]) -> dict[str, Any]:
    """Return an item without what is told of it once only."""
    own = ("id", "call_id", "container_id", "encrypted_content", "results")
    return {key: value for key, value in item.items() if key not in own} | (
        {"content": [part.get("text") for part in item["content"]]} if item.get("content") else {}
    )


def test_probabilities_are_told_on_request(practice):
    """Each delta has those of its tokens, and the text all of them, with their bytes."""
    events = practice.stream(include=["message.output_text.logprobs"], top_logprobs=2)

    told = [entry for event in events if event.tokens for entry in event.content["logprobs"]]
    part = events[-1].content["response"]["output"][0]["content"][0]
    assert "".join(entry["token"] for entry in told) == part["text"]
    assert {len(entry["top_logprobs"]) for entry in told} == {2}
    assert [entry["logprob"] for entry in part["logprobs"]] == [entry["logprob"] for entry in told]
    assert bytes(part["logprobs"][0]["bytes"]).decode() == part["logprobs"][0]["token"]
    assert not any("bytes" in entry for entry in told)


def test_events_are_padded_unless_it_is_switched_off(practice):
    """Deltas carry padding, so that their length tells nothing; `include_obfuscation` ends it."""
    padded = practice.stream()
    bare = practice.stream(stream_options={"include_obfuscation": False})

    assert {len(e.content["obfuscation"] + e.content["delta"]) for e in padded if e.tokens} == {16}
    assert not any("obfuscation" in event.content for event in bare)


def test_an_error_continues_the_numbers(practice):
    """A stream that breaks ends with an `error` event, flat and numbered as the next one."""
    from headworks.simulator.problems import Refusal

    reply = practice.answer("POST", "/v1/responses", {"model": "gpt-4o", "input": "Hello"})

    event = reply.error(Refusal(500, "No more.", type="server_error", code="server_error"), 7)

    assert event == (
        b'event: error\ndata: {"type":"error","code":"server_error","message":"No more.",'
        b'"param":null,"sequence_number":7}\n\n'
    )
