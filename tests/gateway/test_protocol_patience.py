"""Slow callers are cut, steady ones are not, and a caller that leaves is noticed."""

import asyncio
import socket
import struct
from dataclasses import dataclass
from urllib.parse import urlsplit

import pytest

from headworks.gateway.heads import HttpLimits
from tests.gateway.conftest import (
    OK,
    Echo,
    answers,
    connected,
    everything,
    read_answer,
    serving,
    talk,
)
from tests.gateway.messages import SHORT, chunked, get, post

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend():
    return "asyncio", {"use_uvloop": True}


@dataclass(frozen=True)
class Slow:
    name: str
    sent: bytes
    status: int | None


SLOW = (
    Slow("silent from the start", b"", None),
    Slow("half a head", b"GET / HTTP/1.1\r\nHost:", 408),
    Slow("half a request line", b"GET /", 408),
    Slow("half a body", post(b"Content-Length: 50000"), 408),
    Slow("half a chunk", chunked(b"5\r\nhe"), 408),
    Slow("idle after an answer", OK, 200),
    Slow("half a head after an answer", OK + b"GET", 408),
    Slow(
        "rest of a body that nobody wants",
        post(b"Content-Length: 50").replace(b"ok", b"early"),
        401,
    ),
)


@pytest.mark.parametrize("case", SLOW, ids=lambda case: case.name)
async def test_slow_callers_are_cut(case: Slow):
    """Who does not finish its request in time is told so, and let go."""
    async with serving(Echo(), SHORT) as server:
        received = answers(await asyncio.wait_for(talk(server.url, [case.sent]), 3))
    assert (received[-1].status if received else None) == case.status
    if case.status == 408:
        assert received[-1].code == "request_timeout"


async def test_a_trickle_does_not_keep_a_head_alive():
    """A byte now and then buys a slow head no more time."""
    async with serving(Echo(), SHORT) as server, connected(server.url) as (reader, writer):
        loop = asyncio.get_running_loop()
        started = loop.time()

        def trickle():
            writer.write(b"a")
            timer[0] = loop.call_later(0.02, trickle)

        writer.write(b"GET / HTTP/1.1\r\nX: ")
        timer = [loop.call_soon(trickle)]
        received = await everything(reader)
        timer[0].cancel()
    assert answers(received)[0].status == 408
    assert loop.time() - started < 1.5


async def test_a_slow_but_steady_body_arrives():
    """A body above the least rate is taken, however long it lasts."""
    limits = HttpLimits(body_grace=0.2, body_rate=100.0)
    app = Echo()
    async with serving(app, limits) as server, connected(server.url) as (reader, writer):
        writer.write(post(b"Content-Length: 100", body=b""))
        for _ in range(10):
            writer.write(b"a" * 10)
            await asyncio.sleep(0.05)
        assert (await read_answer(reader)).status == 200


async def test_a_reader_that_takes_nothing_is_cut():
    """An answer that nobody reads is given up, and the app is told that the caller is gone."""
    app = Echo()
    async with serving(app, SHORT) as server:
        with socket.create_connection(("127.0.0.1", urlsplit(server.url).port)) as plug:
            plug.sendall(get(b"/flood"))
            await asyncio.wait_for(app.gone.wait(), 5)


@pytest.mark.parametrize("manner", ["close", "half-close", "reset"])
async def test_a_caller_that_hangs_up_is_noticed_at_once(manner: str):
    """However a caller leaves, the app that waits in `receive` knows within a moment."""
    app = Echo()
    gone = asyncio.Event()

    async def watching(_scope, receive, _send):
        app.entered.set()
        await receive()
        assert (await receive())["type"] == "http.disconnect"
        gone.set()

    async with serving(watching) as server, connected(server.url) as (_, writer):
        writer.write(OK)
        await app.entered.wait()
        if manner == "half-close":
            writer.write_eof()
        elif manner == "reset":
            plug = writer.get_extra_info("socket")
            plug.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
        else:
            writer.close()
        await asyncio.wait_for(gone.wait(), 1)
