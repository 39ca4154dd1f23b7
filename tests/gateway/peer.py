"""The server's side of ASGI, played by a test."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

from headworks.gateway.asgi import Gateway
from tests.gateway.conftest import Answer
from tests.world import World

BODY = b'{"model":"m","messages":[]}'
STREAMED = b'{"model":"m","messages":[],"stream":true}'
PATH = "/v1/chat/completions"
KEY = (b"authorization", b"Bearer open")
JSON = (b"content-type", b"application/json")
BYTES = ((b"content-type", b"application/octet-stream"),)


def part(body: bytes = b"", *, more: bool = False) -> dict[str, Any]:
    return {"type": "http.request", "body": body, "more_body": more}


GONE = {"type": "http.disconnect"}


@dataclass
class Peer:
    """The server's side of one ASGI request: what it gives, and what it gets."""

    messages: list[dict[str, Any]]
    sent: list[dict[str, Any]] = field(default_factory=list)
    leaves: asyncio.Event = field(default_factory=asyncio.Event)
    blocks: asyncio.Event | None = None
    began: asyncio.Event = field(default_factory=asyncio.Event)

    async def receive(self) -> dict[str, Any]:
        if self.messages:
            return self.messages.pop(0)
        await self.leaves.wait()
        return GONE

    async def send(self, message: Any) -> None:
        self.sent.append(message)
        self.began.set()
        if self.blocks is not None:
            await self.blocks.wait()

    @property
    def answer(self) -> Answer:
        """What was answered, whole."""
        head, *rest = self.sent
        assert not rest[-1].get("more_body")
        names = [name for name, _ in head["headers"]]
        assert names.count(b"x-request-id") == 1, names
        headers = {name.decode(): value.decode() for name, value in head["headers"]}
        return Answer(head["status"], headers, b"".join(one["body"] for one in rest))


def peer(*messages: dict[str, Any]) -> Peer:
    return Peer(list(messages) or [part(BODY)])


def scope(
    method: str = "POST", path: str = PATH, headers: tuple[tuple[bytes, bytes], ...] = (KEY, JSON)
) -> dict[str, Any]:
    return {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": list(headers),
    }


def gateway(world: World) -> Gateway:
    return Gateway(lambda: world.engine, lambda: world.max_body)


async def ask(
    world: World, *messages: dict[str, Any], at: dict[str, Any] | None = None, **changes: Any
) -> Answer:
    """Make one request as an ASGI server would."""
    server = peer(*messages)
    await gateway(world)(at or scope(**changes), server.receive, server.send)
    return server.answer


async def turns(count: int = 20) -> None:
    """Let the loop turn."""
    for _ in range(count):
        await asyncio.sleep(0)
