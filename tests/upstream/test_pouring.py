"""Requests whose bodies come while they go out."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headworks.core.endpoints import normalise
from headworks.errors import (
    CallError,
    ConnectionLost,
    DeadlineExceeded,
    IdleTimeout,
    InvalidRequest,
    UpstreamError,
)
from headworks.types import Request, Timeouts
from headworks.uploads import PassingUpload, Room
from headworks.upstream.http1 import HttpClient, HttpResponse, request_head
from headworks.upstream.openai import poured
from headworks.upstream.origin import CHUNKED
from headworks.upstream.pouring import Body
from tests.upstream.provider import route
from tests.upstream.scripted import Wire, ask, client_of, serve, until, whole

pytestmark = pytest.mark.anyio

BIG = bytes(range(256)) * 4096


class Pieces:
    """A body in pieces; it may wait before one of them, or break."""

    def __init__(self, *pieces: bytes, error: CallError | None = None, waits: bool = False) -> None:
        self.left, self.error, self.waits = list(pieces), error, waits
        self.is_closed = False
        self.goes_on = asyncio.Event()

    async def __call__(self) -> AsyncGenerator[bytes]:
        try:
            while self.left:
                yield self.left.pop(0)
            if self.waits:
                await self.goes_on.wait()
            if self.error is not None:
                raise self.error
        finally:
            self.is_closed = True


async def send(
    client: HttpClient,
    pieces: Pieces,
    length: int = CHUNKED,
    *,
    total: float = 10.0,
    idle: float = 5.0,
) -> HttpResponse:
    head = request_head("POST", "/v1/x", client.origin.authority, (), length)
    body = Body(pieces(), is_chunked=length == CHUNKED)
    timeouts = Timeouts(connect=5.0, idle=idle)
    return await client.send(head, body, timeouts, first_byte=None, total=total)


async def read_chunks(wire: Wire) -> bytes:
    """Read a request that comes in chunks; return its body."""
    await wire.reader.readuntil(b"\r\n\r\n")
    body = b""
    while size := int(await wire.reader.readuntil(b"\r\n"), 16):
        body += await wire.reader.readexactly(size)
        assert await wire.reader.readexactly(2) == b"\r\n"
    assert await wire.reader.readexactly(2) == b"\r\n"
    return body


@pytest.mark.parametrize("is_chunked", [True, False])
async def test_every_byte_arrives_and_the_connection_serves_again(*, is_chunked: bool):
    """A large body comes over whole, with its length or in chunks, on a connection like any other."""
    seen: list[bytes] = []

    async def script(wire: Wire) -> None:
        while True:
            seen.append(await (read_chunks(wire) if is_chunked else wire.request()))
            await wire.send(whole(b"ok"))

    async with serve(script) as server, client_of(server) as client:
        for _ in range(2):
            pieces = Pieces(b"first", BIG, b"", b"last")
            length = CHUNKED if is_chunked else len(BIG) + 9
            response = await send(client, pieces, length)
            assert await response.read(100) == b"ok"
            assert pieces.is_closed
        assert server.accepted == 1
    assert [one.endswith(b"first" + BIG + b"last") for one in seen] == [True, True]


async def test_a_refusal_ends_the_upload():
    """A server that says no early is heard early; nothing more is sent, and nobody gets the line."""
    pieces = Pieces(b"x" * 100, waits=True)

    async def script(wire: Wire) -> None:
        await wire.reader.readuntil(b"\r\n\r\n")
        await wire.send(whole(b"no", 413))
        await wire.gone()

    async with serve(script) as server, client_of(server) as client:
        response = await send(client, pieces, 10**6)
        assert (response.status, await response.read(100)) == (413, b"no")
        assert pieces.is_closed
        assert client.statistics().idle == 0


async def test_an_early_answer_waits_for_the_rest():
    """A server that answers well while it reads gets all of the body."""
    seen: list[bytes] = []
    pieces = Pieces(b"x" * 100, waits=True)

    async def script(wire: Wire) -> None:
        await wire.reader.readuntil(b"\r\n\r\n")
        await wire.send(whole(b"ok"))
        pieces.left.append(b"y" * 100)
        pieces.goes_on.set()
        seen.append(await wire.reader.readexactly(100))
        await wire.gone()

    async with serve(script) as server, client_of(server) as client:
        response = await send(client, pieces, 100)
        assert await response.read(10) == b"ok"
    assert seen == [b"x" * 100]


async def cut(wire: Wire) -> None:
    await wire.reader.readexactly(1000)
    wire.reset()


async def deaf(wire: Wire) -> None:
    await wire.reader.readuntil(b"\r\n\r\n")
    await asyncio.get_running_loop().create_future()


@pytest.mark.parametrize(
    ("script", "options", "error"),
    [
        (cut, {}, ConnectionLost),
        (deaf, {"idle": 0.05}, IdleTimeout),
        (deaf, {"total": 0.05}, DeadlineExceeded),
    ],
    ids=["cut", "takes nothing", "too slow"],
)
async def test_what_breaks_before_the_whole_request_has_left_costs_nothing(
    script: Callable[[Wire], object], options: dict[str, float], error: type[CallError]
):
    """A provider that has not had the whole request cannot have worked on it; the error says so."""
    pieces = Pieces(*[BIG] * 60)
    async with serve(script) as server, client_of(server) as client:  # type: ignore[arg-type]  # scripts are coroutines
        with pytest.raises(error) as told:
            await send(client, pieces, len(BIG) * 60, **options)
        assert isinstance(told.value, UpstreamError | DeadlineExceeded)
        assert not told.value.sent
        assert pieces.is_closed
        assert client.statistics().open == 0


async def test_what_breaks_after_that_may_cost():
    """A connection that is lost behind the whole body may have cost what it says."""

    async def script(wire: Wire) -> None:
        await read_chunks(wire)
        wire.reset()

    async with serve(script) as server, client_of(server) as client:
        with pytest.raises(ConnectionLost) as told:
            await send(client, Pieces(b"x"))
        assert told.value.sent


async def test_a_body_that_breaks_is_the_callers_error():
    """What went wrong at the source is what is told, and the provider sees no whole request."""
    error = InvalidRequest("not a form")
    async with serve(deaf) as server, client_of(server) as client:
        with pytest.raises(InvalidRequest, match="not a form"):
            await send(client, Pieces(b"x", error=error))
        await until(lambda: client.statistics().open == 0)


async def test_a_cancelled_upload_says_that_it_was_not_sent():
    """Whoever hangs up in the middle of an upload has asked for nothing yet."""
    pieces = Pieces(b"x", waits=True)
    async with serve(deaf) as server, client_of(server) as client:
        task = asyncio.ensure_future(send(client, pieces))
        await until(lambda: not pieces.left)
        task.cancel()
        with pytest.raises(asyncio.CancelledError) as told:
            await task
        cause = told.value.__cause__
        assert isinstance(cause, UpstreamError)
        assert not cause.sent
        assert pieces.is_closed


async def test_the_next_call_gets_a_connection_of_its_own():
    """After an upload that was refused early, the next answer is the next request's."""

    async def script(wire: Wire) -> None:
        head = await wire.reader.readuntil(b"\r\n\r\n")
        if b"chunked" in head:
            await wire.send(whole(b"no", 401))
            await wire.gone()
        else:
            await wire.reader.readexactly(2)
            await wire.send(whole(b"mine"))

    async with serve(script) as server, client_of(server) as client:
        refused = await send(client, Pieces(b"x", waits=True))
        await refused.read(10)
        assert await ask(client) == b"mine"
        assert server.accepted == 2


# The model within a body.


@given(
    st.binary(max_size=40),
    st.binary(min_size=1, max_size=9),
    st.binary(max_size=40),
    st.lists(st.integers(0, 90)),
)
async def test_only_the_models_name_changes(
    before: bytes, name: bytes, behind: bytes, cuts: list[int]
):
    """However the bytes come, those around the name are the caller's, and the length is right."""
    content = before + name + behind
    places = sorted({0, len(content), *(cut for cut in cuts if cut < len(content))})
    pieces = [content[a:b] for a, b in pairwise(places)]
    left = pieces[1:]

    async def more() -> bytes:
        return left.pop(0) if left else b""

    upload = PassingUpload(pieces[0], more, Room(), most=1000, length=len(content))
    at = (len(before), len(before) + len(name))
    request = Request("POST", normalise("/v1/x"), model="alias", upload=upload, model_at=at)
    body, length = poured(request, upload, route("gpt-6"))
    sent = b"".join([piece async for piece in body.pieces])
    assert sent == before + b"gpt-6" + behind
    assert length == len(sent)
