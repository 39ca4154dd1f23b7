"""The promises of the transports by themselves: httpx2 and httpx, each way of reaching an engine."""

import asyncio
import gc
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from types import ModuleType
from typing import Any, cast

import httpx
import httpx2
import pytest

from headworks.errors import ConnectionLost, IdleTimeout
from headworks.inprocess import httpx2_transport, httpx_transport
from headworks.inprocess.carriage import in_this_loop
from headworks.inprocess.exchange import AHEAD
from headworks.testing import EVENTS, WHOLE, FakeResponse
from headworks.types import Presence, Request, Response

pytestmark = pytest.mark.anyio

URL = "http://headworks.internal/v1/chat/completions"
QUESTION = {"model": "m", "messages": []}
STREAMED = QUESTION | {"stream": True, "stream_options": {"include_usage": True}}
Family = tuple[Any, ModuleType]


@pytest.fixture(params=["httpx2", "httpx"])
def family(request) -> Family:
    """An HTTP library, and our transports for it."""
    return (httpx2, httpx2_transport) if request.param == "httpx2" else (httpx, httpx_transport)


class Seen:
    """An engine that shows what reached it, and leaves its context when it is told to."""

    def __init__(self, content: Any = WHOLE) -> None:
        self.requests = list[Request]()
        self.content = content
        self.exits = list[type[BaseException] | None]()

    @asynccontextmanager
    async def call(
        self, request: Request, key: Any, presence: Presence | None = None
    ) -> AsyncGenerator[Response]:
        self.requests.append(request)
        try:
            yield Response(200, ((b"content-type", b"application/json"),), self.content)
        except BaseException as error:
            self.exits.append(type(error))
            raise
        self.exits.append(None)

    def refusal(self, error: Exception) -> Response:
        raise AssertionError from error


@pytest.mark.parametrize("body", [QUESTION, STREAMED], ids=["whole", "stream"])
async def test_an_engine_in_ones_own_loop(family, world, body):
    """An engine in the caller's loop answers through either library, byte for byte."""
    library, transports = family
    async with library.AsyncClient(transport=transports.EngineTransport(world.engine)) as client:
        answer = await client.post(URL, json=body)

    assert answer.content == (b"".join(EVENTS) if body is STREAMED else WHOLE)
    assert answer.headers["x-headworks-call"] == "call-00000001"
    assert world.ended_once()


def test_a_synchronous_client(family, hw, world):
    """Either library's synchronous client reaches the engine's thread."""
    library, transports = family
    with library.Client(transport=transports.SyncTransport(hw._access)) as client:
        answer = client.post(URL, json=STREAMED)

    assert answer.content == b"".join(EVENTS)
    assert world.ended_once()


async def test_an_asynchronous_client_over_the_portal(family, hw, world):
    """Either library's asynchronous client reaches the engine's thread from its own loop."""
    library, transports = family
    async with library.AsyncClient(transport=transports.AsyncTransport(hw._access)) as client:
        answer = await client.post(URL, json=STREAMED)

    assert answer.content == b"".join(EVENTS)
    assert world.ended_once()


def test_a_read_timeout_is_the_librarys_own(family, hw, world):
    """Waiting too long for the next chunk raises the library's ReadTimeout."""
    library, transports = family
    world.upstream.script = [FakeResponse(EVENTS, stalls_after=2)]
    client = library.Client(transport=transports.SyncTransport(hw._access), timeout=0.05)

    with pytest.raises(library.ReadTimeout, match=r"0\.05"):
        client.post(URL, json=STREAMED)
    assert world.ended_once()


async def test_a_read_timeout_in_a_loop(family, world):
    """The same in the engine's own loop; the call is cancelled and settled by then."""
    library, transports = family
    world.upstream.script = [FakeResponse(EVENTS, stalls_after=0)]
    transport = transports.EngineTransport(world.engine)

    async with library.AsyncClient(transport=transport, timeout=0.05) as client:
        with pytest.raises(library.ReadTimeout):
            await client.post(URL, json=STREAMED)
    assert world.ended_once()
    assert world.journal.outcomes == ["abandoned"]


async def test_the_read_timeout_is_the_callers_deadline(family):
    """The engine learns how long its caller waits, whichever client it is."""
    library, transports = family
    seen = Seen()

    async with library.AsyncClient(
        transport=transports.EngineTransport(seen), timeout=17.5
    ) as client:
        await client.post(URL, json=QUESTION)
        await client.post(URL, json=QUESTION, headers={"x-stainless-read-timeout": "3"})

    assert [request.timeout for request in seen.requests] == [16.625, 2.85]


