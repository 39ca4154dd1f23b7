"""Which connection serves which call: none that could carry another call's bytes."""

import asyncio
import random

import pytest

from headworks.errors import CallError, ConnectFailed, ConnectionLost, ConnectTimeout, Retry
from headworks.types import Timeouts
from headworks.upstream.connection import Connection
from headworks.upstream.http1 import ClientLimits
from tests.upstream.scripted import (
    Script,
    Wire,
    answering,
    ask,
    chunked,
    client_of,
    post,
    serve,
    ticks,
    until,
    whole,
)

pytestmark = pytest.mark.anyio

EVIL = whole(b"EVIL")
NEVER_LEARNING = ClientLimits(distrust_seconds=0, quiet_seconds=2, resting=300)


@pytest.mark.parametrize("answer", [whole(b"ok"), chunked(b"ok"), whole(b"")])
async def test_a_clean_connection_serves_again(answer: bytes) -> None:
    """Calls one after another need one connection."""
    async with serve(answering(answer)) as server, client_of(server) as client:
        for _ in range(5):
            await ask(client)
        statistics = client.statistics()
        assert (server.accepted, statistics.opened_total, statistics.reused_total) == (1, 1, 4)
        assert (statistics.open, statistics.idle, statistics.busy) == (1, 1, 0)


async def test_the_last_connection_used_serves_next() -> None:
    """After a rush, calls share few connections and the others may grow old."""
    async with serve(answering(whole(b"ok"))) as server, client_of(server) as client:
        await asyncio.gather(*(ask(client) for _ in range(5)))
        for _ in range(5):
            await ask(client)
        assert client.statistics().idle == server.accepted == 5
        assert client.statistics().reused_total == 5


@pytest.mark.parametrize(
    "surplus",
    [EVIL, b"x", b"\r\n", b"\n", b"\0", b"0\r\n\r\n", b"HTTP/1.1 100 Continue\r\n\r\n"],
    ids=repr,
)
@pytest.mark.parametrize("answer", [whole(b"ok"), chunked(b"ok"), b"HTTP/1.1 204 No\r\n\r\n"])
@pytest.mark.parametrize("after", [None, 0.0, 0.001, 0.1])
async def test_surplus_bytes_reach_no_other_call(
    answer: bytes, surplus: bytes, after: float | None
) -> None:
    """Bytes behind an answer, at once or later, are never the next call's answer."""

    async def script(wire: Wire) -> None:
        await wire.request()
        if after is None:
            await wire.send(answer + surplus)
        else:
            await wire.send(answer)
            await asyncio.sleep(after)
            await wire.send(surplus)
        await wire.request()
        pytest.fail("a connection with surplus bytes served again")

    async with serve(script) as server, client_of(server, ClientLimits()) as client:
        for _ in range(4):
            assert await ask(client) in {b"ok", b""}
        await until(lambda: client.statistics().open == 0)
        assert server.accepted == 4
        assert client.statistics().discarded_total > 0


async def test_bytes_before_the_request_are_nobodys_answer() -> None:
    """A server that speaks before it is asked is not believed."""

    async def script(wire: Wire) -> None:
        await wire.send(EVIL)
        await wire.gone()

    limits = ClientLimits(connections=1, quiet_seconds=0)
    async with serve(script) as server, client_of(server, limits) as client:
        pool = client._start()
        until_then = pool.loop.time() + 5
        waited = await asyncio.gather(pool.wait(5.0, until_then), return_exceptions=True)
        assert isinstance(waited[0], Connection | ConnectFailed)
        await until(lambda: client.statistics().discarded_total == 1)
        statistics = client.statistics()
        assert (statistics.open, statistics.idle) == (0, 0)


async def test_a_connection_that_the_server_closes_while_idle_is_replaced() -> None:
    """A server that closes idle connections costs no call."""

    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(whole(b"ok"))

    async with serve(script) as server, client_of(server) as client:
        for count in range(1, 6):
            assert await ask(client) == b"ok"
            await until(lambda: client.statistics().open == 0)
            assert client.statistics().discarded_total == count
        assert server.accepted == 5


