"""Reads answers as a client would, and compares them with what should have been said."""

import json
from collections.abc import Iterator
from typing import Any

from tests.faults.simworld.callers import Reply

_TERMINAL = ("response.completed", "response.incomplete")


def is_error(body: bytes | bytearray) -> bool:
    """Whether a body is an error object."""
    try:
        return isinstance(json.loads(bytes(body))["error"]["message"], str)
    except (ValueError, KeyError, TypeError):
        return False


def error_code(body: bytes | bytearray) -> str:
    """Return the code of an error object, "" for anything else."""
    return str(json.loads(bytes(body))["error"]["code"] or "") if is_error(body) else ""


def error_type(body: bytes | bytearray) -> str:
    """Return the type of an error object, "" for anything else."""
    return str(json.loads(bytes(body))["error"]["type"] or "") if is_error(body) else ""


def error_text(body: bytes | bytearray) -> str:
    """Return what an error object says, "" for anything else."""
    return str(json.loads(bytes(body))["error"]["message"]) if is_error(body) else ""


def usage(answer: dict[str, Any]) -> tuple[int, int]:
    """Return the tokens that a whole answer reports: read, written."""
    told = answer["usage"]
    if "input_tokens" in told:
        return told["input_tokens"], told["output_tokens"]
    return told["prompt_tokens"], told.get("completion_tokens", 0)


def text(answer: dict[str, Any]) -> str:
    """Return the words of a whole answer."""
    if "output" in answer:
        parts = (part for item in answer["output"] for part in item.get("content", ()))
        return "".join(part.get("text", "") for part in parts)
    return str(answer["choices"][0]["message"]["content"])


def whole_faults(reply: Reply, expected: dict[str, Any], *, lacks_usage: bool) -> Iterator[str]:
    """Yield what differs in an answer that is not streamed."""
    try:
        got = json.loads(bytes(reply.body))
    except ValueError:
        yield f"the answer is no JSON: {bytes(reply.body[:100])!r}"
        return
    ours, theirs = _meaning(got), _meaning(expected)
    if lacks_usage:
        ours["usage"] = theirs["usage"]
    if ours != theirs:
        keys = [key for key in {*ours, *theirs} if ours.get(key) != theirs.get(key)]
        yield f"the answer differs in {sorted(keys)}: {str(ours)[:200]}"


def _meaning(answer: dict[str, Any]) -> dict[str, Any]:
    """Return what two answers to one request have in common: not ids, times, or what was cached."""
    said = text(answer) if "output" in answer else answer.get("choices", answer.get("data"))
    tokens = usage(answer) if isinstance(answer.get("usage"), dict) else None
    return {"said": said, "usage": tokens, "object": answer["object"], "model": answer["model"]}


def stream_faults(reply: Reply, expected: dict[str, Any], *, lacks_usage: bool) -> Iterator[str]:
    """Yield what is wrong with a stream: it is whole, or ends in an error, or its line broke."""
    events = list(_events(bytes(reply.body)))
    said, wanted = "".join(_piece(event) for event in events), text(expected)
    done = any(map(_is_end, events))
    yield from _end_faults(events, is_whole=reply.is_whole)
    if done and said != wanted:
        yield f"it ended well, with {said[-60:]!r} instead of {wanted[-60:]!r}"
    elif not wanted.startswith(said):
        yield f"it says {said[-60:]!r}, which is no part of {wanted[:60]!r}"
    if done and reply.ask.kind == "chat":
        yield from _usage_faults(reply, events, expected, lacks_usage=lacks_usage)
    if reply.ask.kind == "responses":
        numbers = [event.get("sequence_number") for event in events]
        if numbers != list(range(len(numbers))):
            yield f"its events are numbered {numbers}"


def _end_faults(events: list[Any], *, is_whole: bool) -> Iterator[str]:
    ends, failed = sum(map(_is_end, events)), any(map(_is_failure, events))
    if ends and failed:
        yield "an error event and an end"
    if ends > 1 or (ends and not _is_end(events[-1])):
        yield f"{ends} ends, or something after the end"
    if is_whole and not ends and not (events and _is_failure(events[-1])):
        yield f"it ended after {len(events)} events without an error and without an end"


def _usage_faults(
    reply: Reply, events: list[Any], expected: dict[str, Any], *, lacks_usage: bool
) -> Iterator[str]:
    options = reply.ask.fields.get("stream_options", {})
    told = [usage(event) for event in events if isinstance(event, dict) and event.get("usage")]
    if not options.get("include_usage"):
        if any("usage" in event for event in events if isinstance(event, dict)):
            yield "it tells a usage that nobody asked for"
    elif told != [usage(expected)] and not lacks_usage:
        yield f"it tells the usage {told}"


def is_complete(reply: Reply) -> bool:
    """Whether a caller takes the answer for a whole one."""
    if not reply.ask.stream:
        return reply.is_whole
    return any(map(_is_end, _events(bytes(reply.body))))


def pieces(raw: bytes) -> int:
    """Return how many pieces of output are among the bytes of a stream, framed or not."""
    count = 0
    for block in raw.split(b"\n\n")[:-1]:
        start = block.rfind(b"data: {")
        if start >= 0:
            try:
                count += bool(_piece(json.loads(block[start + 6 :])))
            except ValueError:
                continue
    return count


def filtered_faults(
    reply: Reply, expected: dict[str, Any] | None, fixed: str | None
) -> Iterator[str]:
    """Yield what is wrong with an answer that a content filter stopped.

    It is what the operator has written, or the answer's beginning where that was told before.
    """
    if reply.ask.stream:
        events = list(_events(bytes(reply.body)))
        said, reasons = "".join(map(_piece, events)), set(filter(None, map(_reason, events)))
        yield from _end_faults(events, is_whole=reply.is_whole)
    elif reply.is_whole:
        answer = json.loads(bytes(reply.body))
        said, reasons = text(answer), {_reason(answer)}
    else:
        return
    if is_complete(reply) and reasons != {"content_filter"}:
        yield f"it was filtered, and ended by {reasons}"
    whole = "" if expected is None or (fixed and not reply.ask.stream) else text(expected)
    if not (fixed or "").startswith(said) and not whole.startswith(said):
        yield f"it was filtered, and says {said[-60:]!r}"


def _reason(event: Any) -> str:
    """Return why an answer ended, as one of its events or the whole of it says."""
    if not isinstance(event, dict):
        return ""
    ended = event.get("response", event)
    if isinstance(ended, dict) and ended.get("incomplete_details"):
        return str(ended["incomplete_details"]["reason"])
    return "".join(choice.get("finish_reason") or "" for choice in event.get("choices", ()))


def _events(body: bytes) -> Iterator[Any]:
    """Yield the events that are whole."""
    for block in body.split(b"\n\n")[:-1]:
        data = block.rpartition(b"data: ")[2]
        yield "[DONE]" if data == b"[DONE]" else json.loads(data)


def _piece(event: Any) -> str:
    if not isinstance(event, dict):
        return ""
    if event.get("type") == "response.output_text.delta":
        return str(event["delta"])
    return "".join(choice["delta"].get("content") or "" for choice in event.get("choices", ()))


def _is_end(event: Any) -> bool:
    return event == "[DONE]" or (isinstance(event, dict) and event.get("type") in _TERMINAL)


def _is_failure(event: Any) -> bool:
    return isinstance(event, dict) and (event.get("type") == "error" or bool(event.get("error")))
