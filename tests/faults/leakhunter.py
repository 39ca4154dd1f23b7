"""Hunts for words that belong to somebody else, wherever a gateway or an engine puts words.

Fifty tenants call at once, each call with a tag of its own in head and body. The provider says the
tag in every event, lies, fails and dribbles; callers leave at random moments, and tasks are
cancelled at random awaits, once or twice. Then every place where words come out is read: answers,
log lines, the journal, the ledger, the metrics, and what the provider was sent.

    python -m tests.faults.leakhunter --calls 100000
"""

import argparse
import asyncio
import io
import json
import logging
import random
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Iterable
from contextlib import aclosing, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from typing_extensions import override

from headworks.core.intake import read_request
from headworks.errors import CallError
from headworks.observe.exposition import Exposition
from headworks.observe.journal import CallLog
from headworks.types import Secret
from headworks.upstream.http1 import ClientLimits
from tests.faults.liar import LARGE, TAG, Liar
from tests.faults.processes import Gateway, Line, Reply, chat, gateway_of, line_to
from tests.upstream.scripted import serve

SEED = 20261127
TENANTS = 50
LIES = ("same_packet", "flood", "early_hints", "half", "later")
CONFIGURATION = """\
server: {{listen: "127.0.0.1:0", admin: "127.0.0.1:0", drain: 5s}}
store: sqlite:{folder}/books.db
log: {{level: debug}}
retry: {{first: 1ms, longest: 2ms}}
upstreams:
  up:
    base_url: http://127.0.0.1:{port}/v1
    credentials: [{{name: main, api_key: upstream-key-0123456789}}]
    timeouts: {{first_byte: 5s, idle: 5s}}
models:
  assistant: {{routes: [up/gpt-6-sol, up/gpt-6-luna], patience: 0s}}
keys:
"""


def key_of(tenant: int) -> str:
    """Return a tenant's key."""
    return f"tenant-{tenant:02}-0123456789-0123456789"


def write_configuration(folder: Path, port: int) -> Path:
    """Write a configuration with a key for each tenant."""
    keys = (
        f"  - {{name: t{n:02}, secret: {key_of(n)}, project: p{n:02}}}\n" for n in range(TENANTS)
    )
    file = folder / "headworks.yaml"
    file.write_text(CONFIGURATION.format(folder=folder, port=port) + "".join(keys))
    return file


@dataclass(frozen=True, slots=True)
class Leak:
    """Words of one call where only another one's may be."""

    where: str
    of: str
    found: str


@dataclass
class Findings:
    """What the hunt has read, and what it has found."""

    leaks: list[Leak] = field(default_factory=list)
    read: Counter[str] = field(default_factory=Counter)

    def look(self, where: str, text: bytes, own: Iterable[bytes]) -> None:
        """Read a text that may hold its own tags and no others."""
        self.read[where] += 1
        expected = set(own)
        self.leaks += [
            Leak(where, ", ".join(one.decode() for one in expected), found.decode())
            for found in set(TAG.findall(text)) - expected
        ]

    def look_for_one(self, where: str, text: bytes) -> None:
        """Read a text that may hold the tag of one call, whichever."""
        self.look(where, text, TAG.findall(text)[:1])

    def demand(self, where: str, tag: str, *, holds: bool) -> None:
        """Note a leak unless something holds of a tag."""
        self.read[where] += 1
        if not holds:
            self.leaks.append(Leak(where, tag, "something that is not its own"))