async def test_a_connection_closed_behind_the_loops_back_is_not_used() -> None:
    """An end that waits in the socket, not yet seen by the loop, is seen before the next call."""
    first: list[Wire] = []

    async def script(wire: Wire) -> None:
        first.append(wire)
        while True:
            await wire.request()
            await wire.send(whole(b"ok"))

    async with serve(script) as server, client_of(server) as client:
        await ask(client)
        first[0].reset()
        await ticks(1)
        assert await ask(client) == b"ok"
        assert server.accepted == 2


async def test_a_warm_connection_that_dies_unanswered_may_be_tried_again() -> None:
    """When a kept connection dies under my request, the error says: same route, once more."""

    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(whole(b"ok"))
        await wire.request()

    async with serve(script) as server, client_of(server) as client:
        await ask(client)
        with pytest.raises(ConnectionLost) as caught:
            await ask(client)
        assert (caught.value.retry, caught.value.sent) == (Retry.SAME_ROUTE, True)
        assert await ask(client) == b"ok"
        assert server.accepted == 2


async def test_an_early_answer_is_delivered_but_its_connection_is_not_kept() -> None:
    """An error that comes before my large upload has left reaches me; the connection is closed."""

    async def script(wire: Wire) -> None:
        await wire.reader.readuntil(b"\r\n\r\n")
        wire.reader._transport.pause_reading()  # type: ignore[attr-defined] # a server that reads no body
        await wire.send(whole(b"too large", 413))
        await asyncio.sleep(5)

    async with serve(script) as server, client_of(server) as client:
        response = await post(client, b"x" * 20_000_000)
        assert (response.status, await response.read(99)) == (413, b"too large")
        assert client.statistics().open == 0


@pytest.mark.parametrize(
    "answer",
    [
        whole(b"ok", fields=b"connection: close\r\n"),
        b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok",
    ],
)
async def test_a_server_that_will_close_is_taken_at_its_word(answer: bytes) -> None:
    """A connection that the server means to close is not used again."""
    async with serve(answering(answer)) as server, client_of(server) as client:
        for _ in range(3):
            assert await ask(client) == b"ok"
        assert (server.accepted, client.statistics().open) == (3, 0)
        assert client.statistics().discarded_total == 0


async def test_an_idle_connection_grows_old() -> None:
    """Idle connections close by themselves, before the server would close them."""
    limits = ClientLimits(idle_seconds=0.05, quiet_seconds=0)
    async with serve(answering(whole(b"ok"))) as server, client_of(server, limits) as client:
        await ask(client)
        await until(lambda: client.statistics().open == 0)
        assert client.statistics().discarded_total == 0


async def test_only_so_many_connections_stay_idle() -> None:
    """A rush does not leave more idle connections than I allowed."""
    limits = ClientLimits(idle=3, quiet_seconds=0.01)
    async with serve(answering(whole(b"ok"))) as server, client_of(server, limits) as client:
        await asyncio.gather(*(ask(client) for _ in range(20)))
        await until(lambda: client.statistics().open == 3)


async def test_no_connection_is_kept_when_none_may_be() -> None:
    """With keep-alive switched off, each call has a connection of its own."""
    limits = ClientLimits(idle=0)
    async with serve(answering(whole(b"ok"))) as server, client_of(server, limits) as client:
        for _ in range(3):
            assert await ask(client) == b"ok"
        assert (server.accepted, client.statistics().open) == (3, 0)


async def test_a_connection_rests_before_it_serves_again() -> None:
    """A connection that has just answered is left alone while others can be had."""
    limits = ClientLimits(quiet_seconds=0.05)
    async with serve(answering(whole(b"ok"))) as server, client_of(server, limits) as client:
        await ask(client)
        await ask(client)
        assert server.accepted == 2
        await asyncio.sleep(0.06)
        await ask(client)
        assert server.accepted == 2


