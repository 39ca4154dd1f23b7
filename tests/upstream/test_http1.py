"""Calls over a socket: what arrives, and what an interrupted call leaves behind."""

import asyncio
from dataclasses import dataclass

import pytest

from headworks.errors import (
    CallError,
    ConnectFailed,
    ConnectionLost,
    MalformedResponse,
    Retry,
    StreamTruncated,
)
from headworks.upstream.http1 import ClientLimits, HttpClient, request_head
from headworks.upstream.response import HttpResponse
from tests.upstream.scripted import (
    TIMEOUTS,
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


async def test_a_call_is_answered() -> None:
    """My request arrives as it is, and its answer comes back as it is."""
    requests: list[bytes] = []

    async def script(wire: Wire) -> None:
        requests.append(await wire.request())
        await wire.send(whole(b'{"a":1}', 201, b"X-Request-Id: r1\r\n"))

    async with serve(script) as server, client_of(server) as client:
        response = await post(client, b'{"b":2}')
        assert response.status == 201
        assert dict(response.headers)[b"x-request-id"] == b"r1"
        assert await response.read(100) == b'{"a":1}'
        assert await response.read(100) == b""
        host = client.origin.authority.encode()
    assert requests == [
        b"POST /v1/x HTTP/1.1\r\nhost: " + host + b'\r\ncontent-length: 7\r\n\r\n{"b":2}'
    ]


async def test_a_stream_arrives_as_it_is_sent() -> None:
    """Each part of a stream reaches me when it is sent, not at the end."""
    goes_on = asyncio.Event()

    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n")
        await goes_on.wait()
        await wire.send(b"1\r\nb\r\n0\r\n\r\n")
        await wire.gone()

    async with serve(script) as server, client_of(server) as client:
        seen: list[bytes] = []
        async for chunk in (await post(client)).chunks():
            seen.append(chunk)
            goes_on.set()
        assert seen == [b"a", b"b"]
        assert client.statistics().idle == 1


async def test_a_head_request_has_no_body() -> None:
    """HEAD is answered by a head, whatever length it names."""
    async with (
        serve(answering(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n")) as server,
        client_of(server) as client,
    ):
        head = request_head("HEAD", "/", client.origin.authority, (), None)
        for _ in range(3):
            response = await client.send(
                head, b"", TIMEOUTS, first_byte=1.0, total=5.0, no_body=True
            )
            assert await response.read(10) == b""
        assert server.accepted == 1


async def test_a_redirect_is_an_answer_and_my_key_goes_nowhere_else() -> None:
    """A redirect to another host is handed back; the other host sees no connection."""
    async with serve(answering(whole(b"evil"))) as other:
        location = b"location: %b/\r\n" % str(other.origin).encode()
        for status in (301, 302, 303, 307, 308):
            async with (
                serve(answering(whole(b"moved", status, location))) as server,
                client_of(server) as client,
            ):
                response = await post(client)
                assert (response.status, await response.read(9)) == (status, b"moved")
        assert other.accepted == 0


@pytest.mark.parametrize("size", [0, 65_535, 65_536, 3_000_000])
async def test_large_bodies_pass_both_ways(size: int) -> None:
    """A body of any size arrives whole, in both directions, and the connection is kept."""
    body = bytes(range(256)) * (size // 256) + b"x" * (size % 256)

    async def script(wire: Wire) -> None:
        while True:
            request = await wire.request()
            await wire.send(whole(request.partition(b"\r\n\r\n")[2]))

    async with serve(script) as server, client_of(server) as client:
        for _ in range(3):
            assert await ask(client, body) == body
        assert server.accepted == 1


@dataclass(frozen=True, slots=True)
class Broken:
    name: str
    sent: bytes
    read: type[CallError]
    streamed: type[CallError]
    says: str
    reset: bool = False


BROKEN = [
    Broken("no answer", b"", ConnectionLost, ConnectionLost, "before"),
    Broken("reset", b"", ConnectionLost, ConnectionLost, "before", reset=True),
    Broken("half a head", b"HTTP/1.1 200 OK\r\nco", ConnectionLost, ConnectionLost, "before"),
    Broken("only 1xx", b"HTTP/1.1 100 C\r\n\r\n", ConnectionLost, ConnectionLost, "before"),
    Broken("short", whole(b"hello")[:-2], MalformedResponse, StreamTruncated, "3 of 5 bytes"),
    Broken("no body", whole(b"hello")[:-5], MalformedResponse, StreamTruncated, "0 of 5 bytes"),
    Broken("no end", chunked(b"abc")[:-5], MalformedResponse, StreamTruncated, "3 bytes"),
    Broken("no last line", chunked(b"ab")[:-2], MalformedResponse, StreamTruncated, "2 bytes"),
    Broken("bad chunk", chunked(b"abc")[:-5] + b"z", MalformedResponse, MalformedResponse, "valid"),
    Broken(
        "body reset",
        whole(b"hi")[:-1],
        MalformedResponse,
        StreamTruncated,
        "lost|closed",
        reset=True,
    ),
    Broken("not HTTP", b"SSH-2.0-x\r\n", MalformedResponse, MalformedResponse, "HTTP/1"),
    Broken(
        "both lengths",
        b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n",
        MalformedResponse,
        MalformedResponse,
        "Transfer-Encoding",
    ),
]


def breaking(case: Broken) -> Script:
    async def script(wire: Wire) -> None:
        await wire.request()
        if case.sent:
            await wire.send(case.sent)
        if case.reset:
            await asyncio.sleep(0.01)
            wire.reset()

    return script


async def stream(client: HttpClient, seen: list[bytes]) -> None:
    """Append the answer's parts to `seen`, as far as they come."""
    async for chunk in (await post(client)).chunks():
        seen.append(chunk)  # noqa: PERF401 - what came before an error counts


@pytest.mark.parametrize("case", BROKEN, ids=lambda case: case.name)
async def test_a_broken_answer_is_an_error_that_says_what_came(case: Broken) -> None:
    """An answer that breaks off is never taken for a whole one."""
    async with serve(breaking(case)) as server, client_of(server) as client:
        with pytest.raises(case.read, match=case.says):
            await ask(client)
        with pytest.raises(case.streamed, match=case.says):
            await stream(client, [])
        statistics = client.statistics()
        assert (statistics.open, statistics.discarded_total) == (0, 2)


async def test_what_came_before_a_break_is_delivered_first() -> None:
    """The part of a stream that arrived before it broke is mine."""
    async with serve(breaking(BROKEN[6])) as server, client_of(server) as client:
        seen: list[bytes] = []
        with pytest.raises(StreamTruncated):
            await stream(client, seen)
        assert seen == [b"abc"]


async def test_an_answer_without_length_ends_when_the_server_closes() -> None:
    """An old server that marks the end by closing is understood."""

    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(b"HTTP/1.0 200 OK\r\n\r\nall of it")

    async with serve(script) as server, client_of(server) as client:
        assert await ask(client) == b"all of it"
        statistics = client.statistics()
        assert (statistics.open, statistics.discarded_total) == (0, 0)


@pytest.mark.parametrize("answer", [whole(b"x" * 11), chunked(b"x" * 6, b"x" * 5)])
async def test_an_answer_over_its_cap_is_refused(answer: bytes) -> None:
    """A body larger than I take is an error, and its connection is closed."""
    async with serve(answering(answer)) as server, client_of(server) as client:
        response = await post(client)
        with pytest.raises(MalformedResponse, match="larger than 10 bytes"):
            await response.read(10)
        assert await (await post(client)).read(11) == b"x" * 11


async def test_an_answer_given_up_closes_its_connection() -> None:
    """When I close an answer before its end, the provider notices at once."""
    noticed = asyncio.Event()

    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(chunked(b"first")[:-5])
        await wire.gone()
        noticed.set()

    async with serve(script) as server, client_of(server) as client:
        response = await post(client)
        chunks = response.chunks()
        assert await anext(chunks) == b"first"
        await response.aclose()
        await response.aclose()
        with pytest.raises(StreamTruncated, match="given up"):
            await anext(chunks)
        assert client.statistics().open == 0
        await noticed.wait()


async def test_what_came_in_the_moment_of_giving_up_is_not_lost() -> None:
    """A piece that comes just when its caller goes was sent, so that it can be counted."""

    class Line:
        def pause(self) -> None: ...
        def resume(self) -> None: ...
        def watch(self, when: float) -> None: ...
        def abort(self) -> None: ...
        def write(self, data: bytes) -> bool:
            raise AssertionError(data)

    answer = HttpResponse(asyncio.get_running_loop(), Line(), None, 9.0, 1e9)
    answer.on_head(200, (), None)
    reader = asyncio.ensure_future(answer.read(99))
    await ticks(2)
    answer.on_body(b"a piece")
    reader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reader
    assert answer.unread() == b"a piece"


async def test_closing_a_complete_answer_keeps_its_connection_and_its_bytes() -> None:
    """Closing what is complete costs nothing."""
    async with serve(answering(whole(b"x"))) as server, client_of(server) as client:
        for _ in range(3):
            response = await post(client)
            await response.aclose()
            assert await response.read(1) == b"x"
        assert (server.accepted, client.statistics().idle) == (1, 1)


async def test_an_answer_has_one_reader() -> None:
    """Two tasks cannot split one stream by accident."""

    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(chunked(b"a")[:-5])
        await wire.gone()

    async with serve(script) as server, client_of(server) as client:
        response = await post(client)
        first = asyncio.ensure_future(response.read(9))
        await ticks(3)
        with pytest.raises(RuntimeError, match="one reader"):
            await response.read(9)
        await response.aclose()
        with pytest.raises(MalformedResponse, match="given up"):
            await first


async def slow_answer(wire: Wire) -> None:
    """Answer in pieces, with turns of the loop between."""
    while True:
        await wire.request()
        for piece in (b"HTTP/1.1 200 OK\r\ntransfer-enc", b"oding: chunked\r\n\r\n", b"2\r\na"):
            await wire.send(piece)
            await ticks(2)
        await wire.send(b"b\r\n2\r\ncd\r\n")
        await ticks(2)
        await wire.send(b"0\r\n\r\n")


@pytest.mark.parametrize("times", [1, 2, 3])
@pytest.mark.parametrize("warm", [False, True])
async def test_a_call_cancelled_anywhere_leaves_nothing_behind(times: int, *, warm: bool) -> None:
    """However often and at whatever point a call is cancelled, its connection is freed once."""
    async with serve(slow_answer) as server, client_of(server) as client:
        for turns in range(60):
            if warm:
                assert await ask(client) == b"abcd"
            task = asyncio.ensure_future(ask(client))
            await ticks(turns)
            for _ in range(times):
                task.cancel()
                await ticks(1)
            result = (await asyncio.gather(task, return_exceptions=True))[0]
            assert result == b"abcd" or isinstance(result, asyncio.CancelledError)
            statistics = client.statistics()
            assert (statistics.busy, statistics.waiting) == (0, 0)
            assert statistics.open == statistics.idle <= 1
        assert await ask(client) == b"abcd"
        await client.aclose()
        await until(lambda: all(wire.writer.is_closing() for wire in server.wires))


async def test_a_cancelled_crowd_leaves_nothing_behind() -> None:
    """Cancelling many calls that wait for few connections frees all of them."""
    limits = ClientLimits(connections=3, quiet_seconds=0)
    async with serve(slow_answer) as server, client_of(server, limits) as client:
        for turns in range(0, 60, 3):
            crowd = [asyncio.ensure_future(ask(client)) for _ in range(12)]
            await ticks(turns)
            for task in crowd[turns % 2 :: 2]:
                task.cancel()
                task.cancel()
            for result in await asyncio.gather(*crowd, return_exceptions=True):
                assert result == b"abcd" or isinstance(result, asyncio.CancelledError)
            statistics = client.statistics()
            assert (statistics.busy, statistics.waiting) == (0, 0)


async def test_an_unused_client_opens_nothing() -> None:
    """Making a client and closing it needs no server."""
    async with serve(answering(whole(b""))) as server, client_of(server) as client:
        assert client.statistics().open == 0
        await client.aclose()
        await client.aclose()
        with pytest.raises(ConnectFailed, match="closed") as caught:
            await post(client)
        assert not caught.value.sent
        assert server.accepted == 0


async def test_closing_a_client_lets_running_calls_end() -> None:
    """A client that closes finishes what it has begun, and begins nothing more."""
    goes_on = asyncio.Event()

    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(whole(b"ab")[:-1])
        await goes_on.wait()
        await wire.send(b"b")
        await wire.gone()

    async with serve(script) as server, client_of(server) as client:
        response = await post(client)
        await client.aclose()
        goes_on.set()
        assert await response.read(9) == b"ab"
        assert client.statistics().open == 0
        with pytest.raises(ConnectFailed):
            await post(client)


async def test_a_refused_connection_says_where_it_went() -> None:
    """When nothing listens, I read the address that was tried, and nothing was sent."""
    async with serve(answering(whole(b""))) as server:
        origin = server.origin
    client = HttpClient(origin)
    with pytest.raises(ConnectFailed, match=str(origin.port)) as caught:
        await post(client)
    assert (caught.value.sent, caught.value.retry) == (False, Retry.SAME_ROUTE)
    assert client.statistics().open == 0
    await client.aclose()
