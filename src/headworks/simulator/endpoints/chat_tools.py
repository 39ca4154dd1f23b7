"""The tools of a chat: what may be said of them, and which of them an answer calls."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from headworks.simulator import problems
from headworks.simulator.answers import Tool
from headworks.simulator.chance import Chance
from headworks.simulator.endpoints.responses_strict import check_strict
from headworks.simulator.fields import (
    check_name,
    check_text,
    flag,
    is_list,
    is_map,
    joined,
    needed,
    objects,
    one_of,
    section,
)
from headworks.simulator.problems import Refusal

_MOST_TOOLS = 128
_KINDS = ("function", "custom")
_MODES = ("none", "auto", "required")
_LEGACY_MODES = ("none", "auto")
_PARALLEL = 4
"""Of so many questions that leave it open, one gets two calls at once."""
_ASKING = frozenset({"user", "system", "developer"})


class Choice(NamedTuple):
    """Which tools may be called, and how it was said.

    Attributes:
        mode: `none`, `auto`, `required`, or `named` where one tool was demanded.
        is_legacy: Whether they came as `functions`.
    """

    mode: str
    tools: Sequence[Tool]
    is_legacy: bool = False


def check_tools(fields: Mapping[str, Any]) -> None:
    """Refuse tools that are none, and a choice of a tool that is not there."""
    given = fields.get("tools")
    if given is not None:
        for index, tool in enumerate(objects(given, "tools", _MOST_TOOLS)):
            _check_tool(tool, f"tools[{index}]")
    _check_choice(fields)
    if flag(fields, "parallel_tool_calls") is not None and given is None:
        raise _only_with_tools("parallel_tool_calls")


def check_functions(fields: Mapping[str, Any]) -> None:
    """Refuse the forerunners of tools when they are none."""
    given, wanted = fields.get("functions"), fields.get("function_call")
    if given is not None:
        if not is_list(given):
            raise problems.wrong_field("functions", "an array of function definitions", given)
        for index, function in enumerate(objects(given, "functions", _MOST_TOOLS)):
            check_name(f"functions[{index}].name", needed(function, "name", f"functions[{index}]."))
            _check_schema(function, f"functions[{index}].parameters")
    if wanted is None:
        return
    if given is None:
        message = (
            "Invalid value for 'function_call': 'function_call' is only allowed when 'functions' are "
            "specified."
        )
        raise Refusal(400, message, param="function_call")
    if not is_map(wanted):
        one_of(fields, "function_call", _LEGACY_MODES)
    else:
        check_text("function_call.name", needed(wanted, "name", "function_call."))
        if wanted["name"] not in {tool.name for tool in _legacy(fields)}:
            raise _no_function(wanted["name"])


def choice(fields: Mapping[str, Any]) -> Choice:
    """Return what a request that was checked wants called."""
    if fields.get("functions") and not fields.get("tools"):
        tools, wanted = tuple(_legacy(fields)), fields.get("function_call")
        if is_map(wanted):
            return Choice("named", _by_name(tools, [wanted["name"]]), is_legacy=True)
        return Choice(wanted or "auto", tools, is_legacy=True)
    tools, wanted = tuple(_tools(fields.get("tools"))), fields.get("tool_choice")
    if not is_map(wanted):
        return Choice(wanted or "auto", tools)
    allowed = wanted.get("allowed_tools")
    if is_map(allowed):
        names = [_name(tool) for tool in allowed["tools"]]
        return Choice(str(allowed.get("mode", "auto")), _by_name(tools, names))
    return Choice("named", _by_name(tools, [_name(wanted)]))


def called(fields: Mapping[str, Any], wanted: Choice, key: str) -> Sequence[Tool]:
    """Return the tools that an answer calls, in their order; none for words.

    Where the model is free it calls when somebody asks, and speaks once a tool has answered. Where
    it must call it prefers what it has not called since somebody asked, so that loops end.
    """
    messages: Sequence[Mapping[str, Any]] = fields["messages"]
    if not wanted.tools or wanted.mode == "none":
        return ()
    if wanted.mode == "named":
        return wanted.tools
    if wanted.mode == "auto" and messages[-1].get("role") not in _ASKING:
        return ()
    done = set(_called_since_asked(messages))
    fresh = [tool for tool in wanted.tools if tool.name not in done] or wanted.tools
    chance = Chance(key, "tool")
    first = chance.pick(fresh)
    return (first, *(chance.pick(fresh) for _ in range(_others(fields, wanted, chance))))


def _others(fields: Mapping[str, Any], wanted: Choice, chance: Chance) -> int:
    """Return how many more calls are made at once; somebody who asks for several gets several."""
    parallel = fields.get("parallel_tool_calls")
    if wanted.is_legacy or parallel is False:
        return 0
    if parallel is True:
        return 1 + chance.below(2)
    return int(chance.below(_PARALLEL) == 0)


def _called_since_asked(messages: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for message in reversed(messages):
        if message.get("role") == "user":
            return
        if message.get("role") == "assistant":
            yield from map(_name, message.get("tool_calls") or ())


def _check_tool(tool: Mapping[str, Any], at: str) -> None:
    needed(tool, "type", f"{at}.")
    kind = one_of(tool, "type", _KINDS, f"{at}.") or "function"
    inner = needed(tool, kind, f"{at}.")
    if not is_map(inner):
        raise problems.wrong_field(f"{at}.{kind}", "an object", inner)
    check_name(f"{at}.{kind}.name", needed(inner, "name", f"{at}.{kind}."))
    if kind == "function":
        _check_schema(inner, f"{at}.function.parameters")


def _check_schema(function: Mapping[str, Any], param: str) -> None:
    schema, name = function.get("parameters"), function["name"]
    if schema is None:
        return
    if not is_map(schema):
        raise problems.wrong_field(param, "an object", schema)
    if flag(function, "strict") is True:
        check_strict(schema, name, param, "function")
    kind = schema.get("type", "None")
    if schema and kind != "object":
        message = (
            f"Invalid schema for function '{name}': schema must be a JSON Schema of "
            f"'type: \"object\"', got 'type: \"{kind}\"'."
        )
        raise Refusal(400, message, param=param, code="invalid_function_parameters")


def _check_choice(fields: Mapping[str, Any]) -> None:
    wanted = fields.get("tool_choice")
    if wanted is None:
        return
    if not is_map(wanted):
        if not isinstance(wanted, str):
            expected = f"one of one of {joined(_MODES, 'or')} or object"
            raise problems.wrong_field("tool_choice", expected, wanted)
        one_of(fields, "tool_choice", _MODES)
    if fields.get("tools") is None and wanted != "none":
        raise _only_with_tools("tool_choice")
    if is_map(wanted):
        _check_named(wanted, {tool.name for tool in _tools(fields["tools"])})


def _check_named(wanted: Mapping[str, Any], known: set[str]) -> None:
    kind = wanted.get("type")
    if kind == "allowed_tools":
        allowed = needed(wanted, "allowed_tools", "tool_choice.")
        at = "tool_choice.allowed_tools"
        if not is_map(allowed):
            raise problems.wrong_field(at, "an object", allowed)
        one_of(allowed, "mode", _MODES[1:], f"{at}.")
        named = objects(needed(allowed, "tools", f"{at}."), f"{at}.tools")
    else:
        holder = "custom" if kind == "custom" else "function"
        inner = needed(wanted, holder, "tool_choice.")
        if not is_map(inner):
            raise problems.wrong_field(f"tool_choice.{holder}", "an object", inner)
        check_text(f"tool_choice.{holder}.name", needed(inner, "name", f"tool_choice.{holder}."))
        named = [wanted]
    for tool in named:
        if _name(tool) not in known:
            raise _no_function(_name(tool))


def _tools(given: object) -> Iterator[Tool]:
    for tool in given if is_list(given) else ():
        is_custom = tool.get("type") == "custom"
        inner = tool["custom" if is_custom else "function"]
        yield Tool(inner["name"], inner.get("parameters") or {}, is_custom)


def _legacy(fields: Mapping[str, Any]) -> Iterator[Tool]:
    for function in fields["functions"]:
        yield Tool(function["name"], function.get("parameters") or {})


def _by_name(tools: Sequence[Tool], names: Sequence[str]) -> Sequence[Tool]:
    return tuple(tool for tool in tools if tool.name in names)


def _name(tool: Mapping[str, Any]) -> str:
    """Return the name in a tool, in a call or in a choice of one."""
    inner = section(tool, "custom" if tool.get("type") == "custom" else "function")
    return str(inner.get("name", ""))


def _only_with_tools(param: str) -> Refusal:
    message = f"Invalid value for '{param}': '{param}' is only allowed when 'tools' are specified."
    return Refusal(400, message, param=param)


def _no_function(name: object) -> Refusal:
    message = (
        f"Invalid value for 'function_call': no function named '{name}' was specified in the "
        "'functions' parameter."
    )
    return Refusal(400, message, param="function_call")
