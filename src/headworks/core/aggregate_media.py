"""Images and transcripts from their events.

The partial images before one that is ready are left out. Audio that is streamed is no object when
it is not, so it is not put together.
"""

from typing import Any

from headworks.core.aggregate_grow import Text
from headworks.core.shapes import Fields


class MediaAggregate:
    """Images that are drawn, or a recording that is written down."""

    __slots__ = ("_fields", "_images", "_is_transcript", "_segments", "_text", "is_complete")

    def __init__(self) -> None:
        self._fields: Fields = {}
        self._images: list[Fields] = []
        self._segments: list[Fields] = []
        self._text = Text()
        self._is_transcript = self.is_complete = False

    def feed(self, event: Fields) -> None:
        """Take in one event."""
        kind: Any = event.get("type")
        if not isinstance(kind, str):
            return
        self._is_transcript = self._is_transcript or kind.startswith("transcript.")
        rest = {name: value for name, value in event.items() if name != "type"}
        match kind:
            case "image_generation.completed" | "image_edit.completed":
                self._images.append({"b64_json": rest.pop("b64_json", None)})
                self._fields |= {"created": rest.pop("created_at", None)} | rest
                self.is_complete = True
            case "transcript.text.delta" if isinstance(delta := event.get("delta"), str):
                self._text.write(delta)
            case "transcript.text.segment":
                self._segments.append(event)
            case "transcript.text.done":
                self._fields, self.is_complete = rest, True
            case _:
                pass

    def result(self) -> Fields:
        """Return it as far as it was told."""
        if not self._is_transcript:
            return {**self._fields, "data": self._images}
        segments = {"segments": self._segments} if self._segments else {}
        return {"text": self._text.result(), **self._fields, **segments}
