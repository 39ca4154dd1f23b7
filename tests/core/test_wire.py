"""What callers read in our header fields."""

from dataclasses import dataclass

import pytest

from headworks.core.endpoints import endpoint
from headworks.core.wire import answer_headers, error_response, retry_headers, usd
from headworks.errors import (
    BodyTooLarge,
    CallError,
    ConnectFailed,
    CredentialRefused,
    LedgerUnavailable,
    MethodNotAllowed,
    NoRouteLeft,
    RateLimited,
    Retry,
    UpstreamAnswered,
)
from headworks.types import Call, Request, Route, Tried


def call(attempts: int = 1) -> Call:
    made = Call("call_1", Request("GET", "/v1/x"), started=10.0, time=0.0)
    made.attempts, made.waited, made.route = attempts, 0.75, Route("up", "m", "c")
    return made


def busy(retry_after=None, retry=Retry.SAME_ROUTE) -> UpstreamAnswered:
    return UpstreamAnswered("m", status=429, type="t", code="c", retry=retry, retry_after=retry_after)  # fmt: skip


@dataclass(frozen=True)
class Case:
    id: str
    error: CallError
    attempts: int
    should: str
    after: str | None = None


CASES = [
    Case("our limit, for a moment", RateLimited(retry_after=2.2), 0, "true", "3"),
    Case("our limit, at the bound", RateLimited(retry_after=60), 0, "true", "60"),
    Case("our limit, too long to obey", RateLimited(retry_after=61), 0, "false", "61"),
    Case("the ledger", LedgerUnavailable(retry_after=1), 0, "true", "1"),
    Case("the caller's fault", BodyTooLarge(), 0, "false"),
    Case("upstream, tried once", ConnectFailed(), 1, "true"),
    Case("upstream, tried again by us", ConnectFailed(), 3, "false"),
    Case("upstream is busy", busy(0.0), 1, "true", "1"),
    Case("upstream is busy for long", busy(3600), 1, "false", "3600"),
    Case("upstream will never say yes here", busy(retry=Retry.OTHER_ROUTE), 1, "false"),
    Case("our credential", CredentialRefused(), 1, "false"),
    Case("nothing left", NoRouteLeft([busy(5), ConnectFailed()]), 2, "false", "5"),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_clients_are_told_whether_to_try_again(case):
    """Retries of clients and of ours never multiply, and a wait is always the true one."""
    fields = dict(retry_headers(case.error, call(case.attempts)))

    assert fields[b"x-should-retry"].decode() == case.should
    assert fields.get(b"retry-after", b"").decode() == (case.after or "")


@pytest.mark.parametrize(("failure", "why"), [("connection", "budget"), ("budget", "passed over")])
def test_what_the_retry_budget_forbids_us_no_client_is_told_to_do(failure, why):
    """Where we may not ask the upstream again, the caller's own retries would be as many too many."""
    made = call()
    made.trail = [Tried(Route("up", "m", "c"), failure, "", "nothing", why)]

    assert dict(retry_headers(ConnectFailed(), made))[b"x-should-retry"] == b"false"


def test_a_relayed_answer_names_its_call():
    """Ids, route, attempts and our own share of the time stand in the head."""
    upstream = ((b"content-type", b"a/b"), (b"x-request-id", b"req_1"), (b"openai-organization", b"org"),
                (b"openai-processing-ms", b"9"), (b"x-ratelimit-limit-tokens", b"5"), (b"alt-svc", b"h3"))  # fmt: skip

    fields = dict(answer_headers(call(), upstream, now=11.0))

    assert fields == {
        b"content-type": b"a/b",
        b"openai-processing-ms": b"9",
        b"x-headworks-upstream-request-id": b"req_1",
        b"x-headworks-upstream-ratelimit-limit-tokens": b"5",
        b"x-request-id": b"call_1",
        b"x-headworks-call": b"call_1",
        b"x-headworks-attempts": b"1",
        b"x-headworks-cache": b"miss",
        b"x-headworks-overhead-ms": b"250.000",
        b"x-headworks-route": b"up/m",
    }


@pytest.mark.parametrize("name", ["m" * 9000, "漢" * 9000, "\r\nx-evil: 1\0" * 900])
def test_no_name_breaks_or_bursts_the_head(name):
    """Callers choose what their models are called; servers take heads of some kilobytes only."""
    made = call()
    made.route = Route("up", name, "main")
    made.trail = [Tried(made.route, "open", "", "other route", "passed over", 2.0)] * 3

    fields = dict(answer_headers(made, (), now=11.0))

    assert len(fields[b"x-headworks-route"]) == 256
    assert len(fields[b"x-headworks-trail"]) < 900
    assert all(value.isascii() and value.decode().isprintable() for value in fields.values())


def test_a_method_that_is_not_allowed_is_told_which_are():
    """Clients and proxies find in `Allow` what the path answers to."""
    with pytest.raises(MethodNotAllowed) as caught:
        endpoint("PUT", "/v1/models")
    response = error_response(caught.value)
    assert response.status == 405
    assert dict(response.headers)[b"allow"] == b"GET, HEAD"


def test_errors_without_a_body_of_their_own_get_ours():
    """An error object always has its four keys."""
    response = error_response(BodyTooLarge())

    assert response.status == 413
    assert response.content == (
        b'{"error":{"message":"The body exceeds the configured size.",'
        b'"type":"invalid_request_error","param":null,"code":"body_too_large"}}'
    )


@pytest.mark.parametrize(
    ("nano", "text"), [(0, "0.000000000"), (7, "0.000000007"), (12_345_678_901, "12.345678901")]
)
def test_money_is_exact(nano, text):
    """Not a nano-dollar is rounded away."""
    assert usd(nano) == text
