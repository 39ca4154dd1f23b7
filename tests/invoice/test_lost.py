"""An answer that is lost on its way is billed all the same: its row is flagged, and not below."""

import asyncio

import pytest

from headworks.simulator import FaultRule, SimulatorConfig, running
from tests.faults.processes import UPSTREAM_KEY
from tests.invoice.judge import judge
from tests.invoice.stage import gateway_before
from tests.invoice.traffic import Ask, Crowd

pytestmark = pytest.mark.anyio

LONG = (1_500, 1_600)
"""Tokens of an answer: more than are taken to come where a request sets no bound."""


def losing(fault):
    credentials = {"main": UPSTREAM_KEY}
    return SimulatorConfig(answer_tokens=LONG, faults=(fault,), credentials=credentials)


FAULTS = [
    FaultRule("cut_after", after_bytes=5_000, ending="fin"),
    FaultRule("cut_after", after_bytes=200, ending="rst"),
    FaultRule("cut_after", after_bytes=0, ending="fin"),
]


@pytest.mark.parametrize("fault", FAULTS, ids=["in the middle", "at its beginning", "at once"])
@pytest.mark.parametrize("path", ["chat/completions", "responses"])
async def test_a_long_answer_that_is_lost_is_paid_by_its_length(tmp_path, path, fault):
    """However much of a whole answer came, what it had announced is what is owed, or more."""
    said = "Say what you like"
    more = {"input": said} if path == "responses" else {"messages": [{"role": "user", "content": said}]}  # fmt: skip
    with running(losing(fault)) as provider:
        async with gateway_before(provider, tmp_path) as gateway:
            await Crowd(at_once=1).call(
                gateway.port, [Ask("lost", path, {"model": "plain"} | more)]
            )
        assert await asyncio.to_thread(provider.wait_settled)
        booked, billed = gateway.rows(), provider.attempts()
    verdict = judge(booked, billed)

    assert verdict.findings == []
    assert {row["certainty"] for row in booked} == {"unknown"}
    assert all(line["usage"]["output"] > 1_000 for line in billed)
    assert all(row["cost_nano"] > row["estimate_nano"] for row in booked)
    assert verdict.above("unknown") < 100
