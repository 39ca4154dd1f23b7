"""The admin plane's usage reports: what was spent, and what drives its change."""

import asyncio
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from headworks.errors import ConfigurationError
from headworks.gateway.replies import SAFETY, answer, refuse
from headworks.ports import Clock
from headworks.stores.usage import usage
from headworks.stores.usage_asking import BEFORE, Words, units
from headworks.stores.usage_bounds import Bounds, UsageTooWide
from headworks.stores.usage_drivers import compare
from headworks.stores.usage_forms import as_comparison, as_csv, as_object

_LISTED = 100
_MOST_LISTED = 10_000
_MOST_GROUPS = 200_000
"""Some 100 MB while they are ranked."""
_SECONDS = 10.0
_AT_ONCE = 2
"""Reports that are read at a time: the threads that they take are not theirs alone."""
_DIGITS = 8
_TEXTS = ("by", "since", "until", "tz", "per")
_REPORT = frozenset({*_TEXTS, "where", "top", "format"})
_DRIVERS = frozenset({"where", "since", "until", "tz", "compare"})
_CSV_TYPE = "text/csv; charset=utf-8"


def usage_routes(ledger: Path, clock: Clock) -> list[Route]:
    """Return the routes that tell of a ledger; they read it in threads, for ten seconds at most."""

    def report(request: Request, bounds: Bounds) -> Response:
        words = _words(request, _REPORT)
        form = request.query_params.get("format", "json")
        if form not in {"json", "csv"}:
            raise ConfigurationError([f"format: {form!r} is none of json, csv"])
        query = words.query(clock.time())
        if query.top is None:
            query = replace(query, top=_MOST_LISTED if query.has_times else _LISTED)
        found = usage(ledger, query, bounds)
        if form == "csv":
            text = as_csv(found, units(words.per))
            return Response(text, headers={**SAFETY, "content-type": _CSV_TYPE})
        return answer(200, as_object(found))

    def drivers(request: Request, bounds: Bounds) -> Response:
        words = _words(request, _DRIVERS)
        query = words.comparison(request.query_params.get("compare", BEFORE), clock.time())
        return answer(200, as_comparison(compare(ledger, query, bounds)))

    room = asyncio.Semaphore(_AT_ONCE)
    return [
        Route("/api/usage", _served(report, clock, room), methods=["GET"]),
        Route("/api/usage/drivers", _served(drivers, clock, room), methods=["GET"]),
    ]


def _served(
    tell: Callable[[Request, Bounds], Response], clock: Clock, room: asyncio.Semaphore
) -> Callable[[Request], object]:
    async def endpoint(request: Request) -> Response:
        try:
            async with room:
                return await _told(tell, request, clock)
        except ConfigurationError as error:
            problems = "; ".join(problem.removeprefix("--") for problem in error.problems)
            code = "usage_too_wide" if isinstance(error, UsageTooWide) else "invalid_request"
            return refuse(400, code, f"{problems}.")

    return endpoint


async def _told(
    tell: Callable[[Request, Bounds], Response], request: Request, clock: Clock
) -> Response:
    """Return what is told in another thread, which ends when nobody waits for it any more."""
    end, left = clock.now() + _SECONDS, threading.Event()
    bounds = Bounds(lambda: left.is_set() or clock.now() > end, _MOST_GROUPS)
    try:
        return await asyncio.to_thread(tell, request, bounds)
    finally:
        left.set()


def _words(request: Request, known: frozenset[str]) -> Words:
    asked = request.query_params
    if unknown := sorted(asked.keys() - known):
        raise ConfigurationError([f"{unknown[0]!r} is none of {', '.join(sorted(known))}"])
    texts = {name: asked[name] for name in _TEXTS if name in asked}
    top = asked.get("top", "")
    if top and not (top.isdecimal() and top.isascii() and len(top) < _DIGITS):
        raise ConfigurationError([f"top: {top!r} is not a number from 1 on"])
    if top and int(top) > _MOST_LISTED:
        raise ConfigurationError([f"top: {top} is more than {_MOST_LISTED}"])
    return Words(**texts, where=asked.getlist("where"), top=int(top) if top else None)
