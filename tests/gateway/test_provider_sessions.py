"""Sessions between an app and the provider alone: only for whom nothing is limited."""

import json
from dataclasses import dataclass

import pytest

from tests.gateway.browsers import MINTING, NARROW, PLAIN, Site, site

pytestmark = pytest.mark.anyio

SECRETS = "/v1/realtime/client_secrets"


async def asked(it: Site, key: str, path: str = SECRETS, method: str = "POST", **tags: str) -> str:
    """Ask for a session; return the code of the refusal, "" for none."""
    body = json.dumps({"session": {"type": "realtime", "model": "other"}}).encode()
    kind = {"content_type": "application/json", "connection": "close", **tags}
    reply = await it.send(f"{method} {path}", body, key, **kind)
    return "" if reply.status == 200 else str(json.loads(reply.body)["error"]["code"])


@dataclass(frozen=True)
class Case:
    """Who asks, under which configuration, and what is said."""

    name: str
    said: str
    key: str = PLAIN
    config: str = ""
    user: str = ""
    tags: str = ""


CASES = (
    Case("nothing is limited", ""),
    Case("limits of the key", "the limits of the key", MINTING),
    Case("a list of models", "the key's list of models", NARROW),
    Case("limits of all", "the limits of the organisation", config="limits: {tpm: 1000000}"),
    Case("limits of one model", "the limits of the organisation", config="limits: {models: {other: {rpm: 9}}}"),
    Case("limits of users", "the limits of the user", config="users: {default: {limits: {rpm: 9}}}", user="u1"),
    Case("limits of users, of which it is none", "", config="users: {default: {limits: {rpm: 9}}}"),
    Case("a budget of all", "the budget of ", config="budget: {usd: 5, per: day}"),
    Case("a budget of users", "the budget of ", config="users: {default: {budget: {usd: 5, per: day}}}", user="u1"),
    Case("a budget of a tag", "the budget of ", config="tags: {vip: {budget: {usd: 5, per: day}}}", tags="vip"),
    Case("a budget of another tag", "", config="tags: {vip: {budget: {usd: 5, per: day}}}", tags="trial"),
    Case("allowed", "", MINTING, "provider_sessions: allow"),
    Case("allowed, a list of models that has it", "", NARROW, "provider_sessions: allow"),
)  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_a_session_that_we_do_not_see_is_for_those_without_limits(tmp_path, case: Case):
    """A limit that a caller could step around with one call would be none; the error says which."""
    fields = {"x_headworks_user": case.user, "x_headworks_tags": case.tags}
    body = json.dumps({"session": {"model": "other"}}).encode()
    async with site(tmp_path, others=case.config) as it:
        named = {name: value for name, value in fields.items() if value}
        kind = {"content_type": "application/json", "connection": "close"}
        reply = await it.send(f"POST {SECRETS}", body, case.key, **kind, **named)
    if not case.said:
        assert reply.status == 200, reply.body
        return
    error = json.loads(reply.body)["error"]
    assert (reply.status, error["code"]) == (403, "session_unlimited")
    assert f"and {case.said}" in error["message"]


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/v1/realtime/sessions", "session_unlimited"),
        ("/v1/realtime/transcription_sessions", "session_unlimited"),
        ("/v1/realtime/translations/client_secrets", "session_unlimited"),
        ("/v1/realtime/calls", "session_unlimited"),
        ("/v1/realtime/calls/c1/accept", "session_unlimited"),
        ("/v1/realtime", "session_unlimited"),
        ("/v1/live/of-tomorrow", "session_unlimited"),
        ("/v1/realtime/calls/c1/hangup", ""),
        ("/v1/chat/completions", "invalid_request"),
    ],
)
async def test_every_way_into_such_a_session(tmp_path, path: str, code: str):
    """Whatever opens one is refused to a key with limits; what ends one is not."""
    async with site(tmp_path) as it:
        assert await asked(it, MINTING, path) == code


async def test_no_token_opens_one(tmp_path):
    """Not even where they are allowed: a page would hold a secret of the provider's."""
    async with site(tmp_path, others="provider_sessions: allow") as it:
        assert await asked(it, await it.token()) == "path_not_allowed"
        assert await asked(it, await it.token(), "/v1/realtime/calls") == "path_not_allowed"
