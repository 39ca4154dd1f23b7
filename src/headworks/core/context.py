"""Makes a request fit the model's window: what is dropped, and how the body is rewritten.

The strategies differ in what goes first. All keep the last thing a user said and what came last,
never split a call from its result, keep the order, and leave what stays byte for byte.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any, Literal, TypeGuard

import msgspec

from headworks.core.context_units import MARK, Keep, Order, droppable
from headworks.core.context_window import Budget
from headworks.core.strict_json import edit
from headworks.errors import ContextTooLong
from headworks.types import Request

Strategy = Literal["error", "drop_oldest", "drop_middle", "keep", "summarize", "larger_model"]
Size = Callable[[Mapping[str, Any]], int]
"""Counts the tokens of a request's fields, as much as the provider would or more."""

_raw_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_raw_items = msgspec.json.Decoder(list[msgspec.Raw]).decode
_MARKED = b'"' + MARK.encode()
_LISTS = {"/v1/chat/completions": "messages", "/v1/responses": "input"}
_STORED = ("previous_response_id", "conversation", "prompt")
_FEW, _PER_BYTE, _PER_TOOL, _PER_PICTURE = 100, 2, 12, 1_500
_PICTURES = frozenset({"image_url", "input_image", "input_audio", "file", "input_file"})
_KEEP = Keep()
_SUMMARY = "Summary of the earlier part of this conversation, which is left out here:\n\n"


@dataclass(frozen=True, slots=True)
class Policy:
    """What is done with a request that is too long.

    Attributes:
        model: The name that summarises, or that is asked instead.
        window: The most tokens of request and answer, if the operator sets it.
        reserve: Tokens kept free for an answer whose request sets no bound.
    """

    strategy: Strategy = "error"
    model: str = ""
    window: int | None = None
    reserve: int | None = None
    keep: Keep = _KEEP

    @property
    def order(self) -> Order:
        """Which messages go first."""
        return "middle" if self.strategy == "drop_middle" else "oldest"


@dataclass(frozen=True, slots=True)
class Shorter:
    """A request that fits, and the positions in the longer one of what it lacks."""

    request: Request
    dropped: tuple[int, ...]


def bound(content: bytes, fields: Mapping[str, Any]) -> int:
    """Return a number of tokens that the request surely does not exceed, in a microsecond.

    A token has at least one byte. What may cost more than its bytes: the frame of an empty
    message, an empty tool, and a picture.
    """
    tools = fields.get("tools")
    most = len(content) * _PER_BYTE + _pictures(fields) * _PER_PICTURE + _FEW
    return most + len(tools) * _PER_TOOL if _is_list(tools) else most


def margin(fields: Mapping[str, Any], tokens: int) -> int:
    """Return what a provider may count beyond our `tokens`: nothing for plain talk.

    Source: the errors of the formulas in `tokens` on recorded exchanges.
    """
    spare = 0
    if fields.get("tools"):
        spare += 20 + ceil(tokens * 0.03)
    if fields.get("response_format") or fields.get("text"):
        spare += 100
    if _pictures(fields):
        spare += ceil(tokens * 0.1)
    return spare


def is_plain(request: Request) -> bool:
    """Return whether our count is the provider's: all is text, and all of it is in the request."""
    return not has_past(request) and not _pictures(request.fields)


def has_past(request: Request) -> bool:
    """Return whether the provider adds what it keeps, which we cannot count or drop."""
    if request.path not in _LISTS:
        return False
    is_kept = any(request.fields.get(name) for name in _STORED)
    return is_kept or any(_is_reference(item) for item in _items(request))


def shorten(request: Request, policy: Policy, room: int, size: Size) -> Shorter | None:
    """Return the request with as much dropped as must be to be of at most `room` tokens.

    None when what has to stay does not fit, or there is nothing that may be dropped.
    """
    items = _items(request)
    excess = size(request.fields) - room
    if excess <= 0:
        return Shorter(request, ())
    waiting = list(droppable(items, policy.keep, policy.order))[::-1]
    weigh = _weigher(request, size)
    dropped: set[int] = set()
    while waiting:
        while waiting and excess > 0:
            unit = waiting.pop()
            excess -= sum(weigh(items[at]) for at in unit)
            dropped.update(unit)
        shorter = without(request, dropped)
        excess = size(shorter.fields) - room
        if excess <= 0:
            return Shorter(shorter, tuple(sorted(dropped)))
    return None


