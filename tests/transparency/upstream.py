"""A provider that notes every byte it gets, and answers with exactly the bytes it was told."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from tests.transparency.messages import Message, read_message
from tests.upstream.scripted import Wire, serve


@dataclass
class Provider:
    """What the next answer is, and what has arrived."""

    port: int = 0
    answer: bytes = b""
    arrived: list[Message] = field(default_factory=list)

    async def script(self, wire: Wire) -> None:
        while True:
            self.arrived.append(await read_message(wire.reader))
            await wire.send(self.answer)


@asynccontextmanager
async def provider() -> AsyncGenerator[Provider]:
    """Run one until the block is left."""
    found = Provider()
    async with serve(found.script) as server:
        found.port = server.port
        yield found
