"""What a chat request may say: every field in the order in which the real API judges them.

First what must be there, then names that it does not know, then each field by itself, then what the
model cannot do, and last whether the messages fit together. Order and words were measured by others
against gpt-5.6 in August 2026; what that family knows no more is judged as it was for gpt-4o.
"""

import re
from collections.abc import Mapping
from typing import Any

from headworks.core.tokens import count_request, is_reasoning
from headworks.simulator import problems
from headworks.simulator.endpoints.chat_messages import check_messages, check_order, mentions
from headworks.simulator.endpoints.chat_tools import check_functions, check_tools
from headworks.simulator.endpoints.responses_strict import offences
from headworks.simulator.fields import (
    MOST_CHOICES,
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
    stops,
    text,
    whole_number,
)
from headworks.simulator.problems import Refusal
from headworks.simulator.provider import Provider
from headworks.simulator.thinking import effort_of, efforts

_KNOWN = frozenset(
    {
        *("audio", "frequency_penalty", "function_call", "functions", "logit_bias", "logprobs"),
        *("max_completion_tokens", "max_tokens", "messages", "metadata", "modalities", "model"),
        *("moderation", "n", "parallel_tool_calls", "prediction", "presence_penalty"),
        *("prompt_cache_key", "prompt_cache_options", "prompt_cache_retention"),
        *("reasoning_effort", "response_format", "safety_identifier", "seed", "service_tier"),
        *("stop", "store", "stream", "stream_options", "temperature", "tool_choice", "tools"),
        *("top_logprobs", "top_p", "user", "verbosity", "web_search_options"),
    }
)
_HEARD = frozenset({"audio", "modalities", "web_search_options"})
"""Fields that models which think do not know."""
_CHATLESS = re.compile(r"(?:davinci|babbage)-|gpt-3\.5-turbo-instruct")
_TIERS = ("auto", "default", "fast", "flex", "priority", "scale")
_RETENTIONS = ("in_memory", "24h")
_FORMATS = ("json_object", "json_schema", "text")
_MOST_CHOICES, _MOST_TOP, _MOST_TOP_THINKING = 8, 20, 5
"""Most choices of a model that thinks, most likely tokens of one that does not and of one that does."""
_LONGEST_IDENTIFIER = 128
_PAIR = ("max_tokens", "max_completion_tokens")
_STREAMING = frozenset({"include_usage", "include_obfuscation"})
_CACHING = frozenset({"mode", "ttl", "prewarm"})


def check(fields: Mapping[str, Any]) -> None:
    """Raise the refusal of the first thing that is wrong with a chat request."""
    model = str(fields["model"])
    thinks = is_reasoning(model)
    if _CHATLESS.match(model):
        message = "This is not a chat model and thus not supported in the v1/chat/completions endpoint. Did you mean to use v1/completions?"
        raise Refusal(404, message, param="model")
    if model.startswith("text-embedding-"):
        raise Refusal(403, "You are not allowed to sample from this model")
    needed(fields, "messages")
    check_known(fields, _KNOWN - _HEARD if thinks else _KNOWN)
    check_messages(objects(fields["messages"], "messages"))
    check_functions(fields)
    check_tools(fields)
    _check_numbers(fields, thinks=thinks)
    _check_modalities(fields)
    _check_names(fields)
    _check_format(fields)
    one_of(fields, "service_tier", _TIERS)
    _check_unsupported(fields, ("max_tokens",), thinks=thinks)
    _check_effort(fields)
    _check_unsupported(fields, ("logit_bias", "stop"), thinks=thinks)
    _check_delivery(fields)
    _check_unsupported(fields, ("prediction",), thinks=thinks)
    one_of(fields, "verbosity", ("low", "medium", "high"))
    _check_abilities(fields)
    check_order(fields["messages"])
    _check_json(fields)


