"""kill -9 of a busy gateway: what a caller has received to its end is on disk, once."""

import asyncio
import json
import random
from dataclasses import replace
from pathlib import Path

import pytest

from headworks.stores.ledger_schema import ledger_path
from headworks.stores.verify import verify
from tests.faults.failpoints import Failpoint, install
from tests.faults.killloop import judged, kill_loop, strike
from tests.faults.processes import command, configuration, gateway_process, rows
from tests.faults.verdicts import assert_closed, assert_received_is_booked
from tests.faults.witnesses import SEED, Crowd, provider

pytestmark = pytest.mark.anyio

KILLS = 30
"""Kills of gateways that were started as users start them."""
MORE = 8
"""Random kills of gateways that a nursery began."""

_LEDGER = "headworks.stores.ledger:SqliteLedger"
_WRITER = "headworks.stores.ledger_writer:LedgerWriter"
_FILE = "headworks.stores.ledger_file:LedgerFile"
_ROW = "headworks.stores.ledger:Attempt"
_SEND = "headworks.dispatch:Dispatcher"
_HTTP = "headworks.upstream.connection:Connection"
_ANSWER = "headworks.answer:Answer"
_WIRE = "headworks.gateway.exchange:Exchange"

FAILPOINTS = [
    # The first start of all, on an empty folder.
    Failpoint("headworks.stores.pepper:_create", "before", during="start"),
    Failpoint("headworks.stores.pepper:_create", "after", during="start"),
    Failpoint("headworks.stores.ledger_file:migrate", "before", during="start"),
    Failpoint("headworks.stores.ledger_file:migrate", "after", during="start"),
    Failpoint(f"{_FILE}._prepare", "after", during="start"),
    # Holding: before, in the middle of and after the commit.
    Failpoint(f"{_LEDGER}._prepared", "after", hit=21),
    Failpoint(f"{_LEDGER}.hold", "before", hit=13),
    Failpoint(f"{_LEDGER}.hold", "after", hit=34),
    Failpoint(f"{_LEDGER}._flush", "before", hit=25),
    Failpoint(f"{_WRITER}.commit", "before", hit=28),
    Failpoint(f"{_WRITER}._transact", "after", hit=2),
    Failpoint(f"{_WRITER}._transact", "after", hit=31),
    Failpoint(f"{_WRITER}._transact", "after", hit=60),
    Failpoint(f"{_WRITER}.commit", "after", hit=1),
    Failpoint(f"{_WRITER}.commit", "after", hit=36),
    Failpoint(f"{_LEDGER}._flush", "after", hit=30),
    # A start that finds open rows, over and over.
    Failpoint("headworks.stores.ledger_file:check_structure", "after", during="start"),
    Failpoint("headworks.stores.ledger_file:settle_open", "before", during="start"),
    Failpoint("headworks.stores.ledger_file:settle_open", "after", during="start"),
    # Sending: the request, its head, its events.
    Failpoint(f"{_SEND}._send_once", "before", hit=17),
    Failpoint("headworks.upstream.openai:Providers.send", "before", hit=22),
    Failpoint(f"{_HTTP}.begin", "before", hit=19),
    Failpoint(f"{_HTTP}.begin", "after", hit=27),
    Failpoint("headworks.upstream.openai:Providers.send", "after", hit=29),
    Failpoint("headworks.upstream.pool:Pool.release", "after", hit=24),
    Failpoint(f"{_ANSWER}.open", "before", hit=18),
    Failpoint(f"{_ANSWER}.open", "after", hit=33),
    Failpoint(f"{_ANSWER}.events", "after", hit=60),
    Failpoint(f"{_SEND}._send_once", "after", hit=26),
    # Between two attempts.
    Failpoint("headworks.dispatch:book_failure", "before", hit=3),
    Failpoint("headworks.dispatch:book_failure", "after", hit=2),
    Failpoint(f"{_SEND}._wait", "before", hit=2),
    Failpoint(f"{_SEND}._wait", "after", hit=2),
    # Settling: enqueued, on its way to the disk, on disk.
    Failpoint(f"{_ANSWER}.settle", "before", hit=21),
    Failpoint(f"{_ROW}.settle", "before", hit=31),
    Failpoint(f"{_ROW}.settle", "after", hit=23),
    Failpoint(f"{_LEDGER}.close_row", "after", hit=41),
    Failpoint(f"{_LEDGER}.written", "before", hit=19),
    Failpoint(f"{_LEDGER}.written", "after", hit=28),
    Failpoint(f"{_ANSWER}.settle", "after", hit=32),
    Failpoint("headworks.stores.checkpoint:Checkpointer.round", "before", hit=2),
    Failpoint("headworks.stores.checkpoint:Checkpointer.round", "after", hit=2),
    # Telling the caller: its head, its body, its end, the journal.
    Failpoint("headworks.relay:Relay.relay", "after", hit=25),
    Failpoint(f"{_WIRE}._start", "after", hit=30),
    Failpoint(f"{_WIRE}._send_body", "before", hit=60),
    Failpoint(f"{_WIRE}._send_body", "after", hit=75),
    Failpoint(f"{_ANSWER}.aclose", "before", hit=37),
    Failpoint(f"{_ANSWER}.aclose", "after", hit=35),
    Failpoint("headworks.observe.journal:Journals.record", "before", hit=42),
    Failpoint("headworks.observe.journal:Journals.record", "after", hit=36),
    # A reload, and an orderly end that does not come to its end.
    Failpoint("headworks.build:Assembly._adopt", "before", hit=2, during="reload"),
    Failpoint("headworks.build:Assembly.reload", "after", during="reload"),
    Failpoint("headworks.gateway.listener:Listener.drain", "after", during="stop"),
    Failpoint("headworks.build:Assembly.aclose", "before", during="stop"),
    Failpoint(f"{_LEDGER}.close", "before", during="stop"),
    Failpoint(f"{_FILE}.close", "before", during="stop"),
    Failpoint(f"{_FILE}.close", "after", during="stop"),
]


