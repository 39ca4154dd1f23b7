"""The official client judges what is relayed: both APIs, with usage in the ledger to the nano-dollar."""

from typing import Any

import pytest

from tests.sockets.conftest import MODEL, VOICE, Ground
from tests.upstream.scripted import until

pytestmark = pytest.mark.anyio

QUESTION: Any = {
    "type": "message",
    "role": "user",
    "content": [{"type": "input_text", "text": "What does a headworks do?"}],
}


async def respond(connection: Any, **fields: Any) -> tuple[str, Any]:
    """Ask for a response; return its text and its last event."""
    await connection.response.create(**fields)
    text = ""
    async for event in connection:
        if event.type == "response.output_text.delta":
            text += event.delta
        if event.type in {"response.completed", "response.done", "error"}:
            return text, event
    raise AssertionError("the connection ended within the response")


async def test_responses_come_over_one_connection(ground: Ground):
    """Two responses over one connection: each is said whole, and booked by itself, as billed."""
    async with ground.app().responses.connect() as connection:
        text, first = await respond(connection, model="assistant", input="Hello")
        _, second = await respond(
            connection, model="assistant", input="Go on", previous_response_id=first.response.id
        )
    assert text == first.response.output_text
    rows = await ground.settled(2)
    told = [first.response.usage, second.response.usage]
    assert [(row["input"], row["output"]) for row in rows] == [
        (usage.input_tokens, usage.output_tokens) for usage in told
    ]
    assert {(row["certainty"], row["model_asked"], row["model_sent"]) for row in rows} == {
        ("exact", "assistant", MODEL)
    }
    assert sum(row["cost_nano"] for row in rows) == ground.practice.invoice()["nano_usd"]
    assert ground.practice.invoice()["billed"] == 2


async def test_a_realtime_session_is_relayed(ground: Ground):
    """A conversation in text goes through an alias, and costs what the provider bills."""
    async with ground.app().realtime.connect(model="voice") as connection:
        await connection.session.update(session={"type": "realtime", "instructions": "Be brief."})
        await connection.conversation.item.create(item=QUESTION)
        text, done = await respond(connection)
    assert text == done.response.output[0].content[0].text
    (row,) = await ground.settled(1)
    usage = done.response.usage
    assert (row["input"], row["output"]) == (usage.input_tokens, usage.output_tokens)
    assert (row["endpoint"], row["model_asked"], row["model_sent"]) == ("realtime", "voice", VOICE)
    assert row["cost_nano"] == ground.practice.invoice()["nano_usd"] > 0


async def test_the_connection_itself_is_a_call_that_costs_nothing(ground: Ground):
    """The journal has a line for the connection and one for each response, tied by their ids."""
    async with ground.app().responses.connect() as connection:
        await respond(connection, model=MODEL, input="Hello")
    await until(lambda: len(ground.calls) > 1)
    inner, outer = sorted(ground.calls, key=lambda call: -len(call.id))
    assert inner.id == f"{outer.id}.1"
    assert (outer.status, outer.outcome, outer.cost) == (101, "completed", 0)
    assert (inner.status, inner.outcome) == (200, "completed")
    assert inner.cost
