"""The practice OpenAI at a place of the network, with an eye on what reached it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import msgspec

from headworks.simulator import Latency, Simulator, SimulatorConfig
from headworks.simulator.exchange import CONNECTION
from headworks.simulator.wire import Connection, OpenDoor, Settings
from headworks.tokenizer import Tokenizer
from tests.faults.simworld.clockwork import LoopClock, VirtualLoop
from tests.faults.simworld.network import Place

LIE = b"This answer is for somebody else."
"""What a provider says that speaks when nobody has asked."""


@cache
def tokenizer() -> Tokenizer:
    """Return the one tokenizer of all worlds, its vocabularies loaded."""
    shared = Tokenizer()
    shared.load_soon(["o200k_base", "cl100k_base"])
    shared.wait_loaded()
    return shared


@dataclass
class Arrival:
    """One request that reached a provider.

    Attributes:
        time: Seconds since 1970.
        line: Number of the line that brought it.
        attempt: The provider's own account of it, once the world has ended.
        heard_from: Where its answer begins in what that line brought; `heard_to` likewise.
        body: The request's body, as far as it came.
        expected: What the provider says to it if nothing goes wrong, None if it says no.
    """

    tag: str
    place: str
    time: float
    line: int
    attempt: dict[str, Any] = field(default_factory=dict[str, Any])
    heard_from: int = 0
    heard_to: int | None = None
    body: bytes = b""
    expected: dict[str, Any] | None = None

    @property
    def fields(self) -> dict[str, Any] | None:
        """What was asked, None where the request did not come whole."""
        try:
            fields: dict[str, Any] = msgspec.json.decode(self.body)
        except msgspec.DecodeError:
            return None
        return fields


class Provider:
    """One place with a simulator; `on_arrival` is told of each request."""

    def __init__(self, name: str, config: SimulatorConfig, loop: VirtualLoop) -> None:
        self.name = name
        self.clock = LoopClock(loop)
        self.simulator = Simulator(config, self.clock, tokenizer())
        self.arrivals: list[Arrival] = []
        self.on_arrival: Callable[[Arrival], None] = lambda _: None
        self._loop = loop
        calm = msgspec.structs.replace(config, faults=(), limits=(), latency=Latency())
        self._calm = Simulator(calm, self.clock, tokenizer())
        self._key = next(iter(config.credentials.values()))

    async def start(self) -> None:
        """Listen."""
        settings = Settings(self, OpenDoor(), self.clock, 1_000_000)
        now = self._loop.time
        await self._loop.create_server(lambda: Connection(settings, now), sock=Place(self.name))

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Note the request and answer it."""
        tag = dict(scope["headers"]).get(b"x-client-request-id", b"").decode()
        line = scope["client"][1] - 20_000
        arrival = Arrival(tag, self.name, self.clock.time(), line)
        self.arrivals.append(arrival)
        self.on_arrival(arrival)
        arrival.body = scope["extensions"][CONNECTION].content
        await self.simulator(scope, receive, send)

    @property
    def open(self) -> int:
        """How many requests are being answered."""
        return int(self.simulator.books.invoice()["open"])

    def close(self) -> None:
        """Note what the provider's books say of each arrival."""
        for arrival, attempt in zip(self.arrivals, self.simulator.books.attempts(), strict=True):
            arrival.attempt = attempt

    async def said(self, path: str, fields: dict[str, Any]) -> dict[str, Any] | None:
        """Return the whole answer to a request as it came here, if nothing goes wrong.

        A second simulator of the same seed says it: words depend on the request alone.
        """
        asked = {name: fields[name] for name in fields if name not in {"stream", "stream_options"}}
        answer: dict[str, Any] = msgspec.json.decode(await self._ask(path, msgspec.json.encode(asked)))  # fmt: skip
        return None if answer.get("error") else answer

    async def _ask(self, path: str, body: bytes) -> bytes:
        """Return what the calm simulator answers."""
        said = bytearray()
        waiting: list[Any] = [{"type": "http.request", "body": body, "more_body": False}]
        key = str(self._key)
        fields = (
            (b"authorization", b"Bearer " + key.encode()),
            (b"content-type", b"application/json"),
        )

        async def receive() -> Any:
            if not waiting:
                await self._loop.create_future()
            return waiting.pop()

        async def send(message: Any) -> None:
            said.extend(message.get("body", b""))

        scope = {"type": "http", "method": "POST", "path": path, "headers": fields}
        await self._calm(scope, receive, send)
        return bytes(said)
