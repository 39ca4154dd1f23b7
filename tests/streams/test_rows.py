"""Every form in which providers send streams, cut in every way: the caller hears what was said."""

import asyncio
import json
from typing import Any

import openai
import pytest

from headworks import aggregate
from headworks.core.streams import ChatStream, ResponsesStream, Stream
from tests.faults.processes import KEY, chat, configuration, gateway_of, line_to, request
from tests.streams.rows import (
    BY_NAME,
    DONE,
    HEAD,
    NO_STREAMS,
    RESPONSES,
    ROWS,
    TRUNCATED,
    USAGE,
    C,
    NoStream,
    Row,
    chunk,
    data,
    provider,
)
from tests.upstream.scripted import Wire, serve

pytestmark = pytest.mark.anyio


def reader(row: Row) -> Stream:
    return ResponsesStream() if row in RESPONSES else ChatStream(shows_usage=False)


def heard(row: Row, *pieces: bytes) -> tuple[bytes, str | None, object]:
    """Return what is made of a row in these pieces: bytes for its caller, error, usage."""
    stream, out = reader(row), b""
    for piece in pieces:
        out += stream.feed(piece)
    if row.ending in {"whole", "closed"} or stream.is_answered:
        out += stream.finish()
    if not stream.is_over:
        return out, TRUNCATED, stream.reported  # its connection's own error
    code = "" if stream.error is None else stream.error.code or None
    return out + (stream.ending or b""), code, stream.reported


@pytest.mark.parametrize("row", ROWS + RESPONSES, ids=lambda row: row.id)
def test_every_split_is_heard_alike(row):
    """In one piece, in two cut anywhere, byte by byte, and in threes: always the same."""
    wire = row.wire
    whole = heard(row, wire)
    assert whole[:2] == (row.relayed, row.code)
    assert (whole[2] is not None) == row.usage

    for cut in range(1, len(wire)):
        assert heard(row, wire[:cut], wire[cut:]) == whole, cut
    for size in (1, 3):
        assert heard(row, *(wire[at : at + size] for at in range(0, len(wire), size))) == whole


@pytest.mark.parametrize("row", [row for row in ROWS if row.code == ""], ids=lambda row: row.id)
def test_what_is_relayed_adds_up_to_what_was_said(row):
    """The whole answer that a caller can make of a stream says what its pieces said."""
    answer = aggregate(row.relayed)

    assert answer is not None
    said = answer["choices"][0]["message"]["content"] or ""
    assert said == row.said.encode("utf-16", "surrogatepass").decode("utf-16")
    assert answer["choices"][0]["finish_reason"] in {"stop", "tool_calls"}


def asking(row: Row, *, user: str) -> bytes:
    headers = {"x-headworks-user": user}
    if row in RESPONSES:
        body = {"model": "single", "input": row.id, "stream": True}
        line = "POST /v1/responses HTTP/1.1"
        return request(json.dumps(body).encode(), line=line, headers=headers)
    return chat(model="single", stream=True, messages=[{"role": "user", "content": row.id}], headers=headers)  # fmt: skip


async def test_over_the_wire(tmp_path):
    """Through a gateway: byte for byte, one end, an error of one form, and usage booked once."""
    async with serve(provider) as server:
        file = configuration(tmp_path, server.port)
        async with gateway_of(file) as gateway:
            for number, row in enumerate(ROWS + RESPONSES):
                async with line_to(gateway.port) as line:
                    reply = await asyncio.wait_for(line.ask(asking(row, user=f"row-{number}")), 10)
                assert (reply.status, reply.has_ended) == (200, True), row.id
                assert reply.headers["x-headworks-attempts"] == "1", row.id
                assert reply.body.startswith(row.relayed), row.id
                told = reply.body[len(row.relayed) :].split(b"\n\n")[:-1]
                assert_told(row, told)
                booked = gateway.row(f"row-{number}")
                assert booked["state"] == "settled", row.id
                assert booked["certainty"] == ("exact" if row.usage else "estimated"), row.id
                if row.usage:
                    counts = (USAGE["prompt_tokens"], USAGE["completion_tokens"])
                    assert (booked["input"], booked["output"]) == counts, row.id
                else:
                    assert booked["output"] > 0, row.id


