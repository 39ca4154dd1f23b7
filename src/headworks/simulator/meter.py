"""Measures prompts and texts as the provider would: tokens, cached prefixes, what fits."""

import hashlib
import re
from collections import OrderedDict
from collections.abc import Mapping
from functools import partial
from typing import Any, final

import msgspec

from headworks.core.tokens import Count, Kind, count_request, encoding_of
from headworks.simulator import problems
from headworks.simulator.answers import Piece
from headworks.simulator.fields import is_list, tier
from headworks.simulator.models import Models
from headworks.tokenizer import Tokenizer
from headworks.types import Usage

_LEAST_CACHED, _CACHE_STEP = 1_024, 128
_BLOCK = 64  # bytes of prompt, about 16 tokens
_MOST_BLOCKS = 400_000
_SPAN = re.compile(r".{200}.*?(?<=[a-z.,])(?= [a-z])|.+", re.DOTALL)
"""Parts of a text that no token crosses: a space between two words always begins a token."""


@final
class Meter:
    """Counts for one simulator, and remembers the prompts it saw."""

    def __init__(self, tokenizer: Tokenizer, models: Models) -> None:
        self._tokenizer, self._models = tokenizer, models
        self._seen: OrderedDict[bytes, None] = OrderedDict()

    def split(self, text: str, model: str) -> list[Piece]:
        """Return `text` in pieces of one token each, or more where a character needs them."""
        encoding = encoding_of(model)
        pieces: list[Piece] = []
        for span in _SPAN.findall(text):
            start = paid = 0
            total = self._tokenizer.count(span, encoding)
            for most in range(1, total + 1):
                end = len(self._tokenizer.truncate(span, most, encoding)[0])
                if end > start:
                    pieces.append(Piece(span[start:end], most - paid))
                    start, paid = end, most
        return pieces

    def measure(self, kind: Kind, fields: Mapping[str, Any], credential: str) -> Usage:
        """Return the prompt's tokens, or raise the refusal of one that does not fit."""
        model = str(fields.get("model", ""))
        count = partial(self._tokenizer.count, encoding=encoding_of(model))
        tokens = count_request(fields, count, kind)
        limit = self._models.window(model).context
        if limit is not None and tokens > limit:
            most = _longest(fields, count) or tokens if kind == "embeddings" else tokens
            if most > limit:
                raise problems.too_long(kind, limit, most)
        service = self._models.tier(model, tier(fields))
        if kind == "embeddings":
            return Usage(tokens, tier=service)
        cached = self._cached(fields, f"{credential}\0{model}", tokens)
        return Usage(tokens, cached=cached, tier=service)

    def check_bound(self, model: str, param: str, bound: int | None) -> None:
        """Raise the refusal of an output bound that the model cannot reach."""
        most = self._models.window(model).output
        if bound is not None and most is not None and bound > most:
            raise problems.too_many(param, bound, most)

    def forget(self) -> None:
        """Empty the prefix cache."""
        self._seen.clear()

    def _cached(self, fields: Mapping[str, Any], owner: str, tokens: int) -> int:
        """Return how much of the prompt was seen before, in the provider's steps; remember it."""
        if tokens < _LEAST_CACHED:
            return 0
        prompt, link = _packed(fields), owner.encode(errors="replace")
        known, is_known = 0, True
        for start in range(0, len(prompt), _BLOCK):
            block = prompt[start : start + _BLOCK]
            link = hashlib.blake2b(link + block, digest_size=12).digest()
            is_known = is_known and link in self._seen
            known += len(block) if is_known else 0
            self._seen[link] = None
            self._seen.move_to_end(link)
        while len(self._seen) > _MOST_BLOCKS:
            self._seen.popitem(last=False)
        cached = tokens * known // len(prompt) // _CACHE_STEP * _CACHE_STEP
        return cached if cached >= _LEAST_CACHED else 0


def _longest(fields: Mapping[str, Any], count: Count) -> int:
    """Return the tokens of the longest of several inputs, 0 when there is one alone."""
    given = fields.get("input")
    items = given if is_list(given) else []
    each = (count_request({"input": item}, count, "embeddings") for item in items)
    return max(each, default=0)


def _packed(fields: Mapping[str, Any]) -> bytes:
    """Return the prompt so that a longer conversation begins with the shorter one's bytes."""
    head = [fields.get("tools"), fields.get("instructions")]
    body = fields.get("messages", fields.get("input"))
    return msgspec.json.encode(head) + msgspec.json.encode(body).rstrip(b"]")
