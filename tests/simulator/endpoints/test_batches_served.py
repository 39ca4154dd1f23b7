"""Batches of a whole simulator: its faults, its other callers, the official client."""

import json

import anyio
import openai
import pytest

from headworks.simulator import FaultRule, Simulator, SimulatorConfig, running
from headworks.testing import FakeClock
from tests.simulator.endpoints.bureau import CHAT, PRICES, Bureau, chat, jsonl


def test_faults_strike_requests_of_batches():
    """A rule for a status makes requests of batches fail as it would others, the same each time."""
    rule = FaultRule(fault="status", status=503, path=CHAT, probability=0.5)

    def failed():
        simulator = Simulator(SimulatorConfig(prices=PRICES, faults=[rule]), FakeClock())
        bureau = Bureau()
        bureau.provider = simulator.provider
        batch = bureau.batch(bureau.begin([chat(n) for n in range(20)]))
        faults = bureau.lines(batch["error_file_id"])
        assert {line["response"]["status_code"] for line in faults} == {503}
        listed = simulator.books.attempts()
        assert sum(attempt["fault"] == "status=503" for attempt in listed) == len(faults)
        return [line["custom_id"] for line in faults]

    assert 0 < len(failed()) < 20
    assert failed() == failed()


@pytest.mark.anyio
async def test_a_large_batch_lets_others_through():
    """Whoever looks at a batch with thousands of due requests does not keep others waiting."""
    simulator = Simulator(SimulatorConfig(prices=PRICES), FakeClock())
    bureau = Bureau()
    bureau.provider = simulator.provider
    content = jsonl(chat(n) for n in range(2_000))
    bureau.begin(content)
    turns = 0

    async def count_turns():
        nonlocal turns
        while True:
            turns += 1
            await anyio.lowlevel.checkpoint()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(count_turns)
        await anyio.lowlevel.checkpoint()
        before = turns
        await simulator.provider.batches.catch_up()
        during = turns - before
        tasks.cancel_scope.cancel()

    assert simulator.books.invoice()["billed"] == 2_000
    assert during > 100


def test_the_official_client_runs_a_batch():
    """Upload, create, poll and download work over HTTP; the invoice is right at any time."""
    with (
        running(SimulatorConfig(prices=PRICES)) as simulator,
        openai.OpenAI(base_url=simulator.base_url, api_key="sk-simulator", max_retries=0) as client,
    ):
        content = jsonl(chat(n) for n in range(30))
        file = client.files.create(file=("in.jsonl", content), purpose="batch")
        batch = client.batches.create(input_file_id=file.id, endpoint=CHAT, completion_window="24h")
        billed = simulator.invoice()["billed"]
        done = client.batches.retrieve(batch.id)
        assert done.output_file_id is not None
        lines = client.files.content(done.output_file_id).text.splitlines()
        listed = [each.id for each in client.batches.list()]
        simulator.reset()
        after = list(client.batches.list())

    assert (batch.status, done.status, billed) == ("validating", "completed", 30)
    assert len({json.loads(line)["custom_id"] for line in lines}) == 30
    assert (listed, after) == ([batch.id], [])
