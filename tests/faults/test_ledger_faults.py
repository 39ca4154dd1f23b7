"""A gateway whose ledger cannot be written, is damaged, or was cut off by a kill: over real sockets."""

import json
import logging
import resource
import sqlite3
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from headworks.stores.verify import verify
from tests.faults.processes import (
    KEY,
    Process,
    Reply,
    ask,
    chat,
    configuration,
    gateway_of,
    gateway_process,
    rows,
)
from tests.faults.test_disconnect import WHOLE
from tests.stores.test_ledger_damage import FRAME, flip, grown, kill, log_of
from tests.upstream.scripted import Server, Wire, serve, whole

pytestmark = pytest.mark.anyio

JSON = b"content-type: application/json\r\n"
REFUSES, GOES_ON, HARD, FEW = (f"{name}-{KEY}" for name in ("refuses", "goes-on", "hard", "few"))
KEYS = f"""\
  - {{name: refuses, secret: "{REFUSES}"}}
  - {{name: goes-on, secret: "{GOES_ON}", on_ledger_failure: continue}}
  - {{name: hard, secret: "{HARD}", budget: {{usd: 10, per: day}}}}
  - {{name: few, secret: "{FEW}", limits: {{rpm: 5, tpm: 100000, queue: 0}}}}
"""


class Provider:
    """Answers, and counts how often it was asked."""

    def __init__(self) -> None:
        self.asked = 0

    async def __call__(self, wire: Wire) -> None:
        while True:
            await wire.request()
            self.asked += 1
            await wire.send(whole(WHOLE, fields=JSON))


@asynccontextmanager
async def provider(folder: Path) -> AsyncGenerator[tuple[Path, Provider, Server]]:
    """Run a provider, and write a configuration with four keys before it."""
    script = Provider()
    async with serve(script) as server:
        file = configuration(folder, server.port, level="warning")
        file.write_text(file.read_text() + KEYS)
        yield file, script, server


async def told(port: int, key: str) -> tuple[int, str]:
    """Make a call and return its status and its error's code."""
    reply = await ask(port, chat(key=key, model="single"))
    return reply.status, "" if reply.status == 200 else reply.error["code"]


@contextmanager
def full(gateway: Process, ledger: Path) -> Iterator[None]:
    """Let no file of the gateway's grow, as a full disk does."""
    _, most = resource.prlimit(gateway.pid, resource.RLIMIT_FSIZE)
    assert ledger.stat().st_size
    resource.prlimit(gateway.pid, resource.RLIMIT_FSIZE, (1, most))
    try:
        yield
    finally:
        resource.prlimit(gateway.pid, resource.RLIMIT_FSIZE, (most, most))


@contextmanager
def locked(gateway: Process, ledger: Path) -> Iterator[None]:
    """Let another program keep the ledger to itself."""
    assert gateway.pid
    with closing(sqlite3.connect(ledger, isolation_level=None)) as db:
        db.execute("BEGIN IMMEDIATE")
        yield
        db.execute("ROLLBACK")


@pytest.mark.parametrize("trouble", [full, locked], ids=["disk full", "locked"])
async def test_a_ledger_that_cannot_be_written(tmp_path, trouble):
    """Keys with a hard budget, and keys that refuse, get 503; others go on. It mends by itself.

    Afterwards each request that reached the provider has its row, and the ledger is sound.
    """
    ledger = tmp_path / "books.ledger.db"
    async with (
        provider(tmp_path) as (_, script, _),
        gateway_process(tmp_path, tmp_path / "log") as gateway,
    ):
        for key in (REFUSES, GOES_ON, HARD):
            assert await told(gateway.port, key) == (200, "")
        with trouble(gateway, ledger):
            for _ in range(2):
                assert await told(gateway.port, HARD) == (503, "ledger_unavailable")
                assert await told(gateway.port, REFUSES) == (503, "ledger_unavailable")
                assert await told(gateway.port, GOES_ON) == (200, "")
            assert script.asked == 5
        for key in (REFUSES, GOES_ON, HARD):
            assert await told(gateway.port, key) == (200, "")
        assert await gateway.stop() == 0
        assert script.asked == 8
    assert {row["state"] for row in rows(tmp_path)} == {"settled"}
    assert len(rows(tmp_path)) == 8
    assert verify(ledger).findings == ()


