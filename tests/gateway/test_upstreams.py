"""Operators see how upstreams are, and take one out or back by hand."""

import json
import logging
from dataclasses import dataclass
from typing import Any

import pytest

from headworks.core.breaker import BreakerRules
from headworks.errors import ConnectFailed, UpstreamAnswered
from headworks.gateway.admin import AdminSources, admin_app
from headworks.gateway.lifecycle import Lifecycle
from headworks.gateway.upstreams import upstream_routes
from headworks.stores.health import MemoryHealth
from headworks.stores.health_track import HealthRules
from headworks.testing import FakeClock, SeededRandom
from headworks.types import Refusal, Route
from tests.gateway.conftest import Answer

pytestmark = pytest.mark.anyio

BIG, SMALL = Route("up", "org/big", "main"), Route("up", "small", "spare")
BREAKER = "/api/upstreams/up/breaker"


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def health(clock):
    rules = HealthRules(BreakerRules(calls=2))
    return MemoryHealth(clock, SeededRandom(), {"up": rules, "idle": HealthRules()})


async def ask(
    health: MemoryHealth,
    path: str = "/api/upstreams",
    content: bytes = b"",
    *,
    kind: str = "application/json",
    host: str = "localhost",
    method: str | None = None,
) -> Answer:
    """Call the admin plane as a server would: GET without a body, POST with one."""
    sources = AdminSources(
        lifecycle=Lifecycle(), version="1", environment="e", api=upstream_routes(health)
    )
    scope = {
        "type": "http",
        "method": method or ("POST" if content else "GET"),
        "path": path,
        "root_path": "",
        "query_string": b"",
        "headers": [(b"host", host.encode()), (b"content-type", kind.encode())],
    }
    pieces = [content[at : at + 1000] for at in range(0, len(content), 1000)] or [b""]
    sent: list[Any] = []

    async def receive():
        return {"type": "http.request", "body": pieces.pop(0), "more_body": bool(pieces)}

    async def send(message):
        sent.append(message)

    await admin_app(sources, "127.0.0.1:4001")(scope, receive, send)
    headers = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return Answer(sent[0]["status"], headers, b"".join(part["body"] for part in sent[1:]))


def use(health: MemoryHealth, route: Route, error: BaseException | None = None) -> None:
    admission = health.admit(route)
    assert not isinstance(admission, Refusal)
    admission.settle(error)


async def test_every_upstream_and_route_is_shown(health, clock):
    """State, since when, failures, cooldown, budget: what an operator asks first."""
    pause = UpstreamAnswered(
        "m", status=429, type="t", code="c", failure="rate_limit", retry_after=30.0
    )
    pause.retry = ConnectFailed.retry
    use(health, SMALL, pause)
    clock.advance(8)
    use(health, BIG, ConnectFailed())
    use(health, BIG, ConnectFailed())
    clock.advance(1)

    answer = await ask(health)

    up, idle = json.loads(answer.body)["upstreams"]
    assert answer.status == 200
    assert up["retry_budget"] == {"requests": 3, "retries": 0, "left": 30, "refused": 0}
    assert (up["name"], up["forced"], up["opened"], up["cooldowns"]) == ("up", None, 1, 1)
    small, big = up["routes"]
    assert 4 <= big.pop("retry_after") <= 5.25
    assert big == {
        "model": "org/big",
        "credential": "main",
        "state": "open",
        "forced": None,
        "since": "2027-01-15T08:00:08Z",
        "calls": 2,
        "failures": 2,
        "slow": 0,
        "in_flight": 0,
        "latency_ms": 0.0,
        "pace": None,
        "most": None,
        "limits": [],
        "waiting": 0,
        "refused": "open",
    }
    assert (small["state"], small["refused"], small["retry_after"]) == ("closed", "cooling", 21.0)
    assert (idle["name"], idle["routes"]) == ("idle", [])


async def test_an_upstream_is_taken_out_and_back(health, caplog):
    """Open, closed, auto: the answer shows what is in force, and the log who was told."""
    caplog.set_level(logging.INFO, logger="headworks")
    use(health, BIG)
    for state, forced, shown in (("open", "open", "open"), ("closed", "closed", "closed"), ("auto", None, "closed")):  # fmt: skip
        answer = await ask(health, BREAKER, json.dumps({"state": state}).encode())
        told = json.loads(answer.body)
        assert (answer.status, told["forced"]) == (200, forced)
        assert [(one["state"], one["forced"]) for one in told["routes"]] == [(shown, forced)]
        assert isinstance(health.admit(BIG), Refusal) == (state == "open")
    assert caplog.messages[0] == "breakers of 'up' set to open by hand"


