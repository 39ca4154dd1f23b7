"""Calls about things that a provider keeps, from either face to the accounts and back."""

import json
from collections import deque
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from headworks.stores.homes_file import HomesFile
from headworks.types import Plan, Route
from headworks.wiring.homes import homes
from tests.stateful.accounts import Accounts
from tests.stateful.test_ten_thousand import config
from tests.world import World

pytestmark = pytest.mark.anyio

FACES = ("gateway", "in process")
ROUTES = (Route("east", "m", "e1"), Route("west", "m", "w1"), Route("east", "small", "e1"))


class Fixed:
    """A router with one plan."""

    def plan(self, request: Any, estimate: Any) -> Plan:
        """Return it, or what leads on without a model."""
        return Plan(ROUTES, 0.0) if request.model else Plan((Route("east", "", "e1"),))


@pytest.fixture
def world(tmp_path: Path) -> Generator[World]:
    """Put an engine before two accounts that see only their own things."""
    world = World(router=Fixed(), upstream=Accounts())
    file = HomesFile(tmp_path / "homes.db", world.clock)
    world.homes = homes(config({"east": ("e1",), "west": ("w1",)}), file)
    world.engine = world.make_engine()
    yield world
    file.close()


def accounts(world: World) -> Accounts:
    assert isinstance(world.upstream, Accounts)
    return world.upstream


def places(world: World) -> list[str]:
    return [upstream for upstream, _ in accounts(world).visits]


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize("stream", [False, True])
async def test_a_response_is_known_before_its_caller_can_use_it(world, face: str, *, stream: bool):
    """As soon as a caller reads an id, that id leads home, though the stream is still running."""
    accounts(world).down = {("east", "e1")}
    async with world.client(face) as client:
        body = {"model": "m", "input": "Hi", "stream": stream}
        async with client.stream("POST", "/v1/responses", json=body) as answer:
            assert answer.status_code == 200
            text = b""
            async for piece in answer.aiter_raw():
                text += piece
                if b"resp_" in text:
                    break
            first = text[text.index(b"resp_") :].split(b'"')[0].decode()
            follow = {"model": "m", "input": "Hi", "previous_response_id": first}
            second = await client.post("/v1/responses", json=follow)
    assert second.status_code == 200
    assert places(world)[-1] == "west"
    assert accounts(world).misroutes == []


@pytest.mark.parametrize("face", FACES)
async def test_a_call_is_repeated_at_home_and_nowhere_else(world, face: str):
    """Other models of the chain may answer, but only in the account; the trail says what was."""
    async with world.client(face) as client:
        first = (await client.post("/v1/responses", json={"model": "m", "input": "Hi"})).json()
        follow = {"model": "m", "input": "Hi", "previous_response_id": first["id"]}
        accounts(world).down = {("east", "e1")}
        failed = await client.post("/v1/responses", json=follow)
    assert failed.status_code == 500
    assert set(places(world)) == {"east"}
    tried = {one.split(" ")[0] for one in failed.headers["x-headworks-trail"].split("; ")}
    assert tried == {"east/m", "east/small"}


@pytest.mark.parametrize("face", FACES)
async def test_a_refusal_costs_nothing_and_is_not_repeated(world, face: str):
    """Nothing is sent or booked, official clients do not try again, and the journal knows."""
    async with world.client(face) as client:
        answer = await client.get("/v1/files/file-nobody")
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "stateful_id_unknown")
    assert answer.headers["x-should-retry"] == "false"
    assert answer.headers["x-headworks-attempts"] == "0"
    assert (accounts(world).visits, world.ledger.rows) == ([], [])
    assert world.journal.outcomes == ["stateful_id_unknown"]


@pytest.mark.parametrize("face", FACES)
async def test_a_batch_tells_of_its_results(world, face: str):
    """What a batch wrote is found by whoever saw the batch; the answers pass as they came."""
    async with world.client(face) as client:
        file = (await client.post("/v1/files", content=b"x")).json()
        made = await client.post("/v1/batches", json={"input_file_id": file["id"]})
        results = await client.get(f"/v1/files/{made.json()['output_file_id']}")
    assert results.status_code == 200
    assert results.headers["content-type"] == "application/json"
    assert accounts(world).misroutes == []


@pytest.mark.parametrize(
    "ended",
    [
        {"status": "failed", "error": {"code": "server_error", "message": "Sorry"}},
        {"status": "incomplete", "incomplete_details": {"reason": "content_filter"}},
    ],
    ids=["failed", "filtered"],
)
async def test_reading_what_failed_is_no_failure(world, ended: dict[str, Any]):
    """A response that failed in the background is shown as it is: no retry, nothing booked."""
    failed = {
        "id": "resp_1",
        **ended,
        "usage": {"input_tokens": 5, "output_tokens": 5},
        "output": [],
    }
    kept = accounts(world)
    kept.lived["resp_1"], kept.latest["resp"] = ("east", "e1"), deque(["resp_1"])
    kept.shown["resp_1"] = json.dumps(failed).encode()
    async with world.client("gateway") as client:
        listed = await client.get("/v1/responses")
        shown = await client.get("/v1/responses/resp_1")
    assert listed.status_code == 200
    assert shown.content == kept.shown["resp_1"]
    assert [row.outcome for row in world.ledger.rows] == ["completed", "completed"]
    assert world.ledger.total == 0
    assert len(kept.visits) == 2
    assert [call.filtered for call in world.journal.calls] == ["", ""]