def without(
    request: Request, dropped: set[int], instead: Mapping[str, Any] | None = None
) -> Request:
    """Return the request without some of its messages, another in the place of the first of them.

    What stays is sent as the caller wrote it, but for marks. `fields` keep these, so that a
    request can be fitted again.
    """
    name = _LISTS[request.path]
    items, raw = _items(request), _raw_items(_raw_fields(request.content)[name])
    kept: list[Any] = []
    sent: list[Any] = []
    for at, item in enumerate(items):
        if at not in dropped:
            kept.append(item)
            sent.append(_unmarked(item, raw[at]))
        elif instead is not None and at == min(dropped):
            kept.append(instead)
            sent.append(instead)
    content = edit(request.content, {name: sent})
    return msgspec.structs.replace(request, content=content, fields={**request.fields, name: kept})


def unmarked(request: Request) -> Request:
    """Return the request as it may be sent, without marks."""
    if _MARKED not in request.content or not _items(request):
        return request
    return without(request, set())


def asking(request: Request, model: str) -> Request:
    """Return the request for another model."""
    content = edit(request.content, {"model": model})
    return msgspec.structs.replace(
        request, content=content, fields={**request.fields, "model": model}
    )


def summary_message(text: str) -> dict[str, str]:
    """Return the message that stands for what was dropped.

    It is a user's: what is summed up came from users and tools, and must not gain authority.
    """
    return {"role": "user", "content": _SUMMARY + text}


def transcript(request: Request, dropped: Sequence[int]) -> str:
    """Return what was dropped as a text that a model can sum up."""
    items = _items(request)
    return "\n\n".join(_spoken(items[at]) for at in dropped)


def too_long(request: Request, tokens: int, limit: Budget, hint: str) -> ContextTooLong:
    """Return the refusal of a request, with the counts in the words that clients know."""
    name = _LISTS.get(request.path, "prompt")
    kept = f", and {limit.reserved} more are kept for the answer" if limit.reserved else ""
    return ContextTooLong(
        f"This model's maximum context length is {limit.window} tokens. However, your {name} "
        f"resulted in {tokens} tokens{kept}. {hint}",
        param=name,
    )


def _weigher(request: Request, size: Size) -> Callable[[Any], int]:
    """Return what tells how much one message adds."""
    name = _LISTS.get(request.path, "")
    bare = {"model": request.model, name: list[Any]()}
    frame = size(bare)
    return lambda item: size({**bare, name: [item]}) - frame


def _items(request: Request) -> list[Any]:
    """Return what can be dropped one by one: a text as a whole cannot."""
    return _listed(request.fields, _LISTS.get(request.path, ""))


def _listed(fields: Mapping[str, Any], name: str) -> list[Any]:
    given = fields.get(name)
    return given if _is_list(given) else []


def _unmarked(item: object, raw: msgspec.Raw) -> object:
    content = bytes(raw)
    if not (_is_map(item) and MARK in item):
        return raw
    return msgspec.Raw(edit(content, {MARK: None}))


def _pictures(fields: Mapping[str, Any]) -> int:
    """Return how many parts of a request are no text."""
    found = 0
    for name in _LISTS.values():
        for item in _listed(fields, name):
            for part_list in ("content", "output"):
                parts: Any = item.get(part_list) if item.__class__ is dict else None
                if parts.__class__ is list:
                    found += sum(_is_picture(part) for part in parts)
    return found


def _is_reference(item: object) -> bool:
    return _is_map(item) and item.get("type") == "item_reference"


def _is_picture(part: object) -> bool:
    return _is_map(part) and str(part.get("type")) in _PICTURES


def _spoken(item: object) -> str:
    if not _is_map(item):
        return ""
    role = item.get("role") or item.get("type") or ""
    said = [_text(item.get(name)) for name in ("content", "arguments", "output", "summary")]
    said.append(_text(item.get("tool_calls")))
    return f"{role}: {' '.join(text for text in said if text)}"


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    if _is_map(value):
        names = ("text", "refusal", "name", "arguments", "function")
        found = [_text(value.get(name)) for name in names if value.get(name)]
        return " ".join(found) or f"[{value.get('type', 'part')}]"
    return " ".join(_text(part) for part in value) if _is_list(value) else ""


def _is_map(value: object) -> TypeGuard[Mapping[str, Any]]:
    return isinstance(value, Mapping)


def _is_list(value: object) -> TypeGuard[list[Any]]:
    return isinstance(value, list)
