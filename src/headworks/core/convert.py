"""Makes the stream that a whole answer would have been, event by event.

A provider may answer a request for a stream with a whole answer; official clients take that for an
empty stream. What comes out here adds up to the answer again. Sources: OpenAI's OpenAPI
description; recorded streams.
"""

from collections.abc import Iterator
from typing import Any

import msgspec

from headworks.core.convert_responses import response_events
from headworks.core.endpoints import Dialect
from headworks.core.shapes import Fields, as_fields, as_list, pieces
from headworks.core.sse import Event

PIECE = 16_384
"""Characters of text in one event, at most."""

_encode = msgspec.json.encode


def as_events(dialect: Dialect, whole: bytes) -> list[Event] | None:
    """Return the events of a whole answer, None where it is none that we know, or not finished."""
    try:
        answer = as_fields(msgspec.json.decode(whole))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if dialect == "responses":
        made = response_events(answer, PIECE)
        return None if made is None else [_named(event) for event in made]
    choices = [as_fields(choice) for choice in as_list(answer.get("choices"))]
    if dialect != "chat" or not choices:
        return None
    if all("message" in choice for choice in choices):
        made_by, kind = _chat_parts, "chat.completion.chunk"
    elif all("text" in choice for choice in choices):
        made_by, kind = _text_parts, "text_completion"
    else:
        return None
    parts = [
        {"index": choice.get("index", n), **part}
        for n, choice in enumerate(choices)
        for part in made_by(choice)
    ]
    return [*_chunks(answer, kind, parts), (b"", b"[DONE]")]


def _named(event: Fields) -> Event:
    return str(event["type"]).encode(), _encode(event)


def _chunks(answer: Fields, kind: str, parts: list[Fields]) -> Iterator[Event]:
    """Yield a chunk for each part of a choice, then that of the usage."""
    own = {"id", "created", "model", "service_tier", "system_fingerprint"}
    shared = {name: value for name, value in answer.items() if name in own} | {"object": kind}
    once = {
        name: value
        for name, value in answer.items()
        if name not in {*own, "object", "choices", "usage"}
    }
    usage: object = answer.get("usage")
    end = {} if usage is None else {"usage": None}
    for part in parts:
        yield b"", _encode({**shared, **once, "choices": [part], **end})
        once = {}
    if usage is not None:
        yield b"", _encode({**shared, "choices": [], "usage": usage})


def _chat_parts(choice: Fields) -> Iterator[Fields]:
    message = as_fields(choice["message"])
    calls = as_list(message.get("tool_calls"))
    logprobs: object = choice.get("logprobs")
    begins = {"role": message.get("role", "assistant"), "content": message.get("content") and ""}
    yield _part({**begins, **({"refusal": None} if "refusal" in message else {})})
    for delta in (*_rest(message), *_said(message), *_calls(calls)):
        yield _part(delta) | ({} if logprobs is None else {"logprobs": logprobs})
        logprobs = None
    known = {"index", "message", "finish_reason", "logprobs"}
    yield {
        **{name: value for name, value in choice.items() if name not in known},
        **_part({}),
        **({} if logprobs is None else {"logprobs": logprobs}),
        "finish_reason": choice.get("finish_reason") or ("tool_calls" if calls else "stop"),
    }


def _part(delta: Fields) -> Fields:
    return {"delta": delta, "logprobs": None, "finish_reason": None}


def _rest(message: Fields) -> Iterator[Fields]:
    """Yield what is neither text nor calls, such as thoughts that some providers show."""
    known = {"role", "content", "refusal", "tool_calls"}
    rest = {name: value for name, value in message.items() if name not in known and value}
    if rest:
        yield rest


def _said(message: Fields) -> Iterator[Fields]:
    for name in ("content", "refusal"):
        for piece in pieces(message.get(name), PIECE):
            yield {name: piece}


def _calls(calls: list[Any]) -> Iterator[Fields]:
    for n, one in enumerate(calls):
        call = as_fields(one)
        function = as_fields(call.get("function"))
        if not function:
            yield {"tool_calls": [{"index": n, **call}]}
            continue
        begun = {**call, "function": {**function, "arguments": ""}}
        yield {"tool_calls": [{"index": n, **begun}]}
        for piece in pieces(function.get("arguments"), PIECE):
            yield {"tool_calls": [{"index": n, "function": {"arguments": piece}}]}


def _text_parts(choice: Fields) -> Iterator[Fields]:
    """Yield the parts of a legacy completion's choice."""
    logprobs: object = choice.get("logprobs")
    for piece in pieces(choice["text"], PIECE):
        yield {"text": piece, "logprobs": logprobs, "finish_reason": None}
        logprobs = None
    ends = {
        "text": "",
        "logprobs": logprobs,
        "finish_reason": choice.get("finish_reason") or "stop",
    }
    yield {**{name: value for name, value in choice.items() if name != "index"}, **ends}
