"""Promises to apps on openai 2.x and on Node: nothing but two variables changes for them either."""

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.clients.elsewhere import (
    HERE,
    NODE_LOCK,
    ROOT,
    node_with_packages,
    python_lock,
    python_with,
    report,
)
from tests.clients.ground import (
    EMBEDDER,
    MESSAGES,
    MODEL,
    NO_FAULT,
    OPEN_KEY,
    narrow_key,
    write_configuration,
)
from tests.clients.test_answers import PARAMETERS, TOOLS

pytestmark = pytest.mark.timeout(600)  # the first run installs

NARROW_KEY = narrow_key("elsewhere")
BROKEN = {
    "cut-fin-4": "upstream_stream_truncated",
    "cut-rst-4": "upstream_stream_truncated",
    "cut-clean-4": "upstream_stream_truncated",
    "stalls": "upstream_idle_timeout",
    "garbles": "upstream_malformed_event",
    "gives-up": "server_error",
}


@dataclass(frozen=True)
class Case:
    """A call that fails, and how.

    Attributes:
        attempts: How often the provider is asked in all, by whomever.
    """

    id: str
    expected: str
    status: int
    code: str
    attempts: int
    model: str = MODEL
    key: str = OPEN_KEY
    more: dict[str, Any] = field(default_factory=dict[str, Any])


FAILURES = [
    Case("unknown key", "AuthenticationError", 401, "invalid_api_key", 0, key="hw_nobody"),
    Case("model not for this key", "PermissionDeniedError", 403, "model_not_allowed", 0, "gpt-6-luna", "narrow"),
    Case("no such model", "NotFoundError", 404, "model_not_found", 1, "nothing"),
    Case("bad parameter", "BadRequestError", 400, "integer_below_min_value", 1, "done-twice", more={"n": 0}),
    Case("unpaid", "RateLimitError", 429, "insufficient_quota", 1, "unpaid"),
    Case("too busy", "RateLimitError", 429, "rate_limit_exceeded", 1, "busy"),
    Case("failing", "InternalServerError", 500, "server_error", 3, "fails"),
    Case("hanging up", "InternalServerError", 502, "upstream_connection_lost", 3, "hangs-up"),
]  # fmt: skip


@dataclass(frozen=True)
class Seen:
    """What an app elsewhere saw, and how often the provider was asked for each model."""

    kind: str
    report: dict[str, Any]
    attempts: Counter[str]


def plan(config: str | None) -> dict[str, Any]:
    """Return what an app elsewhere is to do."""
    body = {"model": MODEL, "messages": MESSAGES}
    shape = {"name": "level", "strict": True, "schema": PARAMETERS}
    return {
        "config": config,
        "key": OPEN_KEY,
        "body": body,
        "tools": TOOLS,
        "format": {"type": "json_schema", "json_schema": shape},
        "texts": {"model": EMBEDDER, "input": ["weir", "sluice"]},
        "response": {"model": MODEL, "input": "Hello"},
        "failures": {
            case.id: {
                "key": NARROW_KEY if case.key == "narrow" else case.key,
                "body": body | {"model": case.model} | case.more,
            }
            for case in FAILURES
        },
        "broken": list(BROKEN),
    }


@pytest.fixture(
    scope="module",
    params=["gateway-sync", "gateway-async", "inprocess-sync", "inprocess-async", "gateway-node"],
)
def seen(request, session_practice, tmp_path_factory):
    """What each of the other clients saw; each follows its plan once."""
    face, _, kind = request.param.partition("-")
    environ, config = {"PYTHONPATH": str(ROOT / "src")}, None
    if face == "gateway":
        url = request.getfixturevalue("gateway")
        environ = {"OPENAI_BASE_URL": url, "OPENAI_API_KEY": OPEN_KEY}
    else:
        config = str(write_configuration(tmp_path_factory.mktemp(kind), session_practice.base_url))
    if kind == "node":
        command = [node_with_packages(), str(HERE / "client.mjs")]
    else:
        command = [str(python_with("openai2")), str(HERE / "script_openai2.py"), kind]
    assert session_practice.wait_settled()
    session_practice.reset()
    found = report(command, plan(config), **environ)
    asked = session_practice.attempts()
    return Seen(kind, found, Counter(one["model"] for one in asked if one["fault"] != NO_FAULT))


