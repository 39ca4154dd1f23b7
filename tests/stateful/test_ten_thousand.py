"""Ten thousand calls about things that six accounts have made, through restarts and reloads."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import pytest

from headworks.config.settings import Config, CredentialConfig, UpstreamConfig
from headworks.errors import CallError, StatefulIdElsewhere, StatefulIdUnknown, UpstreamAnswered
from headworks.ports import Homes
from headworks.stores.homes_file import HomesFile
from headworks.types import Plan, Request, Route, Secret, Usage
from headworks.wiring.homes import homes
from tests.stateful.accounts import Account, Accounts
from tests.world import World

pytestmark = pytest.mark.anyio

ALL: Mapping[str, tuple[str, ...]] = {"east": ("e1", "e2", "e3"), "west": ("w1", "w2", "w3")}
CALLS = 10_000


@dataclass
class Shuffled:
    """A router that sends what refers to nothing anywhere."""

    random: Random
    upstreams: Mapping[str, tuple[str, ...]]

    def plan(self, request: Request, estimate: Usage) -> Plan:
        """Return all routes in any order."""
        accounts = [(one, name) for one, names in self.upstreams.items() for name in names]
        self.random.shuffle(accounts)
        return Plan(tuple(Route(one, request.model, name) for one, name in accounts))


def config(upstreams: Mapping[str, tuple[str, ...]]) -> Config:
    """Return a configuration with these credentials, each an account of its own."""
    return Config(
        upstreams={
            name: UpstreamConfig(
                "https://a.example/v1",
                tuple(CredentialConfig(one, Secret(one)) for one in credentials),
            )
            for name, credentials in upstreams.items()
        }
    )


@dataclass
class Traffic:
    """Calls at random, and what must become of each."""

    world: World
    accounts: Accounts
    random: Random
    folder: Path
    file: HomesFile
    upstreams: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: dict(ALL))
    counts: dict[str, int] = field(default_factory=dict[str, int])

    def stand(self) -> None:
        """Put the engine together for the upstreams that there are."""
        self.world.homes = self.homes()
        self.world.router = Shuffled(self.random, self.upstreams)
        self.world.engine = self.world.make_engine()

    def homes(self) -> Homes:
        return homes(config(self.upstreams), self.file)

    def restart(self) -> None:
        """End the process in good order, and begin another."""
        self.file.close()
        self.file = HomesFile(self.folder / "homes.db", self.world.clock, memory=64)
        self.stand()

    def reload(self) -> None:
        """Take away some credentials, or bring them back."""
        kept = {
            name: tuple(one for one in names if self.random.random() < 0.8) or names[:1]
            for name, names in ALL.items()
        }
        self.upstreams = kept if self.random.random() < 0.5 else dict(ALL)
        self.stand()

    def pick(self, prefix: str) -> str:
        """Return something of a kind, or something that nobody has made."""
        found = self.accounts.latest.get(prefix)
        if not found or self.random.random() < 0.03:
            return f"{prefix}_000000{self.random.getrandbits(64):016x}"
        return self.random.choice(found)

    def request(self) -> tuple[Request, list[str]]:
        """Return a request, and what it refers to."""
        random, pick = self.random, self.pick
        kind = random.choice(
            ("plain", "plain", "files", "conversations", "vector_stores", "batches", "response",
             "response", "response", "response", "show", "show", "delete", "two", "list")
        )  # fmt: skip
        if kind in {"files", "conversations", "vector_stores"}:
            return post(f"/v1/{kind}", {"name": "x"}), []
        if kind == "list":
            return Request("GET", random.choice(("/v1/files", "/v1/responses"))), []
        if kind == "batches":
            file = pick("file")
            return post("/v1/batches", {"input_file_id": file, "metadata": {"file_id": "f"}}), [
                file
            ]
        if kind in {"show", "delete"}:
            path = random.choice(("responses", "files", "conversations", "vector_stores"))
            id_ = pick({"responses": "resp", "conversations": "conv", "vector_stores": "vs"}.get(path, "file"))  # fmt: skip
            method = "GET" if kind == "show" else "DELETE"
            behind = random.choice(("", "", "/items")) if kind == "show" else ""
            return Request(method, f"/v1/{path}/{id_}{behind}"), [id_]
        body: dict[str, Any] = {"model": "m", "input": "Hi", "stream": random.random() < 0.3}
        referred: list[str] = []
        for _ in range({"plain": 0, "response": 1, "two": 2}[kind]):
            referred += self.refer(body)
        return post("/v1/responses", body), referred

    def refer(self, body: dict[str, Any]) -> list[str]:
        """Put something into the body that refers to what is kept."""
        if not isinstance(body["input"], list):
            body["input"] = [{"role": "user", "content": [{"type": "input_text", "text": "Hi"}]}]
        items = body["input"]
        match self.random.randrange(7):
            case 0 if "previous_response_id" not in body:
                id_ = body["previous_response_id"] = self.pick("resp")
            case 1 if "conversation" not in body:
                id_ = self.pick("conv")
                body["conversation"] = self.random.choice((id_, {"id": id_}))
            case 2:
                id_ = self.pick("file")
                items[0]["content"].append({"type": "input_file", "file_id": id_})
            case 3:
                id_ = self.pick("vs")
                body.setdefault("tools", []).append(
                    {"type": "file_search", "vector_store_ids": [id_]}
                )
            case 4:
                id_ = self.pick("rs")
                items.append({"type": "reasoning", "id": id_, "summary": []})
            case 5:
                id_ = self.pick("gAAAA")
                items.append({"type": "reasoning", "encrypted_content": id_})
            case _:
                id_ = self.pick("rs")
                items.append({"type": "item_reference", "id": id_})
        return [id_]

    async def call(self) -> None:
        """Make a call and hold what becomes of it against what must."""
        request, referred = self.request()
        before = len(self.accounts.visits)
        was_deleted = not self.accounts.deleted.isdisjoint(referred)
        outcome: CallError | None = None
        try:
            async with self.world.engine.call(request, Secret("open")) as response:
                if not isinstance(response.content, bytes):
                    async for _ in response.content:
                        pass
        except CallError as error:
            outcome = error
        asked = self.accounts.visits[before:]
        verdict = self.judge(referred, outcome, asked)
        if verdict == "found" and was_deleted:
            verdict = "deleted"
        assert (verdict == "deleted") is isinstance(outcome, UpstreamAnswered), (request, outcome)
        if not referred and request.method == "GET":
            assert asked == [("east", self.upstreams["east"][0])]
        self.counts[verdict] = self.counts.get(verdict, 0) + 1

    def judge(self, ids: list[str], outcome: CallError | None, asked: list[Account]) -> str:
        """Return what became of a call, which is what must become of it."""
        lived = [self.accounts.lived.get(id_) for id_ in ids]
        if any(home is None for home in lived) and isinstance(outcome, StatefulIdUnknown):
            assert not asked
            return "unknown"
        gone = any(home is not None and home[1] not in self.upstreams[home[0]] for home in lived)
        if None in lived or len(set(lived)) > 1 or gone:
            assert isinstance(outcome, StatefulIdElsewhere)
            assert not asked
            assert outcome.status == 409
            return "elsewhere"
        assert outcome is None or outcome.status == 404
        if ids:
            assert set(asked) == set(lived)
        return "found" if ids else "made"


def post(path: str, body: Mapping[str, Any]) -> Request:
    """Return a request with a JSON body."""
    return Request("POST", path, content=json.dumps(body).encode(), fields=body)


@contextmanager
def traffic(folder: Path, seed: int) -> Iterator[Traffic]:
    """Yield traffic before six accounts."""
    accounts, random = Accounts(random=Random(seed)), Random(seed)
    world = World(upstream=accounts)
    file = HomesFile(folder / "homes.db", world.clock, memory=64)
    made = Traffic(world, accounts, random, folder, file)
    made.stand()
    try:
        yield made
    finally:
        made.file.close()


async def test_ten_thousand_calls_find_what_they_refer_to(tmp_path):
    """Whatever a call refers to, it goes to the account that made it, or is refused: never else."""
    with traffic(tmp_path, 12) as it:
        for number in range(1, CALLS + 1):
            await it.call()
            if not number % 500:
                it.restart()
            elif not number % 170:
                it.reload()
        assert it.accounts.misroutes == []
        assert sum(it.counts.values()) == CALLS
        assert min(it.counts[verdict] for verdict in ("made", "found", "deleted")) > 100
        assert min(it.counts[verdict] for verdict in ("elsewhere", "unknown")) > 100
        assert len(set(it.accounts.lived.values())) == 6
        it.world.assert_settled()
