"""Many streams at once: nothing is lost, nothing changes places, and an open stream is cheap."""

import asyncio
import resource
import subprocess
import sys

import pytest

from tests.streams.crowd import (
    Caller,
    Provider,
    Told,
    chunked,
    crowd,
    event,
    many_files,
    part,
    resident,
    run,
    speaking,
    warm,
)

pytestmark = pytest.mark.anyio

OPEN = 2_000
MOST_OPEN = 30 * 1024
"""Bytes that an open stream may cost while nothing moves on it."""

STREAMS, RATE, SECONDS = 250, 50.0, 3.0
"""A share of the load that `python -m tests.streams.crowd` puts on a gateway: 2,000 for a minute."""


async def test_streams_beside_each_other_lose_nothing(tmp_path, figure):
    """Every event of every stream arrives, once and in its turn, at 50 a second each."""
    load = await run(tmp_path, STREAMS, RATE, SECONDS)

    figure(str(load))
    assert load.faults == []
    assert load.events == STREAMS * (1 + SECONDS * RATE)
    assert part(load.ages, 0.5) < 5.0, "events wait in the gateway"


async def test_an_open_stream_costs_little(tmp_path, figure):
    """Two thousand streams on which nothing moves: at most 30 KB of memory each, all let go at once."""
    many_files()
    async with speaking(tmp_path) as (gateway, provider):
        before = await warm(gateway, provider)
        async with crowd(gateway, provider, range(50, 50 + OPEN)) as callers:
            each = (resident(gateway.pid) - before) / OPEN
            assert [fault for one in callers for fault in one.faults] == []
        figure(f"{OPEN:,} open streams: {each / 1024:.1f} KB each")
        await provider.wait_left(OPEN)
    assert each <= MOST_OPEN


def test_a_gateway_may_have_as_many_connections_as_the_system_lets_it():
    """The usual 1,024 open files would be 500 calls: what is allowed at most is taken."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    program = (
        "import resource\n"
        "from headworks.gateway.server import run\n"
        f"resource.setrlimit(resource.RLIMIT_NOFILE, (256, {most}))\n"
        "async def main(): print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])\n"
        "run(main())\n"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)  # fmt: skip

    assert int(said.stdout) == most


def test_the_crowd_notices_what_is_lost():
    """A caller that misses an event, or gets one twice, says so: else the load proved nothing."""
    for numbers, fault in (((0, 2), "2 came in the turn of 1"), ((0, 1, 1), "1 came in the turn of 2")):  # fmt: skip
        assert told(numbers) == [fault]
    assert told((0, 1, 2)) == []


def told(numbers: tuple[int, ...]) -> list[str]:
    """Return what a caller says of a stream of these numbers."""

    async def hear() -> list[str]:
        provider = Provider()
        provider.streams[7] = stream = Told(provider)
        stream.sent = [0.0] * 9
        caller = Caller(7, provider)
        caller.data_received(b"HTTP/1.1 200 OK\r\n\r\n")
        for number in numbers:
            caller.data_received(chunked(event(number)))
        return caller.faults

    return asyncio.run(hear())
