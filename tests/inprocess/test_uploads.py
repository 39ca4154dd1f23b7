"""Files through the official clients in process: read while they go out, never held whole."""

import asyncio
import io
import threading
from collections.abc import AsyncGenerator, Iterator
from typing import Any

import httpx
import httpx2
import openai
import pytest
from typing_extensions import override

from headworks.errors import Retry, UpstreamAnswered
from headworks.inprocess import httpx2_transport, httpx_transport
from headworks.testing import FakeResponse, FakeUpstream
from headworks.types import Request, Route
from headworks.uploads import HELD
from tests.inprocess.world import World

FILE = bytes(range(256)) * 8192


def text() -> FakeResponse:
    return FakeResponse(b'{"text":"hello"}')


class Taking(FakeUpstream):
    """A provider that reads what it gets, and notes who has read it."""

    def __init__(self) -> None:
        super().__init__()
        self.bodies = list[bytes]()
        self.lengths = list[int | None]()

    @override
    async def send(self, request: Request, route: Route, remaining: float) -> FakeResponse:
        upload = request.upload
        if upload is None:
            self.bodies.append(request.content)
        else:
            self.lengths.append(upload.length)
            self.bodies.append(b"".join([piece async for piece in upload.chunks()]))
        return await super().send(request, route, remaining)


@pytest.fixture
def world():
    return World(upstream=Taking())


@pytest.fixture(
    params=[(httpx2, httpx2_transport), (httpx, httpx_transport)], ids=["httpx2", "httpx"]
)
def family(request):
    """An HTTP library, and our transports for it."""
    return request.param


@pytest.fixture(params=["sync", "async"])
def transcribe(request, hw):
    """Ask for the text of a file, by either kind of client."""

    def ask(file: Any, **options: Any) -> Any:
        if request.param == "sync":
            return hw.openai(**options).audio.transcriptions.create(model="m", file=file)

        async def wait() -> Any:
            client = hw.async_openai(**options)
            return await client.audio.transcriptions.create(model="m", file=file)

        return asyncio.run(wait())

    return ask


class Reading(io.BytesIO):
    """A file that notes in which threads it was read, and how much at a time."""

    def __init__(self, content: bytes) -> None:
        super().__init__(content)
        self.threads = set[int]()
        self.most = 0

    @override
    def read(self, size: int | None = -1, /) -> bytes:
        piece = super().read(size)
        self.threads.add(threading.get_ident())
        self.most = max(self.most, len(piece))
        return piece


def test_a_file_arrives_whole(transcribe, world):
    """The provider gets every byte of a file, with its length, piece by piece."""
    world.upstream.script = [text()]
    file = Reading(FILE)
    assert transcribe(("a.mp3", file)).text == "hello"
    (body,) = world.upstream.bodies
    assert FILE in body
    assert b'name="model"\r\n\r\nm\r\n' in body
    assert world.upstream.lengths == [len(body)]
    assert file.most <= HELD
    assert world.ended_once()


def test_a_small_file_is_like_any_other_body(transcribe, world):
    """What is small is there before the call begins."""
    world.upstream.script = [text()]
    assert transcribe(("a.mp3", b"x" * 100)).text == "hello"
    assert not world.upstream.lengths
    assert b"x" * 100 in world.upstream.bodies[0]


def test_a_file_that_cannot_be_read(transcribe, world):
    """An error of the file is the caller's to see as it is; the call is over and settled."""

    class Broken(Reading):
        @override
        def read(self, size: int | None = -1, /) -> bytes:
            if self.tell() > len(FILE) // 2:
                raise OSError("the disk is gone")
            return super().read(size)

    with pytest.raises((OSError, openai.APIConnectionError)) as told:
        transcribe(("a.mp3", Broken(FILE)), max_retries=0)
    causes = [told.value, told.value.__cause__, told.value.__context__]
    assert any("the disk is gone" in str(one) for one in causes)
    assert world.limits.taken == 0


def test_the_official_retry_sends_the_file_again(transcribe, world):
    """What headworks cannot send again the client can: it still has the file."""
    busy = UpstreamAnswered(
        "busy", status=503, type="server_error", code=None, retry=Retry.SAME_ROUTE
    )
    world.upstream.script = [busy, text()]
    assert transcribe(("a.mp3", io.BytesIO(FILE)), max_retries=1).text == "hello"
    assert [FILE in body for body in world.upstream.bodies] == [True, True]


def test_a_key_holds_for_files(transcribe, world):
    """A key that is bound to other models gets the same error as at the gateway."""
    world.upstream.script = [text()]
    assert transcribe(("a.mp3", FILE), api_key="hw_shop").text == "hello"
    with pytest.raises(openai.AuthenticationError):
        transcribe(("a.mp3", FILE), api_key="hw_nobody")


def test_a_body_of_ones_own(family, hw, world):
    """Any iterator of bytes is read in the thread, or the loop, that it was made in."""
    library, transports = family
    threads = set[int]()

    def pieces() -> Iterator[bytes]:
        for _ in range(64):
            threads.add(threading.get_ident())
            yield b"x" * 16_384

    with library.Client(transport=transports.SyncTransport(hw._access)) as client:
        answer = client.post("http://headworks.internal/v1/new", content=pieces())
    assert answer.status_code == 200
    assert world.upstream.bodies == [b"x" * 16_384 * 64]
    assert threads == {threading.get_ident()}


@pytest.mark.anyio
async def test_an_asynchronous_body_of_ones_own(family, hw, world):
    """The same for an asynchronous one, over the portal."""
    library, transports = family

    async def pieces() -> AsyncGenerator[bytes]:
        for _ in range(64):
            await asyncio.sleep(0)
            yield b"x" * 16_384

    async with library.AsyncClient(transport=transports.AsyncTransport(hw._access)) as client:
        answer = await client.post("http://headworks.internal/v1/new", content=pieces())
    assert answer.status_code == 200
    assert world.upstream.bodies == [b"x" * 16_384 * 64]
