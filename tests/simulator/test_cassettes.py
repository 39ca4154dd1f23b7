"""What a provider said once can be served again, byte for byte, and without anybody's keys."""

import asyncio
import itertools

import httpx2
import msgspec
import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headworks.errors import ConfigurationError
from headworks.simulator import FaultRule, Latency, SimulatorConfig, running
from headworks.simulator.cassettes import Recording, key_of, load, part, without
from headworks.simulator.player import Player
from headworks.simulator.recorder import Recorder
from headworks.simulator.server import WallClock, running_application
from headworks.testing import FakeClock
from tests.simulator.conftest import PRICES, Visit

CHAT = "/v1/chat/completions"
ASK = {"model": "gpt-4o", "messages": [{"role": "user", "content": "héllo"}]}
STREAM = {**ASK, "stream": True, "stream_options": {"include_usage": True}}
KEY = "sk-simulator"


def post(url, fields, key=KEY):
    """Ask, and return the whole answer."""
    return httpx2.post(
        f"{url}/chat/completions", json=fields, headers={"authorization": f"Bearer {key}"}
    )


@pytest.fixture
def cassette(tmp_path):
    """A cassette of a chat, twice with different words, a stream, an error and a broken stream."""
    file = tmp_path / "cassette.jsonl"
    rule = FaultRule("cut_after", after=3, model="gpt-6-sol")
    config = SimulatorConfig(prices=PRICES, faults=[rule], seed=3)
    with running(config) as provider:
        recorder = Recorder(provider.base_url, file, WallClock())
        with running_application(recorder) as url:
            said = [post(url, ASK), post(url, ASK), post(url, STREAM)]
            said.append(post(url, {**ASK, "n": 0}))
            with pytest.raises(httpx2.RemoteProtocolError):
                post(url, {**STREAM, "model": "gpt-6-sol"})
    return file, said


def test_what_was_recorded_is_served_again_byte_for_byte(cassette):
    """Status, body and order are as they were; any key will do."""
    file, said = cassette
    with running_application(Player(load(file), WallClock())) as url:
        again = [post(url, ASK, "x"), post(url, ASK, "x"), post(url, STREAM, "x")]
        again.append(post(url, {**ASK, "n": 0}, "x"))
        beyond = post(url, ASK, "x")
        with pytest.raises(httpx2.RemoteProtocolError):
            post(url, {**STREAM, "model": "gpt-6-sol"})

    assert [answer.content for answer in again] == [answer.content for answer in said]
    assert [answer.status_code for answer in again] == [200, 200, 200, 400]
    assert said[0].content != said[1].content
    assert beyond.content == said[1].content
    for name in ("content-type", "x-request-id", "openai-processing-ms"):
        assert again[2].headers[name] == said[2].headers[name]


def test_the_official_client_reads_a_replay(cassette):
    """A replayed stream is a stream like any other."""
    file, _ = cassette
    with running_application(Player(load(file), WallClock())) as url:
        client = openai.OpenAI(base_url=url, api_key="anything", max_retries=0)
        chunks = list(
            client.chat.completions.create(
                model="gpt-4o",
                messages=[{"role": "user", "content": "héllo"}],
                stream=True,
                stream_options={"include_usage": True},
            )
        )
    assert chunks[-1].usage is not None


def test_no_secret_is_written_down(cassette):
    """Neither key, nor organisation, nor project stands in the file."""
    text = cassette[0].read_text()
    for secret in (KEY, "org-simulator", "proj_simulator"):
        assert secret not in text


@given(
    st.lists(st.binary(max_size=8), max_size=6),
    st.integers(0, 40),
    st.lists(st.integers(0, 60), max_size=4),
)
def test_a_secret_is_masked_wherever_it_was_cut(noise, at, cuts):
    """No cut between two reads saves a secret from its mask, and no length changes."""
    secret, body = b"sk-very-secret", b"".join(noise)
    body = body[:at] + secret + body[at:]
    bounds = sorted({0, len(body), *(min(cut, len(body)) for cut in cuts)})
    pieces = [body[a:b] for a, b in itertools.pairwise(bounds)]

    masked = without([secret], pieces)

    assert [len(piece) for piece in masked] == [len(piece) for piece in pieces]
    assert secret not in b"".join(masked)


