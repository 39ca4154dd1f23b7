"""Both ends of a gateway that will be killed: callers and a provider who remember everything."""

import asyncio
import json
import random
from collections import Counter, defaultdict
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from headworks.gateway.lifecycle import Lifecycle
from headworks.gateway.server import running
from headworks.simulator import FaultRule, Latency, Simulator, SimulatorConfig
from headworks.system import SystemClock
from tests.faults.processes import KEY, UPSTREAM_KEY, Line, Reply, line_to, request

SEED = 20261123
CALLERS = 20
DONE = b"data: [DONE]\n\n"
PRACTICE = SimulatorConfig(
    latency=Latency(first_token=0.005, tokens_per_second=3000.0),
    answer_tokens=(4, 16),
    faults=(
        FaultRule("status", status=500, probability=0.08, model="gpt-6-sol"),
        FaultRule("status", status=429, retry_after=0, probability=0.03, model="gpt-6-sol"),
        FaultRule("cut_after", after=3, ending="clean", probability=0.05),
        FaultRule("missing_usage", probability=0.05),
    ),
    credentials={"main": UPSTREAM_KEY},
    seed=SEED,
)


# The provider, as a witness.


@dataclass
class Bill:
    """What a call used: nano-dollars, and the tokens that can be seen, reasoning being hidden."""

    nano: int = 0
    visible: int = 0


@dataclass
class Provider:
    """The practice OpenAI, with an eye on which call came how often and what it was billed."""

    seen: Counter[str] = field(default_factory=Counter)
    tag_of: dict[str, str] = field(default_factory=dict)
    port: int = 0

    def __post_init__(self) -> None:
        self.simulator = Simulator(PRACTICE, SystemClock())

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one attempt, and note the name that the provider gives it."""
        tag = dict(scope["headers"])[b"x-client-request-id"].decode()
        self.seen[tag] += 1

        async def noting(message: Any) -> None:
            if message["type"] == "http.response.start":
                fields = dict(message["headers"])
                self.tag_of[fields[b"x-request-id"].decode()] = tag
            await send(message)

        await self.simulator(scope, receive, noting)

    def billed(self) -> dict[str, Bill]:
        """Return what each call used, as the provider has it in its books."""
        bills: dict[str, Bill] = defaultdict(Bill)
        for attempt in self.simulator.books.attempts():
            tag = self.tag_of.get(attempt["request_id"])
            if tag is not None:
                usage, bill = attempt["usage"], bills[tag]
                bill.nano += attempt["cost"] or 0
                bill.visible += usage["input"] + usage["output"] - usage["reasoning"]
        return bills


@asynccontextmanager
async def provider() -> AsyncGenerator[Provider]:
    """Run a provider on a free port."""
    seen = Provider()
    async with running(seen, seen, Lifecycle()) as server:
        seen.port = int(server.url.rpartition(":")[2])
        yield seen


# The callers.


def call_bytes(tag: str, chance: random.Random, key: str = KEY) -> bytes:
    """Return a request of a random kind: plain or streamed, of three endpoints."""
    kind = chance.choice(("chat", "chat", "chat", "responses", "embeddings"))
    text = f"Say something about {tag}"
    fields: dict[str, Any] = {"model": "assistant", "stream": chance.random() < 0.5}
    if kind == "chat":
        fields["messages"] = [{"role": "user", "content": text}]
    else:
        fields["input"] = text
    if kind == "embeddings":
        fields = {"model": "embedder", "input": text}
    path = {"chat": "chat/completions"}.get(kind, kind)
    headers = {"x-headworks-user": tag, "x-client-request-id": tag}
    content = json.dumps(fields).encode()
    return request(content, line=f"POST /v1/{path} HTTP/1.1", key=key, headers=headers)


@dataclass
class Crowd:
    """Callers who call until the gateway is gone; some hang up in the middle.

    Attributes:
        told: What each call was told, by its tag.
        left: So many ends are still received before `enough`; each is told of at once.
    """

    told: dict[str, Reply] = field(default_factory=dict)
    left: int = 0
    enough: Callable[[], None] = lambda: None

    def begin(self, port: int, name: str, chance: random.Random) -> "list[asyncio.Task[None]]":
        """Set everybody to work."""
        return [
            asyncio.create_task(
                self.keep_calling(port, f"{name}-{n}", random.Random(chance.random()))
            )
            for n in range(CALLERS)
        ]

    def look(self, reply: Reply) -> None:
        """Count the ends."""
        if reply.body.endswith(DONE) or "content-length" in reply.headers:
            self.left -= 1
            if not self.left:
                self.enough()

    async def keep_calling(self, port: int, name: str, chance: random.Random) -> None:
        """Make one call after the other; note each under a name of its own."""
        number, goes_on = 0, True
        while goes_on:
            try:
                async with line_to(port) as line:
                    line.on_piece = self.look
                    while goes_on and (number := number + 1) and chance.random() > 0.05:
                        goes_on = await self.call(line, f"{name}-{number}", chance)
                    if goes_on:
                        await self.leave(line, f"{name}-{number}", chance)
            except OSError:
                return

    async def call(self, line: Line, tag: str, chance: random.Random) -> bool:
        """Make one call; return whether its reply came to the end."""
        self.told[tag] = Reply()
        self.told[tag] = reply = await line.ask(call_bytes(tag, chance))
        return reply.has_ended

    async def leave(self, line: Line, tag: str, chance: random.Random) -> None:
        """Make a call and hang up in its middle."""
        self.told[tag] = Reply()
        line.writer.write(call_bytes(tag, chance))
        await asyncio.sleep(chance.uniform(0, 0.03))