@pytest.mark.parametrize(
    ("fault", "name"), [(ConnectionLost("cut"), "ReadError"), (IdleTimeout("late"), "ReadTimeout")]
)
async def test_bytes_that_break_off(family, fault, name):
    """A download that breaks half-way is an error of the library, never a short file."""
    library, transports = family

    async def content() -> AsyncGenerator[bytes]:
        yield b"half"
        raise fault

    seen = Seen(content())
    async with library.AsyncClient(transport=transports.EngineTransport(seen)) as client:
        with pytest.raises(getattr(library, name), match=str(fault)):
            await client.get("http://headworks.internal/v1/files/f/content")

    assert seen.exits == [type(fault)]


async def test_what_arrived_before_a_break_is_read_first(family):
    """Chunks that were there before the fault reach the reader before the fault does."""
    library, transports = family

    async def content() -> AsyncGenerator[bytes]:
        yield b"one"
        yield b"two"
        raise ConnectionLost

    got = list[bytes]()
    transport = transports.EngineTransport(Seen(content()))

    async def read(client: Any) -> None:
        async with client.stream("GET", "http://headworks.internal/v1/files/f") as answer:
            async for chunk in answer.aiter_raw():
                got.append(chunk)

    async with library.AsyncClient(transport=transport) as client:
        with pytest.raises(library.ReadError):
            await read(client)
    assert b"".join(got) == b"onetwo"


async def test_a_slow_reader_holds_the_engine_back(family):
    """The engine runs ahead of its reader by a bounded number of bytes, not by a whole file."""
    library, transports = family
    made = 0

    async def content() -> AsyncGenerator[bytes]:
        nonlocal made
        for _ in range(1000):
            made += 1
            yield b"x" * 4096

    transport = transports.EngineTransport(Seen(content()))
    async with (
        library.AsyncClient(transport=transport) as client,
        client.stream("GET", "http://headworks.internal/v1/files/f/content") as answer,
    ):
        for _ in range(100):
            await asyncio.sleep(0)
        assert made == AHEAD // 4096 + 1
        size = sum([len(chunk) async for chunk in answer.aiter_raw()])

    assert (size, made) == (4096 * 1000, 1000)


async def test_closing_twice_closes_once(world):
    """A response may be closed as often as one likes."""
    world.upstream.script = [FakeResponse(EVENTS, stalls_after=2)]
    transport = httpx2_transport.EngineTransport(world.engine)
    async with httpx2.AsyncClient(transport=transport) as client:
        request = client.build_request("POST", URL, json=STREAMED)
        answer = await client.send(request, stream=True)
        await cast("httpx2.AsyncByteStream", answer.stream).aclose()
        await answer.aclose()
        await answer.aclose()

    assert world.ended_once()


async def test_a_dropped_answer_is_given_up():
    """An answer in one's own loop that nobody keeps ends its call."""
    begun = asyncio.Event()

    async def content() -> AsyncGenerator[bytes]:
        begun.set()
        yield b"x"
        await asyncio.get_running_loop().create_future()

    seen = Seen(content())
    transport = httpx2_transport.EngineTransport(seen)
    answer = await transport.handle_async_request(httpx2.Request("GET", URL))
    await begun.wait()
    del answer
    gc.collect()
    for _ in range(5):
        await asyncio.sleep(0)

    assert seen.exits == [asyncio.CancelledError]


async def test_a_task_that_is_cancelled_at_once_still_gets_an_end(world):
    """Cancelling before the engine has taken a single step neither hangs nor leaks."""
    transport = httpx2_transport.EngineTransport(world.engine)
    async with httpx2.AsyncClient(transport=transport) as client:
        for rounds in range(8):
            task = asyncio.create_task(client.post(URL, json=STREAMED))
            for _ in range(rounds):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
            assert world.limits.taken == 0

    assert world.ended_once() or len(world.upstream.answers) < len(world.journal.calls)
    assert all(row.closings == 1 for row in world.ledger.rows)
    assert all(answer.closed == 1 for answer in world.upstream.answers)


async def test_waiting_in_the_engines_own_thread_is_refused(world):
    """A synchronous client inside the engine's loop fails at once instead of for ever."""
    transport = httpx2_transport.SyncTransport(in_this_loop(world.engine))

    with pytest.raises(RuntimeError, match="cannot be waited for"):
        transport.handle_request(httpx2.Request("POST", URL, json=QUESTION))


async def test_bad_input_is_answered_like_the_gateway(family, world):
    """A request that cannot be read gets OpenAI's error shape, and the engine never hears of it."""
    library, transports = family
    async with library.AsyncClient(transport=transports.EngineTransport(world.engine)) as client:
        answer = await client.post(
            URL, content=b'{"model":"m","model":"n"}', headers={"content-type": "application/json"}
        )

    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "invalid_json"
    assert answer.headers["x-should-retry"] == "false"
    assert world.journal.calls == []
