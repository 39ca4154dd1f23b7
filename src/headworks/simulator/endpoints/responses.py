"""POST /v1/responses: a small, honest version: text, JSON and function calls; nothing is stored."""

from collections.abc import Iterator, Mapping
from typing import Any, final

import msgspec
from typing_extensions import override

from headworks.core.tokens import is_reasoning
from headworks.simulator import problems
from headworks.simulator.answers import (
    Ask,
    chosen_tool,
    compose,
    digest,
    function_tools,
    obfuscation,
)
from headworks.simulator.asked import Asked
from headworks.simulator.config import SimulatorConfig
from headworks.simulator.fields import is_list, is_map, section, whole_number
from headworks.simulator.problems import Refusal
from headworks.simulator.provider import Provider
from headworks.simulator.reply import Reply, Step
from headworks.types import Usage

_LIMIT = "max_output_tokens"
_ECHOED: Mapping[str, Any] = {
    "instructions": None,
    _LIMIT: None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "store": True,
    "temperature": 1.0,
    "tool_choice": "auto",
    "tools": [],
    "top_p": 1.0,
    "truncation": "disabled",
    "user": None,
}


@final
class ResponsesReply(Reply):
    """The answer to one `/responses` request."""

    def __init__(self, provider: Provider, asked: Asked) -> None:
        fields, meter = asked.fields, provider.meter
        model = provider.served_model(asked, "responses")
        _check(fields)
        self._fields = fields
        self._ask = _ask(fields, provider.config)
        meter.check_bound(model, _LIMIT, self._ask.limit)
        prompt = meter.measure("responses", fields, asked.credential)
        self._answer = compose(self._ask, 0, lambda text: meter.split(text, model))
        self.usage = msgspec.structs.replace(
            prompt,
            output=self._answer.tokens,
            reasoning=self._answer.reasoning,
        )
        options = section(fields, "stream_options")
        self._obfuscates = options.get("include_obfuscation") is not False
        self.id, self.created, self._sent = f"resp_{asked.serial}", asked.created, 0

    @override
    def whole(self, *, usage: bool) -> bytes:
        """Return the `response` object."""
        return msgspec.json.encode(self._response(usage=usage))

    @override
    def steps(self, *, usage: bool) -> Iterator[Step]:
        """Yield the events of the stream, numbered from 0; the last is the terminal one."""
        answer, begun = self._answer, self._response("in_progress")
        self._sent = 0
        yield Step("open", self._event("response.created", response=begun))
        yield Step("open", self._event("response.in_progress", response=begun))
        item = self._item("in_progress", "")
        data = self._event("response.output_item.added", output_index=0, item=item)
        yield Step("open", data, answer.head + answer.reasoning)
        yield from self._called() if answer.tool else self._said()
        ended = self._response(usage=usage)
        data = self._event("response.output_item.done", output_index=0, item=ended["output"][0])
        yield Step("close", data)
        yield Step("done", self._event(f"response.{ended['status']}", response=ended))

    @override
    def error(self, refusal: Refusal, sent: int) -> bytes:
        """Return an `error` event, in the flat form of the real one."""
        self._sent = sent
        flat = {key: refusal.error[key] for key in ("code", "message", "param")}
        return self._event("error", **flat)

    def _said(self) -> Iterator[Step]:
        place = {"item_id": self._item_id, "output_index": 0, "content_index": 0}
        part = _part("")
        yield Step("open", self._event("response.content_part.added", **place, part=part))
        for piece in self._answer.pieces:
            more: dict[str, Any] = {
                "delta": piece.text,
                "logprobs": [],
                **self._padding(piece.text),
            }
            data = self._event("response.output_text.delta", **place, **more)
            yield Step("token", data, piece.tokens)
        text = self._answer.text
        done = self._event("response.output_text.done", **place, text=text, logprobs=[])
        yield Step("close", done)
        yield Step("close", self._event("response.content_part.done", **place, part=_part(text)))

    def _called(self) -> Iterator[Step]:
        place = {"item_id": self._item_id, "output_index": 0}
        for piece in self._answer.pieces:
            more = {"delta": piece.text, **self._padding(piece.text)}
            data = self._event("response.function_call_arguments.delta", **place, **more)
            yield Step("token", data, piece.tokens)
        more = {"name": self._answer.tool, "arguments": self._answer.text}
        done = self._event("response.function_call_arguments.done", **place, **more)
        yield Step("close", done)

    def _padding(self, text: str) -> dict[str, str]:
        return {"obfuscation": obfuscation(text)} if self._obfuscates else {}

    def _event(self, kind: str, **fields: object) -> bytes:
        body = {"type": kind, "sequence_number": self._sent, **fields}
        self._sent += 1
        return b"event: " + kind.encode() + b"\ndata: " + msgspec.json.encode(body) + b"\n\n"

    @property
    def _item_id(self) -> str:
        return f"{'fc' if self._answer.tool else 'msg'}_{self._answer.serial}"

    def _item(self, status: str, text: str) -> dict[str, Any]:
        if self._answer.tool:
            return {
                "id": self._item_id,
                "type": "function_call",
                "status": status,
                "call_id": f"call_{self._answer.serial}",
                "name": self._answer.tool,
                "arguments": text,
            }
        return {
            "id": self._item_id,
            "type": "message",
            "status": status,
            "role": "assistant",
            "content": [_part(text)] if status != "in_progress" else [],
        }

    def _response(self, status: str = "", *, usage: bool = False) -> dict[str, Any]:
        """Return the response as it stands, or with no `status` as it ends."""
        answer, fields = self._answer, self._fields
        ended = "incomplete" if answer.is_cut else "completed"
        cut = {"reason": _LIMIT} if answer.is_cut and not status else None
        echoed = {name: fields.get(name, usual) for name, usual in _ECHOED.items()}
        return {
            "id": self.id,
            "object": "response",
            "created_at": self.created,
            "status": status or ended,
            "background": False,
            "error": None,
            "incomplete_details": cut,
            "model": self._ask.model,
            "output": [] if status else [self._item(ended, answer.text)],
            **echoed,
            "reasoning": {"effort": self._ask.effort or None, "summary": None},
            "service_tier": "auto" if status else self.usage.tier,
            "text": {"format": {"type": "text"}, **section(fields, "text")},
            "usage": usage_object(self.usage) if usage else None,
        }


