"""The promises to an application that uses the official client in process."""

import asyncio
import signal
import threading
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from typing import Any

import openai
import pytest
from typing_extensions import override

from headworks.errors import (
    ConnectFailed,
    LedgerUnavailable,
    RateLimited,
    StreamTruncated,
    UpstreamAnswered,
)
from headworks.inprocess.portal import PortalClosed
from headworks.testing import EVENTS, FakeResponse
from tests.inprocess.conftest import MESSAGES, text_of
from tests.inprocess.world import KEY

IMPATIENT = {"timeout": openai.Timeout(60, read=0.05), "max_retries": 0}
ONCE = {"max_retries": 0}


@dataclass
class Interrupting(FakeResponse):
    """Interrupts a thread when it is read."""

    thread: int = 0

    @override
    async def chunks(self) -> AsyncGenerator[bytes]:
        signal.pthread_kill(self.thread, signal.SIGINT)
        async for piece in super().chunks():
            yield piece


@dataclass
class Noticed(FakeResponse):
    """Sets an event of another loop when it is read up to where it stalls."""

    read_so_far: asyncio.Event = field(default_factory=asyncio.Event)

    @override
    def __post_init__(self) -> None:
        super().__post_init__()
        self._loop = asyncio.get_running_loop()

    @override
    async def chunks(self) -> AsyncGenerator[bytes]:
        if self.stalls_after == 0:
            self._loop.call_soon_threadsafe(self.read_so_far.set)
        async for piece in super().chunks():
            yield piece
            if self._next == self.stalls_after:
                self._loop.call_soon_threadsafe(self.read_so_far.set)


def test_a_whole_answer(chat, world):
    """The official client gets its answer, typed, with our call id as request id."""
    answer = chat.ask()

    assert answer.choices[0].message.content == "Hello!"
    assert answer._request_id == "call-00000001"
    assert answer.usage.total_tokens == 7
    assert world.ended_once()


def test_a_streamed_answer(chat, world):
    """A stream arrives whole, and its call ends once."""
    assert text_of(chat.stream()) == "Hello!"
    assert world.ended_once()
    assert world.journal.outcomes == ["completed"]


def test_a_long_stream_waits_for_its_reader(chat, world):
    """A stream of megabytes passes through a bounded buffer, in order and whole."""
    event = EVENTS[0].replace(b'"Hel"', b'"' + b"x" * 5000 + b'"')
    world.upstream.script = [FakeResponse([event] * 400 + list(EVENTS[2:]))]

    assert text_of(chat.stream()) == "x" * 5000 * 400
    assert world.ended_once()


@dataclass(frozen=True)
class Refusal:
    id: str
    expected: type[openai.APIStatusError]
    code: str
    upstream: Callable[[], Exception] | None = None
    limit: Callable[[], RateLimited] | None = None
    ledger: Callable[[], Exception] | None = None
    model: str = "m"
    key: str = KEY


REFUSALS = [
    Refusal(
        "our limit",
        openai.RateLimitError,
        "rate_limit_exceeded",
        limit=lambda: RateLimited(retry_after=7),
    ),
    Refusal("an unknown key", openai.AuthenticationError, "invalid_api_key", key="hw_nobody"),
    Refusal("a foreign model", openai.PermissionDeniedError, "model_not_allowed", model="gold"),
    Refusal(
        "the ledger's disk",
        openai.InternalServerError,
        "ledger_unavailable",
        ledger=LedgerUnavailable,
    ),
    Refusal(
        "the provider says no",
        openai.BadRequestError,
        "unsupported_value",
        upstream=lambda: UpstreamAnswered(
            "no", status=400, type="invalid_request_error", code="unsupported_value"
        ),
    ),
    Refusal("bad input", openai.BadRequestError, "invalid_request", model=""),
]


@pytest.mark.parametrize("case", REFUSALS, ids=lambda case: case.id)
def test_refusals_are_the_clients_own_errors(chat, world, case):
    """Each refusal is the error class that the official client has for it, with our code."""
    world.limits.refusal = case.limit() if case.limit else None
    world.ledger.fault = case.ledger() if case.ledger else None
    world.upstream.script = [case.upstream()] if case.upstream else []
    model = {"model": None} if case.model == "" else {"model": case.model}

    with pytest.raises(case.expected) as raised:
        chat.ask(client=ONCE | {"api_key": case.key}, **model)

    assert raised.value.code == case.code
    assert raised.value.response.headers["x-should-retry"] in {"true", "false"}
    if case.limit:
        assert raised.value.response.headers["retry-after"] == "7"


def test_the_client_does_not_retry_what_the_engine_retried(chat, world):
    """A failing provider sees the engine's attempts, not those times the client's."""
    world.upstream.script = [ConnectFailed() for _ in range(20)]

    with pytest.raises(openai.InternalServerError):
        chat.ask()

    assert len(world.upstream.sent) == 3
    assert len(world.journal.calls) == 1


def test_a_broken_stream_raises(chat, world):
    """A stream that breaks half-way is an error of the client, never a short answer."""
    world.upstream.script = [FakeResponse(EVENTS, fault=StreamTruncated("cut"), fault_after=2)]

    with pytest.raises(openai.APIError, match="cut"):
        chat.stream(client=ONCE)
    assert world.ended_once()


