"""Streams of an operation: every event that it may send, and what a caller gets of them."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from tests.transparency.answering import EVENTS
from tests.transparency.description import Operation, schema
from tests.transparency.spelling import Speller
from tests.transparency.values import Values

DONE = b"data: [DONE]\n\n"
_ELSEWHERE: Mapping[str, str] = {
    "GET /responses/{response_id}": "ResponseStreamEvent",
    "POST /completions": "CreateCompletionResponse",
    "POST /threads/runs": "AssistantStreamEvent",
    "POST /threads/{thread_id}/runs": "AssistantStreamEvent",
    "POST /threads/{thread_id}/runs/{run_id}/submit_tool_outputs": "AssistantStreamEvent",
}
"""Events of operations that stream although the description does not say so in its place."""

_USAGE = b'"usage":{"prompt_tokens":9,"completion_tokens":1e1,"total_tokens":19,"x_unknown":1.0}'
_TERMINALS = frozenset({"response.completed", "response.incomplete", "response.failed"})
_SLICE = 24


class Streamed(NamedTuple):
    """What a provider sends, and what its caller is to get."""

    sent: bytes
    got: bytes


def streams(operation: Operation, *, shows_usage: bool) -> Iterator[Streamed]:
    """Yield streams with all events of an operation; none, if it does not stream."""
    told = operation.success[1].get(EVENTS)
    if told is None and str(operation) in _ELSEWHERE:
        told = schema(_ELSEWHERE[str(operation)])
    if told is None:
        return
    values = list(Values(told).all())
    if "choices" in values[0]:
        yield _of_chat(values, shows_usage=shows_usage)
    elif any(one.get("type") in _TERMINALS for one in values):
        yield from _of_responses(values)
    elif "event" in values[0]:
        last_is_done = sorted(values, key=_is_done)
        yield _alike(b"".join(map(_of_assistants, last_is_done)))
    else:
        speller = Speller()
        yield _alike(b"".join(_named(one["type"], speller.spell(one)) for one in values))


def _alike(content: bytes) -> Streamed:
    return Streamed(content, content)


def _of_chat(values: list[Any], *, shows_usage: bool) -> Streamed:
    """Tell of the usage in every place where a provider may; who did not ask sees none of it."""
    speller, sent, got = Speller(plain=True), b"", b""
    for number, value in enumerate([*values, *values, _last(values)]):
        choices = [{**one, "index": at} for at, one in enumerate(value["choices"])]
        bare = speller.spell({**_without(value, "usage"), "choices": choices})
        usage = b'"usage":null' if number % 3 else _USAGE
        told = b"{%b,%b" % (usage, bare[1:]) if number % 2 else b"%b,%b}" % (bare[:-1], usage)
        sent += b"data: %b\n\n" % told
        got += b"data: %b\n\n" % bare
    sent += b'data: {"id":"x","choices":[],%b}\n\n' % _USAGE + DONE
    return _alike(sent) if shows_usage else Streamed(sent, got + DONE)


def _last(values: list[Any]) -> Any:
    """Return an event that ends every choice."""
    most = max(len(one["choices"]) for one in values)
    ended = {**values[0]["choices"][0], "finish_reason": "stop"}
    return {**values[0], "choices": [ended] * most}


def _of_responses(values: list[Any]) -> Iterator[Streamed]:
    """Yield a stream for each way to end, with events of all kinds in front of it."""
    middle = [one for one in values if one["type"] not in {*_TERMINALS, "error"}]
    ends = [one for one in values if one["type"] in _TERMINALS]
    for number in range(0, len(middle), _SLICE):
        yield _response([*middle[number : number + _SLICE], ends[number % len(ends)]])
    for end in ends:
        yield _response([*middle[:2], end])


def _response(events: list[Any]) -> Streamed:
    speller, content = Speller(plain=True), b""
    for number, event in enumerate(events):
        told = {**event, "sequence_number": number}
        if "response" in event and event["type"] != "response.failed":
            told["response"] = {**event["response"], "error": None}
        content += _named(event["type"], speller.spell(told))
    return _alike(content)


def _is_done(value: Any) -> bool:
    return bool(value["data"] == "[DONE]")


def _of_assistants(value: Any) -> bytes:
    if _is_done(value):
        return b"event: done\n" + DONE
    return _named(value["event"], Speller().spell(value["data"]))


def _named(name: str, data: bytes) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (name.encode(), data)


def _without(value: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {key: one for key, one in value.items() if key != name}
