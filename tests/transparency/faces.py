"""The two faces of an engine, asked byte by byte: what a caller sends, and what it gets."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal, Protocol

import httpx2

import headworks
from tests.faults.processes import ENVIRONMENT, KEY, gateway_of, line_to
from tests.transparency.messages import Fields, Message, parse_head, read_message, write
from tests.transparency.upstream import Provider

Face = Literal["gateway", "in process"]
FACES: tuple[Face, ...] = ("gateway", "in process")
MODEL, ALIAS = "gpt-6-sol", "assistant"
"""A model that is asked for by its own name, and a name that stands for it."""

_CONFIGURATION = """\
server: {{listen: "127.0.0.1:0", admin: "127.0.0.1:0", max_body: 1MB}}
store: "sqlite:{folder}/books.db"
log: {{level: error, calls: false}}
retry: {{attempts: 1}}
upstreams:
  up:
    base_url: http://127.0.0.1:{port}/v1
    breaker: false
    credentials:
      - {{name: main, api_key: "${{env:UPSTREAM_KEY}}", organization: org-ours, project: proj_ours}}
    admin_credential: {{api_key: "${{env:UPSTREAM_KEY}}", organization: org-ours}}
models:
  {alias}: {{routes: [up/{model}]}}
keys:
  - {{name: app, secret: "${{env:CALLER_KEY}}", scopes: [admin]}}
"""


class Caller(Protocol):
    """Somebody who sends requests through a face."""

    async def ask(
        self, line: str, fields: Fields, body: bytes | None, chunks: int = 0
    ) -> tuple[Message, Message]:
        """Send a request; return it as it came to the face, and its answer."""
        ...


@asynccontextmanager
async def caller(face: Face, provider: Provider, folder: Path) -> AsyncGenerator[Caller]:
    """Put an engine before a provider and open its face."""
    file = folder / "headworks.yaml"
    named = {"folder": folder, "port": provider.port, "alias": ALIAS, "model": MODEL}
    file.write_text(_CONFIGURATION.format(**named))
    if face == "gateway":
        async with gateway_of(file) as gateway, line_to(gateway.port) as line:
            yield _OverHttp(line.reader, line.writer)
        return
    async with headworks.open(file, environ=ENVIRONMENT) as hw:
        yield _InProcess(hw)


class _OverHttp:
    """A caller with a connection to the gateway, which it keeps."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def ask(
        self, line: str, fields: Fields, body: bytes | None, chunks: int = 0
    ) -> tuple[Message, Message]:
        sent = (("Host", "gateway"), ("Authorization", f"Bearer {KEY}"), *fields)
        content = write(line, sent, body, chunks=chunks)
        self._writer.write(content)
        answer = await read_message(self._reader)
        head = content[: content.index(b"\r\n\r\n") + 4]
        return Message(*parse_head(head), body or b""), answer


class _InProcess:
    """A caller with the HTTP client that the official client in this process uses."""

    def __init__(self, hw: headworks.Headworks) -> None:
        self._client = hw.async_openai(api_key=KEY)._client

    async def ask(
        self, line: str, fields: Fields, body: bytes | None, chunks: int = 0
    ) -> tuple[Message, Message]:
        method, target, _ = line.split(" ")
        sent = (("authorization", f"Bearer {KEY}"), *fields)
        url = httpx2.URL("http://headworks.internal" + target)
        request = self._client.build_request(method, url, headers=list(sent), content=body)
        answer = await self._client.send(request, stream=True)
        content = b"".join([part async for part in answer.aiter_raw()])
        given = _fields(request.headers.raw)
        line = f"{method} {request.url.raw_path.decode()} HTTP/1.1"
        asked = Message(line, given, body or b"")
        return asked, Message(
            f"HTTP/1.1 {answer.status_code}", _fields(answer.headers.raw), content
        )


def _fields(raw: list[tuple[bytes, bytes]]) -> Fields:
    return tuple((name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in raw)
