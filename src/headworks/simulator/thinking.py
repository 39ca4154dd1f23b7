"""Which models think before they answer, how long they may be told to, and how long they do untold."""

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from headworks.core.tokens import is_reasoning

_VERSION = re.compile(r"gpt-(\d+)(?:\.(\d+))?")
_MANY = ("none", "low", "medium", "high", "xhigh", "max")


@lru_cache(maxsize=4096)
def efforts(model: str) -> Sequence[str]:
    """Return the efforts that a model knows, none for one that does not think."""
    if not is_reasoning(model):
        return ()
    version = generation(model)
    if version < (5, 0):
        return _MANY[1:4]
    if version == (5, 0):
        return ("minimal", *_MANY[1:4])
    if version == (5, 1):
        return _MANY[:4]
    return _MANY if version >= (6, 0) else _MANY[:5]


@lru_cache(maxsize=4096)
def usual_effort(model: str) -> str:
    """Return how long a model thinks that was not told, "" for not at all."""
    if not is_reasoning(model):
        return ""
    return "none" if (5, 1) <= generation(model) < (5, 5) else "medium"


def effort_of(fields: Mapping[str, Any]) -> str:
    """Return how long a chat's model will think, "" for not at all."""
    model = str(fields["model"])
    wanted = fields.get("reasoning_effort") or usual_effort(model)
    return "" if wanted == "none" else str(wanted)


def generation(model: str) -> tuple[int, int]:
    """Return the version of a GPT model as (5, 4), (0, 0) for any other."""
    found = _VERSION.match(model.rpartition("/")[2].removeprefix("ft:"))
    major, minor = found.groups(default="0") if found else ("0", "0")
    return int(major), int(minor)
