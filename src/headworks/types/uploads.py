"""A request's body that is too large to be held."""

from collections.abc import AsyncGenerator, Mapping
from typing import Any, Protocol


class Upload(Protocol):
    """A body that passes through piece by piece, once; or as often as need be, when it was kept.

    Whoever makes it closes it.
    """

    @property
    def length(self) -> int | None:
        """How many bytes it has, None where its sender does not say."""
        ...

    @property
    def passed(self) -> int:
        """How many of its bytes have come so far."""
        ...

    @property
    def fields(self) -> Mapping[str, Any]:
        """The short fields of a form that have come so far."""
        ...

    @property
    def model_at(self) -> tuple[int, int] | None:
        """Where the name of the model begins and ends in it, as far as it has come."""
        ...

    @property
    def has_all_fields(self) -> bool:
        """Whether `fields` cannot grow: it is no form, or all of it has come."""
        ...

    @property
    def is_kept(self) -> bool:
        """Whether all of it is here, so that it can go out several times."""
        ...

    @property
    def is_spent(self) -> bool:
        """Whether it has begun to go out and cannot do so again."""
        ...

    @property
    def digest(self) -> bytes:
        """What only an equal body has; there is one when it is kept."""
        ...

    async def keep(self) -> None:
        """Wait for all of it, and keep it.

        Raises:
            CallError: It breaks off, is too large or malformed, or there is no room for it.
        """
        ...

    def chunks(self) -> AsyncGenerator[bytes]:
        """Yield its bytes; raises as `keep`."""
        ...

    def close(self) -> None:
        """Forget it. Idempotent."""
        ...
