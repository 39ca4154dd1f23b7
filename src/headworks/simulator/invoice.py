"""The provider's books: what every attempt used and costs, counted apart from headworks' ledger.

An attempt is billed as soon as the head of a successful answer is sent: the prompt, and the output
tokens sent so far. A refused attempt, or one that broke before its head, costs nothing.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from decimal import ROUND_CEILING, Decimal
from typing import Any, final

import msgspec

from headworks.ports import Clock
from headworks.simulator.config import SimulatedPrice
from headworks.simulator.models import Models
from headworks.types import NO_USAGE, Usage


@dataclass(slots=True)
class Attempt:
    """One request as the provider saw it.

    Attributes:
        n: Counts from 1.
        time: Seconds since 1970; `ended` likewise, None while it is open.
        credential: Name of the key, never the key; "" for an unknown one.
        client_request_id: The name that the client gave it, in `x-client-request-id`.
        status: What was answered, 0 when nothing was.
        fault: The fault that struck, as `name` or `name=argument`, else "".
        outcome: completed, refused, cut, gone (the client left) or open.
        cost: Nano-dollars; None when tokens were used that have no price.
    """

    n: int
    time: float
    method: str
    path: str
    model: str = ""
    credential: str = ""
    request_id: str = ""
    client_request_id: str = ""
    status: int = 0
    fault: str = ""
    outcome: str = "open"
    usage: Usage = NO_USAGE
    cost: int | None = 0
    ended: float | None = None


@dataclass(slots=True)
class Line:
    """A sum of attempts: those billed, their tokens and what they cost."""

    attempts: int = 0
    billed: int = 0
    unpriced: int = 0
    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    nano_usd: int = 0

    def add(self, attempt: Attempt) -> None:
        """Count one attempt in."""
        usage = attempt.usage
        self.attempts += 1
        self.billed += usage != NO_USAGE
        self.unpriced += attempt.cost is None
        self.input_tokens += usage.input
        self.cached_tokens += usage.cached
        self.output_tokens += usage.output
        self.reasoning_tokens += usage.reasoning
        self.nano_usd += attempt.cost or 0


@dataclass(slots=True)
class _Sums:
    total: Line = field(default_factory=Line)
    models: dict[str, Line] = field(default_factory=dict[str, Line])
    credentials: dict[str, Line] = field(default_factory=dict[str, Line])
    tiers: dict[str, Line] = field(default_factory=dict[str, Line])

    def lines(self, attempt: Attempt) -> Iterator[Line]:
        yield self.total
        yield _line(self.models, attempt.model)
        yield _line(self.credentials, attempt.credential)
        if attempt.usage != NO_USAGE:
            yield _line(self.tiers, attempt.usage.tier)


def _line(lines: dict[str, Line], name: str) -> Line:
    line = lines.get(name)
    if line is None:
        line = lines[name] = Line()
    return line


@final
class Books:
    """All attempts, and their sums. May be read from any thread.

    Attributes:
        before_reading: Called before anything is told, so that what is due gets booked first.
    """

    def __init__(self, models: Models, clock: Clock, keep: int) -> None:
        self._models, self._clock = models, clock
        self._settled = threading.Condition()
        self._attempts: deque[Attempt] = deque(maxlen=keep)
        self._sums = _Sums()
        self._count = self._open = 0
        self.before_reading: Callable[[], None] = _nothing

    def open(self, method: str, path: str) -> Attempt:
        """Begin an attempt."""
        with self._settled:
            self._count += 1
            self._open += 1
            attempt = Attempt(self._count, self._clock.time(), method, path)
            self._attempts.append(attempt)
            return attempt

    def close(self, attempt: Attempt, outcome: str) -> None:
        """End an attempt and bill it; what was ended before stays as it is."""
        with self._settled:
            if attempt.outcome != "open":
                return
            attempt.outcome = outcome
            attempt.cost, attempt.ended = self._cost(attempt), self._clock.time()
            for line in self._sums.lines(attempt):
                line.add(attempt)
            self._open -= 1
            self._settled.notify_all()

    def reset(self) -> None:
        """Forget all that is settled."""
        with self._settled:
            self._sums = _Sums()
            still = [attempt for attempt in self._attempts if attempt.outcome == "open"]
            self._attempts = deque(still, maxlen=self._attempts.maxlen)
            self._count = self._open

    def spent(self, credential: str) -> int:
        """Return the nano-dollars billed to one key so far."""
        with self._settled:
            line = self._sums.credentials.get(credential)
            return line.nano_usd if line else 0

    def wait_settled(self, seconds: float) -> bool:
        """Block until no attempt is open; return whether that came about in time."""
        with self._settled:
            return self._settled.wait_for(lambda: self._open == 0, seconds)

    def attempts(self) -> list[dict[str, Any]]:
        """Return every attempt that is remembered, oldest first."""
        self.before_reading()
        with self._settled:
            return [_told(attempt) for attempt in self._attempts]

    def invoice(self) -> dict[str, Any]:
        """Return the sums in all, by model, credential and tier, and how many attempts are open."""
        self.before_reading()
        with self._settled:
            sums = asdict(self._sums)
            return {**sums.pop("total"), "open": self._open, **sums}

    def _cost(self, attempt: Attempt) -> int | None:
        usage = attempt.usage
        if usage == NO_USAGE:
            return 0
        price = self._models.price(attempt.model, usage.tier, usage.input)
        return None if price is None else charge(price, usage)


def _nothing() -> None:
    pass


def _told(attempt: Attempt) -> dict[str, Any]:
    return {**asdict(attempt), "usage": msgspec.structs.asdict(attempt.usage)}


def charge(price: SimulatedPrice, usage: Usage) -> int:
    """Return nano-dollars, a fraction counting as a whole one: providers do not round down."""
    cached = price.input if price.cached is None else price.cached
    exact = usage.input * price.input - usage.cached * (price.input - cached)
    exact += usage.output * price.output
    return int(Decimal(exact).to_integral_value(rounding=ROUND_CEILING))
