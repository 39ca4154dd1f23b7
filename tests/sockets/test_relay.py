"""What happens to a connection: who gets one, what is refused, and how it ends."""

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.sockets.conftest import (
    FEW,
    KEY,
    MODEL,
    NARROW,
    POOR,
    PROVIDERS_KEY,
    SINGLE,
    SLOW,
    VOICE,
    Ground,
    events_until,
    gateway,
)
from tests.upstream.scripted import until

pytestmark = pytest.mark.anyio

_ENDS = ("response.completed", "response.done", "error")


def asking(model: str = MODEL, **fields: Any) -> str:
    return json.dumps({"type": "response.create", "model": model, "input": "Hello", **fields})


async def refused(opening: Any) -> tuple[int, Any]:
    """Return the status and the body of a handshake that is refused."""
    with pytest.raises(InvalidStatus) as caught:
        async with opening:
            pass
    response = caught.value.response
    return response.status_code, msgspec.json.decode(bytes(response.body or b""))


# The handshake.


@dataclass(frozen=True)
class Case:
    """A handshake that gets no connection."""

    name: str
    status: int
    code: str
    path: str = "/responses"
    key: str = KEY
    options: dict[str, Any] = field(default_factory=dict)


CASES = (
    Case("no key", 401, "invalid_api_key", key=""),
    Case("an unknown key", 401, "invalid_api_key", key="nobody-0123456789"),
    Case("another path", 501, "websocket_not_supported", path="/chat/completions"),
    Case("realtime without a model", 400, "invalid_request", path="/realtime"),
    Case("two models", 400, "invalid_request", path="/realtime?model=a&model=b"),
    Case(
        "a model of others", 403, "model_not_allowed", path=f"/realtime?model={VOICE}", key=NARROW
    ),
    Case("a path of the account", 501, "websocket_not_supported", path="/organization/costs"),
    Case("somebody else's call", 400, "invalid_request", path="/realtime?model=voice&call_id=c1"),
    Case("the same in disguise", 400, "invalid_request", path="/realtime?model=voice&%43all_id=c"),
    Case("transcription alone", 400, "invalid_request", path="/realtime?model=voice&intent=x"),
    Case("two models in disguise", 400, "invalid_request", path="/realtime?model=voice&+Model=b"),
    Case("an unknown model", 404, "model_not_found", path="/realtime?model=nobody"),
    Case(
        "an upstream that refuses us",
        502,
        "upstream_auth_failed",
        path="/responses?model=elsewhere",
    ),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_a_refused_handshake_says_why(ground: Ground, case: Case):
    """Who gets no connection gets an error in OpenAI's form, with an id to ask for, and no 101."""
    status, body = await refused(ground.connect(case.path, case.key, **case.options))
    assert (status, body["error"]["code"]) == (case.status, case.code)
    assert ground.practice.invoice()["billed"] == 0


async def test_a_browsers_key_goes_no_further(ground: Ground, caplog):
    """A key among the subprotocols is ours: the provider gets its own, and no log has either."""
    caplog.set_level("DEBUG", logger="headworks")
    secret = f"openai-insecure-api-key.{KEY}"
    opening = ground.connect(
        f"/realtime?model={VOICE}", key="", subprotocols=["realtime", secret, "openai-beta.x"]
    )
    async with opening as connection:
        assert connection.subprotocol == "realtime"
        await events_until(connection, "session.created")
    assert KEY not in caplog.text
    assert PROVIDERS_KEY not in caplog.text


async def test_a_connection_takes_one_place_among_parallel_calls(ground: Ground):
    """A key with one place has one connection, and any number of responses on it."""
    async with ground.connect(key=SINGLE) as connection:
        status, body = await refused(ground.connect(key=SINGLE))
        assert (status, body["error"]["code"]) == (429, "parallel_limit_exceeded")
        await connection.send(asking())
        assert (await events_until(connection, *_ENDS))[-1]["type"] == "response.completed"
    await until(lambda: ground.station.assembly.limits.statistics().in_flight == 0)
    async with ground.connect(key=SINGLE):
        pass


# What is asked for over it.


@dataclass(frozen=True)
class Wrong:
    """A message that is not passed on."""

    name: str
    message: str
    code: str
    key: str = KEY


WRONG = (
    Wrong("no JSON", "Hello", "invalid_json"),
    Wrong("two meanings", '{"type": "session.update", "type": "response.create"}', "invalid_json"),
    Wrong("no type", '{"model": "m"}', "invalid_request"),
    Wrong("no model", '{"type": "response.create", "input": "Hello"}', "invalid_request"),
    Wrong("a model of others", asking(), "model_not_allowed", NARROW),
    Wrong("a model elsewhere", asking("elsewhere"), "model_not_found"),
    Wrong("no money", asking(max_output_tokens=10_000), "insufficient_quota", POOR),
)


@pytest.mark.parametrize("case", WRONG, ids=lambda case: case.name)
async def test_a_refused_message_ends_nothing(ground: Ground, case: Wrong):
    """What is refused is told by an event, costs nothing, and the next message goes through."""
    async with ground.connect(key=case.key) as connection:
        await connection.send(case.message)
        (error,) = await events_until(connection, "error")
        assert error["error"]["code"] == case.code
        assert error["status"] >= 400
        if case.key == KEY:
            await connection.send(asking())
            assert (await events_until(connection, *_ENDS))[-1]["type"] == "response.completed"
    assert ground.practice.invoice()["attempts"] == int(case.key == KEY)


async def test_a_limit_on_requests_counts_responses(ground: Ground):
    """The handshake and each response are a request each; the lane of a refused one is named."""
    async with ground.connect(key=FEW) as connection:
        await connection.send(asking())
        await events_until(connection, "response.completed")
        await connection.send(asking(stream_id="second"))
        (error,) = await events_until(connection, "error")
    assert error["error"]["code"] == "rate_limit_exceeded"
    assert (error["status"], error["stream_id"]) == (429, "second")
    assert ground.practice.invoice()["attempts"] == 1


async def test_a_revoked_key_asks_for_nothing_more(ground: Ground):
    """A connection whose key is revoked ends with the next response that is asked for over it."""
    async with ground.connect() as connection:
        await connection.send(asking())
        await events_until(connection, "response.completed")
        ground.station.assembly.keys.replace_configured([])
        await connection.send(asking())
        (error,) = await events_until(connection, "error")
        with pytest.raises(ConnectionClosed) as caught:
            await connection.recv()
    assert error["error"]["code"] == "invalid_api_key"
    assert caught.value.rcvd is not None
    assert caught.value.rcvd.code == 1008
    assert ground.practice.invoice()["attempts"] == 1


async def test_what_a_provider_refuses_costs_nothing(ground: Ground):
    """An error of the provider's comes as it is, and its row is closed at nothing."""
    async with ground.connect() as connection:
        await connection.send(asking("nobody-has-this"))
        (error,) = await events_until(connection, "error")
    assert error["error"]["code"] == "model_not_found"
    (row,) = await ground.settled(1)
    assert (row["cost_nano"] or 0, row["input"], row["output"]) == (0, 0, 0)
    assert row["outcome"] == "model_not_found"


async def test_a_realtime_error_names_the_message(ground: Ground):
    """An app finds the message that was refused by its own id."""
    async with ground.connect(f"/realtime?model={VOICE}", key=FEW) as connection:
        for number in range(2):
            await connection.send(f'{{"type": "response.create", "event_id": "mine-{number}"}}')
        events = await events_until(connection, "error")
    assert events[-1]["error"]["event_id"] == "mine-1"
    assert events[-1]["event_id"].startswith("event_")


async def test_unknown_messages_and_fields_pass_unchanged(ground: Ground):
    """What we do not know yet is the provider's to judge, both ways."""
    async with ground.connect(f"/realtime?model={VOICE}") as connection:
        await connection.send('{"type": "session.update", "session": {"news": [1, {"a": null}]}}')
        events = await events_until(connection, "session.updated")
        await connection.send('{"type": "something.new"}')
        (error,) = await events_until(connection, "error")
    assert events[-1]["session"]["news"] == [1, {"a": None}]
    assert error["error"]["code"] == "invalid_value"


# How it ends.


async def test_an_app_that_leaves_pays_for_what_was_said(ground: Ground):
    """A response whose app hangs up is booked as counted, at least what the provider bills."""
    connection = await ground.connect()
    await connection.send(asking(SLOW))
    await events_until(connection, "response.output_text.delta")
    connection.transport.abort()
    (row,) = await ground.settled(1)
    assert (row["certainty"], row["outcome"]) == ("estimated", "abandoned")
    await asyncio.to_thread(ground.practice.wait_settled)
    (attempt,) = ground.practice.attempts()
    assert attempt["outcome"] == "cut"
    assert row["output"] >= attempt["usage"]["output"] - attempt["usage"]["reasoning"] > 0


@pytest.mark.parametrize(
    ("message", "code"), [(b"\x00", 1003), ("x" * 20_000, 1009)], ids=["binary", "too large"]
)
async def test_what_cannot_be_taken_ends_the_connection(practice, tmp_path, message, code):
    """Binary messages and too large ones end the connection, with the code that says so."""
    async with gateway(tmp_path, practice, websocket="max_message: 10KB") as ground:
        async with ground.connect() as connection:
            await connection.send(message)
            with pytest.raises(ConnectionClosed) as caught:
                await connection.recv()
        assert caught.value.rcvd is not None
        assert caught.value.rcvd.code == code


@pytest.mark.parametrize("setting", ["longest: 100ms", "idle: 100ms"])
async def test_a_connection_has_an_end(practice, tmp_path, setting: str):
    """A connection that lasts too long, or on which nobody speaks, is ended with 1001."""
    async with gateway(tmp_path, practice, websocket=setting) as ground:
        async with ground.connect() as connection:
            with pytest.raises(ConnectionClosed) as caught:
                await connection.recv()
        assert caught.value.rcvd is not None
        assert caught.value.rcvd.code == 1001
        await until(lambda: len(ground.calls) == 1)
        assert ground.calls[0].status == 101


async def test_a_drain_lets_a_response_end(ground: Ground):
    """A gateway that stops lets what is being said be said, then says farewell with 1001."""
    async with ground.connect() as idle, ground.connect() as busy:
        await busy.send(asking(SLOW))
        await events_until(busy, "response.created")
        ground.server.stop()
        with pytest.raises(ConnectionClosed) as caught:
            await idle.recv()
        assert caught.value.rcvd is not None
        assert caught.value.rcvd.code == 1001
        await busy.send(asking(stream_id="late"))
        events = await events_until(busy, "response.completed")
        late = [event for event in events if event["type"] == "error"]
        assert [event["error"]["code"] for event in late] == ["shutting_down"]
        with pytest.raises(ConnectionClosed):
            await busy.recv()
    await asyncio.wait_for(ground.server.ended.wait(), 5)


async def test_a_gateway_that_is_cut_settles(ground: Ground):
    """A second signal ends connections at once; what was said is booked."""
    async with ground.connect() as connection:
        await connection.send(asking(SLOW))
        await events_until(connection, "response.output_text.delta")
        ground.server.stop(at_once=True)
        with pytest.raises(ConnectionClosed):
            await events_until(connection, "never")
    await ground.server.ended.wait()
    assert [call.outcome for call in ground.calls] == ["abandoned", "abandoned"]
    rows = [row for row in ground.all_rows() if "." in row["call"]]
    assert [(row["state"], row["certainty"]) for row in rows] == [("settled", "estimated")]
