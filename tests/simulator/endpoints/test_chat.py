"""Chat completions, as the official client sees them."""

import json

import httpx
import openai
import pytest
import toktok
from pydantic import BaseModel

HELLO = [{"role": "user", "content": "Hello"}]


def said(chunks):
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


def test_a_plain_answer_is_complete_and_counted(client):
    """An answer has words, a reason to end, and true token counts."""
    answer = client.chat.completions.create(model="gpt-4o", messages=HELLO)

    text = answer.choices[0].message.content
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage.prompt_tokens == 8
    assert answer.usage.completion_tokens == toktok.truncate(text, 0, "o200k_base")[1]
    assert 20 <= answer.usage.completion_tokens <= 80
    assert text.endswith(".")
    assert (answer.object, answer.model, answer.service_tier) == (
        "chat.completion",
        "gpt-4o",
        "default",
    )
    assert answer.id.startswith("chatcmpl-")
    assert answer.system_fingerprint.startswith("fp_")


def test_a_stream_is_the_same_answer_one_token_at_a_time(client):
    """Streaming changes the form, not a word; every delta is one token."""
    whole = client.chat.completions.create(model="gpt-4o", messages=HELLO)
    options = {"include_usage": True}
    chunks = list(
        client.chat.completions.create(
            model="gpt-4o", messages=HELLO, stream=True, stream_options=options
        )
    )

    assert said(chunks) == whole.choices[0].message.content
    assert chunks[-1].usage == whole.usage
    assert len(chunks) == whole.usage.completion_tokens + 3
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert len({chunk.id for chunk in chunks}) == 1


def test_the_events_have_the_real_shape(simulator):
    """The first delta has the role, usage is null until asked-for usage comes, [DONE] is last."""
    fields = {"model": "gpt-4o", "messages": HELLO, "stream": True, "max_tokens": 2}
    headers = {"authorization": "Bearer sk-simulator"}

    def events(options):
        url = f"{simulator.base_url}/chat/completions"
        answer = httpx.post(url, json=fields | {"stream_options": options}, headers=headers)
        assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
        return answer.text.split("\n\n")

    asked = events({"include_usage": True})
    unasked = events({"include_obfuscation": False})

    assert asked[-2:] == ["data: [DONE]", ""]
    first, *rest, usage = [json.loads(event.removeprefix("data: ")) for event in asked[:-2]]
    assert first["choices"] == [
        {
            "index": 0,
            "delta": {"role": "assistant", "content": "", "refusal": None},
            "logprobs": None,
            "finish_reason": None,
        }
    ]
    assert all(chunk["usage"] is None and chunk["obfuscation"] for chunk in (first, *rest))
    assert (usage["choices"], usage["usage"]["completion_tokens"]) == ([], 2)
    assert not any('"usage"' in event or '"obfuscation"' in event for event in unasked)


def test_the_same_seed_says_the_same(client):
    """A seed fixes the words; another seed or another question changes them."""

    def ask(seed, text="Hello"):
        messages = [{"role": "user", "content": text}]
        answer = client.chat.completions.create(model="gpt-4o", messages=messages, seed=seed)
        return answer.choices[0].message.content

    assert ask(1) == ask(1)
    assert len({ask(1), ask(2), ask(1, "Goodbye")}) == 3


@pytest.mark.parametrize("bound", ["max_tokens", "max_completion_tokens"])
def test_a_bound_cuts_the_answer_and_says_so(client, bound):
    """Three tokens are three tokens: the beginning of the longer answer."""
    whole = client.chat.completions.create(model="gpt-4o", messages=HELLO)
    cut = client.chat.completions.create(model="gpt-4o", messages=HELLO, **{bound: 3})

    assert (cut.choices[0].finish_reason, cut.usage.completion_tokens) == ("length", 3)
    assert whole.choices[0].message.content.startswith(cut.choices[0].message.content)


def test_a_stop_text_ends_the_answer(client):
    """Nothing from the stop text on is said."""
    answer = client.chat.completions.create(model="gpt-4o", messages=HELLO, stop=[".", "no such"])

    assert "." not in answer.choices[0].message.content
    assert answer.choices[0].finish_reason == "stop"


def test_several_choices_differ_and_take_turns(client):
    """Choices are answers of their own, and a stream interleaves them."""
    answer = client.chat.completions.create(model="gpt-4o", messages=HELLO, n=3)
    chunks = list(client.chat.completions.create(model="gpt-4o", messages=HELLO, n=3, stream=True))

    assert len({choice.message.content for choice in answer.choices}) == 3
    assert [chunk.choices[0].index for chunk in chunks[:6]] == [0, 1, 2, 0, 1, 2]
    assert [chunk.choices[0].finish_reason for chunk in chunks[-3:]] == ["stop"] * 3


class Node(BaseModel):
    name: str
    weight: float
    left: "Node | None"
    right: "Node | None"


def test_structured_output_parses(client):
    """An answer under a schema, even a recursive one, is an object of the asked-for class."""
    answer = client.chat.completions.parse(model="gpt-4o", messages=HELLO, response_format=Node)

    assert isinstance(answer.choices[0].message.parsed, Node)


def test_json_mode_gives_an_object(client):
    """JSON mode without a schema gives some object."""
    mode, messages = {"type": "json_object"}, [{"role": "user", "content": "Hello in JSON"}]
    answer = client.chat.completions.create(model="gpt-4o", messages=messages, response_format=mode)

    assert isinstance(json.loads(answer.choices[0].message.content), dict)


def test_a_long_prompt_is_cached_in_steps(client):
    """What was sent before costs less: from 1,024 tokens on, in steps of 128, per credential."""
    long = {"role": "system", "content": "The river carried the quiet boat. " * 200}

    def cached(*messages):
        answer = client.chat.completions.create(model="gpt-4o", messages=messages, max_tokens=1)
        return answer.usage.prompt_tokens_details.cached_tokens

    assert cached(long, *HELLO) == 0
    assert cached(long, *HELLO) == 1408
    assert cached(long, {"role": "user", "content": "Something else"}) == 1408
    assert cached({"role": "system", "content": long["content"][:5700]}, *HELLO) == 1152
    assert cached(*HELLO) == cached(*HELLO) == 0


def test_the_tier_that_answers_is_named(client):
    """A tier that the model has is taken; otherwise the default answers, and says so."""

    def tier(name):
        answer = client.chat.completions.create(model="gpt-4o", messages=HELLO, service_tier=name)
        return answer.service_tier

    assert (tier("flex"), tier("priority"), tier("auto")) == ("flex", "default", "default")


def test_all_models_are_listed(client):
    """Models with a price and models by name are served; others do not exist."""
    names = [model.id for model in client.models.list()]

    assert names == [
        *("davinci-002", "gpt-4o", "gpt-6-sol", "house-model", "narrow", "text-embedding-3-small"),
    ]
    assert client.models.retrieve("house-model").owned_by == "openai"
    with pytest.raises(openai.NotFoundError, match="The model 'nobody' does not exist"):
        client.models.retrieve("nobody")
