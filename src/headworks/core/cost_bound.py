"""The most that a request can come to, in tokens that surely are not exceeded.

A text never has more tokens than bytes, and what surrounds it in the request outweighs what a
provider adds to each message. Where a request refers to what is not in it (pictures, files, what a
provider keeps) its model's window is the bound. An answer is bounded by what the request says,
else by what the model can write at most. What runs on by itself at the provider has no bound.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

from headworks.core.endpoints import endpoint
from headworks.core.measures import counted, is_measured
from headworks.core.memo import remembered
from headworks.core.pricing import Price, assess
from headworks.core.shapes import as_fields, as_list
from headworks.core.stateful import references
from headworks.errors import CallerError
from headworks.types import Request, Route, Usage

_ADDED: Final = 100
"""Tokens that providers add to a request as a whole, tools included."""
_MOST_CHOICES: Final = 128
_LONGEST: Final = 10**9
"""Tokens that no answer has, whatever a request says; so that no sum overflows a row."""
_CALLED: Final = ("function", "custom")
"""Tools that the caller runs, whose results come as further requests."""
_SEVERAL: Final = frozenset({"prompt", "n", "best_of"})
"""What may ask for more than one answer."""
_STANDARD: Final = (None, "auto", "default", "flex", "batch")
"""Tiers that are no dearer than the standard one."""
_TEXTS: Final = ("text", "input_text", "output_text", "refusal", "summary_text", "reasoning_text")
"""Parts of a message that are in the request with all that is to be read of them."""
_BOUNDS: Final[Mapping[str, tuple[str, ...]]] = {
    "chat.completions": ("max_completion_tokens", "max_tokens"),
    "completions": ("max_tokens",),
    "responses": ("max_output_tokens",),
}
_KEPT: Final = frozenset({"conversations", "files", "skills", "uploads"})
"""Endpoints at which a POST only keeps something, and costs nothing."""
_STORED: Final = "/v1/chat/completions/"
_TRAINING: Final = "/v1/fine_tuning/"
_FREE_ENDS: Final = ("/cancel", "/input_tokens")
"""What stops work, or counts what it would be."""


Quote: TypeAlias = tuple[Price | None, Usage, int | None]
"""A price, what an attempt is expected to use, and what that costs; None is not known."""


class CostUnbounded(CallerError):
    """A strict budget takes only requests of which it is known what they can cost at most."""

    status, code = 403, "cost_unbounded"


class Extent(NamedTuple):
    """The longest request and answer of a model, in tokens; None is not known."""

    input: int | None = None
    output: int | None = None


def may_cost(request: Request) -> bool:
    """Return whether a provider may charge for the request by itself.

    What is not known to be free may cost, whether or not it names a model: what creates batches,
    containers or vector stores, and what hands out a provider's own credential for later use.
    """
    return request.method == "POST" and _post_may_cost(request.path)


@remembered
def _post_may_cost(path: str) -> bool:
    if path.endswith(_FREE_ENDS) or path.startswith(_STORED):
        return False
    kind = endpoint("POST", path)
    return not kind.is_free and kind.name not in _KEPT


def is_priced(request: Request) -> bool:
    """Return whether the price of a model is what its requests there cost: training has another."""
    return request.method != "POST" or not request.path.startswith(_TRAINING)


def expected(request: Request, price: Price | None, estimate: Usage) -> Quote:
    """Return an estimate of tokens in the measure that the price bills by, and what it costs."""
    if price is None:
        return None, estimate, None
    found = counted(request, price.measures, None) if is_measured(request.path) else None
    usage = estimate if found is None else found.usage
    return price, usage, assess(price, usage)[0]


def most(request: Request, route: Route, extent: Extent) -> Usage:
    """Return the most tokens that a request may come to at a route, at the dearest tier it allows.

    Raises:
        CostUnbounded: Nobody knows.
    """
    name, fields = endpoint(request.method, request.path).name, request.fields
    if not request.model or (name != "embeddings" and name not in _BOUNDS):
        raise CostUnbounded(
            f"What a request to {request.path[:128]} can cost at most is not known, and the budget "
            "is strict."
        )
    tier = "default" if fields.get("service_tier") in _STANDARD else "priority"
    whole = _input(request, route, extent)
    if name == "embeddings":
        return Usage(whole, tier=tier)
    return Usage(whole, _output(fields, _BOUNDS[name], route, extent), tier=tier)


def _input(request: Request, route: Route, extent: Extent) -> int:
    sure = len(request.content) + _ADDED
    if name := _runs_on(request.fields):
        raise CostUnbounded(
            "Tools that the provider runs by itself read and cost what nobody knows before, and the "
            "budget is strict. Prompts that it keeps may have some.",
            param=name,
        )
    if not _is_whole(request):
        if extent.input is None:
            raise CostUnbounded(
                "The request refers to pictures, files or earlier answers, the window of "
                f"{route.model[:128]!r} is not known, and the budget is strict. Name the window "
                "under capabilities."
            )
        return extent.input
    return sure if extent.input is None else min(sure, extent.input)


def _output(fields: Mapping[str, Any], names: Sequence[str], route: Route, extent: Extent) -> int:
    longest = _said(fields, names) or extent.output or extent.input
    if not longest:
        name = names[0]
        raise CostUnbounded(
            f"How long an answer of {route.model[:128]!r} can be is not known, and the budget is "
            f"strict. Set {name}.",
            param=name,
        )
    one = longest + (len(str(fields["prediction"]).encode()) if "prediction" in fields else 0)
    if fields.keys().isdisjoint(_SEVERAL):
        return one
    prompts = [prompt for prompt in as_list(fields.get("prompt")) if not isinstance(prompt, int)]
    choices = max(_times(fields.get("n")), _times(fields.get("best_of")))
    return one * choices * max(1, len(prompts))


def _runs_on(fields: Mapping[str, Any]) -> str:
    """Return the field by which the provider may do more rounds than one, "" if there is none."""
    if isinstance(fields.get("prompt"), dict):
        return "prompt"
    if "web_search_options" in fields:
        return "web_search_options"
    tools = as_list(fields.get("tools"))
    return "tools" if [one for one in tools if as_fields(one).get("type") not in _CALLED] else ""


def _is_whole(request: Request) -> bool:
    """Return whether all that the model is to read is in the request, as text."""
    if references(request):
        return False
    fields = request.fields
    items = [*as_list(fields.get("messages")), *as_list(fields.get("input"))]
    if request.path == "/v1/embeddings":
        return not [item for item in items if isinstance(item, dict)]
    return all(
        item.__class__ is not dict or item.get("content").__class__ is str or _is_text(item)
        for item in items
    )


def _is_text(item: Mapping[str, Any]) -> bool:
    """Return whether a message's parts, or those of a tool's output, are text alone."""
    whole = (item.get("content"), item.get("output"))
    parts = [part for one in whole for part in (as_list(one) or [one])]
    return all(as_fields(part).get("type") in _TEXTS for part in parts if part.__class__ is dict)


def _said(fields: Mapping[str, Any], names: Sequence[str]) -> int:
    """Return the longest answer that a request allows, 0 where that is not said beyond doubt."""
    given = [fields[name] for name in names if fields.get(name) is not None]
    is_clear = all(one.__class__ is int and one > 0 for one in given)
    return min(max(given, default=0), _LONGEST) if is_clear else 0


def _times(value: object) -> int:
    """Return how many answers a number asks for; some providers read "5" and 5.0 as 5."""
    if value is None:
        return 1
    return max(1, min(value, _MOST_CHOICES)) if type(value) is int else _MOST_CHOICES
