"""Completions of texts, as before there were chats."""

import json
from typing import Any

import httpx
import openai
import pytest
import toktok

PROMPT = "The river"


def size(text: str) -> int:
    return int(toktok.truncate(text, 0, "cl100k_base")[1])


@pytest.fixture
def create(client):
    """Creates a completion with the official client."""

    def create(prompt: Any = PROMPT, **fields: Any) -> Any:
        return client.completions.create(model="davinci-002", prompt=prompt, **fields)

    return create


@pytest.fixture
def post(simulator):
    """Posts a request as it is."""

    def post(**fields: Any) -> httpx.Response:
        given = {"model": "davinci-002", "prompt": PROMPT, **fields}
        headers = {"authorization": "Bearer sk-simulator"}
        return httpx.post(f"{simulator.base_url}/completions", json=given, headers=headers)

    return post


def test_a_text_goes_on_for_sixteen_tokens(post):
    """Unless told otherwise; the object has the keys of the real one in their order."""
    answer = post().json()

    assert list(answer) == ["id", "object", "created", "model", "choices", "usage"]
    assert answer["id"].startswith("cmpl-")
    (choice,) = answer["choices"]
    assert list(choice) == ["text", "index", "logprobs", "finish_reason"]
    assert (choice["finish_reason"], choice["logprobs"], size(choice["text"])) == (
        "length",
        None,
        16,
    )
    assert answer["usage"] == {"prompt_tokens": 2, "completion_tokens": 16, "total_tokens": 18}


def test_a_text_may_come_to_an_end(create):
    """With room enough it stops by itself, or before a stop text."""
    whole = create(max_tokens=200).choices[0]
    cut = create(max_tokens=200, stop=".").choices[0]

    assert (whole.finish_reason, cut.finish_reason) == ("stop", "stop")
    assert cut.text == whole.text[: whole.text.index(".")]


def test_a_stream_brings_the_same(post, create):
    """One token a chunk; a text that was cut ends with its last token, another with an empty one."""
    for limit, ending in ((5, "length"), (200, "stop")):
        *events, done, _ = post(max_tokens=limit, stream=True).text.split("\n\n")
        chunks = [json.loads(event.removeprefix("data: ")) for event in events]
        choices = [chunk["choices"][0] for chunk in chunks]

        assert done == "data: [DONE]"
        assert list(chunks[0]) == ["id", "object", "created", "choices", "model"]
        assert (
            "".join(choice["text"] for choice in choices)
            == create(max_tokens=limit).choices[0].text
        )
        assert [choice["finish_reason"] for choice in choices[:-1]] == [None] * (len(choices) - 1)
        assert choices[-1]["finish_reason"] == ending
        assert bool(choices[-1]["text"]) is (ending == "length")


def test_usage_comes_at_the_end_of_a_stream_if_wanted(create):
    """All chunks but the last have none."""
    chunks = list(create(stream=True, stream_options={"include_usage": True}))

    assert [chunk.usage for chunk in chunks[:-1]] == [None] * 16
    assert (chunks[-1].choices, chunks[-1].usage) == ([], create().usage)


def test_several_prompts_and_choices_are_numbered(create):
    """Each prompt gets its choices in a row; the best of more costs as much as all of them."""
    answer = create(["One", "Two"], n=2, best_of=3, max_tokens=4)

    assert [choice.index for choice in answer.choices] == [0, 1, 2, 3]
    assert len({choice.text for choice in answer.choices}) == 4
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (2, 2 * 3 * 4)
    chunks = list(create(["One", "Two"], stream=True, max_tokens=2))
    assert [chunk.choices[0].index for chunk in chunks] == [0, 1, 0, 1]


def test_a_prompt_may_be_tokens(create):
    """Numbers count as tokens, one list a prompt."""
    assert create([1, 2, 3]).usage.prompt_tokens == 3
    assert len(create([[1, 2], [3]]).choices) == 2


