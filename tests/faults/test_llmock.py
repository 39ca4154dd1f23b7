"""The verdict of llmock, a provider by others that watches how its clients behave under its faults.

It runs in a process and an environment of its own, and so does the gateway before it. The app is
the official client. All cases run at the same time, each with a model of its own.
"""

import asyncio
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest

from tests.clients.elsewhere import python_with
from tests.clients.ground import running_gateway

pytestmark = pytest.mark.timeout(300)

KEY = "llmock-key-0123456789"
QUESTION: list[Any] = [{"role": "user", "content": "What does a headworks do?"}]
STEADY = "steady"
_START = 30.0


def fail(status: int, times: int | None = 1, **fields: Any) -> dict[str, Any]:
    return {"type": "fail", "status": status, "times": times, **fields}


def stream_fault(kind: str, times: int = 1, **fields: Any) -> dict[str, Any]:
    return {"type": "stream_fault", "kind": kind, "after_chunks": 2, "times": times, **fields}


@dataclass(frozen=True)
class Case:
    """A fault that llmock plays.

    Attributes:
        attempts: What the model that meets it sees of one call.
        status: What the app is told; 0: it gets its answer.
        streamed: Whether it strikes streams alone.
    """

    name: str
    behaviour: Mapping[str, Any]
    attempts: int
    status: int = 0
    streamed: bool = False


CASES = (
    Case("truncate", stream_fault("truncate"), 2, streamed=True),
    Case("rate-limit", fail(429, retry_after=1), 2),
    Case("rate-limit-twice", fail(429, 2, retry_after=1), 2),
    Case("rate-limit-for-ever", fail(429, None, retry_after=0.5), 2),
    Case("rate-limit-without-wait", fail(429), 2),
    Case("error-500", fail(500), 2),
    Case("error-502", fail(502), 2),
    Case("error-503", fail(503), 2),
    Case("error-503-retry-after", fail(503, retry_after=1), 2),
    Case("outage", fail(503, None), 2),
    Case("request-400", fail(400), 1, 400),
    Case("credential-401", fail(401), 1),
    Case("credential-403", fail(403), 1),
    Case("missing-404", fail(404), 1, 404),
    Case("request-422", fail(422), 1, 422),
    Case("context-overflow", fail(400, code="context_length_exceeded"), 1, 400),
    Case("delay", {"type": "delay", "seconds": 5.0}, 1),
    Case("slow-first-token", {"type": "slow_first_token", "seconds": 5.0}, 1, streamed=True),
    Case("disconnect", stream_fault("disconnect"), 2, streamed=True),
    Case("disconnect-twice", stream_fault("disconnect", 2), 2, streamed=True),
    Case("malformed", stream_fault("malformed"), 2, streamed=True),
    Case("stall", stream_fault("stall", stall_seconds=8.0), 1, streamed=True),
)
TRIES = tuple(
    (case, way)
    for case in CASES
    for way in ("plain", "streamed")
    if way == "streamed" or not case.streamed
)
"""Each case as a plain call and as a streamed one."""


def model(case: Case, way: str) -> str:
    return f"{case.name}-{way}"


@dataclass
class Heard:
    """What an app got."""

    text: str = ""
    finish: str | None = None
    status: int = 0


@dataclass
class Judged:
    """What became of all calls, what llmock was asked for each model, and what it thinks."""

    heard: dict[str, Heard] = field(default_factory=dict[str, Heard])
    asked: Counter[str] = field(default_factory=Counter[str])
    verdict: dict[str, Any] = field(default_factory=dict[str, Any])
    report: str = ""


