"""Makes the stream that a whole response of the Responses API would have been."""

from collections.abc import Callable, Iterator

from headworks.core.shapes import Fields, as_fields, as_list, pieces

_ENDS = {
    "completed": "response.completed",
    "incomplete": "response.incomplete",
    "failed": "response.failed",
}
_TEXTS = {"output_text": "text", "reasoning_text": "text", "refusal": "refusal"}
"""Where each kind of content has its text."""

_NOT_YET: Fields = {"output": [], "usage": None, "error": None, "incomplete_details": None}
"""What a response that is still being made does not have."""


def response_events(answer: Fields, most: int) -> list[Fields] | None:
    """Return the events of a response, with texts of at most so many characters.

    None where it is no response, or not finished.
    """
    output = as_list(answer.get("output"))
    end = _ENDS.get(str(answer.get("status", "completed")))
    if "output" not in answer or end is None:
        return None
    begun = {**answer, "status": "in_progress"}
    begun |= {name: value for name, value in _NOT_YET.items() if name in answer}
    if "completed_at" in answer:
        begun["completed_at"] = None
    events: list[Fields] = [
        {"type": "response.created", "response": begun},
        {"type": "response.in_progress", "response": begun},
    ]
    for n, item in enumerate(output):
        events += _Item(as_fields(item), n, most).events()
    events.append({"type": end, "response": answer})
    return [{**event, "sequence_number": n} for n, event in enumerate(events)]


class _Item:
    """One item of a response's output."""

    def __init__(self, item: Fields, index: int, most: int) -> None:
        self._item, self._index, self._most = item, index, most
        self._place: Fields = {"item_id": item.get("id", ""), "output_index": index}

    def events(self) -> Iterator[Fields]:
        """Yield what the item would have been, from its addition to its end."""
        item, index = self._item, self._index
        begun, middle = self._begun()
        if "status" in item:
            begun["status"] = "in_progress"
        yield {"type": "response.output_item.added", "output_index": index, "item": begun}
        yield from middle
        yield {"type": "response.output_item.done", "output_index": index, "item": item}

    def _begun(self) -> tuple[Fields, Iterator[Fields]]:
        """Return the item as it begins, and what fills it."""
        item = self._item
        kind = item.get("type")
        if kind == "message":
            return {**item, "content": []}, self._parts("content", self._content_part)
        if kind == "reasoning":
            empty: Fields = {
                name: [] for name in ("summary", "content") if item.get(name) is not None
            }
            return {**item, **empty}, self._thoughts()
        if kind == "function_call":
            return {**item, "arguments": ""}, self._input("arguments", "function_call_arguments")
        if kind == "custom_tool_call":
            return {**item, "input": ""}, self._input("input", "custom_tool_call_input")
        return dict(item), iter(())

    def _input(self, name: str, kind: str) -> Iterator[Fields]:
        text: object = self._item.get(name)
        yield from self._deltas(kind, text, {})
        told = {"name": self._item.get("name", "")} if name == "arguments" else {}
        yield {"type": f"response.{kind}.done", **self._place, **told, name: text or ""}

    def _thoughts(self) -> Iterator[Fields]:
        yield from self._parts("summary", self._summary_part)
        yield from self._parts("content", self._content_part)

    def _parts(
        self, name: str, fill: Callable[[Fields, int], Iterator[Fields]]
    ) -> Iterator[Fields]:
        for n, part in enumerate(as_list(self._item.get(name))):
            yield from fill(as_fields(part), n)

    def _summary_part(self, part: Fields, index: int) -> Iterator[Fields]:
        at = {**self._place, "summary_index": index}
        text: object = part.get("text")
        yield {
            "type": "response.reasoning_summary_part.added",
            **at,
            "part": {**part, "text": ""},
        }
        yield from self._deltas("reasoning_summary_text", text, {"summary_index": index})
        yield {"type": "response.reasoning_summary_text.done", **at, "text": text or ""}
        yield {"type": "response.reasoning_summary_part.done", **at, "part": part}

    def _content_part(self, part: Fields, index: int) -> Iterator[Fields]:
        at = {**self._place, "content_index": index}
        name = _TEXTS.get(str(part.get("type")))
        if name is None:
            yield {"type": "response.content_part.added", **at, "part": part}
        else:
            yield from self._text_part(part, name, index)
        yield {"type": "response.content_part.done", **at, "part": part}

    def _text_part(self, part: Fields, name: str, index: int) -> Iterator[Fields]:
        at = {**self._place, "content_index": index}
        kind = str(part["type"])
        empty: Fields = {key: [] for key in ("annotations", "logprobs") if part.get(key)}
        yield {"type": "response.content_part.added", **at, "part": {**part, **empty, name: ""}}
        more: Fields = {"logprobs": part.get("logprobs") or []} if kind == "output_text" else {}
        yield from self._deltas(kind, part.get(name), {"content_index": index}, more)
        for n, annotation in enumerate(as_list(part.get("annotations"))):
            yield {
                "type": "response.output_text.annotation.added",
                **at,
                "annotation_index": n,
                "annotation": annotation,
            }
        yield {"type": f"response.{kind}.done", **at, name: part.get(name) or "", **more}

    def _deltas(
        self, kind: str, text: object, at: Fields, more: Fields | None = None
    ) -> Iterator[Fields]:
        """Yield a text piece by piece; what comes with it, with its first piece."""
        with_it: Fields = more or {}
        for piece in pieces(text, self._most):
            yield {
                "type": f"response.{kind}.delta",
                **self._place,
                **at,
                "delta": piece,
                **with_it,
            }
            with_it = {key: [] for key in with_it}
