"""Gateways on real sockets, in a process of their own or in the test's, and a caller that speaks bytes."""

import asyncio
import json
import os
import re
import signal
import sqlite3
import sys
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from headworks.build import Assembly
from headworks.config.loading import load
from headworks.gateway.server import Server
from headworks.gateway.station import Station
from headworks.ports import Journal
from headworks.stores.ledger_schema import connect_read_only

KEY = "caller-key-0123456789-0123456789"
UPSTREAM_KEY = "sk-upstream-9876543210-9876543210"
ENVIRONMENT = {"CALLER_KEY": KEY, "UPSTREAM_KEY": UPSTREAM_KEY}
CONFIGURATION = """\
server: {{listen: "127.0.0.1:0", admin: "127.0.0.1:0", drain: 5s, max_body: 1MB}}
store: sqlite:{folder}/books.db
log: {{level: {level}}}
retry: {{first: 10ms, longest: 20ms}}
upstreams:
  up:
    base_url: http://127.0.0.1:{port}/v1
    credentials: [{{name: main, api_key: "${{env:UPSTREAM_KEY}}"}}]
    timeouts: {{first_byte: {first_byte}, idle: {silence}}}
models:
  assistant: {{routes: [up/gpt-6-sol, up/gpt-6-luna]}}
  single: {{routes: [up/gpt-6-sol]}}
  embedder: {{routes: [up/text-embedding-3-small]}}
keys:
  - {{name: app, secret: "${{env:CALLER_KEY}}"}}
  - {{name: alone, secret: "alone-{key}", limits: {{parallel: 1}}}}
  - {{name: other, secret: "other-{key}"}}
  - {{name: narrow, secret: "narrow-{key}", models: [assistant]}}
"""
READY = re.compile(r"API http://127\.0\.0\.1:(\d+)/v1, admin http://127\.0\.0\.1:(\d+)")
_PATIENCE = 20.0


def configuration(
    folder: Path, port: int, *, silence: str = "30s", first_byte: str = "", level: str = "info"
) -> Path:
    """Write a configuration with one upstream on this machine; `silence` bounds its waits."""
    file = folder / "headworks.yaml"
    waits = {"silence": silence, "first_byte": first_byte or silence}
    file.write_text(CONFIGURATION.format(folder=folder, port=port, level=level, key=KEY, **waits))
    return file


def rows(folder: Path, *, after: int = 0) -> list[dict[str, Any]]:
    """Return every row of a gateway's ledger behind row `after`, running or not, oldest first."""
    with closing(connect_read_only(folder / "books.ledger.db")) as db:
        if not db.execute("PRAGMA user_version").fetchone()[0]:
            return []  # its writer died before there was a table
        db.row_factory = sqlite3.Row
        found = db.execute("SELECT * FROM attempts WHERE seq > ? ORDER BY seq", (after,))
        return [dict(row) for row in found]


# A caller that speaks bytes.


@dataclass
class Reply:
    """What came back for one request, as far as it came.

    Attributes:
        has_ended: Whether the end of the response was received: nothing may be lost after it.
    """

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    has_ended: bool = False

    @property
    def call(self) -> str:
        return self.headers["x-headworks-call"]

    @property
    def error(self) -> dict[str, Any]:
        error: dict[str, Any] = json.loads(self.body)["error"]
        return error


def chat(*, key: str = KEY, headers: Mapping[str, str] | None = None, **fields: Any) -> bytes:
    """Return the bytes of a chat completions request."""
    body = {"model": "assistant", "messages": [{"role": "user", "content": "Hello"}], **fields}
    return request(json.dumps(body).encode(), key=key, headers=headers)


