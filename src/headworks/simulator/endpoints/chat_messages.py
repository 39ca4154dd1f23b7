"""The messages of a chat: what each must have, what its parts may be, and what must follow what."""

import base64
import binascii
from collections.abc import Mapping, Sequence
from typing import Any

from headworks.simulator import problems
from headworks.simulator.fields import (
    check_name,
    check_text,
    is_list,
    is_map,
    needed,
    objects,
    one_of,
)
from headworks.simulator.problems import Refusal

Messages = Sequence[Mapping[str, Any]]

_ROLES = ("system", "assistant", "user", "function", "tool", "developer")
_PARTS = ("text", "image_url", "input_audio", "refusal", "audio", "file")
_DETAILS = ("auto", "low", "high", "original")
_INSTEAD = ("tool_calls", "function_call", "refusal", "audio")
"""What an assistant may have said in the place of content."""
_IMAGES = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF8")
_HEAD = 24  # characters of base64 that hold the 12 bytes which tell WebP


def check_messages(messages: Messages) -> None:
    """Refuse the first message that is malformed."""
    for index, message in enumerate(messages):
        at = f"messages[{index}]"
        needed(message, "role", f"{at}.")
        role = one_of(message, "role", _ROLES, f"{at}.")
        _check_content(message, at, role or "")
        if message.get("name") is not None:
            check_name(f"{at}.name", message["name"])
        if role == "tool":
            check_text(f"{at}.tool_call_id", needed(message, "tool_call_id", f"{at}."))
        if role == "assistant" and message.get("tool_calls") is not None:
            _check_calls(message["tool_calls"], f"{at}.tool_calls")


def check_order(messages: Messages) -> None:
    """Refuse the first message without content, and the first that does not belong where it is."""
    for index, message in enumerate(messages):
        if message.get("content") is None and not _is_complete(message):
            text = "Invalid value for 'content': expected a string, got null."
            raise Refusal(400, text, param=f"messages.[{index}].content")
    waiting: dict[str, None] = {}
    since = -1
    for index, message in enumerate(messages):
        if message["role"] == "tool":
            _check_result(messages, index, waiting, since)
            waiting.pop(message["tool_call_id"], None)
            continue
        if waiting:
            raise _unanswered(waiting, index)
        calls = message.get("tool_calls") if message["role"] == "assistant" else None
        waiting = dict.fromkeys(call["id"] for call in calls or ())
        since = index if calls else -1
    if waiting:
        raise _unanswered(waiting, len(messages))


def mentions(messages: Messages, word: str) -> bool:
    """Return whether any message says the word, in capitals or not."""
    return any(word in text.lower() for message in messages for text in _texts(message))


def _texts(message: Mapping[str, Any]) -> list[str]:
    content = message.get("content")
    if isinstance(content, str):
        return [content]
    parts: Sequence[Any] = content if is_list(content) else ()
    return [part["text"] for part in parts if isinstance(part.get("text"), str)]


def _is_complete(message: Mapping[str, Any]) -> bool:
    if message["role"] == "assistant":
        return any(message.get(name) is not None for name in _INSTEAD)
    return message["role"] == "function" and "content" in message


def _check_content(message: Mapping[str, Any], at: str, role: str) -> None:
    content = message.get("content")
    if content is None:
        if role != "developer":
            return
        if "content" not in message:
            raise problems.missing(f"{at}.content")
    if isinstance(content, str) or content == []:
        return
    if not is_list(content):
        expected = "one of a string or array of objects"
        raise problems.wrong_field(f"{at}.content", expected, content)
    for place, part in enumerate(objects(content, f"{at}.content")):
        _check_part(part, f"{at}.content[{place}]")
        if part["type"] == "image_url" and role != "user":
            text = (
                f"Invalid '{at}'. Image URLs are only allowed for messages with role 'user', but this "
                f"message with role '{role}' contains an image URL."
            )
            raise Refusal(400, text, param=at, code="invalid_value")


def _check_part(part: Mapping[str, Any], at: str) -> None:
    needed(part, "type", f"{at}.")
    kind = one_of(part, "type", _PARTS, f"{at}.") or ""
    value = needed(part, kind, f"{at}.")
    if kind in {"text", "refusal"}:
        check_text(f"{at}.{kind}", value)
    elif not is_map(value):
        raise problems.wrong_field(f"{at}.{kind}", "an object", value)
    elif kind == "image_url":
        url = needed(value, "url", f"{at}.image_url.")
        check_text(f"{at}.image_url.url", url)
        one_of(value, "detail", _DETAILS, f"{at}.image_url.")
        _check_image(url, f"{at}.image_url.url")


def _check_image(url: str, param: str) -> None:
    """Refuse what is no address, and a picture in the request that is none; fetch nothing."""
    if url.startswith(("https://", "http://")):
        return
    head, comma, content = url.partition(",")
    if not comma or not head.startswith("data:") or not head.endswith(";base64"):
        text = f"Invalid '{param}'. Expected a valid URL, but got a value with an invalid format."
        raise Refusal(400, text, param=param, code="invalid_value")
    try:
        begins = base64.b64decode(content[:_HEAD])
    except (binascii.Error, ValueError):
        begins = b""
    if begins.startswith(_IMAGES) or (begins[:4] == b"RIFF" and begins[8:12] == b"WEBP"):
        return
    text = (
        "You uploaded an unsupported image. Please make sure your image has of one the following "
        "formats: ['png', 'jpeg', 'gif', 'webp']."
    )
    raise Refusal(400, text, code="invalid_image_format")


def _check_calls(calls: object, at: str) -> None:
    for place, call in enumerate(objects(calls, at)):
        check_text(f"{at}[{place}].id", needed(call, "id", f"{at}[{place}]."))
        needed(call, "type", f"{at}[{place}].")
        kind = one_of(call, "type", ("function", "custom"), f"{at}[{place}].") or ""
        if not is_map(needed(call, kind, f"{at}[{place}].")):
            raise problems.wrong_field(f"{at}[{place}].{kind}", "an object", call[kind])


def _check_result(messages: Messages, index: int, waiting: Mapping[str, None], since: int) -> None:
    """Refuse the result of a tool that was not called just before."""
    if since < 0:
        text = (
            "Invalid parameter: messages with role 'tool' must be a response to a preceeding message "
            "with 'tool_calls'."
        )
        raise Refusal(400, text, param=f"messages.[{index}].role")
    name = messages[index]["tool_call_id"]
    called = {call["id"] for call in messages[since]["tool_calls"]}
    if name not in waiting and name not in called:
        text = (
            f"Invalid parameter: 'tool_call_id' of '{name}' not found in 'tool_calls' of previous "
            "message."
        )
        raise Refusal(400, text, param=f"messages.[{index}].tool_call_id")


def _unanswered(waiting: Mapping[str, None], index: int) -> Refusal:
    text = (
        "An assistant message with 'tool_calls' must be followed by tool messages responding to each "
        "'tool_call_id'. The following tool_call_ids did not have response messages: "
        f"{', '.join(waiting)}"
    )
    return Refusal(400, text, param=f"messages.[{index}].role")
