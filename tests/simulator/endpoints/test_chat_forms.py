"""What else a chat may bring: thoughts, probabilities, predictions, refusals, filters, and padding."""

import json
from math import exp
from typing import Any

import httpx
import pytest

HELLO = [{"role": "user", "content": "Hello"}]
PLAIN, THINKING = "gpt-4o", "gpt-6-sol"


@pytest.fixture
def ask(simulator):
    """Asks for a chat, `fault` ordering what goes wrong, and returns its JSON."""

    def ask(fault: str = "", **fields: Any) -> Any:
        return json.loads(_post(simulator, fault, fields).content)

    return ask


@pytest.fixture
def stream(simulator):
    """Asks for the stream of a chat and returns its chunks."""

    def stream(fault: str = "", **fields: Any) -> list[Any]:
        text = _post(simulator, fault, {"stream": True, **fields}).text
        *events, done, rest = text.split("\n\n")
        assert (done, rest) == ("data: [DONE]", "")
        return [json.loads(event.removeprefix("data: ")) for event in events]

    return stream


def _post(simulator: Any, fault: str, fields: Any) -> httpx.Response:
    headers = {"authorization": "Bearer sk-simulator"} | (
        {"x-simulator-fault": fault} if fault else {}
    )
    given = {"model": PLAIN, "messages": HELLO, **fields}
    return httpx.post(f"{simulator.base_url}/chat/completions", json=given, headers=headers)


def details(answer: Any) -> Any:
    return answer["usage"]["completion_tokens_details"]


# Thoughts.


@pytest.mark.parametrize(
    ("effort", "tokens"),
    [
        (None, 128),
        ("none", 0),
        ("low", 64),
        ("medium", 128),
        ("high", 256),
        ("xhigh", 512),
        ("max", 1024),
    ],
)
def test_thoughts_cost_tokens(ask, effort, tokens):
    """A model that thinks does so by default, and as long as it is told to; the words are the same."""
    answer = ask(model=THINKING, reasoning_effort=effort)
    text = answer["choices"][0]["message"]["content"]

    assert details(answer)["reasoning_tokens"] == tokens
    assert tokens + 20 <= answer["usage"]["completion_tokens"] <= tokens + 80
    assert text.endswith(".")


def test_a_small_bound_is_spent_on_thoughts(ask):
    """Whoever gives a thinker ten tokens pays ten and gets nothing."""
    answer = ask(model=THINKING, reasoning_effort="high", max_completion_tokens=10)

    choice = answer["choices"][0]
    assert (choice["message"]["content"], choice["finish_reason"]) == ("", "length")
    assert details(answer)["reasoning_tokens"] == answer["usage"]["completion_tokens"] == 10


def test_who_thinks_looks_different(ask, stream):
    """A model that thinks says nothing of probabilities and of its build."""
    plain, thinking = ask(), ask(model=THINKING)

    assert list(plain["choices"][0]) == ["index", "message", "logprobs", "finish_reason"]
    assert list(thinking["choices"][0]) == ["index", "message", "finish_reason"]
    assert plain["system_fingerprint"].startswith("fp_")
    assert thinking["system_fingerprint"] is None
    assert all("logprobs" not in chunk["choices"][0] for chunk in stream(model=THINKING))
    assert list(plain) == [
        *("id", "object", "created", "model", "choices", "usage", "service_tier"),
        "system_fingerprint",
    ]


# Probabilities.


@pytest.mark.parametrize("top", [0, 1, 5, 20])
def test_probabilities_stand_for_what_is_said(ask, stream, top):
    """One entry a token, whose bytes are the text; the likeliest come first, and a stream says the same."""
    fields = {"logprobs": True, "top_logprobs": top}
    choice = ask(**fields)["choices"][0]
    told = choice["logprobs"]["content"]
    parts = [chunk["choices"][0]["logprobs"] for chunk in stream(**fields)]

    assert (
        bytes([byte for entry in told for byte in entry["bytes"]]).decode()
        == choice["message"]["content"]
    )
    for entry in told:
        likely = [other["logprob"] for other in entry["top_logprobs"]]
        assert len(likely) == top
        assert entry["logprob"] <= 0
        assert sorted(likely, reverse=True) == likely
        assert sum(map(exp, likely)) <= 1 + 1e-6
        assert len({other["token"] for other in entry["top_logprobs"]}) == top
        assert not top or entry["top_logprobs"][0]["token"] == entry["token"]
    assert parts[0] == {"content": [], "refusal": None}
    assert parts[-1] is None
    assert [entry for part in parts[:-1] for entry in part["content"]] == told