async def test_a_part_of_an_upstream_is_taken_out(health):
    """One credential, or one model, and the rest goes on."""
    use(health, BIG)
    use(health, SMALL)
    await ask(health, BREAKER, b'{"state": "open", "model": "org/big"}')
    assert [isinstance(health.admit(one), Refusal) for one in (BIG, SMALL)] == [True, False]
    await ask(health, BREAKER, b'{"state": "open", "credential": "spare"}')
    assert isinstance(health.admit(SMALL), Refusal)
    answer = await ask(health)
    assert json.loads(answer.body)["upstreams"][0]["forced"] is None
    assert json.loads(answer.body)["upstreams"][0]["routes"][0]["retry_after"] is None


@dataclass(frozen=True)
class Case:
    id: str
    content: bytes
    status: int
    code: str
    path: str = BREAKER
    kind: str = "application/json"


CASES = [
    Case("a form of a web page", b'{"state": "open"}', 415, "unsupported_media_type", kind="text/plain"),
    Case("no type at all", b'{"state": "open"}', 415, "unsupported_media_type", kind=""),
    Case("no JSON", b"open", 400, "invalid_request"),
    Case("no UTF-8", b'{"state": "\xff"}', 400, "invalid_request"),
    Case("no state", b"{}", 400, "invalid_request"),
    Case("no such state", b'{"state": "half-open"}', 400, "invalid_request"),
    Case("a misspelt field", b'{"state": "open", "modell": "x"}', 400, "invalid_request"),
    Case("too long", b'{"state": "open"' + b" " * 100_000 + b"}", 400, "invalid_request"),
    Case("no such upstream", b'{"state": "open"}', 404, "not_found", path="/api/upstreams/upp/breaker"),
    Case("no such route", b'{"state": "open", "model": "x"}', 404, "not_found"),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
async def test_what_is_not_an_order_changes_nothing(health, case):
    """Mistakes are told, and no web page can give orders by a plain form."""
    use(health, BIG)
    answer = await ask(health, case.path, case.content, kind=case.kind)
    assert (answer.status, answer.code) == (case.status, case.code)
    assert not isinstance(health.admit(BIG), Refusal)


async def test_a_charset_does_no_harm(health):
    """Clients that name the charset are understood."""
    answer = await ask(
        health, BREAKER, b'{"state": "open"}', kind="Application/JSON; charset=utf-8"
    )
    assert answer.status == 200


async def test_foreign_names_are_refused_here_too(health):
    """Who was led here by a foreign host name (DNS rebinding) sees and changes nothing."""
    assert (await ask(health, host="evil.example")).code == "host_not_allowed"
    refused = await ask(health, BREAKER, b'{"state": "open"}', host="evil.example")
    assert (refused.status, refused.code) == (403, "host_not_allowed")
    assert not isinstance(health.admit(BIG), Refusal)


@pytest.mark.parametrize("method", ["PUT", "DELETE", "GET"])
async def test_other_methods_are_refused(health, method):
    """Breakers are set by POST, and only so."""
    answer = await ask(health, BREAKER, b'{"state": "open"}', method=method)
    assert (answer.status, answer.code) == (405, "method_not_allowed")


async def test_what_is_left_of_a_limit_is_shown(health):
    """An operator sees the provider's limits, what is left of them, and who waits for them."""
    admission = health.admit(SMALL)
    assert not isinstance(admission, Refusal)
    admission.heard(
        (
            (b"x-ratelimit-limit-requests", b"500"),
            (b"x-ratelimit-remaining-requests", b"120"),
            (b"x-ratelimit-reset-requests", b"45.6s"),
        )
    )
    admission.settle()
    up, _ = json.loads((await ask(health)).body)["upstreams"]
    (small,) = up["routes"]
    (limit,) = small["limits"]
    assert 119 <= limit.pop("left") <= 120
    assert limit == {"of": "requests", "limit": 500, "seconds": 60, "source": "provider"}
    assert (small["waiting"], up["waiting"], small["most"]) == (0, 0, None)
