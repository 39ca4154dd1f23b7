"""Lines between ends in memory, good or bad as a seed makes them, and places to dial."""

import asyncio
import random
import socket
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from tests.faults.simworld.clockwork import VirtualLoop
from tests.faults.simworld.ends import End, Socket

Fate = Literal["", "refused", "unknown", "silent", "fin", "rst", "hole"]
"""How a line ends early: no connection, no such host, no answer to a connect; cut, reset, mute."""


@dataclass(frozen=True)
class Weather:
    """What one line is like.

    Attributes:
        latency: Seconds one way, of which up to `jitter` more each time.
        slices: Bytes of the largest piece that arrives at once, 0 for as they were written.
        rate: Bytes a second, 0 for any number.
        window: Bytes that may be under way unread.
        fate: What befalls it, after so many bytes `after` in one direction or at `at` seconds.
    """

    latency: float = 0.001
    jitter: float = 0.0
    slices: int = 0
    rate: float = 0.0
    window: int = 65_536
    fate: Fate = ""
    after: int | None = None
    at: float | None = None

    @property
    def is_fast(self) -> bool:
        """Whether all that is written arrives at once, and to the end."""
        return not (self.rate or self.slices or self.fate) and self.window == Weather.window


Item = tuple[float, str, bytes]
"""What is under way: when it arrives, what it is (data, fin, rst, fate), and its bytes."""

_MOST_SLICES = 64
"""Pieces that may be under way before the rest goes in one."""


@dataclass
class Way:
    """One direction of a line.

    Attributes:
        items: What is under way, in order.
        carried: Bytes so far.
        free: When the last byte has left, `last` when it arrives.
    """

    items: deque[Item] = field(default_factory=deque[Item])
    carried: int = 0
    free: float = 0.0
    last: float = 0.0


class Line:
    """A connection between two ends, and what befalls it."""

    def __init__(self, network: "Network", number: int, place: str, weather: Weather) -> None:
        self.network, self.loop, self.weather = network, network.loop, weather
        self.number, self.place = number, place
        self.writes_late, self.window = network.writes_late, weather.window
        self.is_mute = False
        self._chance = random.Random(f"{network.seed} line {number}")
        here, there = ("10.0.0.1", 20_000 + number), (place, 80)
        self.caller = End(self, f"{place}#{number}>", Socket(here, there))
        self.server = End(self, f"{place}#{number}<", Socket(there, here))
        self.caller.peer, self.server.peer = self.server, self.caller
        self._ways = {self.caller: Way(), self.server: Way()}
        self._suffers = self._chance.choice((self.caller, self.server))
        if weather.at is not None:
            self.loop.call_later(weather.at, self.strike)

    def note(self, text: str) -> None:
        """Write the trace."""
        self.network.note(text)

    def send(self, end: End, data: bytes) -> None:
        """Carry bytes from one end to the other."""
        after = self.weather.after
        if after is not None and end is self._suffers:
            way = self._ways[end]
            carried = way.carried
            way.carried += len(data)
            if carried <= after < carried + len(data):
                self._cut_up(end, data[: after - carried])
                self._put(end, "fate", b"")
                return
        self._cut_up(end, data)

    def post(self, end: End, kind: str) -> None:
        """Carry a FIN or a reset."""
        self._put(end, kind, b"")

    def closed(self, end: End, error: Exception | None) -> None:
        """Let go of an end."""
        self.note(f"{end.name} closed" + (f" ({error})" if error else ""))
        self.network.forget(end)

    def strike(self) -> None:
        """Let the line meet its fate, now."""
        fate = self.weather.fate
        self.note(f"{self.place}#{self.number} meets {fate}")
        if fate == "hole":
            self.is_mute = True
            return
        for end in (self.caller, self.server):
            end.arrive("fin" if fate == "fin" else "rst", b"")
        self.is_mute = True

    def clear(self) -> None:
        """Let both ends find out what became of a line that fell silent."""
        for end in (self.caller, self.server):
            end.arrive("rst", b"")

    def _cut_up(self, end: End, data: bytes) -> None:
        most = self.weather.slices
        items = self._ways[end].items
        while most and len(data) > 1 and len(items) < _MOST_SLICES:
            size = self._chance.randint(1, min(most, len(data)))
            self._put(end, "data", data[:size])
            data = data[size:]
        if data:
            self._put(end, "data", data)

    def _put(self, end: End, kind: str, data: bytes) -> None:
        weather, way = self.weather, self._ways[end]
        leaves = self.loop.time()
        if weather.rate:
            leaves = way.free = max(way.free, leaves) + len(data) / weather.rate
        wait = weather.latency + (self._chance.random() * weather.jitter if weather.jitter else 0.0)
        way.last = max(way.last, leaves + wait)
        way.items.append((way.last, kind, data))
        if len(way.items) == 1:
            self.loop.call_at(way.last, self._deliver, end)

    def _deliver(self, end: End) -> None:
        items, now, other = self._ways[end].items, self.loop.time(), end.peer
        data = bytearray()
        while items and items[0][0] <= now:
            _, kind, piece = items.popleft()
            if self.is_mute:
                continue
            if kind == "data":
                data += piece
                continue
            self._bring(other, data)
            data = bytearray()
            if kind == "fate":
                self.strike()
            else:
                self.note(f"{other.name} {kind}")
                other.arrive(kind, b"")
        self._bring(other, data)
        if items:
            self.loop.call_at(items[0][0], self._deliver, end)

    def _bring(self, end: End, data: bytearray) -> None:
        if data:
            self.network.note(f"{end.name} {len(data)}", data)
            end.arrive("data", bytes(data))


