"""What is said, and how it is cut into tokens."""

from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headworks.core.tokens import Encoding
from headworks.simulator.answers import Ask, compose, digest
from headworks.simulator.chance import Chance
from headworks.simulator.meter import Meter
from headworks.simulator.models import Models
from headworks.simulator.words import sentences
from headworks.testing import FakeClock
from headworks.tokenizer import Tokenizer
from tests.simulator.conftest import CONFIG

TOKENIZER = Tokenizer()
METER = Meter(TOKENIZER, Models(CONFIG, FakeClock()))
ENCODINGS: list[Encoding] = ["o200k_base", "cl100k_base"]
TOKENIZER.load_soon(ENCODINGS)
TOKENIZER.wait_loaded()
MODELS = {"o200k_base": "gpt-4o", "cl100k_base": "gpt-4"}


@pytest.mark.parametrize("encoding", ENCODINGS)
@given(seed=st.integers())
def test_words_are_tokens(encoding, seed):
    """Every word of an answer is one token, in the old vocabulary and in the new."""
    said = [token for sentence in islice(sentences(Chance(seed)), 12) for token in sentence]

    assert all(TOKENIZER.count(token, encoding) == 1 for token in said)


@given(seed=st.integers(), model=st.sampled_from(["gpt-4o", "gpt-4"]))
def test_an_answer_counts_what_it_says(seed, model):
    """The pieces of an answer cost together what its text costs."""
    encoding: Encoding = "cl100k_base" if model == "gpt-4" else "o200k_base"
    answer = compose(Ask(model, str(seed)), 0, lambda text: METER.split(text, model))

    assert answer.tokens == len(answer.pieces) == TOKENIZER.count(answer.text, encoding)
    assert 20 <= answer.tokens <= 80


texts = st.text() | st.lists(
    st.sampled_from(
        [" river", " the", '{"a":', "🧠", "é", "\n\n", "  ", "123456", " Mill", "ß", ","]
    ),
    max_size=400,
).map("".join)


@pytest.mark.parametrize("encoding", ENCODINGS)
@given(text=texts)
def test_a_text_is_cut_at_its_tokens(encoding, text):
    """Pieces join to the text, cost what it costs, and none ends inside a character."""
    pieces = METER.split(text, MODELS[encoding])

    assert "".join(piece.text for piece in pieces) == text
    assert sum(piece.tokens for piece in pieces) == TOKENIZER.count(text, encoding)
    assert all(piece.text and piece.tokens for piece in pieces)


@given(limit=st.integers(0, 90), seed=st.integers(0, 5))
def test_a_limit_is_kept(limit, seed):
    """No answer is longer than its limit, thinking included, and a longer limit only says more."""
    ask = Ask("gpt-6-sol", str(seed), limit, effort="low")
    answer = compose(ask, 0, lambda text: METER.split(text, "gpt-6-sol"))
    more = compose(Ask("gpt-6-sol", str(seed)), 0, lambda text: METER.split(text, "gpt-6-sol"))

    assert answer.tokens <= limit
    assert more.text.startswith(answer.text)
    assert answer.is_cut is (answer.text != more.text)


def test_only_what_matters_decides_the_words():
    """How an answer is delivered and bounded does not change what it says; the question does."""
    base = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello"}]}
    same = {"stream": True, "stream_options": {}, "user": "u", "max_tokens": 3, "n": 2, "stop": "."}

    assert digest(base, 1) == digest(base | same, 1) == digest(base | {"seed": 1}, 2)
    assert len({digest(base, 1), digest(base, 2), digest(base | {"tools": []}, 1)}) == 3