def test_a_character_of_several_tokens_has_an_entry_for_each(ask):
    """Part of a character is told as its bytes."""
    schema = {"type": "object", "properties": {"a": {"const": "🧠🫥"}}}
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    answer = ask(logprobs=True, response_format=form)
    told = answer["choices"][0]["logprobs"]["content"]

    assert len(told) == answer["usage"]["completion_tokens"]
    content = bytes([byte for entry in told for byte in entry["bytes"]]).decode()
    assert json.loads(content) == {"a": "🧠🫥"}
    assert any(entry["token"].startswith("bytes:\\x") for entry in told)


# Predictions.


def test_a_prediction_comes_true_for_the_most_part(ask, stream):
    """The answer begins with what was expected; the tokens that were not said are paid for as well."""
    expected = "The quiet river crossed the old bridge near the mill. " * 4
    fields = {"prediction": {"type": "content", "content": expected}}
    answer = ask(**fields)
    text, used = answer["choices"][0]["message"]["content"], details(answer)
    chunks = stream(**fields, stream_options={"include_usage": True})

    accepted, rejected = used["accepted_prediction_tokens"], used["rejected_prediction_tokens"]
    assert text.startswith(expected[:120])
    assert not text.startswith(expected)
    assert accepted > 30
    assert accepted + rejected == 45
    assert answer["usage"]["completion_tokens"] > accepted + rejected
    assert chunks[-1]["usage"] == answer["usage"]
    parts = [{"type": "text", "text": expected}]
    assert ask(prediction={"type": "content", "content": parts})["usage"] == answer["usage"]


# Refusals and filters.


def test_a_refusal_is_no_content(ask, stream):
    """The model says no: in a field of its own, whole and in a stream, and it is billed."""
    answer = ask("refusal")
    message = answer["choices"][0]["message"]
    first, *rest, last = (chunk["choices"][0] for chunk in stream("refusal"))

    assert (message["content"], message["refusal"]) == (
        None,
        "I'm sorry, but I can't assist with that request.",
    )
    assert first["delta"] == {"role": "assistant", "content": None, "refusal": ""}
    assert "".join(part["delta"]["refusal"] for part in rest) == message["refusal"]
    assert all(part["delta"].keys() == {"refusal"} for part in rest)
    assert answer["choices"][0]["finish_reason"] == last["finish_reason"] == "stop"
    assert answer["usage"]["completion_tokens"] == 11
    told = ask("refusal", logprobs=True)["choices"][0]["logprobs"]
    assert (told["content"], len(told["refusal"])) == (None, 11)


def test_a_filter_ends_an_answer_midway(ask, stream):
    """Half of it comes, and the reason to end is the filter."""
    whole, cut = ask(), ask("content_filter")
    *parts, last = (chunk["choices"][0] for chunk in stream("content_filter"))

    said = cut["choices"][0]["message"]["content"]
    assert cut["choices"][0]["finish_reason"] == last["finish_reason"] == "content_filter"
    assert whole["choices"][0]["message"]["content"].startswith(said)
    assert 2 * cut["usage"]["completion_tokens"] <= whole["usage"]["completion_tokens"]
    assert "".join(part["delta"]["content"] for part in parts) == said


# The stream as a whole.


def test_every_chunk_is_padded(stream):
    """Text and padding are about equally long together, so that lengths tell nothing; it can be left out."""
    usage = {"include_usage": True}
    padded = stream(stream_options=usage)
    bare = stream(stream_options={**usage, "include_obfuscation": False})

    texts = [chunk["choices"][0]["delta"].get("content", "") for chunk in padded[:-1]]
    lengths = {len(text + chunk["obfuscation"]) for text, chunk in zip(texts, padded, strict=False)}
    assert lengths == {16}
    assert "obfuscation" in padded[-1]
    assert not any("obfuscation" in chunk for chunk in bare)
    assert list(padded[0]) == [
        *("id", "object", "created", "model", "service_tier", "system_fingerprint", "choices"),
        *("usage", "obfuscation"),
    ]


def test_a_stop_text_may_stand_anywhere(ask):
    """Also within a word the answer ends right before it."""
    whole = ask()["choices"][0]["message"]["content"]
    stop = whole[17:22]
    cut = ask(stop=["never said", stop])["choices"][0]

    assert cut["message"]["content"] == whole[: whole.index(stop)]
    assert cut["finish_reason"] == "stop"
