"""Faults: each breaks what it says, at the token it says, and is billed for what was sent."""

import json
from dataclasses import dataclass
from typing import Any

import httpx
import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headworks.simulator import FaultRule, SimulatorConfig, running
from headworks.simulator.faults import Occasion, Rules
from tests.simulator.conftest import PRICES

FIELDS: dict[str, Any] = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello"}]}


@dataclass(frozen=True)
class Seen:
    """What a client sees of one request: events, how it ended, and the provider's log entry."""

    events: list[str]
    error: type[Exception] | None
    status: int
    output: int
    outcome: str


def visit(simulator, fault, *, stream=True, timeout=5.0):
    """Send one request that meets `fault`."""
    simulator.reset()
    headers = {"authorization": "Bearer sk-simulator", "x-simulator-fault": fault}
    events, error = list[str](), None
    url = f"{simulator.base_url}/chat/completions"
    try:
        with httpx.stream(
            "POST", url, json=FIELDS | {"stream": stream}, headers=headers, timeout=timeout
        ) as answer:
            for line in answer.iter_lines():
                events += [line] if line else []
    except httpx.HTTPError as caught:
        error = type(caught)
    assert simulator.wait_settled()
    [attempt] = simulator.attempts()
    outcome = attempt["outcome"]
    return Seen(events, error, attempt["status"], attempt["usage"]["output"], outcome)


ENDS = [
    ("cut_after=3", 4, httpx.RemoteProtocolError, 3, "cut"),
    ("cut_after=3,rst", 4, httpx.ReadError, 3, "cut"),
    ("cut_after=3,clean", 4, None, 3, "cut"),
    ("cut_after=0", 1, httpx.RemoteProtocolError, 0, "cut"),
    ("error_event=2", 4, None, 2, "cut"),
    ("malformed_chunk=2", 4, None, 2, "cut"),
]


@pytest.mark.parametrize(("fault", "events", "error", "output", "outcome"), ENDS)
def test_a_stream_breaks_at_its_token(simulator, fault, events, error, output, outcome):
    """The client gets exactly the tokens before the fault, and they are what is billed."""
    seen = visit(simulator, fault)

    assert (len(seen.events), seen.error, seen.output) == (events, error, output)
    assert (seen.status, seen.outcome) == (200, outcome)
    assert "data: [DONE]" not in seen.events


@pytest.mark.parametrize(
    ("fault", "ending"),
    [
        ("no_done", 0),
        ("duplicate_done", 2),
        ("missing_usage", 1),
        ("slow_first_token=0", 1),
    ],
)
def test_a_stream_may_end_oddly(simulator, fault, ending):
    """All words arrive; the end is missing, doubled, or as it should be."""
    seen = visit(simulator, fault)

    assert seen.events.count("data: [DONE]") == ending
    assert (seen.error, seen.outcome) == (None, "completed")
    assert seen.output > 10


def test_a_stream_may_come_as_json(simulator):
    """A provider that forgets to stream sends one JSON object."""
    seen = visit(simulator, "json_instead_of_stream")

    assert json.loads("".join(seen.events))["object"] == "chat.completion"


def test_an_error_may_come_as_an_event(simulator):
    """The last event of a broken stream tells the error."""
    error = json.loads(visit(simulator, "error_event=2").events[-1].removeprefix("data: "))

    assert error["error"]["code"] == "server_error"


def test_a_chunk_may_be_no_json(simulator):
    """The last event of the stream cannot be read."""
    with pytest.raises(json.JSONDecodeError):
        json.loads(visit(simulator, "malformed_chunk=2").events[-1].removeprefix("data: "))


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("fault", ["reset_before_head", "hang_before_head"])
def test_nothing_may_come_at_all(simulator, fault, stream):
    """A connection that is reset or hangs before the head costs nothing."""
    seen = visit(simulator, fault, stream=stream, timeout=0.2)

    assert seen.error in {httpx.ReadError, httpx.ReadTimeout, httpx.RemoteProtocolError}
    assert (seen.events, seen.status, seen.output) == ([], 0, 0)


def test_a_stream_may_stall(simulator):
    """A client that gives up on a silent stream pays for what came before the silence."""
    seen = visit(simulator, "stall_after=5", timeout=0.2)

    assert (len(seen.events), seen.error, seen.output) == (6, httpx.ReadTimeout, 5)
    assert seen.outcome == "gone"


