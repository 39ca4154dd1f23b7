"""Asks the practice OpenAI the same thing twice, whole and streamed, without a socket."""

import asyncio
import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from headworks.core.sse import SSEDecoder
from headworks.simulator import Simulator, SimulatorConfig
from headworks.simulator.config import FaultRule
from headworks.simulator.sounds import sound
from headworks.testing import FakeClock

CHAT, RESPONSES, COMPLETIONS = "/v1/chat/completions", "/v1/responses", "/v1/completions"
IMAGES, TRANSCRIPTS = "/v1/images/generations", "/v1/audio/transcriptions"
_OK = 200
_MODELS = dict.fromkeys(
    ("gpt-4.1-mini", "gpt-5-mini", "gpt-3.5-turbo-instruct", "gpt-image-1", "gpt-4o-transcribe")
)
_BOUNDARY = "----a-boundary"


@dataclass(frozen=True)
class Case:
    """A request that can be answered either way.

    Attributes:
        fault: What the practice OpenAI is told to make of it.
        has: What the whole answer must say, so that the case is about what it is named after.
        apart: Fields that differ by nature.
    """

    name: str
    path: str
    fields: Mapping[str, Any]
    has: str
    fault: str = ""
    streamed: Mapping[str, Any] = field(default_factory=dict[str, Any])
    apart: frozenset[str] = frozenset()

    def compared(self, answer: Any) -> dict[str, Any]:
        """Return what of an answer is compared."""
        return {name: value for name, value in answer.items() if name not in self.apart}


def whole(case: Case) -> dict[str, Any]:
    """Return the answer in one piece."""
    answer: dict[str, Any] = json.loads(_ask(case, is_streamed=False))
    return answer


def streamed(case: Case) -> bytes:
    """Return the bytes of the streamed answer."""
    return _ask(case, is_streamed=True)


def cut(body: bytes) -> list[tuple[bytes, bytes]]:
    """Return the events in a stream's bytes, `[DONE]` left out."""
    decoder = SSEDecoder()
    events = [*decoder.feed(body), *decoder.flush()]
    return [event for event in events if event[1] != b"[DONE]"]


def _ask(case: Case, *, is_streamed: bool) -> bytes:
    more: Mapping[str, Any] = {"stream": True, **case.streamed} if is_streamed else {}
    fields = {**case.fields, **more}
    if case.path == TRANSCRIPTS:
        kind, body = f"multipart/form-data; boundary={_BOUNDARY}", _form(fields)
    else:
        kind, body = "application/json", json.dumps(fields).encode()
    return _answer(case.path, kind, body, case.fault)


@cache
def _answer(path: str, kind: str, body: bytes, fault: str) -> bytes:
    """Ask in a loop of its own, whatever runs here."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(lambda: asyncio.run(_call(path, kind, body, fault))).result()


async def _call(path: str, kind: str, body: bytes, fault: str) -> bytes:
    """Ask a practice OpenAI that nobody has asked before, so that even its ids are the same."""
    rules = (FaultRule(fault=fault),) if fault else ()  # type: ignore[arg-type] # one of its names
    app = Simulator(SimulatorConfig(models=_MODELS, faults=rules), FakeClock())
    headers = {b"authorization": b"Bearer sk-simulator", b"content-type": kind.encode()}
    scope = {
        "type": "http",
        "method": "POST",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": list(headers.items()),
    }
    requests = iter([{"type": "http.request", "body": body, "more_body": False}])
    sent: list[Any] = []

    async def receive() -> Any:
        for message in requests:
            return message
        return await asyncio.get_running_loop().create_future()

    async def send(message: Any) -> None:
        sent.append(message)

    await app(scope, receive, send)
    head, *parts = sent
    content = b"".join(part.get("body", b"") for part in parts)
    assert head["status"] == _OK, content
    return content


def _form(fields: Mapping[str, Any]) -> bytes:
    """Return a form with these fields and a recording of four seconds."""
    parts = [
        f'--{_BOUNDARY}\r\ncontent-disposition: form-data; name="{name}"\r\n\r\n'
        f"{'true' if value is True else value}\r\n".encode()
        for name, value in fields.items()
    ]
    head = (
        f'--{_BOUNDARY}\r\ncontent-disposition: form-data; name="file"; filename="a.wav"\r\n'
        "content-type: audio/wav\r\n\r\n"
    )
    file = head.encode() + sound("wav", 4.0) + f"\r\n--{_BOUNDARY}--\r\n".encode()
    return b"".join([*parts, file])
