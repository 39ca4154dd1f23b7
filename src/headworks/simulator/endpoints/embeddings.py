"""POST /v1/embeddings: unit vectors that depend on the text and the model alone."""

import base64
import hashlib
from array import array
from collections.abc import Mapping
from math import sqrt
from typing import Any, final

import msgspec
from typing_extensions import override

from headworks.simulator.asked import Asked
from headworks.simulator.fields import is_list, whole_number
from headworks.simulator.problems import Refusal, missing
from headworks.simulator.provider import Provider
from headworks.simulator.reply import Body

_LARGE, _SMALL = 3_072, 1_536
_MOST_INPUTS = 2_048


@final
class EmbeddingsReply(Body):
    """The answer to one embeddings request; it has no stream."""

    def __init__(self, provider: Provider, asked: Asked) -> None:
        fields = asked.fields
        self._model = provider.served_model(asked, "embeddings")
        self._inputs = _inputs(fields)
        most = _LARGE if "large" in self._model else _SMALL
        self._size = whole_number(fields, "dimensions", most) or most
        self._packs = fields.get("encoding_format") == "base64"
        self.usage = provider.meter.measure("embeddings", fields, asked.credential)

    @override
    def whole(self, *, usage: bool) -> bytes:
        """Return the list of embeddings."""
        body: dict[str, Any] = {
            "object": "list",
            "data": [
                {"object": "embedding", "index": index, "embedding": self._vector(text)}
                for index, text in enumerate(self._inputs)
            ],
            "model": self._model,
        }
        if usage:
            tokens = self.usage.input
            body["usage"] = {"prompt_tokens": tokens, "total_tokens": tokens}
        return msgspec.json.encode(body)

    def _vector(self, text: bytes) -> str | list[float]:
        numbers = vector(text, self._model, self._size)
        return base64.b64encode(numbers.tobytes()).decode() if self._packs else numbers.tolist()


def vector(text: bytes, model: str, size: int) -> "array[float]":
    """Return the unit vector of `text`: a shorter one is the longer one cut and stretched."""
    seed = hashlib.blake2b(text, person=model.encode()[:16]).digest()
    raw = array("h", hashlib.shake_128(seed).digest(2 * size))
    length = sqrt(sum(number * number for number in raw)) or 1.0
    return array("f", [number / length for number in raw])


def _inputs(fields: Mapping[str, Any]) -> list[bytes]:
    """Return each input as bytes: a text, texts, token numbers, or lists of token numbers."""
    given = fields.get("input")
    if given is None:
        raise missing("input")
    is_one = isinstance(given, str) or (is_list(given) and _are_numbers(given))
    inputs = [given] if is_one else given
    if not is_list(inputs) or not 0 < len(inputs) <= _MOST_INPUTS:
        raise _invalid()
    return [_packed(item) for item in inputs]


def _packed(item: object) -> bytes:
    if isinstance(item, str) and item:
        return item.encode()
    if is_list(item) and _are_numbers(item):
        return msgspec.json.encode(item)
    raise _invalid()


def _are_numbers(items: list[Any]) -> bool:
    return bool(items) and all(type(item) is int for item in items)


def _invalid() -> Refusal:
    page = "https://platform.openai.com/docs/api-reference"
    return Refusal(400, f"'$.input' is invalid. Please check the API reference: {page}.")
