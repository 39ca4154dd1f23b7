"""The provider's limiter: what is let through, what is refused, and what the headers say."""

import re
from dataclasses import dataclass
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headworks.core.durations import seconds
from headworks.simulator import RateLimit, SimulatedCredential, Simulator, SimulatorConfig
from headworks.simulator.charge import Charge, charge
from headworks.simulator.limiter import Limiter, duration
from headworks.simulator.problems import Refusal
from headworks.testing import FakeClock
from headworks.types import Usage
from tests.simulator.conftest import PRICES, Visit

CHAT = "/v1/chat/completions"


def limiter(clock, **limits):
    """A limiter with one group for all models."""
    return Limiter([RateLimit(**limits)], clock)


def admit(limiter, tokens=0, *, images=0, model="m", project="p"):
    """Let one request in, or raise its refusal."""
    return limiter.admit(Charge(tokens, images), model, "org-1", project)


@pytest.mark.parametrize(
    ("wait", "said"),
    [
        (0, "0s"),
        (0.0009, "0s"),
        (0.001, "1ms"),
        (0.174, "174ms"),
        (1.182, "1.182s"),
        (3.89, "3.89s"),
        (8.64, "8.64s"),
        (18.642, "18.642s"),
        (66.779, "1m6.779s"),
        (360, "6m0s"),
        (1252.666, "20m52.666s"),
        (86400, "24h0m0s"),
    ],
)
def test_durations_are_spelt_as_the_real_ones(wait, said):
    """Waits in headers and messages look as OpenAI's do."""
    assert duration(wait) == said


@given(st.floats(0, 90_000))
def test_durations_can_be_read_back(wait):
    """What the headers say is the wait, cut to a millisecond."""
    assert seconds(duration(wait)) == pytest.approx(wait, abs=0.0011)


def test_headers_tell_the_state_after_admission():
    """Remaining is what is left, reset the time until all of it is free again."""
    clock = FakeClock()
    limits = limiter(clock, rpm=10_000, tpm=30_000)

    first = admit(limits, 100).headers

    assert first == {
        "x-ratelimit-limit-requests": "10000",
        "x-ratelimit-remaining-requests": "9999",
        "x-ratelimit-reset-requests": "6ms",
        "x-ratelimit-limit-tokens": "30000",
        "x-ratelimit-remaining-tokens": "29900",
        "x-ratelimit-reset-tokens": "200ms",
    }


def test_requests_a_day_are_shown_instead():
    """A low tier shows its daily limit: 8.64 seconds a request of 10,000."""
    headers = admit(limiter(FakeClock(), rpm=500, rpd=10_000, tpm=1000), 1).headers

    assert headers["x-ratelimit-limit-requests"] == "10000"
    assert headers["x-ratelimit-reset-requests"] == "8.64s"


def test_images_are_shown_where_there_are_any():
    """The image triple comes with requests that carry images."""
    limits = limiter(FakeClock(), rpm=10, ipm=5)

    assert "x-ratelimit-limit-input-images" not in admit(limits).headers
    assert admit(limits, images=2).headers["x-ratelimit-remaining-input-images"] == "3"


@dataclass(frozen=True)
class Case:
    limit: int
    used: int
    asked: int
    wait: str


REAL = [
    Case(30_000, 29_321, 10_000, "18.642s"),
    Case(40_000, 37_000, 5_594, "3.891s"),
    Case(30_000, 29_087, 1_000, "174ms"),
]


@pytest.mark.parametrize("case", REAL, ids=str)
def test_a_refusal_says_the_real_numbers(case):
    """Limit, Used, Requested and the wait that follows from them; Retry-After in whole seconds."""
    limits = limiter(FakeClock(), tpm=case.limit)
    admit(limits, case.used)

    with pytest.raises(Refusal) as caught:
        admit(limits, case.asked)

    error, headers = caught.value.error, caught.value.headers
    assert caught.value.status == 429
    assert (error["type"], error["code"]) == ("tokens", "rate_limit_exceeded")
    assert error["message"].startswith(
        f"Rate limit reached for m in organization org-1 on tokens per min (TPM): Limit "
        f"{case.limit}, Used {case.used}, Requested {case.asked}. Please try again in {case.wait}."
    )
    wait = seconds(case.wait) or 0
    assert int(headers["retry-after"]) - 1 < max(1, wait) <= int(headers["retry-after"])