def test_the_client_is_the_one_that_is_locked(seen):
    """The judge is the version that the lock names, not another one that lay about."""
    locked = json.loads(NODE_LOCK.read_text())["packages"]["node_modules/openai"]["version"]
    wanted = "openai==" + seen.report["version"] in python_lock("openai2").read_text()

    assert seen.report["version"] == locked if seen.kind == "node" else wanted


def test_whole_answers(seen, truth):
    """Text, usage and the number of the call arrive."""
    said = truth.answer(MODEL)

    assert seen.report["text"] == said.choices[0].message.content
    assert seen.report["tokens"] == said.usage.total_tokens
    assert len(set(seen.report["ids"])) == 1
    assert seen.report["ids"][0]


def test_streamed_answers(seen, truth):
    """A stream says what the whole answer says, and its usage to those alone who ask."""
    text = truth.text(MODEL)
    tokens = truth.answer(MODEL).usage.total_tokens

    assert seen.report["streamed"] == {"text": text, "finish": "stop", "usage": []}
    assert seen.report["streamed_with_usage"] == {
        "text": text,
        "finish": "stop",
        "usage": [tokens],
    }


def test_a_tool_loop(seen, truth):
    """The model's call has its arguments, its result goes back, and the answer follows."""
    name, arguments, turns = seen.report["tool"]

    assert name == "water_level"
    assert arguments.keys() == set(PARAMETERS["required"])
    assert seen.report["answered"] == truth.text(MODEL, messages=turns)


def test_structured_output(seen):
    """An answer with a schema is valid under it."""
    assert seen.report["shaped"].keys() == set(PARAMETERS["required"])


def test_embeddings(seen, truth):
    """Vectors arrive number by number as they were made."""
    made = truth.client.embeddings.create(model=EMBEDDER, input=["weir", "sluice"])

    assert seen.report["vectors"] == [pytest.approx(one.embedding) for one in made.data]


def test_responses(seen, truth):
    """The Responses API answers whole and as events in order, up to its last one."""
    said = truth.client.responses.create(model=MODEL, input="Hello").output_text
    numbers, kinds = zip(*seen.report["events"], strict=True)

    assert seen.report["response"] == seen.report["event_text"] == said
    assert list(numbers) == list(range(len(numbers)))
    assert (kinds[0], kinds[-1]) == ("response.created", "response.completed")


def test_the_list_of_models(seen):
    """An app sees the names that it may ask for."""
    assert set(seen.report["models"]) == {MODEL, "stalls"}


@pytest.mark.parametrize("case", FAILURES, ids=lambda case: case.id)
def test_failures_are_the_clients_own_exceptions(seen, case):
    """Class, status and code tell what went wrong; retries of client and gateway do not multiply."""
    error = seen.report["failures"][case.id]

    assert (error["class"], error["status"], error["code"]) == (
        case.expected,
        case.status,
        case.code,
    )
    assert error["request_id"] == error["headers"]["x-headworks-call"]
    assert error["headers"]["x-should-retry"] == "false"
    assert case.model == MODEL or seen.attempts[case.model] == case.attempts


@pytest.mark.parametrize("model", BROKEN)
def test_broken_streams_raise(seen, truth, model):
    """A stream that breaks off, falls silent or fails is an error with a code, after true words."""
    heard = seen.report["broken"][model]

    assert (heard["class"], heard["code"]) == ("APIError", BROKEN[model])
    assert heard["text"]
    assert truth.text(model).startswith(heard["text"])
    assert heard["finish"] is None


def test_the_node_lock_names_no_address():
    """`npm ci` takes exactly the locked packages, from wherever the machine is set up to fetch them."""
    packages = json.loads(NODE_LOCK.read_text())["packages"]

    assert len(packages) > 1
    for name, package in packages.items():
        assert "resolved" not in package, name
        assert not name or package["integrity"].startswith("sha512-")
    assert "://" not in NODE_LOCK.read_text()
