"""A world, its Headworks, and one driver for both kinds of official client."""

import asyncio
import signal
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import openai
import pytest

from headworks.inprocess.face import Headworks
from tests.inprocess.world import World

MESSAGES: list[Any] = [{"role": "user", "content": "Say hello."}]


@pytest.fixture
def interruptible():
    """A program that hears Ctrl-C: one that a shell started in the background may ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def world():
    return World()


@pytest.fixture
def hw(world):
    with world.headworks() as headworks:
        yield headworks


@dataclass
class Chat:
    """Asks for chat completions as an application does: synchronously, or in a loop of its own."""

    hw: Headworks
    is_async: bool

    def ask(self, model: str = "m", **options: Any) -> Any:
        """Return a whole answer."""
        return self.do(lambda client: client.chat.completions.create, model, **options)

    def do(self, method: Callable[[Any], Any], model: str = "m", **options: Any) -> Any:
        """Return what a method of the client returns for our question."""
        client_options = options.pop("client", {})
        question = {"model": model, "messages": MESSAGES, **options}
        if not self.is_async:
            return method(self.hw.openai(**client_options))(**question)

        async def wait() -> Any:
            return await method(self.hw.async_openai(**client_options))(**question)

        return asyncio.run(wait())

    def stream(self, most: int = 1000, **options: Any) -> list[Any]:
        """Return the chunks of a streamed answer; stop and close after `most`."""
        client_options = options.pop("client", {})
        question = {"model": "m", "messages": MESSAGES, "stream": True, **options}
        if self.is_async:
            return asyncio.run(self._astream(most, client_options, question))
        chunks = list[Any]()
        with self.hw.openai(**client_options).chat.completions.create(**question) as stream:
            for chunk in stream:
                chunks.append(chunk)
                if len(chunks) == most:
                    break
        return chunks

    async def _astream(self, most: int, client_options: Any, question: Any) -> list[Any]:
        chunks = list[Any]()
        client = self.hw.async_openai(**client_options)
        async with await client.chat.completions.create(**question) as stream:
            async for chunk in stream:
                chunks.append(chunk)
                if len(chunks) == most:
                    break
        return chunks


@pytest.fixture(params=["sync", "async"])
def chat(request, hw):
    """The same questions through `openai.OpenAI` and through `openai.AsyncOpenAI`."""
    return Chat(hw, request.param == "async")


def text_of(chunks: list[openai.types.chat.ChatCompletionChunk]) -> str:
    """Return what the chunks say."""
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
