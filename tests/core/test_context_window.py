"""How much fits a model: what lists say, and what providers say when it did not fit."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headworks.core.classify import classify
from headworks.core.context_window import (
    Budget,
    Told,
    Window,
    budget,
    corrected,
    is_too_long,
    listed,
    told,
)


@dataclass(frozen=True)
class Case:
    id: str
    message: str
    said: Told


MESSAGES = [
    Case("chat", "This model's maximum context length is 128000 tokens. However, your messages resulted in 130000 tokens. Please reduce the length of the messages.",
         Told(total=128_000, counted=130_000)),
    Case("with an answer", "This model's maximum context length is 8192 tokens. However, you requested 9000 tokens (5000 in the messages, 4000 in the completion). Please reduce the length of the messages or completion.",
         Told(total=8192, counted=5000)),
    Case("with functions", "This model's maximum context length is 8192 tokens. However, you requested 9000 tokens (4000 in the messages, 1000 in the functions, and 4000 in the completion). Please reduce the length of the messages, functions, or completion.",
         Told(total=8192, counted=5000)),
    Case("a model that thinks", "Input tokens exceed the configured limit of 272000 tokens. Your messages resulted in 300001 tokens. Please reduce the length of the messages.",
         Told(input=272_000, counted=300_001)),
    Case("completions", "This model's maximum context length is 4097 tokens, however you requested 5000 tokens (4900 in your prompt; 100 for the completion). Please reduce your prompt; or completion length.",
         Told(total=4097, counted=4900)),
    Case("vLLM", "This model's maximum context length is 4096 tokens and your request has 4000 input tokens.",
         Told(total=4096, counted=4000)),
    Case("llama.cpp", "the request (5,000 tokens) exceeds the available context size (4,096 tokens), try increasing it",
         Told(total=4096, counted=5000)),
    Case("responses", "Your input exceeds the context window of this model. Please adjust your input and try again.", Told()),
    Case("an absurd number", "maximum context length is 999999999999999 tokens, resulted in 3 tokens", Told()),
    Case("nothing", "", Told()),
]  # fmt: skip


@pytest.mark.parametrize("case", MESSAGES, ids=lambda case: case.id)
def test_what_a_provider_says_is_read(case):
    """The limit and the count in a provider's words are numbers to us."""
    assert told(case.message) == case.said


@given(
    st.text("maximum context length is requested tokens resulted in 0123456789,()", max_size=200)
)
def test_any_message_can_be_read(message):
    """No message makes reading fail, and no number in it is beyond reason."""
    said = told(message)
    assert all(one is None or 0 <= one <= 100_000_000 for one in (said.input, said.total, said.counted))  # fmt: skip


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (400, b'{"error":{"code":"context_length_exceeded","message":"x"}}', True),
        (400, b'{"error":{"code":400,"message":"maximum context length is 4096 tokens"}}', True),
        (400, b'{"error":{"code":"invalid_value","message":"x"}}', False),
        (429, b'{"error":{"code":"rate_limit_exceeded","message":"Request too large"}}', False),
        (500, b'{"error":{"message":"maximum context length is 4096 tokens"}}', False),
    ],
)
def test_a_refusal_for_length_is_known_by_code_or_words(status, body, expected):
    """Servers that do not know the code are understood by what they say."""
    assert is_too_long(classify(status, (), body, now=0.0)) is expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ((272_000, 128_000), Window(272_000, 400_000)),
        ((922_000, 128_000), Window(922_000, 1_050_000)),
        ((128_000, 16_384), Window(128_000, 128_000)),
        ((1_050_000, 128_000), Window(1_050_000, 1_050_000)),
        ((8192, None), Window(8192, 8192)),
        ((None, 100), Window()),
    ],
)
def test_lists_name_the_input_or_the_whole(given, expected):
    """Where a model bounds its input apart, its window is the sum; else the list names the window."""
    assert listed(*given) == expected


BOTH = Window(272_000, 400_000)
OLD = Window(8192, 8192)
BUDGETS = [
    ("an answer without a bound", OLD, {}, None, None, Budget(8192, 2048)),
    ("four thousand are enough", Window(128_000, 128_000), {}, None, None, Budget(128_000, 4000)),
    ("the operator's reserve", OLD, {}, None, 100, Budget(8192, 100)),
    ("the request's own bound", OLD, {"max_tokens": 500}, None, 100, Budget(8192, 500)),
    ("an answer too long by itself", OLD, {"max_tokens": 9000}, None, None, Budget(8192, 9000)),
    ("the input's limit binds", BOTH, {"max_tokens": 1000}, None, None, Budget(272_000, 0)),
    ("unless the answer is long", BOTH, {"max_tokens": 200_000}, None, None, Budget(400_000, 200_000)),
    ("the operator's window", BOTH, {}, 10_000, 1000, Budget(10_000, 1000)),
    ("cannot widen it", OLD, {}, 100_000, 100, Budget(8192, 100)),
    ("is enough", Window(), {}, 10_000, None, Budget(10_000, 2500)),
    ("nothing known", Window(), {}, None, 100, None),
]  # fmt: skip


@pytest.mark.parametrize("case", BUDGETS, ids=lambda case: case[0])
def test_what_a_request_may_hold(case):
    """The window less the answer's part, or the input's own limit: whichever binds first."""
    _, window, fields, most, reserve, expected = case
    assert budget(window, fields, most, reserve) == expected


def test_a_refusal_corrects_what_is_known():
    """The provider's limit replaces the list's, and its count ours."""
    said = Told(total=100_000, counted=120_000)
    assert corrected(Window(128_000, 128_000), said, 100_000) == Window(128_000, 100_000, 1.2)
    assert corrected(Window(128_000, 128_000, 1.5), Told(input=50), 10) == Window(50, 128_000, 1.5)


@pytest.mark.parametrize(
    ("window", "ours", "expected"),
    [
        (Window(1000, 1000), 1000, Window(950, 1000)),
        (Window(1000, 1000, 1.25), 640, Window(760, 1000, 1.25)),
        (Window(100_000, 100_000), 1000, Window(500, 100_000)),
        (Window(), 1000, Window(500)),
    ],
)
def test_a_refusal_without_numbers_tells_that_there_is_less_room(window, ours, expected):
    """Near the known limit a little less fits; far from it the list was wrong, and half is tried."""
    assert corrected(window, Told(), ours) == expected


def test_corrections_are_bounded():
    """No refusal makes us count more than twice, or less than once, what is there."""
    assert corrected(Window(), Told(counted=900), 100).factor == 2.0
    assert corrected(Window(factor=1.5), Told(counted=50), 100).factor == 1.0