def check_window(
    provider: Provider, fields: Mapping[str, Any], prompt: int, limit: int | None
) -> None:
    """Refuse a bound that does not fit beside the prompt, in a window that holds both."""
    model = str(fields["model"])
    total = provider.models.window(model).total
    if total is None or limit is None or prompt + limit <= total:
        return
    bare = {name: value for name, value in fields.items() if name not in {"tools", "functions"}}
    said = count_request(bare, provider.meter.counter(model), "chat")
    shares, parts = [f"{said} in the messages"], ["messages"]
    if said < prompt:
        shares.append(f"{prompt - said} in the functions")
        parts.append("functions")
    shares.append(f"{'and ' if said < prompt else ''}{limit} in the completion")
    message = (
        f"This model's maximum context length is {total} tokens. However, you requested "
        f"{prompt + limit} tokens ({', '.join(shares)}). Please reduce the length of the "
        f"{', '.join(parts)}{',' if said < prompt else ''} or completion."
    )
    raise Refusal(400, message, param="messages", code="context_length_exceeded")


def _check_numbers(fields: Mapping[str, Any], *, thinks: bool) -> None:
    whole_number(fields, "max_completion_tokens")
    whole_number(fields, "n", _MOST_CHOICES if thinks else MOST_CHOICES)
    number(fields, "temperature", 0, 2)
    number(fields, "top_p", 0, 1)
    number(fields, "presence_penalty", -2, 2)
    number(fields, "frequency_penalty", -2, 2)
    wants = flag(fields, "logprobs")
    top = whole_number(fields, "top_logprobs", None if thinks else _MOST_TOP, least=0)
    if top is None:
        return
    if thinks and top > _MOST_TOP_THINKING:
        message = (
            f"Invalid value for 'top_logprobs': must be less than or equal to {_MOST_TOP_THINKING}."
        )
        raise Refusal(400, message, param="top_logprobs")
    if not wants:
        message = "The 'top_logprobs' parameter is only allowed when 'logprobs' is enabled."
        raise Refusal(400, message, param="top_logprobs")


def _check_modalities(fields: Mapping[str, Any]) -> None:
    given = fields.get("modalities")
    if given is None:
        return
    if not is_list(given):
        raise problems.wrong_field("modalities", "an array of strings", given)
    if not given:
        raise problems.empty_array("modalities")
    for place, kind in enumerate(given):
        one_of({f"modalities[{place}]": kind}, f"modalities[{place}]", ("text", "audio"))


def _check_names(fields: Mapping[str, Any]) -> None:
    text(fields, "user")
    seed = fields.get("seed")
    if seed is not None and (not isinstance(seed, int) or isinstance(seed, bool)):
        raise problems.wrong_field("seed", "an integer", seed)
    moderation = fields.get("moderation")
    if moderation is not None:
        if not is_map(moderation):
            raise problems.wrong_field("moderation", "an object", moderation)
        needed(moderation, "model", "moderation.")
    text(fields, "safety_identifier", _LONGEST_IDENTIFIER)
    _check_object(fields, "prompt_cache_options", _CACHING)
    text(fields, "prompt_cache_key")
    retention = fields.get("prompt_cache_retention")
    if isinstance(retention, str) and retention not in _RETENTIONS:
        message = "Invalid prompt_cache_retention argument"
        raise Refusal(400, message, param="prompt_cache_retention")
    one_of(fields, "prompt_cache_retention", _RETENTIONS)


def _check_format(fields: Mapping[str, Any]) -> None:
    form = fields.get("response_format")
    if form is None:
        return
    if not is_map(form):
        raise problems.wrong_field("response_format", "an object", form)
    needed(form, "type", "response_format.")
    if one_of(form, "type", _FORMATS, "response_format.") != "json_schema":
        return
    inner = needed(form, "json_schema", "response_format.")
    at = "response_format.json_schema"
    if not is_map(inner):
        raise problems.wrong_field(at, "an object", inner)
    check_name(f"{at}.name", needed(inner, "name", f"{at}."))
    schema = inner.get("schema")
    if schema is not None and not is_map(schema):
        raise problems.wrong_field(f"{at}.schema", "an object", schema)
    if flag(inner, "strict") is True:
        offence = next(offences(schema or {}), None)
        if offence:
            message = f"Invalid schema for response_format '{inner['name']}': {offence}"
            raise Refusal(400, message, param="response_format")


