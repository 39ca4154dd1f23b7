"""A crowd of streams through a gateway: a provider that speaks at a pace, callers who check each event.

Both live in one process, beside the gateway's, so that one clock tells how old an event is when it
arrives. Every event has a number; a caller that misses one, or gets it out of its turn, says so.

    python -m tests.streams.crowd --streams 2000 --rate 50 --seconds 60
"""

import argparse
import asyncio
import json
import re
import resource
import tempfile
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import cast

import psutil
from typing_extensions import override

from tests.faults.processes import Process, chat, configuration, gateway_process

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
_BASE = b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"gpt-6-sol","choices":[{"index":0,"delta":'
_USAGE = b'{"prompt_tokens":9,"completion_tokens":%d,"total_tokens":9}'
_NUMBER = re.compile(rb'"content":" (\d+)"')
_FIRST = 50
"""The crowd's first number; before it come those that warm a gateway up."""
_PHASES = 20
"""Groups of streams that speak in turn, so that not all of them do at once."""


def chunked(data: bytes) -> bytes:
    """Return data as one chunk of the transfer coding."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def event(number: int) -> bytes:
    """Return the chunk of a chat that says its number."""
    return _BASE + b'{"content":" %d"},"finish_reason":null}]}\n\n' % number


def ending(count: int) -> bytes:
    """Return the last events of a chat that has said so many numbers."""
    usage = b'data: {"id":"c","choices":[],"usage":' + _USAGE % count + b"}\n\n"
    return _BASE + b'{},"finish_reason":"stop"}]}\n\n' + usage + b"data: [DONE]\n\n"


class Told(asyncio.Protocol):
    """A stream on the provider's side: begun at its request, spoken by the ticker."""

    def __init__(self, provider: "Provider") -> None:
        self.provider = provider
        self.sent: list[float] = []
        self.is_left = False
        self._asked = bytearray()
        self._transport: asyncio.Transport | None = None

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    @override
    def data_received(self, data: bytes) -> None:
        self._asked += data
        if self._asked.endswith(b"}") and self._transport is not None:
            name = int(json.loads(self._asked.partition(b"\r\n\r\n")[2])["messages"][0]["content"])
            self._asked.clear()
            self._transport.write(HEAD + chunked(event(0)))
            self.sent = [asyncio.get_running_loop().time()]
            self.provider.streams[name] = self

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self.is_left = True

    def speak(self, now: float) -> None:
        """Say the next number."""
        if self._transport is not None:
            self._transport.write(chunked(event(len(self.sent))))
            self.sent.append(now)

    def end(self) -> None:
        """Say that this was all."""
        if self._transport is not None:
            self._transport.write(chunked(ending(len(self.sent))) + b"0\r\n\r\n")


@dataclass
class Provider:
    """Streams by their callers' numbers."""

    streams: dict[int, Told] = field(default_factory=dict[int, Told])

    async def speak(self, seconds: float, rate: float) -> float:
        """Let every stream speak so often a second, for so long; return the seconds it took."""
        loop = asyncio.get_running_loop()
        everyone = list(self.streams.values())
        groups = [everyone[start::_PHASES] for start in range(_PHASES)]
        begun, pause = loop.time(), 1.0 / rate / _PHASES
        for turn in range(round(seconds * rate) * _PHASES):
            wait = begun + turn * pause - loop.time()
            await asyncio.sleep(max(0.0, wait))
            for stream in groups[turn % _PHASES]:
                stream.speak(loop.time())
        return loop.time() - begun

    async def wait_left(self, count: int) -> None:
        """Wait until so many streams were let go by the gateway."""
        while sum(one.is_left for one in self.streams.values()) < count:  # noqa: ASYNC110 - of many
            await asyncio.sleep(0.02)

    def end(self) -> None:
        """End every stream as it should."""
        for stream in self.streams.values():
            stream.end()


class Caller(asyncio.Protocol):
    """A caller of one stream, which checks its events as they come.

    Attributes:
        heard: How many numbers came, each in its turn.
        faults: What was not as it should be.
        gaps: Seconds between two reads that brought something; `ages` how old each number was.
        over: Set when the stream or its connection has ended.
    """

    def __init__(self, number: int, provider: Provider) -> None:
        self.number, self.provider = number, provider
        self.heard = 0
        self.faults: list[str] = []
        self.gaps: list[float] = []
        self.ages: list[float] = []
        self.over = asyncio.Event()
        self.began = asyncio.Event()
        self.transport: asyncio.Transport | None = None
        self._loop = asyncio.get_running_loop()
        self._last = 0.0
        self._rest = b""

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        content = str(self.number)
        self.transport.write(chat(model="single", stream=True, messages=[{"role": "user", "content": content}]))  # fmt: skip

    @override
    def data_received(self, data: bytes) -> None:
        now = self._loop.time()
        if not self.began.is_set():
            if not data.startswith(b"HTTP/1.1 200 "):
                self.faults.append(data[:300].decode("latin-1"))
                self.over.set()
            self.began.set()
        data = self._rest + data
        end = data.rfind(b"}\n\n")
        self._rest = data[max(0, end) :]
        if end > 0:
            self._take(data[:end], now)
        if self._rest.endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n"):
            self.over.set()

    def _take(self, data: bytes, now: float) -> None:
        sent = self.provider.streams[self.number].sent
        for found in _NUMBER.findall(data):
            if int(found) != self.heard and len(self.faults) < 3:
                self.faults.append(f"{int(found)} came in the turn of {self.heard}")
            if self.heard:
                self.ages.append(now - sent[self.heard])
                self.gaps.append(now - self._last)
            self._last = now
            self.heard += 1

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        if not self.over.is_set():
            self.faults.append(f"cut off: {exc}")
        self.over.set()


@dataclass(frozen=True)
class Load:
    """What a crowd saw; times are in seconds and sorted.

    Attributes:
        seconds: How long the provider spoke; longer than asked where the machine is too slow.
        cpu: Seconds of CPU that the gateway used meanwhile.
        gaps: Between a stream's events as they came, `direct` as they were sent; `ages` from an
            event's sending to its arrival.
    """

    streams: int
    events: int
    seconds: float
    cpu: float
    rss_per_stream: float
    faults: Sequence[str]
    gaps: Sequence[float]
    ages: Sequence[float]
    direct: Sequence[float]

    @override
    def __str__(self) -> str:
        def milliseconds(values: Sequence[float]) -> str:
            return "/".join(f"{part(values, share) * 1000:.0f}" for share in (0.5, 0.99, 1.0))

        rate = self.events / self.seconds
        return (
            f"{self.streams} streams, {self.events:,} events, {rate:,.0f} a second, "
            f"{len(self.faults)} faults, gateway CPU {self.cpu / self.seconds:.0%} "
            f"({self.cpu / self.events * 1e6:.1f} µs an event), "
            f"{self.rss_per_stream / 1024:.1f} KB a stream; p50/p99/max in ms: "
            f"gap {milliseconds(self.gaps)}, sent {milliseconds(self.direct)}, "
            f"age {milliseconds(self.ages)}"
        )


def part(values: Sequence[float], share: float) -> float:
    """Return the value below which this share of sorted values lies."""
    return values[min(len(values) - 1, int(len(values) * share))]


def resident(pid: int) -> int:
    """Return the bytes of memory that a process has."""
    return int(psutil.Process(pid).memory_info().rss)


def cpu_of(pid: int) -> float:
    """Return the seconds of CPU that a process has used."""
    times = psutil.Process(pid).cpu_times()
    return times.user + times.system


def many_files() -> None:
    """Allow this process, and those that it starts, as many open files as they may have."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


@asynccontextmanager
async def speaking(folder: Path) -> AsyncGenerator[tuple[Process, Provider]]:
    """Run a gateway in front of a provider that speaks at our pace."""
    provider = Provider()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Told(provider), "127.0.0.1", 0, backlog=4096)
    port = server.sockets[0].getsockname()[1]
    configuration(folder, port, silence="300s", level="warning")
    try:
        async with gateway_process(folder, folder / "log") as gateway:
            yield gateway, provider
    finally:
        server.close()


@asynccontextmanager
async def crowd(gateway: Process, provider: Provider, numbers: range) -> AsyncGenerator[list[Caller]]:  # fmt: skip
    """Open a stream for each number, a few at a time; cut them when the block is left."""
    loop = asyncio.get_running_loop()
    callers: list[Caller] = []
    try:
        for number in numbers:
            make = partial(Caller, number, provider)
            _, caller = await loop.create_connection(make, "127.0.0.1", gateway.port)
            callers.append(caller)
            if len(callers) % 50 == 0:
                await asyncio.gather(*(one.began.wait() for one in callers[-50:]))
        await asyncio.gather(*(one.began.wait() for one in callers))
        yield callers
    finally:
        for caller in callers:
            caller.over.set()
            if caller.transport is not None:
                caller.transport.abort()


async def warm(gateway: Process, provider: Provider) -> int:
    """Let a gateway load what it loads at its first calls; return the memory that it then has."""
    async with crowd(gateway, provider, range(_FIRST)):
        pass
    before = 0
    while before != (before := resident(gateway.pid)):  # noqa: ASYNC110 - there is no event
        await asyncio.sleep(1.0)
    return before


async def run(folder: Path, streams: int, rate: float, seconds: float) -> Load:
    """Put the load of so many streams on a gateway, each with so many events a second."""
    many_files()
    async with speaking(folder) as (gateway, provider):
        before = await warm(gateway, provider)
        async with crowd(gateway, provider, range(_FIRST, _FIRST + streams)) as callers:
            provider.streams = {n: one for n, one in provider.streams.items() if n >= _FIRST}
            idle = (resident(gateway.pid) - before) / streams
            cpu = cpu_of(gateway.pid)
            took = await provider.speak(seconds, rate)
            provider.end()
            await asyncio.gather(*(one.over.wait() for one in callers))
            cpu = cpu_of(gateway.pid) - cpu
            return measured(callers, provider, took, cpu, idle)


def measured(
    callers: list[Caller], provider: Provider, took: float, cpu: float, idle: float
) -> Load:
    """Return what a crowd saw, its figures sorted."""
    faults = [f"{one.number}: {fault}" for one in callers for fault in one.faults]
    for one in callers:
        sent = len(provider.streams[one.number].sent)
        if one.heard != sent:
            faults.append(f"{one.number}: {one.heard} of {sent} events came")
    sent_gaps = [
        after - before
        for stream in provider.streams.values()
        for before, after in zip(stream.sent[1:], stream.sent[2:], strict=False)
    ]
    return Load(
        streams=len(callers),
        events=sum(one.heard for one in callers),
        seconds=took,
        cpu=cpu,
        rss_per_stream=idle,
        faults=faults,
        gaps=sorted(gap for one in callers for gap in one.gaps[1:]),
        ages=sorted(age for one in callers for age in one.ages),
        direct=sorted(sent_gaps),
    )


def main() -> None:
    """Run a crowd and print what it saw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--streams", type=int, default=2000)
    parser.add_argument("--rate", type=float, default=50.0)
    parser.add_argument("--seconds", type=float, default=60.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        load = _runner()(run(Path(folder), options.streams, options.rate, options.seconds))
    print(load, *load.faults[:20], sep="\n")  # noqa: T201 - its output
    raise SystemExit(bool(load.faults))


def _runner() -> Callable[..., Load]:
    try:
        import uvloop
    except ImportError:
        return asyncio.run
    return uvloop.run


if __name__ == "__main__":
    main()
