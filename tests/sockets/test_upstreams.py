"""What becomes of a connection when its provider does as it likes."""

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.sockets.conftest import (
    KEY,
    NARROW,
    POOR,
    PROVIDERS_KEY,
    VOICE,
    Ground,
    events_until,
    gateway,
)
from tests.upstream.scripted import Wire, until
from tests.upstream.scripted import serve as serve_bytes

pytestmark = pytest.mark.anyio

USAGE = {"input_tokens": 5, "output_tokens": 7, "total_tokens": 12}
PATH = f"/realtime?model={VOICE}"
Script = Callable[[ServerConnection], Awaitable[None]]


def said(kind: str, **fields: Any) -> str:
    return json.dumps({"type": kind, "event_id": "event_1", **fields})


BEGUN = said("response.created", response={"id": "r1", "status": "in_progress"})
DONE = said("response.done", response={"id": "r1", "status": "completed", "usage": USAGE})
ASKING = '{"type": "response.create"}'


@asynccontextmanager
async def before(
    script: Script,
    folder: Path,
    practice: Any,
    rules: dict[str, Any] | None = None,
    **options: Any,
) -> AsyncGenerator[Ground]:
    """Run a gateway before a provider that follows a script on each connection."""
    async with serve(script, "127.0.0.1", 0, compression=None, **options) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        upstream = f"http://127.0.0.1:{port}/v1"
        async with gateway(folder, practice, upstream=upstream, **(rules or {})) as ground:
            yield ground


async def test_a_providers_farewell_is_passed_on(practice, tmp_path):
    """An app hears the provider's own code and words; what was open is booked as counted."""

    async def script(connection: ServerConnection) -> None:
        await connection.recv()
        await connection.send(BEGUN)
        await connection.close(4001, "session expired")

    async with before(script, tmp_path, practice) as ground:
        async with ground.connect(PATH) as connection:
            await connection.send(ASKING)
            await events_until(connection, "response.created")
            with pytest.raises(ConnectionClosed) as caught:
                await connection.recv()
        assert caught.value.rcvd is not None
        assert (caught.value.rcvd.code, caught.value.rcvd.reason) == (4001, "session expired")
        (row,) = await ground.settled(1)
        assert (row["certainty"], row["outcome"]) == ("estimated", "abandoned")
        await until(lambda: len(ground.calls) == 2)


async def test_a_lost_provider_is_told(practice, tmp_path):
    """A connection that the provider drops ends with 1011, and what was said is booked."""

    async def script(connection: ServerConnection) -> None:
        await connection.recv()
        await connection.send(BEGUN)
        delta = {"response_id": "r1", "delta": "a b c d e f g h"}
        await connection.send(said("response.output_text.delta", **delta))
        connection.transport.abort()

    async with before(script, tmp_path, practice) as ground:
        async with ground.connect(PATH) as connection:
            await connection.send(ASKING)
            await events_until(connection, "response.output_text.delta")
            with pytest.raises(ConnectionClosed) as caught:
                await connection.recv()
        assert caught.value.rcvd is not None
        assert caught.value.rcvd.code == 1011
        (row,) = await ground.settled(1)
        assert row["certainty"] == "estimated"
        assert row["output"] >= 4


async def test_a_response_has_a_deadline(practice, tmp_path):
    """A response that does not end within `timeouts.total` ends its connection, and is booked."""

    async def script(connection: ServerConnection) -> None:
        await connection.recv()
        await connection.send(BEGUN)
        await connection.wait_closed()

    async with before(script, tmp_path, practice) as ground:
        async with ground.connect("/realtime?model=brief") as connection:
            await connection.send(ASKING)
            await events_until(connection, "response.created")
            with pytest.raises(ConnectionClosed) as caught:
                await connection.recv()
        assert caught.value.rcvd is not None
        assert (caught.value.rcvd.code, caught.value.rcvd.reason) == (1011, "deadline_exceeded")
        (row,) = await ground.settled(1)
        assert (row["certainty"], row["outcome"]) == ("estimated", "abandoned")


async def test_an_apps_farewell_reaches_the_provider(practice, tmp_path):
    """Within a second after an app has left, with or without a word, its provider is left too."""
    codes: list[int | None] = []

    async def script(connection: ServerConnection) -> None:
        await connection.wait_closed()
        codes.append(connection.close_code)

    async with before(script, tmp_path, practice) as ground:
        async with ground.connect(PATH) as connection:
            await connection.close(4002, "done here")
        gone = await ground.connect(PATH)
        gone.transport.abort()
        async with asyncio.timeout(1):
            await until(lambda: len(codes) == 2)
    assert sorted(code or 0 for code in codes) == [1000, 4002]