@pytest.mark.parametrize(
    ("fault", "error", "billed"),
    [
        ("cut_after", httpx.RemoteProtocolError, True),
        ("cut_after=1,rst", httpx.ReadError, True),
        ("cut_after=1,clean", None, True),
        ("malformed_chunk", None, True),
        ("stall_after", httpx.ReadTimeout, True),
        ("error_event", None, False),
    ],
)
def test_a_whole_answer_breaks_too(simulator, fault, error, billed):
    """Half a body was generated whole, so it costs all; an error in its place costs nothing."""
    seen = visit(simulator, fault, stream=False, timeout=0.3)

    assert seen.error is error
    assert (seen.output > 10) is billed
    assert seen.status == 200


@dataclass(frozen=True)
class Status:
    fault: str
    error: type[openai.APIStatusError]
    code: str | None
    type: str | None
    retry_after: str | None = None


STATUSES = [
    Status("status=429", openai.RateLimitError, "rate_limit_exceeded", "requests", "1"),
    Status("status", openai.InternalServerError, "server_error", "server_error"),
    Status(
        "status=503",
        openai.InternalServerError,
        "server_is_overloaded",
        "service_unavailable_error",
    ),
    Status("status=403", openai.PermissionDeniedError, None, "invalid_request_error"),
    Status("status=502,html", openai.InternalServerError, None, None),
]


@pytest.mark.parametrize("case", STATUSES, ids=lambda case: case.fault)
def test_any_status_may_be_answered(client, simulator, case):
    """An ordered status looks like the real one's, and costs nothing."""
    with pytest.raises(case.error) as caught:
        client.chat.completions.create(**FIELDS, extra_headers={"x-simulator-fault": case.fault})

    error = caught.value
    assert (error.code, error.type) == (case.code, case.type)
    assert error.response.headers.get("retry-after") == case.retry_after
    assert error.response.headers["content-type"] == (
        "text/html" if "html" in case.fault else "application/json"
    )
    assert simulator.invoice()["nano_usd"] == 0
    assert simulator.attempts()[0]["fault"].startswith("status=")


def statuses(rules, count=30, **fields):
    """Return the status of each of so many requests under these rules."""
    config = SimulatorConfig(prices=PRICES, faults=rules, seed=3)
    with running(config) as simulator, httpx.Client() as client:
        headers = {"authorization": "Bearer sk-simulator"}
        url = f"{simulator.base_url}/chat/completions"
        return [
            client.post(url, json=FIELDS | fields, headers=headers).status_code
            for _ in range(count)
        ]


def test_rules_strike_by_chance_and_can_be_replayed():
    """One request in three fails, and the same ones next time."""
    rules = [FaultRule("status", status=503, probability=0.33)]
    first = statuses(rules)

    assert statuses(rules) == first
    assert 3 < first.count(503) < 17


def test_rules_strike_so_often_and_only_where_they_should():
    """A rule is spent after its times; one for another model or path never strikes."""
    quota = FaultRule("status", status=429, code="insufficient_quota", times=2, model="gpt-4*")
    others = [FaultRule("status", model="gpt-6*"), FaultRule("status", path="*/embeddings")]

    assert statuses([*others, quota], 4) == [429, 429, 200, 200]


def test_an_empty_quota_has_the_real_words():
    """Quota errors have a type of their own and no time to wait for."""
    rule = FaultRule("status", status=429, code="insufficient_quota")
    with (
        running(SimulatorConfig(prices=PRICES, faults=[rule])) as broke,
        openai.OpenAI(base_url=broke.base_url, api_key="sk-simulator", max_retries=0) as client,
        pytest.raises(openai.RateLimitError, match="exceeded your current quota") as caught,
    ):
        client.post("/chat/completions", body=FIELDS, cast_to=object)

    assert caught.value.type == "insufficient_quota"
    assert "retry-after" not in caught.value.response.headers


@given(order=st.permutations([f"request {n}" for n in range(12)]))
def test_chance_does_not_depend_on_who_comes_first(order):
    """Concurrent callers meet the same faults in whatever order they arrive."""
    rules = [FaultRule("no_done", probability=0.5)]

    def struck(keys):
        faults = Rules(rules, (1,))
        return {key for key in keys if faults.first(Occasion("/v1/x", "gpt-4o", key, 1, 0.0))}

    assert struck(order) == struck(sorted(order))
