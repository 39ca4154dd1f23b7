"""What reaches a provider is what its caller asked for: changed only where the operator said so."""

from collections.abc import Iterator, Sequence
from typing import Any

from tests.faults.simworld.cases import Case, tag
from tests.faults.simworld.providers import Arrival

_OURS = frozenset({"model", "stream_options"})
"""Fields that a route and the bookkeeping decide."""
_TURNS = ("messages", "input")
_SUMMARY = "Summary of the earlier part"


def findings(case: Case) -> Iterator[str]:
    """Yield what reached a provider and should not have."""
    if tag(case.call):
        for arrival in case.arrivals:
            yield from _faults(case, arrival)


def _faults(case: Case, arrival: Arrival) -> Iterator[str]:
    sent, asked = arrival.fields, case.reply.ask.fields
    if sent is None:
        return
    for name in {*sent, *asked} - _OURS - {*_TURNS}:
        if sent.get(name) != asked.get(name):
            yield f"{name} is {sent.get(name)!r}, and {asked.get(name)!r} was asked for"
    for name in _TURNS:
        yield from _turn_faults(case, sent.get(name), asked.get(name))


def _turn_faults(case: Case, sent: Any, asked: Any) -> Iterator[str]:
    """Yield what is wrong with a conversation: turns are dropped only where that is told."""
    if not isinstance(asked, list):
        if sent != asked:
            yield f"{str(sent)[:100]!r} was sent, and {str(asked)[:100]!r} asked"
        return
    marks = [turn.get("headworks") for turn in asked]
    plain = [{key: turn[key] for key in turn if key != "headworks"} for turn in asked]
    is_marked = case.call.request.model != "fitted" and any(marks)
    fitted = case.call.fitted
    if fitted is None:
        if sent != plain and not (is_marked and sent == asked):
            yield f"turns were changed, and nothing is told of it: {str(sent)[:200]}"
        return
    yield from _shortened(sent, plain, [bool(mark) for mark in marks])
    dropped = len(plain) - len([turn for turn in sent if not _is_summary(turn)])
    if dropped > fitted.dropped:
        yield f"{dropped} turns were dropped, and {fitted.dropped} are told"


def _shortened(sent: list[Any], asked: Sequence[Any], marks: Sequence[bool]) -> Iterator[str]:
    kept = [turn for turn in sent if not _is_summary(turn)]
    left = iter(asked)
    if not all(turn in left for turn in kept):
        yield f"turns were changed or moved: {str(sent)[:200]}"
    if kept[-1] != asked[-1]:
        yield "the last turn was dropped"
    if any(mark and turn not in kept for turn, mark in zip(asked, marks, strict=True)):
        yield "a turn that was to be kept was dropped"


def _is_summary(turn: Any) -> bool:
    return str(turn.get("content")).startswith(_SUMMARY)
