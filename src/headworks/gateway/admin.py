"""The admin plane: is the process alive, is it ready, what does it measure; and the API beside."""

import ipaddress
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from headworks.gateway.lifecycle import Lifecycle
from headworks.gateway.listener import Receive, Send
from headworks.gateway.replies import SAFETY, answer, refuse

_METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(frozen=True, slots=True, kw_only=True)
class AdminSources:
    """Where the admin plane learns what it tells.

    Attributes:
        metrics: Returns all metrics in Prometheus' text format.
        configuration: Returns "current", or why a newer file was not taken.
        ledger_ok: Whether the ledger can be written.
        upstreams: Returns the state of each upstream by name: "reachable", "degraded" or "unknown".
        api: Further routes.
    """

    lifecycle: Lifecycle
    version: str
    environment: str
    metrics: Callable[[], bytes] = lambda: b""
    configuration: Callable[[], str] = lambda: "current"
    ledger_ok: Callable[[], bool] = lambda: True
    upstreams: Callable[[], Mapping[str, str]] = dict[str, str]
    api: Sequence[Route] = ()


def admin_app(
    sources: AdminSources, listen: str, hosts: frozenset[str] = frozenset()
) -> "HostGate":
    """Return the admin plane, for requests that name `listen`, this machine or one of `hosts`."""

    async def healthz(_: Request) -> Response:
        return answer(200, {"status": "ok"})

    async def readyz(_: Request) -> Response:
        reason = _unready(sources)
        return answer(200 if reason is None else 503, _readiness(sources, reason))

    async def metrics(_: Request) -> Response:
        return Response(sources.metrics(), headers={**SAFETY, "content-type": _METRICS_TYPE})

    routes = [
        Route("/healthz", healthz, methods=["GET"]),
        Route("/readyz", readyz, methods=["GET"]),
        Route("/metrics", metrics, methods=["GET"]),
        *sources.api,
    ]
    app = Starlette(routes=routes, exception_handlers={HTTPException: _refuse})
    app.router.redirect_slashes = False
    return HostGate(app, listen, hosts)


def _unready(sources: AdminSources) -> str | None:
    """Say why no requests should be sent here, None when they should."""
    if sources.lifecycle.draining:
        return "draining"
    if not sources.lifecycle.started:
        return "starting"
    return None if sources.ledger_ok() else "the ledger cannot be written"


def _readiness(sources: AdminSources, reason: str | None) -> dict[str, object]:
    upstreams = dict(sources.upstreams())
    return {
        "status": "ready" if reason is None else "not ready",
        "reason": reason,
        "degraded": sorted(name for name, state in upstreams.items() if state == "degraded"),
        "version": sources.version,
        "environment": sources.environment,
        "configuration": sources.configuration(),
        "ledger": "ok" if sources.ledger_ok() else "failing",
        "upstreams": upstreams,
        "in_flight": sources.lifecycle.in_flight,
    }


class HostGate:
    """Lets a request through only if its Host is one of ours.

    A web page can point a name of its own at a loopback address (DNS rebinding) and so make a
    browser talk to this port; the name it used is then in Host.
    """

    def __init__(self, app: Starlette, listen: str, hosts: frozenset[str] = frozenset()) -> None:
        self._app = app
        own = _hostname(listen)
        self._names = frozenset({"localhost", own, *map(str.lower, hosts)}) - {""}
        address = _address(own)
        self._everywhere = own in {"", "*"} or (address is not None and address.is_unspecified)

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Serve one request, or refuse it with 403."""
        if scope["type"] != "http":
            return
        host = dict(scope["headers"]).get(b"host", b"").decode("latin-1")
        if self.allows(host):
            await self._app(scope, receive, send)
        else:
            refusal = refuse(403, "host_not_allowed", "This host name is not served here.")
            await refusal(scope, receive, send)

    def allows(self, host: str) -> bool:
        """Whether a Host field names this machine: by loopback, by our address or by a known name."""
        name = _hostname(host) if ":" in host else host.lower()
        address = _address(name)
        if address is None:
            return name in self._names
        return address.is_loopback or self._everywhere or name in self._names


def _hostname(address: str) -> str:
    """Return the host of `host:port` or `[host]:port`, in lower case."""
    if address.startswith("["):
        return address[1:].partition("]")[0].lower()
    return address.rpartition(":")[0].lower()


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        return None


async def _refuse(_: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    if not isinstance(error, HTTPException) or status != 405:  # noqa: PLR2004 - HTTP's own number
        return refuse(status, "not_found", "There is nothing at this address.")
    answer = refuse(405, "method_not_allowed", "This address does not answer to this method.")
    answer.headers.update(error.headers or {})  # which it does answer to, as `Allow`
    return answer
