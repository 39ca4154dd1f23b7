"""Each app follows its plan once at each place: at the practice OpenAI itself, and at the gateway."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import pytest

from tests.clients.elsewhere import report
from tests.clients.ground import OPEN_KEY
from tests.clients.matrix.clients import PAIRS, App, is_of_app, plan

DIRECT, GATEWAY = "direct", "gateway"
_KEYS = {DIRECT: "sk-simulator", GATEWAY: OPEN_KEY}
_PATHS = {"/v1/chat/completions": "chat", "/v1/responses": "responses"}


@dataclass(frozen=True)
class Visit:
    """What an app saw at one place, by one of its ways to ask.

    Attributes:
        attempts: How often the provider was asked for a model that way.
    """

    app: App
    way: str
    place: str
    version: str
    seen: dict[str, Any]
    attempts: Counter[str]


@pytest.fixture(scope="session")
def visits(request, session_practice):
    """Make a visit, or remember it."""
    made: dict[tuple[str, str], tuple[Any, list[Any]]] = {}

    def visit(app: App, way: str, place: str) -> Visit:
        if (app.name, place) not in made:
            url = session_practice.base_url
            url = url if place == DIRECT else request.getfixturevalue("gateway")
            assert session_practice.wait_settled()
            session_practice.reset()
            key = _KEYS[place]
            seen = report(app.command(), plan(key), OPENAI_BASE_URL=url, OPENAI_API_KEY=key)
            made[app.name, place] = seen, session_practice.attempts()
        seen, attempts = made[app.name, place]
        counted = Counter(
            one["model"] for one in attempts if is_of_app(one) and _PATHS.get(one["path"]) == way
        )
        return Visit(app, way, place, seen["version"], seen["ways"][way], counted)

    return visit


@pytest.fixture(params=PAIRS, ids=lambda pair: f"{pair[0].name}-{pair[1]}")
def pair(request):
    """An app, and a way to ask."""
    return request.param


@pytest.fixture(params=[DIRECT, GATEWAY])
def visit(request, pair, visits):
    """What an app saw at either place."""
    return visits(*pair, request.param)


@pytest.fixture
def without(pair, visits):
    """What an app saw at the practice OpenAI."""
    return visits(*pair, DIRECT)


@pytest.fixture
def gated(pair, visits):
    """What an app saw at the gateway."""
    return visits(*pair, GATEWAY)
