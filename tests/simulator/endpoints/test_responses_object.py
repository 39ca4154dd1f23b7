"""The response object repeats each parameter as it was understood."""

from typing import Any

import pytest

KEYS = [
    "id",
    "object",
    "created_at",
    "status",
    "access_programs",
    "background",
    "completed_at",
    "error",
    "frequency_penalty",
    "incomplete_details",
    "instructions",
    "max_output_tokens",
    "max_tool_calls",
    "model",
    "moderation",
    "output",
    "parallel_tool_calls",
    "presence_penalty",
    "previous_response_id",
    "prompt_cache_key",
    "prompt_cache_retention",
    "reasoning",
    "safety_identifier",
    "service_tier",
    "store",
    "temperature",
    "text",
    "tool_choice",
    "tool_usage",
    "tools",
    "top_logprobs",
    "top_p",
    "truncation",
    "usage",
    "user",
    "metadata",
    "billing",
]
"""As recorded in October 2026, but for `billing`, which stands among the first there."""

USUAL: dict[str, Any] = {
    "object": "response",
    "status": "completed",
    "access_programs": None,
    "background": False,
    "error": None,
    "frequency_penalty": 0.0,
    "incomplete_details": None,
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "model": "gpt-4o",
    "moderation": None,
    "parallel_tool_calls": True,
    "presence_penalty": 0.0,
    "previous_response_id": None,
    "prompt_cache_key": None,
    "prompt_cache_retention": "in_memory",
    "reasoning": {"context": None, "effort": None, "summary": None},
    "safety_identifier": None,
    "service_tier": "default",
    "store": True,
    "temperature": 1.0,
    "text": {"format": {"type": "text"}, "verbosity": "medium"},
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": 0,
    "top_p": 1.0,
    "truncation": "disabled",
    "user": None,
    "metadata": {},
    "billing": {"payer": "developer"},
}
FORM = {"type": "json_schema", "name": "n", "schema": {"type": "object"}}
GIVEN: list[tuple[str, Any, Any]] = [
    ("access_programs", {"cyber": "standard"}, {"cyber": "standard"}),
    ("instructions", "Be kind.", "Be kind."),
    ("max_output_tokens", 1_000, 1_000),
    ("max_tool_calls", 2, 2),
    ("metadata", {"a": "b"}, {"a": "b"}),
    ("parallel_tool_calls", False, False),
    ("prompt_cache_key", "key", "key"),
    ("prompt_cache_retention", "24h", "24h"),
    ("safety_identifier", "somebody", "somebody"),
    ("service_tier", "flex", "flex"),
    ("store", False, False),
    ("temperature", 0, 0.0),
    ("text", {"verbosity": "low"}, {"format": {"type": "text"}, "verbosity": "low"}),
    (
        "text",
        {"format": FORM},
        {
            "format": {
                "type": "json_schema",
                "description": None,
                "name": "n",
                "schema": {"type": "object"},
                "strict": False,
            },
            "verbosity": "medium",
        },
    ),
    ("tool_choice", "none", "none"),
    ("top_logprobs", 3, 3),
    ("top_p", 0.5, 0.5),
    ("truncation", "auto", "auto"),
    ("user", "me", "me"),
]
THINKING: list[tuple[str, dict[str, Any], dict[str, Any], float, str]] = [
    ("o4-mini", {}, {"context": "current_turn", "effort": "medium"}, 1.0, "in_memory"),
    ("gpt-5", {}, {"context": "current_turn", "effort": "medium"}, 1.0, "in_memory"),
    (
        "gpt-5-mini",
        {"effort": "low"},
        {"context": "current_turn", "effort": "low"},
        1.0,
        "in_memory",
    ),
    ("gpt-5.1", {}, {"context": "current_turn", "effort": "none"}, 1.0, "in_memory"),
    ("gpt-5.2", {}, {"context": "current_turn", "effort": "none"}, 0.98, "in_memory"),
    ("gpt-5.4", {"summary": "auto"}, {"context": "current_turn", "effort": "none"}, 0.98, "24h"),
    ("gpt-5.6-luna", {}, {"context": "all_turns", "effort": "medium"}, 0.98, "24h"),
    (
        "gpt-6-sol",
        {"effort": "high", "mode": "pro", "summary": "concise"},
        {"context": "all_turns", "effort": "high", "mode": "pro", "summary": "concise"},
        0.98,
        "24h",
    ),
]


def test_a_response_has_the_real_one_s_keys_and_defaults(practice):
    """Every key is there, in the real one's order, with what a request that says nothing gets."""
    answer = practice.ask()

    assert list(answer) == KEYS
    assert {key: answer[key] for key in USUAL} == USUAL
    assert answer["completed_at"] == answer["created_at"]
    assert answer["usage"] == {
        "input_tokens": 8,
        "input_tokens_details": {"cache_write_tokens": 0, "cached_tokens": 0},
        "output_tokens": answer["usage"]["output_tokens"],
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 8 + answer["usage"]["output_tokens"],
    }


@pytest.mark.parametrize(("name", "given", "told"), GIVEN, ids=lambda value: str(value)[:20])
def test_parameters_are_repeated(practice, name, given, told):
    """What the request says stands in its response, in the answer and in each event of a stream."""
    answer = practice.ask(**{name: given})
    begun = practice.stream(**{name: given})[0].content["response"]

    assert answer[name] == told
    assert begun[name] == told


@pytest.mark.parametrize(("model", "asked", "told", "top_p", "retention"), THINKING)
def test_each_model_has_its_habits(served, model, asked, told, top_p, retention):
    """How long a model thinks, and what else goes without saying, is told as the real one tells it."""
    answer = served.ask(model=model, reasoning=asked)

    summary = {"auto": "detailed"}.get(asked.get("summary"), asked.get("summary"))
    assert answer["reasoning"] == {"mode": "standard", "summary": summary, **told}
    assert (answer["top_p"], answer["prompt_cache_retention"]) == (top_p, retention)


@pytest.mark.parametrize(
    ("model", "phase"), [("gpt-4o", None), ("gpt-5.2", None), ("gpt-5.4", "final_answer")]
)
def test_newer_models_tell_the_phase(served, model, phase):
    """Models from gpt-5.4 on say of a message that it is final."""
    message = served.ask(model=model)["output"][-1]

    assert message.get("phase") == phase
