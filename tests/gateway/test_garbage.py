"""A call leaves nothing for the cyclic collector, which would cost more than the call."""

import asyncio
import gc

import pytest

from headworks.gateway.asgi import Gateway
from headworks.gateway.lifecycle import Lifecycle
from headworks.gateway.server import running
from tests.world import World

pytestmark = pytest.mark.anyio

CALL = (
    b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer open\r\n"
    b"content-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
)


@pytest.mark.parametrize("body", [b'{"model":"m"}', b'{"model":"m","stream":true}'])
async def test_calls_make_no_cycles(body):
    """What a call needed is freed when it ends, by reference counts alone."""
    world = World()
    gateway = Gateway(lambda: world.engine, lambda: world.max_body)

    async def nothing_else(scope, receive, send) -> None:
        raise AssertionError

    async with running(gateway, nothing_else, Lifecycle()) as server:
        host, _, port = server.url.removeprefix("http://").partition(":")
        reader, writer = await asyncio.open_connection(host, int(port))

        async def call() -> None:
            writer.write(CALL % (len(body), body))
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            if b"chunked" in head:
                await reader.readuntil(b"0\r\n\r\n")
            else:
                length = head.split(b"content-length: ")[1].split(b"\r\n")[0]
                await reader.readexactly(int(length))

        for _ in range(20):
            await call()
        gc.collect()
        gc.disable()
        try:
            for _ in range(50):
                await call()
            garbage = gc.collect()
        finally:
            gc.enable()
            writer.close()

    assert garbage < 50
