"""Promises to an app about failure: the client's own exceptions, each with a code and a reason."""

import time
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any

import openai
import pytest

from tests.clients.conftest import each, value
from tests.clients.ground import MESSAGES, MODEL, OPEN_KEY, narrow_key, single_key

pytestmark = pytest.mark.anyio


@dataclass(frozen=True)
class Case:
    """A call that fails, and how.

    Attributes:
        says: What the message tells, among other things.
        key: Whose key is used: the open one's, the app's narrow one's, or nobody's.
        attempts: How often the provider is asked in all, by whomever.
    """

    id: str
    expected: type[openai.APIStatusError]
    status: int
    code: str | None
    says: str
    attempts: int
    model: str | None = MODEL
    key: str = "open"
    options: dict[str, Any] = field(default_factory=dict[str, Any])


LONG = {"messages": [{"role": "user", "content": "weir " * 30}]}
REFUSED = [
    Case("an unknown key", openai.AuthenticationError, 401, "invalid_api_key", "key", 0, key="nobody's"),
    Case("a model not for this key", openai.PermissionDeniedError, 403, "model_not_allowed", "'gpt-6-luna'; it may use gpt-6-sol", 0, "gpt-6-luna", "narrow"),
    Case("no model", openai.BadRequestError, 400, "invalid_request", "a model parameter", 0, None),
    Case("a model of another type", openai.BadRequestError, 400, "invalid_request", "must be a string", 0, options={"model": 7}),
]  # fmt: skip
ANSWERED = [
    Case("a model that is not there", openai.NotFoundError, 404, "model_not_found", "`nothing` does not exist", 1, "nothing"),
    Case("a bad parameter", openai.BadRequestError, 400, "integer_below_min_value", "Invalid 'n'", 1, options={"n": 0}),
    Case("a prompt too long", openai.BadRequestError, 400, "context_length_exceeded", "context length is 20 tokens", 1, "narrow", options=LONG),
    Case("an unpaid bill", openai.RateLimitError, 429, "insufficient_quota", "exceeded your current quota", 1, "unpaid"),
    Case("a wait too long", openai.RateLimitError, 429, "rate_limit_exceeded", "try again in 90s", 1, "busy"),
]  # fmt: skip
FAILED = [
    Case("a failing provider", openai.InternalServerError, 500, "server_error", "The server had an error", 3, "fails"),
    Case("a proxy's error page", openai.InternalServerError, 503, None, "503 without an error that can be read", 3, "fails-in-html"),
    Case("a lost connection", openai.InternalServerError, 502, "upstream_connection_lost", "before the provider had answered", 3, "hangs-up"),
    Case("a gateway disowned", openai.InternalServerError, 502, "upstream_auth_failed", "The caller's key is fine", 1, "disowned"),
]  # fmt: skip


@pytest.mark.parametrize("case", REFUSED + ANSWERED + FAILED, ids=lambda case: case.id)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_a_failure_is_the_clients_own_exception(app, truth, case, stream):
    """Class, status, code, message and request id tell what went wrong, streamed or not.

    What repetition cannot mend is not repeated, and what headworks has repeated the client, which
    tries three times unless told otherwise, does not repeat again.
    """
    keys = {"open": OPEN_KEY, "narrow": narrow_key(app.name), "nobody's": "hw_nobody"}
    client = app.client(keys[case.key])

    with pytest.raises(case.expected) as raised:
        await app.ask(client, **{"model": case.model, "stream": stream} | case.options)

    error = raised.value
    headers = error.response.headers
    assert (error.status_code, error.code) == (case.status, case.code)
    assert case.says in error.message
    assert error.request_id == headers["x-headworks-call"]
    assert headers["x-should-retry"] == "false"
    assert headers.get("x-headworks-attempts", "0") == str(case.attempts)
    assert truth.attempts(case.model) == case.attempts


async def test_a_provider_says_itself_what_it_refuses(app, truth):
    """An error of the provider's arrives word for word: message, type, code and parameter."""
    told = list[Any]()
    for client in (app.client(max_retries=0), truth.client):
        with pytest.raises(openai.BadRequestError) as raised:
            await value(client.chat.completions.create(model=MODEL, messages=[]))
        told.append(raised.value.body)

    assert told[0] == told[1]
    assert told[0]["code"] == "empty_array"


async def test_a_key_that_is_named_twice(app, truth):
    """A body that could be read in two ways is read in none: the provider never sees it."""
    body = b'{"model": "gpt-6-sol", "messages": [], "model": "gpt-6-luna"}'
    json_type = {"headers": {"content-type": "application/json"}}
    client = app.client()

    with pytest.raises(openai.BadRequestError, match='duplicate key "model"') as raised:
        await value(
            client.post("/chat/completions", content=body, cast_to=object, options=json_type)
        )

    assert raised.value.code == "invalid_json"
    assert truth.practice.attempts() == []


async def test_a_spent_limit(app, truth):
    """A key that has made its two calls of the minute is told so, and how long to wait.

    The client would wait that long and ask again: here it may not.
    """
    client = app.client(narrow_key(app.name), max_retries=0)
    for _ in range(2):
        await app.ask(client, model=MODEL)

    with pytest.raises(openai.RateLimitError, match="requests per minute") as raised:
        await app.ask(client, model=MODEL)

    headers = raised.value.response.headers
    wait = int(headers["retry-after-ms"]) / 1000
    assert raised.value.code == "rate_limit_exceeded"
    assert 50 < wait <= int(headers["retry-after"]) < wait + 1
    assert headers["x-should-retry"] == ("true" if wait <= 60 else "false")
    assert truth.attempts(MODEL) == 2


async def test_a_wait_is_obeyed(app, truth):
    """Told to wait, the client does so for as long and then succeeds; the app sees an answer.

    Letting go of a stream frees its place at once.
    """
    key = single_key(app.name)
    held = await app.ask(app.client(key), model="holds", stream=True)
    await anext(aiter(each(held)))
    seen: list[tuple[int, float]] = []
    told: list[float] = []

    async def note(response: Any) -> None:
        seen.append((response.status_code, time.monotonic()))
        if response.status_code == 429:
            told.append(float(response.headers["retry-after-ms"]) / 1000)
            await value(held.close())

    client = app.client(key, max_retries=1)
    hook = note if app.name == "async" else lambda response: _run(note(response))
    client._client.event_hooks = {"response": [hook]}
    raw = await value(
        client.chat.completions.with_raw_response.create(model=MODEL, messages=MESSAGES)
    )

    assert [status for status, _ in seen] == [429, 200]
    assert seen[1][1] - seen[0][1] >= told[0] > 0.0
    assert raw.retries_taken == 1
    assert (await value(raw.parse())).choices[0].message.content == truth.text(MODEL)


def _run(steps: Coroutine[Any, Any, None]) -> None:
    """Run what never waits."""
    with pytest.raises(StopIteration):
        steps.send(None)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_a_clients_patience_is_its_own(app, practice, stream):
    """A client that waits 0.4 s at most has its error then, and the provider's work is ended.

    headworks keeps the client's time too, and says so a moment before the client would.
    """
    client = app.client(timeout=0.4, max_retries=0)
    begun = time.monotonic()

    with pytest.raises((openai.APITimeoutError, openai.InternalServerError)) as raised:
        await app.ask(client, model="hangs", stream=stream)

    assert raised.value.code in {None, "deadline_exceeded"}
    assert 0.35 <= time.monotonic() - begun < 1.5
    assert practice.wait_settled(1.0)
    assert [one["outcome"] for one in practice.attempts()] == ["gone"]
