"""Tools of a response: how they are understood, and which of them are called."""

import json
from dataclasses import dataclass, field
from typing import Any

import pytest

ADD: dict[str, Any] = {
    "type": "function",
    "name": "add",
    "parameters": {
        "type": "object",
        "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
    },
}
MULTIPLY = {**ADD, "name": "multiply"}
QUERY = {"type": "custom", "name": "query"}
SEARCH = {"type": "web_search"}
CODE = {"type": "code_interpreter", "container": {"type": "auto"}}
CALLS = {"function_call", "custom_tool_call"}
ANSWERED = [
    {"role": "user", "content": "Hello"},
    {"type": "function_call", "call_id": "call_1", "name": "add", "arguments": "{}"},
    {"type": "function_call_output", "call_id": "call_1", "output": "3"},
]


def kinds(answer):
    return [item["type"] for item in answer["output"]]


def called(answer):
    return [item["name"] for item in answer["output"] if item["type"] in CALLS]


@dataclass(frozen=True)
class Understood:
    id: str
    tool: dict[str, Any]
    told: dict[str, Any]


TOLD = [
    Understood(
        "a function that says nothing is made strict",
        ADD,
        {
            "type": "function",
            "description": None,
            "name": "add",
            "output_schema": None,
            "parameters": {
                **ADD["parameters"],
                "required": ["a", "b"],
                "additionalProperties": False,
            },
            "strict": True,
        },
    ),
    Understood(
        "a function that cannot be made strict is left alone",
        {**ADD, "parameters": {"type": "object", "additionalProperties": {"type": "string"}}},
        {
            "type": "function",
            "description": None,
            "name": "add",
            "output_schema": None,
            "parameters": {"type": "object", "additionalProperties": {"type": "string"}},
            "strict": False,
        },
    ),
    Understood(
        "a function that wants no strictness is left alone",
        {**ADD, "strict": False, "description": "Adds."},
        {
            "type": "function",
            "description": "Adds.",
            "name": "add",
            "output_schema": None,
            "parameters": ADD["parameters"],
            "strict": False,
        },
    ),
    Understood(
        "a custom tool",
        QUERY,
        {"type": "custom", "format": {"type": "text"}, "name": "query"},
    ),
    Understood(
        "a search of the web",
        {"type": "web_search_preview", "user_location": {"type": "approximate", "country": "GB"}},
        {
            "type": "web_search_preview",
            "search_context_size": "medium",
            "user_location": {
                "type": "approximate",
                "city": None,
                "country": "GB",
                "region": None,
                "timezone": None,
            },
        },
    ),
    Understood(
        "a search of files",
        {"type": "file_search", "vector_store_ids": ["vs_1"]},
        {
            "type": "file_search",
            "filters": None,
            "max_num_results": 20,
            "ranking_options": {"ranker": "auto", "score_threshold": 0.0},
            "vector_store_ids": ["vs_1"],
        },
    ),
    Understood(
        "a server whose address and secrets are nobody's business",
        {
            "type": "mcp",
            "server_label": "docs",
            "server_url": "https://example.com/mcp?key=secret",
            "authorization": "secret",
        },
        {
            "type": "mcp",
            "allowed_tools": None,
            "headers": None,
            "require_approval": "always",
            "server_description": None,
            "server_label": "docs",
            "server_url": "https://example.com/<redacted>",
        },
    ),
    Understood(
        "tools within a namespace",
        {"type": "namespace", "name": "sums", "description": "Sums.", "tools": [QUERY]},
        {
            "type": "namespace",
            "description": "Sums.",
            "name": "sums",
            "tools": [{"type": "custom", "format": {"type": "text"}, "name": "query"}],
        },
    ),
]


@pytest.mark.parametrize("case", TOLD, ids=lambda case: case.id)
def test_tools_are_told_as_they_are_understood(practice, case):
    """The response repeats a tool with all that the request left out, in the real one's order."""
    told = practice.ask(tools=[case.tool])["tools"]

    assert json.dumps(told) == json.dumps([case.told])


@dataclass(frozen=True)
class Case:
    id: str
    tools: list[dict[str, Any]]
    may: set[tuple[str, ...]]
    """The calls that may come; all of them do."""
    fields: dict[str, Any] = field(default_factory=dict[str, Any])


