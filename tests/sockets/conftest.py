"""A practice OpenAI, a gateway before it, and what its ledger says."""

import asyncio
import sqlite3
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import openai
import pytest
from websockets.asyncio.client import ClientConnection, connect

from headworks.build import Assembly
from headworks.config.loading import load
from headworks.core.client_tokens import read_asked
from headworks.gateway.server import Server
from headworks.gateway.station import Station
from headworks.simulator import RunningSimulator, SimulatedModel, SimulatorConfig, running
from headworks.simulator.config import Latency
from headworks.types import Call, Secret
from tests.upstream.scripted import until

KEY = "open-key-0123456789"
NARROW = "narrow-key-0123456789"
SINGLE = "single-key-0123456789"
POOR = "poor-key-0123456789"
FEW = "few-key-0123456789"
MINTING = "minting-key-0123456789"
PROVIDERS_KEY = "sk-simulator"
MODEL, SLOW, VOICE = "gpt-6-sol", "gpt-6-luna", "gpt-realtime"
PRACTICE = SimulatorConfig(
    seed=7, models={SLOW: SimulatedModel(latency=Latency(tokens_per_second=50.0))}
)

_CONFIGURATION = """\
server: {{listen: "127.0.0.1:0", admin: "127.0.0.1:0", websocket: {{{websocket}}}{cors}}}
store: sqlite:{folder}/headworks.db
retry: {{first: 10ms, longest: 20ms}}
upstreams:
  practice:
    base_url: {upstream}
    credentials: [{{name: main, api_key: {providers_key}}}]
  other:
    base_url: {upstream}
    credentials: [{{name: main, api_key: sk-other}}]
models:
  assistant: {{routes: [practice/{model}]}}
  elsewhere: {{routes: [other/{model}]}}
  voice: {{routes: [practice/{voice}]}}
  brief: {{routes: [practice/{voice}], timeouts: {{total: 200ms}}}}
keys:
  - {{name: open, secret: {key}}}
  - {{name: narrow, secret: {narrow}, models: [assistant, voice]}}
  - {{name: single, secret: {single}, limits: {{parallel: 1, queue: 0}}}}
  - {{name: poor, secret: {poor}, budget: {{usd: 0.001, per: day, hard: true}}}}
  - {{name: few, secret: {few}, limits: {{rpm: 2, queue: 0}}}}
  - {{name: minting, secret: {minting}, models: [assistant, voice, {model}], client_tokens: {{}}}}
"""


@dataclass
class Ground:
    """A gateway on real sockets, and the practice OpenAI behind it."""

    practice: RunningSimulator
    station: Station
    server: Server
    folder: Path
    calls: list[Call]

    @property
    def url(self) -> str:
        return self.server.url + "/v1"

    @property
    def port(self) -> int:
        return int(urlsplit(self.server.url).port or 0)

    def app(self, key: str = KEY) -> openai.AsyncOpenAI:
        """Return the official client."""
        return openai.AsyncOpenAI(api_key=key, base_url=self.url)

    def connect(self, path: str = "/responses", key: str = KEY, **options: Any) -> connect:
        """Return a plain connection that is to be opened."""
        headers = {"authorization": f"Bearer {key}"} if key else {}
        return connect(
            self.url.replace("http", "ws", 1) + path, additional_headers=headers, **options
        )

    def token(self, key: str = MINTING, **asked: Any) -> str:
        """Return a client token, as an app's backend gets it."""
        wanted = read_asked({"user": "u42", **asked})
        return self.station.assembly.keys.mint(Secret(key), wanted).text.reveal()

    def rows(self) -> list[dict[str, Any]]:
        """Return the attempts that may cost something, in the order of their rows."""
        return [row for row in self.all_rows() if "." in row["call"]]

    def all_rows(self) -> list[dict[str, Any]]:
        self.station.assembly.ledger.flush()
        with sqlite3.connect(self.station.assembly.ledger.path) as ledger:
            ledger.row_factory = sqlite3.Row
            rows = ledger.execute("SELECT * FROM attempts ORDER BY seq").fetchall()
        ledger.close()
        return [dict(row) for row in rows]

    async def settled(self, count: int) -> list[dict[str, Any]]:
        """Return the rows once there are so many and none is open."""

        def is_settled() -> bool:
            rows = self.rows()
            return len(rows) == count and all(row["state"] != "held" for row in rows)

        await until(is_settled)
        return self.rows()


class _Recorder:
    def __init__(self, calls: list[Call]) -> None:
        self.calls = calls

    def record(self, call: Call) -> None:
        self.calls.append(call)


@pytest.fixture
def anyio_backend():
    return "asyncio", {"use_uvloop": True}


@pytest.fixture(scope="session")
def session_practice():
    """The practice OpenAI that all share."""
    with running(PRACTICE) as simulator:
        yield simulator


@pytest.fixture
def practice(session_practice):
    """The practice OpenAI, with nothing in its books."""
    assert session_practice.wait_settled()
    session_practice.reset()
    return session_practice


@asynccontextmanager
async def gateway(
    folder: Path,
    practice: RunningSimulator,
    *,
    upstream: str = "",
    websocket: str = "",
    cors: str = "",
    **rules: float,
) -> AsyncGenerator[Ground]:
    """Run a gateway before the practice OpenAI, or another upstream."""
    calls: list[Call] = []
    content = _CONFIGURATION.format(
        folder=folder,
        upstream=upstream or practice.base_url,
        websocket=websocket,
        cors=f", cors: {cors}" if cors else "",
        providers_key=PROVIDERS_KEY,
        model=MODEL,
        voice=VOICE,
        key=KEY,
        narrow=NARROW,
        single=SINGLE,
        poor=POOR,
        few=FEW,
        minting=MINTING,
    ).encode()
    config = load(Path("headworks.yaml"), {}, lambda _: content)
    rules_ = replace(config.server.websocket, **rules)  # type: ignore[arg-type] # all are numbers
    config = replace(config, server=replace(config.server, websocket=rules_))
    station = Station(Assembly(config, journals=(_Recorder(calls),)), lambda: config)
    server = station.server(announce=lambda _: None)
    life = asyncio.ensure_future(server.run())
    await server.ready.wait()
    try:
        yield Ground(practice, station, server, folder, calls)
    finally:
        server.stop(at_once=True)
        await life


@pytest.fixture
async def ground(practice, tmp_path) -> AsyncGenerator[Ground]:
    async with gateway(tmp_path, practice) as ground:
        yield ground


async def events_until(connection: ClientConnection, *kinds: str) -> list[dict[str, Any]]:
    """Return the events that come, to the first of these kinds."""
    events: list[dict[str, Any]] = []
    while not events or events[-1]["type"] not in kinds:
        events.append(msgspec.json.decode(await connection.recv()))
    return events