# Damage while nobody looked.


def _page(ledger: Path) -> None:
    """Flip a byte at the head of each page but the first ones."""
    grown(ledger).close()
    for page in range(3, ledger.stat().st_size // 1024):
        flip(ledger, page * 1024)


def _row(ledger: Path) -> None:
    """Flip a byte of a closed row."""
    grown(ledger).close()
    flip(ledger, ledger.read_bytes().index(b"shop", 20_000))


def _log(ledger: Path) -> None:
    """Flip a byte of the write-ahead log of a process that was killed."""
    kill(grown(ledger))
    flip(log_of(ledger), 32 + 40 * FRAME + 124)


def _tail(ledger: Path) -> None:
    """Cut off the file's end."""
    grown(ledger).close()
    ledger.write_bytes(ledger.read_bytes()[: -3 * 1024])


@dataclass(frozen=True)
class Damage:
    """What happens to the files, what the log says, and what is kept of them."""

    id: str
    do: Callable[[Path], None]
    says: str
    kept: str = ""


DAMAGES = (
    Damage("a page", _page, "THE LEDGER IS DAMAGED", "books.ledger.db.corrupt-*"),
    Damage("a row", _row, "WERE CHANGED after they were closed"),
    Damage("the log", _log, "LOG IS DAMAGED", "*-wal.corrupt-*"),
    Damage("the tail", _tail, "THE LEDGER IS DAMAGED", "books.ledger.db.corrupt-*"),
)


@pytest.mark.parametrize("damage", DAMAGES, ids=[one.id for one in DAMAGES])
async def test_damage_is_told_and_stops_nobody(tmp_path, caplog, damage):
    """A gateway whose ledger was damaged says so, keeps what is left, shows it and serves."""
    damage.do(tmp_path / "books.ledger.db")
    with caplog.at_level(logging.WARNING):
        async with provider(tmp_path) as (file, _, _), gateway_of(file) as gateway:
            assert await told(gateway.port, REFUSES) == (200, "")
            metrics = await shown(gateway.admin)
    assert damage.says in caplog.text
    found = [line for line in metrics if line.startswith("headworks_ledger_damage{")]
    assert sum(float(line.rpartition(" ")[2]) for line in found) >= 1
    assert not damage.kept or list(tmp_path.glob(damage.kept))


async def shown(port: int) -> list[str]:
    """Return the lines of the gateway's metrics."""
    reply = await ask(port, b"GET /metrics HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n")
    return reply.body.decode().splitlines()


# A restart.


async def test_a_restart_forgives_nothing(tmp_path):
    """Who has used up a minute has used it up after a kill too, and is told the same time."""
    log = tmp_path / "log"
    async with provider(tmp_path):
        async with gateway_process(tmp_path, log) as gateway:
            before = [await ask(gateway.port, chat(key=FEW, model="single")) for _ in range(6)]
            gateway.kill()
            await gateway.ended()
        async with gateway_process(tmp_path, log) as gateway:
            after = await ask(gateway.port, chat(key=FEW, model="single"))
            assert await told(gateway.port, REFUSES) == (200, "")
    assert [reply.status for reply in before] == [200] * 5 + [429]
    assert (after.status, after.error["code"]) == (429, "rate_limit_exceeded")
    assert wait(before[-1]) - 30 < wait(after) <= wait(before[-1]) + 1.0
    assert int(after.headers["x-ratelimit-remaining-tokens"]) == 100_000 - 5 * used(before[0])


def wait(reply: Reply) -> float:
    """Return the seconds after which to come back."""
    return int(reply.headers["retry-after-ms"]) / 1000


def used(reply: Reply) -> int:
    """Return the tokens that a call has used."""
    return int(json.loads(reply.body)["usage"]["total_tokens"])
