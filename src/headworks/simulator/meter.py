"""Measures prompts and texts as the provider would: tokens, cached prefixes, what fits."""

import re
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, final

import msgspec

from headworks.core.tokens import Count, Kind, count_request, encoding_of, is_reasoning
from headworks.ports import Clock
from headworks.simulator import problems
from headworks.simulator.answers import Piece
from headworks.simulator.fields import is_list, is_map, section, tier
from headworks.simulator.models import Models
from headworks.simulator.prefixes import Prefixes
from headworks.tokenizer import Tokenizer
from headworks.types import Usage

_LEAST_CACHED, _CACHE_STEP = 1_024, 128
_KEPT = 300.0
"""Seconds without use after which a prompt is forgotten; OpenAI says five to ten minutes."""
_KEPT_LONGER: Mapping[object, float] = {"24h": 86_400.0, "12h": 43_200.0, "30m": 1_800.0}
_TURNS: Mapping[Kind, str] = {"chat": "messages", "completions": "prompt"}
_SPAN = re.compile(r".{200}.*?(?<=[a-z.,])(?= [a-z])|.+", re.DOTALL)
"""Parts of a text that no token crosses: a space between two words always begins a token."""


@final
class Meter:
    """Counts for one simulator, and remembers the prompts it saw."""

    def __init__(self, tokenizer: Tokenizer, models: Models, clock: Clock | None = None) -> None:
        self._tokenizer, self._models = tokenizer, models
        self._prefixes = Prefixes(clock)

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
        count = self.counter(model)
        tokens = count_request(fields, count, kind)
        limit = self._models.window(model).context
        if limit is not None and tokens > limit:
            most = _longest(fields, count) or tokens if kind == "embeddings" else tokens
            if most > limit:
                raise problems.too_long(kind, limit, most, thinks=is_reasoning(model))
        service = self._models.tier(model, tier(fields))
        if kind == "embeddings":
            return Usage(tokens, tier=service)
        if tokens < _LEAST_CACHED:
            return Usage(tokens, tier=service)
        owner = f"{credential}\0{model}\0{fields.get('prompt_cache_key')}"
        known = self._known(kind, fields, owner, count)
        cached = (tokens if known is None else known) // _CACHE_STEP * _CACHE_STEP
        return Usage(tokens, cached=cached if cached >= _LEAST_CACHED else 0, tier=service)

    def counter(self, model: str) -> Count:
        """Return what counts the tokens of a text for `model`."""
        return partial(self._tokenizer.count, encoding=encoding_of(model))

    def check_bound(self, model: str, param: str, bound: int | None) -> None:
        """Raise the refusal of an output bound that the model cannot reach."""
        most = self._models.window(model).output
        if bound is not None and most is not None and bound > most:
            raise problems.too_many(param, bound, most)

    def forget(self) -> None:
        """Empty the prefix cache."""
        self._prefixes.forget()

    def _known(self, kind: Kind, fields: Mapping[str, Any], owner: str, count: Count) -> int | None:
        """Return the tokens of the part of a prompt that was seen before, None for all of it."""
        name = _TURNS.get(kind, "input")
        given = fields.get(name)
        turns: Sequence[Any] = given if is_list(given) else [given]
        head = [fields.get("tools"), fields.get("instructions"), fields.get("response_format")]
        segments = [msgspec.json.encode(head)]
        for turn in turns:
            segments += _segments(turn)
        common = self._prefixes.recall(owner, segments, _lifetime(fields))
        if common.segments == len(segments):
            return None
        whole, half = divmod(common.segments - 1, 2)
        if whole < 0:
            return 0
        text = segments[common.segments][: common.more].decode(errors="ignore") if half else ""
        seen = [*turns[:whole], *([_cut(turns[whole], text)] if half else [])]
        if not seen:
            return 0
        return count_request({**fields, name: seen if is_list(given) else seen[0]}, count, kind)


def _longest(fields: Mapping[str, Any], count: Count) -> int:
    """Return the tokens of the longest of several inputs, 0 when there is one alone."""
    given = fields.get("input")
    items = given if is_list(given) else []
    each = (count_request({"input": item}, count, "embeddings") for item in items)
    return max(each, default=0)


def _segments(turn: object) -> list[bytes]:
    """Return a message or an item in two: its frame, and the text in it."""
    if isinstance(turn, str):
        return [b"", turn.encode(errors="replace")]
    text = turn.get("content") if is_map(turn) else None
    if not is_map(turn) or not isinstance(text, str):
        return [msgspec.json.encode(turn), b""]
    frame = {key: value for key, value in turn.items() if key != "content"}
    return [msgspec.json.encode(frame), text.encode(errors="replace")]


def _cut(turn: object, text: str) -> object:
    return {**turn, "content": text} if is_map(turn) and "content" in turn else text


def _lifetime(fields: Mapping[str, Any]) -> float:
    ttl = section(fields, "prompt_cache_options").get("ttl")
    retention = fields.get("prompt_cache_retention")
    asked = (kept for kept in (ttl, retention) if isinstance(kept, str))
    return max((_KEPT_LONGER.get(kept, _KEPT) for kept in asked), default=_KEPT)
