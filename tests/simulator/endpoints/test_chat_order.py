"""In which order a chat is judged, and what is no mistake."""

from typing import Any

import pytest

from headworks.simulator import SimulatorConfig, running
from tests.simulator.endpoints.mistakes import CALL, HELLO, NEW, NULL, OLD, TOOL, ask

ORDER = [
    ({"messages": NULL, "zzz": 1}, "messages"),
    ({"zzz": 1, "n": "abc"}, "zzz"),
    ({"messages": [], "zzz": 1}, "zzz"),
    ({"messages": [{"role": "user"}, {"role": "user", "content": 7}]}, "messages[1].content"),
    ({"messages": "x", "functions": "x"}, "messages"),
    ({"functions": "x", "tools": "x"}, "functions"),
    ({"tools": "x", "parallel_tool_calls": "x"}, "tools"),
    ({"parallel_tool_calls": {}, "max_completion_tokens": "x"}, "parallel_tool_calls"),
    ({"max_completion_tokens": "x", "n": "x"}, "max_completion_tokens"),
    ({"n": "x", "temperature": "x"}, "n"),
    ({"temperature": "x", "top_p": "x"}, "temperature"),
    ({"logprobs": "x", "top_logprobs": "x"}, "logprobs"),
    ({"user": 1, "seed": "x"}, "user"),
    ({"seed": "x", "safety_identifier": 1}, "seed"),
    ({"prompt_cache_key": 1, "prompt_cache_options": 1}, "prompt_cache_options"),
    ({"response_format": 1, "service_tier": 1}, "response_format"),
    ({"service_tier": 1, "max_tokens": 3}, "service_tier"),
    ({"max_tokens": 3, "reasoning_effort": "x"}, "max_tokens"),
    ({"reasoning_effort": "x", "logit_bias": {}}, "reasoning_effort"),
    ({"logit_bias": {}, "stop": "x"}, "logit_bias"),
    ({"stop": "x", "stream": "x"}, "stop"),
    ({"stream": "x", "store": "x"}, "stream"),
    ({"store": "x", "metadata": "x"}, "store"),
    ({"metadata": "x", "prediction": {}}, "metadata"),
    ({"prediction": {}, "verbosity": "x"}, "prediction"),
    ({"verbosity": "x", "temperature": 0.5}, "verbosity"),
    ({"temperature": 0.5, "messages": [{"role": "user"}]}, "temperature"),
]


@pytest.mark.parametrize(("fields", "param"), ORDER, ids=lambda value: str(value)[:60])
def test_of_two_mistakes_the_real_ones_first_is_told(simulator, fields, param):
    """Whoever mends one mistake after the other goes the same way as with the real API."""
    turned = dict(reversed(fields.items()))
    answer = ask(simulator, **{"messages": HELLO, **turned, "model": NEW})

    assert answer.json()["error"]["param"] == param


ACCEPTED: dict[str, dict[str, Any]] = {
    "all that nobody acts on": {
        "metadata": {"k" * 64: "x" * 512},
        "store": False,
        "user": "u",
        "safety_identifier": "s",
        "seed": 1,
        "prompt_cache_key": "k",
        "prompt_cache_options": {"ttl": "30m"},
        "prompt_cache_retention": "24h",
        "moderation": {"model": "omni-moderation-latest"},
        "verbosity": "low",
        "service_tier": "fast",
    },
    "nulls": dict.fromkeys(
        (
            *("n", "stop", "tools", "tool_choice", "functions", "logprobs", "top_logprobs", "seed"),
            *(
                "stream",
                "stream_options",
                "response_format",
                "metadata",
                "temperature",
                "max_tokens",
            ),
        )
    ),
    "the bounds themselves": {
        "temperature": 2,
        "top_p": 0,
        "presence_penalty": -2,
        "frequency_penalty": 2,
        "n": 1,
        "logprobs": True,
        "top_logprobs": 20,
        "stop": list("abcd"),
        "logit_bias": {"1": -100},
    },
    "empty content": {
        "messages": [{"role": "user", "content": ""}, {"role": "user", "content": []}]
    },
    "a picture": {
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "What is it?"},
                    {
                        "type": "image_url",
                        "image_url": {"url": "data:image/gif;base64,R0lGODlhAQABAA=="},
                    },
                    {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
                ],
            }
        ]
    },
    "a refusal in the place of content": {
        "messages": [*HELLO, {"role": "assistant", "refusal": "no"}, *HELLO]
    },
    "two results of two calls": {
        "messages": [
            *HELLO,
            {"role": "assistant", "content": None, "tool_calls": [CALL, CALL | {"id": "call_2"}]},
            {"role": "tool", "tool_call_id": "call_2", "content": "x"},
            {"role": "tool", "tool_call_id": "call_1", "content": [{"type": "text", "text": "x"}]},
        ]
    },
    "no choice of no tools": {"tool_choice": "none"},
}


@pytest.mark.parametrize("fields", ACCEPTED.values(), ids=ACCEPTED.keys())
def test_what_is_right_is_answered(simulator, fields):
    """The last value within a bound, nulls and rare fields are no mistakes."""
    answer = ask(simulator, **{"model": OLD, "messages": HELLO, **fields})

    assert answer.status_code == 200, answer.text


def test_a_model_that_is_told_not_to_think_takes_what_others_take(simulator):
    """At effort none temperature, penalties and probabilities are open, and default ones always."""
    loose = {"temperature": 0.5, "top_p": 0.5, "presence_penalty": 1, "logprobs": True}

    assert ask(simulator, model=NEW, messages=HELLO, reasoning_effort="none", **loose).is_success
    usual = {"temperature": 1, "top_p": 1.0, "presence_penalty": 0, "logprobs": False}
    assert ask(simulator, model=NEW, messages=HELLO, **usual).is_success


def test_a_bound_that_does_not_fit_beside_the_prompt_is_refused():
    """Where prompt and answer share a window, the words name both shares, and the tools'."""
    long = [{"role": "user", "content": "river " * 7_000}]
    with running(SimulatorConfig(models={"gpt-4": None})) as simulator:
        answers = [
            ask(simulator, model="gpt-4", messages=long, max_tokens=2_000, **more)
            for more in ({}, {"tools": [TOOL]})
        ]

    bare, tooled = (answer.json()["error"] for answer in answers)
    assert bare["message"] == (
        "This model's maximum context length is 8192 tokens. However, you requested 9008 tokens (7008 "
        "in the messages, 2000 in the completion). Please reduce the length of the messages or "
        "completion."
    )
    assert (
        "in the functions, and 2000 in the completion). Please reduce the length of the messages, functions, or completion."
        in tooled["message"]
    )
    assert (bare["code"], bare["param"]) == ("context_length_exceeded", "messages")
