"""The four waits, each with its own error, and readers that are slower than their provider."""

import asyncio
import socket
from dataclasses import dataclass

import pytest

from headworks.errors import (
    CallError,
    ConnectTimeout,
    DeadlineExceeded,
    FirstByteTimeout,
    IdleTimeout,
)
from headworks.types import Timeouts
from headworks.upstream.connection import BUFFER_SIZE, Connection
from headworks.upstream.http1 import HttpClient, Origin
from headworks.upstream.response import HIGH_WATER
from tests.upstream.scripted import (
    Wire,
    answering,
    ask,
    chunked,
    client_of,
    post,
    serve,
    until,
    whole,
)

pytestmark = pytest.mark.anyio

OPEN = chunked()[:-5]


@dataclass(frozen=True, slots=True)
class Case:
    name: str
    sent: bytes
    error: type[CallError]
    first_byte: float | None = 5.0
    idle: float = 5.0
    total: float = 5.0


CASES = [
    Case("no head", b"", FirstByteTimeout, first_byte=0.3),
    Case("only 1xx", b"HTTP/1.1 100 C\r\n\r\n", FirstByteTimeout, first_byte=0.3),
    Case("half a head", OPEN[:20], FirstByteTimeout, first_byte=0.3),
    Case("no first byte", OPEN, FirstByteTimeout, first_byte=0.3),
    Case("silence", OPEN + b"1\r\na\r\n", IdleTimeout, idle=0.3),
    Case("silence after a whole answer began", OPEN + b"1\r\na\r\n", IdleTimeout, None, idle=0.3),
    Case("total, no head", b"", DeadlineExceeded, total=0.3),
    Case("total, no first-byte wait", OPEN, DeadlineExceeded, first_byte=None, idle=0.1, total=0.3),
    Case("total before idle", OPEN + b"1\r\na\r\n", DeadlineExceeded, total=0.3),
]


async def time_out(case: Case, *, warm: bool) -> float:
    """Return how long the wait of the case lasts, on a fresh or a warm connection."""

    async def script(wire: Wire) -> None:
        if warm:
            await wire.request()
            await wire.send(whole(b"ok"))
        await wire.request()
        await wire.send(case.sent)
        await wire.gone()

    async def call(client: HttpClient) -> bytes:
        timeouts = Timeouts(idle=case.idle)
        response = await post(
            client, timeouts=timeouts, first_byte=case.first_byte, total=case.total
        )
        return await response.read(99)

    async with serve(script) as server, client_of(server) as client:
        if warm:
            await ask(client)
        loop = asyncio.get_running_loop()
        begun = loop.time()
        with pytest.raises(case.error):
            await call(client)
        assert client.statistics().open == 0
        return loop.time() - begun


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_each_wait_ends_on_time_with_its_own_error(case: Case) -> None:
    """Whatever the provider is late with, I learn which wait it was, when I said."""
    took = await asyncio.gather(time_out(case, warm=False), time_out(case, warm=True))
    assert min(took) >= 0.297
    assert max(took) <= 0.4


async def test_a_server_that_accepts_nothing_costs_the_connect_timeout() -> None:
    """When connecting hangs, I wait for the connect timeout and not longer; nothing was sent."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)  # noqa: FBT003 - the socket module's signature
            filler.connect_ex(("127.0.0.1", port))
        client = HttpClient(Origin("http", "127.0.0.1", port))
        loop = asyncio.get_running_loop()
        try:
            for total, error in ((5.0, ConnectTimeout), (0.1, DeadlineExceeded)):
                begun = loop.time()
                with pytest.raises(error) as caught:
                    await post(client, timeouts=Timeouts(connect=0.2), total=total)
                assert isinstance(caught.value, ConnectTimeout | DeadlineExceeded)
                assert not caught.value.sent
                assert min(total, 0.2) - 0.003 <= loop.time() - begun <= 0.3
                assert client.statistics().open == 0
        finally:
            await client.aclose()
            for filler in fillers:
                filler.close()


async def test_the_deadline_holds_while_a_large_request_is_written() -> None:
    """A provider that stops reading my upload cannot hold it beyond the deadline."""

    async def script(wire: Wire) -> None:
        wire.reader._transport.pause_reading()  # type: ignore[attr-defined] # it reads nothing
        await asyncio.sleep(5)

    async with serve(script) as server, client_of(server) as client:
        loop = asyncio.get_running_loop()
        begun = loop.time()
        with pytest.raises(DeadlineExceeded, match="No answer had begun"):
            await post(client, b"x" * 30_000_000, first_byte=0.1, total=0.4)
        assert 0.39 <= loop.time() - begun <= 2.5  # the provider would go on for 5 s


async def test_the_first_byte_wait_begins_when_the_request_has_left() -> None:
    """A slow upload is not held against the provider's first byte."""

    async def script(wire: Wire) -> None:
        transport = wire.reader._transport  # type: ignore[attr-defined] # to read slowly
        transport.pause_reading()
        await asyncio.sleep(0.3)
        transport.resume_reading()
        await wire.request()
        await wire.send(whole(b"ok"))

    async with serve(script) as server, client_of(server) as client:
        response = await post(client, b"x" * 30_000_000, first_byte=0.25, total=10)
        assert await response.read(9) == b"ok"


