"""Tokens for browsers and phones: minted by a backend, used by its pages, over before long."""

import base64
import json
from typing import Any

import httpx2
import openai
import pytest

from headworks.stores.keystore import KeyStore
from headworks.system import SystemClock
from tests.gateway.browsers import MINTING, NARROW, PATH, PLAIN, site
from tests.upstream.scripted import until

pytestmark = pytest.mark.anyio


async def test_a_backend_mints_and_its_page_calls(tmp_path):
    """The call is booked on key, project and user, whatever the page says of itself."""
    async with site(tmp_path) as it:
        reply = await it.mint(user="u42", models=["assistant"], feature="chat", tags=["trial"])
        told = json.loads(reply.body)
        assert reply.status == 200
        assert reply.headers["cache-control"] == "no-store"
        assert reply.headers["x-request-id"].startswith("call_")
        assert told["token"] not in str({**told, "token": ""})
        assert told["expires_at"] - told["created_at"] == 600
        assert told | {"token": "", "id": "", "created_at": 0, "expires_at": 0} == {
            "object": "client_token",
            "id": "",
            "token": "",
            "created_at": 0,
            "expires_at": 0,
            "key": "web",
            "user": "u42",
            "models": ["assistant"],
            "limits": {"rpm": 50},
            "feature": "chat",
            "tags": ["trial"],
        }

        lies = {"x-headworks-user": "boss", "x-headworks-feature": "vip", "x-headworks-tags": "vip"}
        assert (await it.ask(told["token"], headers=lies)).status == 200
        assert it.rows() == [("web", "shop", "u42", "chat", '["trial"]')]


async def test_the_official_client_takes_a_token_for_its_key(tmp_path):
    """An app in a browser needs another key and nothing else; errors are the client's usual ones."""
    async with site(tmp_path) as it:
        text = await it.token(models=["assistant"])
        async with openai.AsyncOpenAI(base_url=it.url, api_key=text, max_retries=0) as client:
            messages = [{"role": "user", "content": "Hi"}]
            asked: dict[str, Any] = {"model": "assistant", "messages": messages}
            answer = await client.chat.completions.create(**asked)
            assert answer.choices[0].message.content == "Hello!"
            stream = await client.chat.completions.create(**asked, stream=True)
            parts = [part.choices[0].delta.content async for part in stream if part.choices]
            assert "".join(part or "" for part in parts) == "Hello!"
            assert [model.id async for model in client.models.list()] == ["assistant"]
            with pytest.raises(openai.PermissionDeniedError) as refused:
                await client.chat.completions.create(**{**asked, "model": "other"})
            assert refused.value.code == "model_not_allowed"
            with pytest.raises(openai.PermissionDeniedError) as refused:
                await client.files.list()
            assert refused.value.code == "path_not_allowed"
        bad = text[:-1] + ("A" if text[-1] != "A" else "B")
        async with openai.AsyncOpenAI(base_url=it.url, api_key=bad, max_retries=0) as client:
            with pytest.raises(openai.AuthenticationError) as unknown:
                await client.models.list()
            assert unknown.value.code == "invalid_api_key"
        assert len(it.rows()) == 2


async def test_a_token_has_limits_of_its_own(tmp_path):
    """One page that runs wild is held back, and told so; other pages and the backend go on."""
    async with site(tmp_path) as it:
        wild, calm = await it.token("u1", limits={"rpm": 2}), await it.token("u2")
        statuses = [(await it.ask(wild)).status for _ in range(2)]
        refused = await it.ask(wild)

        assert statuses == [200, 200]
        assert (refused.status, refused.error["code"]) == (429, "rate_limit_exceeded")
        assert "for token 'tok_" in refused.error["message"]
        assert 1 <= int(refused.headers["retry-after"]) <= 90
        assert (await it.ask(calm)).status == 200
        answer = await it.ask(MINTING)
        assert answer.status == 200
        assert answer.headers["x-ratelimit-remaining-requests"] == "96"  # theirs count as well


async def test_a_revoked_token_is_over_within_a_second(tmp_path):
    """By user or by key, from another process; a new token works."""
    async with site(tmp_path) as it:
        store = KeyStore(tmp_path / "store.db", SystemClock().time)
        text, other = await it.token("u1"), await it.token("u2")
        assert (await it.ask(text)).status == 200
        store.revoke_tokens(user="u1")
        keys = it.station.assembly.keys
        await until(lambda: bool(keys._tokens.revocations))

        refused = await it.ask(text)
        assert (refused.status, refused.error["code"]) == (401, "token_revoked")
        assert refused.headers["x-should-retry"] == "false"
        assert (await it.ask(other)).status == 200
        assert (await it.ask(await it.token("u1"))).status == 200
        store.revoke_tokens(key="web")
        await until(lambda: len(keys._tokens.revocations) == 2)
        assert (await it.ask(other)).error["code"] == "token_revoked"


