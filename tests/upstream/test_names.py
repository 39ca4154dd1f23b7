"""Names are looked up so that a resolver which hangs, lies or fails costs one upstream alone."""

import asyncio
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from headworks.errors import ConnectFailed, ConnectTimeout
from headworks.types import Timeouts
from headworks.upstream.http1 import ClientLimits, HttpClient, Origin
from headworks.upstream.probe import is_reachable
from tests.upstream.scripted import Wire, answering, ask, post, serve, ticks, whole

pytestmark = pytest.mark.anyio


@dataclass
class Resolver:
    """Knows names as a test says; those that it does not know it never answers."""

    known: dict[str, list[str] | OSError] = field(default_factory=dict[str, list[str] | OSError])
    asked: list[str] = field(default_factory=list[str])

    async def __call__(self, host: str, port: int, **_: Any) -> list[Any]:
        self.asked.append(host)
        found = self.known.get(host)
        if found is None:
            await asyncio.get_running_loop().create_future()
        if isinstance(found, OSError):
            raise found
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, port)) for one in found or ()]


@pytest.fixture
async def resolver(monkeypatch: pytest.MonkeyPatch) -> Resolver:
    """Take the place of the machine's resolver."""
    made = Resolver()
    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", made)
    return made


def client(host: str, port: int) -> HttpClient:
    return HttpClient(Origin("http", host, port), limits=ClientLimits(quiet_seconds=0))


async def test_a_slow_resolver_costs_the_connect_timeout(resolver: Resolver) -> None:
    """When the name is not found in time, I wait for the connect timeout and not longer."""
    slow = client("slow.example", 80)
    loop = asyncio.get_running_loop()
    begun = loop.time()
    with pytest.raises(ConnectTimeout):
        await post(slow, timeouts=Timeouts(connect=0.2))
    assert 0.197 <= loop.time() - begun <= 0.3
    assert slow.statistics().open == 0
    await slow.aclose()


async def test_a_slow_resolver_is_asked_once_at_a_time(resolver: Resolver) -> None:
    """A hundred calls and the looks at an upstream wait for one look-up; other upstreams work."""
    slow = client("slow.example", 80)
    late = asyncio.gather(
        *(post(slow, timeouts=Timeouts(connect=0.1)) for _ in range(100)),
        is_reachable("slow.example", 80, 0.1),
        return_exceptions=True,
    )
    await ticks(3)
    async with serve(answering(whole(b"well"))) as server:
        resolver.known["well.example"] = ["127.0.0.1"]
        well = client("well.example", server.port)
        assert await ask(well) == b"well"
        await well.aclose()
    *calls, is_there = await late
    assert all(isinstance(one, ConnectTimeout) for one in calls)
    assert is_there is False
    assert resolver.asked == ["slow.example", "well.example"]
    await slow.aclose()


async def test_a_failed_look_up_is_not_remembered(resolver: Resolver) -> None:
    """A name that leads nowhere is told as such, and asked for anew by the next call."""
    resolver.known["gone.example"] = socket.gaierror(socket.EAI_NONAME, "Name not known")
    async with serve(answering(whole(b"back"))) as server:
        one = client("gone.example", server.port)
        for _ in range(2):
            with pytest.raises(ConnectFailed, match=r"gone\.example.* cannot be reached") as caught:
                await ask(one)
            assert not caught.value.sent
        resolver.known["gone.example"] = ["127.0.0.1"]
        assert await ask(one) == b"back"
        await one.aclose()
    assert resolver.asked == ["gone.example"] * 3


async def refuse(port: int) -> str:
    """Return an address of this machine at which nothing listens on the port."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.2", port))
    return "127.0.0.2"


async def test_the_next_address_is_tried(resolver: Resolver) -> None:
    """A server with several addresses is reached as long as one of them takes connections."""
    async with serve(answering(whole(b"here"))) as server:
        resolver.known["many.example"] = [await refuse(server.port), "127.0.0.1"]
        many = client("many.example", server.port)
        assert await ask(many) == b"here"
        resolver.known["many.example"] = [await refuse(server.port)]
        await many.aclose()
        none = client("many.example", server.port)
        with pytest.raises(ConnectFailed, match="cannot be reached"):
            await ask(none)
        await none.aclose()


async def test_an_address_needs_no_look_up(resolver: Resolver) -> None:
    """An upstream that is configured by its address depends on no resolver."""
    async with serve(answering(whole(b"ok"))) as server:
        plain = client("127.0.0.1", server.port)
        assert await ask(plain) == b"ok"
        await plain.aclose()
    assert resolver.asked == []


@pytest.mark.parametrize("turns", range(0, 8, 2))
async def test_a_call_given_up_in_a_look_up_leaves_it_to_others(
    resolver: Resolver, monkeypatch: pytest.MonkeyPatch, turns: int
) -> None:
    """Who leaves does not take the answer from those who wait for the same name."""
    answer: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
    resolve: Callable[..., Any] = resolver.__call__

    async def slow(host: str, port: int, **options: Any) -> list[Any]:
        await answer
        return list(await resolve(host, port, **options))

    resolver.known["name.example"] = ["127.0.0.1"]
    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", slow)

    async def script(wire: Wire) -> None:
        while True:
            await wire.request()
            await wire.send(whole(b"ok"))

    async with serve(script) as server:
        named = client("name.example", server.port)
        first, second = asyncio.ensure_future(ask(named)), asyncio.ensure_future(ask(named))
        await ticks(turns)
        first.cancel()
        await ticks(3)
        answer.set_result([])
        assert await second == b"ok"
        assert named.statistics().open == 1
        await named.aclose()
    assert resolver.asked == ["name.example"]