def assert_told(row: Row, told: list[bytes]) -> None:
    """What follows the answer is nothing, or one error in the form of its dialect."""
    events = [json.loads(one.partition(b"data: ")[2]) for one in told]
    if row.code == "":
        assert events == [], row.id
    elif row in RESPONSES:
        assert [one["type"] for one in events] == ["response.failed", "error"], row.id
        assert events[1]["error"]["code"] == row.code, row.id
    else:
        (event,) = events
        assert event["error"]["code"] == row.code, row.id


async def test_packets_decide_nothing(tmp_path):
    """A thousand events in one packet, and one event in a thousand, are heard as they were said."""
    many = b"".join(data(chunk(str(number))) for number in range(1_000)) + C + DONE
    large = data(chunk("x" * 2_000)) + C + DONE

    async def script(wire: Wire) -> None:
        if b"packed" in await wire.request():
            await wire.send(HEAD + b"transfer-encoding: chunked\r\n\r\n")
            await wire.send(b"%x\r\n%b\r\n0\r\n\r\n" % (len(many), many))
            return
        await wire.send(HEAD + b"\r\n")
        for at in range(0, len(large), 2):
            await wire.send(large[at : at + 2])
            await asyncio.sleep(0)

    async with (
        serve(script) as server,
        gateway_of(configuration(tmp_path, server.port)) as gateway,
        line_to(gateway.port) as line,
    ):
        first = await line.ask(chat(model="single", stream=True, user="packed"))
        second = await line.ask(chat(model="single", stream=True, user="torn"))
    assert (first.body, first.has_ended) == (many, True)
    assert (second.body, second.has_ended) == (large, True)


@pytest.fixture
async def client(tmp_path):
    """An official client before a gateway before the provider of rows."""
    async with serve(provider) as server, gateway_of(configuration(tmp_path, server.port)) as gateway:  # fmt: skip
        url = f"http://127.0.0.1:{gateway.port}/v1"
        async with openai.AsyncOpenAI(base_url=url, api_key=KEY, max_retries=0) as client:
            yield client


async def hear(client: openai.AsyncOpenAI, name: str) -> tuple[str, openai.APIError | None]:
    """Return the text that the official client hears, and what it raises."""
    said = ""
    try:
        if BY_NAME[name] in RESPONSES:
            events = await client.responses.create(model="single", input=name, stream=True)
            async for event in events:
                said += event.delta if event.type == "response.output_text.delta" else ""
        else:
            chats: Any = client.chat.completions
            messages = [{"role": "user", "content": name}]
            async for part in await chats.create(model="single", messages=messages, stream=True):
                said += "".join(one.delta.content or "" for one in part.choices if not one.index)
    except openai.APIError as error:
        return said, error
    return said, None


async def test_the_official_client_hears_every_row(client):
    """All that was said, and the client's own exception with its code where not all of it came."""
    async with asyncio.timeout(60):
        for row in ROWS + RESPONSES:
            said, error = await hear(client, row.id)

            assert said == row.said, row.id
            assert (error is None) == (row.code == ""), row.id
            assert error is None or (type(error), error.code) == (openai.APIError, row.code), row.id


@pytest.mark.parametrize("row", NO_STREAMS, ids=lambda row: row.id)
async def test_what_is_no_stream_is_never_an_empty_one(client, row: NoStream):
    """A whole answer is streamed as it would have been; an error is one, with its status."""
    said, error = await hear(client, row.id)

    assert said == row.said
    if row.code == "":
        assert error is None
    else:
        assert isinstance(error, openai.APIStatusError)
        assert (error.status_code, error.code) == (row.status, row.code)
