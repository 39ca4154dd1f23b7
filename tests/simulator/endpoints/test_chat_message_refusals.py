"""What messages of a chat may not be, in the words of the real API."""

import pytest

from tests.simulator.endpoints.mistakes import (
    CALL,
    HELLO,
    NO_CONTENT,
    NULL,
    ROLES,
    Case,
    expected,
    message,
    told,
)

CASES = [
    message("no content", NO_CONTENT, "messages.[0].content", None, {"role": "user"}),
    message(
        "null content",
        NO_CONTENT,
        "messages.[1].content",
        None,
        *HELLO,
        {"role": "assistant", "content": None, "refusal": None},
    ),
    message(
        "a developer without content",
        "Missing required parameter: 'messages[1].content'.",
        "messages[1].content",
        "missing_required_parameter",
        *HELLO,
        {"role": "developer"},
    ),
    message(
        "content that is a number",
        "Invalid type for 'messages[0].content': expected one of a string or array of objects, but got "
        "an integer instead.",
        "messages[0].content",
        "invalid_type",
        {"role": "user", "content": 7},
    ),
    message(
        "an unheard-of role",
        f"Invalid value: 'bogus'. Supported values are: {ROLES}.",
        "messages[1].role",
        "invalid_value",
        *HELLO,
        {"role": "bogus", "content": ""},
    ),
    message(
        "an unheard-of part",
        "Invalid value: 'picture'. Supported values are: 'text', 'image_url', 'input_audio', 'refusal', "
        "'audio', and 'file'.",
        "messages[0].content[0].type",
        "invalid_value",
        {"role": "user", "content": [{"type": "picture"}]},
    ),
    message(
        "an address in the place of a picture",
        "Invalid type for 'messages[0].content[0].image_url': expected an object, but got a string "
        "instead.",
        "messages[0].content[0].image_url",
        "invalid_type",
        {
            "role": "user",
            "content": [{"type": "image_url", "image_url": "https://example.com/a.png"}],
        },
    ),
    message(
        "a picture that is none",
        "You uploaded an unsupported image. Please make sure your image has of one the following "
        "formats: ['png', 'jpeg', 'gif', 'webp'].",
        NULL,
        "invalid_image_format",
        {
            "role": "user",
            "content": [
                {
                    "type": "image_url",
                    "image_url": {"url": "data:image/png;base64,bm8gcGljdHVyZQ=="},
                }
            ],
        },
    ),
    message(
        "a picture from the assistant",
        "Invalid 'messages[1]'. Image URLs are only allowed for messages with role 'user', but this "
        "message with role 'assistant' contains an image URL.",
        "messages[1]",
        "invalid_value",
        *HELLO,
        {
            "role": "assistant",
            "content": [{"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}],
        },
    ),
    message(
        "a name with a blank",
        "Invalid 'messages[0].name': string does not match pattern. Expected a string that matches the "
        "pattern '^[a-zA-Z0-9_-]+$'.",
        "messages[0].name",
        "invalid_value",
        {"role": "user", "content": "Hello", "name": "Jo Doe"},
    ),
    message(
        "no calls",
        "Invalid 'messages[1].tool_calls': empty array. Expected an array with minimum length 1, but got "
        "an empty array instead.",
        "messages[1].tool_calls",
        "empty_array",
        *HELLO,
        {"role": "assistant", "content": "x", "tool_calls": []},
    ),
    message(
        "a result that nobody asked for",
        "Invalid parameter: messages with role 'tool' must be a response to a preceeding message with "
        "'tool_calls'.",
        "messages.[1].role",
        None,
        *HELLO,
        {"role": "tool", "tool_call_id": "call_1", "content": "x"},
    ),
    message(
        "a result of another call",
        "Invalid parameter: 'tool_call_id' of 'call_2' not found in 'tool_calls' of previous message.",
        "messages.[2].tool_call_id",
        None,
        *HELLO,
        {"role": "assistant", "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "call_2", "content": "x"},
    ),
    message(
        "a call without a result",
        "An assistant message with 'tool_calls' must be followed by tool messages responding to each "
        "'tool_call_id'. The following tool_call_ids did not have response messages: call_1",
        "messages.[2].role",
        None,
        *HELLO,
        {"role": "assistant", "tool_calls": [CALL]},
        *HELLO,
    ),
    Case(
        "a model for embeddings",
        {},
        "You are not allowed to sample from this model",
        model="text-embedding-3-small",
        status=403,
    ),
    Case(
        "a model for texts",
        {},
        "This is not a chat model and thus not supported in the v1/chat/completions endpoint. Did you "
        "mean to use v1/completions?",
        "model",
        model="davinci-002",
        status=404,
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_a_mistake_is_told_as_the_real_one_tells_it(simulator, case):
    """Status, words, parameter and code are those of the real API."""
    assert told(simulator, case) == expected(case)
