"""The admin plane's view of the upstreams: how their routes are, and breakers by hand."""

import logging
import math
from datetime import UTC, datetime
from typing import Literal

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from headworks.core.wire import media_type
from headworks.gateway.replies import answer, refuse
from headworks.stores.health import MemoryHealth, RouteHealth, RouteLimit, UpstreamHealth

_log = logging.getLogger("headworks")

_MOST_BODY = 4096
_EXAMPLE = 'Send {"state": "open"}, "closed" or "auto"; "credential" and "model" name a part of the upstream.'


class _Order(msgspec.Struct, forbid_unknown_fields=True):
    """What breakers are to do: those of a whole upstream, or of one credential or model there."""

    state: Literal["open", "closed", "auto"]
    credential: str | None = None
    model: str | None = None


def upstream_routes(health: MemoryHealth) -> list[Route]:
    """Return the routes that show and set how upstreams are used."""

    async def upstreams(_: Request) -> Response:
        return answer(200, {"upstreams": [_upstream(one) for one in health.statistics()]})

    async def breaker(request: Request) -> Response:
        if media_type(request.headers.get("content-type", "").encode()) != b"application/json":
            # a web page of another origin cannot send this type without being asked first
            return refuse(415, "unsupported_media_type", "Send application/json.")
        name: str = request.path_params["upstream"]
        try:
            order = msgspec.json.decode(await _body(request), type=_Order)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            return refuse(400, "invalid_request", f"{error}. {_EXAMPLE}")
        if not health.force(name, order.state, credential=order.credential, model=order.model):
            return refuse(404, "not_found", "There is no such upstream, or no such route yet.")
        part = "/".join(word for word in (name, order.credential, order.model) if word)
        _log.warning("breakers of %r set to %s by hand", part, order.state)
        found = next(one for one in health.statistics() if one.name == name)
        return answer(200, _upstream(found))

    return [
        Route("/api/upstreams", upstreams, methods=["GET"]),
        Route("/api/upstreams/{upstream}/breaker", breaker, methods=["POST"]),
    ]


async def _body(request: Request) -> bytes:
    """Return the body, or so much of it that it cannot be right."""
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > _MOST_BODY:
            break
    return body


def _upstream(one: UpstreamHealth) -> dict[str, object]:
    return {
        "name": one.name,
        "forced": one.forced,
        "opened": one.opened,
        "cooldowns": one.cooldowns,
        "waiting": one.waiting,
        "retry_budget": {
            "requests": one.requests,
            "retries": one.retries,
            "left": one.retries_left,
            "refused": one.refused,
        },
        "routes": [_route(route) for route in one.routes],
    }


def _route(one: RouteHealth) -> dict[str, object]:
    refusal = one.refusal
    return {
        "model": one.model,
        "credential": one.credential,
        "state": one.state,
        "forced": one.forced,
        "since": datetime.fromtimestamp(one.since, UTC),
        "calls": one.calls,
        "failures": one.failures,
        "slow": one.slow,
        "in_flight": one.in_flight,
        "latency_ms": round(one.latency * 1000, 3),
        "pace": None if one.pace is None else round(one.pace, 3),
        "most": None if one.most is None else int(one.most),
        "limits": [_limit(limit) for limit in one.limits],
        "waiting": one.waiting,
        "refused": None if refusal is None else refusal.reason,
        "retry_after": None if refusal is None or math.isinf(refusal.wait) else refusal.wait,
    }


def _limit(one: RouteLimit) -> dict[str, object]:
    return {
        "of": one.measure,
        "limit": int(one.limit),
        "seconds": int(one.seconds),
        "left": max(0, int(one.left)),
        "source": "provider" if one.is_learned else "configuration",
    }
