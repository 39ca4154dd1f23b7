"""The data plane: whoever leaves stops paying, and whatever breaks is seen to break."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from typing_extensions import override

from headworks.errors import ConnectionLost, StreamTruncated
from headworks.testing import EVENTS, FakeResponse
from headworks.types import Caller
from tests.faults.processes import chat, request
from tests.gateway.conftest import connected, everything, serving
from tests.gateway.peer import (
    BODY,
    BYTES,
    GONE,
    STREAMED,
    Peer,
    gateway,
    part,
    peer,
    scope,
    turns,
)
from tests.upstream.scripted import until
from tests.world import World

pytestmark = pytest.mark.anyio


def listening(server: Peer) -> dict[str, Any]:
    """Return a scope of a server whose departures a task must wait for."""
    assert not server.leaves.is_set()
    return scope()


def telling(server: Peer) -> dict[str, Any]:
    """Return a scope of our own server, which calls when the caller leaves."""

    def on_departure(leave: Callable[[], None] | None) -> None:
        callers[:] = [] if leave is None else [leave]

    async def tell() -> None:
        await server.leaves.wait()
        for leave in callers:
            leave()

    callers: list[Callable[[], None]] = []
    telling_task = asyncio.ensure_future(tell())
    return {**scope(), "extensions": {"headworks.departure": on_departure, "keeps": telling_task}}


@dataclass
class Released(FakeResponse):
    """An answer that stops before its second piece until a test lets it go on."""

    goes_on: asyncio.Event = field(default_factory=asyncio.Event)

    @override
    async def chunks(self) -> AsyncGenerator[bytes]:
        async for piece in super().chunks():
            yield piece
            await self.goes_on.wait()


SERVERS = pytest.mark.parametrize("at", [listening, telling])


async def test_who_leaves_in_the_middle_of_an_upload_has_made_no_call():
    """Half a request is none: nothing is sent on, booked or answered."""
    world = World()
    server = peer(part(BODY[:5], more=True), GONE)
    await gateway(world)(scope(), server.receive, server.send)
    assert (server.sent, world.upstream.sent, world.journal.calls) == ([], [], [])


@SERVERS
@pytest.mark.parametrize("after", [0, 1], ids=["before the head", "in the stream"])
async def test_who_leaves_ends_the_call_once(at: Callable[[Peer], dict[str, Any]], after: int):
    """The provider's answer is closed, settled and recorded once; the server sees no error."""
    world = World()
    world.upstream.script.append(FakeResponse(EVENTS, stalls_after=after))
    server = peer(part(STREAMED))
    serving_task = asyncio.ensure_future(gateway(world)(at(server), server.receive, server.send))
    await turns()
    assert bool(server.sent) == bool(after)
    server.leaves.set()
    await serving_task
    assert serving_task.cancelling() == 0
    assert world.journal.outcomes == ["abandoned"]
    world.assert_settled()


@SERVERS
@pytest.mark.parametrize("breaks", [False, True], ids=["to the end", "to a break"])
@pytest.mark.parametrize("content", [EVENTS, (b"a", b"b", b"c")], ids=["stream", "bytes"])
async def test_under_drain_the_answer_is_read_on(
    at: Callable[[Peer], dict[str, Any]], content: Sequence[bytes], *, breaks: bool
):
    """Nothing more is sent; the answer is booked by its end, and the server sees no error."""
    world = World()
    world.keys.callers = {"open": Caller("open", "k1", on_disconnect="drain")}
    fault = StreamTruncated() if breaks else None
    headers = () if content is EVENTS else BYTES
    answer = Released(content, headers=headers, fault=fault, fault_after=2 if breaks else None)
    world.upstream.script.append(answer)
    server = peer(part(STREAMED if content is EVENTS else BODY))
    at_path = {**at(server), "path": "/v1/audio/speech"} if content is not EVENTS else at(server)
    at_path["raw_path"] = at_path["path"].encode()
    serving_task = asyncio.ensure_future(gateway(world)(at_path, server.receive, server.send))
    await server.began.wait()
    await turns()
    heard = len(server.sent)
    server.leaves.set()
    await turns()
    assert not serving_task.done()
    assert world.limits.statistics().in_flight == 1
    answer.goes_on.set()
    await serving_task

    assert len(server.sent) == heard
    assert world.journal.outcomes == ["upstream_stream_truncated" if breaks else "drained"]
    assert world.ledger.rows[0].outcome == world.journal.outcomes[0]
    world.assert_settled()