def test_an_early_break_ends_the_call(chat, world):
    """Leaving a stream closes the upstream and settles before the next line of code runs."""
    world.upstream.script = [FakeResponse(EVENTS, stalls_after=2)]

    chunks = chat.stream(most=1)

    assert text_of(chunks) == "Hel"
    assert world.ended_once()
    assert world.journal.outcomes == ["abandoned"]


@pytest.mark.parametrize("stalls_after", [0, 2])
def test_a_silent_stream_times_out(chat, world, stalls_after):
    """The client's read timeout holds in process: before the head, and between chunks."""
    world.upstream.script = [FakeResponse(EVENTS, stalls_after=stalls_after)]

    with pytest.raises(openai.APITimeoutError):
        chat.stream(client=IMPATIENT)
    assert world.ended_once()


def test_a_dropped_answer_ends_its_call(hw, world):
    """An answer that nobody reads nor closes does not keep its upstream for ever."""
    world.upstream.script = [FakeResponse(EVENTS, stalls_after=2)]
    client = hw.openai()

    stream = client.chat.completions.create(model="m", messages=MESSAGES, stream=True)
    del stream
    hw.close(drain=5)

    assert world.journal.outcomes == ["abandoned"]
    assert world.ended_once()


def test_raw_and_parsed_answers(chat):
    """`with_raw_response` shows our header fields and parses to the same answer."""
    raw = chat.do(lambda client: client.chat.completions.with_raw_response.create)

    assert raw.headers["x-headworks-attempts"] == "1"
    assert raw.headers["x-headworks-route"] == "openai/m"
    assert raw.parse().choices[0].message.content == "Hello!"
    assert raw.elapsed.total_seconds() > 0


def test_the_stream_helper(hw, world):
    """`client.chat.completions.stream` accumulates as it does against the API itself."""
    with hw.openai().chat.completions.stream(model="m", messages=MESSAGES) as stream:
        completion = stream.get_final_completion()

    assert completion.choices[0].message.content == "Hello!"
    assert world.ended_once()


def test_the_async_stream_helper(hw, world):
    """The asynchronous helper likewise."""

    async def read() -> Any:
        client = hw.async_openai()
        async with client.chat.completions.stream(model="m", messages=MESSAGES) as stream:
            return await stream.get_final_completion()

    assert asyncio.run(read()).choices[0].message.content == "Hello!"
    assert world.ended_once()


def test_one_client_serves_many_threads_and_tasks(hw, world):
    """Threads and tasks share one engine; every call is answered and ends once."""
    client, aclient = hw.openai(), hw.async_openai()

    def ask() -> None:
        client.chat.completions.create(model="m", messages=MESSAGES)

    async def gather() -> None:
        question = aclient.chat.completions.create(model="m", messages=MESSAGES)
        more = [aclient.chat.completions.create(model="m", messages=MESSAGES) for _ in range(9)]
        await asyncio.gather(question, *more)

    threads = [threading.Thread(target=ask) for _ in range(10)]
    for thread in threads:
        thread.start()
    asyncio.run(gather())
    for thread in threads:
        thread.join()

    assert world.journal.outcomes == ["completed"] * 20
    assert world.ended_once()
    assert world.starts == 1


@pytest.mark.usefixtures("interruptible")
def test_an_interrupted_call_is_cancelled(hw, world):
    """Ctrl-C in a waiting call ends the engine's call before the program goes on."""
    world.upstream.script = [Interrupting(stalls_after=0, thread=threading.get_ident())]

    with pytest.raises(KeyboardInterrupt):
        hw.openai().chat.completions.create(model="m", messages=MESSAGES)
    assert world.journal.outcomes == ["abandoned"]
    assert world.ended_once()


@pytest.mark.parametrize("stalls_after", [0, 2])
def test_a_cancelled_task_cancels_its_call_once(hw, world, stalls_after):
    """Cancelling a task, before the head or inside the stream, ends its call once."""

    async def main() -> None:
        got = asyncio.Event()
        world.upstream.script = [Noticed(EVENTS, stalls_after=stalls_after, read_so_far=got)]
        task = asyncio.create_task(read())
        await got.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert world.ended_once()

    async def read() -> None:
        client = hw.async_openai()
        stream = await client.chat.completions.create(model="m", messages=MESSAGES, stream=True)
        async for _ in stream:
            pass

    asyncio.run(main())
    assert world.journal.outcomes == ["abandoned"]


def test_calls_after_close_say_why(chat, hw):
    """A closed Headworks refuses at once and names the reason; the client does not retry."""
    hw.close()

    with pytest.raises(PortalClosed, match="was closed"):
        chat.ask()


def test_closing_cancels_what_does_not_end(hw, world):
    """A call that is still waiting when the time to drain is over ends with the reason."""
    world.upstream.script = [FakeResponse(EVENTS, stalls_after=2)]
    stream = hw.openai().chat.completions.create(model="m", messages=MESSAGES, stream=True)
    chunks = iter(stream)
    next(chunks)

    hw.close(drain=0)

    with pytest.raises(PortalClosed, match="before the answer was complete"):
        list(chunks)
    assert world.ended_once()
    assert world.closes == 1
