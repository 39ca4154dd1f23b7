"""Bytes that nobody asked for reach no other call, whichever way the call before went out.

The ways: a body that is there, one that passes while it goes out (with its length or in chunks), a
download, an answer that comes before its request. After each the next call must get its own answer.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from headworks.errors import CallError
from headworks.upstream.http1 import ClientLimits, HttpClient, request_head
from headworks.upstream.origin import CHUNKED
from headworks.upstream.pouring import Body
from tests.faults.processes import (
    Gateway,
    ask,
    chat,
    configuration,
    gateway_of,
    line_to,
    request,
)
from tests.faults.test_four_timeouts import JSON, WHOLE
from tests.upstream.scripted import TIMEOUTS, Wire, chunked, client_of, serve, whole

pytestmark = pytest.mark.anyio

EVIL = whole(b"EVIL")
HINT = b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"
PIECE = b"x" * 70_000


async def sent_whole(client: HttpClient, tag: bytes) -> bytes:
    return await _sent(client, "POST", PIECE, len(PIECE), tag)


async def poured(client: HttpClient, tag: bytes) -> bytes:
    return await _sent(client, "POST", Body(_pieces()), 2 * len(PIECE), tag)


async def poured_in_chunks(client: HttpClient, tag: bytes) -> bytes:
    return await _sent(client, "POST", Body(_pieces(), is_chunked=True), CHUNKED, tag)


async def downloaded(client: HttpClient, tag: bytes) -> bytes:
    return await _sent(client, "GET", b"", None, tag)


async def _sent(
    client: HttpClient, method: str, content: bytes | Body, length: int | None, tag: bytes
) -> bytes:
    head = request_head(method, "/v1/x", "up", ((b"x-tag", tag),), length)
    response = await client.send(head, content, TIMEOUTS, first_byte=None, total=10.0)
    return await response.read(1_000_000)


async def _pieces() -> AsyncGenerator[bytes]:
    for _ in range(2):
        yield PIECE
        await asyncio.sleep(0)


HARMLESS = "a few hints"
WAYS = (sent_whole, poured, poured_in_chunks, downloaded)
LIES: dict[str, tuple[bytes, bytes, float | None]] = {
    "same packet": (b"", EVIL, None),
    "an end of line": (b"", b"\r\n", None),
    "at once": (b"", EVIL, 0.0),
    "1 ms later": (b"", EVIL, 0.001),
    "100 ms later": (b"", EVIL, 0.1),
    "while idle": (b"", EVIL, 0.2),
    HARMLESS: (HINT * 3, b"", None),
    "a flood of hints": (HINT * 200, b"", None),
    "hints with a body": (b"HTTP/1.1 103 H\r\ncontent-length: 41\r\n\r\n" + EVIL, b"", None),
}
"""What a server says before its answer, behind it, and how much later."""
REFUSED = {"a flood of hints", "hints with a body"}


async def read(wire: Wire) -> bytes:
    """Read one request; return its tag."""
    head = await wire.reader.readuntil(b"\r\n\r\n")
    await _rest(wire, head)
    return head.partition(b"x-tag: ")[2].partition(b"\r\n")[0]


async def _rest(wire: Wire, head: bytes) -> None:
    length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
    if b"transfer-encoding: chunked" not in head.lower():
        await wire.reader.readexactly(int(length or 0))
        return
    while size := int(await wire.reader.readuntil(b"\r\n"), 16):
        await wire.reader.readexactly(size + 2)
    await wire.reader.readexactly(2)


@pytest.mark.parametrize("framed", [whole, chunked], ids=["length", "chunks"])
@pytest.mark.parametrize("lie", LIES)
@pytest.mark.parametrize("way", WAYS)
async def test_surplus_bytes(
    way: Callable[[HttpClient, bytes], Awaitable[bytes]],
    lie: str,
    framed: Callable[[bytes], bytes],
):
    """Each call gets its own answer or an error, and no poisoned connection serves again."""
    before, behind, after = LIES[lie]
    served: list[int] = []

    async def script(wire: Wire) -> None:
        served.append(0)
        connection = len(served) - 1
        while True:
            tag = await read(wire)
            served[connection] += 1
            await wire.send(before + framed(tag) + (behind if after is None else b""))
            if after is not None:
                await asyncio.sleep(after)
                await wire.send(behind)

    # Where all comes at once, nothing but the framing may see it: no rest, and no distrust.
    limits = ClientLimits(quiet_seconds=0, distrust_seconds=0) if after is None else ClientLimits()
    async with serve(script) as server, client_of(server, limits) as client:
        for number in range(2):
            tag = b"%d" % number
            if lie in REFUSED:
                with pytest.raises(CallError):
                    await way(client, tag)
            else:
                assert await way(client, tag) == tag
            await asyncio.sleep(0.0 if after is None else after + 0.02)
    assert max(served) == (2 if lie == HARMLESS else 1)


@pytest.mark.parametrize("way", WAYS)
async def test_an_answer_before_its_request(way: Callable[[HttpClient, bytes], Awaitable[bytes]]):
    """Who answers what nobody has asked yet is not believed, whatever is asked then."""
    answers = [EVIL, b""]

    async def script(wire: Wire) -> None:
        await wire.send(answers.pop(0) if len(answers) > 1 else b"")
        while True:
            await wire.send(whole(await read(wire)))

    async with serve(script) as server, client_of(server) as client:
        with suppress(CallError):
            assert await way(client, b"first") == b"first"
        assert await way(client, b"second") == b"second"


@pytest.mark.parametrize("is_chunked", [False, True], ids=["length", "chunks"])
@pytest.mark.parametrize("status", [200, 413])
async def test_an_answer_in_the_middle_of_its_request(status: int, *, is_chunked: bool):
    """An answer that comes while the body still goes out is this call's, and what follows nobody's."""
    has_answered: list[asyncio.Event] = []

    async def script(wire: Wire) -> None:
        head = await wire.reader.readuntil(b"\r\n\r\n")
        tag = head.partition(b"x-tag: ")[2].partition(b"\r\n")[0]
        await wire.send(whole(tag, status))
        has_answered[-1].set()
        await asyncio.sleep(0.01)
        await wire.send(EVIL)
        await wire.gone()

    async def pieces() -> AsyncGenerator[bytes]:
        yield PIECE
        await has_answered[-1].wait()
        await asyncio.sleep(0.001)
        yield PIECE

    async with serve(script) as server, client_of(server) as client:
        for tag in (b"first", b"second", b"third"):
            has_answered.append(asyncio.Event())
            body = Body(pieces(), is_chunked=is_chunked)
            length = CHUNKED if is_chunked else 2 * len(PIECE)
            assert await _sent(client, "POST", body, length, tag) == tag
        assert server.accepted == 3


# Through the whole gateway: an answer that is cut short is never taken for a whole one.

BINARY = b"content-type: application/octet-stream\r\n"
CUT: dict[str, bytes] = {
    "a declared length": whole(b"x" * 1000, fields=BINARY)[:-1],
    "one chunk": chunked(b"x" * 1000)[:-500],
    "no last chunk": chunked(b"x" * 1000)[:-5],
    "half of the last line": chunked(b"x" * 1000)[:-2],
}
FORM = b"multipart/form-data; boundary=b"
UPLOAD = (
    b'--b\r\ncontent-disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
    b'--b\r\ncontent-disposition: form-data; name="file"; filename="a"\r\n\r\n'
)
UPLOADS = {"small": UPLOAD + b"x\r\n--b--\r\n", "large": UPLOAD + bytes(400_000) + b"\r\n--b--\r\n"}


@asynccontextmanager
async def cutting(folder: Path, answer: bytes) -> AsyncGenerator[Gateway]:
    """Run a gateway before a provider that sends this and hangs up, but answers chats."""

    async def script(wire: Wire) -> None:
        while True:
            head = await wire.reader.readuntil(b"\r\n\r\n")
            if not head.startswith(b"POST /v1/chat"):
                await _rest(wire, head)
                await wire.send(answer)
                return
            await _rest(wire, head)
            await wire.send(WHOLE)

    async with serve(script) as server, gateway_of(configuration(folder, server.port)) as gateway:
        yield gateway


@pytest.mark.parametrize("answer", CUT.values(), ids=CUT)
async def test_half_a_download_is_no_whole_one(tmp_path, answer: bytes):
    """A file that its provider does not send to its end does not end for me either."""
    asked = request(b"", line="GET /v1/files/f/content HTTP/1.1")

    async with cutting(tmp_path, answer) as gateway, line_to(gateway.port) as line:
        reply = await line.ask(asked)
        assert (reply.status, reply.has_ended) in {(200, False), (502, True)}
        assert await line.reader.read() == b""
        assert (await ask(gateway.port, chat())).status == 200


@pytest.mark.parametrize("body", UPLOADS.values(), ids=UPLOADS)
@pytest.mark.parametrize(
    "cut",
    [
        *(pytest.param(answer, id=name) for name, answer in CUT.items()),
        pytest.param(whole(b'{"id": "file-1"}', fields=JSON)[:-3], id="half of the JSON"),
        pytest.param(whole(b"\x1f\x8b garbage", fields=JSON)[:-2], id="half of packed garbage"),
    ],
)
async def test_half_an_answer_to_an_upload_is_no_whole_one(tmp_path, cut: bytes, body: bytes):
    """Nor is what was said of an upload, and nobody sends it a second time."""
    fields = {"content-type": FORM.decode()}
    asked = request(body, line="POST /v1/files HTTP/1.1", headers=fields)
    async with cutting(tmp_path, cut) as gateway, line_to(gateway.port) as line:
        reply = await line.ask(asked)
        assert (reply.status, reply.has_ended) in {(200, False), (502, True)}
        assert (await ask(gateway.port, chat())).status == 200
        assert len([row for row in gateway.rows() if row["endpoint"] == "files"]) <= 1
