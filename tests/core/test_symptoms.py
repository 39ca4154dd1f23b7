"""What a failure says about a route: its own fault, its limit, its account, or nothing."""

import json

import pytest

from headworks import errors
from headworks.core.classify import classify
from headworks.core.symptoms import is_load, symptom


def answered(status: int, code: str = "", message: str = "m") -> errors.UpstreamError:
    body = {"error": {"message": message, "type": None, "code": code or None, "param": None}}
    return classify(status, (), json.dumps(body).encode(), now=0.0)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (errors.ConnectFailed(), "failure"),
        (errors.ConnectTimeout(), "failure"),
        (errors.ConnectionLost(), "failure"),
        (errors.FirstByteTimeout(), "failure"),
        (errors.IdleTimeout(), "failure"),
        (errors.MalformedResponse(), "failure"),
        (errors.StreamTruncated(), "failure"),
        (errors.MalformedEvent(), "failure"),
        (answered(500), "failure"),
        (answered(503, "server_is_overloaded"), "failure"),
        (answered(529), "failure"),
        (answered(200, "server_error"), "failure"),
        (answered(429), "pause"),
        (answered(429, "rate_limit_exceeded"), "pause"),
        (answered(200, "rate_limit_exceeded"), "pause"),
        (answered(503, "slow_down"), "pause"),
        (answered(429, message="Request too large for gpt-6-sol"), "none"),
        (answered(429, "insufficient_quota"), "unpaid"),
        (answered(429, "billing_hard_limit_reached"), "unpaid"),
        (answered(402), "unpaid"),
        (answered(400), "none"),
        (answered(400, "context_length_exceeded"), "none"),
        (answered(400, "content_filter"), "none"),
        (answered(401), "none"),
        (answered(404, "model_not_found"), "none"),
        (answered(408), "none"),
        (answered(409), "none"),
    ],
    ids=repr,
)
def test_what_a_failure_says(error, expected):
    """Only what the provider did wrong counts against it; limits and refusals do not."""
    assert symptom(error) == expected


def test_what_adds_to_a_load():
    """Asking with another credential after a refusal is no retry of what failed."""
    assert is_load(errors.ConnectFailed())
    assert is_load(errors.FirstByteTimeout())
    assert is_load(answered(500))
    assert is_load(answered(429))
    assert not is_load(answered(401))
    assert not is_load(answered(404, "model_not_found"))
    assert not is_load(answered(429, "insufficient_quota"))
    assert not is_load(answered(400, "content_filter"))
