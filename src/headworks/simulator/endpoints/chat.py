"""POST /v1/chat/completions: the objects and chunks of the real one."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import zip_longest
from typing import Any, final

import msgspec
from typing_extensions import override

from headworks.core.tokens import is_reasoning
from headworks.simulator.answers import Ask, digest, obfuscation
from headworks.simulator.asked import Asked
from headworks.simulator.chance import Chance
from headworks.simulator.endpoints.chat_checks import check, check_window
from headworks.simulator.endpoints.chat_making import Order, Said, make
from headworks.simulator.endpoints.chat_shapes import Shape, Turn
from headworks.simulator.endpoints.chat_tools import called, choice
from headworks.simulator.fields import choices, is_list, section, stops
from headworks.simulator.problems import Refusal
from headworks.simulator.provider import Provider
from headworks.simulator.reply import Reply, Step
from headworks.simulator.thinking import effort_of
from headworks.types import Usage

_LIMITS = ("max_completion_tokens", "max_tokens")
_encode = msgspec.json.encode


@final
class ChatReply(Reply):
    """The answer to one chat request."""

    def __init__(self, provider: Provider, asked: Asked) -> None:
        fields, meter = asked.fields, provider.meter
        model = provider.served_model(asked, "chat")
        check(fields)
        for name in _LIMITS:
            meter.check_bound(model, name, fields.get(name))
        prompt = meter.measure("chat", fields, asked.credential)
        limit = _limit(fields)
        check_window(provider, fields, prompt.input, limit)
        wanted, key = choice(fields), digest(fields, provider.config.seed)
        ask = _ask(fields, key, limit, provider.config.answer_tokens)
        order = Order(ask, called(fields, wanted, key), _predicted(fields), asked.ordered)
        split = partial(meter.split, model=model)
        self._said = [make(order, index, split) for index in range(choices(fields))]
        self.usage = msgspec.structs.replace(
            prompt,
            output=sum(said.tokens for said in self._said),
            reasoning=sum(said.reasoning for said in self._said),
        )
        self._shape = Shape(wanted, _top(fields), key, thinks=is_reasoning(model))
        options = section(fields, "stream_options")
        self._wants_usage = options.get("include_usage") is True
        self._obfuscates = options.get("include_obfuscation") is not False
        self.id, self._created, self._model = f"chatcmpl-{asked.serial[:29]}", asked.created, model
        self._keep = partial(provider.chats.keep, asked) if fields.get("store") is True else None

    @override
    def whole(self, *, usage: bool) -> bytes:
        """Return the `chat.completion` object."""
        body = self._body(usage=usage)
        if self._keep:
            self._keep(body)
        return _encode(body)

    @override
    def steps(self, *, usage: bool) -> Iterator[Step]:
        """Yield `chat.completion.chunk` events: choices take turns, token by token."""
        begin = self._begin()
        rows: list[Sequence[Turn]] = []
        for index, said in enumerate(self._said):
            first, *rest = self._shape.turns(said, index)
            rows.append(rest)
            yield Step("open", self._chunk(begin, index, first), first.tokens + said.reasoning)
        for turn in zip_longest(*rows):
            for index, one in enumerate(turn):
                if one is not None:
                    yield Step("token", self._chunk(begin, index, one), one.tokens)
        for index, said in enumerate(self._said):
            last = Turn({}, said.rejected)
            data = self._chunk(begin, index, last, self._shape.finish(said))
            yield Step("close", data, said.rejected)
        yield from self._end(begin, usage=usage)

    @override
    def error(self, refusal: Refusal, sent: int) -> bytes:
        """Return an event that ends the stream as failed."""
        return b"data: " + _encode({"error": refusal.error}) + b"\n\n"

    def _end(self, begin: bytes, *, usage: bool) -> Iterator[Step]:
        if self._keep:
            self._keep(self._body(usage=True))
        if self._wants_usage and usage:
            tail: dict[str, Any] = {"choices": [], "usage": usage_object(self.usage, self._said)}
            if self._obfuscates:
                tail["obfuscation"] = obfuscation("")
            yield Step("usage", begin + _encode(tail)[1:] + b"\n\n")
        yield Step("done", b"data: [DONE]\n\n")

    def _body(self, *, usage: bool) -> dict[str, Any]:
        listed = [self._shape.choice(said, index) for index, said in enumerate(self._said)]
        used = {"usage": usage_object(self.usage, self._said)} if usage else {}
        return {**self._head("chat.completion"), "choices": listed, **used, **self._tail()}

    def _begin(self) -> bytes:
        """Return how every event begins, up to its choices."""
        head = {**self._head("chat.completion.chunk"), **self._tail()}
        return b"data: " + _encode(head)[:-1] + b","

    def _head(self, kind: str) -> dict[str, Any]:
        return {"id": self.id, "object": kind, "created": self._created, "model": self._model}

    def _tail(self) -> dict[str, Any]:
        return {"service_tier": self.usage.tier, "system_fingerprint": fingerprint(self._model)}

    def _chunk(self, begin: bytes, index: int, turn: Turn, finish: str | None = None) -> bytes:
        chunk: dict[str, Any] = {"choices": [self._shape.part(index, turn, finish)]}
        if self._wants_usage:
            chunk["usage"] = None
        if self._obfuscates:
            chunk["obfuscation"] = obfuscation(turn.text)
        return begin + _encode(chunk)[1:] + b"\n\n"


def usage_object(usage: Usage, said: Sequence[Said] = ()) -> dict[str, Any]:
    """Return `usage` as chats report it."""
    return {
        "prompt_tokens": usage.input,
        "completion_tokens": usage.output,
        "total_tokens": usage.input + usage.output,
        "prompt_tokens_details": {"cached_tokens": usage.cached, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": usage.reasoning,
            "audio_tokens": 0,
            "accepted_prediction_tokens": sum(one.accepted for one in said),
            "rejected_prediction_tokens": sum(one.rejected for one in said),
        },
    }


def fingerprint(model: str) -> str | None:
    """Return which build of a model answers; those that think, and the oldest, do not tell."""
    is_silent = is_reasoning(model) or model.startswith("gpt-3") or model[:6] in {"gpt-4", "gpt-4-"}
    return None if is_silent else "fp_" + Chance("fingerprint", model).hex(10)


def _ask(fields: Mapping[str, Any], key: str, limit: int | None, size: tuple[int, int]) -> Ask:
    return Ask(
        str(fields["model"]),
        key,
        limit=limit,
        stop=stops(fields),
        schema=_schema(section(fields, "response_format")),
        effort=effort_of(fields),
        size=size,
    )


def _limit(fields: Mapping[str, Any]) -> int | None:
    return next((fields[name] for name in _LIMITS if fields.get(name)), None)


def _top(fields: Mapping[str, Any]) -> int | None:
    """Return how many likely tokens each token is told with, None for no logprobs."""
    return (fields.get("top_logprobs") or 0) if fields.get("logprobs") else None


def _predicted(fields: Mapping[str, Any]) -> str:
    content = section(fields, "prediction").get("content")
    parts: Sequence[Any] = content if is_list(content) else [{"text": content}]
    texts = (section({"part": part}, "part").get("text") for part in parts)
    return "".join(text for text in texts if isinstance(text, str))


def _schema(form: Mapping[str, Any]) -> object:
    if form.get("type") == "json_object":
        return {}
    if form.get("type") != "json_schema":
        return None
    schema = section(form, "json_schema").get("schema")
    return {} if schema is None else schema