def usage_object(usage: Usage) -> dict[str, Any]:
    """Return `usage` as `/responses` reports it."""
    return {
        "input_tokens": usage.input,
        "input_tokens_details": {"cached_tokens": usage.cached},
        "output_tokens": usage.output,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning},
        "total_tokens": usage.input + usage.output,
    }


def _check(fields: Mapping[str, Any]) -> None:
    given = fields.get("input")
    if given is None:
        raise problems.missing("input")
    if not isinstance(given, str | list):
        raise problems.wrong_field("input", "a string or an array of items", given)
    previous = fields.get("previous_response_id")
    if isinstance(previous, str):
        raise problems.unknown_response(previous)


def _ask(fields: Mapping[str, Any], config: SimulatorConfig) -> Ask:
    model, key = str(fields["model"]), digest(fields, config.seed)
    given = fields["input"]
    last: object = given[-1] if is_list(given) and given else None
    is_asked = isinstance(given, str) or (is_map(last) and last.get("role") == "user")
    tools = list(function_tools(fields.get("tools"))) if is_asked else []
    effort = section(fields, "reasoning").get("effort") if is_reasoning(model) else ""
    return Ask(
        model,
        key,
        limit=whole_number(fields, _LIMIT),
        tool=chosen_tool(tools, fields.get("tool_choice", "auto"), key),
        schema=_schema(section(section(fields, "text"), "format")),
        effort=str(effort or ""),
        size=config.answer_tokens,
    )


def _schema(form: Mapping[str, Any]) -> object:
    if form.get("type") == "json_object":
        return {}
    return form.get("schema", {}) if form.get("type") == "json_schema" else None


def _part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "annotations": [], "logprobs": [], "text": text}
