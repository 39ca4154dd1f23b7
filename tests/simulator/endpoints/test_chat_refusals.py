"""What fields of a chat may not be, in the words of the real API."""

import pytest

from tests.simulator.endpoints.mistakes import (
    NEW,
    TOOL,
    Case,
    expected,
    lacking,
    listed,
    mistyped,
    ranged,
    told,
    unsupported,
)

ABOVE, BELOW = "above maximum value. Expected a value", "below minimum value. Expected a value"
CASES = [
    Case("an unknown field", {"zzz": 1}, "Unknown parameter: 'zzz'.", "zzz", "unknown_parameter"),
    Case(
        "an unknown option of the stream",
        {"stream": True, "stream_options": {"bogus": 1}},
        "Unknown parameter: 'stream_options.bogus'.",
        "stream_options.bogus",
        "unknown_parameter",
    ),
    Case(
        "options of no stream",
        {"stream_options": {"include_usage": True}},
        "The 'stream_options' parameter is only allowed when 'stream' is enabled.",
        "stream_options",
    ),
    unsupported("max_tokens", 32, " Use 'max_completion_tokens' instead."),
    unsupported("stop", ["ZZ"]),
    unsupported("logit_bias", {"1": 1}),
    unsupported("prediction", {"type": "content", "content": "pong"}),
    unsupported("presence_penalty", 0.5),
    unsupported("frequency_penalty", 0.5),
    unsupported("top_p", 0.5),
    unsupported("logprobs", value=True),
    Case(
        "temperature while thinking",
        {"temperature": 0.5},
        "Unsupported value: 'temperature' does not support 0.5 with this model. Only the default (1) "
        "value is supported.",
        "temperature",
        "unsupported_value",
        NEW,
    ),
    Case(
        "an effort that the model does not know",
        {"reasoning_effort": "minimal"},
        "Unsupported value: 'reasoning_effort' does not support 'minimal' with this model. Supported "
        "values are: 'none', 'low', 'medium', 'high', 'xhigh', and 'max'.",
        "reasoning_effort",
        "unsupported_value",
        NEW,
    ),
    Case(
        "an effort of a model that does not think",
        {"reasoning_effort": "low"},
        "Unrecognized request argument supplied: reasoning_effort",
    ),
    Case(
        "two bounds",
        {"max_tokens": 3, "max_completion_tokens": 3},
        "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported.",
        "max_tokens",
        "invalid_parameter_combination",
    ),
    Case(
        "a search",
        {"web_search_options": {}},
        "Web search options not supported with this model.",
        "web_search_options",
    ),
    mistyped("n", "2", "an integer", "a string"),
    mistyped("seed", 1.5, "an integer", "a decimal number"),
    mistyped("temperature", "hot", "a decimal", "a string"),
    mistyped("store", "yes", "a boolean", "a string"),
    mistyped("stream", {}, "a boolean", "an object"),
    mistyped("user", {"a": 1}, "a string", "an object"),
    mistyped("tools", "none", "an array of objects", "a string"),
    mistyped("functions", "x", "an array of function definitions", "a string"),
    mistyped("modalities", "text", "an array of strings", "a string"),
    listed("modalities[1]", "smell", "'text' and 'audio'", {"modalities": ["text", "smell"]}),
    Case(
        "a modality while thinking",
        {"modalities": ["text"]},
        "Unknown parameter: 'modalities'.",
        "modalities",
        "unknown_parameter",
        NEW,
    ),
    mistyped("metadata", "x", "a metadata object", "a string"),
    mistyped("response_format", "json", "an object", "a string"),
    mistyped("stop", [1], "one of a string or array of strings", "an array"),
    mistyped("moderation", [], "an object", "an array"),
    mistyped("logit_bias", 7, "an object", "an integer"),
    mistyped(
        "service_tier",
        {},
        "one of 'auto', 'default', 'fast', 'flex', 'priority', or 'scale'",
        "an object",
    ),
    mistyped("prompt_cache_retention", 7, "one of 'in_memory' or '24h'", "an integer"),
    mistyped(
        "tool_choice",
        7,
        "one of one of 'none', 'auto', or 'required' or object",
        "an integer",
    ),
    ranged("temperature", 3, f"decimal {ABOVE} <= 2", "decimal_above_max_value"),
    ranged("top_p", -0.5, f"decimal {BELOW} >= 0", "decimal_below_min_value"),
    ranged("presence_penalty", -3, f"decimal {BELOW} >= -2", "decimal_below_min_value"),
    ranged("frequency_penalty", 2.5, f"decimal {ABOVE} <= 2", "decimal_above_max_value"),
    ranged("n", 0, f"integer {BELOW} >= 1", "integer_below_min_value"),
    ranged("top_logprobs", 21, f"integer {ABOVE} <= 20", "integer_above_max_value"),
    ranged("max_completion_tokens", 0, f"integer {BELOW} >= 1", "integer_below_min_value"),
    Case(
        "likely tokens that are not asked for",
        {"top_logprobs": 1},
        "The 'top_logprobs' parameter is only allowed when 'logprobs' is enabled.",
        "top_logprobs",
    ),
    Case(
        "too many likely tokens of a model that can think",
        {"logprobs": True, "top_logprobs": 6, "reasoning_effort": "none"},
        "Invalid value for 'top_logprobs': must be less than or equal to 5.",
        "top_logprobs",
        model=NEW,
    ),
    Case(
        "too many stops",
        {"stop": list("abcde")},
        "Invalid 'stop': array too long. Expected an array with maximum length 4, but got an array "
        "with length 5 instead.",
        "stop",
        "array_above_max_length",
    ),
    listed("service_tier", "bogus", "'auto', 'default', 'fast', 'flex', 'priority', and 'scale'"),
    listed("verbosity", "bogus", "'low', 'medium', and 'high'"),
    listed(
        "type",
        "bogus",
        "'json_object', 'json_schema', and 'text'",
        {"response_format": {"type": "bogus"}},
        "response_format.type",
    ),
    listed(
        "tool_choice",
        "bogus",
        "'none', 'auto', and 'required'",
        {"tools": [TOOL], "tool_choice": "bogus"},
    ),
    Case(
        "an unheard-of retention",
        {"prompt_cache_retention": "x"},
        "Invalid prompt_cache_retention argument",
        "prompt_cache_retention",
    ),
    Case(
        "too much metadata",
        {"metadata": {f"k{n}": "v" for n in range(17)}},
        "Invalid 'metadata': too many properties. Expected an object with at most 16 properties, but "
        "got an object with 17 properties instead.",
        "metadata",
        "object_above_max_properties",
    ),
    Case(
        "long metadata",
        {"metadata": {"k": "x" * 600}},
        "Invalid 'metadata.k': string too long. Expected a string with maximum length 512, but got a "
        "string with length 600 instead.",
        "metadata.k",
        "string_above_max_length",
    ),
    Case(
        "a long name of metadata",
        {"metadata": {"k" * 70: "v"}},
        "Invalid property name in 'metadata': 'kkk...kkk' is too long. Expected a string with maximum "
        "length 64, but got a string with length 70 instead.",
        f"metadata.{'k' * 70}",
        "property_name_above_max_length",
    ),
    lacking("response_format.type", {"response_format": {}}),
    lacking("response_format.json_schema", {"response_format": {"type": "json_schema"}}),
    lacking(
        "response_format.json_schema.name",
        {"response_format": {"type": "json_schema", "json_schema": {}}},
    ),
    lacking("moderation.model", {"moderation": {}}),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_a_mistake_is_told_as_the_real_one_tells_it(simulator, case):
    """Status, words, parameter and code are those of the real API."""
    assert told(simulator, case) == expected(case)
