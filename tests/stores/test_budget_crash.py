"""The promise of budgets across kill -9: what they say was spent is what the ledger says."""

import random
import subprocess
import sys
from pathlib import Path

from headworks.core.budget import ORGANISATION, Budget, Owner
from headworks.stores.verify import verify
from tests.stores.books import rows
from tests.stores.purses import purse, usd

WRITER = """
import asyncio, os, sys
from pathlib import Path
from headworks.core.budget import BudgetExceeded
from headworks.types import Caller
from tests.stores.books import route
from tests.stores.purses import asked, purse, tokens
from tests.stores.test_budget_crash import BUDGETS

run = sys.argv[2]

def tell(*words):
    os.write(1, " ".join(map(str, words)).encode() + b"\\n")

async def client(bag, name):
    number = 0
    while True:
        number += 1
        caller = Caller(name, f"key_{name}", "shop")
        call = asked(f"{run}-{name}-{number}", caller=caller, max_completion_tokens=20)
        try:
            held = await bag.paying.hold(call, route(), tokens(0.0001))
        except BudgetExceeded:
            tell("refused", call.id, 0)
            return
        tell("held", call.id, 0)
        await asyncio.sleep(0)
        if number % 7:
            cost = held.settle(tokens(0.0001), "exact", "completed")
            await bag.paying.written()
            tell("settled", call.id, cost)

async def main():
    with purse(Path(sys.argv[1]), BUDGETS) as bag:
        await asyncio.gather(*(client(bag, name) for name in ("web", "app", "job")))
        await asyncio.Event().wait()

asyncio.run(main())
"""
KILLS = 8
LIMIT = usd(0.6)
KEY = Owner("key", "web")
PROJECT = Owner("project", "shop")
BUDGETS = {
    ORGANISATION: Budget(LIMIT, "month", is_strict=True),
    PROJECT: Budget(usd(100), "day"),
    KEY: Budget(usd(100), "total", is_hard=False),
}


def struck(folder: Path, run: int, lines: int) -> list[tuple[str, str, int]]:
    """Run a writer until it has said so many lines, or that it was refused; kill it."""
    words = [sys.executable, "-c", WRITER, str(folder), str(run)]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        said = []
        for _ in range(lines):
            said.append(process.stdout.readline())
            if said[-1].startswith(b"refused"):
                break
        process.kill()
        said += process.stdout.read().splitlines(keepends=True)
    told = [line.decode().split() for line in said if line.endswith(b"\n")]
    return [(kind, name, int(cost)) for kind, name, cost in told]


def test_eight_kills_leave_budgets_as_the_ledger_has_them(tmp_path: Path):
    """Each start begins with the ledger's sums, to the nano-dollar; nobody has more to spend by it."""
    chance = random.Random(20261123)
    told: list[tuple[str, str, int]] = []
    before = 0
    for run in range(KILLS):
        told += struck(tmp_path, run, chance.randrange(1, 900))

        with purse(tmp_path, BUDGETS) as bag:
            booked = rows(bag.ledger.path, "call, cost_nano")
            cost = {row["call"]: row["cost_nano"] for row in booked}
            spent = sum(cost.values())
            assert bag.account().tally.spent == spent <= LIMIT
            assert bag.account(*PROJECT).tally.spent == spent
            assert bag.account(*KEY).tally.spent == sum(
                amount for name, amount in cost.items() if "-web-" in name
            )
            assert [one.tally.held for one in bag.budgets.named()] == [0, 0, 0]
            assert bag.ledger.statistics().open_holds == 0
        assert spent >= before
        before = spent
        assert {
            name: paid for kind, name, paid in told if kind == "settled"
        }.items() <= cost.items()
        assert [name for kind, name, _ in told if kind == "held" and name not in cost] == []

    assert sum(kind == "held" for kind, _, _ in told) > KILLS
    assert verify(tmp_path / "h.ledger.db").is_sound
