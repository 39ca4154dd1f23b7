"""Counting prompts: exact where the provider's formula is known, and never an exception."""

import base64
from dataclasses import dataclass
from typing import Any

import pytest
import toktok
from hypothesis import given
from hypothesis import strategies as st

from headworks.core.tokens import (
    count_request,
    encoding_of,
    guess,
    image_tokens,
    is_reasoning,
    kind_of,
)


def counter(model):
    return lambda text: toktok.truncate(text, 0, encoding_of(model))[1]


def words(text):
    return len(text.split())


@pytest.mark.parametrize(
    ("model", "encoding"),
    [
        ("gpt-3.5-turbo", "cl100k_base"),
        ("gpt-35-turbo", "cl100k_base"),
        ("gpt-4", "cl100k_base"),
        ("gpt-4-turbo-2024-04-09", "cl100k_base"),
        ("text-embedding-3-small", "cl100k_base"),
        ("ft:gpt-3.5-turbo:acme::1", "cl100k_base"),
        ("gpt-4o", "o200k_base"),
        ("gpt-4.1-mini", "o200k_base"),
        ("o3", "o200k_base"),
        ("gpt-6-sol", "o200k_base"),
        ("some-model-of-next-year", "o200k_base"),
        ("", "o200k_base"),
    ],
)
def test_every_model_has_a_vocabulary(model, encoding):
    """Old models have the old vocabulary; whatever is not known is taken for a new one."""
    assert encoding_of(model) == encoding


@pytest.mark.parametrize(
    ("model", "thinks"),
    [
        ("o1-mini", True),
        ("gpt-5-mini", True),
        ("gpt-5.6-sol", True),
        ("gpt-10", True),
        ("gpt-5-chat-latest", False),
        ("gpt-4o", False),
        ("omni", False),
    ],
)
def test_reasoning_models_are_known_by_name(model, thinks):
    """Models that think first frame a prompt with one token less."""
    assert is_reasoning(model) is thinks


JARGON = [
    (
        "system",
        "",
        "You are a helpful, pattern-following assistant that translates corporate jargon into plain English.",
    ),
    ("system", "example_user", "New synergies will help drive top-line growth."),
    ("system", "example_assistant", "Things working well together will increase revenue."),
    (
        "system",
        "example_user",
        "Let's circle back when we have more bandwidth to touch base on opportunities for increased leverage.",
    ),
    (
        "system",
        "example_assistant",
        "Let's talk later when we're less busy about how to do better.",
    ),
    (
        "user",
        "",
        "This late pivot means we don't have time to boil the ocean for the client deliverable.",
    ),
]
MESSAGES = [
    {"role": role, "content": text} | ({"name": name} if name else {})
    for role, name, text in JARGON
]
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_current_weather",
        "description": "Get the current weather in a given location",
        "parameters": {
            "type": "object",
            "properties": {
                "location": {
                    "type": "string",
                    "description": "The city and state, e.g. San Francisco, CA",
                },
                "unit": {
                    "type": "string",
                    "description": "The unit of temperature to return",
                    "enum": ["celsius", "fahrenheit"],
                },
            },
            "required": ["location"],
        },
    },
}
ASKED = [
    {
        "role": "system",
        "content": "You are a helpful assistant that can answer to questions about the weather.",
    },
    {"role": "user", "content": "What's the weather like in San Francisco?"},
]


@dataclass(frozen=True)
class Case:
    id: str
    fields: dict[str, Any]
    tokens: int


PUBLISHED = [
    Case("named messages, gpt-4", {"model": "gpt-4-0613", "messages": MESSAGES}, 129),
    Case("named messages, gpt-4o", {"model": "gpt-4o", "messages": MESSAGES}, 124),
    Case("tools, gpt-4", {"model": "gpt-4", "messages": ASKED, "tools": [WEATHER]}, 105),
    Case("tools, gpt-4o", {"model": "gpt-4o", "messages": ASKED, "tools": [WEATHER]}, 101),
]


@pytest.mark.parametrize("case", PUBLISHED, ids=lambda case: case.id)
def test_counts_are_those_that_openai_published(case):
    """The examples in OpenAI's cookbook come out as its API reported them."""
    assert count_request(case.fields, counter(case.fields["model"])) == case.tokens