def test_the_prompt_is_repeated_if_wanted(post, create):
    """The text begins with it, whole or in the first chunk; no new token has to follow."""
    assert create(echo=True, max_tokens=0).choices[0].text == PROMPT
    whole = create(echo=True).choices[0].text
    assert whole == PROMPT + create().choices[0].text
    *events, _, _ = post(echo=True, stream=True).text.split("\n\n")
    texts = [json.loads(event.removeprefix("data: "))["choices"][0]["text"] for event in events]
    assert (texts[0], "".join(texts)) == (PROMPT, whole)


def test_probabilities_are_told_the_old_way(post, create):
    """Four lists of equal length; of the very first token nobody knows how likely it was."""
    told = create(logprobs=2, echo=True).choices[0].logprobs

    assert "".join(told.tokens) == create(echo=True).choices[0].text
    assert len(told.tokens) == len(told.token_logprobs) == len(told.top_logprobs) == 18
    assert (told.token_logprobs[0], told.text_offset[:3]) == (None, [0, 3, 9])
    assert all(logprob <= 0 for logprob in told.token_logprobs[1:])
    assert {len(top) for top in told.top_logprobs[1:]} == {2}
    *events, _, _ = post(logprobs=2, echo=True, stream=True).text.split("\n\n")
    parts = [json.loads(event.removeprefix("data: "))["choices"][0]["logprobs"] for event in events]
    assert [one for part in parts for one in part["token_logprobs"]] == told.token_logprobs
    assert [one for part in parts for one in part["text_offset"]] == told.text_offset


@pytest.mark.parametrize(
    ("fields", "message", "param", "code"),
    [
        ({"zzz": 1}, "Unknown parameter: 'zzz'.", "zzz", "unknown_parameter"),
        (
            {"prompt": 7},
            "Invalid type for 'prompt': expected one of a string",
            "prompt",
            "invalid_type",
        ),
        ({"prompt": [1, "a"]}, "Invalid type for 'prompt'", "prompt", "invalid_type"),
        ({"prompt": []}, "Invalid 'prompt': empty array.", "prompt", "empty_array"),
        (
            {"logprobs": 6},
            "Invalid 'logprobs': integer above",
            "logprobs",
            "integer_above_max_value",
        ),
        ({"max_tokens": -1}, "Invalid 'max_tokens'", "max_tokens", "integer_below_min_value"),
        ({"n": 3, "best_of": 2}, "You requested that the server return more", "best_of", None),
        (
            {"best_of": 2, "stream": True},
            "Cannot stream results with best_of > n.",
            "best_of",
            None,
        ),
        ({"logit_bias": []}, "Invalid type for 'logit_bias'", "logit_bias", "invalid_type"),
    ],
    ids=str,
)
def test_mistakes_are_refused(post, fields, message, param, code):
    """With the parameter that is wrong."""
    answer = post(**fields)

    error = answer.json()["error"]
    assert (answer.status_code, error["param"], error["code"]) == (400, param, code)
    assert error["message"].startswith(message)


def test_prompt_and_text_share_the_window(post):
    """What is too long together is refused with both counts."""
    answer = post(model="narrow", max_tokens=19)

    assert answer.json()["error"]["message"] == (
        "This model's maximum context length is 20 tokens, however you requested 21 tokens (2 in your "
        "prompt; 19 for the completion). Please reduce your prompt; or completion length."
    )


def test_chat_models_do_not_complete_texts(client):
    """They send whoever tries to the other endpoint."""
    with pytest.raises(openai.NotFoundError, match="Did you mean to use v1/chat/completions"):
        client.completions.create(model="gpt-4o", prompt=PROMPT)


def test_a_fault_breaks_a_stream_of_text(post):
    """An error in mid-stream is an event, and no [DONE] follows."""
    headers = {"x-simulator-fault": "error_event=3"}
    answer = httpx.post(
        str(post().url),
        json={"model": "davinci-002", "prompt": PROMPT, "stream": True},
        headers={"authorization": "Bearer sk-simulator", **headers},
    )

    assert '"error"' in answer.text
    assert "[DONE]" not in answer.text
