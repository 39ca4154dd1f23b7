"""Gateways that start in a moment, because the process that forks them has imported everything."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.faults.failpoints import Failpoint, Order
from tests.faults.processes import ENVIRONMENT, READY

PATIENCE = 20.0


@dataclass
class Victim:
    """A gateway that a nursery has begun."""

    pid: int
    ended: "asyncio.Future[int]"
    port: int = 0
    admin: int = 0

    def kill(self) -> None:
        """End it with no chance to do anything."""
        self.signal(signal.SIGKILL)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, if it still lives."""
        if not self.ended.done():
            os.kill(self.pid, number)


class Nursery:
    """Begins gateways with failpoints in them, fast. See `failpoints`.

    Attributes:
        reached: There if the latest failpoint has struck.
        code: What the latest command ended with.
    """

    def __init__(self, process: asyncio.subprocess.Process, folder: Path) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._in, self._out = process.stdin, process.stdout
        self.folder = folder
        self._count = self.code = 0
        self.reached = folder / "reached"

    @asynccontextmanager
    async def victim(
        self, failpoint: Failpoint | None = None, **more: Any
    ) -> AsyncGenerator[Victim]:
        """Run `headworks serve` until it is ready, or dead; kill what is left of it at the end."""
        victim, out = await self._begin(["serve"], failpoint=failpoint, **more)
        try:
            await self._ready(victim, out)
            yield victim
        finally:
            victim.kill()
            await victim.ended

    async def command(self, words: list[str], environ: Mapping[str, str] = ENVIRONMENT) -> bytes:
        """Run a command to its end; return what it wrote, and leave its exit code in `code`."""
        victim, out = await self._begin(words, environ=dict(environ), errors="")
        self.code = await asyncio.wait_for(victim.ended, PATIENCE)
        return out.read_bytes()

    async def _begin(self, words: list[str], **more: Any) -> tuple[Victim, Path]:
        self._count += 1
        out, self.reached = (self.folder / f"{name}-{self._count}" for name in ("out", "reached"))
        out.touch()
        order = Order(
            words,
            str(self.folder),
            str(out),
            **{
                "errors": str(self.folder / "log"),
                "reached": str(self.reached),
                "environ": ENVIRONMENT,
                **more,
            },
        )
        self._in.write(order.encode())
        pid = int(await self._out.readline())
        return Victim(pid, asyncio.ensure_future(self._end())), out

    async def _end(self) -> int:
        return int(await self._out.readline())

    async def _ready(self, victim: Victim, out: Path) -> None:
        loop = asyncio.get_running_loop()
        until = loop.time() + PATIENCE
        while not (ports := _ports(out)) and not victim.ended.done():
            assert loop.time() < until, f"the gateway did not start: see {self.folder / 'log'}"
            await asyncio.sleep(0.002)
        victim.port, victim.admin = ports or (0, 0)


def _ports(out: Path) -> tuple[int, int] | None:
    """Return where a gateway says that it can be reached."""
    found = READY.search(out.read_text())
    return None if found is None else (int(found[1]), int(found[2]))


@asynccontextmanager
async def nursery(folder: Path) -> AsyncGenerator[Nursery]:
    """Run a nursery for gateways that live in `folder`."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.faults.failpoints",
        cwd=Path(__file__).parents[2],
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        yield Nursery(process, folder)
    finally:
        assert process.stdin is not None
        process.stdin.close()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), PATIENCE)
        if process.returncode is None:
            process.kill()
        await process.communicate()
