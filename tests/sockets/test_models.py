"""What a connection says of models: its own by any of its names, others never."""

from dataclasses import dataclass
from typing import Any

import msgspec
import pytest
from websockets.asyncio.server import ServerConnection

from tests.sockets.conftest import KEY, NARROW, VOICE, events_until
from tests.sockets.test_upstreams import before, said

pytestmark = pytest.mark.anyio

SECOND = "gpt-4o-transcribe"


@dataclass(frozen=True)
class Case:
    """A message about a model, and what the provider gets of it: {} where it is refused."""

    name: str
    sent: dict[str, Any]
    arrives: dict[str, Any]
    code: str = ""
    param: str = ""
    key: str = KEY


def of_session(**settings: Any) -> dict[str, Any]:
    return {"type": "session.update", "session": {"instructions": "1.50", **settings}}


CASES = (
    Case("our name", of_session(model="voice"), of_session(model=VOICE)),
    Case("the provider's name", of_session(model=VOICE), of_session(model=VOICE)),
    Case("no name", of_session(), of_session()),
    Case("our name, narrow", of_session(model="voice"), of_session(model=VOICE), key=NARROW),
    Case("another", of_session(model="gpt-6-sol"), {}, "invalid_request", "session.model"),
    Case("one of others", of_session(model="gpt-6-sol"), {}, "model_not_allowed", "model", NARROW),
    Case("no text", of_session(model=["voice"]), {}, "invalid_request", "session.model"),
    Case(
        "our name in a response",
        {"type": "response.create", "response": {"model": "voice", "instructions": "x"}},
        {"type": "response.create", "response": {"model": VOICE, "instructions": "x"}},
    ),
    Case(
        "another in a response",
        {"type": "response.create", "response": {"model": "gpt-6-sol"}},
        {}, "invalid_request", "response.model",
    ),
    Case(
        "a tool's own",
        {"type": "response.create", "response": {"tools": [{"type": "x", "model": "gpt-6-sol"}]}},
        {}, "model_not_allowed", "model", NARROW,
    ),
    Case(
        "transcripts by an old name",
        of_session(input_audio_transcription={"model": SECOND}),
        {}, "model_not_allowed", "model", NARROW,
    ),
    Case(
        "transcripts by both names",
        of_session(
            audio={"input": {"transcription": {"model": "voice"}}},
            input_audio_transcription={"model": SECOND},
        ),
        {}, "model_not_allowed", "model", NARROW,
    ),
    Case(
        "transcripts by a name and by none",
        of_session(
            audio={"input": {"transcription": {"language": "de"}}},
            input_audio_transcription={"model": SECOND},
        ),
        {}, "model_not_allowed", "model", NARROW,
    ),
)  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_a_connection_has_one_model(practice, tmp_path, case: Case):
    """Its own is renamed where it is ours; no message can make it another's, or use one in secret."""
    came: list[Any] = []

    async def script(connection: ServerConnection) -> None:
        async for message in connection:
            came.append(msgspec.json.decode(message))
            await connection.send(said("pong"))

    async with (
        before(script, tmp_path, practice) as ground,
        ground.connect("/realtime?model=voice", case.key) as connection,
    ):
        await connection.send(msgspec.json.encode(case.sent).decode())
        (told,) = await events_until(connection, "pong", "error")
    assert came == ([case.arrives] if case.arrives else [])
    assert (told["type"], bool(case.code)) == ("error" if case.code else "pong", bool(case.code))
    if case.code:
        assert (told["error"]["code"], told["error"]["param"]) == (case.code, case.param)
