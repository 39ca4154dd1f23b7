"""Web pages may call where the configuration lets them, and read all that they are told."""

import json
from dataclasses import dataclass, field

import pytest

from tests.gateway.browsers import MINTING, PAGE, PATH, PLAIN, site

pytestmark = pytest.mark.anyio

ONE = '{origins: ["https://app.example.com", "http://localhost:5173"], max_age: 20m}'
ANY = '{origins: ["*"]}'
TRUSTING = '{origins: ["https://app.example.com"], keys: allow}'
NODE = (
    "authorization,content-type,idempotency-key,openai-organization,user-agent,x-stainless-arch,"
    "x-stainless-lang,x-stainless-os,x-stainless-package-version,x-stainless-retry-count,"
    "x-stainless-runtime,x-stainless-runtime-version,x-stainless-timeout"
)
"""What the official JavaScript client sends in a browser, as the browser asks for it."""


def words(text: str) -> set[str]:
    return {word.strip() for word in text.split(",")}


def about_origins(headers: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if "access-control" in name}


async def test_nothing_is_said_of_pages_that_nobody_configured(tmp_path):
    """Without `server.cors` answers are as ever, and a preflight is refused."""
    async with site(tmp_path) as it:
        for reply in (
            await it.preflight(),
            await it.ask(MINTING, headers={"origin": PAGE}),
            await it.ask("no-key", headers={"origin": PAGE}),
        ):
            assert about_origins(reply.headers) == {}
            assert "vary" not in reply.headers
        assert (await it.preflight()).status == 405
        assert (await it.ask(MINTING, headers={"origin": PAGE})).status == 200


async def test_a_browser_is_told_what_a_page_may_send(tmp_path):
    """The official JavaScript client works in a page: all of its fields are allowed."""
    async with site(tmp_path, ONE) as it:
        for path in ("/v1/chat/completions", "/v1/files/file-1", PATH):
            reply = await it.preflight(path, access_control_request_headers=NODE)
            assert (reply.status, reply.body) == (204, b"")
            told = reply.headers
            assert told["access-control-allow-origin"] == PAGE
            assert words(told["access-control-allow-headers"]) == words(NODE)
            assert {"get", "post", "delete"} <= words(told["access-control-allow-methods"])
            assert told["access-control-max-age"] == "1200"
            assert "access-control-allow-credentials" not in told
            assert "content-length" not in told


@dataclass(frozen=True)
class Case:
    """What a browser asks, and what it gets."""

    status: int
    fields: dict[str, str] = field(default_factory=dict)
    path: str = "/v1/chat/completions"


@pytest.mark.parametrize(
    "case",
    [
        Case(204, {"origin": "http://localhost:5173"}),
        Case(403, {"origin": "https://evil.example"}),
        Case(403, {"origin": "https://app.example.com.evil.example"}),
        Case(403, {"origin": "https://sub.app.example.com"}),
        Case(403, {"origin": "http://app.example.com"}),
        Case(403, {"origin": "https://app.example.com:8443"}),
        Case(403, {"origin": "https://app.example.com/"}),
        Case(403, {"origin": "HTTPS://APP.EXAMPLE.COM"}),
        Case(403, {"origin": "null"}),
        Case(403, {"origin": "*"}),
        Case(405, {"origin": ""}),
        Case(405, {"access_control_request_method": ""}),
        Case(404, path="/healthz"),
        Case(404, path="/"),
        Case(404, path="/v1"),
        Case(404, path="/api/keys"),
    ],
    ids=repr,
)
async def test_only_the_origins_that_are_named_are_let_in(tmp_path, case):
    """Exactly these: no suffix, prefix, other scheme or port; and only where there is an API."""
    async with site(tmp_path, ONE) as it:
        reply = await it.preflight(case.path, **case.fields)

        assert reply.status == case.status
        if case.status == 403:
            assert reply.error["code"] == "origin_not_allowed"
            assert about_origins(reply.headers) == {}
        if case.status < 405:
            assert "origin" in reply.headers["vary"]


@pytest.mark.parametrize(
    ("asked", "allowed"),
    [
        ("authorization", {"authorization"}),
        ("Authorization, X-Headworks-Session", {"authorization", "x-headworks-session"}),
        ("cookie, authorization, x-forwarded-for", {"authorization"}),
        ("*", {""}),
        ("x-stainless-a b, x-stainless-\x7f", {""}),
        ("x-stainless-" + "a" * 100, {""}),
        ("", {""}),
    ],
)
async def test_a_page_may_send_what_is_read_and_nothing_else(tmp_path, asked, allowed):
    """Fields that we drop are refused by the browser, which names them in its console."""
    async with site(tmp_path, ONE) as it:
        fields = {"access_control_request_headers": asked.replace("\x7f", "é")}
        reply = await it.preflight(**fields)

        assert words(reply.headers["access-control-allow-headers"]) == allowed