@SERVERS
async def test_a_server_that_ends_a_drained_request_is_obeyed(
    at: Callable[[Peer], dict[str, Any]],
):
    """What is read for nobody can be cut, and says so."""
    world = World()
    world.keys.callers = {"open": Caller("open", "k1", on_disconnect="drain")}
    world.upstream.script.append(FakeResponse(EVENTS, stalls_after=1))
    server = peer(part(STREAMED))
    serving_task = asyncio.ensure_future(gateway(world)(at(server), server.receive, server.send))
    await server.began.wait()
    server.leaves.set()
    await turns()
    serving_task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving_task
    assert world.journal.outcomes == ["abandoned"]
    world.assert_settled()


@SERVERS
async def test_who_leaves_while_an_error_is_told_is_no_error(
    at: Callable[[Peer], dict[str, Any]],
):
    """A caller that does not take its error answer, and goes, leaves nothing behind."""
    world = World()
    world.upstream.script.extend([ConnectionLost()] * 3)
    server = peer()
    server.blocks = asyncio.Event()
    serving_task = asyncio.ensure_future(gateway(world)(at(server), server.receive, server.send))
    await server.began.wait()
    server.leaves.set()
    await serving_task
    assert world.journal.outcomes == ["all_routes_failed"]


@pytest.mark.parametrize("leaves", [False, True], ids=["caller waits", "caller leaves too"])
async def test_a_server_that_ends_a_request_is_obeyed(*, leaves: bool):
    """At the end of a drain the task is cancelled, and says so, whoever else has left."""
    world = World()
    world.upstream.script.append(FakeResponse(EVENTS, stalls_after=1))
    server = peer(part(STREAMED))
    serving_task = asyncio.ensure_future(
        gateway(world)(telling(server), server.receive, server.send)
    )
    await server.began.wait()
    serving_task.cancel()
    if leaves:
        server.leaves.set()
    with pytest.raises(asyncio.CancelledError):
        await serving_task
    world.assert_settled()


async def test_a_break_after_the_head_is_not_hidden():
    """When raw bytes break off, the server gets the error, so that it breaks the connection."""
    world = World()
    broken = FakeResponse(
        [b"half", b"never"], headers=BYTES, fault=StreamTruncated(), fault_after=1
    )
    world.upstream.script.append(broken)
    server = peer(part())
    with pytest.raises(StreamTruncated):
        await gateway(world)(scope("GET", "/v1/files/f/content"), server.receive, server.send)
    assert [one.get("body") for one in server.sent] == [None, b"half"]
    world.assert_settled()


# On real sockets.


async def test_a_caller_who_leaves_in_its_upload_leaves_nothing():
    """Half an upload on a closed connection is forgotten."""
    world = World()
    async with serving(gateway(world)) as server:
        async with connected(server.url) as (_, writer):
            writer.write(request(BODY, key="open")[:-5])
            await until(lambda: server.lifecycle.in_flight == 1)
        await until(lambda: server.lifecycle.in_flight == 0)
    assert (world.journal.calls, world.upstream.sent) == ([], [])


async def test_a_caller_who_leaves_its_stream_frees_the_provider():
    """A closed connection ends the provider's work at once, and the call is booked."""
    world = World()
    world.upstream.script.append(FakeResponse(EVENTS, stalls_after=1))
    async with serving(gateway(world)) as server:
        async with connected(server.url) as (reader, writer):
            writer.write(chat(key="open", model="m", stream=True))
            await reader.readuntil(b"Hel")
        await until(lambda: server.lifecycle.in_flight == 0)
    assert world.journal.outcomes == ["abandoned"]
    world.assert_settled()


async def test_a_broken_download_has_no_proper_end(caplog):
    """A file that breaks off is cut on the wire: no client takes it for whole."""
    caplog.set_level(logging.CRITICAL, logger="headworks.gateway")
    world = World()
    broken = FakeResponse(
        [b"half", b"never"], headers=BYTES, fault=StreamTruncated(), fault_after=1
    )
    world.upstream.script.append(broken)
    async with serving(gateway(world)) as server, connected(server.url) as (reader, writer):
        writer.write(request(b"", line="GET /v1/files/f/content HTTP/1.1", key="open"))
        received = await everything(reader)
    assert received.endswith(b"4\r\nhalf\r\n")
