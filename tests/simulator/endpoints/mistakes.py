"""Mistakes in chat requests, and what the real API says to them."""

from dataclasses import dataclass, field
from typing import Any

import httpx

HELLO = [{"role": "user", "content": "Hello"}]
TOOL = {"type": "function", "function": {"name": "f", "parameters": {}}}
CALL = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
OLD, NEW = "gpt-4o", "gpt-6-sol"
NO_CONTENT = "Invalid value for 'content': expected a string, got null."
ROLES = "'system', 'assistant', 'user', 'function', 'tool', and 'developer'"
STRICT = "Invalid schema for response_format 'x': "
NULL: Any = None


@dataclass(frozen=True)
class Case:
    id: str
    fields: dict[str, Any]
    message: str
    param: str | None = None
    code: str | None = None
    model: str = OLD
    status: int = 400
    messages: Any = field(default_factory=lambda: HELLO)


def unsupported(name: str, value: Any, more: str = "") -> Case:
    text = f"Unsupported parameter: '{name}' is not supported with this model.{more}"
    return Case(f"{name} while thinking", {name: value}, text, name, "unsupported_parameter", NEW)


def mistyped(name: str, value: Any, expected: str, got: str) -> Case:
    text = f"Invalid type for '{name}': expected {expected}, but got {got} instead."
    return Case(f"{name} of a wrong type", {name: value}, text, name, "invalid_type")


def ranged(name: str, value: Any, text: str, code: str) -> Case:
    text = f"Invalid '{name}': {text}, but got {value} instead."
    return Case(f"{name} of {value}", {name: value}, text, name, code)


def listed(name: str, value: str, known: str, holder: Any = None, path: str = "") -> Case:
    text = f"Invalid value: '{value}'. Supported values are: {known}."
    fields = {name: value} if holder is None else holder
    return Case(f"{path or name} unheard of", fields, text, path or name, "invalid_value")


def lacking(param: str, fields: dict[str, Any]) -> Case:
    text = f"Missing required parameter: '{param}'."
    return Case(f"no {param}", fields, text, param, "missing_required_parameter")


def message(id: str, text: str, param: str, code: str | None, *given: Any) -> Case:  # noqa: A002 - a name of a case
    return Case(id, {}, text, param, code, messages=[*given])


def strict(id: str, schema: Any, text: str) -> Case:  # noqa: A002 - a name of a case
    form = {"type": "json_schema", "json_schema": {"name": "x", "strict": True, "schema": schema}}
    return Case(id, {"response_format": form}, STRICT + text, "response_format")


def ask(simulator: Any, **fields: Any) -> httpx.Response:
    headers = {"authorization": "Bearer sk-simulator"}
    return httpx.post(f"{simulator.base_url}/chat/completions", json=fields, headers=headers)


def told(simulator: Any, case: Case) -> tuple[Any, ...]:
    """Return status, type, words, parameter and code of the answer to a mistake."""
    answer = ask(simulator, **{"model": case.model, "messages": case.messages} | case.fields)
    error = answer.json()["error"]
    return answer.status_code, error["type"], error["message"], error["param"], error["code"]


def expected(case: Case) -> tuple[Any, ...]:
    """Return what the real API says."""
    return case.status, "invalid_request_error", case.message, case.param, case.code
