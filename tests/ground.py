"""A whole engine as `build` puts it together, before a provider that says what a test wants."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from headworks.build import Assembly
from headworks.config.loading import load
from headworks.config.settings import Config
from headworks.core.intake import read_request
from headworks.testing import WHOLE
from headworks.types import Secret
from tests.upstream.scripted import Server, Wire, serve, whole

KEY = "first-key-0123456789"
OTHER = "other-key-0123456789"
DOCUMENT = """\
store: sqlite:{folder}/store.db
upstreams:
  up:
    base_url: http://127.0.0.1:{port}/v1
    credentials: [{{name: main, api_key: sk-simulator}}]
    limits: {{rpm: 1000000}}
  spare:
    base_url: http://127.0.0.1:{port}/v1
    credentials: [{{name: main, api_key: sk-simulator-2}}]
models:
  assistant: {{routes: [up/gpt-6-sol]}}
  other: {{routes: [spare/gpt-6-luna]}}
keys: [{{name: first, secret: {key}}}]
retry: {{first: 10ms, longest: 20ms}}
"""


def config(folder: Path, port: int = 1) -> Config:
    """Return a configuration with two upstreams at one place."""
    content = DOCUMENT.format(folder=folder, port=port, key=KEY).encode()
    return load(Path("headworks.yaml"), {}, lambda _: content)


def changed(before: Config, name: str, **changes: Any) -> Config:
    """Return a configuration in which one upstream differs."""
    upstreams = dict(before.upstreams)
    upstreams[name] = replace(upstreams[name], **changes)
    return replace(before, upstreams=upstreams)


def with_bad_authorities(before: Config, folder: Path) -> Config:
    (folder / "ca.pem").write_text("no certificate")
    return changed(before, "up", base_url="https://127.0.0.1:1/v1", ca_file=folder / "ca.pem")


async def answering(wire: Wire) -> None:
    while True:
        await wire.request()
        await wire.send(whole(WHOLE, fields=b"content-type: application/json\r\n"))


@dataclass
class Ground:
    """An assembly before a scripted provider."""

    assembly: Assembly
    server: Server

    async def ask(self, model: str = "assistant", *, key: str = KEY, stream: bool = False) -> bytes:
        """Make a call and return its answer."""
        body = json.dumps({"model": model, "messages": [], "stream": stream}).encode()
        kind = ((b"content-type", b"application/json"),)
        request = read_request("POST", "/v1/chat/completions", b"", kind, body)
        async with self.assembly.engine.call(request, Secret(key)) as response:
            content = response.content
            if isinstance(content, bytes):
                return content
            return b"".join([chunk async for chunk in content])


@asynccontextmanager
async def ground(folder: Path, script: Any = answering, **options: Any) -> AsyncIterator[Ground]:
    async with serve(script) as server:
        assembly = Assembly(config(folder, server.port), **options)
        try:
            yield Ground(assembly, server)
        finally:
            await assembly.aclose()
