"""What may stand under `budget`, wherever it stands: for everybody, a project, key, user or tag."""

from typing import Annotated

from msgspec import Meta

from headworks.config import units
from headworks.config.section import Section
from headworks.core.calendar import Per
from headworks.types import Reserve, Unpriced

Money = Annotated[str | int | float, Meta(extra={"read": units.usd})]
Percent = Annotated[int, Meta(ge=1, le=1000)]


class Budget(Section, frozen=True, kw_only=True):
    """What may be spent in a period of the calendar."""

    usd: Annotated[Money, Meta(description="US dollars.", examples=["250.00"])]
    per: Annotated[
        Per,
        Meta(
            description="When it begins anew: each day, week (on Monday) or month; `total` never.",
            examples=["day"],
        ),
    ] = "month"
    time_zone: Annotated[
        str,
        Meta(
            description="Whose calendar that is: a name of the IANA database.",
            examples=["Europe/Berlin"],
            extra={"read": units.time_zone},
        ),
    ] = "UTC"
    soft: Annotated[
        tuple[Percent, ...],
        Meta(
            max_length=20,
            description="Percentages of it at which an alert is raised, each once in a period.",
            examples=[[80, 95]],
        ),
    ] = (50, 80, 100)
    hard: Annotated[
        bool,
        Meta(
            description="Whether calls that it has no room for are refused; else it only tells.",
            examples=[False],
        ),
    ] = True
    unpriced: Annotated[
        Unpriced,
        Meta(
            description="What a hard budget does with models whose price is not known: `refuse` "
            "does not send to them, `flag` does, and counts the attempts.",
            examples=["flag"],
        ),
    ] = "refuse"
    reserve: Annotated[
        Reserve,
        Meta(
            description="What is held for a call under way: `expected` what it will likely cost, "
            "`strict` the most that it can cost, so that a hard budget is never exceeded.",
            examples=["strict"],
        ),
    ] = "expected"
