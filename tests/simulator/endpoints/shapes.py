"""Whether an answer has the shape that the official client's types tell: no key missing, none unknown."""

from typing import Any

from openai import BaseModel


def shaped(kind: type[BaseModel], content: dict[str, Any]) -> Any:
    """Return `content` as an object of `kind`, or fail."""
    made = kind.model_validate(content, strict=True)
    _check(made, kind.__name__)
    return made


def _check(value: Any, where: str) -> None:
    if isinstance(value, BaseModel):
        assert not value.model_extra, f"{where} has unknown keys: {sorted(value.model_extra)}"
        for name in type(value).model_fields:
            _check(getattr(value, name), f"{where}.{name}")
    elif isinstance(value, list):
        for item in value:
            _check(item, where)
