"""What may stand in headworks.yaml about a model's failures: other targets, streams, refusals."""

from typing import Annotated, Literal

from msgspec import Meta

from headworks.config import units
from headworks.config.schema_stream import Buffered
from headworks.config.section import Section

TargetName = Annotated[
    str,
    Meta(
        pattern=r"^[!-~]{1,265}\Z",
        extra={"form": "a model of this configuration, or a route: upstream/model"},
    ),
]
Targets = tuple[TargetName, ...]
Lateness = Annotated[str | int | float, Meta(extra={"read": units.lateness})]


class HeldBack(Section, frozen=True, kw_only=True):
    """A number of characters."""

    after: Annotated[
        int,
        Meta(
            ge=1,
            le=100_000,
            description="Characters of output that are held back; 256 KiB or 512 events at most.",
            examples=[200],
        ),
    ]


class ModelStream(Buffered, frozen=True, kw_only=True):
    """How a stream is passed on."""

    commit: Annotated[
        Literal["first_token", "complete"] | HeldBack,
        Meta(
            description="Until when a stream is held, so that a failure until then is repaired "
            "unseen: until its first content, until its end, or for some characters.",
            examples=["complete", {"after": 200}],
        ),
    ] = "first_token"


class Hedge(Section, frozen=True, kw_only=True):
    """A second attempt beside one that is late; the first to answer wins. Both are paid."""

    after: Annotated[
        Lateness,
        Meta(
            description="When the second attempt is sent: a wait for the first one's answer, or "
            "`p95`: as long as 95 of 100 answers take, learned from 100 of them on.",
            examples=["2s", "p95"],
        ),
    ]
    share: Annotated[
        float,
        Meta(
            ge=0.001,
            le=1,
            description="Second attempts per request, at most.",
            examples=[0.02],
        ),
    ] = 0.05


class Filtered(Section, frozen=True, kw_only=True):
    """What is done instead of passing a refusal on: one of both."""

    reroute: Annotated[
        TargetName | None,
        Meta(
            description="Model or route that is asked instead, before the caller's first byte.",
            examples=["careful"],
        ),
    ] = None
    answer: Annotated[
        Annotated[str, Meta(min_length=1, max_length=4000)] | None,
        Meta(
            description="Text of the answer that the caller gets, with `content_filter` as the "
            "reason of its end.",
            examples=["I cannot help with that."],
        ),
    ] = None


class On(Section, frozen=True, kw_only=True):
    """Models or routes that are tried next after a failure of one kind, before any other."""

    connection: Annotated[
        Targets, Meta(description="No connection, or one that broke before the answer.")
    ] = ()
    timeout: Annotated[
        Targets, Meta(description="No content in time, or silence in the middle of it.")
    ] = ()
    broken: Annotated[
        Targets, Meta(description="An answer that is cut short or cannot be read.")
    ] = ()
    rate_limit: Annotated[
        Targets,
        Meta(description="Too many requests or tokens a minute.", examples=[["spare/gpt-6-sol"]]),
    ] = ()
    overloaded: Annotated[Targets, Meta(description="The provider has no capacity.")] = ()
    server_error: Annotated[Targets, Meta(description="Any other error of the provider's.")] = ()
    conflict: Annotated[Targets, Meta(description="409: something is locked.")] = ()
    quota: Annotated[Targets, Meta(description="The account cannot pay.")] = ()
    credential: Annotated[
        Targets, Meta(description="The credential is refused, or has no access.")
    ] = ()
    model: Annotated[Targets, Meta(description="The model is not there.")] = ()
    too_large: Annotated[
        Targets, Meta(description="The request is larger than a limit; waiting never helps.")
    ] = ()
    context_length: Annotated[
        Targets,
        Meta(
            description="The request is longer than the model's window.",
            examples=[["openai/gpt-5.6"]],
        ),
    ] = ()
    content_filter: Annotated[
        Targets,
        Meta(
            description="The provider's content filter stopped the request or the answer.",
            examples=[["careful"]],
        ),
    ] = ()