A, M, Q, NONE = ("add",), ("multiply",), ("query",), ()
BOTH = {("add", "multiply"), ("multiply", "add")}
CHOICES = [
    Case("nothing to call", [], {NONE}),
    Case("one function", [ADD], {A}),
    Case("two functions, together or alone", [ADD, MULTIPLY], {A, M, *BOTH}),
    Case("one at a time", [ADD, MULTIPLY], {A, M}, {"parallel_tool_calls": False}),
    Case("functions and custom tools", [ADD, QUERY], {A, Q, ("add", "query"), ("query", "add")}),
    Case("none is wanted", [ADD], {NONE}, {"tool_choice": "none"}),
    Case(
        "this one", [ADD, MULTIPLY], {M}, {"tool_choice": {"type": "function", "name": "multiply"}}
    ),
    Case("that one", [ADD, QUERY], {Q}, {"tool_choice": {"type": "custom", "name": "query"}}),
    Case(
        "some are allowed",
        [ADD, MULTIPLY],
        {M},
        {
            "tool_choice": {
                "type": "allowed_tools",
                "mode": "auto",
                "tools": [{"type": "function", "name": "multiply"}],
            }
        },
    ),
    Case("the provider's own", [SEARCH], {NONE}),
    Case("after an output", [ADD], {NONE}, {"input": ANSWERED}),
    Case("after an output, required", [ADD], {A}, {"input": ANSWERED, "tool_choice": "required"}),
    Case(
        "asked anew",
        [ADD],
        {A},
        {"input": [*ANSWERED, {"role": "user", "content": "Once more"}]},
    ),
]


@pytest.mark.parametrize("case", CHOICES, ids=lambda case: case.id)
def test_what_may_be_called_is_called(practice, case):
    """Tools are called as the request allows it; where there is a choice the words decide."""
    answers = [
        practice.ask(tools=case.tools, instructions=f"Be {number}.", **case.fields)
        for number in range(40)
    ]

    assert {tuple(called(answer)) for answer in answers} == case.may


def test_arguments_are_valid(practice):
    """All arguments that the stricter schema asks for are there, and of their kind."""
    answer = practice.ask(tools=[ADD])["output"][0]

    arguments = json.loads(answer["arguments"])
    assert {name: type(value) for name, value in arguments.items()} == {"a": int, "b": int}
    assert answer["call_id"].startswith("call_")


def test_parallel_calls_are_calls_of_their_own(practice):
    """Each of several calls has its own ids, and all their tokens are paid for."""
    answers = [practice.ask(tools=[ADD, MULTIPLY], instructions=str(n)) for n in range(20)]

    output = next(answer["output"] for answer in answers if len(answer["output"]) > 1)
    assert len({item["call_id"] for item in output}) == len({item["id"] for item in output}) == 2


@pytest.mark.parametrize(
    ("tool", "include", "key"),
    [
        (SEARCH, "web_search_call.action.sources", ("action", "sources")),
        (
            {"type": "file_search", "vector_store_ids": ["vs_1"]},
            "file_search_call.results",
            ("results",),
        ),
        (
            {"type": "code_interpreter", "container": {"type": "auto"}},
            "code_interpreter_call.outputs",
            ("outputs",),
        ),
    ],
)
def test_results_are_told_on_request(practice, tool, include, key):
    """What a tool of the provider found is told only if it is asked for; then words follow."""
    bare = practice.ask(tools=[tool])
    rich = practice.ask(tools=[tool], include=[include])

    assert kinds(bare) == kinds(rich) == [bare["output"][0]["type"], "message"]
    found, missing = rich["output"][0], bare["output"][0]
    for name in key:
        found, missing = found.get(name), (missing or {}).get(name)
    assert (bool(found), missing) == (True, None)


def test_a_search_is_cited_and_counted(practice):
    """The words after a search of the web point at what was found; the search is counted."""
    answer = practice.ask(tools=[SEARCH])

    text = answer["output"][1]["content"][0]
    note = text["annotations"][0]
    assert note["type"] == "url_citation"
    assert 0 <= note["start_index"] < note["end_index"] == len(text["text"])
    assert answer["tool_usage"]["web_search"] == {"num_requests": 1}


def test_code_prints_what_it_says(practice):
    """The logs of the code interpreter are what its code prints, in the container that was named."""
    tool = {"type": "code_interpreter", "container": "cntr_1"}
    call = practice.ask(tools=[tool], include=["code_interpreter_call.outputs"])["output"][0]

    assert call["container_id"] == "cntr_1"
    assert call["code"] == f'print("{call["outputs"][0]["logs"].rstrip()}")'


@pytest.mark.parametrize("limit", range(16, 40))
@pytest.mark.parametrize(
    "tools", [[ADD, MULTIPLY], [QUERY], [SEARCH], [CODE]], ids=lambda tools: tools[0]["type"]
)
def test_a_bound_holds_whatever_is_made(practice, tools, limit):
    """No output is longer than its bound; a call that is cut says so."""
    answer = practice.ask(
        model="gpt-6-sol", tools=tools, max_output_tokens=limit, reasoning={"effort": "none"}
    )

    whole = answer["status"] == "completed"
    assert answer["usage"]["output_tokens"] <= limit
    assert whole or answer["incomplete_details"] == {"reason": "max_output_tokens"}
    assert all(item["status"] == "completed" for item in answer["output"][:-1])
