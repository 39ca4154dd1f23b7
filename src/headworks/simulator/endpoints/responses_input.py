"""Reads the input of a response: a text or items, checked, kept with ids, and as the model sees it."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from headworks.simulator import problems
from headworks.simulator.endpoints.responses_problems import no_call, no_output
from headworks.simulator.fields import check_text, is_list, is_map, joined, needed, one_of
from headworks.simulator.problems import Refusal

Items = Sequence[Mapping[str, Any]]

_ROLES = ("assistant", "system", "developer", "user")
_HEARD = (
    "input_text",
    "input_image",
    "output_text",
    "refusal",
    "input_file",
    "computer_screenshot",
    "summary_text",
)
_SAID = ("output_text", "refusal")
_NEEDED: Mapping[str, Sequence[str]] = {
    "function_call": ("name", "arguments", "call_id"),
    "function_call_output": ("call_id", "output"),
    "custom_tool_call": ("name", "input", "call_id"),
    "custom_tool_call_output": ("call_id", "output"),
    "item_reference": ("id",),
    "reasoning": (),
    "compaction": ("encrypted_content",),
    "web_search_call": (),
    "file_search_call": (),
    "code_interpreter_call": (),
    "image_generation_call": (),
    "computer_call": ("call_id",),
    "computer_call_output": ("call_id", "output"),
    "local_shell_call": ("call_id",),
    "local_shell_call_output": (),
    "shell_call": ("call_id",),
    "shell_call_output": ("call_id", "output"),
    "apply_patch_call": ("call_id",),
    "apply_patch_call_output": ("call_id",),
    "mcp_list_tools": (),
    "mcp_call": (),
    "mcp_approval_request": (),
    "mcp_approval_response": ("approval_request_id", "approve"),
    "tool_search_call": (),
    "tool_search_output": (),
    "additional_tools": ("tools",),
    "configuration_update": (),
    "program": (),
    "program_output": (),
}
"""What each kind of item but a message has to say."""

_PREFIXES: Mapping[str, str] = {
    "message": "msg",
    "function_call": "fc",
    "function_call_output": "fco",
    "custom_tool_call": "ctc",
    "custom_tool_call_output": "ctco",
    "reasoning": "rs",
    "compaction": "cmp",
    "computer_call_output": "cuo",
}
_FIRST = 0x1000
"""The number in the id of the first item of an input: those of an output count from 0."""

_CALLS: Mapping[str, str] = {
    "function_call": "function call",
    "custom_tool_call": "custom tool call",
}
_SILENT = frozenset({"reasoning", "compaction", "mcp_list_tools", "configuration_update"})
"""Items of earlier turns that cost no prompt tokens."""


def checked(given: object, param: str = "input") -> Items:
    """Return the items of an input, a text being the message of a user.

    Raises:
        Refusal: It is neither, or one of its items is wrong.
    """
    if isinstance(given, str):
        return ({"role": "user", "content": given},)
    if not is_list(given):
        raise problems.wrong_field(param, "one of a string or array of input items", given)
    for index, item in enumerate(given):
        _check(item, f"{param}[{index}]")
    return given


def _check(item: object, at: str) -> None:
    if not is_map(item):
        raise problems.wrong_field(at, "an object", item)
    kind = item.get("type", "message")
    if kind == "message":
        _check_message(item, at)
    elif not isinstance(kind, str) or kind not in _NEEDED:
        known = joined(["message", *_NEEDED], "and")
        text = f"Invalid value: '{kind}'. Supported values are: {known}."
        raise Refusal(400, text, param=at, code="invalid_value")
    else:
        for name in _NEEDED[kind]:
            needed(item, name, f"{at}.")
        for name in ("call_id", "arguments", "name"):
            if item.get(name) is not None and name in _NEEDED[kind]:
                check_text(f"{at}.{name}", item[name])
        if is_list(item.get("output")) and kind in {
            "function_call_output",
            "custom_tool_call_output",
        }:
            _check_parts(item["output"], f"{at}.output", _HEARD)


def _check_message(item: Mapping[str, Any], at: str) -> None:
    needed(item, "role", f"{at}.")
    one_of(item, "role", _ROLES, f"{at}.")
    content = item.get("content")
    if isinstance(content, str):
        return
    if "content" not in item:
        raise problems.missing(f"{at}.content")
    if not is_list(content):
        wanted = "one of an array of objects or string"
        raise problems.wrong_field(f"{at}.content", wanted, content)
    _check_parts(content, f"{at}.content", _SAID if item["role"] == "assistant" else _HEARD)


def _check_parts(parts: Sequence[Any], at: str, known: Sequence[str]) -> None:
    for index, part in enumerate(parts):
        here = f"{at}[{index}]"
        if not is_map(part):
            raise problems.wrong_field(here, "an object", part)
        kind = needed(part, "type", f"{here}.")
        if kind not in known:
            text = f"Invalid value: '{kind}'. Supported values are: {joined(known, 'and')}."
            raise Refusal(400, text, param=here, code="invalid_value")
        if kind in {"input_text", "output_text", "summary_text"}:
            needed(part, "text", f"{here}.")
            check_text(f"{here}.text", part["text"])
        elif kind == "input_image":
            _check_image(part, here)


def _check_image(part: Mapping[str, Any], at: str) -> None:
    url = part.get("image_url")
    if url is None:
        if part.get("file_id") is None:
            raise problems.missing(f"{at}.image_url")
        return
    if not isinstance(url, str):
        raise problems.wrong_field(f"{at}.image_url", "an image URL", url)
    if not url.startswith(("data:", "http://", "https://")):
        param = f"{at}.image_url"
        text = f"Invalid '{param}'. Expected a valid URL, but got a value with an invalid format."
        raise Refusal(400, text, param=param, code="invalid_value")


def check_pairs(items: Items) -> None:
    """Raise the refusal of an output without its call, or of a call without its output."""
    open_calls: dict[str, str] = {}
    known: set[str] = set()
    for item in items:
        kind = str(item.get("type"))
        if kind in _CALLS:
            open_calls[item["call_id"]] = _CALLS[kind]
            known.add(item["call_id"])
        elif kind.removesuffix("_output") in _CALLS:
            if item["call_id"] not in known:
                raise no_call(item["call_id"], _CALLS[kind.removesuffix("_output")])
            open_calls.pop(item["call_id"], None)
    for call_id, kind in open_calls.items():
        raise no_output(call_id, kind)


def is_answered(items: Items) -> bool:
    """Return whether the last thing that the model hears is what one of its calls returned."""
    last = str(items[-1].get("type", "")) if items else ""
    return last.endswith(("_output", "mcp_approval_response"))


def kept(items: Items, serial: str) -> list[dict[str, Any]]:
    """Return items as they are listed later: whole, and each with an id."""
    listed: list[dict[str, Any]] = []
    for index, item in enumerate(items, _FIRST):
        kind, name = item.get("type") or "message", item.get("id")
        if not isinstance(name, str):
            name = f"{_PREFIXES.get(kind, 'item')}_{serial[:44]}{index:04x}"
        whole = {**item, "id": name, "type": kind}
        if kind == "message":
            whole["content"] = _parts(item, _kept_part)
        if kind not in _SILENT:
            whole.setdefault("status", "completed")
        listed.append(dict(sorted(whole.items(), key=_rank)))
    return listed


def _rank(pair: tuple[str, Any]) -> tuple[int, str]:
    first = ("id", "type", "status")
    return (first.index(pair[0]) if pair[0] in first else len(first), pair[0])


def heard(items: Items) -> list[dict[str, Any]]:
    """Return items as the model sees them, whether they were sent or stored: without ids.

    What was compacted is no longer seen.
    """
    places = [place for place, item in enumerate(items) if item.get("type") == "compaction"]
    seen = items[places[-1] :] if places else items
    return [_heard(item) for item in seen if item.get("type") not in _SILENT]


def _heard(item: Mapping[str, Any]) -> dict[str, Any]:
    if item.get("type", "message") == "message":
        parts = _parts(item, _heard_part)
        is_text = len(parts) == 1 and "text" in parts[0]
        return {"role": item["role"], "content": parts[0]["text"] if is_text else parts}
    bare = {name: item[name] for name in ("type", "call_id", "name") if name in item}
    arguments = item.get("arguments", item.get("input", item.get("code")))
    output = item.get("output")
    if arguments is not None:
        bare["arguments"] = arguments
    return bare if output is None else {**bare, "output": output}


def _parts(
    item: Mapping[str, Any], form: Callable[[Mapping[str, Any]], dict[str, Any]]
) -> list[dict[str, Any]]:
    content = item["content"]
    if isinstance(content, str):
        kind = "output_text" if item["role"] == "assistant" else "input_text"
        return [form({"type": kind, "text": content})]
    return [form(part) for part in content]


def _heard_part(part: Mapping[str, Any]) -> dict[str, Any]:
    if "text" in part:
        return {"type": part["type"], "text": part["text"]}
    return {name: value for name, value in part.items() if value is not None}


def _kept_part(part: Mapping[str, Any]) -> dict[str, Any]:
    if part["type"] == "output_text":
        return {"type": "output_text", "annotations": [], "logprobs": [], **part}
    if part["type"] == "input_image":
        return {"type": "input_image", "detail": "auto", "file_id": None, "image_url": None, **part}
    return dict(part)


def says_json(fields: Mapping[str, Any], prompt: Items) -> bool:
    """Return whether a prompt, as the model sees it, speaks of JSON as JSON mode demands."""
    spoken = [str(fields.get("instructions"))]
    for item in prompt:
        content = item.get("content", ())
        parts = [{"text": content}] if isinstance(content, str) else content
        spoken += [str(part.get("text")) for part in parts]
    return "json" in " ".join(spoken).lower()
