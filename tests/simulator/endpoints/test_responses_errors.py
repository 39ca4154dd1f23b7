"""What `/responses` refuses, in the real one's words."""

from dataclasses import dataclass, field
from typing import Any

import pytest

from headworks.simulator.problems import Refusal

LOOSE = {"type": "object", "properties": {"a": {"type": "string"}}}
CALL = {"type": "function_call", "call_id": "call_1", "name": "f", "arguments": "{}"}
OUTPUT = {"type": "function_call_output", "call_id": "call_1", "output": "1"}
QUERY = {"type": "custom_tool_call", "call_id": "call_2", "name": "q", "input": "x"}
THINKER = {"model": "gpt-6-sol"}
INVALID = "invalid_value"
MISSING = "missing_required_parameter"
WRONG = "invalid_type"


def said(**message: Any) -> dict[str, Any]:
    return {"input": [{"role": "user", "content": "Hello"}, message]}


def shaped(**form: Any) -> dict[str, Any]:
    return {"text": {"format": form}}


@dataclass(frozen=True)
class Case:
    message: str
    code: str | None
    param: str | None
    fields: dict[str, Any] = field(default_factory=dict[str, Any])
    status: int = 400


CASES = [
    Case("Unknown parameter: 'messages'.", "unknown_parameter", "messages", {"messages": []}),
    Case("Missing required parameter: 'input'.", MISSING, "input", {"input": None}),
    Case(
        "Invalid type for 'input': expected one of a string or array of input items, but got an "
        "integer instead.",
        WRONG,
        "input",
        {"input": 3},
    ),
    Case(
        "Invalid type for 'store': expected a boolean, but got a string instead.",
        WRONG,
        "store",
        {"store": "yes"},
    ),
    Case(
        "Invalid type for 'text': expected an object, but got a string instead.",
        WRONG,
        "text",
        {"text": "JSON"},
    ),
    Case(
        "Invalid 'max_output_tokens': integer below minimum value. Expected a value >= 16, but "
        "got 15 instead.",
        "integer_below_min_value",
        "max_output_tokens",
        {"max_output_tokens": 15},
    ),
    Case(
        "Invalid 'temperature': decimal above maximum value. Expected a value <= 2, but got 2.5 "
        "instead.",
        "decimal_above_max_value",
        "temperature",
        {"temperature": 2.5},
    ),
    Case(
        "Invalid 'top_logprobs': integer above maximum value. Expected a value <= 20, but got 21 "
        "instead.",
        "integer_above_max_value",
        "top_logprobs",
        {"top_logprobs": 21},
    ),
    Case(
        "Invalid 'prompt_cache_key': string too long. Expected a string with maximum length 64, "
        "but got a string with length 65 instead.",
        "string_above_max_length",
        "prompt_cache_key",
        {"prompt_cache_key": "k" * 65},
    ),
    Case(
        "Invalid value: 'sometimes'. Supported values are: 'auto' and 'disabled'.",
        INVALID,
        "truncation",
        {"truncation": "sometimes"},
    ),
    Case(
        "Invalid value: 'all'. Supported values are:", INVALID, "include[0]", {"include": ["all"]}
    ),
    Case(
        "Invalid type for 'include': expected an array of strings",
        WRONG,
        "include",
        {"include": "all"},
    ),
    # items
    Case(
        "Invalid type for 'input[1]': expected an object, but got a string instead.",
        WRONG,
        "input[1]",
        {"input": [{"role": "user", "content": "Hello"}, "Hello"]},
    ),
    Case(
        "Missing required parameter: 'input[1].role'.", MISSING, "input[1].role", said(content="a")
    ),
    Case(
        "Missing required parameter: 'input[1].content'.",
        MISSING,
        "input[1].content",
        said(role="user"),
    ),
    Case(
        "Invalid type for 'input[1].content': expected one of an array of objects or string, but "
        "got null instead.",
        WRONG,
        "input[1].content",
        said(role="assistant", content=None),
    ),
    Case(
        "Invalid value: 'tool'. Supported values are: 'assistant', 'system', 'developer', and "
        "'user'.",
        INVALID,
        "input[1].role",
        said(role="tool", content="a"),
    ),
    Case(
        "Invalid value: 'text'. Supported values are: 'input_text', 'input_image', 'output_text', "
        "'refusal', 'input_file', 'computer_screenshot', and 'summary_text'.",
        INVALID,
        "input[1].content[0]",
        said(role="user", content=[{"type": "text", "text": "a"}]),
    ),
    Case(
        "Invalid value: 'input_text'. Supported values are: 'output_text' and 'refusal'.",
        INVALID,
        "input[1].content[0]",
        said(role="assistant", content=[{"type": "input_text", "text": "a"}]),
    ),
    Case(
        "Invalid type for 'input[1].content[0].image_url': expected an image URL, but got an "
        "object instead.",
        WRONG,
        "input[1].content[0].image_url",
        said(role="user", content=[{"type": "input_image", "image_url": {"url": "https://a/b"}}]),
    ),
    Case(
        "Invalid 'input[1].content[0].image_url'. Expected a valid URL, but got a value with an "
        "invalid format.",
        INVALID,
        "input[1].content[0].image_url",
        said(role="user", content=[{"type": "input_image", "image_url": "b.png"}]),
    ),
    Case(
        "Missing required parameter: 'input[1].content[0].image_url'.",
        MISSING,
        "input[1].content[0].image_url",
        said(role="user", content=[{"type": "input_image"}]),
    ),
    Case("Invalid value: 'wish'. Supported values are:", INVALID, "input[1]", said(type="wish")),
    Case(
        "Missing required parameter: 'input[1].output'.",
        MISSING,
        "input[1].output",
        said(type="function_call_output", call_id="call_1"),
    ),
    Case(
        "No tool call found for function call output with call_id call_1.",
        None,
        "input",
        {"input": [OUTPUT]},
    ),
    Case("No tool output found for function call call_1.", None, "input", {"input": [CALL]}),
    Case(
        "No tool output found for custom tool call call_2.",
        None,
        "input",
        {"input": [CALL, QUERY, OUTPUT]},
    ),
    Case(
        "Item with id 'msg_1' not found.",
        None,
        "input",
        said(type="item_reference", id="msg_1"),
        404,
    ),
    Case(
        "Item with id 'msg_1' not found. Items are not persisted when `store` is set to false. "
        "Try again with `store` set to true, or remove this item from your input.",
        None,
        "input",
        {**said(type="item_reference", id="msg_1"), "store": False},
        404,
    ),
    # tools
    Case("Missing required parameter: 'tools[0].type'.", MISSING, "tools[0].type", {"tools": [{}]}),
    Case("Invalid value: 'magic'.", INVALID, "tools[0].type", {"tools": [{"type": "magic"}]}),
    Case(
        "Missing required parameter: 'tools[0].name'.",
        MISSING,
        "tools[0].name",
        {"tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}]},
    ),
    Case(
        "Invalid 'tools[0].name': string does not match pattern. Expected a string that matches "
        "the pattern '^[a-zA-Z0-9_-]+$'.",
        INVALID,
        "tools[0].name",
        {"tools": [{"type": "function", "name": "a b"}]},
    ),
    Case(
        "Invalid schema for function 'f': In context=(), 'additionalProperties' is required to be "
        "supplied and to be false.",
        "invalid_function_parameters",
        "tools[0].parameters",
        {"tools": [{"type": "function", "name": "f", "strict": True, "parameters": LOOSE}]},
    ),
    Case(
        "Missing required parameter: 'tools[0].server_url'.",
        MISSING,
        "tools[0].server_url",
        {"tools": [{"type": "mcp", "server_label": "docs"}]},
    ),
    Case(
        "Tool choice 'required' must be specified with 'tools' parameter.",
        None,
        "tool_choice",
        {"tool_choice": "required"},
    ),
    Case(
        "Tool choice 'g' not found in 'tools' parameter.",
        None,
        "tool_choice",
        {
            "tools": [{"type": "function", "name": "f"}],
            "tool_choice": {"type": "function", "name": "g"},
        },
    ),
    Case("Invalid value: 'always'.", INVALID, "tool_choice", {"tool_choice": "always"}),
    # formats
    Case(
        "Missing required parameter: 'text.format.name'.",
        MISSING,
        "text.format.name",
        shaped(type="json_schema", schema={}),
    ),
    Case(
        "Invalid value: 'xml'. Supported values are: 'text', 'json_object', and 'json_schema'.",
        INVALID,
        "text.format.type",
        shaped(type="xml"),
    ),
    Case(
        "Invalid schema for response_format 'n': In context=(), 'additionalProperties' is required "
        "to be supplied and to be false.",
        "invalid_json_schema",
        "text.format.schema",
        shaped(type="json_schema", name="n", strict=True, schema=LOOSE),
    ),
    Case(
        "Response input messages must contain the word 'json' in some form to use 'text.format' "
        "of type 'json_object'.",
        None,
        "input",
        shaped(type="json_object"),
    ),
    Case(
        "Invalid 'context_management[0].compact_threshold': integer below minimum value.",
        "integer_below_min_value",
        "context_management[0].compact_threshold",
        {"context_management": [{"type": "compaction", "compact_threshold": 10}]},
    ),
    # models
    Case(
        "The requested model 'nobody' does not exist.",
        "model_not_found",
        "model",
        {"model": "nobody"},
    ),
    Case(
        "Unsupported parameter: 'temperature' is not supported with this model.",
        None,
        "temperature",
        {**THINKER, "temperature": 0.2},
    ),
    Case(
        "Unsupported parameter: 'reasoning.effort' is not supported with this model.",
        "unsupported_parameter",
        "reasoning.effort",
        {"reasoning": {"effort": "low"}},
    ),
    Case(
        "Encrypted content is not supported with this model.",
        None,
        "include",
        {"include": ["reasoning.encrypted_content"]},
    ),
    Case(
        "Invalid value: 'huge'.",
        INVALID,
        "reasoning.effort",
        {**THINKER, "reasoning": {"effort": "huge"}},
    ),
    Case(
        "Your input exceeds the context window of this model. Please adjust your input and try "
        "again.",
        "context_length_exceeded",
        "input",
        {"model": "narrow", "input": "river " * 40},
    ),
    Case(
        "Unsupported value: 'minimal' is not supported with the 'gpt-6-sol' model. Supported values "
        "are: 'none', 'low', 'medium', 'high', 'xhigh', and 'max'.",
        "unsupported_value",
        "reasoning.effort",
        {**THINKER, "reasoning": {"effort": "minimal"}},
    ),
    # the past
    Case(
        "Previous response with id 'resp_1' not found.",
        "previous_response_not_found",
        "previous_response_id",
        {"previous_response_id": "resp_1"},
    ),
    Case("Conversation with id 'conv_1' not found.", None, None, {"conversation": "conv_1"}, 404),
    Case(
        "Missing required parameter: 'conversation.id'.",
        MISSING,
        "conversation.id",
        {"conversation": {}},
    ),
    Case(
        "Mutually exclusive parameters: 'previous_response_id' and 'conversation'. Ensure you are "
        "only providing one of: 'previous_response_id' or 'conversation'.",
        "mutually_exclusive_parameters",
        "conversation",
        {"previous_response_id": "resp_1", "conversation": "conv_1"},
    ),
    Case("Prompt with id 'pmpt_1' not found.", None, "prompt", {"prompt": {"id": "pmpt_1"}}, 404),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.message[:60])
def test_mistakes_are_refused(practice, case):
    """A wrong request gets the status, words, code and param that the real API gives it."""
    with pytest.raises(Refusal) as caught:
        practice.ask(**case.fields)

    refusal = caught.value
    assert refusal.error["message"].startswith(case.message)
    assert (refusal.status, refusal.error["code"]) == (case.status, case.code)
    assert refusal.error["param"] == case.param
    assert refusal.error["type"] == "invalid_request_error"


FINE: list[dict[str, Any]] = [
    {"input": [CALL, OUTPUT]},
    {"input": [CALL, QUERY, OUTPUT, {**QUERY, "type": "custom_tool_call_output", "output": "1"}]},
    {"input": [{"role": "user", "content": []}]},
    {**THINKER, "temperature": 1, "top_p": 1},
    {**THINKER, "temperature": 0.2, "reasoning": {"effort": "none"}},
    {"input": "as JSON", **shaped(type="json_object")},
    {"instructions": "Answer in JSON.", **shaped(type="json_object")},
    {"tools": [], "tool_choice": "none"},
    {"metadata": None, "include": None, "reasoning": None, "tools": None, "conversation": None},
]


@pytest.mark.parametrize("fields", FINE, ids=str)
def test_what_is_allowed_is_answered(practice, fields):
    """Nothing is refused that the real API takes."""
    assert practice.ask(**fields)["status"] == "completed"


def test_what_does_not_fit_may_be_shortened(practice):
    """With `truncation: auto` the oldest items are left out until the rest fits."""
    items = [{"role": "user", "content": "river river river"} for _ in range(9)]

    answer = practice.ask(model="narrow", input=items, truncation="auto")

    assert answer["usage"]["input_tokens"] == 3 + 2 * (3 + 1 + 3)