class _Lines(logging.Handler):
    """Keeps what the log is told."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []

    @override
    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


@contextmanager
def log_lines() -> Generator[list[str]]:
    """Listen to all that headworks logs, at debug level."""
    logger, lines = logging.getLogger("headworks"), _Lines()
    before = logger.level, logger.propagate
    logger.addHandler(lines)
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    try:
        yield lines.lines
    finally:
        logger.removeHandler(lines)
        logger.setLevel(before[0])
        logger.propagate = before[1]


@dataclass
class Hunt:
    """Calls, and what came of them.

    Attributes:
        calls: By tag, the id of the call where it was told.
        cancelled: How many calls were left or cancelled before their end.
    """

    gateway: Gateway
    chance: random.Random
    left: int
    findings: Findings = field(default_factory=Findings)
    calls: dict[str, str | None] = field(default_factory=dict)
    statuses: Counter[int] = field(default_factory=Counter)
    cancelled: int = 0

    def next_call(self, tenant: int) -> tuple[str, bytes]:
        """Return the tag and the bytes of a tenant's next call."""
        self.left -= 1
        tag = f"t{tenant:02}-{len(self.calls):06}"
        self.calls[tag] = None
        text = tag + (LARGE if self.chance.random() < 0.01 else "")
        content = chat(
            key=key_of(tenant),
            stream=self.chance.random() < 0.5,
            messages=[{"role": "user", "content": text}],
            headers={
                "x-client-request-id": tag,
                "x-headworks-user": tag,
                "x-headworks-feature": tag,
                "x-headworks-session": tag,
                "x-headworks-tags": tag,
            },
        )
        return tag, content

    def judge(self, tag: str, reply: Reply) -> None:
        """Read an answer, head and body, as far as it came."""
        told = reply.body + json.dumps(reply.headers).encode()
        self.findings.look("answer", told, [tag.encode()])
        self.statuses[reply.status] += 1
        if reply.status == 200 and reply.has_ended:
            self.findings.demand("answer says its tag", tag, holds=tag.encode() in reply.body)
        self.calls[tag] = reply.headers.get("x-headworks-call")

    # Over HTTP: callers hang up.

    async def call_over_http(self, tenant: int) -> None:
        """Call on one connection after the other."""
        while self.left > 0:
            async with line_to(self.gateway.port) as line:
                while self.left > 0 and await self._ask(line, tenant):
                    pass

    async def _ask(self, line: Line, tenant: int) -> bool:
        """Make one call; return whether the connection may be used again."""
        tag, content = self.next_call(tenant)
        partial: list[Reply] = []
        line.on_piece = partial.append
        asked = asyncio.ensure_future(line.ask(content))
        if self.chance.random() < 0.25:
            await asyncio.wait((asked,), timeout=self.chance.uniform(0, 0.03))
            if not asked.done():
                asked.cancel()
                self.cancelled += 1
                for reply in partial[-1:]:
                    self.judge(tag, reply)
                return False
        reply = await asked
        self.judge(tag, reply)
        return reply.has_ended and "connection" not in reply.headers

    # In process: tasks are cancelled at any await.

    async def call_in_process(self, tenant: int) -> None:
        """Call the engine, each call in a task of its own."""
        while self.left > 0:
            tag, content = self.next_call(tenant)
            reply = Reply()
            task = asyncio.create_task(self._carry(tenant, content, reply))
            if self.chance.random() < 0.3:
                await self._cancel(task)
            with suppress(asyncio.CancelledError):
                await task
            self.judge(tag, reply)

    async def _cancel(self, task: "asyncio.Task[None]") -> None:
        """Cancel a task after some turns of the loop, now and then a second time."""
        for _ in range(self.chance.randrange(60)):
            await asyncio.sleep(0)
        self.cancelled += task.cancel()
        if self.chance.random() < 0.3:
            await asyncio.sleep(0)
            task.cancel()

    async def _carry(self, tenant: int, content: bytes, reply: Reply) -> None:
        head, _, body = content.partition(b"\r\n\r\n")
        pairs = (line.split(b": ", 1) for line in head.split(b"\r\n")[1:])
        headers = [(name, value) for name, value in pairs]
        request = read_request("POST", "/v1/chat/completions", b"", headers, body)
        engine = self.gateway.assembly.engine
        try:
            async with engine.call(request, Secret(key_of(tenant))) as response:
                await _read(response, reply)
        except CallError as error:
            reply.status, reply.body = error.status, json.dumps(error.body()).encode()
            reply.headers = _decoded(error.headers)
            reply.has_ended = True


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


