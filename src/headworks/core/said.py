"""What a whole answer says: the output that its provider bills for, without the JSON around it."""

from collections.abc import Iterator

import msgspec

from headworks.core.shapes import Fields, as_fields, as_list

_TEXTS = ("text", "refusal", "name", "arguments", "input", "output", "code", "reasoning_content")
"""Where an answer has words of the model's, in messages, parts, tool calls and items."""


def said(whole: bytes) -> str:
    """Return the output of an answer; all of it as it is, where that cannot be told apart."""
    try:
        answer = as_fields(msgspec.json.decode(whole))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        answer = {}
    choices, items = as_list(answer.get("choices")), as_list(answer.get("output"))
    if not (choices or items) or b'"audio"' in whole:
        return whole.decode("utf-8", "replace")
    texts = [*_choices(choices), *(text for item in items for text in _words(as_fields(item)))]
    return "\n".join(texts)


def _choices(choices: list[object]) -> Iterator[str]:
    for choice in map(as_fields, choices):
        yield from _words(choice)
        message = as_fields(choice.get("message"))
        yield from _words(message)
        for call in map(as_fields, as_list(message.get("tool_calls"))):
            yield from _words(as_fields(call.get("function") or call.get("custom")))
        yield from _words(as_fields(message.get("function_call")))


def _words(thing: Fields) -> Iterator[str]:
    """Yield the texts of a message, a part, a call or an item, and of the parts in it."""
    for name in _TEXTS:
        if (text := thing.get(name)) and isinstance(text, str):
            yield text
    for name in ("content", "summary"):
        content = thing.get(name)
        if content and isinstance(content, str):
            yield content
        for part in as_list(content):
            yield from _words(as_fields(part))
