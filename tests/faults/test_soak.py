"""A gateway that has been busy for a while holds no more than one that has just warmed up."""

import json

import pytest

from tests.faults.soak import BOUNDS, Bound, Sample, slope, soak, trend

pytestmark = pytest.mark.anyio

SECONDS = 12.0


async def test_nothing_grows(tmp_path, figure):
    """Under mixed traffic, errors and callers who leave, memory, files, tasks and queues stay flat."""
    report = await soak(tmp_path, SECONDS)

    assert report.grown == []
    assert report.statuses.keys() <= {"200", "429", "500", "502", "503", "left"}
    assert report.statuses["200"] > report.calls / 2
    assert report.calls > 300
    assert report.at_rest["headworks_upstream_connections_busy"] == 0
    assert report.at_rest["headworks_ledger_open_holds"] == 0
    assert report.at_rest["headworks_in_flight"] == 0
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
