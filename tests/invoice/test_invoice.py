"""Over a run in which everything goes wrong, the ledger says what the provider bills."""

import asyncio
import random
from collections import Counter

import pytest

from headworks.simulator import running
from headworks.stores.ledger_schema import ledger_path
from headworks.stores.verify import verify
from tests.faults.processes import gateway_process, rows
from tests.invoice.judge import judge
from tests.invoice.stage import configure, gateway_before, practice
from tests.invoice.traffic import Crowd, calm, mixed

pytestmark = pytest.mark.anyio

CALLS, KILLED = 600, 150
KILLS = 3
MOST_ABOVE = 10.0
"""Per cent by which estimates may be above the invoice, in sum."""
SEED = 7
USUAL = {
    *("completed", "abandoned", "superseded", "drained", "server_error"),
    *("upstream_stream_truncated", "upstream_malformed_event", "upstream_malformed_response"),
    "upstream_connection_lost",
}
"""What at least comes to pass in a run."""


@pytest.mark.timeout(180)
async def test_every_line_has_its_row(tmp_path, figure):
    """Retries, fallbacks, hedges, broken answers, absurd usage, callers who leave: no cent is lost."""
    crowd, first = Crowd(), calm("first")
    with running(practice(SEED)) as provider:
        async with gateway_before(provider, tmp_path) as gateway:
            await crowd.call(gateway.port, first)
            await crowd.call(gateway.port, mixed("call", CALLS, random.Random(SEED)))
        assert await asyncio.to_thread(provider.wait_settled)
        booked, billed = gateway.rows(), provider.attempts()
    verdict = judge(booked, billed)
    figure(f"mixed: {CALLS + len(first)} calls, {verdict}")

    assert verdict.findings == []
    assert verdict.above("estimated") <= MOST_ABOVE
    assert verdict.lines > CALLS
    assert verdict.rows["exact"] > verdict.lines * 0.7
    assert verdict.rows["estimated"] > CALLS / 20
    assert {row["outcome"] for row in booked} >= USUAL
    assert len({row["tier"] for row in booked}) == 3
    assert any(row["cached"] for row in booked)
    assert any(row["reasoning"] for row in booked)


@pytest.mark.timeout(180)
async def test_every_line_has_its_row_though_the_gateway_is_killed(tmp_path, figure):
    """A kill -9 in the middle of all this, over and over: the rows that stood open are flagged."""
    chance, crowd, log = random.Random(SEED), Crowd(), tmp_path / "log"
    with running(practice(SEED)) as provider:
        configure(tmp_path, provider)
        for kill in range(KILLS):
            async with gateway_process(tmp_path, log) as gateway:
                await crowd.call(gateway.port, calm(f"kill{kill}"))
                crowd.heard = _after(chance.randrange(20, KILLED // 2), gateway.kill)
                await crowd.call(gateway.port, mixed(f"kill{kill}", KILLED, chance))
                await gateway.ended()
        async with gateway_process(tmp_path, log) as gateway:
            crowd.heard = _nothing
            await crowd.call(gateway.port, calm("last"))
            await crowd.call(gateway.port, mixed("last", KILLED, chance))
            assert await gateway.stop() == 0
        assert await asyncio.to_thread(provider.wait_settled)
        booked, billed = rows(tmp_path), provider.attempts()
    verdict, outcomes = judge(booked, billed), Counter(row["outcome"] for row in booked)
    figure(f"{KILLS} x kill -9: {len(booked)} rows, {outcomes['recovered']} recovered, {verdict}")

    assert verdict.findings == []
    assert verdict.above("estimated") <= MOST_ABOVE
    assert verify(ledger_path(tmp_path / "books.db")).findings == ()
    assert outcomes["recovered"] >= KILLS
    assert {row["certainty"] for row in booked if row["outcome"] == "recovered"} == {"unknown"}
    assert verdict.rows["exact"] > verdict.lines / 2


def _after(ends, kill):
    """Return what kills when so many replies have come to their end."""
    left = iter(range(ends))
    return lambda: None if next(left, None) is not None else kill()


def _nothing():
    pass
