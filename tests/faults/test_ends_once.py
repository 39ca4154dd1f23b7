"""However a call is left, the upstream is closed, the row booked and the call recorded: once."""

import asyncio
from contextlib import suppress

import pytest

from headworks.errors import CallError, ConnectionLost, IdleTimeout, StreamTruncated
from headworks.testing import EVENTS, FakeResponse
from headworks.types import Request, Secret
from tests.world import World

pytestmark = pytest.mark.anyio

KEY = Secret("app")
FAULTS = [StreamTruncated(), IdleTimeout(), RuntimeError("a defect"), asyncio.CancelledError()]


def request(*, stream: bool) -> Request:
    fields = {"model": "m", "messages": [], "stream": stream}
    return Request("POST", "/v1/chat/completions", content=b"{}", fields=fields)


async def carry(world: World, *, stream: bool, take: int = 99) -> None:
    async with world.engine.call(request(stream=stream), KEY) as response:
        if isinstance(response.content, bytes):
            return
        chunks = aiter(response.content)
        for _ in range(take):
            if await anext(chunks, None) is None:
                return


def assert_ended_once(world: World) -> None:
    world.assert_settled()
    assert len(world.journal.calls) == 1
    assert world.journal.calls[0].ended is not None


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("turns", range(1, 16))
async def test_cancelled_at_any_await(turns, stream):
    """Whenever a caller's task is cancelled, the call ends in order."""
    world = World()
    world.upstream.script = [ConnectionLost()]
    task = asyncio.ensure_future(carry(world, stream=stream))
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task

    assert_ended_once(world)


@pytest.mark.parametrize("fault", FAULTS, ids=repr)
@pytest.mark.parametrize("after", range(5))
@pytest.mark.parametrize("stream", [False, True])
async def test_broken_at_any_event(fault, after, stream):
    """Whatever breaks an answer, and wherever."""
    world = World()
    content = EVENTS if stream else [b'{"a"', b":", b"1", b"}"]
    headers = () if stream else ((b"content-type", b"application/json"),)
    world.upstream.script = [FakeResponse(content, headers=headers, fault=fault, fault_after=after)]

    with suppress(CallError, RuntimeError, asyncio.CancelledError):
        await carry(world, stream=stream)

    assert_ended_once(world)


@pytest.mark.parametrize("take", range(6))
async def test_the_caller_leaves_at_any_point(take):
    """A caller who reads no further is billed for what it had, never for nothing."""
    world = World()

    await carry(world, stream=True, take=take)

    assert_ended_once(world)
    assert world.ledger.rows[0].usage.input > 0


@pytest.mark.parametrize("take", range(4))
async def test_the_callers_own_error(take):
    """An error in the caller's block passes through, and the call still ends in order."""
    world = World()

    async def leave_with_an_error() -> None:
        async with world.engine.call(request(stream=True), KEY) as response:
            assert not isinstance(response.content, bytes)
            chunks = aiter(response.content)
            for _ in range(take):
                await anext(chunks)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await leave_with_an_error()

    assert_ended_once(world)


async def test_cancelled_twice():
    """A second cancellation while the first is handled changes nothing."""
    world = World()
    world.upstream.script = [FakeResponse(EVENTS, stalls_after=1)]
    task = asyncio.ensure_future(carry(world, stream=True))
    for _ in range(10):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.sleep(0)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task

    assert_ended_once(world)


@pytest.mark.parametrize("script", [[], [ConnectionLost()] * 3], ids=["answered", "failed"])
async def test_parallel_calls_leave_nothing_behind(script):
    """Two hundred calls, half of them cancelled at odd moments, hold nothing at the end."""
    world = World()
    world.keys.callers = {"app": world.keys.callers["open"]}
    world.upstream.script = list(script) * 50
    tasks = [asyncio.ensure_future(carry(world, stream=bool(i % 3))) for i in range(200)]
    for i, task in enumerate(tasks):
        await asyncio.sleep(0)
        if i % 2:
            task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)

    world.assert_settled()
