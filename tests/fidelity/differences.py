"""What sets the practice OpenAI's answer apart from the recorded one."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tests.fidelity.recordings import Exchange
from tests.fidelity.shape import Facts, Shape, shape_of

Answer = tuple[int, Mapping[str, str], bytes]

_COMPARED = re.compile(r"content-type|x-request-id|x-should-retry|retry-after|openai-|x-ratelimit-")
_GRAMMAR = {
    "request id": re.compile(r"req_[0-9a-f]{32}"),
    "whole number": re.compile(r"\d+"),
    "duration": re.compile(r"(\d+(\.\d+)?(ms|s|m|h))+"),
    "day": re.compile(r"\d{4}-\d\d-\d\d"),
}
_LITERAL = frozenset({"content-type", "openai-version"})


@dataclass(frozen=True)
class Difference:
    """One way in which two answers differ.

    Attributes:
        endpoint: As `POST /v1/chat/completions`, with `stream` where it is one.
        where: A path of keys after the kind of event, a header, or `status` and the like.
        real: What the recording has.
        ours: What the practice OpenAI has.
    """

    endpoint: str
    where: str
    real: str
    ours: str


def endpoint_of(recorded: Exchange) -> str:
    """Return what was asked, without ids."""
    path = re.sub(r"/[a-z]+_[0-9A-Za-z]{20,}", "/{id}", recorded.path.partition("?")[0])
    is_stream = recorded.request.get("stream") is True or "stream=true" in recorded.path
    return f"{recorded.method} {path}{' stream' if is_stream else ''}"


def differences(recorded: Exchange, answer: Answer) -> list[Difference]:
    """Return all differences, none if the structures are equal."""
    status, headers, body = answer
    if status != recorded.status:
        pair = ((recorded.status, recorded.body), (status, body))
        theirs, mine = (f"{number} {_message(content)}" for number, content in pair)
        found = [("status", theirs, mine)]
    else:
        real = shape_of(recorded.headers.get("content-type", ""), recorded.body)
        ours = shape_of(headers.get("content-type", ""), body)
        found = [*_of_headers(recorded.headers, headers), *_of_shapes(real, ours)]
        found += _of_values(recorded, real.values, ours.values)
    return [Difference(endpoint_of(recorded), *one) for one in found]


def _message(body: bytes) -> str:
    """Return what an error says, "" if the body is none."""
    found = re.search(rb'"message": ?("(?:[^"\\\\]|\\\\.)*")', body)
    said = (
        str(json.loads(found[1]))
        if body.lstrip().startswith(b"{") and b'"error"' in body[:40] and found
        else ""
    )
    return re.sub(r"\w+_[0-9a-zA-Z]{16,}", "{id}", said)


def _of_headers(real: Mapping[str, str], ours: Mapping[str, str]) -> Iterator[tuple[str, str, str]]:
    if not real:
        return
    named = {name for name in {*real, *ours} if _COMPARED.match(name)}
    for name in sorted(named):
        theirs, mine = _grammar(name, real.get(name)), _grammar(name, ours.get(name))
        if theirs != mine:
            yield f"header {name}", theirs, mine


def _grammar(name: str, value: str | None) -> str:
    if value is None:
        return "absent"
    if name in _LITERAL:
        return value
    fitting = (kind for kind, pattern in _GRAMMAR.items() if pattern.fullmatch(value))
    return next(fitting, "word")


def _of_shapes(real: Shape, ours: Shape) -> Iterator[tuple[str, str, str]]:
    yield from _of_outlines(real.outline, ours.outline)
    kinds = [
        {path.partition(":")[0] for path in shape.facts if ":" in path} for shape in (real, ours)
    ]
    for path in sorted({*real.facts, *ours.facts}):
        kind, colon, _ = path.partition(":")
        if colon and not (kind in kinds[0] and kind in kinds[1]):
            continue  # the outline tells it
        pair = _kinds(real.facts, path), _kinds(ours.facts, path)
        if pair[0] != pair[1] and _is_topmost(path, real.facts) and _is_topmost(path, ours.facts):
            yield path, *pair


_OPTIONAL = {
    "a reasoning summary": re.compile(r"response\.reasoning_summary_.*"),
    "reasoning": re.compile(r"response\.output_item\.(added|done)/reasoning"),
    "a message before the call": re.compile(
        r"response\.(output_item|content_part|output_text)\.\w+(/(message|output_text))?"
    ),
}
"""What a model may give or not, though nothing else changes: each is a difference of its own."""
_SHARE = ("absent", "present")


def _of_outlines(real: list[str], ours: list[str]) -> Iterator[tuple[str, str, str]]:
    for name, pattern in _OPTIONAL.items():
        theirs, mine = (any(map(pattern.fullmatch, outline)) for outline in (real, ours))
        if theirs != mine:
            yield f"outline: {name}", _SHARE[theirs], _SHARE[mine]
            real, ours = (
                [kind for kind in outline if not pattern.fullmatch(kind)]
                for outline in (real, ours)
            )
    if real != ours:
        yield "outline", " | ".join(real), " | ".join(ours)


def _kinds(facts: Facts, path: str) -> str:
    return "|".join(sorted(facts.get(path, {"absent"})))


def _is_topmost(path: str, facts: Facts) -> bool:
    """Return whether the value that holds this one is there; else that one is the difference."""
    holder = path[: max(path.rfind("."), path.rfind("["))]
    return path in facts or holder in facts or holder == path


def _of_values(
    recorded: Exchange, real: Mapping[str, Any], ours: Mapping[str, Any]
) -> Iterator[tuple[str, str, str]]:
    for name in real:
        if name == "prompt tokens" and not is_counted(recorded):
            continue
        if real[name] != ours.get(name):
            yield name, str(real[name]), str(ours.get(name))


_COUNTED_INEXACTLY = (
    "tools",
    "functions",
    "response_format",
    "text",
    "previous_response_id",
    "prompt",
    "conversation",
    "context_management",
    "audio",
    "web_search_options",
)


def is_counted(recorded: Exchange) -> bool:
    """Return whether the answer tells the tokens of a prompt that can be counted exactly: text alone."""
    if not re.search(rb'"(prompt|input)_tokens": ?\d', recorded.body):
        return False
    fields = recorded.request
    if recorded.path == "/v1/completions":
        return True
    if any(fields.get(name) for name in _COUNTED_INEXACTLY):
        return False
    turns = fields.get("messages", fields.get("input", ""))
    return isinstance(turns, str) or all(isinstance(turn, str) or _is_text(turn) for turn in turns)


def _is_text(turn: Any) -> bool:
    if not isinstance(turn, dict) or not set(turn) <= {"role", "content", "name", "type"}:
        return False
    content = turn.get("content")
    return isinstance(content, str) or (
        isinstance(content, list)
        and all(part.get("type") in {"text", "input_text"} for part in content)
    )