async def test_an_unasked_response_is_booked(practice, tmp_path):
    """A response that the provider begins when somebody has finished speaking is money too."""

    async def script(connection: ServerConnection) -> None:
        await connection.send(BEGUN)
        await connection.send(DONE)
        await connection.wait_closed()

    async with before(script, tmp_path, practice) as ground, ground.connect(PATH) as connection:
        await events_until(connection, "response.done")
        (row,) = await ground.settled(1)
        assert (row["input"], row["output"], row["certainty"]) == (5, 7, "exact")


async def test_an_unasked_response_that_may_not_be_ends_the_connection(practice, tmp_path):
    """Where the money is used up, a connection that could go on spending is ended with 1008."""

    async def script(connection: ServerConnection) -> None:
        await connection.send(BEGUN)
        await connection.wait_closed()

    async with before(script, tmp_path, practice) as ground:
        async with ground.connect(PATH, POOR) as connection:
            (error,) = await events_until(connection, "error")
            with pytest.raises(ConnectionClosed) as caught:
                await connection.recv()
        assert error["error"]["code"] == "insufficient_quota"
        assert caught.value.rcvd is not None
        assert caught.value.rcvd.code == 1008
        (row,) = await ground.settled(1)
        assert (row["certainty"], row["outcome"]) == ("estimated", "insufficient_quota")


async def test_transcripts_are_booked(practice, tmp_path):
    """What a session's own model for transcripts uses is booked under its name."""
    settings = {"audio": {"input": {"transcription": {"model": "gpt-4o-transcribe"}}}}

    async def script(connection: ServerConnection) -> None:
        await connection.send(said("session.updated", session=settings))
        kind = "conversation.item.input_audio_transcription.completed"
        await connection.send(said(kind, transcript="Hi", usage={"type": "tokens", **USAGE}))
        await connection.send(said(kind, usage={"type": "duration", "seconds": 3.5}))
        await connection.wait_closed()

    async with before(script, tmp_path, practice) as ground, ground.connect(PATH) as connection:
        await events_until(connection, "session.updated")
        for _ in range(2):
            await connection.recv()
        first, second = await ground.settled(2)
    assert (first["model_sent"], first["input"], first["output"]) == ("gpt-4o-transcribe", 5, 7)
    assert (first["certainty"], first["cost_nano"]) == ("exact", 5 * 2_500 + 7 * 10_000)
    assert (second["tier"], second["input"], second["cost_nano"]) == ("second", 4, 400_000)
    assert second["certainty"] == "exact"


async def test_a_restricted_key_chooses_no_other_model_for_transcripts(practice, tmp_path):
    """A session cannot be made to use a model that its key may not use."""
    settings = {"audio": {"input": {"transcription": {"model": "gpt-4o-transcribe"}}}}
    came: list[Any] = []

    async def script(connection: ServerConnection) -> None:
        came.extend([message async for message in connection])

    async with (
        before(script, tmp_path, practice) as ground,
        ground.connect("/realtime?model=voice", NARROW) as connection,
    ):
        await connection.send(said("session.update", session=settings))
        (error,) = await events_until(connection, "error")
    assert error["error"]["code"] == "model_not_allowed"
    assert came == []


async def test_a_provider_sends_no_message_in_any_number_of_pieces(practice, tmp_path):
    """Pieces without content are kept until the last one: a provider that sends on is left."""

    async def script(connection: ServerConnection) -> None:
        with suppress(ConnectionClosed):
            await connection.send(chain(["{"], repeat("", 5000)))
        await connection.wait_closed()

    async with before(script, tmp_path, practice) as ground, ground.connect(PATH) as connection:
        with pytest.raises(ConnectionClosed) as caught:
            await connection.recv()
    assert caught.value.rcvd is not None
    assert (caught.value.rcvd.code, caught.value.rcvd.reason) == (1011, "upstream_connection_lost")


async def test_a_ping_is_answered(practice, tmp_path):
    """A provider that looks whether we are there gets its answer, whoever is silent."""
    answered = asyncio.Event()

    async def script(connection: ServerConnection) -> None:
        await (await connection.ping())
        answered.set()
        await connection.wait_closed()

    async with (
        before(script, tmp_path, practice, ping_interval=None) as ground,
        ground.connect(PATH),
    ):
        await answered.wait()