SHAPES = [
    Case("a chat", {"messages": [{"role": "user", "content": "one two"}]}, 3 + 3 + 1 + 2),
    Case(
        "a chat of a reasoning model",
        {"model": "gpt-6-sol", "messages": [{"role": "user", "content": "one two"}]},
        2 + 3 + 1 + 2,
    ),
    Case(
        "text parts and an image",
        {
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "one two"},
                        {"type": "image_url", "image_url": {"url": "https://x/y", "detail": "low"}},
                        {"type": "image_url", "image_url": {"url": "https://x/y"}},
                    ],
                }
            ]
        },
        3 + 3 + 1 + 2 + 85 + 765,
    ),
    Case("a response to a text", {"input": "one two three"}, 3 + 3 + 1 + 3),
    Case(
        "a response with instructions",
        {"instructions": "be kind", "input": [{"role": "user", "content": "one"}]},
        3 + (3 + 1 + 2) + (3 + 1 + 1),
    ),
    Case("a completion", {"prompt": "one two"}, 2),
    Case("several completions", {"prompt": ["one two", "three"]}, 3),
    Case("a completion of tokens", {"prompt": [1, 2, 3]}, 3),
    Case("an embedding", {"model": "text-embedding-3-small", "input": "one two"}, 2),
    Case("embeddings", {"input": ["one two", "three"], "dimensions": 8}, 3),
    Case("an embedding of tokens", {"input": [[1, 2], [3]], "encoding_format": "float"}, 3),
    Case("nothing", {}, 3),
    Case("a null conversation", {"messages": None}, 3),
]


@pytest.mark.parametrize("case", SHAPES, ids=lambda case: case.id)
def test_each_endpoint_counts_in_its_own_way(case):
    """A prompt costs its text and a little frame around each message."""
    assert count_request(case.fields, words) == case.tokens


@pytest.mark.parametrize(
    ("size", "detail", "tokens"),
    [
        ((1024, 1024), "high", 765),
        ((2048, 4096), "high", 1105),
        ((4096, 8192), "low", 85),
        ((512, 512), "auto", 255),
        ((1, 1), "auto", 255),
        (None, None, 765),
        ((0, 0), "auto", 765),
    ],
)
def test_an_image_costs_its_tiles(size, detail, tokens):
    """Sizes from OpenAI's guide cost what the guide says; an unknown size costs a square one."""
    assert image_tokens(size, detail) == tokens


def test_an_image_inside_the_request_tells_its_size():
    """A PNG that is sent along is measured, not guessed; a broken one is guessed."""
    head = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + (2048).to_bytes(4, "big") + (4096).to_bytes(4, "big")
    url = "data:image/png;base64," + base64.b64encode(head + b"\0" * 40).decode()

    def sent(url):
        part = {"type": "input_image", "image_url": url}
        return count_request({"input": [{"role": "user", "content": [part]}]}, words) - 7

    assert (sent(url), sent("data:image/png;base64,!"), sent(url[:30])) == (1105, 765, 765)


def test_a_schema_makes_the_prompt_longer():
    """A schema that the answer must follow is counted in, roughly; a JSON mode costs nothing."""
    plain = {"messages": [{"role": "user", "content": "one"}]}
    schema = {"type": "object", "properties": {f"key {n}": {"type": "string"} for n in range(99)}}
    strict = {"type": "json_schema", "json_schema": {"name": "s", "schema": schema}}

    bare = count_request(plain, words)

    assert count_request(plain | {"response_format": {"type": "json_object"}}, words) == bare
    assert count_request(plain | {"response_format": strict}, words) > bare + 40


def test_a_guess_is_four_characters_a_token_rounded_up():
    """Without a vocabulary a text is never guessed shorter than its characters say."""
    assert (guess("abcde"), guess(b""), guess(8), guess(-1)) == (2, 0, 2, 0)


def test_nesting_without_end_is_survived():
    """A schema too deep to write down counts as nothing instead of breaking the call."""
    deep: dict[str, Any] = {}
    for _ in range(100_000):
        deep = {"a": deep}
    fields = {
        "messages": [],
        "response_format": {"json_schema": deep},
        "tools": [{"parameters": {"properties": {"x": {"enum": [deep]}}}}],
    }

    assert count_request(fields, words) >= 3
    while deep:  # taken apart by hand: freeing it would recurse as well
        deep = deep.pop("a")


names = st.sampled_from(
    [
        *(
            "messages",
            "input",
            "prompt",
            "role",
            "content",
            "type",
            "text",
            "name",
            "tools",
            "model",
        ),
        *(
            "function",
            "parameters",
            "properties",
            "enum",
            "image_url",
            "url",
            "detail",
            "arguments",
        ),
        *(
            "tool_calls",
            "response_format",
            "json_schema",
            "format",
            "instructions",
            "output",
            "suffix",
        ),
    ]
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=5),
    max_leaves=12,
)
kinds = st.sampled_from([None, "chat", "responses", "completions", "embeddings"])


@given(fields=st.dictionaries(names, json_values, max_size=6), kind=kinds)
def test_any_json_has_a_count(fields, kind):
    """Whatever a caller sends, counting it gives a number and raises nothing."""
    assert count_request(fields, words, kind) >= 0
    assert count_request(fields, words) == count_request(fields, words, kind_of(fields))
