"""A call that is given up says whether anything of it was sent: only then can it cost money."""

import asyncio

import pytest

from headworks.errors import ConnectFailed
from headworks.upstream.http1 import ClientLimits
from tests.upstream.scripted import Wire, ask, client_of, serve, until, whole

pytestmark = pytest.mark.anyio


class Server:
    """Answers once it may; counts the requests of which it has seen anything."""

    def __init__(self):
        self.seen = 0
        self.goes_on = asyncio.Event()

    async def __call__(self, wire: Wire) -> None:
        while await wire.request():
            self.seen += 1
            await self.goes_on.wait()
            await wire.send(whole(b"abcd"))


async def given_up(task):
    """Cancel a call; return whether it says that nothing of it was sent."""
    task.cancel()
    with pytest.raises(asyncio.CancelledError) as given:
        await task
    return isinstance(given.value.__cause__, ConnectFailed)


async def test_given_up_on_the_way_to_a_connection():
    """However far a call has come: one that says it was not sent was not, and an early one says so."""
    said = []
    for turns in range(1, 30):
        server = Server()
        async with serve(server) as listener, client_of(listener) as client:
            task = asyncio.ensure_future(ask(client))
            for _ in range(turns):
                await asyncio.sleep(0)
            said.append(await given_up(task))
            server.goes_on.set()
            assert await ask(client) == b"abcd"
            assert server.seen == 1 or not said[-1]
    assert said[:2] == [True, True]
    assert not all(said)
    assert said == sorted(said, reverse=True)


async def test_given_up_in_the_line_for_a_connection():
    """Where all connections are busy nothing is sent, however long a call has waited."""
    server = Server()
    async with (
        serve(server) as listener,
        client_of(listener, ClientLimits(connections=1)) as client,
    ):
        first = asyncio.ensure_future(ask(client))
        await until(lambda: server.seen == 1)
        second = asyncio.ensure_future(ask(client))
        await until(lambda: client.statistics().waiting == 1)

        assert await given_up(second)
        assert not await given_up(first)


async def test_a_deadline_of_the_callers_own_stays_one():
    """Whoever bounds a call by `asyncio.timeout` gets the TimeoutError that it promises."""
    server = Server()
    async with (
        serve(server) as listener,
        client_of(listener, ClientLimits(connections=1)) as client,
    ):
        first = asyncio.ensure_future(ask(client))
        await until(lambda: server.seen == 1)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await ask(client)
        assert not await given_up(first)
