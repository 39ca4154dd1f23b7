"""What a provider's content filter stopped is told from what a model declined."""

import json

import pytest

from headworks.core.filtering import is_filtered


def choice(finish: str, **message: object) -> dict[str, object]:
    return {"choices": [{"index": 0, "message": message, "finish_reason": finish}]}


FILTERED = [
    choice("content_filter", content=""),
    {"choices": [{"finish_reason": "stop"}, {"finish_reason": "content_filter"}]},
    {"status": "incomplete", "incomplete_details": {"reason": "content_filter"}, "output": []},
    {"status": "failed", "error": {"code": "bio_policy", "message": "m"}},
    {"status": "failed", "error": {"code": "image_content_policy_violation", "message": "m"}},
]
NOT = [
    choice("stop", content='The word "content_filter".'),
    choice("stop", content=None, refusal="I cannot help with that."),
    {"choices": [{"content_filter_results": {"hate": {"filtered": False}}}]},
    {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}},
    {"status": "failed", "error": {"code": "server_error", "message": "content_filter"}},
    {"choices": "content_filter"},
    ["content_filter"],
]


@pytest.mark.parametrize("answer", FILTERED, ids=range(len(FILTERED)))
def test_a_filtered_answer_is_known(answer):
    """Whichever form the provider has for it."""
    assert is_filtered(json.dumps(answer).encode())


@pytest.mark.parametrize("answer", NOT, ids=range(len(NOT)))
def test_nothing_else_counts_as_filtered(answer):
    """A refusal in the model's own words is an answer; so is a text about filters."""
    assert not is_filtered(json.dumps(answer).encode())


@pytest.mark.parametrize("content", [b'"content_filter"', b'{"content_filter"', b'\xff"failed"'])
def test_what_cannot_be_read_is_not_filtered(content):
    """Broken JSON is told as such elsewhere."""
    assert not is_filtered(content)
