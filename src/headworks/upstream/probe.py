"""Looks whether providers can be reached at all: opens a connection, and closes it."""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

from headworks.ports import Clock
from headworks.upstream.dial import connect

_log = logging.getLogger("headworks.upstream")

AGAIN = 15.0
"""Seconds between two looks at a place that was there."""
SOON = 2.0
"""Seconds between two looks at a place that was not."""
_TICK = 0.5
"""Seconds until a place that is new is looked at, at most."""

State = Literal["unknown", "reachable", "degraded"]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a connection must lead, and how many seconds it may take."""

    host: str
    port: int
    seconds: float


class Reachability:
    """Knows of each provider whether a connection to it came about when it was last tried."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._places: dict[str, Place] = {}
        self._states: dict[str, State] = {}
        self._due: dict[str, float] = {}

    def watch(self, places: Mapping[str, Place]) -> None:
        """Look at these from now on and at no others; what did not move keeps its state."""
        same = {name for name, place in places.items() if self._places.get(name) == place}
        self._states = {name: self._states[name] if name in same else "unknown" for name in places}
        self._due = {name: self._due[name] if name in same else 0.0 for name in places}
        self._places = dict(places)

    def states(self) -> Mapping[str, State]:
        """Return what is known of each provider."""
        return dict(self._states)

    async def follow(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            await self.look()
            await self._clock.sleep(_TICK)

    async def look(self) -> None:
        """Look at every place whose time has come, at all of them at once."""
        now = self._clock.now()
        due = [(name, self._places[name]) for name, at in self._due.items() if at <= now]
        if due:
            await asyncio.gather(*(self._look_at(name, place) for name, place in due))

    async def _look_at(self, name: str, place: Place) -> None:
        is_there = await is_reachable(place.host, place.port, place.seconds)
        if self._places.get(name) != place:
            return
        before, self._states[name] = self._states[name], "reachable" if is_there else "degraded"
        self._due[name] = self._clock.now() + (AGAIN if is_there else SOON)
        if before != "degraded" and not is_there:
            _log.warning("upstream %s cannot be reached at %s:%d", name, place.host, place.port)
        elif before == "degraded" and is_there:
            _log.info("upstream %s can be reached again", name)


async def is_reachable(host: str, port: int, seconds: float) -> bool:
    """Return whether a TCP connection comes about in time. Sends nothing, costs nothing."""
    dialling = asyncio.get_running_loop().create_task(_dial(host, port))
    dialling.add_done_callback(_forget)
    try:
        done, _ = await asyncio.wait([dialling], timeout=seconds)
        return bool(done) and not dialling.cancelled() and dialling.exception() is None
    finally:
        dialling.cancel()


async def _dial(host: str, port: int) -> None:
    transport = cast("asyncio.Transport", await connect(asyncio.Protocol, host, port))
    transport.abort()


def _forget(dialling: "asyncio.Task[Any]") -> None:
    """Take note of a failure that nobody waits for any more."""
    if not dialling.cancelled():
        dialling.exception()
