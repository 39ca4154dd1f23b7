"""The promises of the fakes that headworks ships."""

import asyncio

import pytest

from headworks.errors import ConnectionLost, LedgerUnavailable, MalformedResponse, Unauthenticated
from headworks.ports import Clock, Hold, Journal, Keys, Ledger, Random, Upstream, UpstreamResponse
from headworks.testing import (
    EVENTS,
    WHOLE,
    FakeClock,
    FakeResponse,
    FakeUpstream,
    MemoryKeys,
    MemoryLedger,
    RecordingJournal,
    SeededRandom,
)
from headworks.types import Call, Caller, Request, Route, Secret, Usage

pytestmark = pytest.mark.anyio

ROUTE = Route("openai", "m", "main")
CALL = Call("call-1", Request("POST", "/v1/chat/completions"), 0.0, 0.0, attempts=1)


async def test_the_fakes_keep_the_ports():
    """A type checker agrees that each fake can stand where the engine needs the real thing."""
    ports: tuple[Clock, Random, Upstream, UpstreamResponse, Keys, Ledger, Journal] = (
        FakeClock(),
        SeededRandom(),
        FakeUpstream(),
        FakeResponse(),
        MemoryKeys(),
        MemoryLedger(),
        RecordingJournal(),
    )
    hold: Hold = await MemoryLedger().hold(CALL, ROUTE, Usage())

    assert hold.is_open
    assert len(ports) == 7


async def test_sleeping_takes_no_real_time():
    """A sleep moves the clock and nothing else; both clocks move together."""
    clock = FakeClock(start=5.0, epoch=100.0)

    await clock.sleep(3600)

    assert (clock.now(), clock.time(), clock.slept) == (3605.0, 3700.0, [3600])


async def test_sleepers_wake_in_the_order_of_time():
    """Whoever sleeps shorter wakes first, whenever it began."""
    clock = FakeClock(start=0.0)
    woke = list[tuple[float, float]]()

    async def sleep(seconds: float) -> None:
        await clock.sleep(seconds)
        woke.append((seconds, clock.now()))

    await asyncio.gather(*(sleep(seconds) for seconds in (3.0, 1.0, 2.0)))

    assert woke == [(1.0, 1.0), (2.0, 2.0), (3.0, 3.0)]


async def test_time_that_passes_only_when_told():
    """Without jumps, a sleeper waits until the clock is advanced far enough."""
    clock = FakeClock(start=0.0, jumps=False)
    early, late = (asyncio.create_task(clock.sleep(seconds)) for seconds in (1.0, 10.0))
    await asyncio.sleep(0)

    clock.advance(5.0)
    await asyncio.wait([early])

    assert (early.done(), late.done(), clock.now()) == (True, False, 5.0)
    late.cancel()
    await asyncio.wait([late])
    clock.advance(10.0)
    assert clock.now() == 15.0


async def test_calls_back_when_its_time_has_come():
    """An alarm rings when the clock has been moved so far, unless it was prevented."""
    clock, rung = FakeClock(start=0.0, jumps=False), list[float]()
    clock.call_later(1.0, lambda: rung.append(clock.now()))
    prevent = clock.call_later(2.0, lambda: rung.append(2.0))
    prevent()

    clock.advance(0.9)
    await asyncio.sleep(0)
    assert rung == []
    clock.advance(5.0)
    await asyncio.sleep(0)
    assert rung == [5.9]


async def test_an_alarm_alone_moves_no_clock():
    """Time jumps for sleepers; an alarm that is later than they are stays ahead."""
    clock, rung = FakeClock(start=0.0), list[float]()
    clock.call_later(15.0, lambda: rung.append(clock.now()))

    await clock.sleep(1.0)
    for _ in range(5):
        await asyncio.sleep(0)

    assert (clock.now(), rung) == (1.0, [])


async def test_a_stalled_answer_can_be_nudged():
    """Whoever waits for what never comes gets an empty piece, and waits again."""
    answer = FakeResponse([b"a", b"b"], stalls_after=1)
    chunks = answer.chunks()
    assert await anext(chunks) == b"a"
    waiting = asyncio.ensure_future(anext(chunks))
    await asyncio.sleep(0)
    answer.nudge()

    assert await waiting == b""


