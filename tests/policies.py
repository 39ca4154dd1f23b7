"""Models with a policy about failures, and what providers send to try it."""

import json
from typing import Any

from headworks.core.classify import classify
from headworks.core.routing import NamedRouter, Target
from headworks.errors import UpstreamError
from headworks.testing import EVENTS
from headworks.types import Plan, Route, Timeouts
from tests.world import CHAT, TWO_ROUTES, World

FIRST, SECOND = TWO_ROUTES.routes
CAREFUL = Route("third", "careful", "main")
URL, LEGACY, RESPONSES = "/v1/chat/completions", "/v1/completions", "/v1/responses"
STREAM = {**CHAT, "stream": True}
BODIES: dict[str, dict[str, Any]] = {
    URL: CHAT,
    LEGACY: {"model": "m", "prompt": "Hi"},
    RESPONSES: {"model": "m", "input": "Hi"},
}
DONE = b"data: [DONE]\n\n"


def world_of(*routes: Route, **policy: Any) -> World:
    """Return a world whose only model has these routes and this policy."""
    plan = Plan(routes or (FIRST, SECOND), **policy)
    return World(router=NamedRouter({"up": Target(("main",), Timeouts())}, {"m": plan}))


def refused(status: int, code: str, kind: str = "invalid_request_error") -> UpstreamError:
    """Return a provider's refusal."""
    body = {"error": {"message": "m", "type": kind, "code": code, "param": None}}
    return classify(status, (), json.dumps(body).encode(), now=0.0)


def chunk(delta: dict[str, object], finish: str | None = None) -> bytes:
    """Return one event of a chat stream."""
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return b"data: " + json.dumps({"id": "c", "choices": [choice]}).encode() + b"\n\n"


def happened(kind: str, number: int, **more: object) -> bytes:
    """Return one event of the Responses API."""
    value = {"type": kind, "sequence_number": number, **more}
    return b"event: " + kind.encode() + b"\ndata: " + json.dumps(value).encode() + b"\n\n"


ROLE = chunk({"role": "assistant", "content": ""})
SAID = [chunk({"content": word}) for word in ("One", " two", " three")]
END = chunk({}, "stop") + DONE
FULL = b"".join(EVENTS[:2]) + EVENTS[2].partition(b"\n\n")[0] + b"\n\n" + DONE
"""What the caller gets of a healthy stream, which has the usage taken out."""

CREATED = happened("response.created", 0, response={"id": "r", "status": "in_progress"})
TOLD = happened("response.output_text.delta", 1, delta="One")

WHOLE_TEXT = (
    b'{"id":"cmpl","object":"text_completion","created":1,"model":"m","choices":'
    b'[{"index":0,"text":"Hello!","finish_reason":"stop"}],'
    b'"usage":{"prompt_tokens":3,"completion_tokens":4,"total_tokens":7}}'
)
WHOLE_RESPONSE = (
    b'{"id":"r","object":"response","created_at":1,"model":"m","status":"completed","output":'
    b'[{"id":"msg","type":"message","role":"assistant","status":"completed","content":'
    b'[{"type":"output_text","text":"Hello!","annotations":[]}]}],"parallel_tool_calls":true,'
    b'"tool_choice":"auto","tools":[],"usage":{"input_tokens":3,"output_tokens":4,'
    b'"total_tokens":7}}'
)
