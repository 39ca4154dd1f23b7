"""Moderations that a test can provoke."""

import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types import ModerationCreateResponse

from headworks.simulator.endpoints.moderations import CATEGORIES
from headworks.simulator.problems import Refusal
from tests.simulator.endpoints.bureau import Bureau
from tests.simulator.endpoints.shapes import shaped

MODERATIONS = "/v1/moderations"
PROVOKED = {
    "I will kill you tomorrow": {"harassment", "harassment/threatening", "violence"},
    "You are an idiot.": {"harassment"},
    "They are vermin": {"hate"},
    "exterminate them": {"hate", "hate/threatening"},
    "how to shoplift": {"illicit"},
    "how to build a bomb": {"illicit", "illicit/violent"},
    "I want to die": {"self-harm", "self-harm/intent"},
    "how to commit suicide": {"self-harm", "self-harm/instructions"},
    "erotic story": {"sexual"},
    "underage sex": {"sexual", "sexual/minors"},
    "He stabbed the man": {"violence"},
    "Severed head": {"violence", "violence/graphic"},
    "The river carried the quiet boat; she skilled, killjoy's idiotproof stable.": set(),
    "Our new skill set is an overkill of pornograph-free ideas": set(),
    "Hello": set(),
}


@pytest.fixture
def bureau():
    return Bureau()


def judge(bureau, given_input, **fields):
    return bureau.post(MODERATIONS, {"input": given_input, **fields})


@pytest.mark.parametrize(("text", "marked"), PROVOKED.items(), ids=list(PROVOKED))
def test_words_provoke_a_verdict(bureau, text, marked):
    """A text is flagged by what it says, in the right categories, with scores that agree."""
    answer = judge(bureau, text)
    shaped(ModerationCreateResponse, answer)
    [result] = answer["results"]

    assert result["flagged"] is bool(marked)
    assert {name for name, is_marked in result["categories"].items() if is_marked} == marked
    for name, score in result["category_scores"].items():
        assert (score > 0.5) is (name in marked)
    assert list(result["categories"]) == list(CATEGORIES)


@given(text=st.text())
def test_scores_are_shares_and_always_the_same(text):
    """Every score lies between 0 and 1, and the same text has the same ones."""
    first, second = (judge(Bureau(), text)["results"] for _ in range(2))

    assert first == second
    assert all(0 <= score <= 1 for score in first[0]["category_scores"].values())


def test_each_text_has_a_verdict_of_its_own(bureau):
    """Several texts are judged one by one, in their order."""
    answer = judge(bureau, ["Hello", "I will kill you", "Hello"])

    assert [result["flagged"] for result in answer["results"]] == [False, True, False]
    assert answer["model"] == "omni-moderation-latest"
    assert answer["id"].startswith("modr-")


def test_texts_and_images_are_judged_together(bureau):
    """Parts make one verdict, which says whether a category looked at text, image or both."""

    def image(address):
        return {"type": "image_url", "image_url": {"url": address}}

    both = judge(bureau, [{"type": "text", "text": "Hello"}, image("https://x/murder.png")])
    alone = judge(bureau, [image("data:image/png;base64,AAAA")])
    [result], [harmless] = both["results"], alone["results"]
    shaped(ModerationCreateResponse, both)

    assert result["categories"]["violence"]
    kinds = result["category_applied_input_types"]
    assert (kinds["violence"], kinds["hate"]) == (["text", "image"], ["text"])
    assert not harmless["flagged"]
    kinds = harmless["category_applied_input_types"]
    assert (kinds["violence"], kinds["hate"]) == (["image"], [])


@pytest.mark.parametrize("model", ["text-moderation-latest", "text-moderation-stable"])
def test_older_models_know_less(bureau, model):
    """They have eleven categories, say nothing of input types and see no images."""
    answer = judge(bureau, "how to build a bomb; kill", model=model)
    [result] = answer["results"]

    assert answer["model"] == "text-moderation-007"
    assert set(result["categories"]) == {n for n in CATEGORIES if not n.startswith("illicit")}
    assert result.keys() == {"flagged", "categories", "category_scores"}
    assert result["flagged"]
    with pytest.raises(Refusal, match="does not support images"):
        judge(bureau, [{"type": "image_url", "image_url": {"url": "x"}}], model=model)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"input": None}, "Missing required parameter: 'input'"),
        ({"input": []}, "Invalid 'input': empty array"),
        ({"input": 5}, "Invalid type for 'input'"),
        ({"input": ["a", 5]}, "Invalid type for 'input[1]'"),
        ({"input": [{"type": "text", "text": "a"}, "b"]}, "Invalid type for 'input[1]'"),
        ({"input": [{"type": "audio"}]}, "Invalid value: 'audio'"),
        ({"input": [{"text": "a"}]}, "Missing required parameter: 'input[0].type'"),
        ({"input": [{"type": "text"}]}, "Missing required parameter: 'input[0].text'"),
        ({"input": [{"type": "image_url"}]}, "'input[0].image_url.url'"),
        ({"input": "a", "model": "gpt-4o"}, "Invalid value: 'gpt-4o'"),
        ({"input": "a", "x": 1}, "Unknown parameter: 'x'"),
    ],
    ids=str,
)
def test_nonsense_is_refused(bureau, fields, message):
    """What cannot be judged is the caller's mistake."""
    with pytest.raises(Refusal) as caught:
        bureau.post(MODERATIONS, fields)

    assert caught.value.status == 400
    assert message in str(caught.value)


def test_the_official_client_pays_nothing(client, simulator):
    """Moderations are free, and the official client reads them."""
    answer = client.moderations.create(input="I will kill you", model="omni-moderation-latest")
    with pytest.raises(openai.BadRequestError, match="Supported values"):
        client.moderations.create(input="a", model="nobody")

    assert answer.results[0].categories.harassment_threatening
    invoice = simulator.invoice()
    assert (invoice["nano_usd"], invoice["unpriced"], invoice["attempts"]) == (0, 0, 2)
