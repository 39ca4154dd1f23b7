"""What calls are for, said once around them instead of in each."""

from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType
from typing import get_args

from headworks.types import Headers, Priority

_PREFIX = b"x-headworks-"
_PRIORITIES = frozenset(get_args(Priority))


class Tagging:
    """The tags of the calls made in this context: this task, or this thread.

    Header fields are what the gateway reads too, so both faces mean the same by a tag.
    """

    def __init__(self) -> None:
        self._fields: ContextVar[Mapping[bytes, bytes]] = ContextVar(
            "headworks-tags", default=MappingProxyType({})
        )

    def headers(self) -> Headers:
        """Return the fields that say what a call made here and now is for."""
        return tuple(self._fields.get().items())

    @contextmanager
    def laid_over(
        self,
        feature: str | None,
        user: str | None,
        session: str | None,
        tags: Iterable[str] | None,
        priority: Priority | None,
    ) -> Generator[None]:
        """Lay values over those around; None keeps what is there.

        Raises:
            ValueError: A value cannot be a tag.
        """
        values = {
            "feature": feature,
            "user": user,
            "session": session,
            "tags": None if tags is None else _joined(tags),
            "priority": _priority(priority),
        }
        fields = {
            _PREFIX + name.encode(): _field(name, value)
            for name, value in values.items()
            if value is not None
        }
        token = self._fields.set({**self._fields.get(), **fields})
        try:
            yield
        finally:
            self._fields.reset(token)


def _joined(tags: Iterable[str]) -> str:
    if isinstance(tags, str):
        raise ValueError('tags must be a list of words, such as ["beta"].')  # noqa: TRY004 - one error for all
    words = list(tags)
    if any("," in word for word in words):
        raise ValueError("A tag cannot contain a comma.")
    return ",".join(words)


def _priority(priority: Priority | None) -> str | None:
    if priority is not None and priority not in _PRIORITIES:
        raise ValueError(f"priority must be one of {', '.join(sorted(_PRIORITIES))}.")
    return priority


def _field(name: str, value: str) -> bytes:
    if not value.isprintable():
        raise ValueError(f"{name} must be printable text on one line.")
    return value.encode()