def test_waiting_as_told_is_enough_and_less_is_not():
    """The wait of a refusal is exact."""
    clock = FakeClock()
    limits = limiter(clock, rpm=60)
    for _ in range(60):
        admit(limits)
    with pytest.raises(Refusal, match=r"requests per min \(RPM\): Limit 60, Used 60, Requested 1"):
        admit(limits)

    clock.advance(0.99)
    with pytest.raises(Refusal):
        admit(limits)
    clock.advance(0.02)
    admit(limits)


def test_too_large_a_request_is_told_so():
    """What can never fit gets no Retry-After."""
    with pytest.raises(
        Refusal, match=r"^Request too large for m .* Limit 100, Requested 101"
    ) as caught:
        admit(limiter(FakeClock(), tpm=100), 101)

    assert "retry-after" not in caught.value.headers


def test_a_refusal_for_tokens_counts_as_a_request():
    """Failed requests count, refused tokens do not."""
    limits = limiter(FakeClock(), rpm=100, tpm=100)
    admit(limits, 90)
    with pytest.raises(Refusal):
        admit(limits, 20)

    headers = admit(limits, 10).headers

    assert headers["x-ratelimit-remaining-requests"] == "97"
    assert headers["x-ratelimit-remaining-tokens"] == "0"


def test_models_of_one_group_share_and_projects_do_not():
    """A family of models has one pool; another project has its own."""
    limits = Limiter([RateLimit("gpt-*", rpm=1), RateLimit("o*", rpm=1)], FakeClock())
    admit(limits, model="gpt-a")

    with pytest.raises(Refusal):
        admit(limits, model="gpt-b")
    admit(limits, model="gpt-b", project="other")
    admit(limits, model="o9")
    assert admit(limits, model="unlimited").headers == {}


def test_growth_is_capped():
    """Above the floor traffic may grow by a half in fifteen minutes."""
    clock = FakeClock(start=0)
    limits = limiter(clock, tpm=10**9, ramp=1_000_000)
    admit(limits, 1_000_000)
    with pytest.raises(Refusal) as caught:
        admit(limits, 1)
    assert caught.value.error["code"] == "slow_down"

    minutes, reached = 0, 1_000_000
    while reached < 10_000_000:
        clock.advance(60)
        minutes += 1
        reached = int(reached * 1.0273)
        admit(limits, reached)
    assert minutes == pytest.approx(85, abs=2)


def test_usage_replaces_the_charge_where_that_is_asked_for():
    """With `settles` the tokens of the whole call are taken, and what was too much given back."""
    limits = limiter(FakeClock(), tpm=1000, settles=True)
    admit(limits, 500).settle(Usage(100, 50))

    assert admit(limits).headers["x-ratelimit-remaining-tokens"] == "850"


@given(st.lists(st.tuples(st.integers(0, 40), st.floats(0, 30)), max_size=60))
def test_no_more_is_let_in_than_a_full_bucket_and_its_refill(requests):
    """In any stretch of time, no more tokens pass than the limit and its share of that time."""
    clock = FakeClock(start=0)
    limits, passed = limiter(clock, tpm=100), 0
    for tokens, pause in requests:
        clock.advance(pause)
        try:
            admit(limits, tokens)
        except Refusal:
            continue
        passed += tokens
        assert passed <= 100 + clock.now() * 100 / 60 + 1e-6


