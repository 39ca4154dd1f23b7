"""A gateway that has been busy for a while holds no more than one that has just warmed up."""

import json

import pytest

from tests.faults.soak import (
    BOUNDS,
    BUSY,
    FIRST_CALLS,
    Bound,
    Report,
    Sample,
    Trend,
    slope,
    soak,
    trend,
)

pytestmark = pytest.mark.anyio

SECONDS = 12.0


async def test_nothing_grows(tmp_path, figure):
    """Under mixed traffic, errors, waits and callers who leave, nothing that is held grows."""
    report = await soak(tmp_path, SECONDS)

    assert report.problems == []
    assert report.statuses["200"] > report.calls / 2
    assert report.calls > FIRST_CALLS + 100
    assert report.at_rest["headworks_queue_served_total"] > 20
    assert {one.name for one in report.trends} == {bound.name for bound in BOUNDS}
    assert json.loads(report.encode())["calls"] == report.calls
    rss = report.trends[0]
    figure(
        f"soak: {report.calls} calls in {SECONDS:.0f} s, {dict(report.statuses)}, RSS "
        f"{rss.least:.0f} to {rss.most:.0f} MB, fds {report.trends[1].most:.0f} at most"
    )


def test_the_slope_is_that_of_least_squares():
    """A line's own slope is found, and noise that goes up and down has nearly none."""
    assert slope([(x, 3 * x + 1) for x in range(9)]) == pytest.approx(3)
    assert slope([(x, x % 2) for x in range(100)]) == pytest.approx(0, abs=0.01)
    assert slope([(1, 5), (1, 7)]) == 0


@pytest.mark.parametrize(("growth", "is_flat"), [(0.0, True), (0.05, True), (0.2, False)])
def test_growth_is_told(growth, is_flat):
    """What grows with time beyond its bound is found, whatever noise lies over it."""
    samples = [
        Sample(second, second * 100, {"held": 50 + growth * second + second % 3})
        for second in range(100)
    ]
    assert trend(Bound("held", slack=8.0), samples).is_flat is is_flat


def test_problems_are_told():
    """What grew, an error that no fault explains and a call that never ended are each named."""
    trends = [Trend("fds", 9.0, 90.0, 90.0, 80.0, 8.0), Trend("threads", 4.0, 4.0, 4.0, 0.0, 1.0)]
    at_rest = dict.fromkeys(BUSY, 0.0)
    report = Report(60.0, 10, {"200": 9, "504": 1}, trends, at_rest | {BUSY[0]: 2.0}, [])

    assert report.problems == ["fds grows", "1 × 504", f"{BUSY[0]} is 2 at rest"]
    assert [line for line in report.lines() if "TOO MUCH" in line] == [trends[0].line()]
    assert "10 calls in 1.0 minutes: 9 × 200, 1 × 504" in report.lines()
    assert Report(60.0, 9, {"200": 9}, trends[1:], at_rest, []).problems == []
