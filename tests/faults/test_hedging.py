"""Over real connections: who loses is closed within 100 ms of the answer, and paid for."""

import asyncio
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from headworks.build import Assembly
from headworks.config.settings import Config
from headworks.core.tokens import encoding_of
from headworks.stores.ledger_schema import ledger_path
from headworks.testing import EVENTS, WHOLE, RecordingJournal
from headworks.types import Hedge
from tests.ground import Ground, config
from tests.upstream.scripted import Wire, serve, whole

pytestmark = pytest.mark.anyio

SOON = 0.1
CALLS = 20


def rows(folder: Path) -> list[tuple[str, int, str, str, str]]:
    with sqlite3.connect(ledger_path(folder / "store.db")) as db:
        columns = "call, attempt, upstream, state, outcome"
        found = db.execute(f"SELECT {columns} FROM attempts ORDER BY call, attempt").fetchall()  # noqa: S608 - constant names
    db.close()
    return found


class Pair:
    """Two providers at one place: one never answers, and notes when it is left; one answers at once."""

    def __init__(self, *, stream: bool) -> None:
        kind, body = (
            (b"text/event-stream", b"".join(EVENTS)) if stream else (b"application/json", WHOLE)
        )
        self.answer = whole(body, fields=b"content-type: " + kind + b"\r\n")
        self.stream = stream
        self.left = asyncio.Queue[float]()
        self.answered = 0.0

    async def __call__(self, wire: Wire) -> None:
        while b"sk-simulator-2" in await wire.request():
            self.answered = asyncio.get_running_loop().time()
            await wire.send(self.answer)
        if self.stream:
            await wire.send(b"HTTP/1.1 200 X\r\ncontent-type: text/event-stream\r\n\r\n: so\n\n")
        await wire.gone()
        self.left.put_nowait(asyncio.get_running_loop().time() - self.answered)


def hedged(plain: Config) -> Config:
    """Return a configuration whose model goes to both providers, and hedges after 50 ms."""
    both = (*plain.models["assistant"].routes, *plain.models["other"].routes)
    model = replace(plain.models["assistant"], routes=both, hedge=Hedge(0.05, 1.0))
    return replace(plain, models={**plain.models, "assistant": model})


@pytest.mark.parametrize("stream", [False, True])
async def test_the_loser_is_closed_at_once_and_in_the_ledger(tmp_path, stream, figure):
    """The slow provider sees its connection close as the fast one answers; both attempts are booked."""
    journal, pair = RecordingJournal(), Pair(stream=stream)
    async with serve(pair) as server:
        assembly = Assembly(hedged(config(tmp_path, server.port)), journals=(journal,))
        try:
            assembly.tokenizer.load_soon([encoding_of("gpt-6-sol")])
            assert await asyncio.to_thread(assembly.tokenizer.wait_loaded, 30)
            ground = Ground(assembly, server)
            answers = [await ground.ask(stream=stream) for _ in range(CALLS)]
            late = [await pair.left.get() for _ in range(CALLS)]
        finally:
            await assembly.aclose()

    assert all(answers)
    assert max(late) < SOON
    lost, won = (1, "up", "settled", "superseded"), (2, "spare", "settled", "completed")
    assert [row[1:] for row in rows(tmp_path)] == [lost, won] * CALLS
    assert {call.hedge for call in journal.calls} == {"won"}
    figure(f"hedging: losers were closed {max(late) * 1000:.1f} ms after the answer at most")
