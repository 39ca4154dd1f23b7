"""One practice OpenAI, one gateway process, one engine in process, and the official client."""

import inspect
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import openai
import pytest

import headworks
from headworks.simulator import RunningSimulator, running
from tests.clients.ground import (
    MESSAGES,
    NO_FAULT,
    OPEN_KEY,
    PRACTICE,
    running_gateway,
    write_configuration,
)


@pytest.fixture(scope="session")
def session_practice():
    """The practice OpenAI that all share."""
    with running(PRACTICE) as simulator:
        yield simulator


@pytest.fixture
def practice(session_practice):
    """The practice OpenAI, with nothing in its books."""
    assert session_practice.wait_settled()
    session_practice.reset()
    return session_practice


@pytest.fixture(scope="session")
def gateway(session_practice, tmp_path_factory):
    """The address of a gateway that runs in a process of its own."""
    folder = tmp_path_factory.mktemp("gateway")
    with running_gateway(write_configuration(folder, session_practice.base_url)) as url:
        yield url


@pytest.fixture(scope="session")
def engine(session_practice, tmp_path_factory):
    """The same engine, in this process."""
    folder = tmp_path_factory.mktemp("inprocess")
    with headworks.open(write_configuration(folder, session_practice.base_url)) as hw:
        yield hw


@dataclass
class App:
    """An app that uses the official client, synchronous or not, by one face or the other.

    Attributes:
        name: Chooses its keys.
    """

    name: str
    make: Callable[..., Any]
    made: dict[str, Any] = field(default_factory=dict[str, Any])

    def client(self, key: str = OPEN_KEY, **options: Any) -> Any:
        """Return an official client, one for each kind, closed when the test is over."""
        kind = f"{key} {options}"
        if kind not in self.made:
            self.made[kind] = self.make(api_key=key, **options)
        return self.made[kind]

    async def ask(self, client: Any = None, **options: Any) -> Any:
        """Return the answer to our question, or its stream."""
        client = client or self.client()
        return await value(client.chat.completions.create(**{"messages": MESSAGES} | options))

    async def stream(self, client: Any = None, **options: Any) -> list[Any]:
        """Return the chunks of the streamed answer to our question."""
        return [chunk async for chunk in each(await self.ask(client, stream=True, **options))]


@pytest.fixture(params=["gateway-sync", "gateway-async", "inprocess-sync", "inprocess-async"])
async def app(request) -> AsyncGenerator[App]:
    """The same app in four forms: each way to write it, by each way to headworks."""
    face, _, name = request.param.partition("-")
    if face == "gateway":
        url = request.getfixturevalue("gateway")
        kind = openai.OpenAI if name == "sync" else openai.AsyncOpenAI
        app = App(name, partial(kind, base_url=url))
    else:
        hw = request.getfixturevalue("engine")
        app = App(name, hw.openai if name == "sync" else hw.async_openai)
    yield app
    for client in app.made.values():
        await value(client.close())


async def value(result: Any) -> Any:
    """Return what a client's method returns, whichever kind of client it is."""
    return await result if inspect.isawaitable(result) else result


async def each(stream: Iterable[Any] | AsyncIterable[Any]) -> AsyncGenerator[Any]:
    """Yield what either kind of stream brings."""
    if isinstance(stream, AsyncIterable):
        async for item in stream:
            yield item
    else:
        for item in stream:
            yield item


@dataclass(frozen=True)
class Truth:
    """What the practice OpenAI says when it is asked directly, and its books about the others."""

    practice: RunningSimulator
    client: openai.OpenAI

    def answer(self, model: str, **options: Any) -> Any:
        """Return the whole answer of a model to our question, without its fault."""
        return self.client.chat.completions.create(
            **{"model": model, "messages": MESSAGES} | options
        )

    def text(self, model: str, **options: Any) -> str:
        """Return what a model says to our question."""
        said: str = self.answer(model, **options).choices[0].message.content
        return said

    def attempts(self, model: str) -> int:
        """Return how often headworks asked a model."""
        return sum(
            one["model"] == model and one["fault"] != NO_FAULT for one in self.practice.attempts()
        )


@pytest.fixture(scope="session")
def direct(session_practice):
    """An official client that asks the practice OpenAI itself, and orders no fault."""
    with openai.OpenAI(
        base_url=session_practice.base_url,
        api_key="sk-simulator",
        default_headers={"x-simulator-fault": NO_FAULT},
    ) as client:
        yield client


@pytest.fixture
def truth(practice, direct):
    """Hear what is true before judging what arrives."""
    return Truth(practice, direct)


def text_of(chunks: list[Any]) -> str:
    """Return what the first choice of streamed chunks says."""
    deltas = [
        choice.delta.content for chunk in chunks for choice in chunk.choices if not choice.index
    ]
    return "".join(delta or "" for delta in deltas)
