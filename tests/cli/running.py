"""`headworks serve` in a process of its own, as an operator runs it."""

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from tests.faults.processes import Reply, ask, chat, request

KEY = "first-key-0123456789"
OTHER = "other-key-0123456789"
SECRET = "sk-simulator-secret"
CONFIGURATION = """\
server: {{listen: "127.0.0.1:0", admin: "127.0.0.1:0", drain: {drain}}}
upstreams:
  up:
    base_url: http://127.0.0.1:{port}/v1
    credentials: [{{name: main, api_key: "${{env:UPSTREAM_KEY}}"}}]
models: {{assistant: {{routes: [up/gpt-6-sol]}}}}
keys: [{{name: first, secret: "{key}"}}]
"""
_READY = re.compile(r"API http://127\.0\.0\.1:(\d+)/v1, admin http://127\.0\.0\.1:(\d+)")
_MADE = re.compile(r"OPENAI_API_KEY=(hw_\w+)")
_PATIENCE = 20.0


def write(folder: Path, port: int = 1, *, drain: str = "10s", key: str = KEY) -> Path:
    """Write a configuration with one upstream on this machine."""
    file = folder / "headworks.yaml"
    file.write_text(CONFIGURATION.format(port=port, drain=drain, key=key))
    return file


@dataclass
class Done:
    """How a command ended, and what it wrote."""

    code: int
    out: str
    err: str


@dataclass
class Serving:
    """A gateway that is ready."""

    process: asyncio.subprocess.Process
    folder: Path
    said: list[str] = field(default_factory=list)

    @property
    def ports(self) -> tuple[int, int]:
        found = _READY.search(self.said[-1])
        assert found is not None
        return int(found[1]), int(found[2])

    @property
    def made(self) -> str:
        """The key that was made for us."""
        (key,) = _MADE.findall("".join(self.said))
        return str(key)

    @property
    def log(self) -> str:
        return (self.folder / "stderr").read_text()

    async def ask(self, key: str = KEY, **fields: Any) -> Reply:
        """Make a call."""
        return await ask(self.ports[0], chat(key=key, **fields))

    async def ready(self) -> tuple[int, Any]:
        """Return what the readiness probe sees."""
        line = request(b"", line="GET /readyz HTTP/1.1", headers={"host": "localhost"})
        reply = await ask(self.ports[1], line)
        return reply.status, msgspec.json.decode(reply.body)

    async def is_busy(self) -> bool:
        """Whether it carries a call."""
        return bool((await self.ready())[1]["in_flight"])

    async def is_draining(self) -> bool:
        """Whether it has told load balancers to look away, and still carries a call."""
        status, told = await self.ready()
        return (status, told["reason"], told["in_flight"]) == (503, "draining", 1)

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    async def ended(self) -> int:
        """Return the exit code once there is one."""
        async with asyncio.timeout(_PATIENCE):
            return await self.process.wait()

    async def stop(self) -> int:
        """End the gateway in order."""
        self.signal(signal.SIGTERM)
        return await self.ended()


def environment(given: Mapping[str, str]) -> dict[str, str]:
    """Return an environment that knows of headworks only what is given."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("HEADWORKS_", "OPENAI_"))
    }
    return {**inherited, "UPSTREAM_KEY": SECRET, **given}


async def headworks(folder: Path, *words: str, **environ: str) -> Done:
    """Run a command to its end."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "headworks", *words,
        cwd=folder, env=environment(environ),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    async with asyncio.timeout(_PATIENCE):
        out, err = await process.communicate()
    return Done(process.returncode or 0, out.decode(), err.decode())


@asynccontextmanager
async def serving(folder: Path, *words: str, **environ: str) -> AsyncIterator[Serving]:
    """Run `headworks serve` until it is ready; kill what is left of it at the end."""
    with (folder / "stderr").open("wb") as errors:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "headworks", "serve", *words,
            cwd=folder, env=environment(environ), stdout=asyncio.subprocess.PIPE, stderr=errors,
        )  # fmt: skip
    it = Serving(process, folder)
    try:
        assert process.stdout is not None
        async with asyncio.timeout(_PATIENCE):
            while not it.said or not _READY.search(it.said[-1]):
                line = await process.stdout.readline()
                assert line, it.log
                it.said.append(line.decode())
        yield it
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def eventually(condition: Callable[[], Awaitable[bool]], seconds: float = 3.0) -> float:
    """Wait until an awaited condition holds; return how many seconds it took."""
    loop = asyncio.get_running_loop()
    begun = loop.time()
    while not await condition():
        assert loop.time() < begun + seconds, "the condition never came true"
        await asyncio.sleep(0.02)
    return loop.time() - begun
