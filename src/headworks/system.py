"""The world as it is: time and chance. The one module that may ask for them."""

import asyncio
import random  # noqa: TID251 - here chance comes in
import secrets
import time
from collections.abc import Callable


class SystemClock:
    """The machine's clocks."""

    now = staticmethod(time.monotonic)  # noqa: TID251 - here time comes in
    time = staticmethod(time.time)  # noqa: TID251 - here time comes in

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)  # noqa: TID251 - here time comes in

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Callable[[], None]:
        """Call back in the running loop after so long; return what prevents that."""
        return asyncio.get_running_loop().call_later(seconds, callback).cancel


class SystemRandom:
    """The machine's chance.

    A call id is "call_", milliseconds since 1970, a number that goes up, and what only this
    process has: unique, and sortable by time.
    """

    def __init__(self) -> None:
        self._process = secrets.token_hex(4)
        self._count = 0

    def random(self) -> float:
        """Return a number in [0, 1): for jitter, never for secrets."""
        return random.random()  # noqa: S311 - jitter

    def call_id(self) -> str:
        """Return an id that no other call has."""
        self._count = (self._count + 1) & 0xFFFFFF
        milliseconds = time.time_ns() // 1_000_000
        return f"call_{milliseconds:011x}{self._count:06x}{self._process}"
