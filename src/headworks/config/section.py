"""What every section of headworks.yaml is."""

from typing import Annotated, ClassVar

import msgspec
from msgspec import Meta

from headworks.config import units

Duration = Annotated[str | int | float, Meta(extra={"read": units.duration})]


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A mapping whose names are known."""

    later: ClassVar[frozenset[str]] = frozenset()
