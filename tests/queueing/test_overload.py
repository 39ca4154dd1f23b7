"""Under far more load than can be carried, what can be carried is carried; nobody waits in vain."""

import asyncio

from headworks.core.queue_rules import QueueRules
from headworks.types import RateLimits
from tests.queueing.hall import Hall, p99

PLACES, FACTOR, SECONDS = 4, 10, 300.0
PATIENCE = 10.0
"""Seconds that callers wait for an answer."""
LEARNT = 60.0
"""Seconds after which it is known how long calls last, and who else keeps coming."""
KEYS = [f"app{number}" for number in range(8)]


def test_ten_times_the_load():
    """Five minutes of ten times too much: nine tenths of what can be done is done, and in time.

    Whoever cannot be served is told so within 50 ms, and when to come back. A moment after the rush
    all is as before.
    """
    hall = Hall(QueueRules(in_flight=PLACES), keys=dict.fromkeys(KEYS, RateLimits()))

    async def rush() -> None:
        calls: list[asyncio.Task[object]] = []
        while (wait := hall.chance.expovariate(FACTOR * PLACES)) + hall.now < SECONDS:
            await asyncio.sleep(wait)
            key, text = hall.chance.choice(KEYS), f"call {len(calls)}"
            calls.append(asyncio.create_task(hall.call(key, text, deadline=f"{PATIENCE:g}s")))
        await asyncio.gather(*calls)

    async def lives() -> float:
        await rush()
        await asyncio.sleep(5.0)
        return (await hall.call("app0", "after the rush")).lasted

    after = hall.run(lives())
    answered = [one for one in hall.told if one.status == 200]
    refused = [one for one in hall.told if one.status in {429, 503}]
    assert len(answered) >= 0.9 * PLACES * SECONDS, len(answered)
    assert p99([one.lasted for one in answered]) <= PATIENCE
    assert len(hall.told) - len(answered) - len(refused) <= 0.01 * len(answered)  # out of time
    assert len(refused) > 0.8 * len(hall.told)
    assert p99([one.lasted for one in refused]) <= 0.05
    assert not [one for one in refused if one.began > LEARNT and one.lasted > 0.05]
    assert all(one.wait is not None for one in refused)
    assert hall.desk.busiest == PLACES
    assert after < 1.3
