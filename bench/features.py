"""What each feature of headworks costs, and what it costs to wait for a limit."""

import contextlib
import statistics
from pathlib import Path
from typing import Any

from headworks_gateway import headworks
from headworks_settings import EVERYTHING, STEPS
from scenarios import SCENARIOS, Scenario, measure

SLOTS, DELAY_MS = 4, 5
_JSON64 = next(one for one in SCENARIOS if one.name == "json64")
_AT_ONCE = Scenario("queue", "", 64, behaviour=f"d{DELAY_MS}")


def measure_features(folder: Path, mock_port: int, rounds: int, seconds: float) -> dict[str, float]:
    """Return CPU microseconds of a call with the features up to each step, interleaved."""
    found: dict[str, list[float]] = {name: [] for name, _, _ in STEPS}
    with contextlib.ExitStack() as stack:
        subjects = {
            step: stack.enter_context(headworks(folder, mock_port, step, name=f"step-{step}"))
            for step in found
        }
        for _ in range(rounds):
            for step, subject in subjects.items():
                found[step].append(measure(subject, _JSON64, seconds, folder).cpu)
    return {step: statistics.median(times) for step, times in found.items()}


def _parallel(asked: dict[str, Any]) -> None:
    asked["keys"][0]["limits"] = {**asked["keys"][0]["limits"], "parallel": SLOTS}


def measure_queue(folder: Path, mock_port: int, rounds: int, seconds: float) -> dict[str, float]:
    """Return what 64 callers find who wait for four places, beside as many calls that need not.

    `rate` is calls a second, of `most` that the places allow; `waiting` and `not_waiting` are CPU
    microseconds of a call.
    """
    rates: list[float] = []
    costs: dict[str, list[float]] = {"waiting": [], "not_waiting": []}
    with (
        headworks(folder, mock_port, EVERYTHING, _parallel, name="queued") as queued,
        headworks(folder, mock_port, name="unqueued") as free,
    ):
        for _ in range(rounds):
            slow = measure(queued, _AT_ONCE, seconds, folder)
            rates.append(slow.rate)
            costs["waiting"].append(slow.cpu)
            as_many = Scenario("unqueued", "", 64, behaviour=f"d{DELAY_MS}", rate=slow.rate)
            costs["not_waiting"].append(measure(free, as_many, seconds, folder).cpu)
    medians = {name: statistics.median(times) for name, times in costs.items()}
    return {"rate": statistics.median(rates), "most": SLOTS * 1000 / DELAY_MS, **medians}
