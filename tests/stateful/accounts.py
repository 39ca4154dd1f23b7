"""Fake providers whose accounts see only what they made themselves."""

import asyncio
import json
import re
from collections import deque
from dataclasses import dataclass, field
from random import Random
from typing import Any

from typing_extensions import override

from headworks.core.classify import classify
from headworks.testing import FakeResponse, FakeUpstream
from headworks.types import Request, Route

Account = tuple[str, str]
"""Upstream and credential."""

_ID = re.compile(r"[A-Za-z]+_[0-9]{6}[0-9a-f]{16}")
_PREFIX = {"responses": "resp", "files": "file", "conversations": "conv", "vector_stores": "vs"}


@dataclass
class Accounts(FakeUpstream):
    """What one account has made, every other calls unknown.

    Attributes:
        misroutes: Requests that came to an account that had not made what they refer to.
        lived: Where each thing was made.
        latest: The last things of each kind.
        visits: Where requests went.
        down: Accounts that fail.
        shown: What things look like, where that matters.
    """

    random: Random = field(default_factory=lambda: Random(1))
    lived: dict[str, Account] = field(default_factory=dict[str, Account])
    latest: dict[str, deque[str]] = field(default_factory=dict[str, deque[str]])
    deleted: set[str] = field(default_factory=set[str])
    misroutes: list[tuple[str, Account]] = field(default_factory=list[tuple[str, Account]])
    visits: list[Account] = field(default_factory=list[Account])
    down: set[Account] = field(default_factory=set[Account])
    shown: dict[str, bytes] = field(default_factory=dict[str, bytes])
    ids: int = 0

    @override
    async def send(self, request: Request, route: Route, remaining: float) -> FakeResponse:
        """Answer as the route's account."""
        await asyncio.sleep(0)
        here = (route.upstream, route.credential)
        self.visits.append(here)
        if here in self.down:
            raise classify(500, (), b'{"error":{"message":"down"}}', now=0.0)
        for id_ in _ID.findall(request.path + request.content.decode()):
            if self.lived.get(id_) != here:
                self.misroutes.append((id_, here))
            if self.lived.get(id_) != here or id_ in self.deleted:
                raise classify(404, (), b'{"error":{"message":"not found"}}', now=0.0)
        answer = self._answer(request, here)
        self.answers.append(answer)
        return answer

    def _answer(self, request: Request, here: Account) -> FakeResponse:
        kind = request.path.split("/")[2]
        if request.method == "DELETE":
            self.deleted.add(request.path.rsplit("/", 1)[1])
            return FakeResponse(b'{"deleted":true}')
        if request.method == "GET":
            known = self.latest.get(_PREFIX.get(kind, kind), ())
            found = [one for one in known if self.lived[one] == here]
            id_ = request.path.removeprefix(f"/v1/{kind}").strip("/")
            told = {"id": id_} if id_ else {"data": [{"id": one} for one in found]}
            return FakeResponse(self.shown.get(id_) or json.dumps(told).encode())
        made: dict[str, Any] = {"id": self._new(_PREFIX.get(kind, kind), here), "object": kind}
        if kind == "responses":
            made["output"] = [self._reasoning(here)]
        if kind == "batches":
            made["output_file_id"] = self._new("file", here)
        return (
            FakeResponse(_events(made))
            if request.stream
            else FakeResponse(json.dumps(made).encode())
        )

    def _reasoning(self, here: Account) -> dict[str, Any]:
        sealed = self._new("gAAAA", here)
        return {"type": "reasoning", "id": self._new("rs", here), "encrypted_content": sealed}

    def _new(self, prefix: str, here: Account) -> str:
        self.ids += 1
        id_ = f"{prefix}_{self.ids:06d}{self.random.getrandbits(64):016x}"
        self.lived[id_] = here
        self.latest.setdefault(prefix, deque(maxlen=200)).append(id_)
        return id_


def _events(made: dict[str, Any]) -> list[bytes]:
    """Return a made response as a stream."""
    begun = {"type": "response.created", "response": {**made, "output": []}}
    done = [{"type": "response.output_item.done", "item": one} for one in made["output"]]
    ended = {"type": "response.completed", "response": made}
    return [
        f"event: {one['type']}\ndata: {json.dumps(one)}\n\n".encode()
        for one in (begun, *done, ended)
    ]
