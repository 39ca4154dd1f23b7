"""POST /v1/completions: text goes on as before there were chats."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import zip_longest
from typing import Any, final

import msgspec
from typing_extensions import override

from headworks.simulator import problems
from headworks.simulator.answers import Ask, Piece, Split, compose, digest
from headworks.simulator.asked import Asked
from headworks.simulator.fields import (
    check_known,
    choices,
    flag,
    is_list,
    is_map,
    number,
    section,
    stops,
    text,
    whole_number,
)
from headworks.simulator.logprobs import probabilities
from headworks.simulator.problems import Refusal
from headworks.simulator.provider import Provider
from headworks.simulator.reply import Reply, Step

_KNOWN = frozenset(
    {
        *("best_of", "echo", "frequency_penalty", "logit_bias", "logprobs", "max_tokens", "model"),
        *("n", "presence_penalty", "prompt", "seed", "stop", "stream", "stream_options", "suffix"),
        *("temperature", "top_p", "user"),
    }
)
_CHATTY = re.compile(r"gpt-(?!3\.5-turbo-instruct)\d|o\d|chatgpt|chat-")
_USUAL_LIMIT, _MOST_LOGPROBS, _MOST_CANDIDATES = 16, 5, 20
_PROMPTS = "one of a string, array of strings, array of integers, or array of integer arrays"
_Told = dict[str, list[Any]]
_encode = msgspec.json.encode


@dataclass(frozen=True, slots=True)
class _Choice:
    """One of several ways to go on: what is repeated of the prompt, and what is new."""

    before: Sequence[Piece]
    pieces: Sequence[Piece]
    is_cut: bool
    key: str

    @property
    def finish(self) -> str:
        return "length" if self.is_cut else "stop"


@final
class CompletionsReply(Reply):
    """The answer to one request: for each prompt as many choices as are wanted."""

    def __init__(self, provider: Provider, asked: Asked) -> None:
        fields, meter = asked.fields, provider.meter
        model = provider.served_model(asked, "completions")
        _check(fields)
        limit = _limit(fields)
        prompt = meter.measure("completions", fields, asked.credential)
        window = provider.models.window(model).context
        if window is not None and prompt.input + limit > window:
            raise _too_long(window, prompt.input, limit)
        self._top: int | None = fields.get("logprobs")
        ask = Ask(
            model,
            digest(fields, provider.config.seed),
            limit=limit,
            stop=stops(fields),
            size=provider.config.answer_tokens,
        )
        self._choices, made = _made(fields, ask, partial(meter.split, model=model))
        self.usage = msgspec.structs.replace(prompt, output=made, cached=0, tier="default")
        options = section(fields, "stream_options")
        self._wants_usage = options.get("include_usage") is True
        self.id, self._created, self._model = f"cmpl-{asked.serial[:29]}", asked.created, model

    @override
    def whole(self, *, usage: bool) -> bytes:
        """Return the `text_completion` object."""
        listed = [
            {
                "text": _joined([*choice.before, *choice.pieces]),
                "index": index,
                "logprobs": self._told(choice, [*choice.before, *choice.pieces], 0),
                "finish_reason": choice.finish,
            }
            for index, choice in enumerate(self._choices)
        ]
        body = {**self._head(), "model": self._model, "choices": listed}
        return _encode({**body, "usage": self._usage()} if usage else body)

    @override
    def steps(self, *, usage: bool) -> Iterator[Step]:
        """Yield chunks: choices take turns; a choice that was cut ends with its last token."""
        rows = [list(self._parts(index, choice)) for index, choice in enumerate(self._choices)]
        for turn in zip_longest(*rows):
            yield from (step for step in turn if step is not None)
        for index, choice in enumerate(self._choices):
            if not choice.is_cut or not choice.pieces:
                yield Step("close", self._chunk(index, "", None, choice.finish))
        if self._wants_usage and usage:
            last: dict[str, Any] = {**self._head(), "choices": [], "model": self._model}
            last["usage"] = self._usage()
            yield Step("usage", b"data: " + _encode(last) + b"\n\n")
        yield Step("done", b"data: [DONE]\n\n")

    @override
    def error(self, refusal: Refusal, sent: int) -> bytes:
        """Return an event that ends the stream as failed."""
        return b"data: " + _encode({"error": refusal.error}) + b"\n\n"

    def _parts(self, index: int, choice: _Choice) -> Iterator[Step]:
        if choice.before:
            told = self._told(choice, choice.before, 0)
            yield Step("open", self._chunk(index, _joined(choice.before), told))
        offset, last = len(_joined(choice.before)), len(choice.pieces) - 1
        for place, piece in enumerate(choice.pieces):
            told = self._told(choice, [piece], offset)
            finish = choice.finish if choice.is_cut and place == last else None
            yield Step("token", self._chunk(index, piece.text, told, finish), piece.tokens)
            offset += len(piece.text)

    def _chunk(self, index: int, said: str, told: _Told | None, finish: str | None = None) -> bytes:
        choice = {"text": said, "index": index, "logprobs": told, "finish_reason": finish}
        chunk = {**self._head(), "choices": [choice], "model": self._model}
        if self._wants_usage:
            chunk["usage"] = None
        return b"data: " + _encode(chunk) + b"\n\n"

    def _head(self) -> dict[str, Any]:
        return {"id": self.id, "object": "text_completion", "created": self._created}

    def _usage(self) -> dict[str, int]:
        usage = self.usage
        return {
            "prompt_tokens": usage.input,
            "completion_tokens": usage.output,
            "total_tokens": usage.input + usage.output,
        }

    def _told(self, choice: _Choice, pieces: Sequence[Piece], offset: int) -> _Told | None:
        """Return the probabilities of some pieces of a choice, the first of which stands at `offset`."""
        if self._top is None:
            return None
        told = _Told(tokens=[], token_logprobs=[], top_logprobs=[], text_offset=[])
        for piece in pieces:
            for entry in probabilities([piece], self._top, f"{choice.key}:{offset}")[0]:
                is_first = offset == 0 and bool(choice.before) and not told["tokens"]
                top = {one["token"]: one["logprob"] for one in entry["top_logprobs"]}
                told["tokens"].append(entry["token"])
                told["token_logprobs"].append(None if is_first else entry["logprob"])
                told["top_logprobs"].append(None if is_first or not self._top else top)
                told["text_offset"].append(offset)
            offset += len(piece.text)
        return told


def _made(fields: Mapping[str, Any], ask: Ask, split: Split) -> tuple[list[_Choice], int]:
    """Return all choices, and the tokens of all candidates among which they were the best."""
    wanted, made = choices(fields), 0
    candidates = max(wanted, fields.get("best_of") or 1)
    found: list[_Choice] = []
    for place, prompt in enumerate(_prompts(fields)):
        before = split(prompt) if fields.get("echo") and prompt else []
        for index in range(candidates):
            answer = compose(ask, place * candidates + index, split)
            made += answer.tokens
            if index < wanted:
                key = f"{ask.key}:{place}:{index}"
                found.append(_Choice(before, answer.pieces, answer.is_cut, key))
    return found, made


def _prompts(fields: Mapping[str, Any]) -> Sequence[str]:
    """Return the prompts as texts, "" for each that came as token numbers."""
    given = fields.get("prompt")
    if isinstance(given, str):
        return [given]
    if not is_list(given) or all(isinstance(item, int) for item in given):
        return [""]
    return [item if isinstance(item, str) else "" for item in given]


def _limit(fields: Mapping[str, Any]) -> int:
    limit = whole_number(fields, "max_tokens", least=0)
    return _USUAL_LIMIT if limit is None else limit


def _check(fields: Mapping[str, Any]) -> None:
    model = str(fields["model"])
    if _CHATTY.match(model.rpartition("/")[2].removeprefix("ft:")):
        message = (
            "This is a chat model and not supported in the v1/completions endpoint. Did you mean to "
            "use v1/chat/completions?"
        )
        raise Refusal(404, message, param="model")
    check_known(fields, _KNOWN)
    _check_prompt(fields.get("prompt"))
    whole_number(fields, "max_tokens", least=0)
    number(fields, "temperature", 0, 2)
    number(fields, "top_p", 0, 1)
    number(fields, "presence_penalty", -2, 2)
    number(fields, "frequency_penalty", -2, 2)
    whole_number(fields, "logprobs", _MOST_LOGPROBS, least=0)
    text(fields, "suffix")
    text(fields, "user")
    for name in ("echo", "stream"):
        flag(fields, name)
    bias = fields.get("logit_bias")
    if bias is not None and not is_map(bias):
        raise problems.wrong_field("logit_bias", "an object", bias)
    _check_candidates(fields)


def _check_candidates(fields: Mapping[str, Any]) -> None:
    best = whole_number(fields, "best_of", _MOST_CANDIDATES)
    if best is None:
        return
    if best < choices(fields):
        message = f"You requested that the server return more choices than it will generate (HINT: you must set 'n' (currently {choices(fields)}) to be at most 'best_of' (currently {best}), or omit either parameter if you don't specifically want to use them.)"
        raise Refusal(400, message, param="best_of")
    if fields.get("stream") and best > choices(fields):
        message = "Cannot stream results with best_of > n."
        raise Refusal(400, message, param="best_of")


def _check_prompt(given: object) -> None:
    if given is None or isinstance(given, str):
        return
    if not is_list(given):
        raise problems.wrong_field("prompt", _PROMPTS, given)
    if not given:
        raise problems.empty_array("prompt")
    is_tokens = all(isinstance(item, int) for item in given)
    is_lists = all(is_list(item) and all(isinstance(n, int) for n in item) for item in given)
    if not is_tokens and not is_lists and not all(isinstance(item, str) for item in given):
        raise problems.wrong_field("prompt", _PROMPTS, given)


def _too_long(window: int, prompt: int, limit: int) -> Refusal:
    message = (
        f"This model's maximum context length is {window} tokens, however you requested "
        f"{prompt + limit} tokens ({prompt} in your prompt; {limit} for the completion). Please "
        "reduce your prompt; or completion length."
    )
    return Refusal(400, message)


def _joined(pieces: Sequence[Piece]) -> str:
    return "".join(piece.text for piece in pieces)
