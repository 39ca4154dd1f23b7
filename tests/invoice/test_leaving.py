"""A caller who leaves in the middle of an answer pays for what had come, and for hardly more."""

import asyncio

import pytest

from headworks.simulator import Latency, SimulatorConfig, running
from tests.faults.processes import UPSTREAM_KEY
from tests.invoice.judge import judge
from tests.invoice.stage import gateway_before
from tests.invoice.traffic import Ask, Crowd

pytestmark = pytest.mark.anyio

EVENTS = 40
UNDER_WAY = 8
"""Tokens by which a row may be above the invoice: those that the provider may have sent behind."""
UNHURRIED = SimulatorConfig(
    latency=Latency(first_token=0.01, tokens_per_second=50.0),
    answer_tokens=(80, 100),
    credentials={"main": UPSTREAM_KEY},
)


def leaving(path, after):
    """Return a call whose caller leaves after so many pieces of its answer."""
    asked = {"model": "plain", "stream": True}
    said = "Say what you like"
    more = {"input": said} if path == "responses" else {"messages": [{"role": "user", "content": said}]}  # fmt: skip
    return Ask(f"{path}-{after}", path, asked | more, leaves=after)


@pytest.mark.parametrize("path", ["chat/completions", "responses"])
async def test_whoever_leaves_at_any_event_pays_for_what_had_come(tmp_path, path, figure):
    """After any event: flagged, never free, not below what was relayed, at most a few tokens above."""
    with running(UNHURRIED) as provider:
        async with gateway_before(provider, tmp_path) as gateway:
            crowd = Crowd(at_once=EVENTS)
            await crowd.call(gateway.port, [leaving(path, after + 1) for after in range(EVENTS)])
        assert await asyncio.to_thread(provider.wait_settled)
        booked, billed = gateway.rows(), provider.attempts()
    verdict, due = judge(booked, billed), {one["client_request_id"]: one for one in billed}
    figure(f"left after 1 to {EVENTS} events of {path}: {verdict}")

    assert verdict.findings == []
    assert len(booked) == len(billed) == EVENTS
    for row in booked:
        usage = due[row["user"]]["usage"]
        assert (row["outcome"], row["certainty"]) == ("abandoned", "estimated")
        assert row["cost_nano"] > 0
        assert row["input"] == usage["input"]
        assert usage["output"] <= row["output"] <= usage["output"] + UNDER_WAY
