"""What a request to `/responses` may say; whatever else it says is refused as the real API does."""

from collections.abc import Callable, Mapping
from functools import partial
from math import inf
from typing import Any

from headworks.simulator import problems
from headworks.simulator.endpoints.responses_input import Items, says_json
from headworks.simulator.endpoints.responses_object import conversation_of, effort_of, habits
from headworks.simulator.endpoints.responses_problems import (
    exclusive,
    no_json_word,
    no_prompt,
    unknown_effort,
    unsupported,
)
from headworks.simulator.endpoints.responses_strict import check_schema, check_strict
from headworks.simulator.endpoints.responses_tools import check_choice, check_tools
from headworks.simulator.fields import (
    check_known,
    check_metadata,
    check_name,
    flag,
    is_list,
    is_map,
    joined,
    needed,
    number,
    objects,
    one_of,
    section,
    text,
    whole_number,
)
from headworks.simulator.problems import Refusal
from headworks.simulator.thinking import efforts

LIMIT = "max_output_tokens"
_LEAST_OUTPUT = 16
_MOST_LOGPROBS = 20
_LEAST_COMPACTED = 1_000
COUNTED = frozenset(
    {
        *("conversation", "input", "instructions", "model", "parallel_tool_calls"),
        *("personality", "previous_response_id", "reasoning", "text", "tool_choice", "tools"),
        "truncation",
    }
)
"""The fields of `/responses/input_tokens`."""

_INCLUDED = (
    "file_search_call.results",
    "web_search_call.results",
    "web_search_call.action.sources",
    "message.input_image.image_url",
    "computer_call_output.output.image_url",
    "code_interpreter_call.outputs",
    "reasoning.encrypted_content",
    "message.output_text.logprobs",
)
_EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
_FORMATS = ("text", "json_object", "json_schema")


def check(fields: Mapping[str, Any], known: frozenset[str] | None = None) -> None:
    """Raise the refusal of the first field that is wrong; `known` are the fields there are."""
    check_known(fields, known or _ALL)
    for name in fields:
        look = _LOOKS.get(name)
        if look is not None:
            look(fields, name)
    check_choice(fields)
    _check_thinking(fields)
    _check_past(fields)


def check_json_mode(fields: Mapping[str, Any], heard: Items) -> None:
    """Raise the refusal of JSON mode where the prompt does not speak of JSON."""
    form = section(section(fields, "text"), "format")
    if form.get("type") == "json_object" and not says_json(fields, heard):
        raise no_json_word()


def compacted_above(fields: Mapping[str, Any]) -> float:
    """Return the tokens of a prompt above which it is to be compacted."""
    entries: list[Mapping[str, Any]] = fields.get("context_management") or []
    return min((entry.get("compact_threshold") or inf for entry in entries), default=inf)


def included(fields: Mapping[str, Any], name: str) -> bool:
    """Return whether the request asks for what is else left out."""
    return name in (fields.get("include") or ())


def _objects(fields: Mapping[str, Any], name: str) -> None:
    found = fields[name]
    if found is not None and not is_map(found):
        raise problems.wrong_field(name, "an object", found)


def _include(fields: Mapping[str, Any], _name: str) -> None:
    found = fields["include"]
    if found is None:
        return
    if not is_list(found):
        raise problems.wrong_field("include", "an array of strings", found)
    for index, name in enumerate(found):
        if name not in _INCLUDED:
            message = f"Invalid value: '{name}'. Supported values are: {joined(_INCLUDED, 'and')}."
            raise Refusal(400, message, param=f"include[{index}]", code="invalid_value")


def _text(fields: Mapping[str, Any], name: str) -> None:
    _objects(fields, name)
    asked = section(fields, name)
    one_of(asked, "verbosity", ("low", "medium", "high"), "text.")
    form = asked.get("format")
    if form is None:
        return
    if not is_map(form):
        raise problems.wrong_field("text.format", "an object", form)
    needed(form, "type", "text.format.")
    if one_of(form, "type", _FORMATS, "text.format.") != "json_schema":
        return
    check_name("text.format.name", needed(form, "name", "text.format."))
    schema = needed(form, "schema", "text.format.")
    if not is_map(schema):
        raise problems.wrong_field("text.format.schema", "an object", schema)
    check_schema(schema, form["name"], "text.format.schema", "response_format")
    if flag({"text.format.strict": form.get("strict")}, "text.format.strict"):
        check_strict(schema, form["name"], "text.format.schema", "response_format")