async def test_a_full_pool_serves_in_order() -> None:
    """With all connections busy, calls wait their turn, first come first served."""
    order: list[bytes] = []

    async def script(wire: Wire) -> None:
        while True:
            request = await wire.request()
            order.append(request[-2:])
            await ticks(3)
            await wire.send(whole(b"ok"))

    limits = ClientLimits(connections=2)
    async with serve(script) as server, client_of(server, limits) as client:
        calls = [asyncio.ensure_future(ask(client, b"%02d" % n)) for n in range(20)]
        await ticks(1)
        assert client.statistics().waiting == 18
        await asyncio.gather(*calls)
        assert (server.accepted, client.statistics().waiting) == (2, 0)
    assert sorted(order) == [b"%02d" % n for n in range(20)]
    assert all(abs(int(seen) - place) <= 1 for place, seen in enumerate(order))


async def test_a_full_pool_says_so_in_time() -> None:
    """When no connection comes free within the connect timeout, I learn that the pool is full."""

    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.gone()

    limits = ClientLimits(connections=1)
    async with serve(script) as server, client_of(server, limits) as client:
        busy = asyncio.ensure_future(ask(client))
        await until(lambda: server.accepted == 1)
        with pytest.raises(ConnectTimeout, match="All 1 connections were busy") as caught:
            await post(client, timeouts=Timeouts(connect=0.05))
        assert not caught.value.sent
        closing = asyncio.ensure_future(ask(client))
        await ticks(3)
        await client.aclose()
        with pytest.raises(ConnectFailed, match="closed"):
            await closing
        busy.cancel()
        await asyncio.gather(busy, return_exceptions=True)
        assert client.statistics().open == 0


async def test_a_slot_that_fails_to_connect_goes_to_the_next_call() -> None:
    """A connection that breaks frees its place for the call that waits."""

    async def script(wire: Wire) -> None:
        if len(server.wires) == 1:
            await wire.request()
            return
        while True:
            await wire.request()
            await wire.send(whole(b"ok"))

    limits = ClientLimits(connections=1)
    async with serve(script) as server, client_of(server, limits) as client:
        first, *others = await asyncio.gather(
            *(ask(client) for _ in range(5)), return_exceptions=True
        )
        assert isinstance(first, ConnectionLost)
        assert others == [b"ok"] * 4


def poisoned(*delays: float) -> Script:
    """Return a script that answers each request with its own body, and at times with more."""

    async def script(wire: Wire) -> None:
        chance = random.Random(wire.writer.get_extra_info("peername")[1])
        while True:
            body = (await wire.request()).partition(b"\r\n\r\n")[2]
            answer = chunked(body) if chance.random() < 0.5 else whole(body)
            fault = chance.random()
            if fault < 0.01:
                await wire.send(answer + EVIL)
            elif fault < 0.02:
                await wire.send(answer + b"\r\n" * chance.randrange(1, 3))
            else:
                await wire.send(answer)
            if fault < 0.05:
                await asyncio.sleep(chance.choice(delays))
                await wire.send(EVIL)

    return script


@pytest.mark.parametrize(
    ("limits", "script"),
    [
        (ClientLimits(), poisoned(0.0, 0.001, 0.003, 0.01)),
        (NEVER_LEARNING, poisoned(0.0, 0.001, 0.003)),
    ],
    ids=["as configured", "never learning"],
)
async def test_a_poisoned_server_never_reaches_another_call(
    limits: ClientLimits, script: Script
) -> None:
    """Of 10,000 calls to a server with surplus bytes at random, each gets its own answer."""
    seen = {"own": 0, "foreign": 0, "failed": 0}

    async with serve(script) as server, client_of(server, limits) as client:

        async def calls(name: int, count: int) -> None:
            for number in range(count):
                body = b"%d/%d" % (name, number)
                try:
                    seen["own" if await ask(client, body) == body else "foreign"] += 1
                except CallError:
                    seen["failed"] += 1

        await calls(0, 500)
        await asyncio.gather(*(calls(name, 190) for name in range(1, 51)))
        assert (seen["foreign"], seen["own"] + seen["failed"]) == (0, 10_000)
        assert seen["failed"] < 100
        assert client.statistics().discarded_total > 0
