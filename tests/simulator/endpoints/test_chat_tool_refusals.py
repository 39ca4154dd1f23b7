"""What tools of a chat may not be, in the words of the real API."""

import pytest

from tests.simulator.endpoints.mistakes import TOOL, Case, expected, lacking, strict, told

CASES = [
    lacking("functions[0].name", {"functions": [{}]}),
    lacking("tools[0].function", {"tools": [{"type": "function"}]}),
    lacking("tools[0].function.name", {"tools": [{"type": "function", "function": {}}]}),
    lacking("tool_choice.function", {"tools": [TOOL], "tool_choice": {"type": "bogus"}}),
    lacking(
        "tool_choice.function.name",
        {"tools": [TOOL], "tool_choice": {"type": "function", "function": {}}},
    ),
    lacking("function_call.name", {"functions": [{"name": "f"}], "function_call": {}}),
    Case(
        "no tools",
        {"tools": []},
        "Invalid 'tools': empty array. Expected an array with minimum length 1, but got an empty array "
        "instead.",
        "tools",
        "empty_array",
    ),
    Case(
        "a name with a dot",
        {"tools": [{"type": "function", "function": {"name": "a.b"}}]},
        "Invalid 'tools[0].function.name': string does not match pattern. Expected a string that "
        "matches the pattern '^[a-zA-Z0-9_-]+$'.",
        "tools[0].function.name",
        "invalid_value",
    ),
    Case(
        "an empty name",
        {"tools": [{"type": "function", "function": {"name": ""}}]},
        "Invalid 'tools[0].function.name': empty string. Expected a string with minimum length 1, but "
        "got an empty string instead.",
        "tools[0].function.name",
        "empty_string",
    ),
    Case(
        "a choice without tools",
        {"tool_choice": "auto"},
        "Invalid value for 'tool_choice': 'tool_choice' is only allowed when 'tools' are specified.",
        "tool_choice",
    ),
    Case(
        "several calls of no tools",
        {"parallel_tool_calls": False},
        "Invalid value for 'parallel_tool_calls': 'parallel_tool_calls' is only allowed when 'tools' are "
        "specified.",
        "parallel_tool_calls",
    ),
    Case(
        "a tool that is not there",
        {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "g"}}},
        "Invalid value for 'function_call': no function named 'g' was specified in the 'functions' "
        "parameter.",
        "function_call",
    ),
    Case(
        "arguments that are no object",
        {
            "tools": [
                {"type": "function", "function": {"name": "f", "parameters": {"type": "string"}}}
            ]
        },
        "Invalid schema for function 'f': schema must be a JSON Schema of 'type: \"object\"', got 'type: "
        '"string"\'.',
        "tools[0].function.parameters",
        "invalid_function_parameters",
    ),
    Case(
        "a strict tool that is not strict",
        {
            "tools": [
                {
                    "type": "function",
                    "function": {"name": "f", "strict": True, "parameters": {"type": "object"}},
                }
            ]
        },
        "Invalid schema for function 'f': In context=(), 'additionalProperties' is required to be "
        "supplied and to be false.",
        "tools[0].function.parameters",
        "invalid_function_parameters",
    ),
    strict(
        "an open object",
        {"type": "object", "properties": {}},
        "In context=(), 'additionalProperties' is required to be supplied and to be false.",
    ),
    strict(
        "an optional property",
        {
            "type": "object",
            "properties": {"a": {"type": "string"}, "b": {"type": "string"}},
            "required": ["a"],
            "additionalProperties": False,
        },
        "In context=(), 'required' is required to be supplied and to be an array including every key in "
        "properties. Missing 'b'.",
    ),
    strict(
        "a list at the top",
        {"type": "array", "items": {"type": "string"}},
        "schema must be a JSON Schema of 'type: \"object\"', got 'type: \"array\"'.",
    ),
    Case(
        "JSON that nobody speaks of",
        {"response_format": {"type": "json_object"}},
        "'messages' must contain the word 'json' in some form, to use 'response_format' of type "
        "'json_object'.",
        "messages",
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_a_mistake_is_told_as_the_real_one_tells_it(simulator, case):
    """Status, words, parameter and code are those of the real API."""
    assert told(simulator, case) == expected(case)
