"""How late is late, and how many second attempts there are at most."""

import asyncio
import random
from collections.abc import Callable

import pytest

from headworks.observe.metrics import Metrics
from headworks.testing import WHOLE
from headworks.types import Call, Hedge, Route
from tests.hedges import FIRST, LONG, SECOND, Stage, Turn

A, B = str(FIRST), str(SECOND)


def learning(stage: Stage, seconds: list[float]) -> None:
    """Let the first route answer after so long, one call after the other."""

    async def calls() -> None:
        for one in seconds:
            stage.upstream.turns = [Turn(one)]
            await stage.carry()

    stage.loop.run_until_complete(calls())


def test_a_percentile_is_learned_before_it_is_used():
    """`p95` sends nothing beside until a hundred answers were seen; then what is later than 95 of them."""
    stage = Stage(hedge=Hedge(after=None, share=1.0))
    learning(stage, [0.01 * number for number in range(1, 100)])
    stage.upstream.turns, before = [Turn(LONG)], len(stage.sent)

    async def two_more() -> None:
        stage.upstream.turns = [Turn(1.0)]
        await stage.carry()
        stage.upstream.turns = [Turn(LONG), Turn(0.1)]
        await stage.carry()

    stage.run(two_more())
    visits = stage.upstream.visits[before:]
    assert [str(one.route) for one in visits] == [A, A, B]
    assert visits[2].begun - visits[1].begun == pytest.approx(0.95)


def test_streams_are_late_by_their_own_measure():
    """A stream begins before a whole answer ends: each kind learns for itself."""
    stage = Stage(hedge=Hedge(after=None, share=1.0))
    learning(stage, [0.1] * 150)
    before = len(stage.sent)
    stage.upstream.turns = [Turn(9.0)]

    stage.call(stream=True)
    assert [where for where, _ in stage.sent[before:]] == [A]


def heavy_tailed(seed: int) -> Callable[[Route], Turn]:
    """Return providers that answer in 0.2 to 0.6 s, but for one of 25 that takes ten times as long."""
    chance = random.Random(seed)
    return lambda _: Turn(chance.uniform(0.2, 0.6) * (10 if chance.random() < 0.04 else 1))


def latencies(hedge: Hedge | None, calls: int) -> tuple[list[float], Stage, list[tuple[int, int]]]:
    """Return how long each call took, and the requests and attempts so far after each."""
    stage = Stage(hedge=hedge or Hedge(after=LONG))
    stage.upstream.weather = heavy_tailed(7)
    took: list[float] = []
    so_far: list[tuple[int, int]] = []

    async def one() -> None:
        begun = stage.loop.time()
        assert await stage.carry() == WHOLE
        took.append(stage.loop.time() - begun)

    async def traffic() -> None:
        under_way = []
        for number in range(1, calls + 1):
            under_way.append(asyncio.ensure_future(one()))
            await asyncio.sleep(0.02)
            so_far.append((number, len(stage.upstream.visits)))
        await asyncio.gather(*under_way)

    stage.run(traffic())
    return sorted(took), stage, so_far


def counted(name: str, calls: list[Call], outcome: str = "") -> float:
    """Return what a metric makes of some calls."""
    metrics = Metrics(models=["m"])
    for call in calls:
        metrics.record(call)
    found = next(samples for family, samples in metrics.samples() if family.name == name)
    return sum(count for _, labels, count in found if not outcome or outcome in labels)


@pytest.mark.parametrize("after", [None, 0.3], ids=["p95", "far too early"])
def test_ten_thousand_calls_with_a_heavy_tail(after):
    """Extra attempts never exceed their share, at no moment; with `p95` the slowest get fast."""
    plain, _, _ = latencies(None, 10_000)
    hedged, stage, so_far = latencies(Hedge(after=after), 10_000)

    assert all(attempts - calls <= 0.05 * calls for calls, attempts in so_far)
    extra = len(stage.upstream.visits) - 10_000
    assert 0.02 * 10_000 <= extra <= 0.05 * 10_000
    assert plain[9_900] > 4.0
    if after is None:
        assert hedged[9_900] < 1.5
    calls = stage.world.journal.calls
    assert counted("headworks_hedges_total", calls) == extra
    assert counted("headworks_attempts_total", calls) == 10_000 + extra
    assert counted("headworks_hedges_total", calls, "won") > 0
    assert counted("headworks_attempts_total", calls, "superseded") == extra


def test_the_share_is_kept_when_a_provider_gets_slow():
    """A provider that is slow all of a sudden gets 5 % more requests, not twice as many."""
    stage = Stage(hedge=Hedge(after=1.0))
    stage.upstream.weather = lambda _: Turn(0.1 if stage.seconds < 40 else 10.0)

    async def traffic() -> None:
        under_way = []
        for _ in range(4000):
            under_way.append(asyncio.ensure_future(stage.carry()))
            await asyncio.sleep(0.02)
        await asyncio.gather(*under_way)

    stage.run(traffic())
    assert 0 < len(stage.sent) - 4000 <= 200
