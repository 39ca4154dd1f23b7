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

    async def streamed(
        self, model: str, heard: list[str], headers: dict[str, str] | None = None
    ) -> Said:
        """Ask for a stream, and put each piece into `heard` as it comes."""
        ...


def run(version: str, ways: dict[str, Way], account: Any = None) -> None:
    """Follow the plan on each way and with what the provider keeps for us, and report."""
    plan = json.load(sys.stdin)
    seen, also = asyncio.run(_follow(plan, ways, account))
    json.dump({"version": version, "ways": seen, "also": also}, sys.stdout)


async def _follow(plan: Any, ways: dict[str, Way], account: Any) -> tuple[Any, Any]:
    """Go all ways beside each other: most of the time a client waits before it asks again."""
    seen = await asyncio.gather(*(_take(plan, name, way) for name, way in ways.items()))
    also = await _try_all(account, ("files", "batch"), plan)
    for one in (*ways.values(), account):
        if hasattr(one, "close"):
            await one.close()
    return dict(zip(ways, seen, strict=True)), also


async def _take(plan: Any, name: str, way: Way) -> dict[str, Any]:
    model, key = plan["model"], plan["key"]
    heard: list[str] = []
    buffered: list[str] = []
    seen: dict[str, Any] = {
        "whole": await _tried(way.whole(model, key)),
        "streamed": await _tried(way.streamed(model, heard)),
        "pieces": heard,
        "buffered": await _tried(way.streamed(model, buffered, plan["buffer"])),
        "words": buffered,
        "late": await _tried(way.streamed(plan["late"], [])),
        "recovered": await _tried(way.whole(plan["recovers"][name], key)),
    }
    seen |= await _try_all(way, ("tool", "shaped", "asked_again", "vectors"), plan)
    seen["failures"] = {name: await _failure(way, *case) for name, case in plan["failures"].items()}
    seen["broken"] = {name: await _broken(way, model) for name, model in plan["broken"].items()}
    return seen


async def _try_all(able: Any, names: tuple[str, ...], plan: Any) -> dict[str, Any]:
    """Return what comes of what an app can do of these things."""
    return {name: await _tried(getattr(able, name)(plan)) for name in names if hasattr(able, name)}


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
