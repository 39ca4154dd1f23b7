"""What a request needs of a model, and which models cannot do it."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from headworks.core.context_window import Window
from headworks.core.shapes import as_fields, as_list
from headworks.core.tokens import Kind, count_request, guess, output_bound
from headworks.types import Need, Request, Usage

NEEDS: Final[tuple[Need, ...]] = ("tools", "vision", "audio", "files", "json_schema", "prefill")
"""What a model can or cannot do, apart from its window."""

_KINDS: Mapping[str, Kind] = {
    "/v1/chat/completions": "chat",
    "/v1/responses": "responses",
    "/v1/completions": "completions",
}
_PARTS: Mapping[str, Need] = {
    "image_url": "vision",
    "input_image": "vision",
    "computer_screenshot": "vision",
    "input_audio": "audio",
    "file": "files",
    "input_file": "files",
}
_NONE: Mapping[str, Need] = {}
_ENDLESS = 10**12


@dataclass(frozen=True, slots=True)
class Fitness:
    """Tells which of a plan's places cannot take a request.

    Attributes:
        lacks: What the model of each place cannot do and others can; places are spelled
            "upstream/model".
        window: Return what fits at a place, as far as that is known now.
        floor: Tokens of request and answer that fit everywhere, whatever is learnt.
    """

    lacks: Mapping[str, frozenset[Need]]
    window: Callable[[str], Window]
    floor: int = 0
    has_lacks: bool = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "has_lacks", any(self.lacks.values()))

    def unfit(self, request: Request, estimate: Usage) -> Mapping[str, Need]:
        """Return the places that cannot take it, each with the first thing it lacks."""
        kind = _KINDS.get(request.path)
        if kind is None:
            return _NONE
        found = self._lacking(request) if self.has_lacks else {}
        if estimate.input + estimate.output > self.floor:
            size = _Size(request, kind, estimate.input)
            for place in self.lacks:
                if place not in found and not size.fits(self.window(place)):
                    found[place] = "context"
        return found

    def _lacking(self, request: Request) -> dict[str, Need]:
        found: dict[str, Need] = {}
        needed = needs(request.fields)
        for place, lacks in self.lacks.items() if needed else ():
            missing: Need | None = next((one for one in needed if one in lacks), None)
            if missing is not None:
                found[place] = missing
        return found


class _Size:
    """How long a request is, with the answer it asks for; counted only where that may matter."""

    __slots__ = ("_estimate", "_fields", "_kind", "_tokens", "_wanted")

    def __init__(self, request: Request, kind: Kind, estimate: int) -> None:
        self._fields, self._estimate = request.fields, estimate
        self._kind: Kind = kind
        self._wanted = output_bound(request.fields) or 0
        self._tokens: int | None = None

    def fits(self, window: Window) -> bool:
        """Return whether a window has room for it, as far as we can tell."""
        return self._is_within(window, self._estimate) or self._is_within(window, self._counted())

    def _is_within(self, window: Window, tokens: int) -> bool:
        size = tokens * window.factor
        if window.input is not None and size > window.input:
            return False
        return window.total is None or size + self._wanted <= window.total

    def _counted(self) -> int:
        """Count without what the bytes of pictures and files weigh."""
        if self._tokens is None:
            counted = count_request(self._fields, _guess, self._kind)
            self._tokens = min(self._estimate, counted)
        return self._tokens


def needs(fields: Mapping[str, Any]) -> tuple[Need, ...]:
    """Return what a request of chat completions or of the Responses API needs of a model.

    Total: whatever has not the expected form needs nothing.
    """
    found = set(_asked(fields))
    items = as_list(fields.get("messages")) or as_list(fields.get("input"))
    for item in items:
        found.update(_shown(item))
    if items and as_fields(items[-1]).get("role") == "assistant":
        found.add("prefill")
    return tuple(one for one in NEEDS if one in found)


def _asked(fields: Mapping[str, Any]) -> Iterator[Need]:
    """Yield what the options of a request need."""
    if fields.get("tools") or fields.get("functions"):
        yield "tools"
    forms = (fields.get("response_format"), as_fields(fields.get("text")).get("format"))
    if any(as_fields(form).get("type") == "json_schema" for form in forms):
        yield "json_schema"
    if "audio" in as_list(fields.get("modalities")):
        yield "audio"


def _shown(item: object) -> Iterator[Need]:
    """Yield what reading one message, or one result of a tool, needs."""
    fields = as_fields(item)
    content, output = fields.get("content"), fields.get("output")
    if content.__class__ is not list and output is None:
        return
    for part in (*as_list(content), *as_list(output), output):
        kind = as_fields(part).get("type")
        if isinstance(kind, str) and kind in _PARTS:
            yield _PARTS[kind]


def fitness(
    lacks: Mapping[str, frozenset[Need]],
    listed: Mapping[str, Window],
    window: Callable[[str], Window],
    *,
    learns: bool,
) -> Fitness | None:
    """Return what tells which of some places cannot take a request, None where that is all or none.

    Both mappings are by place. `learns` is whether `window` may come to differ from `listed`.
    """
    common = frozenset[Need].intersection(*lacks.values())
    special = {place: one - common for place, one in lacks.items()}
    is_alike = not any(special.values()) and len(set(listed.values())) == 1
    if len(lacks) == 1 or (is_alike and not learns):
        return None
    limits = (limit for one in listed.values() for limit in (one.input, one.total))
    floor = min((limit for limit in limits if limit is not None), default=_ENDLESS)
    return Fitness(special, window, 0 if learns else floor)


def _guess(text: str) -> int:
    return guess(text.encode("utf-8", "replace"))
