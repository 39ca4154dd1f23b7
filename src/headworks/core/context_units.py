"""What of a conversation may be left out, and what stands or falls together.

A provider refuses a tool's result without its call, a call without its result, and in the
Responses API what a model made without the thoughts before it. So messages and items are dropped
by units: a call with its results, and there a run of what the model made in one go.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeGuard

MARK = "headworks"
"""Field of a message that speaks to us: `{"keep": true}` keeps it. It is not sent on."""

Order = Literal["oldest", "middle"]
Unit = tuple[int, ...]
"""Positions of messages or items that are kept or dropped together, ascending."""

_SYSTEM = frozenset({"system", "developer"})
_ANSWERS = frozenset({"tool", "function"})
_APPROVAL = "mcp_approval_response"


@dataclass(frozen=True, slots=True)
class Keep:
    """What is never dropped, beside what is marked and the last question.

    Attributes:
        system: Messages of the roles system and developer.
        first: So many turns at the start: a turn is what a user says and all up to the next time.
        last: So many turns at the end.
    """

    system: bool = True
    first: int = 0
    last: int = 0


def units(items: Sequence[object]) -> tuple[Unit, ...]:
    """Return the units of a conversation, in the order of their first positions."""
    unit_of: list[int] = []
    calls: dict[str, int] = {}
    members: dict[int, list[int]] = {}
    for at, item in enumerate(items):
        joined = _joined(items, at, calls)
        unit = at if joined is None else unit_of[joined]
        unit_of.append(unit)
        members.setdefault(unit, []).append(at)
        calls.update((id_, at) for id_ in _calls(item))
    return tuple(tuple(found) for found in members.values())


def droppable(items: Sequence[object], keep: Keep, order: Order) -> tuple[Unit, ...]:
    """Return the units that may be dropped, those first that are to go first.

    Never among them: the last thing a user said, and the last unit of all, which the model is to
    answer.
    """
    kept = {len(items) - 1, *_kept(items, keep)}
    free = [unit for unit in units(items) if kept.isdisjoint(unit)]
    if order == "oldest":
        return tuple(free)
    centre = (len(free) - 1) / 2
    by_distance = sorted(range(len(free)), key=lambda at: abs(at - centre))
    return tuple(free[at] for at in by_distance)


def is_marked(item: object) -> bool:
    """Return whether a caller marked the message to be kept."""
    mark = _field(item, MARK)
    return _is_map(mark) and mark.get("keep") is True


def _kept(items: Sequence[object], keep: Keep) -> Iterator[int]:
    """Yield the positions that must stay, whatever unit they are in."""
    starts = [at for at, item in enumerate(items) if _begins_turn(items, at, item)]
    said = [at for at, item in enumerate(items) if _word(item, "role") == "user"]
    yield from said[-1:]
    first_end = ([*starts, len(items)])[keep.first] if keep.first <= len(starts) else len(items)
    last_start = starts[-keep.last :][0] if keep.last and starts else len(items)
    for at, item in enumerate(items):
        in_turns = (keep.first and starts and starts[0] <= at < first_end) or at >= last_start
        is_system = keep.system and _word(item, "role") in _SYSTEM
        if in_turns or is_system or is_marked(item):
            yield at


def _begins_turn(items: Sequence[object], at: int, item: object) -> bool:
    is_user = _word(item, "role") == "user"
    return is_user and not (at and _word(items[at - 1], "role") == "user")


def _joined(items: Sequence[object], at: int, calls: Mapping[str, int]) -> int | None:
    """Return an earlier position whose unit the item belongs to, None when it begins one."""
    item = items[at]
    if (answered := _answered(item)) is not None:
        before = at - 1 if at else None
        return calls.get(answered, before)
    if at and _is_made(item) and _is_made(items[at - 1]) and _is_run(items[at - 1], item):
        return at - 1
    return None


def _calls(item: object) -> Iterator[str]:
    """Yield the ids of the calls that the item makes."""
    made = _field(item, "tool_calls")
    for call in made if _is_list(made) else ():
        if isinstance(id_ := _field(call, "id"), str):
            yield id_
    for name in ("call_id", "id"):
        if _word(item, "type") and isinstance(id_ := _field(item, name), str):
            yield id_


def _answered(item: object) -> str | None:
    """Return the id of the call that the item answers, "" when it does not say; else None."""
    if _word(item, "role") in _ANSWERS:
        id_ = _field(item, "tool_call_id")
    elif _word(item, "type").endswith("_output"):
        id_ = _field(item, "call_id")
    elif _word(item, "type") == _APPROVAL:
        id_ = _field(item, "approval_request_id")
    else:
        return None
    return id_ if isinstance(id_, str) else ""


def _is_made(item: object) -> bool:
    """Return whether a model made the item: said, thought or called."""
    role = _word(item, "role")
    is_item = not role and bool(_word(item, "type"))
    return role == "assistant" or (is_item and _answered(item) is None)


def _is_run(*pair: object) -> bool:
    """Return whether two neighbours that a model made depend on each other."""
    return any(_word(item, "type") not in {"", "message"} for item in pair)


def _word(item: object, name: str) -> str:
    value = _field(item, name)
    return value if isinstance(value, str) else ""


def _field(item: object, name: str) -> Any:
    return item.get(name) if _is_map(item) else None


def _is_map(value: object) -> TypeGuard[Mapping[str, Any]]:
    return isinstance(value, Mapping)


def _is_list(value: object) -> TypeGuard[list[Any]]:
    return isinstance(value, list)
