"""Looks whether a provider can be reached at all: opens a connection, and closes it."""

import asyncio
from contextlib import suppress


async def is_reachable(host: str, port: int, seconds: float) -> bool:
    """Return whether a TCP connection comes about in time. Sends nothing, costs nothing."""
    loop = asyncio.get_running_loop()
    dialling = loop.create_task(loop.create_connection(asyncio.Protocol, host, port))
    try:
        done, _ = await asyncio.wait([dialling], timeout=seconds)
        if done and dialling.exception() is None:
            dialling.result()[0].close()
            return True
    finally:
        dialling.cancel()
        with suppress(asyncio.CancelledError, OSError):
            await dialling
    return False
