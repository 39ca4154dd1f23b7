"""The four columns of the board: each an app, a face of headworks and a provider of its own."""

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import openai

import headworks
from headworks.stores.ledger_schema import connect_read_only, ledger_path
from tests.faults.drill import upstream as provider
from tests.faults.drill.judging import Reply, Row
from tests.faults.drill.upstream import MESSAGES, Upstream
from tests.faults.processes import READY

Face = Literal["gateway", "in process"]
CONFIGURATION = Path(__file__).with_name("headworks.yaml")
KEY = "drill-key-0123456789"
PATIENCE, RETRIES = 30.0, 2
"""What the app allows a call: seconds to wait, and retries of the official client itself."""
_START = 30.0
_ROWS = """
    SELECT attempt, model_sent, outcome, certainty, cost_nano FROM attempts
    WHERE feature = ? ORDER BY seq
"""


@dataclass
class Column:
    """One face, for plain calls or for streamed ones.

    Attributes:
        folder: Holds the ledger, and the log of calls where the face writes one.
    """

    face: Face
    streamed: bool
    folder: Path
    upstream: Upstream
    client: openai.AsyncOpenAI

    async def ask(self, model: str, name: str) -> Reply:
        """Make one call in the name of a scenario; whatever happens stands in the reply."""
        began = time.monotonic()
        reply = Reply(self.upstream.now)
        create: Any = self.client.chat.completions.create
        streaming = {"stream": True, "stream_options": {"include_usage": True}}
        try:
            answer = await create(
                model=model,
                messages=MESSAGES,
                user=name,
                extra_headers={"x-headworks-feature": name},
                **(streaming if self.streamed else {}),
            )
            async for part in answer if self.streamed else _alone(answer):
                _note(reply, part, time.monotonic() - began)
        except Exception as error:  # noqa: BLE001 - whatever an app may meet
            reply.error = error
        reply.seconds = time.monotonic() - began
        return reply

    @property
    def name(self) -> str:
        """What stands above the column."""
        return f"{self.face}, {'streamed' if self.streamed else 'plain'}"

    def rows(self, name: str) -> list[Row]:
        """Return the ledger's rows of the calls that were made in the name of a scenario."""
        with closing(connect_read_only(ledger_path(self.folder / "headworks.db"))) as db:
            return [Row(*row) for row in db.execute(_ROWS, (name,))]

    def filtered(self) -> list[str] | None:
        """Return the models of the calls that the log notes for review; None without a log."""
        file = self.folder / "calls.log"
        if not file.exists():
            return None
        lines = [json.loads(line) for line in file.read_text().splitlines()]
        return [line["model"] for line in lines if line.get("filtered")]


async def _alone(answer: Any) -> AsyncGenerator[Any]:
    yield answer


def _note(reply: Reply, part: Any, at: float) -> None:
    """Add to a reply what a chunk, or a whole answer, says."""
    reply.model = part.model or reply.model
    for choice in part.choices:
        said = getattr(choice, "delta", None) or getattr(choice, "message", None)
        text = (said and said.content) or ""
        if text and reply.first is None:
            reply.first = at
        reply.text += text
        reply.finish = choice.finish_reason or reply.finish
    if part.usage is not None:
        reply.usage = (part.usage.prompt_tokens, part.usage.completion_tokens)


@asynccontextmanager
async def column(
    face: Face, folder: Path, upstream: Upstream, *, streamed: bool
) -> AsyncGenerator[Column]:
    """Run one column until the block is left; what it wrote stays in its folder."""
    environ = _environ(folder, upstream)
    options: dict[str, Any] = {"api_key": KEY, "max_retries": RETRIES, "timeout": PATIENCE}
    async with AsyncExitStack() as closing_last:
        if face == "gateway":
            url = await closing_last.enter_async_context(_gateway(folder, environ))
            client = openai.AsyncOpenAI(base_url=url, **options)
        else:
            engine = await closing_last.enter_async_context(
                headworks.open(CONFIGURATION, environ=environ)
            )
            client = engine.async_openai(**options)
        await closing_last.enter_async_context(client)
        yield Column(face, streamed, folder, upstream, client)


def _environ(folder: Path, upstream: Upstream) -> dict[str, str]:
    """Make a column's folder, and return what the configuration refers to."""
    folder.mkdir()
    return {
        "DRILL_FOLDER": str(folder),
        "DRILL_UPSTREAM": upstream.base_url,
        "DRILL_UPSTREAM_KEY": provider.KEY,
        "DRILL_KEY": KEY,
    }


@asynccontextmanager
async def _gateway(folder: Path, environ: dict[str, str]) -> AsyncGenerator[str]:
    """Run `headworks serve` as users do; yield the address of its API. It must end in order."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("HEADWORKS_")}
    with (folder / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "headworks", "serve", "--config", str(CONFIGURATION),
            env=inherited | environ, stdout=asyncio.subprocess.PIPE, stderr=log,
        )  # fmt: skip
    try:
        assert process.stdout is not None
        said = (await asyncio.wait_for(process.stdout.readline(), _START)).decode()
        found = READY.search(said)
        assert found is not None, (folder / "log").read_text()
        yield f"http://127.0.0.1:{found[1]}/v1"
        process.terminate()
        code = await asyncio.wait_for(process.wait(), _START)
        assert code == 0, (folder / "log").read_text()
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()
