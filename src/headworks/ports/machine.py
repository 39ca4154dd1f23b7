"""What the engine needs of the machine: time and chance."""

from collections.abc import Callable
from typing import Protocol


class Clock(Protocol):
    """Time, and a way to wait."""

    def now(self) -> float:
        """Return seconds that only go forward."""
        ...

    def time(self) -> float:
        """Return seconds since 1970."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        ...

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Callable[[], object]:
        """Call back in the running loop after so long; return what prevents that."""
        ...


class Random(Protocol):
    """Chance, so that a test can take it away."""

    def random(self) -> float:
        """Return a number in [0, 1)."""
        ...

    def call_id(self) -> str:
        """Return an id that no other call has, sortable by time."""
        ...
