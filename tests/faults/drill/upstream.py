"""The scripted provider: the practice OpenAI, each of whose models fails in a way of its own.

It writes down what it was asked, and when each connection was closed by the other side.
"""

import asyncio
import json
import time
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import openai

from headworks.simulator import (
    FaultRule,
    Latency,
    SimulatedModel,
    SimulatorConfig,
    running_application,
)
from headworks.simulator.config import SimulatedPrice
from headworks.simulator.exchange import CONNECTION, Message, Receive, Scope, Send
from headworks.simulator.server import simulator

KEY = "sk-simulator"
STEADY, NO_PREFILL, NARROW = "steady", "no-prefill", "u-l"
"""Models that never fail; the second refuses to go on with an answer that another one began, and
the question is too long for the third."""

WORDS = 60
QUESTION = (
    "What does a headworks do? Say it in about sixty words, for somebody who has seen the mill, "
    "the gate and the river, and who has never asked where the water of the channel comes from, "
    "who lets it in, who holds it back in spring, and what becomes of it behind the wheel."
)
SPARE = "u-p-spare"
PRICES = {
    "u-p": SimulatedPrice(input=2500, output=10000),
    SPARE: SimulatedPrice(input=1250, output=5000),
}
"""Nano-dollars a token: of the failing model whose accounts are compared, and of its fallback."""


MESSAGES: list[Any] = [{"role": "user", "content": QUESTION}]


@dataclass
class Attempt:
    """One request as the provider saw it; times are in seconds from the beginning.

    Attributes:
        name: The scenario that it belongs to, which the app tells as `user`.
        until: When it was over, None while it is not.
        was_left: Whether the other side closed the connection before the answer's end.
    """

    name: str
    model: str
    body: dict[str, Any]
    at: float
    until: float | None = None
    was_left: bool = False

    @property
    def is_prefilled(self) -> bool:
        """Whether the model is to go on with an answer that another one began."""
        return bool(self.body["messages"][-1]["role"] == "assistant")


@dataclass
class Upstream:
    """One scripted provider, as an ASGI application.

    Attributes:
        base_url: Where it listens.
        attempts: What it was asked, oldest first.
    """

    config: SimulatorConfig
    base_url: str = ""
    attempts: list[Attempt] = field(default_factory=list[Attempt])

    def __post_init__(self) -> None:
        self._simulator = simulator(self.config)
        self._began = time.monotonic()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = json.loads(scope["extensions"][CONNECTION].content)
        attempt = Attempt(body.get("user", ""), body["model"], body, self.now)
        self.attempts.append(attempt)
        try:
            if attempt.model == NO_PREFILL and attempt.is_prefilled:
                await _refuse_prefill(send)
            else:
                await self._simulator(scope, receive, send)
        except asyncio.CancelledError:
            attempt.was_left = True
            raise
        finally:
            attempt.until = self.now

    @property
    def now(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self._began

    def begin(self) -> None:
        """Forget what was asked; times, and those of the faults, count from now."""
        self._simulator.reset()
        self.attempts.clear()
        self._began = time.monotonic()

    def invoice(self) -> int:
        """Return what it bills for the models that have a price, in nano-dollars."""
        lines = self._simulator.books.invoice()["models"]
        return sum(lines[model]["nano_usd"] for model in PRICES if model in lines)


async def _refuse_prefill(send: Send) -> None:
    said = {"message": "This model does not support assistant prefill.", "code": None}
    content = json.dumps({"error": {**said, "type": "invalid_request_error"}}).encode()
    start: Message = {"type": "http.response.start", "status": 400}
    await send({**start, "headers": [(b"content-type", b"application/json")]})
    await send({"type": "http.response.body", "body": content, "more_body": False})


@contextmanager
def running_upstream(faults: Iterable[FaultRule]) -> Generator[Upstream]:
    """Run a provider with these faults, and all models that they name, until the block is left."""
    rules = tuple(faults)
    models: dict[str, SimulatedModel | None] = dict.fromkeys(rule.model for rule in rules)
    models |= {STEADY: None, NO_PREFILL: None, SPARE: None, NARROW: SimulatedModel(context=40)}
    config = SimulatorConfig(
        faults=rules,
        models=models,
        prices=PRICES,
        latency=Latency(first_token=0.05, tokens_per_second=200.0),
        answer_tokens=(WORDS, WORDS + 12),
    )
    upstream = Upstream(config)
    with running_application(upstream) as base_url:
        upstream.base_url = base_url
        yield upstream


async def truth(upstream: Upstream, models: Iterable[str]) -> dict[str, str]:
    """Return what these models, and those that never fail, answer when nothing goes wrong."""
    texts: dict[str, str] = {}
    async with openai.AsyncOpenAI(base_url=upstream.base_url, api_key=KEY) as client:
        for model in (*models, STEADY, NO_PREFILL, SPARE):
            answer = await client.chat.completions.create(
                model=f"{model}+slow_first_token=0", messages=MESSAGES
            )
            texts[model] = answer.choices[0].message.content or ""
    return texts
