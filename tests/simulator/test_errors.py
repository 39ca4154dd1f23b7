"""Refusals, in the real one's words."""

import threading
from dataclasses import dataclass, field
from typing import Any

import httpx
import openai
import pytest

from headworks.simulator import running

CHAT, RESPONSES, EMBEDDINGS = "/chat/completions", "/responses", "/embeddings"
HELLO = [{"role": "user", "content": "Hello"}]
LONG = [{"role": "user", "content": "river " * 30}]


@dataclass(frozen=True)
class Case:
    id: str
    status: int
    message: str
    code: str | None = None
    param: str | None = None
    method: str = "POST"
    path: str = CHAT
    fields: dict[str, Any] = field(default_factory=dict[str, Any])
    headers: dict[str, str] = field(default_factory=dict[str, str])
    content: bytes | None = None


JSON = {"content-type": "application/json"}
CASES = [
    Case("no key", 401, "You didn't provide an API key", headers={"authorization": ""}),
    Case("no bearer", 401, "You didn't provide", headers={"authorization": "Basic c2stc2ltdQ=="}),
    Case(
        "a wrong key",
        401,
        "Incorrect API key provided: sk-************wxyz. You can find",
        "invalid_api_key",
        headers={"authorization": "Bearer sk-abcdefghijklmnopqrstuvwxyz"},
    ),
    Case(
        "a short wrong key",
        401,
        "Incorrect API key provided: ************. You can find",
        "invalid_api_key",
        headers={"authorization": "Bearer secret"},
    ),
    Case("an unknown path", 404, "Invalid URL (POST /v1/nothing)", path="/nothing"),
    Case(
        "a wrong method",
        405,
        "Not allowed to GET",
        "method_not_supported",
        method="GET",
        path=EMBEDDINGS,
    ),
    Case("a wrong method for a list", 405, "Not allowed", "method_not_supported", path="/models"),
    Case("no JSON", 400, "We could not parse the JSON body", content=b'{"model":', headers=JSON),
    Case("no object", 400, "We could not parse the JSON body", content=b"[1]", headers=JSON),
    Case("endless nesting", 400, "We could not parse", content=b"[" * 100_000, headers=JSON),
    Case(
        "a wrong content type",
        400,
        "Unsupported content type: 'text/plain'",
        "unsupported_content_type",
        content=b"{}",
        headers={"content-type": "text/plain"},
    ),
    Case("no model", 400, "you must provide a model parameter", fields={"messages": HELLO}),
    Case(
        "an unknown model",
        404,
        "The model `nobody` does not exist or you do not have access to it.",
        "model_not_found",
        fields={"model": "nobody", "messages": HELLO},
    ),
    Case(
        "an unknown model for responses",
        400,
        "The requested model 'nobody' does not exist.",
        "model_not_found",
        "model",
        path=RESPONSES,
        fields={"model": "nobody", "input": "Hello"},
    ),
    Case(
        "no messages",
        400,
        "Missing required parameter: 'messages'.",
        "missing_required_parameter",
        "messages",
        fields={"model": "gpt-4o"},
    ),
    Case(
        "empty messages",
        400,
        "Invalid 'messages': empty array",
        "empty_array",
        "messages",
        fields={"model": "gpt-4o", "messages": []},
    ),
    Case(
        "messages of another kind",
        400,
        "Invalid type for 'messages': expected an array of objects, but got a",
        "invalid_type",
        "messages",
        fields={"model": "gpt-4o", "messages": "Hello"},
    ),
    Case(
        "a message without a role",
        400,
        "Missing required parameter: 'messages[1].role'.",
        "missing_required_parameter",
        "messages[1].role",
        fields={"model": "gpt-4o", "messages": [*HELLO, {"content": "Hello"}]},
    ),
    Case(
        "no input",
        400,
        "Missing required parameter: 'input'.",
        "missing_required_parameter",
        "input",
        path=RESPONSES,
        fields={"model": "gpt-4o"},
    ),
    Case(
        "too many choices",
        400,
        "Invalid 'n': integer above maximum value. Expected a value <= 128, but got 500 instead.",
        "integer_above_max_value",
        "n",
        fields={"model": "gpt-4o", "messages": HELLO, "n": 500},
    ),
    Case(
        "a bound that is no number",
        400,
        "Invalid type for 'max_tokens': expected an integer, but got a string instead.",
        "invalid_type",
        "max_tokens",
        fields={"model": "gpt-4o", "messages": HELLO, "max_tokens": "7"},
    ),
    Case(
        "a bound of nothing",
        400,
        "Invalid 'max_tokens': integer below minimum value. Expected a value >= 1",
        "integer_below_min_value",
        "max_tokens",
        fields={"model": "gpt-4o", "messages": HELLO, "max_tokens": 0},
    ),
    Case(
        "stops of another kind",
        400,
        "Invalid type for 'stop'",
        "invalid_type",
        "stop",
        fields={"model": "gpt-4o", "messages": HELLO, "stop": [1]},
    ),
    Case(
        "a prompt that does not fit",
        400,
        "maximum context length is 20 tokens. However, your messages resulted in 38 tokens",
        "context_length_exceeded",
        "messages",
        fields={"model": "narrow", "messages": LONG},
    ),
    Case(
        "an input that does not fit",
        400,
        "Your input exceeds the context window of this model",
        "context_length_exceeded",
        "input",
        path=RESPONSES,
        fields={"model": "narrow", "input": LONG},
    ),
    Case(
        "one of several texts does not fit",
        400,
        "you requested 31 tokens (31 in your prompt; 0 for the completion)",
        path=EMBEDDINGS,
        fields={"model": "narrow", "input": ["river", "river " * 30]},
    ),
    Case(
        "an answer that does not fit",
        400,
        "max_tokens is too large: 51. This model supports at most 50 completion tokens",
        "invalid_value",
        "max_tokens",
        fields={"model": "narrow", "messages": HELLO, "max_tokens": 51},
    ),
    Case(
        "an unknown fault",
        400,
        "Known faults: status, refuse, reset_before_head",
        "invalid_value",
        "x-simulator-fault",
        fields={"model": "gpt-4o", "messages": HELLO},
        headers={"x-simulator-fault": "earthquake"},
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_refusals_read_like_the_real_ones(simulator, case):
    """A mistake gets the status, words, code and param that the real API gives it, free of charge."""
    before = simulator.invoice()["nano_usd"]
    body = {"content": case.content} if case.content is not None else {"json": case.fields}
    headers = {"authorization": "Bearer sk-simulator", **case.headers}

    answer = httpx.request(
        case.method,
        simulator.base_url + case.path,
        headers=headers,
        **({} if case.method == "GET" else body),
    )

    error = answer.json()["error"]
    assert answer.status_code == case.status
    assert case.message in error["message"]
    assert (error["code"], error["param"], error["type"]) == (
        case.code,
        case.param,
        "invalid_request_error",
    )
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-request-id"].startswith("req_")
    assert simulator.invoice()["nano_usd"] == before


def test_several_short_texts_fit_together(simulator):
    """The window holds one text; many of them may be longer than it."""
    fields = {"model": "narrow", "input": ["river"] * 30}
    headers = {"authorization": "Bearer sk-simulator"}

    answer = httpx.post(simulator.base_url + EMBEDDINGS, json=fields, headers=headers)

    assert answer.json()["usage"]["prompt_tokens"] == 30


def test_every_answer_says_who_answered(client):
    """Header fields are there on answers, streams and errors alike."""
    create = client.chat.completions.with_raw_response.create
    fields = {"model": "gpt-4o", "messages": HELLO}
    whole, stream = create(**fields), create(**fields, stream=True)
    with pytest.raises(openai.NotFoundError) as caught:
        create(model="nobody", messages=HELLO)

    for headers in (whole.headers, stream.headers, caught.value.response.headers):
        assert headers["openai-version"] == "2020-10-01"
        assert headers["openai-organization"] == "org-simulator"
        assert int(headers["openai-processing-ms"]) >= 0
    stream.parse().close()


def test_the_key_is_nowhere_to_be_read(client, simulator):
    """Log and invoice name the credential; the key itself they do not know."""
    client.chat.completions.create(model="gpt-4o", messages=HELLO)
    root = simulator.base_url.removesuffix("/v1")
    pages = [httpx.get(f"{root}/_simulator/{page}").text for page in ("attempts", "invoice")]

    assert all("sk-simulator" not in page and '"simulator"' in page for page in pages)


def test_a_simulator_leaves_no_thread_behind():
    """A simulator that was left is gone, and so is its thread."""
    before = set(threading.enumerate())
    with running() as simulator:
        assert httpx.get(f"{simulator.base_url}/models").status_code == 401
        assert set(threading.enumerate()) > before

    left = {
        thread
        for thread in set(threading.enumerate()) - before
        if thread.name.startswith("simulator-")
    }
    assert not left
