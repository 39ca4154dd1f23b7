"""Which text an event of a stream brings, read in full: what is more than text is not for joining."""

from collections.abc import Callable
from typing import Any, Final, NamedTuple, cast

import msgspec

Place = tuple[object, ...]
"""Which text it is: that of a choice, or of a part of an output item."""


class Told(NamedTuple):
    """The text of one event; one that opens its text says who speaks, too."""

    place: Place
    text: str
    opens: bool = False


class _Chunk(msgspec.Struct):
    choices: list[dict[str, Any]]
    usage: dict[str, Any] | None = None
    error: Any = None


class _Delta(msgspec.Struct):
    type: str
    delta: str
    item_id: str = ""
    output_index: int = 0
    content_index: int = 0
    logprobs: list[Any] | None = None


_decode_chunk = msgspec.json.Decoder(_Chunk).decode
_decode_delta = msgspec.json.Decoder(_Delta).decode


def read_chat(data: bytes) -> Told | None:
    """Return the text that a chunk of a chat completion brings, None if it brings anything more."""
    choice = _only_choice(data)
    said = None if choice is None else choice.pop("delta", None)
    if choice is None or not isinstance(said, dict):
        return None
    delta = cast("dict[str, Any]", said)
    index, text, role = choice.pop("index", 0), delta.pop("content", None), delta.pop("role", None)
    if not isinstance(text, str) or _says_more(delta) or _says_more(choice):
        return None
    return Told((index,), text, opens=role is not None)


def read_completion(data: bytes) -> Told | None:
    """Return the text that a chunk of a legacy completion brings, None if it brings more."""
    choice = _only_choice(data)
    if choice is None:
        return None
    index, text = choice.pop("index", 0), choice.pop("text", None)
    return Told((index,), text) if isinstance(text, str) and not _says_more(choice) else None


def read_response(data: bytes) -> Told | None:
    """Return the text that an event of a response brings, None if it is no text's."""
    event = _decode_delta(data)
    if event.type != "response.output_text.delta" or event.logprobs:
        return None
    return Told((event.item_id, event.output_index, event.content_index), event.delta)


def _only_choice(data: bytes) -> dict[str, Any] | None:
    chunk = _decode_chunk(data)
    return None if len(chunk.choices) != 1 or chunk.usage or chunk.error else chunk.choices[0]


def _says_more(fields: dict[str, Any]) -> bool:
    """Return whether there is more than text: log probabilities, an end, or what we do not know.

    What Azure's filters found in a text is told with each piece of it; where it is the same for
    two pieces it is for both together.
    """
    return any(value for name, value in fields.items() if not name.startswith("content_filter"))


class Form(NamedTuple):
    """How the texts of an endpoint's streams are found: the name of their field, and who reads it."""

    field: bytes
    read: Callable[[bytes], Told | None]
    is_numbered: bool = False


FORMS: Final = {
    "/v1/chat/completions": Form(b"content", read_chat),
    "/v1/completions": Form(b"text", read_completion),
    "/v1/responses": Form(b"delta", read_response, is_numbered=True),
}
"""By path."""
