"""A simulator in a thread with the official client in front, and one in virtual time."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
import openai
import pytest

from headworks.simulator import (
    SimulatedModel,
    SimulatedPrice,
    SimulatorConfig,
    running,
)
from headworks.simulator.exchange import Application
from headworks.testing import FakeClock

PRICES = {
    "gpt-4o": SimulatedPrice(2_500, 10_000, 1_250),
    "gpt-4o@flex": SimulatedPrice(1_250, 5_000, 625),
    "gpt-6-sol": SimulatedPrice(2_000, 10_000, 200),
    "text-embedding-3-small": SimulatedPrice(20),
}
CONFIG = SimulatorConfig(
    prices=PRICES,
    models={
        "house-model": None,
        "davinci-002": None,
        "narrow": SimulatedModel(context=20, output=50),
    },
    seed=7,
)


@pytest.fixture(scope="module")
def simulator():
    """A simulator that a whole module shares."""
    with running(CONFIG) as simulator:
        yield simulator


@pytest.fixture
def client(simulator):
    """The official client, which tries once."""
    simulator.reset()
    with openai.OpenAI(
        base_url=simulator.base_url, api_key="sk-simulator", max_retries=0
    ) as client:
        yield client


@dataclass
class Visit:
    """One request to a simulator in this process, and what came of it so far."""

    path: str
    fields: Mapping[str, Any]
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    status: int = 0
    head: dict[str, str] = field(default_factory=dict[str, str])
    body: bytes = b""
    ended: bool = False

    def __post_init__(self) -> None:
        self._left = asyncio.Event()
        self._asked = False

    def leave(self) -> None:
        """Close the connection."""
        self._left.set()

    async def run(self, simulator: Application) -> None:
        """Make the request."""
        given = {"authorization": "Bearer sk-simulator", "content-type": "application/json"}
        headers = [(k.encode(), v.encode()) for k, v in {**given, **self.headers}.items()]
        scope = {"type": "http", "method": "POST", "path": self.path, "headers": headers}
        await simulator(scope, self._receive, self._send)

    async def _receive(self):
        if not self._asked:
            self._asked = True
            return {"type": "http.request", "body": msgspec.json.encode(self.fields)}
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message):
        self.status = message.get("status", self.status)
        self.head |= {k.decode(): v.decode() for k, v in message.get("headers", ())}
        self.body += message.get("body", b"")
        self.ended = message["type"].endswith("body") and not message.get("more_body")


@pytest.fixture
def clock():
    """Time that passes when a test says so."""
    return FakeClock(jumps=False)
