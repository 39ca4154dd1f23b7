"""The tools of a response: what is said of them, how they are understood, which are called."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from headworks.simulator import problems
from headworks.simulator.answers import Tool
from headworks.simulator.chance import Chance
from headworks.simulator.endpoints.responses_problems import no_such_tool
from headworks.simulator.endpoints.responses_strict import check_schema, check_strict, made_strict
from headworks.simulator.fields import (
    check_name,
    flag,
    is_list,
    is_map,
    needed,
    objects,
    one_of,
)
from headworks.simulator.problems import Refusal

Tools = Sequence[Mapping[str, Any]]

_MOST_TOOLS = 128
_WEB = (
    "web_search",
    "web_search_2025_08_26",
    "web_search_preview",
    "web_search_preview_2025_03_11",
)
_CALLED = ("function", "custom", *_WEB, "file_search", "code_interpreter")
_KNOWN = (
    *_CALLED,
    *("image_generation", "mcp", "computer", "computer_use_preview", "local_shell", "shell"),
    *("apply_patch", "namespace", "tool_search", "programmatic_tool_calling"),
)
_PLACE = {"type": "approximate", "city": None, "country": "US", "region": None, "timezone": None}
_USUAL: Mapping[str, Mapping[str, Any]] = {
    **{name: {"filters": None, "search_context_size": "medium"} for name in _WEB[:2]},
    **{name: {"search_context_size": "medium"} for name in _WEB[2:]},
    "file_search": {
        "filters": None,
        "max_num_results": 20,
        "ranking_options": {"ranker": "auto", "score_threshold": 0.0},
    },
    "image_generation": {
        "background": "auto",
        "moderation": "auto",
        "n": 1,
        "output_compression": 100,
        "output_format": "png",
        "quality": "auto",
        "size": "auto",
    },
    "mcp": {
        "allowed_tools": None,
        "headers": None,
        "require_approval": "always",
        "server_description": None,
    },
    "tool_search": {"description": None, "parameters": None},
    "custom": {"format": {"type": "text"}},
}
"""What tools of a kind are unless the request says otherwise."""

_CHOICES = ("none", "auto", "required")


def check_tools(fields: Mapping[str, Any], name: str) -> None:
    """Raise the refusal of the first tool that is wrong."""
    given = fields[name]
    if given is None or given == []:
        return
    for index, tool in enumerate(objects(given, name, _MOST_TOOLS)):
        _check(tool, f"{name}[{index}]")


def _check(tool: Mapping[str, Any], at: str) -> None:
    needed(tool, "type", f"{at}.")
    kind = one_of(tool, "type", _KNOWN, f"{at}.")
    check = _CHECKS.get(str(kind))
    if check is not None:
        check(tool, at)


def _check_function(tool: Mapping[str, Any], at: str) -> None:
    check_name(f"{at}.name", needed(tool, "name", f"{at}."))
    parameters = tool.get("parameters")
    if parameters is not None and not is_map(parameters):
        raise problems.wrong_field(f"{at}.parameters", "an object", parameters)
    check_schema(parameters or {}, tool["name"], f"{at}.parameters", "function")
    if flag({f"{at}.strict": tool.get("strict")}, f"{at}.strict"):
        check_strict(parameters or {}, tool["name"], f"{at}.parameters", "function")


def _check_custom(tool: Mapping[str, Any], at: str) -> None:
    check_name(f"{at}.name", needed(tool, "name", f"{at}."))


def _check_web(tool: Mapping[str, Any], at: str) -> None:
    place = tool.get("user_location")
    if place is not None and not is_map(place):
        raise problems.wrong_field(f"{at}.user_location", "an object", place)


def _check_file_search(tool: Mapping[str, Any], at: str) -> None:
    names = needed(tool, "vector_store_ids", f"{at}.")
    if not is_list(names):
        raise problems.wrong_field(f"{at}.vector_store_ids", "an array of strings", names)


def _check_interpreter(tool: Mapping[str, Any], at: str) -> None:
    box = needed(tool, "container", f"{at}.")
    if not isinstance(box, str) and not is_map(box):
        raise problems.wrong_field(f"{at}.container", "one of a string or object", box)


def _check_namespace(tool: Mapping[str, Any], at: str) -> None:
    check_name(f"{at}.name", needed(tool, "name", f"{at}."))
    for index, inner in enumerate(objects(needed(tool, "tools", f"{at}."), f"{at}.tools")):
        _check(inner, f"{at}.tools[{index}]")


def _check_mcp(tool: Mapping[str, Any], at: str) -> None:
    needed(tool, "server_label", f"{at}.")
    if tool.get("server_url") is None and tool.get("connector_id") is None:
        raise problems.missing(f"{at}.server_url")


_CHECKS: Mapping[str, Callable[[Mapping[str, Any], str], None]] = {
    "function": _check_function,
    "custom": _check_custom,
    **dict.fromkeys(_WEB, _check_web),
    "file_search": _check_file_search,
    "code_interpreter": _check_interpreter,
    "mcp": _check_mcp,
    "namespace": _check_namespace,
}


def check_choice(fields: Mapping[str, Any]) -> None:
    """Raise the refusal of a choice that cannot be made among the tools, which are checked."""
    choice: Any = fields.get("tool_choice")
    tools: Tools = fields.get("tools") or ()
    if choice is None or isinstance(choice, str):
        one_of(fields, "tool_choice", _CHOICES)
        if choice == "required" and not tools:
            text = "Tool choice 'required' must be specified with 'tools' parameter."
            raise Refusal(400, text, param="tool_choice")
        return
    if not is_map(choice):
        wanted = "one of a string or object"
        raise problems.wrong_field("tool_choice", wanted, choice)
    kind = needed(choice, "type", "tool_choice.")
    if kind == "allowed_tools":
        one_of(choice, "mode", _CHOICES[1:], "tool_choice.")
        named = objects(needed(choice, "tools", "tool_choice."), "tool_choice.tools")
    else:
        named = [choice]
    for one in named:
        if not any(_is_meant(one, tool) for tool in tools):
            raise no_such_tool(str(one.get("name") or one.get("type")))


def _is_meant(choice: Mapping[str, Any], tool: Mapping[str, Any]) -> bool:
    if choice.get("type") != tool["type"]:
        return False
    label = "server_label" if tool["type"] == "mcp" else "name"
    return tool["type"] not in {"function", "custom", "mcp"} or choice.get(label) == tool.get(label)


def understood(tool: Mapping[str, Any]) -> dict[str, Any]:
    """Return a tool as the response tells it back: with all that goes without saying."""
    kind = tool["type"]
    if kind == "function":
        return _function(tool)
    whole = {**_USUAL.get(kind, {}), **tool}
    if kind in _WEB:
        whole["user_location"] = {**_PLACE, **(tool.get("user_location") or {})}
    if kind == "mcp" and isinstance(tool.get("server_url"), str):
        scheme, _, rest = tool["server_url"].partition("://")
        whole["server_url"] = f"{scheme}://{rest.partition('/')[0]}/<redacted>"
        whole.pop("authorization", None)
    if kind == "namespace" and is_list(tool.get("tools")):
        whole["tools"] = [understood(one) for one in tool["tools"]]
    return {"type": whole.pop("type"), **dict(sorted(whole.items()))}


def _function(tool: Mapping[str, Any]) -> dict[str, Any]:
    parameters, strict = tool.get("parameters"), tool.get("strict")
    if strict is None:
        stricter = made_strict(parameters or {"type": "object", "properties": {}})
        parameters, strict = stricter or parameters, stricter is not None
    whole = {
        "description": tool.get("description"),
        "output_schema": tool.get("output_schema"),
        **{name: value for name, value in tool.items() if name != "type"},
        "parameters": parameters,
        "strict": strict,
    }
    return {"type": "function", **dict(sorted(whole.items()))}


def chosen(fields: Mapping[str, Any], key: str, *, is_answered: bool) -> Tools:
    """Return the tools that will be called, in their order; several only if they are the caller's.

    What is asked for is done; else tools are called until they have answered.
    """
    choice: Any = fields.get("tool_choice") or "auto"
    tools = [tool for tool in fields.get("tools") or () if tool["type"] in _CALLED]
    if is_map(choice):
        named = choice["tools"] if choice["type"] == "allowed_tools" else [choice]
        tools = [tool for tool in tools if any(_is_meant(one, tool) for one in named)]
        choice = choice.get("mode", "auto") if choice["type"] == "allowed_tools" else "this"
    if not tools or choice == "none" or (choice == "auto" and is_answered):
        return ()
    chance = Chance(key, "tool")
    first = chance.pick(tools)
    others = [tool for tool in tools if tool is not first and _is_callers(tool)]
    may_two = choice != "this" and fields.get("parallel_tool_calls") is not False
    if not others or not may_two or not _is_callers(first) or chance.below(2):
        return (first,)
    return (first, chance.pick(others))


def _is_callers(tool: Mapping[str, Any]) -> bool:
    return tool["type"] in {"function", "custom"}


def as_function(tool: Mapping[str, Any]) -> Tool:
    """Return a function as answers know it: its arguments are made under the stricter schema."""
    told = _function(tool)
    return Tool(tool["name"], told["parameters"] or {})
