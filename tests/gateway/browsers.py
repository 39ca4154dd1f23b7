"""A gateway that web pages may call, and a page's requests as a browser would send them."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headworks.build import Assembly
from headworks.config.loading import load
from headworks.gateway.station import Station
from headworks.stores.ledger_schema import connect_read_only
from headworks.testing import EVENTS, WHOLE
from tests.faults.processes import Reply, ask, chat, request
from tests.upstream.scripted import Wire, chunked, serve, whole

MINTING = "minting-key-0123456789"
PLAIN = "plain-key-0123456789"
NARROW = "narrow-key-0123456789"
PATH = "/api/client-tokens"
PAGE = "https://app.example.com"
DOCUMENT = """\
server: {{listen: "127.0.0.1:0", admin: "127.0.0.1:0"{cors}}}
store: sqlite:{folder}/store.db
upstreams:
  up:
    base_url: http://127.0.0.1:{port}/v1
    credentials: [{{name: main, api_key: sk-simulator}}]
models:
  assistant: {{routes: [up/gpt-6-sol]}}
  other: {{routes: [up/gpt-6-luna]}}
keys:
  - {{name: web, project: shop, secret: {minting}, limits: {{rpm: 100, queue: 0}}, client_tokens: {{max_expiry: 15m, limits: {{rpm: 50}}}}}}
  - {{name: plain, secret: {plain}}}
  - {{name: narrow, secret: {narrow}, models: [other], client_tokens: {{}}}}
{others}
"""


async def answering(wire: Wire) -> None:
    """Answer whole or streamed, as each request wants it."""
    while True:
        content = await wire.request()
        if b'"stream"' in content:
            head = b"content-type: text/event-stream\r\nopenai-processing-ms: 7\r\n"
            await wire.send(chunked(*EVENTS).replace(b"OK\r\n", b"OK\r\n" + head))
        else:
            head = b"content-type: application/json\r\naccess-control-allow-origin: *\r\n"
            await wire.send(whole(WHOLE, fields=head))


@dataclass
class Site:
    """A running gateway, as an app's backend and its pages see it."""

    folder: Path
    station: Station
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    async def ask(
        self, key: str, *, headers: Mapping[str, str] | None = None, **fields: Any
    ) -> Reply:
        """Make a call."""
        return await ask(self.port, chat(key=key, headers=headers, **fields))

    async def send(self, line: str, body: bytes = b"", key: str = "", **headers: str) -> Reply:
        """Send any request; underscores in the names of fields are hyphens."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        content = request(body, line=f"{line} HTTP/1.1", key=key, headers=named)
        if not key:
            content = content.replace(b"authorization: Bearer \r\n", b"")
        return await ask(self.port, content)

    async def mint(self, key: str = MINTING, **asked: Any) -> Reply:
        """Ask for a token, as a backend does."""
        return await self.send(f"POST {PATH}", json.dumps(asked).encode(), key)

    async def token(self, user: str = "u42", **asked: Any) -> str:
        """Return a token's text."""
        reply = await self.mint(user=user, **asked)
        assert reply.status == 200, reply.body
        return str(json.loads(reply.body)["token"])

    async def preflight(self, path: str = "/v1/chat/completions", **fields: str) -> Reply:
        """Ask what a browser asks before a call."""
        asked = {"origin": PAGE, "access_control_request_method": "POST", "connection": "close"}
        asked |= fields
        given = {name: value for name, value in asked.items() if value}
        return await self.send(f"OPTIONS {path}", b"", "", **given)

    def rows(self) -> list[tuple[str, str, str, str, str]]:
        """Return key, project, user, feature and tags of each attempt in the ledger."""
        self.station.assembly.ledger.flush()
        with connect_read_only(self.folder / "store.ledger.db") as db:
            asked = "SELECT key_name, project, user, feature, tags FROM attempts ORDER BY seq"
            found = list(db.execute(asked))
        db.close()
        return found


@asynccontextmanager
async def site(folder: Path, cors: str = "", others: str = "") -> AsyncIterator[Site]:
    """Run a gateway, with what is said of `server.cors`, and more lines of its configuration."""
    file = folder / "headworks.yaml"
    async with serve(answering) as provider:
        said = {"minting": MINTING, "plain": PLAIN, "narrow": NARROW}
        more = f", cors: {cors}" if cors else ""
        text = DOCUMENT.format(folder=folder, port=provider.port, cors=more, others=others, **said)
        file.write_text(text)
        station = Station(Assembly(load(file, {})), lambda: load(file, {}))
        server = station.server(announce=lambda _: None)
        life = asyncio.ensure_future(server.run())
        await server.ready.wait()
        try:
            yield Site(folder, station, int(server.url.rpartition(":")[2]))
        finally:
            server.stop(at_once=True)
            await life