@contextmanager
def running_llmock() -> Generator[str]:
    """Run `llmock serve` until the block is left; yield its address."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    program = str(python_with("llmock").with_name("llmock"))
    style = ("--response-style", "static", "--stream-chunk-delay-ms", "200")
    command = [program, "serve", "--port", str(port), "--log-level", "warning", *style]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        try:
            until = time.monotonic() + _START
            while not _is_up(url):
                assert process.poll() is None
                assert time.monotonic() < until
                time.sleep(0.1)
            yield url
        finally:
            process.terminate()


def _is_up(url: str) -> bool:
    try:
        return httpx2.get(f"{url}/health").status_code == httpx2.codes.OK
    except httpx2.TransportError:
        return False


def configuration(folder: Path, url: str) -> Path:
    """Write a gateway's configuration: each model has a steady one to fall back to."""
    models = "".join(
        f"  {model(*one)}: {{routes: [first/{model(*one)}, second/{STEADY}], stream: {{commit: complete}}}}\n"
        for one in TRIES
    )
    upstream = f"base_url: '{url}/v1', credentials: [{{name: main, api_key: sk-llmock}}]"
    waits = "timeouts: {first_byte: 2s, first_byte_whole: 2s, idle: 2s}"
    file = folder / "headworks.yaml"
    file.write_text(
        'server: {listen: "127.0.0.1:0", admin: "127.0.0.1:0"}\n'
        f"store: sqlite:{folder}/headworks.db\n"
        "log: {level: error, calls: false}\n"
        "retry: {first: 2s}\n"  # a retry that came before the end of its forerunner would be no retry
        f"upstreams:\n  first: {{{upstream}, {waits}}}\n  second: {{{upstream}}}\n"
        f"models:\n{models}"
        f"keys:\n  - {{name: app, secret: {KEY}}}\n"
    )
    return file


async def ask(client: openai.AsyncOpenAI, name: str, way: str) -> Heard:
    """Make one call."""
    heard = Heard()
    create: Any = client.chat.completions.create
    try:
        answer = await create(model=name, messages=QUESTION, stream=way == "streamed")
        if way == "plain":
            heard.text, heard.finish = (
                answer.choices[0].message.content,
                answer.choices[0].finish_reason,
            )
            return heard
        async for chunk in answer:
            for choice in chunk.choices:
                heard.text += choice.delta.content or ""
                heard.finish = choice.finish_reason or heard.finish
    except openai.APIStatusError as error:
        heard.status = error.status_code
    return heard


async def play(gateway: str, llmock: str) -> Judged:
    """Play all cases, nearly all at once, and return what both sides say."""
    behaviours = [{**case.behaviour, "match": {"model": model(case, way)}} for case, way in TRIES]
    async with (
        httpx2.AsyncClient(base_url=f"{llmock}/_llmock") as control,
        openai.AsyncOpenAI(base_url=gateway, api_key=KEY, timeout=30.0) as client,
    ):
        (await control.post("/scenario", json={"behaviors": behaviours})).raise_for_status()
        first, *others = [(model(case, way), way) for case, way in TRIES]
        # The first broken stream makes the gateway load a vocabulary, for which all others wait.
        judged = Judged({first[0]: await ask(client, *first)})
        heard = await asyncio.gather(*(ask(client, *one) for one in others))
        judged.heard.update(zip((name for name, _ in others), heard, strict=True))
        requests = (await control.get("/requests")).json()["requests"]
        judged.asked.update(one["model"] for one in requests)
        judged.verdict = (await control.get("/verdict")).json()
        judged.report = (await control.get("/verdict", params={"format": "text"})).text
    return judged


@pytest.fixture(scope="module")
def judged(tmp_path_factory) -> Judged:
    """Every case, played once."""
    with (
        running_llmock() as llmock,
        running_gateway(configuration(tmp_path_factory.mktemp("llmock"), llmock)) as gateway,
    ):
        return asyncio.run(play(gateway, llmock))


@pytest.mark.parametrize(("case", "way"), TRIES, ids=[model(*one) for one in TRIES])
def test_a_fault_of_another_maker_is_absorbed(judged: Judged, case: Case, way: str):
    """The app gets its whole answer, or the provider's refusal where nothing else would help."""
    heard = judged.heard[model(case, way)]

    assert heard.status == case.status
    if not case.status:
        times = case.behaviour.get("times", 1)
        is_well_again = times is not None and case.attempts > times
        by = model(case, way) if is_well_again else STEADY
        assert heard == Heard(f"Mock response from {by}.", "stop")
    assert judged.asked[model(case, way)] == case.attempts


def test_the_judge_finds_no_fault_with_us(judged: Judged):
    """Retry-After is obeyed, nothing hopeless is repeated, no broken stream is taken for whole."""
    assert judged.verdict["passed"], judged.report
    assert judged.verdict["warnings"] == 0, judged.report
    assert judged.verdict["faults_injected"] >= len(TRIES) - len(
        [case for case, _ in TRIES if case.name in {"delay", "slow-first-token"}]
    )
