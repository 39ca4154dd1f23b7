"""One response from its creation to its end: how it stands at any time, and the events that tell it."""

from collections.abc import Iterator, Mapping
from typing import Any, Literal, final

import msgspec

from headworks.simulator.answers import obfuscation
from headworks.simulator.asked import Asked
from headworks.simulator.endpoints.responses_input import Items
from headworks.simulator.endpoints.responses_items import Event
from headworks.simulator.endpoints.responses_making import Output
from headworks.simulator.endpoints.responses_object import (
    response_object,
    tool_usage,
    usage_object,
)
from headworks.simulator.fields import section
from headworks.simulator.reply import Step
from headworks.types import Usage

Status = Literal["queued", "in_progress", "completed", "incomplete", "failed", "cancelled"]

_BILLED = {"payer": "developer"}
_FAILURE = {
    "code": "server_error",
    "message": "The model failed to generate a response.",
}


@final
class Response:
    """What one request made.

    Attributes:
        owner: Name of the credential that may see it.
        context: The items before those of the request.
        items: Those of the request.
        usage: What it costs.
        begins: When it leaves the queue, by the clock; `ends` when it is complete.
    """

    def __init__(
        self,
        asked: Asked,
        context: Items,
        items: list[dict[str, Any]],
        output: Output,
        usage: Usage,
    ) -> None:
        self.owner, self.context, self.items, self.usage = asked.credential, context, items, usage
        self.is_background = asked.fields.get("background") is True
        self._base = response_object(asked)
        self.id: str = self._base["id"]
        self.created = asked.created
        self._output = output
        options = section(asked.fields, "stream_options")
        self._obfuscates = options.get("include_obfuscation") is not False
        self.begins = self.ends = float("-inf")
        self._completed = asked.created
        self._is_cancelled = False

    def schedule(self, now: float, wait: float, work: float) -> None:
        """Say when it is made: `wait` seconds from now it begins, after `work` more it is complete."""
        self._completed = int(self.created + wait + work)
        if self.is_background:
            self.begins = now + wait
            self.ends = self.begins + work

    def cancel(self, now: float) -> None:
        """Stop it, if it is not complete."""
        self._is_cancelled = self._is_cancelled or now < self.ends

    @property
    def output(self) -> list[dict[str, Any]]:
        """The items that were made."""
        return [] if self._is_cancelled else [item.ended() for item in self._output.items]

    def at(self, now: float, *, usage: bool = True) -> dict[str, Any]:
        """Return the response as it stands, with or without its usage."""
        if self._is_cancelled:
            return self._told("cancelled")
        if now < self.ends:
            return self._told("queued" if now < self.begins else "in_progress")
        return self._ended(usage=usage)

    def first(self, *, usage: bool = True) -> dict[str, Any]:
        """Return the response to the request: complete, or of a background one that it waits."""
        return self._told("queued") if self.is_background else self._ended(usage=usage)

    def made(self, now: float) -> float:
        """Return how many of its output tokens there are."""
        if now >= self.ends or self.ends <= self.begins:
            return self._output.tokens
        return max(0.0, self._output.tokens * (now - self.begins) / (self.ends - self.begins))

    def steps(self, *, usage: bool) -> Iterator[Step]:
        """Yield the events of the stream, numbered from 0; the last is the terminal one."""
        for number, event in enumerate(self._events(usage=usage)):
            yield Step(event.kind, self._frame(event, number), event.tokens)

    def _events(self, *, usage: bool) -> Iterator[Event]:
        begun = self._told("in_progress")
        if self.is_background:
            queued = {"response": self._told("queued")}
            yield Event("open", "response.created", queued)
            yield Event("open", "response.queued", queued)
        else:
            yield Event("open", "response.created", {"response": begun})
        yield Event("open", "response.in_progress", {"response": begun})
        if self._is_cancelled:
            return
        items = self._output.items
        for place, item in enumerate(items):
            is_last = place == len(items) - 1
            for event in item.events(place):
                yield event if is_last or event.kind != "close" else event._replace(kind="open")
        ended = self._ended(usage=usage)
        yield Event("done", f"response.{ended['status']}", {"response": ended})

    def _frame(self, event: Event, number: int) -> bytes:
        fields = {**event.fields, "sequence_number": number}
        delta = event.fields.get("delta")
        if self._obfuscates and delta is not None:
            fields["obfuscation"] = obfuscation(delta)
        return frame(event.type, dict(sorted(fields.items())))

    def _told(self, status: Status) -> dict[str, Any]:
        return {**self._base, "status": status}

    def _ended(self, *, usage: bool = True) -> dict[str, Any]:
        cut = self._output.cut
        status: Status = "failed" if cut == "failed" else "incomplete" if cut else "completed"
        return {
            **self._base,
            "status": status,
            "completed_at": self._completed if status == "completed" else None,
            "error": _FAILURE if status == "failed" else None,
            "incomplete_details": {"reason": cut} if status == "incomplete" else None,
            "output": self.output,
            "service_tier": self.usage.tier,
            "tool_usage": tool_usage(self._output.searches),
            "usage": usage_object(self.usage) if usage else None,
        }


def frame(kind: str, fields: Mapping[str, Any]) -> bytes:
    """Return an event as it goes onto the wire."""
    data = msgspec.json.encode({"type": kind, **fields})
    return b"event: " + kind.encode() + b"\ndata: " + data + b"\n\n"


def whole(response: Mapping[str, Any]) -> bytes:
    """Return a response as it goes onto the wire in one piece: it tells who pays."""
    return msgspec.json.encode({**response, "billing": _BILLED})
