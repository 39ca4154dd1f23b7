"""Hunts for words that belong to somebody else, wherever a gateway puts words, over real sockets.

Fifty tenants call at once, each call with a tag of its own in head and body. The provider says the
tag in every event, lies, fails and dribbles; callers hang up at random moments. Then every place
where words come out is read: answers, log lines, the journal, the ledger, the metrics, and what the
provider was sent. `leakswarm` does the same a hundred thousand times without sockets.

    python -m tests.faults.leakhunter --calls 10000
"""

import argparse
import asyncio
import random
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from headworks.observe.exposition import Exposition
from headworks.observe.journal import CallLog
from headworks.upstream.http1 import ClientLimits
from tests.faults.leakasks import TENANTS, Crowd, write_configuration
from tests.faults.leakfindings import Findings, Leak, log_lines
from tests.faults.leaktongue import Tongue, honest
from tests.faults.processes import Gateway, Line, Reply, gateway_of, line_to
from tests.upstream.scripted import serve

SEED = 20261127


class Hunt:
    """Callers on connections, who hang up."""

    def __init__(self, gateway: Gateway, crowd: Crowd) -> None:
        self.gateway, self.crowd = gateway, crowd

    async def call(self, tenant: int) -> None:
        """Call on one connection after the other."""
        while self.crowd.left > 0:
            async with line_to(self.gateway.port) as line:
                while self.crowd.left > 0 and await self._ask(line, tenant):
                    pass

    async def _ask(self, line: Line, tenant: int) -> bool:
        """Make one call; return whether the connection may be used again."""
        crowd = self.crowd
        ask = crowd.next_ask(tenant)
        partial: list[Reply] = []
        line.on_piece = partial.append
        asked = asyncio.ensure_future(line.ask(ask.bytes()))
        if crowd.chance.random() < 0.25:
            await asyncio.wait((asked,), timeout=crowd.chance.uniform(0, 0.03))
            if not asked.done():
                asked.cancel()
                crowd.cancelled += 1
                for reply in partial[-1:]:
                    crowd.judge(ask, reply)
                return False
        reply = await asked
        crowd.judge(ask, reply)
        return reply.has_ended and "connection" not in reply.headers


def search(
    findings: Findings, journal: CallLog, lines: list[str], gateway: Gateway, tongue: Tongue
) -> None:
    """Read whatever is left to read when all calls have ended."""
    journal.flush()
    for line in lines:
        findings.look_for_one("log", line.encode())
    findings.search_ledger(gateway.rows())
    findings.look("metrics", Exposition(gateway.assembly.metrics).render(), ())
    findings.leaks += [Leak("sent", tag.decode(), str(others)) for tag, others in tongue.mixed]


@asynccontextmanager
async def hunting_ground(
    folder: Path, tongue: Tongue, seed: int
) -> AsyncGenerator[tuple[Hunt, Callable[[], None]]]:
    """Run a gateway before a liar; yield a hunt, and what ends it by searching the sinks."""
    findings = Findings()
    journal = CallLog(findings)
    with log_lines() as lines:
        async with serve(tongue) as server:
            file = write_configuration(folder, server.port)
            async with gateway_of(file, journal) as gateway:
                gateway.assembly.clients["up"]._limits = TRUSTING
                crowd = Crowd(random.Random(seed), gateway.assembly.keys.mint, findings=findings)
                tongue.owned = crowd.owned
                yield (
                    Hunt(gateway, crowd),
                    lambda: search(findings, journal, lines, gateway, tongue),
                )


TRUSTING = ClientLimits(quiet_seconds=0, distrust_seconds=0)
"""No caution but hygiene: connections neither rest nor are they distrusted."""


async def hunt(folder: Path, calls: int, *, seed: int = SEED, **more: Any) -> Crowd:
    """Make the calls; return what was found."""
    async with hunting_ground(folder, honest(Tongue, seed, **more), seed) as (found, end):
        found.crowd.left = calls
        await asyncio.gather(*(found.call(tenant) for tenant in range(TENANTS)))
        end()
    return found.crowd


def tell(crowd: Crowd, seed: int) -> None:
    """Say what was found, and leave with 1 if anything was."""
    findings = crowd.findings
    sys.stdout.write(
        f"seed {seed}: {len(findings.calls)} calls, {time.process_time():.0f} s of CPU, "
        f"{crowd.cancelled} cancelled, "
        f"{dict(crowd.statuses)}, seen {dict(crowd.seen)}, read {dict(findings.read)}, "
        f"{len(findings.leaks)} leaks\n"
    )
    for leak in findings.leaks[:20]:
        sys.stdout.write(f"  {leak}\n")
    for error in crowd.unforeseen[:20]:
        sys.stdout.write(f"  unforeseen: {error}\n")
    sys.exit(bool(findings.leaks or crowd.unforeseen))


def options(calls: int) -> argparse.Namespace:
    """Return what the command line asks for."""
    asked = argparse.ArgumentParser()
    asked.add_argument("--calls", type=int, default=calls)
    asked.add_argument("--seed", type=int, default=SEED)
    return asked.parse_args()


def main() -> None:
    """Hunt for as many calls as asked, and say what was found."""
    asked = options(10_000)
    with tempfile.TemporaryDirectory() as folder:
        tell(asyncio.run(hunt(Path(folder), asked.calls, seed=asked.seed)), asked.seed)


if __name__ == "__main__":
    main()
