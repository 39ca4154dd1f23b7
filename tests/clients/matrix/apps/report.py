"""What all apps of the matrix have in common: a plan on standard input, a report on standard output.

An app has one or more ways to ask, each a class with the methods of `Way` that it can do. It finds
the provider by the standard two variables alone, as any app does.
"""

import asyncio
import inspect
import json
import sys
from collections.abc import AsyncGenerator, Awaitable
from typing import Any, NamedTuple, Protocol


class Said(NamedTuple):
    """An answer. What a framework does not tell is None.

    Attributes:
        usage: Input, output and total tokens.
        id: The number of the request.
    """

    text: str
    usage: list[int] | None = None
    finish: str | None = None
    id: str | None = None


class Used(NamedTuple):
    """What a tool was called with, and what the model said to its result."""

    name: str
    arguments: dict[str, Any]
    answer: str


class Way(Protocol):
    """One way to ask; a method that is missing is a thing that the framework cannot do."""

    async def whole(self, model: str, key: str) -> Said:
        """Ask the question."""
        ...

    async def streamed(self, model: str, heard: list[str]) -> Said:
        """Ask for a stream, and put each piece into `heard` as it comes."""
        ...


def run(version: str, ways: dict[str, Way]) -> None:
    """Follow the plan on each way, and report."""
    plan = json.load(sys.stdin)
    json.dump({"version": version, "ways": asyncio.run(_follow(plan, ways))}, sys.stdout)


async def _follow(plan: Any, ways: dict[str, Way]) -> dict[str, Any]:
    return {name: await _take(plan, way) for name, way in ways.items()}


async def _take(plan: Any, way: Way) -> dict[str, Any]:
    model, key = plan["model"], plan["key"]
    heard: list[str] = []
    seen: dict[str, Any] = {
        "whole": await _tried(way.whole(model, key)),
        "streamed": await _tried(way.streamed(model, heard)),
        "pieces": "".join(heard),
    }
    for name in ("tool", "shaped", "asked_again", "vectors"):
        if hasattr(way, name):
            seen[name] = await _tried(getattr(way, name)(plan))
    seen["failures"] = {name: await _failure(way, *case) for name, case in plan["failures"].items()}
    seen["broken"] = {name: await _broken(way, model) for name, model in plan["broken"].items()}
    if hasattr(way, "close"):
        await way.close()
    return seen


async def _tried(asking: Awaitable[Any]) -> Any:
    """Return what a call brings, or `{"raised": …}`."""
    try:
        result = await asking
    except Exception as error:  # noqa: BLE001 - whatever a framework raises is to be reported
        return {"raised": _told(error)}
    return result._asdict() if isinstance(result, (Said, Used)) else result


async def _failure(way: Way, model: str, key: str) -> dict[str, Any]:
    try:
        await way.whole(model, key)
    except Exception as error:  # noqa: BLE001 - likewise
        return _told(error)
    return {}


async def _broken(way: Way, model: str) -> dict[str, Any]:
    heard: list[str] = []
    told: dict[str, Any] = {}
    try:
        await way.streamed(model, heard)
    except Exception as error:  # noqa: BLE001 - likewise
        told = _told(error)
    return {"text": "".join(heard), **told}


def _told(error: BaseException) -> dict[str, Any]:
    """Return what an error tells: itself, or else what it was raised from."""
    told: dict[str, Any] = {"class": type(error).__name__, "says": str(error)[:500]}
    cause: BaseException | None = error
    while cause is not None:
        body = getattr(cause, "body", None)
        facts = {
            "status": getattr(cause, "status_code", None),
            "code": getattr(cause, "code", None)
            or (body.get("code") if isinstance(body, dict) else None),
            "id": getattr(cause, "request_id", None),
        }
        told |= {name: fact for name, fact in facts.items() if fact and not told.get(name)}
        cause = cause.__cause__ or cause.__context__
    return told


async def value(result: Any) -> Any:
    """Return what a method returns, whichever kind of client it belongs to."""
    return await result if inspect.isawaitable(result) else result


async def each(stream: Any) -> AsyncGenerator[Any]:
    """Yield what either kind of stream brings."""
    if hasattr(stream, "__aiter__"):
        async for item in stream:
            yield item
    else:
        for item in stream:
            yield item
