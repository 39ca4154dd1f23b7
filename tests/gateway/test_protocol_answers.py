"""Answers leave whole and unambiguous, whatever the app does."""

import asyncio

import pytest
from typing_extensions import override

from headworks.gateway.exchange import Exchange
from headworks.gateway.faces import Direct
from headworks.types import Headers
from tests.gateway.conftest import (
    OK,
    Echo,
    answers,
    connected,
    read_answer,
    serving,
    talk,
)
from tests.gateway.messages import get

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend():
    return "asyncio", {"use_uvloop": True}


async def test_head_and_body_leave_in_one_write():
    """A whole answer is one packet."""
    async with serving(Echo()) as server, connected(server.url) as (reader, writer):
        writer.write(OK)
        assert (await reader.read(65536)).endswith(b"\r\n\r\n/ok ")


async def test_a_streams_head_does_not_wait_for_its_first_byte():
    """An app that sends its head and then thinks has its head delivered at once."""
    gate = asyncio.Event()

    async def app(_scope, _receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await gate.wait()
        await send({"type": "http.response.body", "body": b"late"})

    async with serving(app) as server, connected(server.url) as (reader, writer):
        writer.write(OK)
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 2)
        gate.set()
        assert await reader.readuntil(b"0\r\n\r\n") == b"4\r\nlate\r\n0\r\n\r\n"
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")


async def test_an_app_may_close_the_connection():
    """`connection: close` from the app is said once and obeyed; other such fields are ours to set."""

    async def app(_scope, _receive, send):
        headers = [
            (b"Connection", b"Close"),
            (b"Transfer-Encoding", b"chunked"),
            (b"content-length", b"2"),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"ok"})

    async with serving(app) as server:
        received = await talk(server.url, [OK + OK])
    assert received.lower().count(b"connection: close") == 1
    assert b"transfer-encoding" not in received.lower()
    assert [answer.body for answer in answers(received)] == [b"ok"]


@pytest.mark.parametrize("messages", [0, 1, 2])
async def test_an_app_that_stops_half_way_is_noticed(messages: int):
    """An app that returns too early yields an error, or an answer that is visibly incomplete."""
    script = (
        {"type": "http.response.start", "status": 200, "headers": []},
        {"type": "http.response.body", "body": b"half", "more_body": True},
    )

    async def app(_scope, _receive, send):
        for message in script[:messages]:
            await send(message)

    async with serving(app) as server:
        received = await talk(server.url, [OK + OK])
    assert received.count(b"HTTP/1.1") == 1
    if messages < 2:
        assert answers(received)[0].code == "internal_error"
    else:
        assert received.endswith(b"4\r\nhalf\r\n")


async def test_old_clients_get_no_chunks():
    """An HTTP/1.0 client reads until the connection closes, since it knows no chunks."""
    app = Echo()
    app.gate.set()
    async with serving(app) as server:
        received = await talk(server.url, [get(b"/stream", b"X: a", version=b"HTTP/1.0")])
    (answer,) = answers(received)
    assert (answer.body, answer.headers.get("transfer-encoding")) == (b"first last", None)


async def test_a_head_request_gets_no_body():
    """HEAD is answered with the fields of GET alone, and the connection stays usable."""
    async with serving(Echo()) as server, connected(server.url) as (reader, writer):
        writer.write(OK.replace(b"GET", b"HEAD"))
        head = await reader.readuntil(b"\r\n\r\n")
        writer.write(OK)
        assert (await read_answer(reader)).body == b"/ok "
    assert b"content-length: 4" in head


async def test_a_failing_app_answers_like_the_api():
    """A defect is a 500 in OpenAI's shape that tells nothing of the inside."""
    async with serving(Echo()) as server:
        (answer,) = answers(await talk(server.url, [get(b"/broken")]))
    assert (answer.status, answer.code) == (500, "internal_error")
    assert b"defect" not in answer.body


async def test_no_answer_can_be_split_by_a_header_value():
    """A line end in a header value of an answer is an error of ours, not a second header."""

    async def app(_scope, _receive, send):
        headers = [(b"x-model", b"a\r\nset-cookie: b"), (b"content-length", b"0")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body"})

    async with serving(app) as server:
        received = await talk(server.url, [OK])
    assert answers(received)[0].status == 500
    assert b"set-cookie" not in received


class Whole(Direct):
    """An app of our own that gives its answers whole."""

    def __init__(self, fields: Headers) -> None:
        self._fields = fields

    @override
    async def carry(self, exchange: Exchange) -> None:
        await exchange.answer(200, self._fields, b"whole")


@pytest.mark.parametrize("end", [b"\r\n", b"\r", b"\n", b"\0"])
@pytest.mark.parametrize("at", ["name", "value"])
async def test_no_whole_answer_can_be_split_by_a_field(at: str, end: bytes):
    """A line end in a field of an answer that is all here is an error of ours, each time it comes."""
    evil = b"a" + end + b"set-cookie: b"
    async with serving(Whole(((evil, b"b") if at == "name" else (b"x-a", evil),))) as server:
        for _ in range(2):
            received = await talk(server.url, [OK])
            assert answers(received)[0].status == 500
            assert b"set-cookie" not in received


async def test_a_whole_answer_has_its_fields_as_they_are():
    """No character of a name or a value means anything but itself."""
    fields = ((b"x-100%b", b"%b%d"), (b"x-%%", b"{}"), (b"x-100%b", b""))
    async with serving(Whole(fields)) as server, connected(server.url) as (reader, writer):
        for _ in range(2):
            writer.write(OK)
            head = await reader.readuntil(b"\r\n\r\n")
            assert (
                b"\r\nx-100%b: %b%d\r\nx-%%: {}\r\nx-100%b: \r\ncontent-length: 5\r\n\r\n" in head
            )
            assert await reader.readexactly(5) == b"whole"


async def test_an_answer_as_long_as_it_says():
    """A body that is not as long as promised ends the connection instead of the next answer."""

    async def app(_scope, _receive, send):
        headers = [(b"content-length", b"10")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"short", "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async with serving(app) as server:
        received = await talk(server.url, [OK + OK])
    assert received.count(b"HTTP/1.1") == 1
    assert received.endswith(b"short")
