"""Every provider error has one meaning."""

import json
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headworks.core.classify import classify
from headworks.errors import CredentialRefused, Retry, UpstreamAnswered


def body(code=None, kind=None, message="m", param=None) -> bytes:
    return json.dumps(
        {"error": {"message": message, "type": kind, "code": code, "param": param}}
    ).encode()


@dataclass(frozen=True)
class Case:
    id: str
    status: int
    content: bytes
    retry: Retry
    told: int | None = None


NEVER, SAME, OTHER = Retry.NEVER, Retry.SAME_ROUTE, Retry.OTHER_ROUTE
CASES = [
    Case("a malformed request", 400, body("invalid_value"), NEVER),
    Case("an unknown code", 400, body("brand_new_code"), NEVER),
    Case("no code", 400, body(), NEVER),
    Case("too long for the window", 400, body("context_length_exceeded"), NEVER),
    Case("a content filter", 400, body("content_filter"), NEVER),
    Case("an unknown model on chat", 404, body("model_not_found"), OTHER),
    Case("an unknown model on responses", 400, body("model_not_found"), OTHER),
    Case("an unknown object", 404, body(), NEVER),
    Case("payment", 402, body(), OTHER),
    Case("no access", 403, body(), OTHER),
    Case("a timeout", 408, body(), SAME),
    Case("a lock", 409, body(), SAME),
    Case("unprocessable", 422, body(), NEVER),
    Case("too many requests", 429, body("rate_limit_exceeded", "requests"), SAME),
    Case("a request that can never fit", 429, body("rate_limit_exceeded", "tokens", "Request too large for gpt: Limit 1, Requested 2."), OTHER),
    Case("no money", 429, body("insufficient_quota", "insufficient_quota"), OTHER),
    Case("no money, in a newer word", 429, body("credit_balance_exhausted", "insufficient_quota"), OTHER),
    Case("no money, in a word to come", 429, body("some_new_limit", "insufficient_quota"), OTHER),
    Case("slower, please", 429, body("slow_down"), SAME),
    Case("a server error", 500, body("server_error"), SAME),
    Case("HTML from a proxy", 502, b"<html>bad gateway</html>", SAME),
    Case("an empty body", 503, b"", SAME),
    Case("overloaded", 503, body("server_is_overloaded"), SAME),
    Case("a status of their own", 529, body(), SAME),
    Case("a rate limit inside a stream", 200, body("rate_limit_exceeded"), SAME, 429),
    Case("a server error inside a stream", 200, body("server_error"), SAME, 502),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_what_may_be_tried_next(case):
    """Nothing is repeated that cannot succeed, and nothing is given up that can."""
    error = classify(case.status, (), case.content, now=0.0)

    assert (error.retry, error.status) == (case.retry, case.told or case.status)


def test_the_providers_words_survive():
    """Message, type, code, param and the body's bytes reach the caller as they came."""
    content = body("invalid_value", "invalid_request_error", "Bad temperature.", "temperature")

    error = classify(400, (), content, now=0.0)

    assert isinstance(error, UpstreamAnswered)
    assert error.content == content
    assert error.body() == json.loads(content)


def test_html_is_never_relayed():
    """A proxy's page becomes an error object."""
    error = classify(502, (), b"<html>secret</html>", now=0.0)

    assert isinstance(error, UpstreamAnswered)
    assert error.content is None
    assert "html" not in str(error.body())


@pytest.mark.parametrize("status", [401, 403])
def test_our_credential_is_not_the_callers_trouble(status):
    """A refused credential never reads as if the caller's key were bad, nor shows a part of it."""
    error = classify(
        status, (), body("invalid_api_key", message="Incorrect key: sk-ab***yz"), now=0.0
    )

    assert isinstance(error, CredentialRefused)
    assert (error.status, "sk-" in str(error)) == (502, False)


def test_the_wait_is_read_from_the_head():
    """What the provider asks for is known to whoever decides."""
    error = classify(429, ((b"retry-after-ms", b"1500"),), body("rate_limit_exceeded"), now=0.0)

    assert error.retry_after == 1.5


@given(st.integers(100, 999), st.binary() | st.recursive(st.none() | st.integers() | st.text(), lambda v: st.lists(v) | st.dictionaries(st.sampled_from(["error", "code", "type", "message"]), v)).map(lambda v: json.dumps(v).encode()))  # fmt: skip
def test_any_body_is_classified(status, content):
    """No answer of a provider breaks us."""
    error = classify(status, (), content, now=0.0)

    assert isinstance(error.body()["error"]["message"], str)