def test_the_same_question_is_known_however_it_is_written():
    """The order of fields and the boundary of a form do not matter; what is meant does."""

    def key(content, kind=b"application/json"):
        return key_of("POST", CHAT, b"b=2&a=1", kind, content)

    assert key(b'{"a":1,"b":2}') == key(b'{ "b": 2, "a": 1 }')
    assert key(b'{"a":1}') != key(b'{"a":2}')
    assert key_of("POST", CHAT, b"a=1&b=2", b"", b"x") == key(b"x", b"")
    form = b"--%s\r\ncontent\r\n--%s--"
    assert key(form % (b"one", b"one"), b"multipart/form-data; boundary=one") == key(
        form % (b"two", b"two"), b'multipart/form-data; boundary="two"'
    )
    assert key(b"[" * 5000) == key(b"[" * 5000)


def test_unknown_requests_are_refused_with_what_is_known(cassette):
    """The refusal says how many recordings there are, and how many at this path."""
    with running_application(Player(load(cassette[0]), WallClock())) as url:
        refused = post(url, {**ASK, "temperature": 1})

    assert (refused.status_code, refused.json()["error"]["code"]) == (404, "not_recorded")
    assert "5 exchanges, 5 of them" in refused.json()["error"]["message"]


def test_what_is_missing_can_be_simulated(cassette):
    """A player with a simulator behind it answers everything."""
    with running(SimulatorConfig(prices=PRICES)) as provider:
        other = Player(load(cassette[0]), WallClock(), otherwise=provider.application)
        with running_application(other) as url:
            answer = post(url, {**ASK, "temperature": 1})

    assert answer.status_code == 200


@pytest.mark.anyio
@pytest.mark.parametrize(("speed", "seconds"), [(1.0, 3.0), (2.0, 1.5)])
async def test_answers_take_their_time(speed, seconds):
    """The head and every part come when they came, or so many times sooner."""
    content = msgspec.json.encode(ASK)
    key = key_of("POST", CHAT, b"", b"application/json", content)
    recording = Recording(
        method="POST",
        path=CHAT,
        key=key,
        status=200,
        headers={"content-type": "text/event-stream"},
        head_after=1.0,
        parts=[part(1.5, b"data: 1\n\n"), part(3.0, "é".encode()[:1])],
    )
    clock = FakeClock(jumps=False)
    start = clock.now()
    visit = Visit(CHAT, ASK)
    task = asyncio.create_task(visit.run(Player({key: [recording]}, clock, speed=speed)))
    while not task.done():
        for _ in range(10):
            await asyncio.sleep(0)
        if not visit.ended:
            clock.advance(0.25)
    await task

    assert visit.body == b"data: 1\n\n\xc3"
    assert clock.now() - start == pytest.approx(seconds, abs=0.3)


def test_a_provider_that_cannot_be_reached_is_told(tmp_path):
    """The client gets an error of the usual shape, and nothing is recorded."""
    file = tmp_path / "cassette.jsonl"
    with running_application(Recorder("http://127.0.0.1:9/v1", file, WallClock())) as url:
        answer = post(url, ASK)

    assert (answer.status_code, answer.json()["error"]["code"]) == (502, "upstream_failed")
    assert not file.exists()


def test_a_damaged_cassette_is_refused_line_by_line(tmp_path):
    """File, line and reason are named, for every bad line at once."""
    file = tmp_path / "cassette.jsonl"
    file.write_text('{"method": 1}\n\nnonsense\n')
    with pytest.raises(ConfigurationError) as caught:
        load(file)

    first, second = caught.value.problems
    assert first.startswith(f"{file}:1: not a recorded exchange: ")
    assert second.startswith(f"{file}:3: ")
    with pytest.raises(ConfigurationError, match="No such file"):
        load(tmp_path / "none")


def test_latency_is_recorded(tmp_path):
    """A slow first token stands in the cassette as such."""
    file = tmp_path / "cassette.jsonl"
    config = SimulatorConfig(prices=PRICES, latency=Latency(first_token=0.05))
    with (
        running(config) as provider,
        running_application(Recorder(provider.base_url, file, WallClock())) as url,
    ):
        post(url, STREAM)

    [(recording,)] = load(file).values()
    assert recording.parts[0].after >= 0.05
