"""Hunts for words that belong to somebody else in a hundred thousand calls, where no time passes.

The engine is whole, with its ledger, journal, keys and HTTP client; the connections are those of a
network in memory. So a call can be given up at any turn of the loop, and all of it is repeatable.

    python -m tests.faults.leakswarm --calls 1000000 --seed 5
"""

import asyncio
import gc
import json
import math
import sqlite3
import tempfile
from collections.abc import Callable, Generator, Iterable
from contextlib import aclosing, closing, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from typing_extensions import override

from headworks import build
from headworks.build import Assembly
from headworks.config.loading import load
from headworks.core.intake import new_form, read_request
from headworks.errors import CallError
from headworks.observe.exposition import Exposition
from headworks.observe.journal import CallLog
from headworks.stores.ledger import SqliteLedger
from headworks.stores.ledger_schema import connect_read_only, ledger_path
from headworks.testing import SeededRandom
from headworks.types import Request, Secret, Upload
from headworks.uploads import PassingUpload, Room
from tests.faults.leakasks import TENANTS, Ask, Crowd, write_configuration
from tests.faults.leakfindings import Findings, Leak, log_lines
from tests.faults.leakhunter import SEED, TRUSTING, options, tell
from tests.faults.leaktongue import Tongue, honest
from tests.faults.processes import Reply
from tests.faults.simworld.clockwork import LoopClock, VirtualLoop
from tests.faults.simworld.ends import End
from tests.faults.simworld.network import Line, Network, Place, Weather
from tests.faults.simworld.providers import tokenizer
from tests.upstream.scripted import Wire

LANES = 2
"""Calls that each tenant makes at the same time."""
_LATENCY = 0.001
_MEMORY = Path("/dev/shm")  # noqa: S108 - a private folder is made in it
_ROOM = Room()


class Ticking(VirtualLoop):
    """A loop whose time goes in ticks, so that many things happen at the same moment."""

    @override
    def call_at(self, when: float, *arguments: Any, **options: Any) -> Any:  # type: ignore[override] # handed on
        tick = math.ceil(when / _LATENCY) * _LATENCY
        return super().call_at(tick, *arguments, **options)


@dataclass
class Whisper(Tongue):
    """A liar on lines in memory."""

    @override
    async def speak(self, wire: Wire, tag: bytes, lie: str) -> None:
        """Let bytes that nobody asked for arrive behind the answer, unless the next request is under way."""
        end = wire.writer.transport
        assert isinstance(end, End)
        line = end.line
        assert isinstance(line, Line)
        while (line._ways[end].items or end._buffer) and not end.is_closing():  # noqa: ASYNC110 - there is no event
            await asyncio.sleep(_LATENCY)
        asked = wire.reader._buffer  # type: ignore[attr-defined] # no public name tells
        is_asked = line._ways[end.peer].items or end._received or asked
        if not is_asked and not end.is_closing():
            self.lies[lie] += 1
            end.peer.arrive("data", self.surplus(tag))


@dataclass
class Swarm:
    """Callers in the engine's own process, whose tasks are cancelled at any await."""

    assembly: Assembly
    crowd: Crowd

    async def call(self, tenant: int) -> None:
        """Make one call after the other, each in a task of its own."""
        crowd, chance = self.crowd, self.crowd.chance
        while crowd.left > 0:
            ask, reply = crowd.next_ask(tenant), Reply()
            task = asyncio.create_task(self._carry(ask, reply))
            if chance.random() < 0.2:
                await self._cancel(task)
            with suppress(asyncio.CancelledError):
                await task
            crowd.judge(ask, reply)

    async def _cancel(self, task: "asyncio.Task[None]") -> None:
        """Cancel a task after some time and some turns of the loop, now and then a second time."""
        chance = self.crowd.chance
        if chance.random() < 0.5:
            await asyncio.wait((task,), timeout=chance.uniform(0, 0.004))
        for _ in range(chance.randrange(20)):
            await asyncio.sleep(0)
        self.crowd.cancelled += task.cancel()
        if chance.random() < 0.3:
            await asyncio.sleep(0)
            task.cancel()

    async def _carry(self, ask: Ask, reply: Reply) -> None:
        upload: Upload | None = None
        try:
            request = _request(ask)
            upload = request.upload
            async with self.assembly.engine.call(request, Secret(ask.key)) as response:
                await _read(response, reply)
        except CallError as error:
            reply.status, reply.body = error.status, json.dumps(error.body()).encode()
            reply.headers, reply.has_ended = _decoded(error.headers), True
        except Exception as error:  # noqa: BLE001 - told at the end, as a leak is
            self.crowd.unforeseen.append(f"{ask.tag} {error!r}")
        finally:
            if upload is not None:
                upload.close()


