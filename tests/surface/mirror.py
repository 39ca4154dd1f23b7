"""A provider that takes any request and says what it was; and an engine in front of it."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from hashlib import sha256

import httpx2

from headworks.core.routing import NamedRouter, Target
from headworks.gateway.asgi import Gateway
from headworks.inprocess.httpx2_transport import EngineTransport
from headworks.types import Caller, Plan, Route, Secret, Timeouts
from headworks.upstream.http1 import ClientLimits, HttpClient
from headworks.upstream.openai import Credential, Provider, Providers
from tests.gateway.conftest import serving
from tests.upstream.scripted import Wire, serve
from tests.world import World

FACES = ("gateway", "inprocess")
JSON = b'{"object":"thing"}'
KEYS = {
    "open": Caller("open", "k1"),
    "app": Caller("app", "k2", models=frozenset({"alias"})),
    "ops": Caller("ops", "k3", scopes=frozenset({"admin"})),
}


@dataclass
class Seen:
    """One request as the provider saw it; of a long body the beginning, and what stands for all."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes
    size: int
    digest: str


@dataclass
class Mirror:
    """What a provider has seen, and what it answers."""

    seen: list[Seen] = field(default_factory=list)
    status: int = 200
    content: bytes = JSON
    kind: str = "application/json"
    fields: bytes = b""

    async def __call__(self, wire: Wire) -> None:
        while True:
            self.seen.append(await self._read(wire))
            told = f"content-type: {self.kind}\r\ncontent-length: {len(self.content)}".encode()
            head = b"HTTP/1.1 %d X\r\n%b%b\r\n\r\n" % (self.status, self.fields, told)
            is_head = self.seen[-1].method == "HEAD"
            await wire.send(head + (b"" if is_head else self.content))

    async def _read(self, wire: Wire) -> Seen:
        head = (await wire.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, target, _ = head[0].split(" ")
        headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
        whole, begun, size = sha256(), b"", 0
        async for piece in _body(wire.reader, headers):
            whole.update(piece)
            begun += piece[: max(0, 4096 - len(begun))]
            size += len(piece)
        kept = dict(line.split(": ", 1) for line in head[1:] if line)
        return Seen(method, target, kept, begun, size, whole.hexdigest())


async def _body(reader: asyncio.StreamReader, headers: Mapping[str, str]) -> AsyncGenerator[bytes]:
    if headers.get("transfer-encoding") == "chunked":
        while size := int(await reader.readuntil(b"\r\n"), 16):
            yield (await reader.readexactly(size + 2))[:-2]
        await reader.readexactly(2)
        return
    left = int(headers.get("content-length", "0"))
    while left:
        piece = await reader.read(min(left, 65536))
        if not piece:
            raise asyncio.IncompleteReadError(b"", left)
        left -= len(piece)
        yield piece


@dataclass
class Surface:
    """An engine with real connections to a mirror, seen through one of its faces."""

    world: World
    mirror: Mirror
    client: httpx2.AsyncClient


@asynccontextmanager
async def surface(face: str, *, admin: bool = True, **gateway: int) -> AsyncGenerator[Surface]:
    """Open one; `alias` leads to the model `real-model`."""
    mirror = Mirror()
    async with serve(mirror) as server:
        client = HttpClient(server.origin, limits=ClientLimits(quiet_seconds=0))
        known = {"main": Credential(Secret("sk-ours")), "(admin)": Credential(Secret("sk-admin"))}
        world = World(
            router=NamedRouter(
                {"up": Target(("main",), Timeouts())},
                {"alias": Plan((Route("up", "real-model", "main"),))},
                Route("up", "", "(admin)") if admin else None,
            ),
        )
        world.upstream = Providers({"up": Provider(client, "/v1", known)}, world.clock)  # type: ignore[assignment]  # the real one in its place
        world.keys.callers = KEYS
        world.engine = world.make_engine()
        try:
            async with _faced(face, world, gateway) as seen:
                yield Surface(world, mirror, seen)
        finally:
            await client.aclose()


@asynccontextmanager
async def _faced(
    face: str, world: World, gateway: Mapping[str, int]
) -> AsyncGenerator[httpx2.AsyncClient]:
    headers = {"authorization": "Bearer open"}
    if face == "inprocess":
        transport = EngineTransport(world.engine)
        url = "http://headworks"
        async with httpx2.AsyncClient(transport=transport, base_url=url, headers=headers) as client:
            yield client
        return
    most = gateway.get("max_body", 10**6), gateway.get("max_upload", 10**9)
    app = Gateway(lambda: world.engine, lambda: most[0], lambda: most[1])
    async with (
        serving(app) as server,
        httpx2.AsyncClient(base_url=server.url, headers=headers, timeout=60) as client,
    ):
        yield client
