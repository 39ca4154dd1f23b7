"""Web pages on the other end: what their tokens open, and from where they may come."""

import asyncio
import json
from dataclasses import dataclass
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed

from headworks.stores.keystore import KeyStore
from headworks.system import SystemClock
from tests.sockets.conftest import KEY, MODEL, VOICE, Ground, events_until, gateway
from tests.sockets.test_relay import asking, refused

pytestmark = pytest.mark.anyio

PAGE = "https://app.example.com"
_ENDS = ("response.completed", "response.done", "error")


def offering(key: str) -> dict[str, Any]:
    return {"key": "", "subprotocols": ["realtime", f"openai-insecure-api-key.{key}"]}


# What a token opens.


async def test_a_token_talks(ground: Ground):
    """A page has a Realtime session with its token, and what it says is its user's."""
    async with ground.connect("/realtime?model=voice", **offering(ground.token())) as connection:
        await connection.send('{"type": "response.create"}')
        assert (await events_until(connection, *_ENDS))[-1]["type"] == "response.done"
    (row,) = await ground.settled(1)
    assert (row["key_name"], row["user"]) == ("minting", "u42")


@pytest.mark.parametrize("path", ["/responses", "/responses?model=assistant"])
async def test_a_token_has_responses_over_a_connection(ground: Ground, path: str):
    """Responses over a WebSocket are a page's as they are over HTTP, whether or not one is named."""
    async with ground.connect(path, **offering(ground.token())) as connection:
        await connection.send(asking("assistant"))
        assert (await events_until(connection, *_ENDS))[-1]["type"] == "response.completed"


async def test_a_token_asks_its_own_models_alone(ground: Ground):
    """Each response is held against the token, not against the key that minted it."""
    token = ground.token(models=["assistant"])
    status, body = await refused(ground.connect("/realtime?model=voice", **offering(token)))
    assert (status, body["error"]["code"]) == (403, "model_not_allowed")
    async with ground.connect("/responses", **offering(token)) as connection:
        for model, kind in ((MODEL, "error"), ("assistant", "response.completed")):
            await connection.send(asking(model))
            assert (await events_until(connection, *_ENDS))[-1]["type"] == kind


async def test_a_tokens_limit_counts_its_responses(ground: Ground):
    """What a token may do in a minute holds within one connection, and for each token by itself."""
    for _ in range(2):
        token = ground.token(limits={"rpm": 2})
        async with ground.connect("/responses", **offering(token)) as connection:
            await connection.send(asking("assistant"))
            await events_until(connection, "response.completed")
            await connection.send(asking("assistant"))
            (told,) = await events_until(connection, *_ENDS)
        assert told["error"]["code"] == "rate_limit_exceeded"


async def test_a_revoked_token_asks_for_nothing_more(ground: Ground):
    """The connection of a user who was revoked ends with the next response that is asked for."""
    async with ground.connect("/responses", **offering(ground.token())) as connection:
        store = KeyStore(ground.station.assembly.config.store, SystemClock().time)
        await asyncio.to_thread(store.revoke_tokens, "u42", "")
        await ground.station.assembly.keys.refresh()
        await connection.send(asking("assistant"))
        (error,) = await events_until(connection, "error")
        with pytest.raises(ConnectionClosed) as caught:
            await connection.recv()
    assert error["error"]["code"] == "token_revoked"
    assert caught.value.rcvd is not None
    assert caught.value.rcvd.code == 1008


# From where.


@dataclass(frozen=True)
class Case:
    """A page that connects, and what it hears: "" where it gets its connection."""

    name: str
    cors: str
    origin: str
    has_token: bool
    code: str = ""


OWN = "http://127.0.0.1:{port}"
NAMED, OPEN = f'{{origins: ["{PAGE}"]}}', '{origins: ["*"]}'
ALLOWED = f'{{origins: ["{PAGE}"], keys: allow}}'
CASES = (
    Case("nobody is named, a key", "", PAGE, has_token=False, code="origin_not_allowed"),
    Case("nobody is named, a token", "", PAGE, has_token=True, code="origin_not_allowed"),
    Case("nobody is named, no origin at all", "", "null", has_token=True, code="origin_not_allowed"),
    Case("nobody is named, our own host", "", OWN, has_token=False),
    Case("nobody is named, our own host's other port", "", "http://127.0.0.1:1", has_token=True, code="origin_not_allowed"),
    Case("named, a token", NAMED, PAGE, has_token=True),
    Case("named, a key", NAMED, PAGE, has_token=False, code="key_in_browser"),
    Case("our own host, a key", NAMED, OWN, has_token=False, code="key_in_browser"),
    Case("another one", NAMED, f"{PAGE}.evil.example", has_token=True, code="origin_not_allowed"),
    Case("another scheme", NAMED, "http://app.example.com", has_token=True, code="origin_not_allowed"),
    Case("none at all", NAMED, "null", has_token=True, code="origin_not_allowed"),
    Case("everybody, a token", OPEN, "https://elsewhere.example", has_token=True),
    Case("everybody, a key", OPEN, "https://elsewhere.example", has_token=False, code="key_in_browser"),
    Case("keys are allowed", ALLOWED, PAGE, has_token=False),
)  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_a_page_connects_from_where_it_may(practice, tmp_path, case: Case):
    """Browsers let every page connect to everywhere: we do not, and keys in pages are refused."""
    async with gateway(tmp_path, practice, cors=case.cors) as ground:
        key = ground.token() if case.has_token else KEY
        origin = case.origin.format(port=ground.port)
        for how in (offering(key), {"key": key}):
            opening = ground.connect(f"/realtime?model={VOICE}" if not case.has_token else "/realtime?model=voice", origin=origin, **how)  # fmt: skip
            if case.code:
                status, body = await refused(opening)
                assert (status, body["error"]["code"]) == (403, case.code)
            else:
                async with opening as connection:
                    await events_until(connection, "session.created")


async def test_a_program_without_an_origin_is_no_page(practice, tmp_path):
    """Backends connect with their keys as ever."""
    async with (
        gateway(tmp_path, practice, cors=NAMED) as ground,
        ground.connect("/responses") as connection,
    ):
        await connection.send(asking())
        assert json.loads(await connection.recv())["type"] != "error"
