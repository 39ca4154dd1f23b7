"""No way of writing a path leads past a key's rights, and no form of a target but the plain one is served."""

import re
from collections import Counter
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from itertools import product
from urllib.parse import unquote

import pytest

from headworks.gateway.asgi import Gateway
from tests.front.stage import Recorder, send
from tests.gateway.conftest import Answer, serving
from tests.surface.mirror import Mirror, surface

pytestmark = pytest.mark.anyio

METHODS = ("GET", "POST", "DELETE", "PUT", "PATCH", "HEAD", "OPTIONS", "TRACE")
ADMIN = ("/v1/organization/users", "/v1/projects", "/v1/organization/admin_api_keys/key_1")
PLAIN = ("/v1/models", "/v1/files/file-1", "/v1/chat/completions")
FORMS = (
    "{}", "{}/", "/{}", "{}//", "//{}", "{}/.", "{}/..", "{}/../", "/.{}", "/..{}", "/x/..{}", "/v1/..{}", "/v1/models/../..{}",
    "/v1/x/%2e%2e/..{}", "{};a=b", "{};", "{}%00", "{}%20", "{}%0a", "{}%0d%0ax:y", "{}.json", "{}?", "{}?a=/../x", "{}#x", "\\{}",
    "http://gateway{}", "https://gateway{}", "HTTP://a{}", "gateway:80{}", "//gateway{}", "*", "{} ", " {}", "{}\t", "{}%", "{}%zz",
    "{}/%2e", "{}/%2e%2e/x", "{}/..;/x", "/v1/models/..;/..{}", "/v1/models%2f..%2f..{}", "/v1/models/%2e%2e%2f..{}", "{}%ff", "{}%c0%af",
    "/v1/models;{}", "/v1/models?{}", "/v1/models%3f{}", "/v1/models%23{}", "/v1/files%3b/..{}", "/v1%2f..{}", "/%76%31/..{}", "/v2/..{}",
)  # fmt: skip
"""Ways to write a path, which stands for `{}`."""


def _letters(path: str) -> Iterator[str]:
    """Yield a path with each of its characters in another spelling."""
    for at, letter in enumerate(path):
        for other in (
            f"%{ord(letter):02x}",
            f"%{ord(letter):02X}",
            f"%25{ord(letter):02x}",
            letter.swapcase(),
        ):
            yield path[:at] + other + path[at + 1 :]
    yield "".join(f"%{ord(letter):02x}" for letter in path)
    yield "/" + "".join(f"%{ord(letter):02x}" for letter in path[1:])
    for other in (
        "//",
        "/./",
        "%2f",
        "%2F",
        "%5c",
        "\\",
        "/%2e/",
        "/;/",
        "/ /",
        "/x/../",
        "/%c0%af",
    ):
        yield path.replace("/", other)
        yield "/v1" + path[3:].replace("/", other)


def targets(path: str) -> list[str]:
    """Return all ways to write a path."""
    return [form.format(path) for form in FORMS] + list(_letters(path))


def canonical(target: str) -> str:
    """Return what the most obliging server might make of a target."""
    path = target.partition("?")[0]
    for _ in range(3):
        path = re.sub(r";[^/]*", "", unquote(path).replace("\\", "/"))
    parts: list[str] = []
    for part in path.lower().split("/"):
        if part == "..":
            parts = parts[:-1]
        elif part.strip(" \0\t\r\n") not in {"", "."}:
            parts.append(part.strip(" \0\t\r\n"))
    return "/" + "/".join(parts)


def test_what_an_obliging_server_reads():
    """The judge of this file finds an address however it is hidden."""
    for hidden in (
        "/v1//organization",
        "/v1/x/..%2forganization;a",
        "/V1%252forganiz%61tion/",
        "\\v1\\organization",
    ):
        assert canonical(hidden) == "/v1/organization"


@asynccontextmanager
async def front() -> AsyncGenerator[tuple[Mirror, "Asking"]]:
    """Run a gateway in front of a provider that takes anything."""
    async with surface("inprocess") as it:
        app = Recorder(Gateway(lambda: it.world.engine, lambda: 10**6))
        async with serving(app) as server:
            yield it.mirror, Asking(server.url)


class Asking:
    """Sends targets as they are, which no client would."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.statuses: Counter[int] = Counter()

    async def __call__(self, method: str, target: str, key: str) -> Answer:
        lines = [f"{method} {target} HTTP/1.1", "Host: gateway", "Content-Length: 0"]
        lines += [f"Authorization: Bearer {key}"] if key else []
        sent = "\r\n".join((*lines, "", "")).encode()
        exchange = await send(self.url, [sent], 1)
        (answer,) = exchange.answers
        self.statuses[answer.status] += 1
        assert answer.status < 500
        return answer


@pytest.mark.parametrize("key", ["", "nobody"])
async def test_no_path_is_open_to_strangers(key: str):
    """Without a key nothing is passed on, by no method and no way of writing a path."""
    async with front() as (mirror, ask):
        for path in (*ADMIN[:1], *PLAIN):
            for method, target in product(METHODS[:2], targets(path)):
                answer = await ask(method, target, key)
                assert answer.status in {400, 401, 404, 405, 415}, (method, target)
        assert mirror.seen == []


@pytest.mark.parametrize("key", ["app", "open"])
async def test_no_spelling_leads_past_a_keys_rights(key: str, figure):
    """An administrator's paths stay closed to others, whatever an obliging provider would make of a target."""
    async with front() as (mirror, ask):
        for path in ADMIN:
            for method, target in product(METHODS[:3], targets(path)):
                await ask(method, target, key)
        passed = {canonical(seen.target) for seen in mirror.seen}
        assert not [one for one in passed if one.startswith(("/v1/organization", "/v1/projects"))]
        assert (await ask("GET", "/v1/files/f", "open")).status == 200  # it does pass things on
        assert {400, 403, 404} <= ask.statuses.keys()
        figure(f"paths: {ask.statuses.total()} by a key without the right, {dict(ask.statuses)}")


async def test_what_is_passed_on_has_one_spelling():
    """Whatever reaches the provider is plain: an administrator's path by any spelling is that path or none."""
    async with front() as (mirror, ask):
        for path in ADMIN:
            for target in targets(path):
                await ask("GET", target, "ops")
        assert {seen.target.partition("?")[0] for seen in mirror.seen} >= set(ADMIN)
        for seen in mirror.seen:
            assert re.fullmatch(r"/v1(/[A-Za-z0-9_.%-]+)+(\?.*)?", seen.target), seen.target
            assert "%2" not in seen.target.partition("?")[0].lower()


async def test_other_forms_of_a_target_are_refused():
    """The asterisk, authority and absolute forms, and all that is no path, are no way in either."""
    odd = (
        "*",
        "gateway",
        "gateway:443",
        "http://gateway/v1/models",
        "?",
        "v1/models",
        "#",
        "/v1/models#a",
        "",
        "[::1]:1",
    )
    async with front() as (mirror, ask):
        for method, target in product((*METHODS, "CONNECT"), odd):
            answer = await ask(method, target, "ops")
            assert (answer.status, answer.headers["connection"]) == (400, "close")
        assert (await ask("CONNECT", "/v1/models", "ops")).status == 405
        assert mirror.seen == []
