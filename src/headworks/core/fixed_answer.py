"""The answer that an operator has written for what a content filter stopped."""

from collections.abc import Callable
from typing import Any

import msgspec

from headworks.types import Call

_REASON = "content_filter"


def fixed_answer(endpoint: str, call: Call, text: str) -> bytes | None:
    """Return a whole answer that says `text`, None for an endpoint that does not answer in text.

    It ends by `content_filter`, so that an app can tell it from a model's own words.
    """
    make = _MAKERS.get(endpoint)
    return None if make is None else msgspec.json.encode(make(call, text))


def _chat(call: Call, text: str) -> dict[str, Any]:
    message = {"role": "assistant", "content": text, "refusal": None}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": _REASON}
    return {
        "id": f"chatcmpl-{call.id}",
        "object": "chat.completion",
        "created": int(call.time),
        "model": call.request.model,
        "choices": [choice],
        "usage": _usage(call, "prompt_tokens", "completion_tokens"),
    }


def _completion(call: Call, text: str) -> dict[str, Any]:
    return {
        "id": f"cmpl-{call.id}",
        "object": "text_completion",
        "created": int(call.time),
        "model": call.request.model,
        "choices": [{"index": 0, "text": text, "logprobs": None, "finish_reason": _REASON}],
        "usage": _usage(call, "prompt_tokens", "completion_tokens"),
    }


def _response(call: Call, text: str) -> dict[str, Any]:
    content: dict[str, Any] = {"type": "output_text", "text": text, "annotations": []}
    message = {
        "id": f"msg_{call.id}",
        "type": "message",
        "role": "assistant",
        "status": "incomplete",
        "content": [content],
    }
    return {
        "id": f"resp_{call.id}",
        "object": "response",
        "created_at": int(call.time),
        "status": "incomplete",
        "error": None,
        "incomplete_details": {"reason": _REASON},
        "instructions": None,
        "metadata": {},
        "model": call.request.model,
        "output": [message],
        "parallel_tool_calls": True,
        "temperature": None,
        "tool_choice": "auto",
        "tools": [],
        "top_p": None,
        "usage": {
            **_usage(call, "input_tokens", "output_tokens"),
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens_details": {"reasoning_tokens": 0},
        },
    }


def _usage(call: Call, given: str, made: str) -> dict[str, int]:
    """Return what the call has used so far: nothing, where the request was refused unread."""
    usage = call.usage
    return {given: usage.input, made: usage.output, "total_tokens": usage.input + usage.output}


_MAKERS: dict[str, Callable[[Call, str], dict[str, Any]]] = {
    "chat.completions": _chat,
    "completions": _completion,
    "responses": _response,
}