async def test_an_expired_token_is_told_from_a_wrong_one(tmp_path):
    """So that a page knows when to ask its backend for another."""
    async with site(tmp_path) as it:
        text = await it.token(expires_in=0.002)
        await until(lambda: it.station.assembly.clock.time() > _expiry(text))

        refused = await it.ask(text)
        assert (refused.status, refused.error["code"]) == (401, "token_expired")
        assert "mint another" in refused.error["message"]


def _expiry(text: str) -> float:
    claims = json.loads(base64.urlsafe_b64decode(text.split(".")[1] + "=="))
    return float(claims["exp"])


async def test_two_users_never_share_an_idempotency_key(tmp_path):
    """The same key and question from another user is another call; from the same user it is not."""
    async with site(tmp_path) as it:
        header = {"idempotency-key": "one"}
        first = await it.ask(await it.token("u1"), headers=header)
        again = await it.ask(await it.token("u1"), headers=header)
        other = await it.ask(await it.token("u2"), headers=header)

        assert again.headers["x-headworks-replay-of"] == first.call
        assert "x-headworks-replay-of" not in other.headers
        assert [row[2] for row in it.rows()] == ["u1", "u2"]


# Who may mint, and what.


async def test_nobody_mints_who_may_not(tmp_path):
    """A key without leave, a token, no key: refused before a byte of the body is read."""
    async with site(tmp_path) as it:
        text = await it.token()
        for key, status, code in (
            (PLAIN, 403, "minting_not_allowed"),
            (text, 403, "minting_not_allowed"),
            ("", 401, "invalid_api_key"),
            ("no-such-key-0123456789", 401, "invalid_api_key"),
        ):
            reply = await it.send(f"POST {PATH}", b"\xff not JSON", key)
            assert (reply.status, reply.error["code"]) == (status, code), key
            assert reply.headers["x-request-id"]
        assert it.rows() == []


@pytest.mark.parametrize(
    ("key", "asked", "status", "code", "param"),
    [
        (MINTING, {}, 400, "invalid_request", None),
        (MINTING, {"user": 7}, 400, "invalid_request", "user"),
        (MINTING, {"user": "u", "expires_in": "16m"}, 400, "invalid_request", "expires_in"),
        (MINTING, {"user": "u", "limits": {"rpm": 51}}, 400, "invalid_request", "limits.rpm"),
        (NARROW, {"user": "u", "models": ["assistant"]}, 403, "model_not_allowed", "models"),
    ],
)
async def test_what_a_key_does_not_have_it_cannot_hand_on(
    tmp_path, key, asked, status, code, param
):
    """The backend is told which field asks for too much."""
    async with site(tmp_path) as it:
        reply = await it.mint(key, **asked)

        assert (reply.status, reply.error["code"], reply.error["param"]) == (status, code, param)


async def test_a_request_that_is_none_is_refused(tmp_path):
    """Other methods, types, sizes and bodies."""
    async with site(tmp_path) as it:
        for line, body, headers, status in (
            (f"GET {PATH}", b"", {}, 405),
            (f"OPTIONS {PATH}", b"", {}, 405),
            (f"POST {PATH}", b"user=u", {"content_type": "text/plain"}, 415),
            (f"POST {PATH}", b"{", {}, 400),
            (f"POST {PATH}", b"[]", {}, 400),
            (f"POST {PATH}", b'{"user": "a", "user": "b"}', {}, 400),
            (f"POST {PATH}", b" " * 70_000, {}, 413),
            (f"POST {PATH}/", b'{"user": "u"}', {}, 404),
            (f"POST /v1{PATH}", b'{"user": "u"}', {}, 200),  # the provider's own, if it has one
        ):
            reply = await it.send(line, body, MINTING, **headers)
            assert reply.status == status, (line, body[:20], reply.body)
            assert reply.headers.get("allow") == ("post" if status == 405 else None)


async def test_a_backend_that_hangs_up_gets_nothing(tmp_path, caplog):
    """Half a request mints nothing, and is no error of ours."""
    async with site(tmp_path) as it:
        async with httpx2.AsyncClient() as client:

            async def half():
                yield b'{"user"'
                raise ConnectionAbortedError

            with pytest.raises(ConnectionAbortedError):
                await client.post(
                    it.url.removesuffix("/v1") + PATH,
                    content=half(),
                    headers={
                        "authorization": f"Bearer {MINTING}",
                        "content-type": "application/json",
                    },
                )
        await until(lambda: not it.station.lifecycle.in_flight)
        assert not [one for one in caplog.records if one.levelname in {"ERROR", "CRITICAL"}]


async def test_the_log_names_a_token_and_does_not_show_it(tmp_path, caplog):
    """Who minted what for whom is written down; what opens the door is not."""
    caplog.set_level("INFO")
    async with site(tmp_path) as it:
        reply = json.loads((await it.mint(user="u42")).body)
        await it.ask(reply["token"], headers={"x-headworks-session": reply["token"]})

    line = next(one for one in caplog.messages if "minted client token" in one)
    assert f"client token {reply['id']} by key 'web' for user 'u42'" in line
    signature = reply["token"].rpartition(".")[2]
    assert signature not in caplog.text
