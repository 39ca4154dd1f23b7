"""The endpoints of a simulator, asked without HTTP and in virtual time."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import msgspec

from headworks.simulator import SimulatorConfig, routes
from headworks.simulator.asked import Asked
from headworks.simulator.chance import Chance
from headworks.simulator.provider import Provider
from headworks.simulator.reply import Body, Reply
from headworks.testing import FakeClock

RESPONSES = "/v1/responses"


class Told(NamedTuple):
    """One event of a stream.

    Attributes:
        kind: As of its step.
        name: On its `event:` line.
    """

    kind: str
    tokens: int
    name: str
    content: dict[str, Any]


class Practice:
    """One simulator, and its callers."""

    def __init__(self, config: SimulatorConfig) -> None:
        self.clock = FakeClock(jumps=False)
        self.provider = Provider(config, self.clock)
        self._count = 0

    def answer(self, method: str, target: str, fields: Mapping[str, Any], **more: Any) -> Body:
        """Return what an endpoint answers, or raise its refusal; `more` are fields of `Asked`."""
        path, _, query = target.partition("?")
        pairs = (pair.partition("=")[::2] for pair in query.split("&") if pair)
        route, names = routes.find(method, path)
        self._count += 1
        serial = Chance("practice", self._count).hex(48)
        asked = Asked(method, path, "simulator", serial, int(self.clock.time()), fields, names)
        return route.answer(self.provider, replace(asked, query=dict(pairs), **more))

    def get(self, target: str, **more: Any) -> Any:
        """Return the JSON that a GET is answered with."""
        return msgspec.json.decode(self.answer("GET", target, {}, **more).whole(usage=True))

    def delete(self, target: str, **more: Any) -> Any:
        """Return the JSON that a DELETE is answered with."""
        return msgspec.json.decode(self.answer("DELETE", target, {}, **more).whole(usage=True))

    def post(self, target: str, fields: Mapping[str, Any], **more: Any) -> Any:
        """Return the JSON that a POST is answered with."""
        return msgspec.json.decode(self.answer("POST", target, fields, **more).whole(usage=True))

    def ask(self, more: Mapping[str, Any] | None = None, **fields: Any) -> Any:
        """Return the response to a request: of gpt-4o to a greeting unless it says otherwise."""
        return self.post(RESPONSES, {"model": "gpt-4o", "input": "Hello", **fields}, **(more or {}))

    def stream(self, more: Mapping[str, Any] | None = None, **fields: Any) -> list[Told]:
        """Return the events of a response, its request being as for `ask`."""
        asked = {"model": "gpt-4o", "input": "Hello", "stream": True, **fields}
        return told(self.answer("POST", RESPONSES, asked, **(more or {})))


def told(body: Body) -> list[Told]:
    """Return the events of an answer."""
    assert isinstance(body, Reply)
    listed: list[Told] = []
    for step in body.steps(usage=True):
        name, data, *rest = step.data.decode().split("\n")
        assert rest == ["", ""]
        content = msgspec.json.decode(data.removeprefix("data: "))
        listed.append(Told(step.kind, step.tokens, name.removeprefix("event: "), content))
    return listed