class Server:
    """What listens at a place."""

    def __init__(self, network: "Network", place: str) -> None:
        self._network, self._place = network, place

    def close(self) -> None:
        """Accept nothing more."""
        self._network.places.pop(self._place, None)

    def is_serving(self) -> bool:
        """Whether it accepts connections."""
        return self._place in self._network.places


@dataclass
class Place:
    """Stands for a bound socket: a name that others can dial."""

    name: str

    def close(self) -> None:
        """Do nothing: the server closes."""


@dataclass
class Network:
    """All places and lines of a world.

    Attributes:
        forecast: Says what the next line to a place is like.
        on_line: Is told of each line that came about.
        writes_late: Whether transports write at the end of a turn, as uvloop's do.
    """

    loop: VirtualLoop
    seed: int
    note: Callable[..., None]
    forecast: Callable[[str], Weather] = lambda _: Weather()
    on_line: Callable[[Line], None] = lambda _: None
    writes_late: bool = False
    places: dict[str, Callable[[], Any]] = field(default_factory=dict[str, Callable[[], Any]])
    lines: list[Line] = field(default_factory=list[Line])
    _open: dict[End, None] = field(default_factory=dict[End, None])
    _count: int = 0

    def __post_init__(self) -> None:
        self.loop.dial, self.loop.listen = self.dial, self.listen

    def listen(self, factory: Callable[[], Any], place: Place) -> Server:
        """Accept connections to a place."""
        self.places[place.name] = factory
        return Server(self, place.name)

    def open_ends(self) -> list[End]:
        """Return the ends that are not closed."""
        return list(self._open)

    def forget(self, end: End) -> None:
        """Let a closed end go."""
        self._open.pop(end, None)

    async def dial(self, factory: Callable[[], Any], host: str, port: int) -> tuple[End, Any]:
        """Connect to a place, as `create_connection` does."""
        weather = self.forecast(host)
        self._count += 1
        number = self._count
        self.note(f"dial {host}#{number} {weather.fate}")
        if weather.fate == "unknown":
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        if weather.fate == "silent":
            await self.loop.create_future()
        await asyncio.sleep(2 * weather.latency)
        accept = self.places.get(host)
        if accept is None or weather.fate == "refused":
            raise ConnectionRefusedError(111, f"Connect call failed ({host!r}, {port})")
        line = Line(self, number, host, weather)
        self._open[line.caller] = self._open[line.server] = None
        self.lines.append(line)
        self.on_line(line)
        protocol = factory()
        self.loop.call_soon(line.server.begin, accept())
        begun = self.loop.create_future()
        self.loop.call_soon(line.caller.begin, protocol)
        self.loop.call_soon(_set, begun)
        try:
            await begun
        except BaseException:
            line.caller.close()
            raise
        return line.caller, protocol


def _set(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)
