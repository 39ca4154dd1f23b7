"""The tokenizer: cheap before a call, exact after one, and never in the way."""

import subprocess
import sys
import threading
from dataclasses import dataclass
from typing import Any

import pytest

from headworks.ports import Estimator
from headworks.tokenizer import DEFAULT_OUTPUT, Tokenizer
from headworks.types import Request, Usage

CHAT = "/v1/chat/completions"
HELLO = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello"}]}


def ask(fields, path=CHAT, content=b"12345678"):
    return Request("POST", path, content=content, fields=fields)


@pytest.fixture(scope="module")
def tokenizer():
    """A tokenizer with both vocabularies."""
    loaded = Tokenizer()
    loaded.load_soon(["o200k_base", "cl100k_base"])
    assert loaded.wait_loaded(30)
    return loaded


@dataclass(frozen=True)
class Case:
    id: str
    fields: dict[str, Any]
    usage: Usage
    path: str = CHAT


ESTIMATES = [
    Case("no bound", {}, Usage(2, DEFAULT_OUTPUT)),
    Case("max_tokens", {"max_tokens": 7}, Usage(2, 7)),
    Case("the newer bound wins", {"max_tokens": 7, "max_completion_tokens": 5}, Usage(2, 5)),
    Case("each choice costs", {"max_tokens": 7, "n": 3}, Usage(2, 21)),
    Case("nonsense is no bound", {"max_tokens": "7", "n": "x"}, Usage(2, DEFAULT_OUTPUT)),
    Case("true is no bound", {"max_tokens": True, "n": True}, Usage(2, DEFAULT_OUTPUT)),
    Case("an absurd bound is bounded", {"max_tokens": 10**30}, Usage(2, 1_000_000)),
    Case("a tier is remembered", {"service_tier": "flex"}, Usage(2, DEFAULT_OUTPUT, tier="flex")),
    Case("fast is priority", {"service_tier": "fast"}, Usage(2, DEFAULT_OUTPUT, tier="priority")),
    Case("a response", {"max_output_tokens": 9}, Usage(2, 9), "/v1/responses"),
    Case("an embedding writes nothing", {"max_tokens": 9}, Usage(2, 0), "/v1/embeddings"),
    Case("nor does a list", {}, Usage(2, 0), "/v1/models"),
]


@pytest.mark.parametrize("case", ESTIMATES, ids=lambda case: case.id)
def test_an_estimate_is_what_a_request_may_use(case):
    """Before a call the input is guessed by its size, and the answer taken at its longest."""
    tokenizer = Tokenizer()
    estimator: Estimator = tokenizer

    assert estimator.estimate(ask(case.fields, case.path)) == case.usage
    assert not tokenizer.is_loaded("o200k_base")


def test_a_recount_is_exact(tokenizer):
    """After a broken answer the count is the provider's own, to the token."""
    recount = tokenizer.recount(ask(HELLO | {"service_tier": "flex"}), "Hello there, miller!")

    assert recount == Usage(8, 6, tier="flex")


@pytest.mark.parametrize(
    ("fields", "output"),
    [
        ({}, 9),
        ({"max_tokens": 7}, 7),
        ({"max_tokens": 4, "n": 2}, 8),
        ({"max_tokens": 2}, 6),
        ({"model": "gpt-6-sol"}, 9 + 512),
        ({"model": "gpt-6-sol", "max_completion_tokens": 100}, 100),
        ({"model": "gpt-6-sol", "reasoning_effort": "none"}, 9),
    ],
)
def test_what_is_lost_is_counted_as_far_as_it_may_be(tokenizer, fields, output):
    """What came is never counted less, and what nobody saw never beyond the request's own bound."""
    asked = ask(HELLO | fields)

    assert tokenizer.recount(asked, "Hello there, miller!", 3).output == output


def test_what_was_reported_is_learned():
    """Once a model has told how long it thinks, its broken answers are counted by that."""
    tokenizer, asked = Tokenizer(), ask(HELLO | {"model": "gpt-6-sol"})
    tokenizer.learn(asked, "gpt-6-sol", Usage(8, 100, reasoning=70))

    assert tokenizer.recount(asked, "1234").output == 71


def test_the_answer_of_an_embedding_is_no_output(tokenizer):
    """Vectors are not tokens."""
    fields = {"model": "text-embedding-3-small", "input": "Hello there"}

    assert tokenizer.recount(ask(fields, "/v1/embeddings"), "0.1, 0.2") == Usage(2)


def test_the_first_recount_does_not_wait_for_the_vocabulary():
    """A call that comes too early gets a guess at once, and later ones the truth."""
    tokenizer = Tokenizer()

    early = tokenizer.recount(ask(HELLO), "123456789")

    assert early == Usage(2, 3)
    assert tokenizer.wait_loaded(30)
    assert tokenizer.recount(ask(HELLO), "Hello").output == 1


def test_only_what_is_asked_for_is_loaded():
    """The other vocabulary costs no memory."""
    tokenizer = Tokenizer()

    tokenizer.recount(ask({"model": "gpt-4"}), "")
    tokenizer.wait_loaded(30)

    assert (tokenizer.is_loaded("cl100k_base"), tokenizer.is_loaded("o200k_base")) == (True, False)


def test_importing_loads_no_vocabulary():
    """A gateway that never counts stays small."""
    code = "import sys, headworks.tokenizer; sys.exit('toktok' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("text", ["\ud800", "a\udfff" * 3, "Hi \ud83d there"], ids=ascii)
def test_text_that_is_no_text_is_counted(tokenizer, text):
    """Half a character, which JSON can say and UTF-8 cannot, counts as a question mark."""
    assert tokenizer.count(text, "o200k_base") == tokenizer.count(
        text.encode(errors="replace").decode(), "o200k_base"
    )


def test_special_tokens_are_plain_text(tokenizer):
    """A caller who writes a control token is billed for the characters."""
    assert tokenizer.count("<|endoftext|>", "o200k_base") == 7


@pytest.mark.timeout(20)
def test_large_and_hostile_texts_are_counted(tokenizer):
    """Megabytes of one letter take no time worth naming."""
    assert tokenizer.count("a" * 2_000_000, "o200k_base") == 250_000


def test_many_threads_may_count_at_once():
    """Loading and counting from all sides gives every thread the same answer."""
    tokenizer, counts = Tokenizer(), list[int]()
    threads = [
        threading.Thread(target=lambda: counts.append(tokenizer.count("Hello there", "o200k_base")))
        for _ in range(8)
    ]

    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert counts == [2] * 8


def test_a_file_is_not_counted_as_text():
    """A form with a file counts as sound or a picture would, not as a text of so many bytes."""
    form = Request("POST", "/v1/audio/transcriptions", content=b"x" * 1000, model_at=(1, 2))
    tokenizer = Tokenizer()
    assert tokenizer.estimate(form) == Usage(5)
    assert tokenizer.recount(form, "") == Usage(5)