async def test_an_app_that_reads_slowly_slows_its_provider_alone(practice, tmp_path):
    """What an app does not take is not taken from its provider either; others go on."""
    sent = 0
    seen: list[int] = []

    def is_still(count: int) -> bool:
        seen.append(count)
        return count > 0 and seen[-30:] == [count] * 30

    async def script(connection: ServerConnection) -> None:
        nonlocal sent
        if "flood" not in str(await connection.recv()):
            await connection.send(DONE)
            return
        for _ in range(64):
            await connection.send(said("news", data="x" * 1_000_000))
            sent += 1
        await connection.wait_closed()

    async with before(script, tmp_path, practice) as ground:
        slow = ground.connect(PATH, max_size=None, max_queue=1)
        async with slow as connection, ground.connect(PATH) as other:
            await connection.send('{"type": "flood"}')
            await other.send('{"type": "hello"}')
            await events_until(other, "response.done")
            await until(lambda: is_still(sent))
            assert sent < 32
            for _ in range(64):
                event = json.loads(await connection.recv())
                assert len(event["data"]) == 1_000_000


async def test_who_takes_nothing_is_left(practice, tmp_path):
    """A reader that takes nothing for too long loses its connection, and holds up nobody's stop."""

    async def script(connection: ServerConnection) -> None:
        while True:
            await connection.send(said("news", data="x" * 1_000_000))

    rules = {"write": 0.1}
    async with before(script, tmp_path, practice, rules) as ground:
        async with ground.connect(PATH, max_size=None, max_queue=1):
            await until(lambda: len(ground.calls) == 1)
        assert ground.calls[0].outcome == "closed_1011"


async def test_a_handshake_that_fails_is_tried_again(practice, tmp_path):
    """A provider that fails once is asked again before the app hears of anything."""
    asked = 0

    def meet(connection: ServerConnection, _request: Any) -> Any:
        nonlocal asked
        asked += 1
        return connection.respond(503, "busy") if asked == 1 else None

    async def script(connection: ServerConnection) -> None:
        await connection.wait_closed()

    async with (
        before(script, tmp_path, practice, process_request=meet) as ground,
        ground.connect(PATH) as connection,
    ):
        assert connection.response is not None
        assert connection.response.headers["x-headworks-attempts"] == "2"
    assert asked == 2


async def test_a_provider_that_quotes_our_key_is_not_heard_out(practice, tmp_path):
    """Nothing that a provider says shows its key to an app."""

    async def script(connection: ServerConnection) -> None:
        assert connection.request is not None
        shown = connection.request.headers["authorization"]
        assert KEY not in str(connection.request.headers)
        await connection.send(said("error", error={"message": f"Not valid: {shown}"}))
        await connection.wait_closed()

    async with before(script, tmp_path, practice) as ground, ground.connect(PATH) as connection:
        (error,) = await events_until(connection, "error")
    assert error["error"]["message"] == "Not valid: Bearer ***"
    assert PROVIDERS_KEY not in json.dumps(error)


WRONG = {
    "no switch": b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
    "another protocol": b"HTTP/1.1 101 Go\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\n",
    "the wrong key": b"HTTP/1.1 101 Go\r\nupgrade: websocket\r\nconnection: upgrade\r\n"
    b"sec-websocket-accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n\r\n",
    "a body": b"HTTP/1.1 101 Go\r\nupgrade: websocket\r\nconnection: upgrade\r\n"
    b"content-length: 3\r\n\r\nabc",
    "no HTTP": b"\x81\x05Hello",
}


@pytest.mark.parametrize("answer", WRONG.values(), ids=WRONG)
async def test_what_opens_no_connection_is_no_success(practice, tmp_path, answer: bytes):
    """An app gets a 101 only for a provider's answer that fits its handshake."""

    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(answer)
        await wire.gone()

    async with serve_bytes(script) as server:
        upstream = f"http://127.0.0.1:{server.port}/v1"
        async with gateway(tmp_path, practice, upstream=upstream) as ground:
            with pytest.raises(InvalidStatus) as caught:
                async with ground.connect(PATH):
                    pass
    assert caught.value.response.status_code == 502


async def test_an_app_that_leaves_within_its_handshake_frees_the_provider(practice, tmp_path):
    """Nobody waits for a handshake whose app has gone."""
    asked, left = asyncio.Event(), asyncio.Event()

    async def script(wire: Wire) -> None:
        await wire.request()
        asked.set()
        await wire.gone()
        left.set()

    async with serve_bytes(script) as server:
        upstream = f"http://127.0.0.1:{server.port}/v1"
        async with gateway(tmp_path, practice, upstream=upstream) as ground:
            _, writer = await asyncio.open_connection("127.0.0.1", ground.port)
            writer.write(
                f"GET /v1{PATH} HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
                "sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
                f"authorization: Bearer {KEY}\r\n\r\n".encode()
            )
            await asked.wait()
            writer.transport.abort()
            async with asyncio.timeout(1):
                await left.wait()
            await until(lambda: len(ground.calls) == 1)
            assert ground.calls[0].outcome == "abandoned"
            assert ground.station.assembly.limits.statistics().in_flight == 0
