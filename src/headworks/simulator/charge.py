"""What a request is charged at admission: the provider's guess, before a token is counted.

Measured on idle accounts as limit minus remaining. Chats and embeddings are guessed by their
characters; only `/responses` is charged by its real tokens.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from headworks.simulator.config import Era
from headworks.simulator.fields import is_list, is_map

_CHARACTERS = 4  # a token, for the guess
_MESSAGE = {"2024": 1, "2025": 3}
_IMAGE = 765
_UNBOUND = 16
_LONGEST_NUMBER = 9
_RESPONSE, _RESPONSE_WITH_TOOLS = 19, 217


class Charge(NamedTuple):
    """What one request takes from the buckets, besides one request."""

    tokens: int = 0
    images: int = 0


def charge(path: str, fields: Mapping[str, Any], tokens: int, era: Era) -> Charge | None:
    """Return the charge of a request at `path` whose prompt has so many `tokens`.

    None: this path has no limit by model.
    """
    guess = _GUESSES.get(path)
    return None if guess is None else guess(_Prompt(fields, tokens, era))


class _Prompt(NamedTuple):
    """What a guess may look at."""

    fields: Mapping[str, Any]
    tokens: int
    era: Era


def _chat(prompt: _Prompt) -> Charge:
    messages = prompt.fields.get("messages")
    listed = messages if is_list(messages) else []
    parts = list(_parts(listed))
    images = sum(1 for part in parts if not isinstance(part, str))
    characters = sum(len(part) for part in parts if isinstance(part, str))
    guess = _tokens(characters) + _MESSAGE[prompt.era] * len(listed) + _IMAGE * images
    bound = _number(prompt.fields, "max_completion_tokens") or _number(prompt.fields, "max_tokens")
    if prompt.era == "2024":
        return Charge(guess + (bound or _UNBOUND * (_number(prompt.fields, "n") or 1)), images)
    return Charge(max(guess, bound), images)


def _completion(prompt: _Prompt) -> Charge:
    guess = _tokens(_length(prompt.fields.get("prompt")))
    return Charge(
        guess + (_number(prompt.fields, "max_tokens") or _UNBOUND if prompt.era == "2024" else 0)
    )


def _inputs(prompt: _Prompt) -> Charge:
    return Charge(_tokens(_length(prompt.fields.get("input"))))


def _response(prompt: _Prompt) -> Charge:
    return Charge(
        prompt.tokens + (_RESPONSE_WITH_TOOLS if prompt.fields.get("tools") else _RESPONSE)
    )


def _picture(prompt: _Prompt) -> Charge:
    return Charge(prompt.tokens, _number(prompt.fields, "n") or 1)


_Guess = Callable[[_Prompt], Charge]
_GUESSES: Mapping[str, _Guess] = {
    "/v1/chat/completions": _chat,
    "/v1/completions": _completion,
    "/v1/embeddings": _inputs,
    "/v1/images/edits": _picture,
    "/v1/images/generations": _picture,
    "/v1/images/variations": _picture,
    "/v1/moderations": _inputs,
    "/v1/responses": _response,
}


def _tokens(characters: int) -> int:
    return -(-characters // _CHARACTERS)


def _number(fields: Mapping[str, Any], name: str) -> int:
    """Return a whole number, which a form gives as text."""
    value = fields.get(name)
    if isinstance(value, str) and value.isdecimal():
        return int(value[:_LONGEST_NUMBER])
    return value if isinstance(value, int) else 0


def _parts(messages: list[Any]) -> Iterator[str | None]:
    """Yield the texts of all messages, and None for each image."""
    for message in messages:
        content = message.get("content") if is_map(message) else None
        if isinstance(content, str):
            yield content
        for part in content if is_list(content) else []:
            if is_map(part) and "image_url" in part:
                yield None
            elif is_map(part) and isinstance(part.get("text"), str):
                yield part["text"]


def _length(given: object) -> int:
    """Return the characters of a text or of several; a token number counts as four."""
    if isinstance(given, str):
        return len(given)
    if isinstance(given, int):
        return _CHARACTERS
    return sum(_length(item) for item in given) if is_list(given) else 0
