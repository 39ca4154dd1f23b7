"""What may stand under `queue`, and what a key says of it."""

from typing import Annotated, ClassVar

from msgspec import Meta

from headworks.config.schema_limits import Limits
from headworks.config.section import Count, Duration, Section, Size

Places = Annotated[int, Meta(ge=0, le=1_000_000)]


class Queue(Section, frozen=True, kw_only=True):
    """How calls wait that a limit does not let in yet."""

    max_wait: Annotated[
        Duration,
        Meta(
            description="Longest wait. A call that would wait longer is refused at once, and told "
            "when to come back.",
            examples=["10s"],
        ),
    ] = "30s"
    calls: Annotated[Count, Meta(description="Calls that may wait.", examples=[1000])] = 10_000
    bytes: Annotated[
        Size, Meta(description="Size of their requests in all.", examples=["64MB"])
    ] = "256MB"


class KeyLimits(Limits, frozen=True, kw_only=True):
    """What a key may do at most; what is not named has no limit."""

    later: ClassVar[frozenset[str]] = frozenset({"usd"})

    queue: Annotated[
        Places | None,
        Meta(
            description="Its calls that may wait for these limits, of those that `queue` allows; "
            "with 0 they are refused at once.",
            examples=[20],
        ),
    ] = None
