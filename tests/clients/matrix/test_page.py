"""Promises to web pages on the official Node client: a token of its backend is all that one needs."""

from typing import Any

import httpx
import pytest

from tests.clients.elsewhere import node_with_packages, report
from tests.clients.ground import MESSAGES, MODEL
from tests.clients.matrix.clients import HERE, VOICE
from tests.clients.matrix.conftest import ORIGIN, WEB_KEY

pytestmark = pytest.mark.timeout(600)  # the first run installs

OTHER = "gpt-6-luna"
FAILURES = {
    "another model": ["PermissionDeniedError", 403, "model_not_allowed"],
    "files": ["PermissionDeniedError", 403, "path_not_allowed"],
    "a token that was cut": ["AuthenticationError", 401, "invalid_api_key"],
    "a key": ["PermissionDeniedError", 403, "key_in_browser"],
    "another page": ["APIConnectionError", None, None],
    "a spent limit": [[], ["RateLimitError", 429, "rate_limit_exceeded"]],
    "an old token": ["AuthenticationError", 401, "token_expired"],
}


def token(gateway: str, **wishes: Any) -> str:
    """Return a token for a user, as the page's backend gets it."""
    url = gateway.replace("/v1", "/api/client-tokens")
    head = {"authorization": f"Bearer {WEB_KEY}"}
    told = httpx.post(url, json={"user": "u42"} | wishes, headers=head)
    return str(told.raise_for_status().json()["token"])


@pytest.fixture(scope="module")
def seen(gateway):
    """What a page saw that held tokens of three kinds."""
    plan = {
        "token": token(gateway, models=[MODEL, VOICE]),
        "narrow": token(gateway, limits={"rpm": 1}),
        "brief": token(gateway, expires_in=0.3),
        "brief_ms": 400,
        "key": WEB_KEY,
        "origin": ORIGIN,
        "model": MODEL,
        "other": OTHER,
        "voice": VOICE,
        "question": MESSAGES[0]["content"],
    }
    command = [node_with_packages(), str(HERE / "on_page.mjs")]
    return report(command, plan, OPENAI_BASE_URL=gateway)


def test_a_page_asks(seen, truth):
    """Chats, streams, responses and the list of models: the page says what its server would."""
    said = truth.text(MODEL)

    assert seen["text"] == seen["streamed"] == said
    assert (
        seen["response"]
        == truth.client.responses.create(model=MODEL, input=MESSAGES[0]["content"]).output_text
    )
    assert seen["models"] == [MODEL, VOICE]


def test_a_page_reads_the_number_of_its_call(seen):
    """The browser shows the page the fields that it needs to ask for help."""
    assert seen["id"].startswith("call_")


def test_a_page_talks(seen):
    """A Realtime session opens with a token, by the client's transport for browsers."""
    status, text = seen["spoken"]

    assert status == "completed"
    assert text


@pytest.mark.parametrize("name", FAILURES)
def test_a_page_is_refused(seen, name):
    """What is not for pages is refused as the guide says, in the client's own exceptions."""
    assert seen["failures"][name] == FAILURES[name]
