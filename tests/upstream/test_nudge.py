"""Whoever waits for an answer's bytes can be let go on, and loses nothing by it."""

import asyncio

import pytest

from tests.upstream.scripted import Wire, client_of, post, serve

pytestmark = pytest.mark.anyio

HEAD = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


async def test_a_nudge_ends_a_wait_and_nothing_else():
    """The reader gets an empty chunk while it waits; then the bytes as if nothing had been."""
    nudged = asyncio.Event()

    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(HEAD + b"1\r\na\r\n")
        await nudged.wait()
        await wire.send(b"1\r\nb\r\n0\r\n\r\n")

    async with serve(script) as server, client_of(server) as client:
        response = await post(client)
        chunks = response.chunks()
        assert await anext(chunks) == b"a"
        for _ in range(3):
            waiting = asyncio.ensure_future(anext(chunks))
            await asyncio.sleep(0)
            response.nudge()
            assert await waiting == b""
        nudged.set()
        assert await anext(chunks) == b"b"
        response.nudge()
        assert [chunk async for chunk in chunks] == []
        response.nudge()
        await response.aclose()


async def test_a_nudge_when_nobody_waits_is_forgotten():
    """It does not come back as an empty chunk later, nor hide bytes that have come."""

    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(HEAD + b"1\r\na\r\n0\r\n\r\n")

    async with serve(script) as server, client_of(server) as client:
        response = await post(client)
        response.nudge()
        assert [chunk async for chunk in response.chunks()] == [b"a"]


async def test_bytes_that_come_with_a_nudge_are_read():
    """When both happen at once the bytes are what the reader gets, or gets next."""

    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(HEAD + b"1\r\na\r\n")
        await wire.gone()

    async with serve(script) as server, client_of(server) as client:
        response = await post(client)
        chunks = response.chunks()
        assert await anext(chunks) == b"a"
        waiting = asyncio.ensure_future(anext(chunks))
        await asyncio.sleep(0)
        response.nudge()
        response.on_body(b"b")
        read = [await waiting]
        response.on_end()
        read += [chunk async for chunk in chunks]
        assert b"".join(read) == b"b"
