"""Embeddings, as the official client sees them."""

from math import isclose, sqrt

import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types import CreateEmbeddingResponse

from headworks.simulator.problems import Refusal
from headworks.simulator.vectors import shortened, vector
from tests.simulator.endpoints.bureau import Bureau
from tests.simulator.endpoints.shapes import shaped

MODEL = "text-embedding-3-small"
EMBEDDINGS = "/v1/embeddings"
SAME = [
    ("How do I reset my password?", "I forgot my password, how can I reset it?"),
    ("The cat sat on the mat.", "A cat is sitting on the mat"),
    ("What is the refund policy for annual plans?", "Refund policies of an annual plan"),
    ("Deploying the gateway to production", "How to deploy the gateways in production"),
    ("The quiet boat was carried by the river.", "The river carried the quiet boat."),
    ("Der Vertrag endet im März", "Das Ende des Vertrags ist im März"),
]


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


def cosine(first, second, size=1536):
    pairs = zip(
        *(shortened(vector(text, MODEL, 1536), size) for text in (first, second)), strict=True
    )
    return sum(a * b for a, b in pairs)


@pytest.mark.parametrize("size", [1536, 512, 256])
@pytest.mark.parametrize("place", range(len(SAME)))
def test_similar_texts_are_near_each_other(place, size):
    """A paraphrase is clearly nearer than any text about something else, also in few dimensions."""
    text, paraphrase = SAME[place]
    others = [other for n, pair in enumerate(SAME) if n != place for other in pair]

    near = cosine(text, paraphrase, size)
    assert near > 0.4
    assert near > max(cosine(text, other, size) for other in others) + 0.2


def test_the_nearest_text_answers_a_search():
    """A search in documents finds the one that is meant."""
    found = max((other for _, other in SAME), key=lambda text: cosine("forgotten password", text))

    assert found == SAME[0][1]


def test_case_and_points_hardly_matter():
    """The same words in another dress are nearly the same vector, but not the same text."""
    near = cosine("Hello, World!", "hello world")

    assert 0.95 < near < 1


@given(text=st.text(min_size=1), size=st.integers(1, 1536))
def test_every_text_has_a_unit_vector(text, size):
    """Whatever the text, and however short the vector, its length is one."""
    found = shortened(vector(text, MODEL, 1536), size)

    assert len(found) == size
    assert isclose(length(found), 1, rel_tol=1e-4)


def test_vectors_are_the_same_everywhere():
    """A vector depends on nothing but text and model: these numbers never change."""
    first = vector("river", MODEL, 1536)[:3].tolist()

    assert first == pytest.approx([0.00493914, -0.00937803, 0.00947507], rel=1e-4)
    assert vector("river", "text-embedding-3-large", 3072)[:3].tolist() != pytest.approx(first)


def test_models_have_sizes_of_their_own():
    """The large model has 3,072 dimensions, the others 1,536; the oldest cannot be shortened."""
    bureau = Bureau(prices=None)

    def size(model, **fields):
        found = bureau.post(EMBEDDINGS, {"model": model, "input": "river", **fields})
        return len(shaped(CreateEmbeddingResponse, found).data[0].embedding)

    assert size("text-embedding-3-large") == 3072
    assert size("text-embedding-3-large", dimensions=2000) == 2000
    assert size("text-embedding-ada-002") == 1536
    with pytest.raises(Refusal, match="does not support specifying dimensions"):
        size("text-embedding-ada-002", dimensions=512)


def test_an_input_has_a_longest_length():
    """One text may have 8,191 tokens, and all together 300,000."""
    bureau = Bureau(prices=None)

    def embed(*inputs):
        fields = {"model": MODEL, "input": list(inputs), "encoding_format": "base64"}
        return bureau.post(EMBEDDINGS, fields)["usage"]["prompt_tokens"]

    longest = "a" + " a" * 8_190
    assert embed(longest, longest) == 2 * 8_191
    with pytest.raises(Refusal, match="maximum context length is 8191 tokens"):
        embed("a", longest + " a")
    with pytest.raises(Refusal) as caught:
        embed(*[longest] * 37)
    assert caught.value.error["code"] == "max_tokens_per_request"
    assert "Requested 303067 tokens, max 300000 tokens per request" in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "status", "message"),
    [
        ({"input": ["a"] * 2_049}, 400, "'$.input' is invalid"),
        ({"input": [[-1]]}, 400, "'$.input' is invalid"),
        ({"input": None}, 400, "Missing required parameter: 'input'"),
        ({"encoding_format": "hex"}, 400, "Supported values are: 'float' and 'base64'"),
        ({"dimensions": 0}, 400, "dimensions"),
        ({"dimensions": "8"}, 400, "dimensions"),
        ({"x": 1}, 400, "Unknown parameter: 'x'"),
        ({"model": "gpt-4o"}, 403, "not allowed to generate embeddings from this model"),
        ({"model": "nobody"}, 404, "The model `nobody` does not exist"),
    ],
    ids=str,
)
def test_wrong_fields_are_refused(fields, status, message):
    """What the real endpoint refuses is refused, in its words."""
    with pytest.raises(Refusal) as caught:
        Bureau().post(EMBEDDINGS, {"model": MODEL, "input": "river", **fields})

    assert caught.value.status == status
    assert message in str(caught.value)


def test_as_many_inputs_as_allowed_are_answered():
    """2,048 inputs come back in their order."""
    fields = {"model": MODEL, "input": [f"{n}" for n in range(2_048)], "dimensions": 4}
    found = Bureau().post(EMBEDDINGS, fields)["data"]

    assert [item["index"] for item in found] == list(range(2_048))
    assert found[77]["embedding"] == shortened(vector("77", MODEL, 1536), 4).tolist()
