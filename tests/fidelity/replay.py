"""Asks the practice OpenAI what was once asked of the real one, in this process and without a socket."""

import asyncio
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from headworks.simulator import Simulator, SimulatorConfig
from headworks.simulator.config import RateLimit
from headworks.testing import FakeClock
from tests.fidelity.recordings import Exchange
from tests.fidelity.shape import events

_KEY = "sk-simulator"
_BETWEEN = 60.0  # virtual seconds, so that no limit of a minute is ever reached
_ERROR = 400
_SAID = "Say this is a test"  # in all recordings of that package
_ASKED = ("model", "instructions", "max_output_tokens")
_OPEN = ("auto", "required")
_LIMITS = (
    RateLimit(models="dall-e-*"),  # shows none
    RateLimit(rpm=10_000, tpm=10_000_000, ipm=1_000),
)


class Replay:
    """One practice OpenAI for many exchanges, asked in the order of the recordings."""

    def __init__(self, models: Iterable[str]) -> None:
        self._clock = FakeClock()
        config = SimulatorConfig(models=dict.fromkeys(models), limits=_LIMITS)
        self._app = Simulator(config, self._clock)
        self._cassette = ""
        self._ours: dict[str, str] = {}

    async def ask(self, recorded: Exchange) -> tuple[int, dict[str, str], bytes]:
        """Return status, headers and body of the answer to a recorded request.

        What the recorded model chose to do (to call a tool, to speak, to refuse) is asked for, and
        ids that an earlier recorded answer gave are replaced by those that its replayed twin gave.
        """
        if recorded.cassette != self._cassette:
            self._cassette, self._ours = recorded.cassette, {}
        if recorded.method == "GET" and not self._ours and recorded.status < _ERROR:
            await self._make(recorded)
        self._clock.advance(_BETWEEN)
        text = json.dumps(_steered(recorded)) if recorded.request else ""
        path = recorded.path
        for theirs, ours in self._ours.items():
            text, path = text.replace(theirs, ours), path.replace(theirs, ours)
        status, headers, body = await _call(
            self._app, recorded.method, path, text.encode(), _order(recorded)
        )
        self._learn(recorded.body, body)
        return status, headers, _unsteered(recorded, body)

    async def _make(self, recorded: Exchange) -> None:
        """Make a response like the one that a recording asks for, but was made before it began."""
        last = _contents(recorded.body)[-1]
        asked = last.get("response") or last
        fields = {name: asked[name] for name in _ASKED if asked.get(name)} | {"input": _SAID}
        order = {"x-simulator-fault": "failed"} if asked["status"] == "failed" else {}
        text = json.dumps(fields).encode()
        *_, body = await _call(self._app, "POST", "/v1/responses", text, order)
        self._ours[asked["id"]] = json.loads(body)["id"]

    def _learn(self, theirs: bytes, ours: bytes) -> None:
        for theirs_id, ours_id in zip(_ids(theirs), _ids(ours), strict=False):
            if theirs_id.partition("_")[0] == ours_id.partition("_")[0]:
                self._ours[theirs_id] = ours_id


async def _call(
    app: Simulator, method: str, target: str, body: bytes, headers: Mapping[str, str]
) -> tuple[int, dict[str, str], bytes]:
    path, _, query = target.partition("?")
    given = {"authorization": f"Bearer {_KEY}", "content-type": "application/json", **headers}
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "headers": [(name.encode(), value.encode()) for name, value in given.items()],
    }
    sent = iter([{"type": "http.request", "body": body, "more_body": False}])
    received: list[Any] = []

    async def receive() -> Any:
        for message in sent:
            return message
        return await asyncio.get_running_loop().create_future()

    async def send(message: Any) -> None:
        received.append(message)

    await app(scope, receive, send)
    head, *parts = received
    named = {name.decode().lower(): value.decode() for name, value in head["headers"]}
    return head["status"], named, b"".join(part.get("body", b"") for part in parts)


def _order(recorded: Exchange) -> dict[str, str]:
    """Return the header that makes the practice OpenAI refuse where the recorded model did."""
    refused = any(
        (choice.get("message") or choice.get("delta") or {}).get("refusal")
        for content in _contents(recorded.body)
        for choice in content.get("choices") or ()
    )
    return {"x-simulator-fault": "refusal"} if refused else {}


def _steered(recorded: Exchange) -> Mapping[str, Any]:
    """Return the request with the recorded model's choice as an order, where it had a choice."""
    fields = dict(recorded.request)
    if recorded.status >= _ERROR:
        return fields
    called = list(_called(recorded))
    if fields.get("tools") and fields.get("tool_choice", "auto") in _OPEN:
        fields["tool_choice"] = called[0] if called else "none"
        if called and "messages" in fields:
            are_several = len(called) > _choices(fields)
            fields["parallel_tool_calls"] = are_several
            fields["tool_choice"] = "required" if are_several else called[0]
    if fields.get("functions") and fields.get("function_call", "auto") == "auto":
        fields["function_call"] = called[0] if called else "none"
    return fields


def _choices(fields: Mapping[str, Any]) -> int:
    return int(fields.get("n") or 1)


def _called(recorded: Exchange) -> Iterator[Any]:
    """Yield the orders to call what the recorded model called, in the form of its endpoint."""
    for content in _contents(recorded.body):
        for choice in content.get("choices") or ():
            said = choice.get("message") or choice.get("delta") or {}
            for call in said.get("tool_calls") or ():
                if call["function"].get("name"):
                    yield {"type": "function", "function": {"name": call["function"]["name"]}}
            if (said.get("function_call") or {}).get("name"):
                yield {"name": said["function_call"]["name"]}
        for item in (content.get("response") or content).get("output") or ():
            yield from _ordered(item, recorded.request.get("tools", ()))


def _ordered(item: Mapping[str, Any], tools: Iterable[Mapping[str, Any]]) -> Iterator[Any]:
    kind = str(item.get("type", "")).removesuffix("_tool_call").removesuffix("_call")
    if kind in {"function", "custom"}:
        yield {"type": kind, "name": item["name"]}
    else:
        yield from ({"type": tool["type"]} for tool in tools if tool["type"].startswith(kind))


def _unsteered(recorded: Exchange, body: bytes) -> bytes:
    """Return an answer that tells the tool choice of the recorded request, not ours."""
    told = json.dumps(recorded.request.get("tool_choice", "auto")).encode()
    return re.sub(rb'"tool_choice":(\{[^}]*\}|"\w+")', b'"tool_choice":' + told, body)


def _contents(body: bytes) -> list[Any]:
    if body.startswith((b"data:", b"event:")):
        return [content for _, content in events(body) if content != "[DONE]"]
    try:
        return [json.loads(body)]
    except ValueError:
        return []


def _ids(body: bytes) -> list[str]:
    """Return all ids that an answer gives, in the order of their appearance."""
    found: dict[str, None] = {}
    for content in _contents(body):
        _find_ids(content, found)
    return list(found)


def _find_ids(content: Any, found: dict[str, None]) -> None:
    if isinstance(content, dict):
        for key, value in content.items():
            if key in {"id", "call_id", "item_id"} and isinstance(value, str) and len(value) > 8:
                found[value] = None
            else:
                _find_ids(value, found)
    elif isinstance(content, list):
        for value in content:
            _find_ids(value, found)
