"""What may stand under `limits`, wherever it stands: for everybody, a project, key, user or tag."""

from typing import Annotated, ClassVar

from msgspec import Meta

from headworks.config.schema_budgets import Budget
from headworks.config.section import Count, ModelName, Section
from headworks.types import Reserve

Amount = Annotated[int, Meta(ge=1, le=1_000_000_000_000)]
Label = Annotated[str, Meta(min_length=1, max_length=200)]


class ModelLimits(Section, frozen=True, kw_only=True):
    """What may be asked of one model at most, besides what holds for all of them together."""

    later: ClassVar[frozenset[str]] = frozenset({"usd", "queue"})

    rpm: Annotated[Amount | None, Meta(description="Requests a minute.", examples=[60])] = None
    tpm: Annotated[
        Amount | None, Meta(description="Tokens a minute, in and out.", examples=[50000])
    ] = None
    rpd: Annotated[Amount | None, Meta(description="Requests in 24 hours.", examples=[10000])] = (
        None
    )
    tpd: Annotated[
        Amount | None, Meta(description="Tokens in 24 hours, in and out.", examples=[2000000])
    ] = None
    parallel: Annotated[Count | None, Meta(description="Requests at once.", examples=[8])] = None


class Limits(ModelLimits, frozen=True, kw_only=True):
    """What may be done at most in any sixty seconds or 24 hours; what is not named has no limit."""

    reserve: Annotated[
        Reserve,
        Meta(
            description="How many tokens of an answer are set aside until its length is known: "
            "`expected` as many as 95 of 100 answers take, `strict` the most that may come.",
            examples=["strict"],
        ),
    ] = "expected"
    models: Annotated[
        dict[ModelName, ModelLimits],
        Meta(
            description="What holds besides for some models, by the names that apps ask for.",
            examples=[{"gpt-6-sol": {"tpm": 50000}}],
        ),
    ] = {}  # noqa: RUF012 - msgspec gives each its own


class Project(Section, frozen=True, kw_only=True):
    """A project: what its keys may do together."""

    limits: Annotated[Limits, Meta(description="What its keys may do at most.")] = Limits()
    budget: Annotated[Budget | None, Meta(description="What its keys may spend.")] = None


class User(Section, frozen=True, kw_only=True):
    """A user, as apps name it: what is done for it by all keys."""

    limits: Annotated[Limits, Meta(description="What may be done for it at most.")] = Limits()
    budget: Annotated[Budget | None, Meta(description="What may be spent for it.")] = None


class Tag(Section, frozen=True, kw_only=True):
    """A tag of calls, as apps name it."""

    limits: Annotated[Limits, Meta(description="What may be done under it at most.")] = Limits()
    budget: Annotated[Budget | None, Meta(description="What may be spent under it.")] = None
