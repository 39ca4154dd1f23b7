"""The bad network does what it says, byte for byte, to any server behind it."""

import asyncio
import random
import socket
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from typing_extensions import override

from tests.faults.chaosnet import HEALTHY, Chaosnet, Toxics, chaosnet, threaded_chaosnet
from tests.upstream.scripted import Wire, serve, until

pytestmark = pytest.mark.anyio

LETTERS = bytes(range(65, 91)) * 40


@dataclass
class Echo:
    """Sends back what it gets; notes what it saw."""

    got: bytes = b""
    ends: list[str] = field(default_factory=list)

    async def __call__(self, wire: Wire) -> None:
        try:
            while data := await wire.reader.read(65_536):
                self.got += data
                await wire.send(data)
            self.ends.append("fin")
        except ConnectionError:
            self.ends.append("rst")


class Caller:
    """A client that notes the pieces that it gets, and how they end."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.pieces: list[bytes] = []

    @property
    def got(self) -> bytes:
        return b"".join(self.pieces)

    async def read(self, count: int) -> bytes:
        """Read until so many bytes have come."""
        while len(self.got) < count and (piece := await self.reader.read(65_536)):
            self.pieces.append(piece)
        return self.got

    async def end(self) -> str:
        """Read to the end and say how it came."""
        try:
            while piece := await self.reader.read(65_536):
                self.pieces.append(piece)
        except ConnectionError:
            return "rst"
        return "fin"


@asynccontextmanager
async def caller_of(net: Chaosnet) -> AsyncGenerator[Caller]:
    reader, writer = await asyncio.open_connection("127.0.0.1", net.port)
    try:
        yield Caller(reader, writer)
    finally:
        writer.transport.abort()


@pytest.fixture
async def echo():
    """Run an echo behind a healthy net."""
    script = Echo()
    async with serve(script) as server, chaosnet(server.port, seed=1) as net:
        yield script, net


async def test_healthy(echo):
    """Without faults every byte passes, both ways, and so does the end."""
    script, net = echo
    async with caller_of(net) as caller:
        caller.writer.write(LETTERS)
        assert await caller.read(len(LETTERS)) == LETTERS
        caller.writer.write_eof()
        assert await caller.end() == "fin"
    await until(lambda: net.open == 0)
    assert (script.got, script.ends) == (LETTERS, ["fin"])
    assert (net.accepted, net.up.passed, net.down.passed) == (1, len(LETTERS), len(LETTERS))


@pytest.mark.parametrize("end", ["fin", "rst"])
@pytest.mark.parametrize("after", [0, 1, 25, len(LETTERS) - 1])
async def test_ends_after_so_many_bytes_down(echo, after, end):
    """A cut or a reset lets exactly so many bytes of the answer through."""
    script, net = echo
    net.change(down=Toxics(cut_after=after) if end == "fin" else Toxics(reset_after=after))
    async with caller_of(net) as caller:
        caller.writer.write(LETTERS)
        assert await caller.end() == end
        if end == "fin":
            assert caller.got == LETTERS[:after]
        assert LETTERS[:after].startswith(caller.got)  # a reset may overtake bytes
    assert net.down.passed == after
    await until(lambda: script.ends == [end])


@pytest.mark.parametrize("end", ["fin", "rst"])
async def test_ends_after_so_many_bytes_up(echo, end):
    """The same on the way to the server: it gets exactly so many bytes, and the end."""
    script, net = echo
    net.change(up=Toxics(cut_after=100) if end == "fin" else Toxics(reset_after=100))
    async with caller_of(net) as caller:
        caller.writer.write(LETTERS)
        assert await caller.end() == end
    await until(lambda: script.ends == [end])
    assert net.up.passed == 100
    assert LETTERS[:100].startswith(script.got)


async def test_slices(echo):
    """A sliced answer comes in pieces of 1 to n bytes, and whole."""
    _, net = echo
    net.change(down=Toxics(slices=3))
    async with caller_of(net) as caller:
        caller.writer.write(LETTERS)
        assert await caller.read(len(LETTERS)) == LETTERS
    assert max(map(len, caller.pieces)) <= 3 * 4  # the loop may read a few at once
    assert len(caller.pieces) > len(LETTERS) / 8


async def test_latency(echo):
    """Latency delays every byte, but does not add up over pieces that follow each other."""
    _, net = echo
    net.change(up=Toxics(latency=0.05), down=Toxics(latency=0.05))
    loop = asyncio.get_running_loop()
    async with caller_of(net) as caller:
        begun = loop.time()
        for letter in LETTERS[:20]:
            caller.writer.write(bytes([letter]))
            await asyncio.sleep(0)
        assert await caller.read(20) == LETTERS[:20]
        assert 0.1 <= loop.time() - begun < 1.5


async def test_bandwidth(echo):
    """Bandwidth bounds how fast bytes pass."""
    _, net = echo
    net.change(down=Toxics(bandwidth=len(LETTERS) / 0.2))
    loop = asyncio.get_running_loop()
    async with caller_of(net) as caller:
        begun = loop.time()
        caller.writer.write(LETTERS)
        first = await caller.read(1)
        assert len(first) < len(LETTERS) / 4
        assert await caller.read(len(LETTERS)) == LETTERS
        assert loop.time() - begun >= 0.18


async def test_hangs_until_changed(echo):
    """What hangs is not lost: it arrives when the network is well again."""
    script, net = echo
    net.change(down=Toxics(hang_after=10))
    async with caller_of(net) as caller:
        caller.writer.write(LETTERS)
        assert await caller.read(10) == LETTERS[:10]
        await until(lambda: script.got == LETTERS)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(caller.reader.read(1), 0.05)
        net.change(down=HEALTHY)
        assert await caller.read(len(LETTERS)) == LETTERS


async def test_a_change_counts_anew(echo):
    """Toxics that are set in the middle of a connection count from there."""
    _, net = echo
    async with caller_of(net) as caller:
        caller.writer.write(LETTERS)
        await caller.read(len(LETTERS))
        net.change(down=Toxics(cut_after=7))
        caller.writer.write(LETTERS)
        assert await caller.end() == "fin"
        assert caller.got == LETTERS + LETTERS[:7]


async def test_slow_close(echo):
    """An end that is slow comes late, after all bytes."""
    _, net = echo
    net.change(down=Toxics(slow_close=0.08))
    loop = asyncio.get_running_loop()
    async with caller_of(net) as caller:
        caller.writer.write(LETTERS)
        await caller.read(len(LETTERS))
        begun = loop.time()
        caller.writer.write_eof()
        assert await caller.end() == "fin"
        assert loop.time() - begun >= 0.08


async def test_the_clients_reset_passes(echo):
    """When a client resets, the server sees a reset."""
    script, net = echo
    async with caller_of(net) as caller:
        caller.writer.write(b"x")
        await caller.read(1)
        Wire(caller.reader, caller.writer).reset()
        await until(lambda: script.ends == ["rst"])
    await until(lambda: net.open == 0)


async def test_refuse_and_return(echo):
    """A refused connection is refused at once; old ones live on; the same port opens again."""
    _, net = echo
    async with caller_of(net) as old:
        old.writer.write(b"before ")
        await old.read(7)
        await net.enter("refuse")
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", net.port)
        old.writer.write(b"after")
        assert await old.read(12) == b"before after"
    await net.enter("open")
    async with caller_of(net) as caller:
        caller.writer.write(b"again")
        assert await caller.read(5) == b"again"


async def test_dropped_packets(echo):
    """Whoever connects through a firewall that drops packets hears nothing at all."""
    _, net = echo
    await net.enter("drop")
    for _ in range(3):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.open_connection("127.0.0.1", net.port), 0.1)
    await net.enter("open")
    async with caller_of(net) as caller:
        caller.writer.write(b"again")
        assert await caller.read(5) == b"again"


async def test_nobody_behind(echo):
    """Without a server behind the net its clients are reset."""
    _, net = echo
    async with chaosnet(0) as nobody:
        await nobody.enter("refuse")
        net.target = nobody.port
        async with caller_of(net) as caller:
            assert await caller.end() == "rst"


def test_the_same_seed_slices_alike():
    """Chance comes from the seed."""

    async def pieces(seed: int) -> list[int]:
        async with serve(Echo()) as server, chaosnet(server.port, seed=seed) as net:
            net.change(up=Toxics(slices=9))
            sizes: list[int] = []
            chance = net._chance
            net._chance = _Noting(chance, sizes)
            async with caller_of(net) as caller:
                caller.writer.write(LETTERS)
                await caller.read(len(LETTERS))
            return sizes

    assert asyncio.run(pieces(1)) == asyncio.run(pieces(1)) != asyncio.run(pieces(2))


class _Noting(random.Random):
    """A chance that notes what it gave."""

    def __init__(self, chance: random.Random, given: list[int]) -> None:
        super().__init__(0)
        self._chance, self._given = chance, given

    @override
    def randint(self, a: int, b: int) -> int:
        self._given.append(self._chance.randint(a, b))
        return self._given[-1]


def test_in_a_thread():
    """Tests without a loop have the same net."""
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        threaded_chaosnet(server.getsockname()[1]) as net,
    ):
        with socket.create_connection(("127.0.0.1", net.port), 5) as client:
            behind, _ = server.accept()
            with behind:
                behind.sendall(b"hello")
                assert client.recv(9) == b"hello"
                net.change(down=Toxics(reset_after=0))
                behind.sendall(b"lost")
                with pytest.raises(ConnectionResetError):
                    client.recv(9)
        net.enter("refuse")
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", net.port), 5)
        deadline = time.monotonic() + 5
        while net.open() and time.monotonic() < deadline:
            pass
        assert net.open() == 0
