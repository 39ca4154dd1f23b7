"""The `response` object: every parameter of the request as it was understood, and how it went."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from headworks.simulator.asked import Asked
from headworks.simulator.endpoints.responses_tools import understood
from headworks.simulator.fields import is_list, section
from headworks.simulator.thinking import generation, usual_effort
from headworks.types import Usage

_NOTHING_USED: Mapping[str, Any] = {
    "image_gen": {
        "input_tokens": 0,
        "input_tokens_details": {"image_tokens": 0, "text_tokens": 0},
        "output_tokens": 0,
        "output_tokens_details": {"image_tokens": 0, "text_tokens": 0},
        "total_tokens": 0,
    },
    "web_search": {"num_requests": 0},
}


class Habits(NamedTuple):
    """What a model does unless it is told otherwise, as recorded in autumn 2026.

    Attributes:
        effort: How long it thinks, None for a model that never does.
        context: Which thoughts of earlier turns it sees again.
        retention: How long its prompt cache lasts.
        has_phases: Whether its messages say if they are final.
    """

    effort: str | None = None
    context: str | None = None
    top_p: float = 1.0
    retention: str = "in_memory"
    has_phases: bool = False

    @property
    def mode(self) -> dict[str, str]:
        """The field that only thinking models have."""
        return {"mode": "standard"} if self.effort is not None else {}


@lru_cache(maxsize=4096)
def habits(model: str) -> Habits:
    """Return the habits of `model`; those before gpt-5 that think are as gpt-5."""
    effort, version = usual_effort(model), generation(model)
    if not effort:
        return Habits()
    return Habits(
        effort=effort,
        context="all_turns" if version >= (5, 6) else "current_turn",
        top_p=0.98 if version >= (5, 2) else 1.0,
        retention="24h" if version >= (5, 4) else "in_memory",
        has_phases=version >= (5, 4),
    )


def effort_of(fields: Mapping[str, Any]) -> str:
    """Return how long the model will think, "" for not at all."""
    usual = habits(str(fields["model"])).effort
    if usual is None:
        return ""
    wanted = section(fields, "reasoning").get("effort") or usual
    return "" if wanted == "none" else str(wanted)


def response_object(asked: Asked) -> dict[str, Any]:
    """Return the response to `asked` as it begins, its keys in the order of the real one."""
    fields = asked.fields
    model = habits(asked.model)
    background, store = fields.get("background"), fields.get("store")
    parallel = fields.get("parallel_tool_calls")
    temperature, top_p = fields.get("temperature"), fields.get("top_p")
    return {
        "id": f"resp_{asked.serial}",
        "object": "response",
        "created_at": asked.created,
        "status": "in_progress",
        "access_programs": fields.get("access_programs"),
        "background": background is True,
        "completed_at": None,
        **_conversation(fields),
        "error": None,
        "frequency_penalty": 0.0,
        "incomplete_details": None,
        "instructions": fields.get("instructions"),
        "max_output_tokens": fields.get("max_output_tokens"),
        "max_tool_calls": fields.get("max_tool_calls"),
        "model": asked.model,
        "moderation": None,
        "output": [],
        "parallel_tool_calls": parallel is not False,
        "presence_penalty": 0.0,
        "previous_response_id": fields.get("previous_response_id"),
        "prompt_cache_key": fields.get("prompt_cache_key"),
        "prompt_cache_retention": fields.get("prompt_cache_retention") or model.retention,
        "reasoning": _reasoning(fields, model),
        "safety_identifier": fields.get("safety_identifier"),
        "service_tier": fields.get("service_tier") or "auto",
        "store": store is not False,
        "temperature": 1.0 if temperature is None else float(temperature),
        "text": _text(section(fields, "text")),
        "tool_choice": fields.get("tool_choice") or "auto",
        "tool_usage": _NOTHING_USED,
        "tools": _tools(fields),
        "top_logprobs": fields.get("top_logprobs") or 0,
        "top_p": model.top_p if top_p is None else float(top_p),
        "truncation": fields.get("truncation") or "disabled",
        "usage": None,
        "user": fields.get("user"),
        "metadata": fields.get("metadata") or {},
    }


def usage_object(usage: Usage) -> dict[str, Any]:
    """Return `usage` as `/responses` reports it."""
    return {
        "input_tokens": usage.input,
        "input_tokens_details": {
            "cache_write_tokens": usage.written,
            "cached_tokens": usage.cached,
        },
        "output_tokens": usage.output,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning},
        "total_tokens": usage.input + usage.output,
    }


def tool_usage(searches: int) -> dict[str, Any]:
    """Return what the provider's own tools used."""
    return {**_NOTHING_USED, "web_search": {"num_requests": searches}}


def _conversation(fields: Mapping[str, Any]) -> dict[str, Any]:
    name = conversation_of(fields)
    return {"conversation": {"id": name}} if name else {}


def conversation_of(fields: Mapping[str, Any]) -> str:
    """Return the conversation that a request belongs to, "" for none."""
    given = fields.get("conversation")
    name = section(fields, "conversation").get("id") if not isinstance(given, str) else given
    return str(name) if name else ""


def _reasoning(fields: Mapping[str, Any], model: Habits) -> dict[str, Any]:
    asked = section(fields, "reasoning")
    summary = asked.get("summary") or asked.get("generate_summary")
    return {
        "context": asked.get("context") or model.context,
        "effort": asked.get("effort") or model.effort,
        **model.mode,
        **({"mode": asked["mode"]} if asked.get("mode") else {}),
        "summary": "detailed" if summary == "auto" else summary,
    }


def _text(asked: Mapping[str, Any]) -> dict[str, Any]:
    form = section(asked, "format")
    if form.get("type") == "json_schema":
        form = {
            "type": "json_schema",
            "description": form.get("description"),
            "name": form["name"],
            "schema": form["schema"],
            "strict": form.get("strict") is True,
        }
    return {"format": form or {"type": "text"}, "verbosity": asked.get("verbosity") or "medium"}


def _tools(fields: Mapping[str, Any]) -> list[dict[str, Any]]:
    given = fields.get("tools")
    return [understood(tool) for tool in given] if is_list(given) else []