def request(
    body: bytes,
    *,
    line: str = "POST /v1/chat/completions HTTP/1.1",
    key: str = KEY,
    headers: Mapping[str, str] | None = None,
) -> bytes:
    """Return the bytes of a request with a JSON body."""
    fields = {
        "host": "gateway",
        "authorization": f"Bearer {key}",
        "content-type": "application/json",
        "content-length": str(len(body)),
        **(headers or {}),
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"{line}\r\n{lines}\r\n".encode("latin-1") + body


class Line:
    """A caller's connection to a gateway.

    Attributes:
        on_piece: Called at each piece of a reply's body.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.on_piece: Callable[[Reply], None] = lambda _: None

    async def ask(self, content: bytes) -> Reply:
        """Send a request and read its reply, whole or as far as it comes."""
        self.writer.write(content)
        return await self.reply()

    async def reply(self) -> Reply:
        """Read one reply, whole or as far as it comes."""
        reply = Reply()
        try:
            await self._read(reply)
        except (asyncio.IncompleteReadError, ConnectionError):
            return reply
        reply.has_ended = True
        return reply

    async def head(self, reply: Reply) -> None:
        """Read the head of a reply."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        first, *fields = head.decode("latin-1").split("\r\n")[:-2]
        reply.status = int(first.split(" ")[1])
        reply.headers = dict(one.lower().split(": ", 1) for one in fields)

    async def _read(self, reply: Reply) -> None:
        await self.head(reply)
        if "content-length" in reply.headers:
            reply.body = await self.reader.readexactly(int(reply.headers["content-length"]))
            self.on_piece(reply)
            return
        while size := int(await self.reader.readuntil(b"\r\n"), 16):
            reply.body += await self.reader.readexactly(size)
            self.on_piece(reply)
            await self.reader.readexactly(2)
        await self.reader.readexactly(2)


@asynccontextmanager
async def line_to(port: int) -> AsyncGenerator[Line]:
    """Open a connection to a gateway, and cut it when the block is left."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield Line(reader, writer)
    finally:
        writer.transport.abort()


async def ask(port: int, content: bytes) -> Reply:
    """Send one request on a connection of its own."""
    async with line_to(port) as line:
        return await line.ask(content)


# A gateway in a process of its own.


class Process:
    """`headworks serve` as users run it.

    Attributes:
        port: Where its API is; `admin` is the port of its other plane.
        seconds: How long it took until it was ready.
    """

    def __init__(self, process: asyncio.subprocess.Process, port: int, admin: int) -> None:
        self.port, self.admin = port, admin
        self.seconds = 0.0
        self._process = process

    @property
    def pid(self) -> int:
        """Its number among the processes of the machine."""
        return self._process.pid

    def kill(self) -> None:
        """End it with no chance to do anything."""
        self._process.kill()

    async def ended(self) -> int:
        """Return its exit code once it has one."""
        return await self._process.wait()

    async def stop(self) -> int:
        """End it in order and return its exit code."""
        self._process.send_signal(signal.SIGTERM)
        return await asyncio.wait_for(self.ended(), _PATIENCE)


async def command(folder: Path, *words: str, log: Path) -> asyncio.subprocess.Process:
    """Run a `headworks` command in `folder`; its standard error is added to `log`."""
    environ = {**os.environ, **ENVIRONMENT, "NO_COLOR": "1"}
    with log.open("ab") as errors:
        return await asyncio.create_subprocess_exec(
            sys.executable, "-m", "headworks", *words,
            cwd=folder, env=environ, stdout=asyncio.subprocess.PIPE, stderr=errors,
        )  # fmt: skip


@asynccontextmanager
async def gateway_process(folder: Path, log: Path) -> AsyncGenerator[Process]:
    """Start a gateway with the configuration in `folder`; kill what is left of it at the end."""
    loop = asyncio.get_running_loop()
    begun = loop.time()
    process = await command(folder, "serve", log=log)
    try:
        assert process.stdout is not None
        said = (await asyncio.wait_for(process.stdout.readline(), _PATIENCE)).decode()
        with log.open("a") as copy:
            copy.write(said)
        ports = READY.search(said)
        assert ports is not None, f"the gateway did not start: see {log}"
        gateway = Process(process, int(ports[1]), int(ports[2]))
        gateway.seconds = loop.time() - begun
        yield gateway
    finally:
        if process.returncode is None:
            process.kill()
        rest, _ = await process.communicate()
        with log.open("ab") as copy:
            copy.write(rest)


# A gateway in the test's own process, where everything it holds can be counted.


@dataclass
class Gateway:
    """A whole gateway on real sockets, in the running loop."""

    assembly: Assembly
    server: Server
    folder: Path

    @property
    def port(self) -> int:
        return int(self.server.url.rpartition(":")[2])

    @property
    def admin(self) -> int:
        return int(self.server.admin_url.rpartition(":")[2])

    def rows(self) -> list[dict[str, Any]]:
        return rows(self.folder)

    def row(self, user: str) -> dict[str, Any]:
        """Return the one row of the call that carried `x-headworks-user: {user}`."""
        found = [row for row in self.rows() if row["user"] == user]
        assert len(found) == 1, found
        return found[0]


@asynccontextmanager
async def gateway_of(file: Path, *journals: Journal) -> AsyncGenerator[Gateway]:
    """Run a gateway by a configuration file until the block is left."""
    config = load(file, ENVIRONMENT)
    assembly = Assembly(config, journals=journals)
    server = Station(assembly, lambda: config).server(announce=lambda _: None)
    life = asyncio.ensure_future(server.run())
    ready = asyncio.ensure_future(server.ready.wait())
    await asyncio.wait((life, ready), return_when=asyncio.FIRST_COMPLETED)
    try:
        assert server.ready.is_set(), life
        yield Gateway(assembly, server, file.parent)
    finally:
        ready.cancel()
        server.stop(at_once=True)
        await life
