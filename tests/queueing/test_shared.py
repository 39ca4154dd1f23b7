"""Where several keys share a limit, what is foreseen counts those of the others that wait there."""

import asyncio
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headworks.core.admission import Rules
from headworks.core.queue_rules import QueueRules
from headworks.errors import LimitError
from headworks.stores.queue_wish import Wish
from headworks.types import Caller, RateLimits
from tests.queueing.hall import Hall, jain
from tests.stores.far import FarAuthority

KEYS = ("a", "b", "c", "d", "e")
USUAL, PATIENT = QueueRules(), QueueRules(max_wait=1e6)


def hall_of(rules: QueueRules, limits: RateLimits) -> Hall:
    """Return a stage on which all keys are of one project, which has limits."""
    keys = {name: Caller(name, name, "shop") for name in KEYS}
    return Hall(rules, Rules(projects={"shop": limits}), keys=keys)


@dataclass(frozen=True)
class Wait:
    """A call: what was foreseen when it came, how long it waited, its place in both orders."""

    foreseen: float
    lasted: float
    came: int
    went: int


def waits(limits: RateLimits, arrivals: Sequence[tuple[str, float]]) -> list[Wait]:
    """Let calls come, each so many seconds after the one before it; all wait as long as need be."""
    hall = hall_of(PATIENT, limits)
    foreseen: dict[str, float] = {}
    whole = hall.queue._outlook
    predict = whole.predict

    def noted(wish: Wish, denial: LimitError | None, place: Callable[[Wish, int], float]) -> float:
        found = predict(wish, denial, place)
        foreseen.setdefault(wish.call.request.tags.session, found)
        return found

    hall.queue._outlook.__dict__["predict"] = noted

    async def story() -> None:
        calls: list[asyncio.Task[object]] = []
        for number, (key, after) in enumerate(arrivals):
            await asyncio.sleep(after)
            calls.append(asyncio.create_task(hall.call(key, f"{number}", session=f"{number}")))
        await asyncio.gather(*calls)

    hall.run(story())
    done = hall.world.journal.calls
    order = sorted(done, key=lambda call: call.started + call.queued)
    went = {call.id: place for place, call in enumerate(order)}
    return [
        Wait(foreseen[name], call.queued, int(name), went[call.id])
        for call in done
        if (name := call.request.tags.session) in foreseen
    ]


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(KEYS), st.sampled_from([0.0, 0.0, 0.05, 2.0])), max_size=90),
    st.sampled_from([RateLimits(rpm=5), RateLimits(rpm=20), RateLimits(rpm=40)]),
)
def test_nobody_waits_longer_than_was_foreseen_but_for_those_who_came_later(arrivals, limits):
    """Calls of five keys before one project's limit: what stands ahead is counted, whosever it is.

    Whom no later call has overtaken waits no longer than was foreseen. Keys take turns, so a later
    call of another key may go first: then it takes that much longer. In all it is no estimate of
    somebody who plays it safe: on the mean it is nearly true.
    """
    found = waits(limits, arrivals)

    for one in found:
        overtaken = sum(other.came > one.came and other.went < one.went for other in found)
        rounds = math.ceil(overtaken / (limits.rpm or 1))
        assert one.lasted <= one.foreseen + 60.2 * rounds + 0.2
    foreseen, lasted = sum(one.foreseen for one in found), sum(one.lasted for one in found)
    assert foreseen <= 1.1 * lasted + 60.2


@dataclass(frozen=True)
class Case:
    """Clients of five keys, as many of each, that each want one answer after another."""

    id: str
    limits: RateLimits
    rules: QueueRules = USUAL
    clients: int = 150


CASES = (
    Case("requests", RateLimits(rpm=60)),
    Case("a burst of requests", RateLimits(rpm=20), clients=60),
    Case("tokens", RateLimits(tpm=6_600)),
    Case("parallel", RateLimits(parallel=2)),
    Case("requests and parallel", RateLimits(rpm=90, parallel=2)),
    Case("hardly a queue", RateLimits(rpm=60), QueueRules(max_wait=2.0)),
)


async def come_back(hall: Hall, clients: int) -> tuple[int, int]:
    """Let clients come back when they are told; return how often that was true, and was not."""
    kept = broken = 0

    async def client(number: int) -> None:
        nonlocal kept, broken
        key = KEYS[number % len(KEYS)]
        await asyncio.sleep(hall.chance.random() * 10)
        wish = 0
        while hall.now < 300:
            wish += 1
            told, was_told = await hall.call(key, f"{number}, {wish}"), False
            while told.status != 200:
                broken += was_told
                assert told.wait is not None
                await asyncio.sleep(told.wait)
                told, was_told = await hall.call(key, f"{number}, {wish}"), True
            kept += was_told
            await asyncio.sleep(hall.chance.random())

    await asyncio.gather(*(client(number) for number in range(clients)))
    return kept, broken


@pytest.mark.parametrize("case", CASES, ids=[case.id for case in CASES])
def test_who_waits_as_told_is_let_in_where_keys_share_a_limit(case):
    """Of clients that come back exactly when they were told, 98 of 100 are answered then.

    Offered is several times of what the project's limit takes, by all of its keys alike; all of the
    limit is used, and each key gets the same of it.
    """
    hall = hall_of(case.rules, case.limits)

    kept, broken = hall.run(come_back(hall, case.clients))

    assert kept > 60
    assert broken <= 0.02 * (kept + broken), (kept, broken)
    if case.limits.rpm is not None and case.limits.parallel is None:
        assert len(hall.desk.seen) >= 0.9 * case.limits.rpm * 5
    assert jain(len(hall.answered(key)) for key in KEYS) >= 0.97


def test_a_limit_that_is_kept_elsewhere_is_foreseen_by_its_refusals():
    """Where nobody can look ahead, the last refusal says how long it takes: three of four are right."""
    hall = hall_of(USUAL, RateLimits(rpm=60))
    hall.world.limits._authority = FarAuthority(hall.world.clock)

    kept, broken = hall.run(come_back(hall, 100))

    assert kept > 60
    assert broken <= 0.25 * (kept + broken), (kept, broken)


def test_a_quiet_key_does_not_stand_behind_all_of_a_noisy_one():
    """Keys take turns at the limit that they share, and that is foreseen: a first call just waits."""
    hall = hall_of(QueueRules(max_wait=10.0), RateLimits(rpm=600))

    async def story() -> None:
        noisy = [asyncio.create_task(hall.call("a", f"{number}")) for number in range(2_000)]
        await asyncio.sleep(60.05)
        noisy += [asyncio.create_task(hall.call("a", f"more {number}")) for number in range(300)]
        told = await hall.call("b", "first")
        assert told.status == 200, told
        await asyncio.gather(*noisy)

    hall.run(story())


def test_without_a_queue_whoever_comes_back_as_told_is_let_in():
    """With `queue: false` a refusal keeps no place, and so nobody is kept out of one."""
    hall = hall_of(QueueRules(calls=0), RateLimits(rpm=1))

    async def story() -> None:
        assert (await hall.call("a", "one")).status == 200
        told = await hall.call("a", "two")
        assert told.status == 429
        assert told.wait is not None
        await asyncio.sleep(told.wait)
        assert (await hall.call("a", "two")).status == 200

    hall.run(story())
