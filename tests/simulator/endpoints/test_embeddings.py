"""Embeddings, as the official client sees them."""

from math import isclose, sqrt

import openai
import pytest

MODEL = "text-embedding-3-small"


def embed(client, given, **fields):
    return client.embeddings.create(model=MODEL, input=given, **fields)


def length(vector):
    return sqrt(sum(number * number for number in vector))


def test_vectors_are_unit_and_depend_on_the_text_alone(client):
    """Equal texts have equal vectors, alone or among others; all have length one."""
    both = embed(client, ["river", "mill"])
    alone = embed(client, "mill")

    first, second = (item.embedding for item in both.data)
    assert second == alone.data[0].embedding != first
    assert len(first) == 1536
    assert isclose(length(first), 1, rel_tol=1e-5)
    assert (both.usage.prompt_tokens, both.usage.total_tokens) == (2, 2)


def test_both_encodings_say_the_same(client):
    """Base64, the client's choice, and plain numbers are the same vector."""
    packed, plain = embed(client, "river"), embed(client, "river", encoding_format="float")

    assert packed.data[0].embedding == pytest.approx(plain.data[0].embedding)


def test_fewer_dimensions_are_the_first_ones(client):
    """A shorter vector points the same way in the dimensions that it has."""
    whole = embed(client, "river").data[0].embedding[:8]
    short = embed(client, "river", dimensions=8).data[0].embedding

    assert isclose(length(short), 1, rel_tol=1e-5)
    assert short == pytest.approx([number / length(whole) for number in whole], rel=1e-4)


def test_tokens_may_be_sent_instead_of_text(client):
    """A list of numbers is one input, a list of lists several; each number is one token."""
    assert len(embed(client, [1, 2, 3]).data) == 1
    assert embed(client, [[1, 2], [3]]).usage.prompt_tokens == 3


@pytest.mark.parametrize("given", [[], "", [""], [1, "a"], [[]], 5], ids=repr)
def test_nonsense_is_refused(client, given):
    """An input that is no text and no tokens is the caller's mistake."""
    with pytest.raises(openai.BadRequestError, match=r"'\$.input' is invalid"):
        client.post("/embeddings", body={"model": MODEL, "input": given}, cast_to=object)


def test_too_many_dimensions_are_refused(client):
    """A model has only so many dimensions."""
    with pytest.raises(openai.BadRequestError, match="dimensions"):
        embed(client, "river", dimensions=4000)
