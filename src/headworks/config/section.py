"""What every section of headworks.yaml is, and the kinds of values in it."""

from typing import Annotated, ClassVar

import msgspec
from msgspec import Meta

from headworks.config import units

Duration = Annotated[str | int | float, Meta(extra={"read": units.duration})]
Pause = Annotated[str | int | float, Meta(extra={"read": units.pause})]
Size = Annotated[str | int, Meta(extra={"read": units.size})]
Rate = Annotated[str | int | float, Meta(extra={"read": units.rate})]
Address = Annotated[str, Meta(extra={"read": units.address})]
Name = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z",
        extra={"form": "a name of at most 64 letters, digits, dots, hyphens and underscores"},
    ),
]
ModelName = Annotated[
    str,
    Meta(
        pattern=r"^[!-~]{1,200}\Z",
        extra={"form": "a model's name: at most 200 visible characters, no spaces"},
    ),
]
RouteName = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}/[!-~]{1,200}\Z",
        extra={"form": "a route: upstream/model, such as openai/gpt-6-sol"},
    ),
]
Count = Annotated[int, Meta(ge=1, le=1_000_000)]


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A mapping whose names are known."""

    later: ClassVar[frozenset[str]] = frozenset()