def _check_effort(fields: Mapping[str, Any]) -> None:
    wanted = fields.get("reasoning_effort")
    if wanted is None:
        return
    known = efforts(str(fields["model"]))
    if not known:
        raise Refusal(400, "Unrecognized request argument supplied: reasoning_effort")
    if wanted not in known:
        shown = f"'{wanted}'" if isinstance(wanted, str) else wanted
        supported = f"Supported values are: {joined(known, 'and')}."
        raise _unsupported_value("reasoning_effort", shown, supported)


def _check_delivery(fields: Mapping[str, Any]) -> None:
    stops(fields)
    bias = fields.get("logit_bias")
    if bias is not None and not is_map(bias):
        raise problems.wrong_field("logit_bias", "an object", bias)
    for token in bias or ():
        number(bias or {}, token, -100, 100)
    stream = flag(fields, "stream")
    _check_object(fields, "stream_options", _STREAMING)
    if fields.get("stream_options") is not None and not stream:
        message = "The 'stream_options' parameter is only allowed when 'stream' is enabled."
        raise Refusal(400, message, param="stream_options")
    flag(fields, "store")
    check_metadata(fields)


def _check_unsupported(fields: Mapping[str, Any], names: tuple[str, ...], *, thinks: bool) -> None:
    """Refuse fields that no model which thinks takes, whatever their value."""
    for name in names:
        if thinks and fields.get(name) is not None:
            raise _unsupported(name)


def _check_abilities(fields: Mapping[str, Any]) -> None:
    whole_number(fields, "max_tokens")
    if all(fields.get(name) is not None for name in _PAIR):
        message = (
            "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported."
        )
        raise Refusal(400, message, param="max_tokens", code="invalid_parameter_combination")
    if fields.get("web_search_options") is not None and "search" not in str(fields["model"]):
        message = "Web search options not supported with this model."
        raise Refusal(400, message, param="web_search_options")
    if not effort_of(fields):
        return
    if fields.get("temperature") not in {None, 1}:
        usual = "Only the default (1) value is supported."
        raise _unsupported_value("temperature", fields["temperature"], usual)
    for name, value in (("top_p", 1), ("presence_penalty", 0), ("frequency_penalty", 0)):
        if fields.get(name) not in {None, value}:
            raise _unsupported(name)
    if fields.get("logprobs"):
        raise _unsupported("logprobs")


def _check_json(fields: Mapping[str, Any]) -> None:
    """Refuse JSON mode in a conversation that does not speak of JSON."""
    form = section(fields, "response_format")
    if form.get("type") == "json_object" and not mentions(fields["messages"], "json"):
        message = (
            "'messages' must contain the word 'json' in some form, to use 'response_format' of type "
            "'json_object'."
        )
        raise Refusal(400, message, param="messages")


def _check_object(fields: Mapping[str, Any], name: str, known: frozenset[str]) -> None:
    value = fields.get(name)
    if value is None:
        return
    if not is_map(value):
        raise problems.wrong_field(name, "an object", value)
    check_known(value, known, f"{name}.")


def _unsupported(param: str) -> Refusal:
    message = f"Unsupported parameter: '{param}' is not supported with this model."
    if param == "max_tokens":
        message += " Use 'max_completion_tokens' instead."
    return Refusal(400, message, param=param, code="unsupported_parameter")


def _unsupported_value(param: str, shown: object, supported: str) -> Refusal:
    message = f"Unsupported value: '{param}' does not support {shown} with this model. {supported}"
    return Refusal(400, message, param=param, code="unsupported_value")
