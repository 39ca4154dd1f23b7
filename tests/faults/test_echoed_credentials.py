"""A provider that repeats the credential it was shown cannot hand it to a caller, in any error."""

import json
import logging
from dataclasses import dataclass

import pytest

from tests.faults.stage import KEY, Stage
from tests.upstream.scripted import Script, Wire, chunked, whole

FACES = ("gateway", "inprocess")
JSON = b"content-type: application/json\r\n"
TOLD = f"Bearer {KEY} is not welcome"
ERROR = {"message": TOLD, "type": "server_error", "code": f"code {KEY}", "param": KEY}
FINAL = {**ERROR, "type": "invalid_request_error", "code": "invalid_value"}
WORD = {"id": "c", "choices": [{"index": 0, "delta": {"content": "Well"}}]}
DELTA = {"type": "response.output_text.delta", "sequence_number": 1, "delta": "Well"}
FAILED = {"type": "response.failed", "sequence_number": 2, "response": {"id": "r", "status": "failed", "error": FINAL}}  # fmt: skip
SPOKEN = {"type": "response.created", "sequence_number": 0, "response": {"id": "r"}}


def plain(body: object, status: int = 200) -> bytes:
    return whole(json.dumps(body).encode(), status, JSON)


def events(*data: object, name: str = "") -> bytes:
    prefix = f"event: {name}\n" if name else ""
    sent = [f"{prefix}data: {json.dumps(one)}\n\n".encode() for one in data]
    head = b"\r\ncontent-type: text/event-stream\r\n"
    return chunked(*sent).replace(b"\r\n", head, 1)


def answering(answer: bytes) -> Script:
    async def script(wire: Wire) -> None:
        while True:
            await wire.request()
            await wire.send(answer)

    return script


@dataclass(frozen=True)
class Case:
    """What the provider answers, and how it was asked."""

    name: str
    answer: bytes
    path: str = "/v1/chat/completions"
    stream: bool = True
    says: str = "Bearer *** is not welcome"


RESPONSES, IMAGES = "/v1/responses", "/v1/images/generations"
CASES = (
    Case("an error", plain({"error": FINAL}, 400), stream=False),
    Case("an error without its frame", plain(FINAL, 400), stream=False),
    Case("a page", whole(TOLD.encode(), 502), stream=False, says="without an error that can be read"),
    Case("a refused credential", plain({"error": ERROR}, 401), stream=False, says="refused the gateway's credential"),
    Case("an error that claims success", plain({"error": FINAL}), stream=False),
    Case("an error in the place of a stream", plain({"error": FINAL})),
    Case("a failed response", plain({"id": "r", "status": "failed", "error": FINAL}), RESPONSES, stream=False),
    Case("an event before all content", events({"error": FINAL})),
    Case("an event after content", events(WORD, {"error": ERROR})),
    Case("an event of responses before content", events({**FINAL, "type": "error"}), RESPONSES),
    Case("an event of responses", events(SPOKEN, DELTA, {**ERROR, "type": "error"}), RESPONSES),
    Case("a nested event of responses", events(DELTA, {"type": "error", "error": ERROR}), RESPONSES),
    Case("a response that fails", events(SPOKEN, DELTA, FAILED), RESPONSES),
    Case("an event of pictures", events({"type": "image"}, {"error": ERROR}), IMAGES),
    Case("a named event of pictures", events({"type": "error", "message": TOLD}, name="error"), IMAGES),
)  # fmt: skip


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_credential_is_told_to_nobody(case: Case, face: str, caplog: pytest.LogCaptureFixture):
    """I read what the provider says went wrong, but for the key that it was shown."""
    caplog.set_level(logging.DEBUG)
    stage = Stage({"first": answering(case.answer)}, attempts=1, routes=("first",))

    async def play(stage: Stage):
        return await stage.ask(face, case.path, stream=case.stream)

    answer, _ = stage.run(play)
    assert case.says in answer.text
    assert KEY not in answer.text + repr(answer.headers)
    assert KEY not in caplog.text
    assert KEY not in repr(stage.world.journal.calls)