MESSAGES = [{"role": "user", "content": "a" * 18}]
IMAGE = {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:"}}]}


@pytest.mark.parametrize(
    ("path", "fields", "era", "tokens"),
    [
        (CHAT, {"messages": MESSAGES}, "2024", 22),
        (CHAT, {"messages": MESSAGES, "n": 2}, "2024", 38),
        (CHAT, {"messages": MESSAGES, "max_tokens": 50}, "2024", 56),
        (CHAT, {"messages": MESSAGES}, "2025", 8),
        (CHAT, {"messages": MESSAGES, "max_tokens": 50}, "2025", 50),
        (CHAT, {"messages": [IMAGE]}, "2025", 768),
        ("/v1/completions", {"prompt": "a" * 988, "max_tokens": 256}, "2024", 503),
        ("/v1/embeddings", {"input": ["abcd", "abcde"]}, "2025", 3),
        ("/v1/embeddings", {"input": [1, 2, 3]}, "2025", 3),
        ("/v1/responses", {"input": "hi"}, "2025", 119),
        ("/v1/responses", {"input": "hi", "tools": [{}]}, "2025", 317),
    ],
)
def test_requests_are_charged_as_measured(path, fields, era, tokens):
    """The provider guesses by characters, as its headers showed."""
    cost = charge(path, fields, 100, era)

    assert cost is not None
    assert cost.tokens == tokens


@pytest.mark.parametrize("number", [3, "3"])
def test_images_are_charged_by_their_number(number):
    """In JSON and in forms, whose fields are texts."""
    assert charge("/v1/images/edits", {"n": number}, 50, "2025") == Charge(50, 3)


def test_other_paths_are_not_charged():
    """Files and models are no model's traffic."""
    assert charge("/v1/files", {}, 0, "2025") is None


async def visit(simulator, fields, **headers):
    """Ask, and return status and body."""
    call = Visit(CHAT, fields, headers)
    await call.run(simulator)
    return call


ASK = {"model": "gpt-4o", "messages": MESSAGES}


@pytest.mark.anyio
@pytest.mark.parametrize("stream", [True, False])
async def test_answers_and_streams_carry_the_headers(stream):
    """The state of the limits is in the head, streamed or not; wrong requests show none."""
    config = SimulatorConfig(prices=PRICES, limits=[RateLimit("gpt-*", rpm=500, tpm=30_000)])
    simulator = Simulator(config, FakeClock())

    right = await visit(simulator, {**ASK, "stream": stream})
    wrong = await visit(simulator, {**ASK, "n": "many"})

    assert right.head["x-ratelimit-remaining-requests"] == "499"
    assert right.head["openai-project"] == "proj_simulator"
    assert (wrong.status, [name for name in wrong.head if "ratelimit" in name]) == (400, [])


@pytest.mark.anyio
async def test_a_spent_quota_refuses():
    """A key may spend its dollars and no more."""
    key = SimulatedCredential("sk-poor", quota=Decimal("0.0001"))
    simulator = Simulator(SimulatorConfig(prices=PRICES, credentials={"poor": key}), FakeClock())

    served = await visit(simulator, ASK, authorization="Bearer sk-poor")
    refused = await visit(simulator, ASK, authorization="Bearer sk-poor")

    assert (served.status, refused.status) == (200, 429)
    assert msgspec.json.decode(refused.body)["error"]["code"] == "insufficient_quota"
    assert "retry-after" not in refused.head


@pytest.mark.anyio
@pytest.mark.parametrize("what", ["organization", "project"])
async def test_a_key_works_for_its_own_organisation_and_project(what):
    """Naming another one is refused, naming the right one or none is not."""
    key = SimulatedCredential("sk-a", organization="org-a", project="proj-a")
    simulator = Simulator(SimulatorConfig(prices=PRICES, credentials={"a": key}), FakeClock())
    own = {
        "authorization": "Bearer sk-a",
        f"openai-{what}": "org-a" if what[0] == "o" else "proj-a",
    }

    right = await visit(simulator, ASK, **own)
    wrong = await visit(simulator, ASK, **{**own, f"openai-{what}": "elsewhere"})

    assert (right.status, right.head["openai-organization"]) == (200, "org-a")
    assert wrong.status == 401
    assert re.search(rf'"mismatched_{what}"', wrong.body.decode())
