"""What may stand in headworks.yaml about requests that are longer than their model's window."""

from typing import Annotated, ClassVar, Literal

from msgspec import Meta

from headworks.config.schema_failures import TargetName
from headworks.config.section import Section

Tokens = Annotated[int, Meta(ge=1, le=100_000_000)]
Turns = Annotated[int, Meta(ge=0, le=10_000)]
Strategy = Literal["error", "drop_oldest", "drop_middle", "keep", "summarize", "larger_model"]
Alone = Literal["error", "drop_oldest", "drop_middle"]
"""The strategies that need nothing more said."""


class Context(Section, frozen=True, kw_only=True):
    """What is done with a request that is longer than the model's window."""

    later: ClassVar[frozenset[str]] = frozenset({"compress", "chunk"})

    strategy: Annotated[
        Strategy,
        Meta(
            description="Refuse it, drop its oldest or its middle messages, drop the oldest but "
            "for some turns, put a summary in their place, or ask a larger model.",
            examples=["drop_middle"],
        ),
    ] = "error"
    model: Annotated[
        TargetName | None,
        Meta(
            description="Model or route that summarises, or that is asked instead; for "
            "`summarize` and `larger_model`.",
            examples=["small"],
        ),
    ] = None
    system: Annotated[
        bool,
        Meta(description="Whether messages of the roles system and developer are kept."),
    ] = True
    first: Annotated[
        Turns,
        Meta(
            description="Turns at the start that are kept: what a user says, and all up to the "
            "next time.",
            examples=[1],
        ),
    ] = 0
    last: Annotated[Turns, Meta(description="Turns at the end that are kept.", examples=[6])] = 0
    window: Annotated[
        Tokens | None,
        Meta(
            description="Most tokens of request and answer, where the catalogue does not know the "
            "model or more than you want to send.",
            examples=[32_000],
        ),
    ] = None
    reserve_output: Annotated[
        Tokens | None,
        Meta(
            description="Tokens kept free for the answer of a request that sets no bound; when "
            "unset 4,000, or a quarter of the window if that is less.",
            examples=[8_000],
        ),
    ] = None
