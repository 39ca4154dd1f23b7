"""POST /v1/embeddings: unit vectors that depend on the text and the model alone."""

import base64
import re
from collections.abc import Mapping
from typing import Any, final

import msgspec
from typing_extensions import override

from headworks.simulator.asked import Asked
from headworks.simulator.fields import check_known, is_list, one_of, whole_number
from headworks.simulator.problems import Refusal, missing
from headworks.simulator.provider import Provider
from headworks.simulator.reply import Body
from headworks.simulator.vectors import shortened, vector

_LARGE, _SMALL = 3_072, 1_536
_MOST_INPUTS, _MOST_TOKENS = 2_048, 300_000
_OTHERS = re.compile(r"gpt-|chatgpt|o\d|whisper|tts-|dall-e|omni-|text-moderation")
_KNOWN = frozenset({"model", "input", "dimensions", "encoding_format", "user", "safety_identifier"})


@final
class EmbeddingsReply(Body):
    """The answer to one embeddings request; it has no stream."""

    def __init__(self, provider: Provider, asked: Asked) -> None:
        fields = asked.fields
        self._model = provider.served_model(asked, "embeddings")
        if _OTHERS.match(self._model):
            raise Refusal(403, "You are not allowed to generate embeddings from this model")
        check_known(fields, _KNOWN)
        self._inputs = _inputs(fields)
        self._most = _LARGE if "large" in self._model else _SMALL
        self._size = _size(fields, self._model, self._most)
        self._packs = one_of(fields, "encoding_format", ("float", "base64")) == "base64"
        self.usage = provider.meter.measure("embeddings", fields, asked.credential)
        if self.usage.input > _MOST_TOKENS:
            raise _too_many(self.usage.input)

    @override
    def whole(self, *, usage: bool) -> bytes:
        """Return the list of embeddings."""
        body: dict[str, Any] = {
            "object": "list",
            "data": [
                {"object": "embedding", "index": index, "embedding": self._vector(given)}
                for index, given in enumerate(self._inputs)
            ],
            "model": self._model,
        }
        if usage:
            tokens = self.usage.input
            body["usage"] = {"prompt_tokens": tokens, "total_tokens": tokens}
        return msgspec.json.encode(body)

    def _vector(self, given: str | list[int]) -> str | list[float]:
        numbers = shortened(vector(given, self._model, self._most), self._size)
        return base64.b64encode(numbers.tobytes()).decode() if self._packs else numbers.tolist()


def _size(fields: Mapping[str, Any], model: str, most: int) -> int:
    size = whole_number(fields, "dimensions", most)
    if size is not None and "ada-002" in model:
        raise Refusal(400, "This model does not support specifying dimensions.")
    return size or most


def _inputs(fields: Mapping[str, Any]) -> list[str | list[int]]:
    """Return each input: a text, texts, token numbers, or lists of token numbers."""
    given = fields.get("input")
    if given is None:
        raise missing("input")
    is_one = isinstance(given, str) or (is_list(given) and _are_tokens(given))
    inputs = [given] if is_one else given
    if not is_list(inputs) or not 0 < len(inputs) <= _MOST_INPUTS:
        raise _invalid()
    if not all(_is_text(item) or (is_list(item) and _are_tokens(item)) for item in inputs):
        raise _invalid()
    return inputs


def _is_text(item: object) -> bool:
    return isinstance(item, str) and item != ""


def _are_tokens(items: list[Any]) -> bool:
    return bool(items) and all(type(item) is int and item >= 0 for item in items)


def _invalid() -> Refusal:
    page = "https://platform.openai.com/docs/api-reference"
    return Refusal(400, f"'$.input' is invalid. Please check the API reference: {page}.")


def _too_many(tokens: int) -> Refusal:
    return Refusal(
        400,
        f"Requested {tokens} tokens, max {_MOST_TOKENS} tokens per request",
        type="max_tokens_per_request",
        code="max_tokens_per_request",
    )
