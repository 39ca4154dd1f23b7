"""What may stand under `ledger` and `idempotency`."""

from typing import Annotated, Literal

from msgspec import Meta

from headworks.config.section import Pause, Section, Size


class Ledger(Section, frozen=True, kw_only=True):
    """How sure it is that what a call has cost is on disk when its caller hears of it."""

    durability: Annotated[
        Literal["normal", "full"],
        Meta(
            description="What the rows of the ledger and kept answers survive: `normal` a crash "
            "and kill -9, `full` a power cut too, for about 2 ms a commit. Calls that commit "
            "together share it.",
            examples=["full"],
        ),
    ] = "normal"


class Idempotency(Section, frozen=True, kw_only=True):
    """What is kept of calls that carry an Idempotency-Key, so that they are made once."""

    keep: Annotated[
        Pause,
        Meta(
            description="How long an answer is kept for whoever asks again; 0s keeps none, and "
            "the header means nothing.",
            examples=["1h", "0s"],
        ),
    ] = "24h"
    max_body: Annotated[
        Size,
        Meta(
            description="Largest answer that is kept; of a larger one only that there was one.",
            examples=["4MB"],
        ),
    ] = "1MB"