def test_chance_repeats_itself():
    """The same seed brings the same numbers and ids; ids sort by time."""
    one, two = SeededRandom(7), SeededRandom(7)

    assert [one.random() for _ in range(5)] == [two.random() for _ in range(5)]
    assert (one.call_id(), one.call_id()) == ("call-00000001", "call-00000002")
    assert SeededRandom(8).random() != SeededRandom(7).random()


async def test_the_script_is_followed():
    """Exceptions are raised, responses returned, and after the last step all goes well."""
    first = FakeResponse(b"{}", status=201)
    upstream = FakeUpstream([ConnectionLost(), first])
    request = Request("POST", "/v1/chat/completions", fields={"stream": True})

    with pytest.raises(ConnectionLost):
        await upstream.send(request, ROUTE, 10.0)
    assert await upstream.send(request, ROUTE, 9.0) is first
    streamed = await upstream.send(request, ROUTE, 8.0)

    assert [chunk async for chunk in streamed.chunks()] == list(EVENTS)
    assert [sent.remaining for sent in upstream.sent] == [10.0, 9.0, 8.0]
    assert upstream.answers == [first, streamed]


async def test_a_whole_answer_is_read_up_to_a_bound():
    """Reading a body that is too large fails as it would on a network."""
    assert await FakeResponse().read(len(WHOLE)) == WHOLE
    with pytest.raises(MalformedResponse):
        await FakeResponse().read(len(WHOLE) - 1)


@pytest.mark.parametrize("after", [0, 1, None])
async def test_an_answer_breaks_where_it_is_told(after):
    """Pieces before the fault arrive; then it is raised, also when reading goes on."""
    answer = FakeResponse([b"a", b"b"], fault=ConnectionLost(), fault_after=after)
    got = list[bytes]()

    async def read() -> None:
        async for piece in answer.chunks():
            got.append(piece)

    for _ in range(2):
        with pytest.raises(ConnectionLost):
            await read()

    assert got == [b"a", b"b"][:after]


async def test_reading_goes_on_where_it_stopped():
    """A second reader gets what the first one left; draining leaves nothing."""
    answer = FakeResponse([b"a", b"b", b"c"])
    first = answer.chunks()
    assert await anext(first) == b"a"
    await first.aclose()

    second = answer.chunks()
    assert await anext(second) == b"b"
    await second.aclose()
    await answer.drain(1.0)
    assert [chunk async for chunk in answer.chunks()] == []

    await answer.aclose()
    assert answer.closed == 1


def test_keys():
    """A key leads to its caller; no key and unknown keys are refused, unless there is a default."""
    shop, guest = Caller("shop", "k1"), Caller("guest", "k2")
    keys = MemoryKeys({"hw_1": shop})

    assert keys.authenticate(Secret("hw_1")) is shop
    for key in (None, Secret("hw_2")):
        with pytest.raises(Unauthenticated):
            keys.authenticate(key)
    assert MemoryKeys(default=guest).authenticate(None) is guest


async def test_the_ledger_remembers_each_attempt():
    """Rows are held, settled or released, and add up; how often each was closed shows."""
    ledger = MemoryLedger(price=3)
    sent, refused = [await ledger.hold(CALL, ROUTE, Usage(9, 9)) for _ in range(2)]

    assert sent.settle(Usage(3, 4), "exact", "completed") == 21
    refused.release("upstream_unreachable")

    assert [row.outcome for row in ledger.rows] == ["completed", "upstream_unreachable"]
    assert [row.closings for row in ledger.rows] == [1, 1]
    assert not sent.is_open
    assert ledger.total == 21


async def test_a_price_that_is_unknown_and_a_disk_that_is_full():
    """An unknown price is not zero, and a ledger can be told to fail."""
    unknown = await MemoryLedger(price=None).hold(CALL, ROUTE, Usage())
    assert unknown.settle(Usage(1, 1), "exact", "completed") is None

    with pytest.raises(LedgerUnavailable):
        await MemoryLedger(fault=LedgerUnavailable()).hold(CALL, ROUTE, Usage())


def test_the_journal_remembers_calls():
    """Finished calls are there in order."""
    journal = RecordingJournal()

    journal.record(CALL)

    assert (journal.calls, journal.outcomes) == ([CALL], ["abandoned"])