# Where words come out besides the answers.


def search_sinks(hunt: Hunt, lines: Iterable[str], journal: bytes) -> None:
    """Read log, journal, ledger and metrics."""
    findings = hunt.findings
    for line in lines:
        findings.look_for_one("log", line.encode())
    for line_ in journal.splitlines():
        findings.look_for_one("journal", line_)
        told = json.loads(line_)
        own = told["user"][:3] == told["key"] == f"t{told['project'][1:]}"
        findings.demand("journal knows whose call it is", told["user"], holds=own)
        known = hunt.calls[told["user"]]
        findings.demand("journal names the call", told["user"], holds=known in {None, told["call"]})
    for row in hunt.gateway.rows():
        findings.look_for_one("ledger", json.dumps(row, default=bytes.hex).encode())
        tag = row["user"]
        own = tag[:3] == row["key_name"] == f"t{row['project'][1:]}"
        findings.demand("ledger knows whose call it is", tag, holds=own)
        findings.demand("ledger names the call", tag, holds=hunt.calls[tag] in {None, row["call"]})
    findings.look("metrics", Exposition(hunt.gateway.assembly.metrics).render(), ())


@asynccontextmanager
async def hunting_ground(
    folder: Path, liar: Liar, seed: int
) -> AsyncGenerator[tuple[Hunt, Callable[[], None]]]:
    """Run a gateway before a liar; yield a hunt, and what ends it by searching the sinks."""
    stream = io.BytesIO()
    journal = CallLog(stream)
    with log_lines() as lines:
        async with serve(liar) as server:
            file = write_configuration(folder, server.port)
            async with gateway_of(file, journal) as gateway:
                client = gateway.assembly.clients["up"]
                client._limits = ClientLimits(quiet_seconds=0, distrust_seconds=0)
                hunt = Hunt(gateway, random.Random(seed), 0)

                def search() -> None:
                    journal.flush()
                    search_sinks(hunt, lines, stream.getvalue())
                    for tag, others in liar.mixed:
                        hunt.findings.leaks.append(Leak("sent", tag.decode(), str(others)))

                yield hunt, search


def honest_liar(seed: int, **more: Any) -> Liar:
    """Return a provider that lies in every way that a client can see through."""
    chance = random.Random(seed + 1)
    return Liar(chance, 0.05, LIES, answers_early=True, dribbles=True, failures=0.08, **more)


async def hunt(folder: Path, calls: int, *, seed: int = SEED, **more: Any) -> Hunt:
    """Make half of the calls over HTTP and half in process; return what was found."""
    async with hunting_ground(folder, honest_liar(seed, **more), seed) as (found, search):
        ways: list[Callable[[int], Coroutine[Any, Any, None]]]
        ways = [found.call_over_http, found.call_in_process]
        for way in ways:
            found.left = calls // len(ways)
            await asyncio.gather(*(way(tenant) for tenant in range(TENANTS)))
        search()
    return found


def main() -> None:
    """Hunt for as many calls as asked, and say what was found."""
    asked = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    asked.add_argument("--calls", type=int, default=100_000)
    asked.add_argument("--seed", type=int, default=SEED)
    options = asked.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = asyncio.run(hunt(Path(folder), options.calls, seed=options.seed))
    sys.stdout.write(
        f"seed {options.seed}: {len(found.calls)} calls, {found.cancelled} cancelled, "
        f"{dict(found.statuses)}, read {dict(found.findings.read)}, "
        f"{len(found.findings.leaks)} leaks\n"
    )
    for leak in found.findings.leaks[:20]:
        sys.stdout.write(f"  {leak}\n")
    sys.exit(bool(found.findings.leaks))


if __name__ == "__main__":
    main()
