"""What was never sent costs nothing, however it was given up."""

import pytest

from tests.faults.processes import KEY, line_to
from tests.faults.test_departures import idle, order, stage
from tests.faults.test_disconnect import leave
from tests.upstream.scripted import until

pytestmark = pytest.mark.anyio


async def test_who_leaves_before_anything_is_sent_pays_nothing(tmp_path):
    """A caller who hangs up while the call has no connection yet: its row is released, at no cost."""
    async with stage(tmp_path, connections=1) as (gateway, provider):
        async with line_to(gateway.port) as first, line_to(gateway.port) as second:
            first.writer.write(order("head", KEY))
            await provider.standing.wait()
            second.writer.write(order("other", KEY))
            client = gateway.assembly.clients["up"]
            await until(lambda: client.statistics().waiting == 1)
            await leave(second, reset=True)
            await until(lambda: client.statistics().waiting == 0)
            provider.goes_on.set()
            assert (await first.reply()).status == 200
        await idle(gateway)
        unsent, sent = gateway.row("other"), gateway.row("head")

    assert provider.asked == ["head"]
    assert (unsent["state"], unsent["outcome"], unsent["cost_nano"]) == ("released", "abandoned", 0)
    assert (sent["state"], sent["certainty"]) == ("settled", "exact")


async def test_who_leaves_when_it_is_sent_pays_what_it_may_cost(tmp_path):
    """A caller who hangs up while the provider works unseen: the estimate stands, flagged."""
    async with stage(tmp_path) as (gateway, provider), line_to(gateway.port) as line:
        line.writer.write(order("head", KEY))
        await provider.standing.wait()
        await leave(line, reset=True)
        await idle(gateway)
        row = gateway.row("head")

    assert (row["state"], row["certainty"], row["outcome"]) == ("settled", "unknown", "abandoned")
    assert row["cost_nano"] == row["estimate_nano"] > 0
