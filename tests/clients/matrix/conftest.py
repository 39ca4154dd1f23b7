"""Each app follows its plan once at each place: at the practice OpenAI itself, and at the gateway."""

from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from headworks.simulator import running
from tests.clients.elsewhere import report
from tests.clients.ground import OPEN_KEY, PRACTICE, running_gateway
from tests.clients.matrix.clients import APPS, PAIRS, App, is_of_app, plan

DIRECT, GATEWAY = "direct", "gateway"
PLACES = (DIRECT, GATEWAY)
WEB_KEY, ORIGIN = "web-key-0123456789", "https://app.example.com"
"""The key of the backend of a web page, and where that page comes from."""
_PATHS = {"/v1/chat/completions": "chat", "/v1/responses": "responses"}
_AT_ONCE = 6
"""Visits beside each other: in most of its time a client waits before it asks again."""
_CONFIGURATION = """\
server: {{listen: "127.0.0.1:0", admin: "127.0.0.1:0", cors: {{origins: ["{origin}"]}}}}
store: sqlite:{folder}/headworks.db
log: {{level: warning, calls: false}}
retry: {{first: 10ms, longest: 20ms}}
stream: {{keep_alive: 300ms}}
upstreams:
  practice:
    base_url: {upstream}
    credentials: [{{name: main, api_key: sk-simulator}}]
    breaker: false
    retry_budget: {{floor: 10000}}
  weak:
    base_url: {upstream}
    credentials: [{{name: main, api_key: sk-simulator}}]
    breaker: {{calls: 1, open: 2s, probes: 1}}
    retry_budget: {{floor: 10000}}
models:
  recovers-chat: {{routes: [weak/recovers-chat]}}
  recovers-responses: {{routes: [weak/recovers-responses]}}
keys:
  - {{name: open, secret: {open_key}}}
  - name: web
    secret: {web_key}
    client_tokens: {{max_expiry: 10m}}
"""


@dataclass(frozen=True)
class Visit:
    """What an app saw at one place, by one of its ways to ask.

    Attributes:
        also: What it saw of what belongs to neither way.
        attempts: How often the provider was asked for a model that way.
    """

    app: App
    way: str
    place: str
    version: str
    seen: dict[str, Any]
    also: dict[str, Any]
    attempts: Counter[str]


@pytest.fixture(scope="session")
def visits(request, tmp_path_factory):
    """Make the visits of all apps that are asked for, beside each other, each on its own ground."""
    wanted = {_app_of(item) for item in request.session.items}
    made: dict[tuple[str, str], Future[tuple[Any, list[Any]]]] = {}
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for app in sorted(APPS, key=lambda app: -app.tries * app.gated_tries):
            if app.name not in wanted:
                continue
            command = app.command()
            for place in PLACES:
                folder = tmp_path_factory.mktemp(f"{app.name}-{place}")
                made[app.name, place] = pool.submit(_go, command, place, folder)

        def visit(app: App, way: str, place: str) -> Visit:
            found, attempts = made[app.name, place].result()
            counted = Counter(
                one["model"]
                for one in attempts
                if is_of_app(one) and _PATHS.get(one["path"]) == way
            )
            seen = found["ways"][way]
            return Visit(app, way, place, found["version"], seen, found["also"], counted)

        yield visit
        pool.shutdown(cancel_futures=True)


def _app_of(item: Any) -> str:
    """Return the name of the app that a test is about, "" for none."""
    parameters = item.callspec.params if hasattr(item, "callspec") else {}
    app: App | None = parameters["pair"][0] if "pair" in parameters else parameters.get("app")
    return app.name if app else ""


def _go(command: list[str], place: str, folder: Path) -> tuple[Any, list[Any]]:
    """Let an app follow its plan; return its report, and what the provider was asked."""
    with ExitStack() as stack:
        practice = stack.enter_context(running(PRACTICE))
        url, key = practice.base_url, "sk-simulator"
        if place == GATEWAY:
            url, key = stack.enter_context(gateway_before(url, folder)), OPEN_KEY
        seen = report(command, plan(key), OPENAI_BASE_URL=url, OPENAI_API_KEY=key)
        return seen, practice.attempts()


def gateway_before(upstream: str, folder: Path) -> AbstractContextManager[str]:
    """Run a gateway of its own; what it yields is the address of its API."""
    written = _CONFIGURATION.format(
        folder=folder, upstream=upstream, open_key=OPEN_KEY, web_key=WEB_KEY, origin=ORIGIN
    )
    file = folder / "headworks.yaml"
    file.write_text(written, encoding="utf-8")
    return running_gateway(file)


@pytest.fixture(scope="session")
def gateway(session_practice, tmp_path_factory):
    """The address of a gateway like those that the apps visit."""
    folder = tmp_path_factory.mktemp("gateway")
    with gateway_before(session_practice.base_url, folder) as url:
        yield url


@pytest.fixture(params=PAIRS, ids=lambda pair: f"{pair[0].name}-{pair[1]}")
def pair(request):
    """An app, and a way to ask."""
    return request.param


@pytest.fixture(params=PLACES)
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
