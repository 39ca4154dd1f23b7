"""An operator learns which providers cannot be reached, and when they can be again."""

import asyncio
import logging
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from headworks.testing import FakeClock
from headworks.upstream.probe import AGAIN, SOON, Place, Reachability, is_reachable
from tests.upstream.scripted import Wire, serve, until

pytestmark = pytest.mark.anyio


def refused() -> int:
    """Return a port on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port


@contextmanager
def listening(port: int = 0) -> Iterator[Place]:
    """Accept connections, in the kernel alone."""
    with socket.create_server(("127.0.0.1", port)) as server:
        yield Place("127.0.0.1", server.getsockname()[1], 5.0)


async def test_a_look_sends_nothing():
    """Looking opens a connection and closes it; the provider reads no byte and bills nothing."""
    received: list[bytes] = []
    gone = asyncio.Event()

    async def script(wire: Wire) -> None:
        try:
            received.append(await wire.reader.read(100))
        finally:
            gone.set()

    async with serve(script) as server:
        assert await is_reachable("127.0.0.1", server.port, 5.0) is True
        await gone.wait()
    assert b"".join(received) == b""


@pytest.mark.parametrize(
    ("host", "seconds"),
    [("127.0.0.1", 5.0), ("no.such.host.invalid", 5.0), ("a" * 80 + ".example", 5.0), ("", 5.0)],
    ids=["refused", "unknown", "impossible", "empty"],
)
async def test_what_cannot_be_reached_is_no_error(host: str, seconds: float):
    """A port that refuses and a name that leads nowhere are answers, not exceptions."""
    assert await is_reachable(host, refused(), seconds) is False


async def test_a_look_ends_in_time():
    """A provider that takes too long counts as not there, and nobody waits for it."""
    with listening() as place:
        assert await is_reachable(place.host, place.port, 0.0) is False


async def test_a_look_that_is_cancelled_leaves_nothing_behind():
    """At the end of the process a look under way ends with it."""
    with listening() as place:
        look = asyncio.ensure_future(is_reachable(place.host, place.port, 5.0))
        await asyncio.sleep(0)
        look.cancel()
        with pytest.raises(asyncio.CancelledError):
            await look


async def test_states_follow_what_is_there(caplog):
    """Unknown, degraded with one warning, reachable with one note: at the next look each."""
    caplog.set_level(logging.INFO, logger="headworks")
    clock = FakeClock()
    reachability = Reachability(clock)
    port = refused()
    reachability.watch({"up": Place("127.0.0.1", port, 5.0)})
    assert reachability.states() == {"up": "unknown"}
    for _ in range(3):
        await reachability.look()
        clock.advance(SOON)
    assert reachability.states() == {"up": "degraded"}
    with listening(port):
        await reachability.look()
    assert reachability.states() == {"up": "reachable"}
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
    assert f"127.0.0.1:{port}" in caplog.text


async def test_looks_are_rare_where_all_is_well():
    """A provider that was there is looked at every 15 seconds; one that was not, every two."""
    clock = FakeClock()
    reachability = Reachability(clock)
    with listening() as place:
        reachability.watch({"up": place})
        await reachability.look()
    clock.advance(AGAIN - 0.1)
    await reachability.look()
    assert reachability.states() == {"up": "reachable"}
    clock.advance(0.1)
    await reachability.look()
    assert reachability.states() == {"up": "degraded"}


async def test_a_new_configuration_is_followed():
    """What did not move keeps its state, what moved is unknown, what is gone is forgotten."""
    reachability = Reachability(FakeClock())
    with listening() as place:
        reachability.watch({"stays": place, "moves": place, "goes": place})
        await reachability.look()
    elsewhere = Place("127.0.0.1", refused(), 5.0)
    reachability.watch({"stays": place, "moves": elsewhere, "comes": elsewhere})
    assert reachability.states() == {"stays": "reachable", "moves": "unknown", "comes": "unknown"}
    await reachability.look()
    assert reachability.states() == {"stays": "reachable", "moves": "degraded", "comes": "degraded"}


async def test_a_look_at_what_is_gone_changes_nothing():
    """A reload in the middle of a look: what it finds is of no interest any more."""
    reachability = Reachability(FakeClock())
    with listening() as place:
        reachability.watch({"up": place})
        look = asyncio.ensure_future(reachability.look())
        await asyncio.sleep(0)
        reachability.watch({"other": place})
        await look
    assert reachability.states() == {"other": "unknown"}


async def test_looking_goes_on_until_it_is_cancelled():
    """In the background every provider is looked at again and again."""
    reachability = Reachability(FakeClock())
    with listening() as place:
        reachability.watch({"up": place})
        following = asyncio.ensure_future(reachability.follow())
        await until(lambda: reachability.states() == {"up": "reachable"})
    await until(lambda: reachability.states() == {"up": "degraded"})
    following.cancel()
    with pytest.raises(asyncio.CancelledError):
        await following