async def test_a_stream_that_flows_slowly_is_not_idle() -> None:
    """A stream may last as long as it likes while something comes in time."""

    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(OPEN)
        for _ in range(10):
            await asyncio.sleep(0.04)
            await wire.send(b"1\r\na\r\n")
        await wire.send(b"0\r\n\r\n")
        await wire.gone()

    async with serve(script) as server, client_of(server) as client:
        response = await post(client, timeouts=Timeouts(idle=0.2), first_byte=0.2)
        assert await response.read(99) == b"a" * 10


@pytest.mark.parametrize("speaks", [True, False])
async def test_keep_alives_do_not_prolong_the_wait_for_content(*, speaks: bool) -> None:
    """`first_byte` is the wait for content, whatever comes before it; then `idle` counts."""

    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(OPEN)
        for _ in range(4):
            await wire.send(b"1\r\na\r\n")
            await asyncio.sleep(0.05)
        await wire.gone()

    async with serve(script) as server, client_of(server) as client:
        response = await post(client, timeouts=Timeouts(idle=0.4), first_byte=0.3)
        response.expect(content=True)
        loop = asyncio.get_running_loop()
        begun = loop.time()
        chunks = response.chunks()
        await anext(chunks)
        response.expect(content=not speaks)
        with pytest.raises(IdleTimeout if speaks else FirstByteTimeout):
            await response.read(99)
        took = loop.time() - begun
        assert (0.5 if speaks else 0.25) <= took <= (0.7 if speaks else 0.4)
        assert client.statistics().open == 0


async def test_a_flood_of_keep_alives_does_not_prolong_it_either() -> None:
    """Even where they come faster than anybody reads, `first_byte` is the wait for content."""

    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(OPEN)
        while True:
            await wire.send(b"10000\r\n" + bytes(65_536) + b"\r\n")

    async with serve(script) as server, client_of(server) as client:
        response = await post(client, timeouts=Timeouts(idle=0.2), first_byte=0.3)
        response.expect(content=True)
        loop = asyncio.get_running_loop()
        begun = loop.time()
        with pytest.raises(FirstByteTimeout):
            await response.read(2**40)
        assert 0.25 <= loop.time() - begun <= 0.5
        assert client.statistics().open == 0


async def test_a_long_stream_makes_no_timers(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand chunks cost no more timers than one."""
    made: list[float] = []
    arm = Connection._arm

    def counted(connection: Connection, when: float) -> None:
        made.append(when)
        arm(connection, when)

    monkeypatch.setattr(Connection, "_arm", counted)

    async def script(wire: Wire) -> None:
        while True:
            await wire.request()
            await wire.send(OPEN)
            for _ in range(1_000):
                await wire.send(b"1\r\na\r\n")
                await asyncio.sleep(0)
            await wire.send(b"0\r\n\r\n")

    async with serve(script) as server, client_of(server) as client:
        for _ in range(3):
            response = await post(client, first_byte=60.0, total=600.0)
            assert await response.read(9_999) == b"a" * 1_000
    assert len(made) <= 3


async def test_a_slow_reader_slows_its_provider() -> None:
    """A reader that does not read costs a bounded amount of memory, and loses nothing."""
    piece = bytes(range(256)) * 256
    written = 0

    async def script(wire: Wire) -> None:
        nonlocal written
        await wire.request()
        await wire.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % (len(piece) * 400))
        for _ in range(400):
            await wire.send(piece)
            written += len(piece)
        await wire.gone()

    async with serve(script) as server, client_of(server) as client:
        response = await post(client, timeouts=Timeouts(idle=0.15), total=60.0)
        before = -1
        while before != written:
            before = written
            await asyncio.sleep(0.2)
        assert written < len(piece) * 400
        assert response._size <= HIGH_WATER + BUFFER_SIZE
        received = 0
        async for chunk in response.chunks():
            assert chunk[:1] == piece[received % len(piece) :][:1]
            assert len(chunk) <= HIGH_WATER + BUFFER_SIZE
            received += len(chunk)
        assert received == len(piece) * 400
        assert client.statistics().idle == 1


async def test_the_total_time_runs_for_a_slow_reader() -> None:
    """A reader that never reads does not hold a connection for ever."""

    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(whole(b"x" * 10_000_000))

    async with serve(script) as server, client_of(server) as client:
        response = await post(client, timeouts=Timeouts(idle=0.05), total=0.3)
        await until(lambda: client.statistics().open == 0)
        with pytest.raises(DeadlineExceeded, match="of 10000000 bytes"):
            await response.read(10_000_000)


async def test_a_connection_paused_by_a_large_answer_serves_again() -> None:
    """A large answer that was read late leaves its connection as fit as before."""
    body = b"x" * 150_000
    async with serve(answering(whole(body))) as server, client_of(server) as client:
        for _ in range(3):
            response = await post(client)
            await asyncio.sleep(0.02)
            assert await response.read(150_000) == body
        assert server.accepted == 1


async def test_who_needs_no_more_does_not_wait_for_the_end() -> None:
    """What is left of an answer can be waited for shortly, whatever its own waits are."""

    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(OPEN + b"1\r\na\r\n")
        await wire.gone()

    async with serve(script) as server, client_of(server) as client:
        response = await post(client, timeouts=Timeouts(idle=9.0), total=9.0)
        chunks = response.chunks()
        assert await anext(chunks) == b"a"
        loop = asyncio.get_running_loop()
        begun = loop.time()
        response.hurry(0.2)
        response.hurry(5.0)  # the shorter one counts
        with pytest.raises(DeadlineExceeded):
            await anext(chunks)
        assert 0.15 <= loop.time() - begun <= 0.4
        assert client.statistics().open == 0
