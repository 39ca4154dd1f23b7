"""A caller is told the truth about a call that failed, and never that its own key is bad."""

import json
from dataclasses import dataclass

import pytest

from headworks.core.classify import classify
from headworks.core.verdict import verdict
from headworks.core.wire import retry_headers
from headworks.errors import (
    CallError,
    ConnectFailed,
    CredentialRefused,
    CredentialsExhausted,
    NoRouteLeft,
    UpstreamAnswered,
    UpstreamError,
)
from headworks.types import Call, Request


def answered(status: int, code: str = "", wait: float | None = None) -> UpstreamError:
    body = {"error": {"message": "m", "type": None, "code": code or None, "param": None}}
    error = classify(status, (), json.dumps(body).encode(), now=0.0)
    error.retry_after = wait
    return error


@dataclass(frozen=True)
class Case:
    id: str
    failures: tuple[UpstreamError, ...]
    told: type[CallError]
    status: int
    should: str = "false"
    has_moved: bool = True


CASES = [
    Case("a single failure passes", (ConnectFailed(),), ConnectFailed, 502, "true", has_moved=False),
    Case("a final one passes after others", (ConnectFailed(), answered(400)), UpstreamAnswered, 400),
    Case("several are listed", (ConnectFailed(), answered(500)), NoRouteLeft, 503),
    Case("the only credential says what it is", (answered(401),), CredentialRefused, 502, has_moved=False),
    Case("a country is not the caller's trouble", (answered(403),), CredentialsExhausted, 502, has_moved=False),
    Case("nor is a bill", (answered(402),), CredentialsExhausted, 502, has_moved=False),
    Case("all credentials", (answered(401), answered(402), answered(403)), CredentialsExhausted, 502),
    Case("all of one kind", (answered(401), answered(401)), CredentialsExhausted, 502),
    Case("all but one", (answered(401), answered(500)), NoRouteLeft, 503),
    Case("no money is told as it is", (answered(429, "insufficient_quota"),), UpstreamAnswered, 429, has_moved=False),
    Case("refused and no money", (answered(401), answered(429, "insufficient_quota")), NoRouteLeft, 503),
    Case("no such model for this project", (answered(403, "model_not_found"),), UpstreamAnswered, 403, has_moved=False),
    Case("a wait within the time", (answered(429, wait=9.9),), UpstreamAnswered, 429, "true", has_moved=False),
    Case("one beyond it", (answered(429, wait=10.0),), UpstreamAnswered, 429, "false", has_moved=False),
    Case("the least of several", (answered(429, wait=40.0), answered(429, wait=30.0)), NoRouteLeft, 429),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_what_a_caller_is_told(case):
    """Each way to fail has one verdict; clients repeat only what may go well in their time."""
    told = verdict(case.failures, 10.0, has_moved=case.has_moved)
    call = Call("id", Request("POST", "/v1/x"), 0.0, 0.0, attempts=len(case.failures))

    assert (type(told), told.status) == (case.told, case.status)
    waits = [one.retry_after for one in case.failures if one.retry_after]
    assert told.retry_after == min(waits, default=None)
    assert dict(retry_headers(told, call))[b"x-should-retry"].decode() == case.should
