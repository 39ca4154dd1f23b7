"""What a refusal says of the wait is true: who comes back then is let in."""

import asyncio
from dataclasses import dataclass

import pytest

from headworks.core.admission import NO_LIMITS, Rules
from headworks.core.queue_rules import QueueRules
from headworks.types import RateLimits
from tests.queueing.hall import Hall

USUAL = QueueRules()


@dataclass(frozen=True)
class Case:
    """Clients of one key that each want one answer after another, and what is in their way."""

    id: str
    limits: RateLimits = NO_LIMITS
    rules: QueueRules = USUAL
    clients: int = 150


CASES = (
    Case("requests", RateLimits(rpm=60)),
    Case("a burst of requests", RateLimits(rpm=20), clients=60),
    Case("tokens", RateLimits(tpm=6_600)),
    Case("parallel", RateLimits(parallel=2)),
    Case("requests and parallel", RateLimits(rpm=90, parallel=2)),
    Case("the instance", rules=QueueRules(in_flight=2)),
    Case("hardly a queue", RateLimits(rpm=60), QueueRules(max_wait=2.0)),
)


@pytest.mark.parametrize("case", CASES, ids=[case.id for case in CASES])
def test_who_waits_as_told_is_let_in(case):
    """Of many clients that come back exactly when they were told, 99 of 100 are answered then.

    Offered is several times of what the limit takes, for many minutes.
    """
    hall = Hall(case.rules, app=case.limits)
    kept = broken = 0

    async def client(number: int) -> None:
        nonlocal kept, broken
        await asyncio.sleep(hall.chance.random() * 10)
        wish = 0
        while hall.now < 600:
            wish += 1
            told = await hall.call("app", f"{number}, {wish}")
            was_told = False
            while told.status != 200:
                broken += was_told
                assert told.wait is not None
                await asyncio.sleep(told.wait)
                told, was_told = await hall.call("app", f"{number}, {wish}"), True
            kept += was_told
            await asyncio.sleep(hall.chance.random())

    async def lives() -> None:
        await asyncio.gather(*(client(number) for number in range(case.clients)))

    hall.run(lives())
    assert kept > 100
    has_cap = case.rules.in_flight is not None
    assert {one.status for one in hall.told} == {200, 503 if has_cap else 429}
    assert broken <= 0.01 * (kept + broken), (kept, broken)
    used = len(hall.answered("app"))
    if case.limits.rpm is not None and case.limits.parallel is None:
        assert used >= 0.9 * case.limits.rpm * 10


def test_who_asks_early_is_told_the_same_time():
    """A client that does not wait hears each time how long it still is, not the whole wait anew."""
    hall = Hall(app=RateLimits(rpm=1))

    async def story() -> None:
        await hall.call("app", "first")
        whens = []
        for _ in range(5):
            told = await hall.call("app", "again")
            assert told.wait is not None
            whens.append(hall.now + told.wait)
            await asyncio.sleep(3.0)
        assert max(whens) - min(whens) < 0.01
        other = await hall.call("app", "another")
        assert other.wait is not None
        assert hall.now + other.wait > 110

    hall.run(story())


def test_who_is_in_a_hurry_is_let_in_as_told_too():
    """A client with less time than an answer usually takes is not told again and again to wait."""
    hall = Hall(app=RateLimits(rpm=3))

    async def story() -> None:
        for number in range(3):
            await hall.call("app", f"{number}")
        told = await hall.call("app", "in a hurry", deadline="900ms")
        assert (told.status, told.lasted) == (429, 0.0)
        assert told.wait is not None
        await asyncio.sleep(told.wait)
        await hall.call("app", "in a hurry", deadline="900ms")

    hall.run(story())
    assert [call.attempts for call in hall.world.journal.calls] == [1, 1, 1, 0, 1]


def test_those_who_never_come_back_keep_nobody_out():
    """After a crowd that was sent away has lost interest, others are let in as ever."""
    hall = Hall(app=RateLimits(parallel=2))

    async def story() -> None:
        crowd = [hall.call("app", f"one of many {number}") for number in range(500)]
        await asyncio.gather(*crowd)
        assert sum(one.status == 429 for one in hall.told) > 400
        await asyncio.sleep(15)
        for number in range(50):
            assert (await hall.call("app", f"new {number}")).status == 200

    hall.run(story())


def test_limits_of_everybody_are_foreseen_too():
    """Where all keys share a limit, the wait that is told counts those of other keys."""
    hall = Hall(limits=Rules(organisation=RateLimits(rpm=60)), a=RateLimits(), b=RateLimits())

    async def story() -> None:
        calls = [hall.call(key, f"{number}") for number in range(150) for key in ("a", "b")]
        await asyncio.gather(*calls)

    hall.run(story())
    refused = [one for one in hall.told if one.status != 200]
    assert len(hall.told) - len(refused) >= 60
    assert all(one.lasted < 1 for one in refused), [one.lasted for one in refused if one.lasted > 1]