def _request(ask: Ask) -> Request:
    """Return what the gateway would make of a call; of one in chunks, an upload that passes."""
    if not ask.is_chunked:
        return read_request("POST", ask.path, b"", ask.headers, ask.body)
    left = [ask.body[100:], b""]

    async def more() -> bytes:
        await asyncio.sleep(0)
        return left.pop(0)

    form = new_form(ask.path, dict(ask.headers))
    upload = PassingUpload(ask.body[:100], more, _ROOM, most=1_000_000, form=form)
    return read_request("POST", ask.path, b"", ask.headers, upload)


async def _read(response: Any, reply: Reply) -> None:
    reply.status, reply.headers = response.status, _decoded(response.headers)
    if isinstance(response.content, bytes):
        reply.body = response.content
    else:
        async with aclosing(response.content) as chunks:
            async for chunk in chunks:
                reply.body += chunk
    reply.has_ended = True


def _decoded(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    return {name.decode(): value.decode("latin-1") for name, value in headers}


@contextmanager
def _without_threads() -> Generator[None]:
    """Take from the ledger the thread that shortens its log; vocabularies are loaded once."""
    stand_ins: dict[str, Any] = {
        "SqliteLedger": partial(SqliteLedger, checkpointing=False),
        "Tokenizer": tokenizer,
    }
    real = {name: getattr(build, name) for name in stand_ins}
    try:
        for name, stand_in in stand_ins.items():
            setattr(build, name, stand_in)
        yield
    finally:
        for name, one in real.items():
            setattr(build, name, one)


async def _live(
    loop: VirtualLoop, folder: Path, tongue: Tongue, calls: int, plant: Callable[[Assembly], None]
) -> Crowd:
    """Make the calls, and search what they left."""
    findings, place = Findings(), Place("127.0.0.1")
    network = Network(loop, 1, lambda *_: None, lambda _: Weather(latency=_LATENCY))
    await loop.create_server(partial(_listen, loop, tongue), sock=place)
    journal = CallLog(findings)
    config = load(write_configuration(folder, 80), {})
    with log_lines() as lines, _without_threads():
        assembly = Assembly(
            config, journals=(journal,), clock=LoopClock(loop), random=SeededRandom(SEED)
        )
        assembly.clients["up"]._limits = TRUSTING
        crowd = Crowd(tongue.chance, assembly.keys.mint, calls, findings)
        tongue.owned = crowd.owned
        plant(assembly)
        swarm = Swarm(assembly, crowd)
        await asyncio.gather(*(swarm.call(lane % TENANTS) for lane in range(LANES * TENANTS)))
        await asyncio.sleep(1.0)
        assembly.ledger.flush()
        journal.flush()
        for line in lines:
            findings.look_for_one("log", line.encode())
        findings.look("metrics", Exposition(assembly.metrics).render(), ())
        with closing(connect_read_only(ledger_path(config.store))) as db:
            db.row_factory = sqlite3.Row
            findings.search_ledger(dict(row) for row in db.execute("SELECT * FROM attempts"))
        findings.leaks += [Leak("sent", tag.decode(), str(others)) for tag, others in tongue.mixed]
        crowd.seen["on used connections"] = assembly.clients["up"].statistics().reused_total
        assembly.idempotency._close()  # its thread was this one
        await assembly.aclose()
    for end in network.open_ends():
        end.abort()
    await asyncio.sleep(1.0)
    crowd.seen.update(tongue.lies)
    return crowd


def _listen(loop: VirtualLoop, tongue: Tongue) -> asyncio.StreamReaderProtocol:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(asyncio.IncompleteReadError, ConnectionError, ValueError):
                await tongue(Wire(reader, writer))
        finally:
            writer.transport.abort()

    reader = asyncio.StreamReader(loop=loop)
    return asyncio.StreamReaderProtocol(reader, answer, loop=loop)


def swarm(
    calls: int,
    *,
    seed: int = SEED,
    plant: Callable[[Assembly], None] = lambda _: None,
    **more: Any,
) -> Crowd:
    """Make the calls; return what was found. `plant` puts a leak into the product first."""
    loop = Ticking()
    loop.ends_at = math.inf
    where = _MEMORY if _MEMORY.is_dir() else None
    with tempfile.TemporaryDirectory(dir=where) as folder:
        try:
            work = _live(loop, Path(folder), honest(Whisper, seed, **more), calls, plant)
            return loop.run_until_complete(work)
        finally:
            while tasks := asyncio.all_tasks(loop):
                for task in tasks:
                    task.cancel()
                loop.run_until_complete(asyncio.wait(tasks))
            loop.close()


def main() -> None:
    """Hunt for as many calls as asked, and say what was found."""
    asked = options(100_000)
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000)
    tell(swarm(asked.calls, seed=asked.seed), asked.seed)


if __name__ == "__main__":
    main()
