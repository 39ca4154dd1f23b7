"""POST /v1/chat/completions: the objects and chunks of the real one."""

from collections.abc import Iterator, Mapping
from itertools import zip_longest
from typing import Any, final

import msgspec
from typing_extensions import override

from headworks.core.tokens import is_reasoning
from headworks.simulator import problems
from headworks.simulator.answers import (
    Answer,
    Ask,
    chosen_tool,
    compose,
    digest,
    function_tools,
    obfuscation,
)
from headworks.simulator.asked import Asked
from headworks.simulator.chance import Chance
from headworks.simulator.config import SimulatorConfig
from headworks.simulator.fields import choices, is_list, is_map, section, stops, whole_number
from headworks.simulator.problems import Refusal
from headworks.simulator.provider import Provider
from headworks.simulator.reply import Reply, Step
from headworks.types import Usage

_LIMITS = ("max_completion_tokens", "max_tokens")
_encode = msgspec.json.encode


@final
class ChatReply(Reply):
    """The answer to one chat request."""

    def __init__(self, provider: Provider, asked: Asked) -> None:
        fields, meter = asked.fields, provider.meter
        model = provider.served_model(asked, "chat")
        _check(fields)
        self._ask = _ask(fields, provider.config)
        for name in _LIMITS:
            meter.check_bound(model, name, whole_number(fields, name))
        prompt = meter.measure("chat", fields, asked.credential)
        self._answers = [
            compose(self._ask, index, lambda text: meter.split(text, model))
            for index in range(choices(fields))
        ]
        self.usage = msgspec.structs.replace(
            prompt,
            output=sum(answer.tokens for answer in self._answers),
            reasoning=sum(answer.reasoning for answer in self._answers),
        )
        options = section(fields, "stream_options")
        self._wants_usage = options.get("include_usage") is True
        self._obfuscates = options.get("include_obfuscation") is not False
        self._fingerprint = "fp_" + Chance("fingerprint", model).hex(10)
        self.id, self.created = f"chatcmpl-{asked.serial[:29]}", asked.created

    @override
    def whole(self, *, usage: bool) -> bytes:
        """Return the `chat.completion` object."""
        listed = [_choice(index, answer) for index, answer in enumerate(self._answers)]
        body = {**self._head("chat.completion"), "choices": listed}
        if usage:
            body["usage"] = usage_object(self.usage)
        return _encode({**body, **self._tail()})

    @override
    def steps(self, *, usage: bool) -> Iterator[Step]:
        """Yield `chat.completion.chunk` events: choices take turns, token by token."""
        for index, answer in enumerate(self._answers):
            yield Step("open", self._chunk(index, _opening(answer)), answer.head + answer.reasoning)
        rows = [answer.pieces for answer in self._answers]
        for turn in zip_longest(*rows):
            for index, piece in enumerate(turn):
                if piece is not None:
                    delta = _delta(self._answers[index], piece.text)
                    yield Step("token", self._chunk(index, delta), piece.tokens)
        for index, answer in enumerate(self._answers):
            yield Step("close", self._chunk(index, {}, _finish(answer)))
        if self._wants_usage and usage:
            last: dict[str, Any] = {
                **self._head("chat.completion.chunk"),
                **self._tail(),
                "choices": [],
            }
            yield Step("usage", _event({**last, "usage": usage_object(self.usage)}))
        yield Step("done", b"data: [DONE]\n\n")

    @override
    def error(self, refusal: Refusal, sent: int) -> bytes:
        """Return an event that ends the stream as failed."""
        return _event({"error": refusal.error})

    def _head(self, kind: str) -> dict[str, Any]:
        return {"id": self.id, "object": kind, "created": self.created, "model": self._ask.model}

    def _tail(self) -> dict[str, Any]:
        return {"service_tier": self.usage.tier, "system_fingerprint": self._fingerprint}

    def _chunk(self, index: int, delta: Mapping[str, Any], finish: str | None = None) -> bytes:
        choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish}
        chunk = {**self._head("chat.completion.chunk"), **self._tail(), "choices": [choice]}
        if self._wants_usage:
            chunk["usage"] = None
        if self._obfuscates:
            chunk["obfuscation"] = obfuscation(delta.get("content") or "")
        return _event(chunk)


def usage_object(usage: Usage) -> dict[str, Any]:
    """Return `usage` as chats report it."""
    return {
        "prompt_tokens": usage.input,
        "completion_tokens": usage.output,
        "total_tokens": usage.input + usage.output,
        "prompt_tokens_details": {"cached_tokens": usage.cached, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": usage.reasoning,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def _check(fields: Mapping[str, Any]) -> None:
    messages = fields.get("messages")
    if messages is None:
        raise problems.missing("messages")
    if not is_list(messages):
        raise problems.wrong_field("messages", "an array of objects", messages)
    if not messages:
        raise problems.empty_array("messages")
    for index, message in enumerate(messages):
        if not is_map(message):
            raise problems.wrong_field(f"messages[{index}]", "an object", message)
        if not isinstance(message.get("role"), str):
            raise problems.missing(f"messages[{index}].role")


def _ask(fields: Mapping[str, Any], config: SimulatorConfig) -> Ask:
    model, key = str(fields["model"]), digest(fields, config.seed)
    last = fields["messages"][-1].get("role")
    tools = list(function_tools(fields.get("tools"))) if last == "user" else []
    effort = fields.get("reasoning_effort") if is_reasoning(model) else ""
    return Ask(
        model,
        key,
        limit=next((whole_number(fields, name) for name in _LIMITS if fields.get(name)), None),
        stop=stops(fields),
        tool=chosen_tool(tools, fields.get("tool_choice", "auto"), key),
        schema=_schema(section(fields, "response_format")),
        effort=str(effort or ""),
        size=config.answer_tokens,
    )


def _schema(form: Mapping[str, Any]) -> object:
    if form.get("type") == "json_object":
        return {}
    if form.get("type") != "json_schema":
        return None
    schema = section(form, "json_schema").get("schema")
    return {} if schema is None else schema


def _choice(index: int, answer: Answer) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": answer.text, "refusal": None}
    if answer.tool:
        called = {"name": answer.tool, "arguments": answer.text}
        message["content"] = None
        message["tool_calls"] = [{"id": _call_id(answer), "type": "function", "function": called}]
    message["annotations"] = []
    return {
        "index": index,
        "message": message,
        "logprobs": None,
        "finish_reason": _finish(answer),
    }


def _opening(answer: Answer) -> dict[str, Any]:
    if not answer.tool:
        return {"role": "assistant", "content": "", "refusal": None}
    called = {"name": answer.tool, "arguments": ""}
    call = {"index": 0, "id": _call_id(answer), "type": "function", "function": called}
    return {"role": "assistant", "content": None, "tool_calls": [call], "refusal": None}


def _delta(answer: Answer, text: str) -> dict[str, Any]:
    if answer.tool:
        return {"tool_calls": [{"index": 0, "function": {"arguments": text}}]}
    return {"content": text}


def _finish(answer: Answer) -> str:
    if answer.is_cut:
        return "length"
    return "tool_calls" if answer.tool else "stop"


def _call_id(answer: Answer) -> str:
    return f"call_{answer.serial}"


def _event(body: Mapping[str, Any]) -> bytes:
    return b"data: " + _encode(body) + b"\n\n"
