"""A process that books calls and says what it was told is on disk: `python -m tests.faults.payers`.

Each line it prints is an acknowledgement: `held CALL`, `settled CALL COST` or `refused CALL`. Every
second caller goes on while the ledger cannot be written.
"""

import asyncio
import os
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from headworks.errors import LedgerUnavailable
from headworks.stores.ledger import SqliteLedger
from headworks.stores.ledger_durable import DurableLedger
from headworks.testing import FakeClock
from headworks.types import Usage
from tests.stores.books import Book, call, route

CALLERS = 8
KINDS = {"normal": SqliteLedger, "full": DurableLedger}


def say(*words: object) -> None:
    """Print a line, whole and at once."""
    os.write(1, f"{' '.join(map(str, words))}\n".encode())


async def pay(ledger: SqliteLedger, caller: int, calls: int) -> None:
    """Make one call after the other."""
    for number in range(calls):
        one = call(f"{caller}-{number}")
        if caller % 2 and one.caller:
            one.caller = replace(one.caller, on_ledger_failure="continue")
        try:
            attempt = await ledger.hold(one, route(), Usage(number, 1))
        except LedgerUnavailable:
            say("refused", one.id)
            continue
        say("held", one.id)
        cost = attempt.settle(Usage(number, 0), "exact", "completed")
        await ledger.written()
        say("settled", one.id, cost)


async def main(path: Path, durability: str, calls: int) -> None:
    """Let all callers make so many calls each."""
    with closing(KINDS[durability](path, Book(), FakeClock())) as ledger:
        await asyncio.gather(*(pay(ledger, caller, calls) for caller in range(CALLERS)))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