@pytest.mark.timeout(180)
async def test_killed_at_every_failpoint(tmp_path, figure):
    """Wherever a gateway dies between a call's first line and its last, nothing is lost or doubled."""
    loop = asyncio.get_running_loop()
    begun = loop.time()
    outcome = await kill_loop(tmp_path, FAILPOINTS, MORE)

    assert outcome.never == ()
    assert outcome.kills == len(FAILPOINTS) + MORE
    assert outcome.received > 10 * len(FAILPOINTS)
    assert outcome.recovered > len(FAILPOINTS)
    assert outcome.exact > outcome.received / 2
    assert len(set(map(str, FAILPOINTS))) == len(FAILPOINTS) >= 30
    figure(f"failpoints: seed {SEED}, {outcome}, in {loop.time() - begun:.1f} s")


async def test_killed_as_users_run_it(tmp_path, figure):
    """The same for `headworks serve` as users start it, killed from outside at random moments."""
    chance, crowd = random.Random(SEED), Crowd()
    starts: list[float] = []
    log, ledger = tmp_path / "log", ledger_path(tmp_path / "books.db")
    async with provider() as upstream:
        configuration(tmp_path, upstream.port)
        for kill in range(KILLS):
            async with gateway_process(tmp_path, log) as gateway:
                starts.append(gateway.seconds)
                if kill:
                    assert_closed(rows(tmp_path))
                await strike(gateway.kill, gateway.port, crowd, str(kill), chance)
            assert_received_is_booked(crowd.told, rows(tmp_path))
            assert verify(ledger).findings == ()
        async with gateway_process(tmp_path, log) as gateway:
            assert await gateway.stop() == 0
        await asyncio.to_thread(upstream.simulator.books.wait_settled, 5)
    verified = await command(tmp_path, "ledger", "verify", "--json", log=log)
    printed, _ = await verified.communicate()

    outcome = replace(judged(crowd.told, upstream, rows(tmp_path)), kills=KILLS)
    assert verified.returncode == 0, printed
    assert json.loads(printed)["findings"] == []
    assert outcome.received > 5 * KILLS
    assert outcome.recovered > KILLS
    figure(f"kill -9: seed {SEED}, {outcome}")
    figure(
        f"start of a gateway: {sorted(starts)[KILLS // 2]:.2f} s median, {max(starts):.2f} at most"
    )


async def test_a_failpoint_that_is_never_reached(tmp_path):
    """A failpoint that traffic does not lead to is told, so that none is there in vain."""
    point = Failpoint(f"{_SEND}._send_once", hit=1_000_000)
    outcome = await kill_loop(tmp_path, [point], 0, patience=0.3)

    assert outcome.never == (str(point),)


def test_a_failpoint_that_is_nowhere():
    """A failpoint whose function is gone is an error, not a test that passes."""
    with pytest.raises(AttributeError):
        install(Failpoint("headworks.dispatch:Dispatcher.no_such"), Path("unused"))
