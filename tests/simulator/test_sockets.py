"""The practice OpenAI over WebSocket connections, as the official client and a plain one see it."""

import json
from typing import Any

import openai
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from headworks.simulator import SimulatorConfig, running
from headworks.simulator.server import simulator
from headworks.simulator.sockets import RealtimeSpeech

MODEL, VOICE = "gpt-6-sol", "gpt-realtime"


@pytest.fixture(scope="module")
def practice():
    with running(SimulatorConfig(seed=7)) as simulator:
        yield simulator


def opened(practice: Any, path: str, key: str = "sk-simulator") -> Any:
    url = practice.base_url.replace("http", "ws", 1) + path
    headers = {"authorization": f"Bearer {key}"} if key else {}
    return connect(url, additional_headers=headers, max_queue=None)  # its end waits for no reader


def test_a_response_is_the_one_that_http_gives(practice):
    """The same question has the same answer and usage over either way."""
    with openai.OpenAI(base_url=practice.base_url, api_key="sk-simulator") as client:
        whole = client.responses.create(model=MODEL, input="Hello")
        with client.responses.connect() as connection:
            connection.response.create(model=MODEL, input="Hello", stream_id="lane")
            events: list[Any] = []
            for event in connection:
                events.append(event)
                if event.type == "response.completed":
                    break
    assert {event.to_dict()["stream_id"] for event in events} == {"lane"}
    assert events[-1].response.output_text == whole.output_text
    assert events[-1].response.usage == whole.usage


def test_a_conversation_remembers(practice):
    """A second response of a session reads what was said before, and costs more to read."""
    with opened(practice, f"/realtime?model={VOICE}") as connection:
        used = []
        for text in ("Hello", "And now?"):
            part = {"type": "input_text", "text": text}
            item = {"type": "message", "role": "user", "content": [part]}
            connection.send(json.dumps({"type": "conversation.item.create", "item": item}))
            connection.send('{"type": "response.create", "response": {"max_output_tokens": 20}}')
            while (event := json.loads(connection.recv()))["type"] != "response.done":
                assert event["event_id"]
            used.append(event["response"]["usage"])
    assert used[1]["input_tokens"] > used[0]["input_tokens"] > 0
    assert all(0 < usage["output_tokens"] <= 20 for usage in used)


@pytest.mark.parametrize(
    ("path", "key", "status"),
    [
        ("/responses", "", 401),
        ("/elsewhere", "sk-simulator", 404),
        ("/realtime?model=nobody", "sk-simulator", 404),
        ("/realtime", "sk-simulator", 400),
    ],
)
def test_a_handshake_is_refused_as_http(practice, path: str, key: str, status: int):
    """Who gets no connection gets the real one's error object."""
    with pytest.raises(InvalidStatus) as caught, opened(practice, path, key):
        pass
    assert caught.value.response.status_code == status
    assert json.loads(bytes(caught.value.response.body or b""))["error"]["message"]


@pytest.mark.parametrize("message", ["no JSON", '{"type": "news"}', '{"type": "response.create"}'])
def test_a_wrong_message_is_answered(practice, message: str):
    """A message that cannot be served gets an error event, and the connection goes on."""
    with opened(practice, "/responses") as connection:
        connection.send(message)
        assert json.loads(connection.recv())["error"]["message"]
        connection.send(json.dumps({"type": "response.create", "model": MODEL, "input": "Hi"}))
        assert json.loads(connection.recv())["type"] == "response.created"


def test_whoever_leaves_is_billed_at_any_moment():
    """However early a client leaves, its response is at an end, and what was read is billed."""
    provider = simulator(SimulatorConfig(seed=7)).provider
    speech = RealtimeSpeech(provider, provider.accounts.named("simulator"), VOICE)

    steps = speech.answer({"type": "response.create"})
    assert b"response.created" in next(steps).data
    steps.close()

    assert provider.books.invoice()["open"] == 0
    assert provider.books.invoice()["nano_usd"] > 0
