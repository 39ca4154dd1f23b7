"""Calls that arrive together share a commit; each still knows when its own row is safe."""

import asyncio
import sqlite3
from contextlib import closing

import pytest

from headworks.errors import LedgerUnavailable
from headworks.types import Usage
from tests.stores.books import call, open_ledger, route, rows

pytestmark = pytest.mark.anyio

ROUTE = route()


def states(path) -> list[str]:
    with closing(sqlite3.connect(path)) as reader:
        return [state for (state,) in reader.execute("SELECT state FROM attempts ORDER BY seq")]


async def test_a_row_is_on_disk_when_hold_returns(tmp_path):
    """Whoever waited for the row may send; a reader of the file sees it."""
    with closing(open_ledger(tmp_path / "l.db")) as ledger:
        await asyncio.gather(
            *(ledger.hold(call(f"call_{n}"), ROUTE, Usage(1, 1)) for n in range(9))
        )

        assert states(ledger.path) == ["held"] * 9


async def test_a_settlement_is_on_disk_when_written_returns(tmp_path):
    """Whoever waited for the settlement may send the last byte."""
    with closing(open_ledger(tmp_path / "l.db")) as ledger:
        attempt = await ledger.hold(call("call_1"), ROUTE, Usage(1, 1))
        attempt.settle(Usage(1, 1), "exact", "completed")
        await ledger.written()

        assert states(ledger.path) == ["settled"]
        await ledger.written()  # nothing to wait for


async def test_a_call_cancelled_while_it_waits_leaves_no_open_row(tmp_path):
    """A caller who leaves before its row is committed costs nothing and holds nothing."""
    with closing(open_ledger(tmp_path / "l.db")) as ledger:
        other = await ledger.hold(call("call_0"), ROUTE, Usage(1, 1))
        waiting = asyncio.ensure_future(ledger.hold(call("call_1"), ROUTE, Usage(1, 1)))
        await asyncio.sleep(0)
        assert not waiting.done()
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        await ledger.written()

        assert states(ledger.path) == ["held", "released"]
        assert ledger.statistics().open_holds == 1
        other.release("not_sent")


async def test_a_call_that_is_alone_waits_for_nobody(tmp_path):
    """Where no other call is under way there is no commit to share: the row is written at once."""
    with closing(open_ledger(tmp_path / "l.db")) as ledger:
        for number in range(1, 4):
            turn = asyncio.get_running_loop().create_future()
            asyncio.get_running_loop().call_soon(turn.set_result, None)
            attempt = await ledger.hold(call(f"call_{number}"), ROUTE, Usage(1, 1))
            assert states(ledger.path)[number - 1 :] == ["held"]
            attempt.settle(Usage(1, 1), "exact", "completed")
            await ledger.written()
            assert states(ledger.path) == ["settled"] * number
            assert not turn.done()
            await turn


async def test_calls_that_arrive_together_share_their_commits(tmp_path):
    """All rows but the first one's are one transaction, and so are their settlements."""
    with closing(open_ledger(tmp_path / "l.db")) as ledger:
        log = ledger.path.with_name("l.db-wal")
        alone = log.stat().st_size
        first = await ledger.hold(call("call_0"), ROUTE, Usage(1, 1))
        alone = log.stat().st_size - alone
        grown = log.stat().st_size
        others = await asyncio.gather(
            *(ledger.hold(call(f"call_{n}"), ROUTE, Usage(1, 1)) for n in range(1, 41))
        )
        assert log.stat().st_size - grown < 40 * alone / 2
        seen = []
        for attempt in (first, *others):
            attempt.settle(Usage(1, 1), "exact", "completed")
            seen.append(log.stat().st_size)
        await ledger.written()

        assert len(set(seen)) == 1
        assert states(ledger.path) == ["settled"] * 41


async def test_one_faulty_row_does_not_refuse_the_others(tmp_path):
    """A row that cannot stand in the file is refused alone."""
    with closing(open_ledger(tmp_path / "l.db")) as ledger:
        same = [ledger.hold(call("call_1"), ROUTE, Usage(1, 1)) for _ in range(2)]
        other = ledger.hold(call("call_2"), ROUTE, Usage(1, 1))
        outcomes = await asyncio.gather(*same, other, return_exceptions=True)

        assert [isinstance(outcome, LedgerUnavailable) for outcome in outcomes] == [
            False,
            True,
            False,
        ]
        assert states(ledger.path) == ["held", "held"]


async def test_a_row_that_must_be_rewritten_changes_nothing_beside_it(tmp_path):
    """A name that no file can hold is spelled with a question mark; all else counts once."""
    with closing(open_ledger(tmp_path / "l.db")) as ledger:
        first = await ledger.hold(call("call_0"), ROUTE, Usage(1, 1))
        first.settle(Usage(1, 0), "exact", "completed")
        odd = ledger.hold(call("call_\ud800"), ROUTE, Usage(1, 1))
        same = [ledger.hold(call("call_1"), ROUTE, Usage(1, 1)) for _ in range(2)]
        *held, refused = await asyncio.gather(odd, *same, return_exceptions=True)

        assert isinstance(refused, LedgerUnavailable)
        assert not any(isinstance(hold, BaseException) for hold in held)
        assert [row["call"] for row in rows(ledger.path)] == ["call_0", "call_?", "call_1"]
        assert states(ledger.path) == ["settled", "held", "held"]
        seen = ledger.statistics()
        assert (seen.rows, seen.open_holds, seen.duplicates, seen.failures) == (3, 2, 0, 1)


async def test_a_locked_file_refuses_all_and_forgets_nothing(tmp_path):
    """While the disk fails nothing is spent; what was settled meanwhile is written later."""
    with closing(open_ledger(tmp_path / "l.db")) as ledger:
        attempt = await ledger.hold(call("call_1"), ROUTE, Usage(1, 1))
        with closing(sqlite3.connect(ledger.path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            attempt.settle(Usage(1, 1), "exact", "completed")
            more = [ledger.hold(call(f"call_{n}"), ROUTE, Usage(1, 1)) for n in (2, 3)]
            outcomes = await asyncio.gather(*more, return_exceptions=True)
            other.execute("ROLLBACK")

        assert [type(outcome) for outcome in outcomes] == [LedgerUnavailable] * 2
        assert ledger.statistics().owed == 1
        await ledger.hold(call("call_4"), ROUTE, Usage(1, 1))
        assert states(ledger.path) == ["settled", "held"]