def _reasoning(fields: Mapping[str, Any], name: str) -> None:
    _objects(fields, name)
    asked = section(fields, name)
    one_of(asked, "effort", _EFFORTS, "reasoning.")
    for part in ("summary", "generate_summary"):
        one_of(asked, part, ("auto", "concise", "detailed"), "reasoning.")


def _management(fields: Mapping[str, Any], name: str) -> None:
    if not fields[name]:
        return
    for index, entry in enumerate(objects(fields[name], name)):
        at = f"{name}[{index}]."
        needed(entry, "type", at)
        one_of(entry, "type", ("compaction",), at)
        param = f"{at}compact_threshold"
        whole_number({param: entry.get("compact_threshold")}, param, least=_LEAST_COMPACTED)


def _conversation(fields: Mapping[str, Any], name: str) -> None:
    found = fields[name]
    if found is not None and not isinstance(found, str) and not is_map(found):
        raise problems.wrong_field(name, "one of a string or object", found)
    if found is not None and not conversation_of(fields):
        raise problems.missing("conversation.id")


def _prompt(fields: Mapping[str, Any], name: str) -> None:
    _objects(fields, name)
    if fields[name] is not None:
        raise no_prompt(str(needed(fields[name], "id", "prompt.")))


def _check_thinking(fields: Mapping[str, Any]) -> None:
    """Raise the refusal of what thinking models cannot do, or only they."""
    asked = section(fields, "reasoning")
    if habits(str(fields["model"])).effort is None:
        _check_thoughtless(fields, asked)
        return
    effort, known = asked.get("effort"), efforts(str(fields["model"]))
    if effort is not None and effort not in known:
        raise unknown_effort(effort, str(fields["model"]), known)
    if effort_of(fields):
        _check_thinker(fields)


def _check_thoughtless(fields: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    for name in ("effort", "summary"):
        if asked.get(name) is not None:
            raise unsupported(f"reasoning.{name}")
    if included(fields, "reasoning.encrypted_content"):
        message = "Encrypted content is not supported with this model."
        raise Refusal(400, message, param="include")


def _check_thinker(fields: Mapping[str, Any]) -> None:
    for name in ("temperature", "top_p"):
        if fields.get(name) not in {None, 1}:
            raise unsupported(name, None)
    if fields.get("top_logprobs") or included(fields, "message.output_text.logprobs"):
        raise unsupported("top_logprobs", None)


def _check_past(fields: Mapping[str, Any]) -> None:
    found, previous = fields.get("conversation"), fields.get("previous_response_id")
    if found is not None and previous is not None:
        raise exclusive("previous_response_id", "conversation")
    if fields.get("input") is None and found is None and previous is None:
        raise problems.missing("input")


_Look = Callable[[Mapping[str, Any], str], object]
_TIERS = ("auto", "default", "flex", "scale", "priority", "fast", "ultrafast")
_LOOKS: Mapping[str, _Look | None] = {
    **dict.fromkeys(("input", "model", "tool_choice"), None),  # looked at where they are read
    "context_management": _management,
    **dict.fromkeys(("background", "parallel_tool_calls", "store", "stream"), flag),
    **dict.fromkeys(("instructions", "previous_response_id", "user"), text),
    **dict.fromkeys(("access_programs", "background_options", "image", "moderation"), _objects),
    **dict.fromkeys(("prompt_cache_options", "stream_options"), _objects),
    "conversation": _conversation,
    "include": _include,
    LIMIT: partial(whole_number, least=_LEAST_OUTPUT),
    "max_tool_calls": whole_number,
    "metadata": lambda fields, _: check_metadata(fields),
    "prompt": _prompt,
    "prompt_cache_key": partial(text, most=64),
    "prompt_cache_retention": partial(one_of, known=("in_memory", "24h")),
    "reasoning": _reasoning,
    "safety_identifier": partial(text, most=128),
    "service_tier": partial(one_of, known=_TIERS),
    "temperature": partial(number, least=0, most=2),
    "text": _text,
    "tools": check_tools,
    "top_logprobs": partial(whole_number, most=_MOST_LOGPROBS, least=0),
    "top_p": partial(number, least=0, most=1),
    "truncation": partial(one_of, known=("auto", "disabled")),
}
"""How each field is looked at by itself."""

_ALL = frozenset(_LOOKS)
