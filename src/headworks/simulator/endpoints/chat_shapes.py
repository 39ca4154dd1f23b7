"""How the choices of a chat look: the message of a whole answer, and the deltas of a stream."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, final

from headworks.simulator.answers import Piece
from headworks.simulator.endpoints.chat_making import Call, Said
from headworks.simulator.endpoints.chat_tools import Choice
from headworks.simulator.logprobs import probabilities


class Turn(NamedTuple):
    """One delta, the tokens it costs, the text in it, and how probable its tokens were."""

    delta: Mapping[str, Any]
    tokens: int = 0
    text: str = ""
    logprobs: Mapping[str, Any] | None = None


@final
class Shape:
    """What the request says about the form of its answer.

    Args:
        wanted: How it wanted tools called.
        top: How many likely tokens each token is told with, None for no probabilities.
        key: Decides the probabilities.
        thinks: Whether its model does: such a one does not speak of probabilities unasked.
    """

    def __init__(self, wanted: Choice, top: int | None, key: str, *, thinks: bool) -> None:
        self._wanted, self._top, self._key = wanted, top, key
        self._is_silent = thinks and top is None

    def choice(self, said: Said, index: int) -> dict[str, Any]:
        """Return one of the `choices` of a whole answer."""
        message: dict[str, Any] = {"role": "assistant", "content": said.text}
        if said.calls:
            message["content"] = None
            message |= self._calls(said.calls)
        elif said.is_refusal:
            message["content"] = None
        message["refusal"] = said.text if said.is_refusal else None
        found: dict[str, Any] = {"index": index, "message": {**message, "annotations": []}}
        if not self._is_silent:
            entries = [entry for told in self._entries(said, index) for entry in told]
            found["logprobs"] = None if said.calls else self._told(entries, said)
        return {**found, "finish_reason": self.finish(said)}

    def part(self, index: int, turn: Turn, finish: str | None = None) -> dict[str, Any]:
        """Return the one of the `choices` of a chunk."""
        found: dict[str, Any] = {"index": index, "delta": turn.delta}
        if not self._is_silent:
            found["logprobs"] = turn.logprobs
        found["finish_reason"] = finish
        return found

    def finish(self, said: Said) -> str:
        """Return why a choice ended; a call that was demanded by name is a plain stop."""
        if said.ending != "calls":
            return said.ending
        if self._wanted.mode == "named":
            return "stop"
        return "function_call" if self._wanted.is_legacy else "tool_calls"

    def turns(self, said: Said, index: int) -> Sequence[Turn]:
        """Return the deltas of a choice up to its end; the first has its role."""
        if said.calls:
            return list(self._called(said.calls))
        name = "refusal" if said.is_refusal else "content"
        opening = {"role": "assistant", "content": "", "refusal": None}
        if said.is_refusal:
            opening = {"role": "assistant", "content": None, "refusal": ""}
        first = Turn(opening, logprobs=self._told([], said))
        entries = self._entries(said, index)
        if self._top is None:
            return [first, *(Turn({name: text}, tokens, text) for text, tokens in said.pieces)]
        return [first] + [
            Turn({name: piece.text}, piece.tokens, piece.text, self._told(told, said))
            for piece, told in zip(said.pieces, entries, strict=True)
        ]

    def _entries(self, said: Said, index: int) -> list[list[dict[str, Any]]]:
        if self._top is None:
            return []
        return probabilities(said.pieces, self._top, f"{self._key}:{index}")

    def _told(self, entries: list[dict[str, Any]], said: Said) -> dict[str, Any] | None:
        if self._top is None:
            return None
        if said.is_refusal:
            return {"content": None, "refusal": entries}
        return {"content": entries, "refusal": None}

    def _calls(self, calls: Sequence[Call]) -> dict[str, Any]:
        """Return all calls, as a message has them."""
        if self._wanted.is_legacy:
            name, text = calls[0].tool.name, calls[0].text
            return {"function_call": {"name": name, "arguments": text}}
        return {"tool_calls": [_named(call, call.text) for call in calls]}

    def _called(self, calls: Sequence[Call]) -> Iterator[Turn]:
        opening: dict[str, Any] = {"role": "assistant", "content": None}
        if self._wanted.is_legacy:
            named = {"name": calls[0].tool.name, "arguments": ""}
            yield Turn({**opening, "function_call": named, "refusal": None}, calls[0].head)
            for text, tokens in calls[0].pieces:
                yield Turn({"function_call": {"arguments": text}}, tokens, text)
            return
        if len(calls) > 1:
            yield Turn(opening)
        for place, call in enumerate(calls):
            told = {"tool_calls": [{"index": place, **_named(call, "")}]}
            delta = told if len(calls) > 1 else {**opening, **told, "refusal": None}
            yield Turn(delta, call.head)
            yield from _arguments(place, call.pieces, *_fields_of(call))


def _named(call: Call, text: str) -> dict[str, Any]:
    kind, field = _fields_of(call)
    inner = {"name": call.tool.name, field: text}
    return {"id": f"call_{call.serial}", "type": kind, kind: inner}


def _arguments(place: int, pieces: Sequence[Piece], kind: str, field: str) -> Iterator[Turn]:
    for text, tokens in pieces:
        yield Turn({"tool_calls": [{"index": place, kind: {field: text}}]}, tokens, text)


def _fields_of(call: Call) -> tuple[str, str]:
    return ("custom", "input") if call.tool.is_custom else ("function", "arguments")
