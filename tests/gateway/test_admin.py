"""Probes and scrapers get the truth, and nobody gets in by another name."""

from dataclasses import dataclass, replace

import msgspec
import pytest

from headworks.gateway.admin import AdminSources, admin_app
from headworks.gateway.lifecycle import Lifecycle
from tests.gateway.conftest import Answer

pytestmark = pytest.mark.anyio


def sources(**changes: object) -> AdminSources:
    lifecycle = Lifecycle()
    lifecycle.started = True
    plain = AdminSources(lifecycle=lifecycle, version="1.2.3", environment="testing")
    return replace(plain, **changes)  # type: ignore[arg-type] # whatever a test wants to set


async def ask(
    path: str,
    *,
    given: AdminSources | None = None,
    host: str = "localhost",
    method: str = "GET",
    listen: str = "127.0.0.1:4001",
) -> Answer:
    """Call the app as a server would."""
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "root_path": "",
        "query_string": b"",
        "headers": [(b"host", host.encode("latin-1"))],
    }
    sent: list[dict] = []  # type: ignore[type-arg] # ASGI messages

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message):
        sent.append(message)

    await admin_app(given or sources(), listen)(scope, receive, send)
    headers = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return Answer(sent[0]["status"], headers, b"".join(part["body"] for part in sent[1:]))


async def test_a_live_process_is_healthy():
    """/healthz answers as long as the loop turns, ready or not."""
    assert (await ask("/healthz", given=sources(lifecycle=Lifecycle()))).status == 200


async def test_a_ready_server_says_so_with_its_details():
    """/readyz tells version, environment, configuration, ledger and upstreams."""
    given = sources(upstreams=lambda: {"openai": "reachable", "spare": "degraded"})
    answer = await ask("/readyz", given=given)
    assert answer.status == 200
    assert msgspec.json.decode(answer.body) == {
        "status": "ready",
        "reason": None,
        "degraded": ["spare"],
        "version": "1.2.3",
        "environment": "testing",
        "configuration": "current",
        "ledger": "ok",
        "upstreams": {"openai": "reachable", "spare": "degraded"},
        "in_flight": 0,
    }


def draining() -> Lifecycle:
    lifecycle = Lifecycle()
    lifecycle.started = lifecycle.draining = True
    return lifecycle


UNREADY = {
    "starting": sources(lifecycle=Lifecycle()),
    "draining": sources(lifecycle=draining()),
    "the ledger cannot be written": sources(ledger_ok=lambda: False),
}


@pytest.mark.parametrize("reason", UNREADY)
async def test_a_server_that_should_get_no_requests_says_why(reason: str):
    """/readyz is 503 with the reason while starting, draining or unable to account."""
    answer = await ask("/readyz", given=UNREADY[reason])
    assert (answer.status, msgspec.json.decode(answer.body)["reason"]) == (503, reason)


async def test_an_old_configuration_is_shown_and_does_not_stop_the_server():
    """A newer file that was refused is told in the details; the server stays ready."""
    answer = await ask("/readyz", given=sources(configuration=lambda: "old kept: line 3"))
    assert answer.status == 200
    assert msgspec.json.decode(answer.body)["configuration"] == "old kept: line 3"


async def test_metrics_are_prometheus_text():
    """/metrics returns what the metrics source renders."""
    answer = await ask("/metrics", given=sources(metrics=lambda: b"a_total 1\n"))
    assert (answer.status, answer.body) == (200, b"a_total 1\n")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")


@dataclass(frozen=True)
class Case:
    host: str
    listen: str = "127.0.0.1:4001"
    status: int = 200


HOSTS = (
    Case("localhost"),
    Case("LOCALHOST:4001"),
    Case("127.0.0.1:4001"),
    Case("127.8.9.1"),
    Case("[::1]:4001"),
    Case("admin.internal:4001", "admin.internal:4001"),
    Case("10.0.0.5:4001", "10.0.0.5:4001"),
    Case("10.0.0.5:4001", "0.0.0.0:4001"),
    Case("[fd00::5]", "[::]:4001"),
    Case("evil.example", status=403),
    Case("evil.example:4001", "0.0.0.0:4001", 403),
    Case("localhost.evil.example", status=403),
    Case("127.0.0.1.evil.example", status=403),
    Case("10.0.0.5:4001", status=403),
    Case("", status=403),
    Case("", ":4001", 403),
    Case("localhost@evil.example", status=403),
)


@pytest.mark.parametrize("case", HOSTS, ids=lambda case: f"{case.host} at {case.listen}")
async def test_only_our_own_names_are_served(case: Case):
    """A browser that was led here by a foreign name (DNS rebinding) gets 403 and no content."""
    answer = await ask("/readyz", host=case.host, listen=case.listen)
    assert answer.status == case.status
    if case.status == 403:
        assert answer.code == "host_not_allowed"
        assert b"1.2.3" not in answer.body


@pytest.mark.parametrize("path", ["/", "/v1/models", "/healthz/", "/metrics/x", "//healthz"])
async def test_everything_else_is_not_found(path: str):
    """Nothing but the listed paths exists, and the answer has the API's error shape."""
    answer = await ask(path)
    assert (answer.status, answer.code) == (404, "not_found")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE"])
async def test_the_admin_plane_only_reads(method: str):
    """Methods that could change anything are refused."""
    answer = await ask("/readyz", method=method)
    assert (answer.status, answer.code) == (405, "method_not_allowed")
    assert set(answer.headers["allow"].split(", ")) == {"GET", "HEAD"}


async def test_head_is_answered():
    """Probes that use HEAD get the status."""
    assert (await ask("/readyz", method="HEAD")).status == 200


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics", "/none"])
async def test_answers_are_hardened(path: str):
    """No answer may be cached, sniffed, framed or given scripts."""
    headers = (await ask(path)).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-store"
    assert headers["content-security-policy"].startswith("default-src 'none'")
