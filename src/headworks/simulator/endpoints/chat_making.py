"""Makes what a chat answers: thoughts, then words or calls, as far as its bound of tokens goes."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, takewhile
from typing import NamedTuple

from headworks.simulator.answers import Ask, Piece, Split, Tool, compose

_NO = "I'm sorry, but I can't assist with that request."
_CALLS = 1_000_003
"""Keeps the chance of a second call apart from that of a second choice."""


class Call(NamedTuple):
    """A call of a tool: the tokens of its name, and its arguments or its input."""

    serial: str
    tool: Tool
    head: int
    pieces: Sequence[Piece]

    @property
    def text(self) -> str:
        """The arguments, or the input."""
        return "".join(piece.text for piece in self.pieces)


@dataclass(frozen=True, slots=True)
class Said:
    """One choice of an answer.

    Attributes:
        pieces: The words, or the words of a refusal.
        calls: The calls that stand in the place of words.
        ending: `stop`, `length`, `content_filter` or `calls`.
        accepted: Tokens of a prediction that came true.
        rejected: Tokens of a prediction that did not; they are paid for.
    """

    reasoning: int
    pieces: Sequence[Piece] = ()
    calls: Sequence[Call] = ()
    ending: str = "stop"
    is_refusal: bool = False
    accepted: int = 0
    rejected: int = 0

    @property
    def text(self) -> str:
        """The words."""
        return "".join(piece.text for piece in self.pieces)

    @property
    def tokens(self) -> int:
        """All output tokens."""
        calls = sum(call.head + _cost(call.pieces) for call in self.calls)
        return self.reasoning + self.rejected + _cost(self.pieces) + calls


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be made.

    Attributes:
        ask: What is asked of the words.
        tools: Are called instead, one after the other.
        predicted: What the words are expected to be, "" for no expectation.
        fault: `refusal` or `content_filter`, or something that does not matter here.
    """

    ask: Ask
    tools: Sequence[Tool] = ()
    predicted: str = ""
    fault: str = ""


def make(order: Order, index: int, split: Split) -> Said:
    """Return choice number `index`."""
    if order.fault == "refusal":
        return _refused(order, split)
    if order.tools:
        return _called(order, index, split)
    answer = compose(order.ask, index, split)
    said = Said(answer.reasoning, answer.pieces, ending="length" if answer.is_cut else "stop")
    if order.predicted and order.ask.schema is None:
        said = _predicted(said, split(order.predicted), order.ask.limit)
    if order.fault == "content_filter":
        kept = said.pieces[: len(said.pieces) // 2]
        return replace(said, pieces=kept, ending="content_filter")
    return said


def _refused(order: Order, split: Split) -> Said:
    no, limit = split(_NO), order.ask.limit
    kept = _within(no, limit)
    return Said(0, kept, ending="stop" if len(kept) == len(no) else "length", is_refusal=True)


def _called(order: Order, index: int, split: Split) -> Said:
    """Return the calls that fit; once one was cut short no other begins."""
    ask, calls, reasoning = order.ask, list[Call](), 0
    for place, tool in enumerate(order.tools):
        answer = compose(replace(ask, tool=tool), index + place * _CALLS, split)
        reasoning += answer.reasoning
        if answer.head:
            calls.append(Call(answer.serial, tool, answer.head, answer.pieces))
        if answer.is_cut:
            return Said(reasoning, calls=calls, ending="length")
        limit = None if ask.limit is None else ask.limit - answer.tokens
        ask = replace(ask, effort="", limit=limit)
    return Said(reasoning, calls=calls, ending="calls")


def _predicted(said: Said, expected: Sequence[Piece], limit: int | None) -> Said:
    """Return an answer that says three quarters of what was expected, then words of its own."""
    true = expected[: len(expected) - len(expected) // 4]
    pieces = [*true, *said.pieces] if len(true) < len(expected) else true
    kept = _within(pieces, None if limit is None else limit - said.reasoning)
    accepted = _cost(kept[: len(true)])
    return Said(
        said.reasoning,
        kept,
        ending=said.ending if len(kept) == len(pieces) else "length",
        accepted=accepted,
        rejected=_cost(expected) - accepted if len(kept) > len(true) else 0,
    )


def _within(pieces: Sequence[Piece], limit: int | None) -> Sequence[Piece]:
    if limit is None:
        return pieces
    sums = accumulate(piece.tokens for piece in pieces)
    return pieces[: len(list(takewhile(lambda tokens: tokens <= limit, sums)))]


def _cost(pieces: Sequence[Piece]) -> int:
    return sum(piece.tokens for piece in pieces)
