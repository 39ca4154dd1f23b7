"""What may stand in headworks.yaml about groups of routes, and about what models can do."""

from typing import Annotated

from msgspec import Meta

from headworks.config.schema_context import Tokens
from headworks.config.section import RouteName, Section

Weight = Annotated[float, Meta(gt=0, le=1_000_000)]
Members = Annotated[tuple[RouteName, ...], Meta(min_length=1)]


class Group(Section, frozen=True, kw_only=True):
    """Routes between which each call chooses; one of the four says how."""

    order: Annotated[
        Members | None, Meta(description="As written, as routes without a group are.")
    ] = None
    weighted: Annotated[
        Annotated[dict[RouteName, Weight], Meta(min_length=1)] | None,
        Meta(
            description="At random, by weight: the share of the calls that try the route first.",
            examples=[{"east/gpt-6-sol": 9, "west/gpt-6-sol": 1}],
        ),
    ] = None
    least_latency: Annotated[
        Members | None,
        Meta(
            description="The better of two drawn at random, by recent latency and calls in flight.",
            examples=[["east/gpt-6-sol", "west/gpt-6-sol"]],
        ),
    ] = None
    cheapest: Annotated[
        Members | None,
        Meta(
            description="By the price of the call, as estimated; an unknown price comes last.",
            examples=[["openai/gpt-6-luna", "openai/gpt-5.4-mini"]],
        ),
    ] = None


Step = Annotated[
    RouteName | Group,
    Meta(extra={"form": "a route: upstream/model, such as openai/gpt-6-sol"}),
]


class Capability(Section, frozen=True, kw_only=True):
    """What a model takes; what is not named is as the built-in catalogue has it, else possible."""

    context: Annotated[
        Tokens | None,
        Meta(description="Tokens of its window: request and answer.", examples=[8192]),
    ] = None
    tools: Annotated[bool | None, Meta(description="Tools and functions.", examples=[False])] = None
    vision: Annotated[bool | None, Meta(description="Pictures in messages.")] = None
    audio: Annotated[bool | None, Meta(description="Sound, in messages or as the answer.")] = None
    files: Annotated[bool | None, Meta(description="Files in messages.")] = None
    json_schema: Annotated[
        bool | None, Meta(description="Answers by a JSON Schema: structured outputs.")
    ] = None
    prefill: Annotated[
        bool | None,
        Meta(description="A last message by the assistant, which the answer continues."),
    ] = None
