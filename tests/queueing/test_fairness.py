"""Nobody is starved: not by a noisy key, not by a higher priority, and not by large requests."""

import asyncio
from collections import Counter

import pytest

from headworks.core.queue_rules import QueueRules
from headworks.types import Caller, RateLimits
from tests.queueing.hall import Hall, jain, p99

NONE = RateLimits()
QUIET = [f"quiet{number}" for number in range(20)]


async def arrivals(hall: Hall, key: str, every: float, seconds: float, **ours: str) -> None:
    """Let calls come at random, about one in so many seconds, and wait for the last one's end."""
    calls: list[asyncio.Task[object]] = []
    while (wait := hall.chance.expovariate(1 / every)) + hall.now < seconds:
        await asyncio.sleep(wait)
        text = f"{key} {len(calls)}"
        calls.append(asyncio.create_task(hall.call(key, text, **ours)))
    await asyncio.gather(*calls)


def test_a_noisy_key_leaves_the_others_alone():
    """Beside a key that asks a hundred times as often, twenty others wait hardly longer than alone.

    The instance carries 40 calls of a second; the quiet keys want 5 a second in all.
    """

    def run(*, noisy: bool) -> Hall:
        hall = Hall(QueueRules(in_flight=40), keys=dict.fromkeys([*QUIET, "noisy"], NONE))

        async def lives() -> None:
            work = [arrivals(hall, key, 4.0, 40.0) for key in QUIET]
            work += [arrivals(hall, "noisy", 0.04, 40.0)] if noisy else []
            work += [arrivals(hall, "noisy", 0.01, 40.0)] if noisy else []
            await asyncio.gather(*work)

        hall.run(lives())
        return hall

    alone, beside = run(noisy=False), run(noisy=True)
    lasted = {
        name: p99([one.lasted for one in hall.told if one.who in QUIET])
        for name, hall in (("alone", alone), ("beside", beside))
    }
    quiet = [one for one in beside.told if one.who in QUIET]
    assert lasted["beside"] <= 1.5 * lasted["alone"], lasted
    assert sum(one.status == 200 for one in quiet) >= 0.99 * len(quiet)
    noisy = [one for one in beside.told if one.who == "noisy"]
    refused = [one for one in noisy if one.status != 200]
    assert len(noisy) > 100 * len(quiet) / len(QUIET)
    assert refused
    assert all(one.wait is not None for one in refused)
    busy = 40 * 40.0
    assert len(beside.answered("noisy")) + len(quiet) >= 0.9 * busy


def test_keys_that_all_want_more_get_the_same():
    """Of keys that all have more to ask than there is room for, each gets the same tokens."""
    hall = Hall(QueueRules(in_flight=10), keys=dict.fromkeys(QUIET, NONE))

    async def lives() -> None:
        rates = {key: 0.3 / (1 + number % 5) for number, key in enumerate(QUIET)}
        await asyncio.gather(*(arrivals(hall, key, rate, 100.0) for key, rate in rates.items()))

    hall.run(lives())
    shares = Counter(who for when, who in hall.desk.seen if 10 < when - hall.begun < 100)
    got = [shares[key] for key in QUIET]
    assert jain(got) >= 0.95, got
    assert sum(got) >= 0.9 * 10 * 90


@pytest.mark.parametrize("lower", ["background", "batch"])
def test_bulk_work_slows_nobody_and_is_not_starved(lower):
    """Beside bulk work without end live calls are as fast as ever, and leave it a tenth."""

    def run(live: float, bulk: float) -> Hall:
        batch = Caller("bulk", "bulk", priority=lower)
        hall = Hall(QueueRules(in_flight=40), live=NONE, bulk=batch)

        async def lives() -> None:
            work = [arrivals(hall, "live", live, 40.0)] if live else []
            work += [arrivals(hall, "bulk", bulk, 40.0)] if bulk else []
            await asyncio.gather(*work)

        hall.run(lives())
        return hall

    def lasted(hall: Hall) -> float:
        return p99([one.lasted for one in hall.told if one.who == "live"])

    assert lasted(run(0.1, 0.01)) <= 1.1 * lasted(run(0.1, 0.0))
    both = run(0.01, 0.01)
    shares = Counter(who for when, who in both.desk.seen if 10 < when - both.begun < 40)
    assert shares["bulk"] >= 0.1 * shares.total()
    assert shares["live"] >= 0.8 * shares.total()


def test_three_priorities_have_their_shares():
    """Where all three wait without end, they get eight, one and one of ten."""
    hall = Hall(QueueRules(in_flight=40), key=NONE)

    async def lives() -> None:
        await asyncio.gather(
            *(
                arrivals(hall, "key", 0.01, 60.0, feature=name, priority=name)
                for name in ("interactive", "background", "batch")
            )
        )

    hall.run(lives())
    # The call's own feature field comes last and holds the key: count by priority instead.
    shares = Counter(
        call.request.tags.priority
        for call in hall.world.journal.calls
        if call.attempts and 10 < call.started - hall.begun + call.queued < 40
    )
    total = shares.total()
    assert shares["background"] / total == pytest.approx(0.1, abs=0.02)
    assert shares["batch"] / total == pytest.approx(0.1, abs=0.02)


def test_a_header_lowers_a_priority_and_does_not_raise_it():
    """A batch key stays one, whatever its calls say; an interactive key's calls may be batch."""
    batch = Caller("bulk", "bulk", priority="batch")
    hall = Hall(QueueRules(in_flight=1), live=NONE, bulk=batch)

    async def story() -> None:
        first = asyncio.create_task(hall.call("live", "first"))
        await asyncio.sleep(0.1)
        waiting = [
            asyncio.create_task(hall.call("bulk", "raised", priority="interactive")),
            asyncio.create_task(hall.call("live", "lowered", priority="background")),
            asyncio.create_task(hall.call("live", "live")),
        ]
        await asyncio.sleep(0.1)
        assert hall.queue.statistics().waiting == {"interactive": 1, "background": 1, "batch": 1}
        await asyncio.gather(first, *waiting)

    hall.run(story())
    assert [one.status for one in hall.told] == [200] * 4