async def test_a_page_reads_every_answer_and_every_field(tmp_path):
    """Whole, streamed, refused, failed: each says that the page may read it, and what of it."""
    async with site(tmp_path, ONE) as it:
        text, narrow = await it.token(), await it.token(models=["other"], limits={"rpm": 1})
        page = {"origin": PAGE}
        answers = {
            "whole": await it.ask(text, headers=page),
            "stream": await it.ask(text, headers=page, stream=True),
            "refused": await it.ask(narrow, headers=page),
            "listed": await it.send("GET /v1/models", key=narrow, origin=PAGE),
            "nobody": await it.ask("", headers=page),
            "malformed": await it.send("POST /v1/responses", b"{", text, origin=PAGE),
            "unknown": await it.send("GET /nowhere", key=text, origin=PAGE),
            "minting": await it.send(f"POST {PATH}", b"{}", text, origin=PAGE),
            "once": await it.ask(narrow, headers=page, model="other"),
            "limited": await it.ask(narrow, headers=page, model="other"),
        }
        statuses = [200, 200, 403, 200, 401, 400, 404, 403, 200, 429]
        assert [reply.status for reply in answers.values()] == statuses
        for name, reply in answers.items():
            told = reply.headers
            assert told["access-control-allow-origin"] == PAGE, name
            assert told["vary"] == "origin", name
            exposed = words(told["access-control-expose-headers"])
            own = {one for one in told if one.startswith(("x-", "retry-after", "openai-"))}
            assert own, name
            assert own <= exposed, name
        limited = words(answers["limited"].headers["access-control-expose-headers"])
        assert {"retry-after", "retry-after-ms", "x-should-retry", "x-request-id"} <= limited
        assert "x-ratelimit-remaining-requests" in limited
        assert answers["stream"].body.endswith(b"data: [DONE]\n\n")
        assert "openai-processing-ms" in words(
            answers["stream"].headers["access-control-expose-headers"]
        )


async def test_a_page_from_elsewhere_can_read_nothing(tmp_path):
    """Its browser keeps the answer from it; caches keep answers for pages apart."""
    async with site(tmp_path, ONE) as it:
        text = await it.token()
        for headers in ({"origin": "https://evil.example"}, {}):
            reply = await it.ask(text, headers=headers)
            assert reply.status == 200
            assert about_origins(reply.headers) == {}
            assert reply.headers["vary"] == "origin"


async def test_a_key_in_a_page_is_refused(tmp_path):
    """Whoever sees the page could read it; the error says what to send instead."""
    async with site(tmp_path, ONE) as it:
        for origin in (PAGE, "https://evil.example", "null"):
            for key in (PLAIN, MINTING, "no-such-key-0123456789"):
                reply = await it.ask(key, headers={"origin": origin})
                assert (reply.status, reply.error["code"]) == (403, "key_in_browser")
                assert ("access-control-allow-origin" in reply.headers) == (origin == PAGE)
        azure = await it.send("GET /v1/models", origin=PAGE, api_key=PLAIN)
        assert azure.error["code"] == "key_in_browser"
        minting = await it.send(f"POST {PATH}", b'{"user": "u"}', MINTING, origin=PAGE)
        assert minting.error["code"] == "key_in_browser"
        assert (await it.ask(PLAIN)).status == 200
        assert len(it.rows()) == 1


async def test_keys_in_pages_can_be_allowed(tmp_path):
    """For pages in which people type a key of their own."""
    async with site(tmp_path, TRUSTING) as it:
        reply = await it.ask(PLAIN, headers={"origin": PAGE})

        assert reply.status == 200
        assert reply.headers["access-control-allow-origin"] == PAGE


async def test_every_page_can_be_allowed(tmp_path):
    """With a star: then the answer is the same for all, and no cookie is ever asked for."""
    async with site(tmp_path, ANY) as it:
        reply = await it.preflight(origin="https://any.example")
        assert reply.status == 204
        assert reply.headers["access-control-allow-origin"] == "*"
        answer = await it.ask(await it.token(), headers={"origin": "null"})
        assert answer.headers["access-control-allow-origin"] == "*"
        assert json.loads(answer.body)["object"] == "chat.completion"
        assert "access-control-allow-credentials" not in answer.headers
