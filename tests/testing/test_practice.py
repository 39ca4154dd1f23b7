"""The practice OpenAI as a fixture: in one line, by socket or in process, sync and async."""

import asyncio
import subprocess
import sys

import openai
import pytest

from headworks.simulator import FaultRule, Latency, SimulatorConfig
from headworks.testing import FakeClock
from headworks.testing.practice import practise

ASK = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello"}]}
MODES = [
    pytest.param(marks=pytest.mark.simulator(seed=3), id="socket"),
    pytest.param(marks=pytest.mark.simulator(seed=3, in_process=True), id="in process"),
    pytest.param(marks=pytest.mark.simulator(seed=3, virtual_time=True), id="virtual time"),
]
everywhere = pytest.mark.parametrize((), MODES)


def texts(chunks):
    """What a stream said."""
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


@everywhere
def test_the_sync_client_is_served(simulator):
    """A plain answer and a stream say the same, and both are billed."""
    client = simulator.openai()
    whole = client.chat.completions.create(**ASK)
    with client.chat.completions.create(**ASK, stream=True) as stream:
        streamed = texts(stream)

    assert whole.choices[0].message.content == streamed
    assert simulator.wait_settled()
    assert simulator.invoice()["billed"] == 2
    assert [attempt["outcome"] for attempt in simulator.attempts()] == ["completed"] * 2


@everywhere
@pytest.mark.anyio
async def test_the_async_client_is_served(simulator):
    """The same in an event loop, many at once."""
    client = simulator.async_openai()
    answers = await asyncio.gather(*(client.chat.completions.create(**ASK) for _ in range(5)))
    stream = await client.chat.completions.create(**ASK, stream=True)
    streamed = texts([chunk async for chunk in stream])

    assert {answer.choices[0].message.content for answer in answers} == {streamed}
    await client.close()


@everywhere
def test_errors_arrive_as_errors(simulator):
    """Refusals have their status, type and code, and are judged by the simulator alone."""
    with pytest.raises(openai.NotFoundError) as caught:
        simulator.openai().chat.completions.create(**ASK | {"model": "gpt-none"})
    assert caught.value.code == "model_not_found"
    with pytest.raises(openai.AuthenticationError):
        simulator.openai(api_key="wrong", max_retries=0).models.list()


@pytest.mark.parametrize(
    (),
    [
        pytest.param(marks=pytest.mark.simulator(faults=faults, in_process=inside))
        for inside in (True, False)
        for faults in (
            [FaultRule("reset_before_head", times=1)],
            [FaultRule("cut_after", ending="rst", times=1)],
            [FaultRule("cut_after", ending="fin", times=1)],
        )
    ],
)
def test_broken_connections_are_broken_connections(simulator):
    """The client that may retry gets its answer; the one that may not sees the break."""
    with pytest.raises(openai.APIConnectionError):
        simulator.openai(max_retries=0).chat.completions.create(**ASK)
    simulator.reset()
    assert simulator.openai().chat.completions.create(**ASK).choices
    assert len(simulator.attempts()) == 2


@pytest.mark.simulator(in_process=True, latency=Latency(tokens_per_second=50))
def test_leaving_a_stream_ends_it(simulator):
    """A client that closes its stream early pays for what was made until then."""
    with simulator.openai().chat.completions.create(**ASK, stream=True) as stream:
        next(iter(stream))
    assert simulator.wait_settled()
    (attempt,) = simulator.attempts()
    assert attempt["outcome"] == "gone"


@pytest.mark.simulator(virtual_time=True, latency=Latency(first_token=300, tokens_per_second=1))
def test_virtual_time_waits_for_nobody(simulator):
    """Five minutes of thinking take no time, and the clock tells them."""
    start = simulator.clock.now()
    answer = simulator.openai().chat.completions.create(**ASK)

    assert isinstance(simulator.clock, FakeClock)
    tokens = answer.usage.completion_tokens
    assert simulator.clock.now() - start == pytest.approx(300 + tokens, abs=0.01)


def test_any_application_can_be_practised_on():
    """Without pytest, the same is a context manager."""
    with practise(SimulatorConfig(credentials={"mine": "sk-mine"}), in_process=True) as practice:
        assert practice.api_key == "sk-mine"
        assert practice.base_url == ""
        assert practice.openai().models.list().data


USER_TEST = """
import pytest
from headworks.simulator import FaultRule

@pytest.mark.simulator(faults=[FaultRule("status", status=503, times=1)])
def test_retries(simulator):
    client = simulator.openai()
    client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": "Hi"}])
    assert [attempt["status"] for attempt in simulator.attempts()] == [503, 200]

def test_base_url(simulator):
    assert simulator.base_url.startswith("http://127.0.0.1:")
"""


def test_one_line_in_conftest_is_enough(tmp_path):
    """A project that knows nothing of ours gets fixture and mark by one line, even when strict."""
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["headworks.testing"]\n')
    (tmp_path / "test_mine.py").write_text(USER_TEST)
    words = [sys.executable, "-m", "pytest", "-q", "--strict-markers", "-W", "error"]
    words += ["-p", "no:cacheprovider", "--rootdir", str(tmp_path), str(tmp_path)]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 passed" in done.stdout
