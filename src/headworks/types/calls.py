"""A call, what it used and what became of it."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Literal

import msgspec
from typing_extensions import override

from headworks.types.requests import Caller, Headers, Presence, Request
from headworks.types.routes import Route, Tried


class Usage(msgspec.Struct, frozen=True):
    """Tokens of one attempt, as the provider counts them.

    `cached` and `written` (cache writes) are parts of `input`, `reasoning` is a part of `output`.
    `tier` is the service tier that the answer names; it decides the price. `written_12h` is the
    part of `written` that is kept for twelve hours, at a price of its own.
    """

    input: int = 0
    output: int = 0
    cached: int = 0
    written: int = 0
    reasoning: int = 0
    tier: str = "default"
    written_12h: int = 0


NO_USAGE = Usage()


@dataclass(frozen=True, slots=True)
class Fitted:
    """How a request was made to fit its model's window.

    Attributes:
        before: Tokens of the request as it came, by our count; `after` as it went out.
        dropped: Messages or items that were left out.
        model: The model that was asked instead, or that summed up what was left out.
        summary: The id of the call that made the summary.
        again: Whether the provider refused a first request as too long.
    """

    strategy: str
    before: int
    after: int
    dropped: int = 0
    model: str = ""
    summary: str = ""
    again: bool = False

    @override
    def __str__(self) -> str:
        """Spell it as a header field: `drop_oldest; dropped=12; tokens=130000>100000`."""
        parts = [self.strategy, f"dropped={self.dropped}", f"tokens={self.before}>{self.after}"]
        parts += [f"model={self.model}"] if self.model else []
        parts += [f"summary={self.summary}"] if self.summary else []
        return "; ".join([*parts, "again"] if self.again else parts)


class Response(msgspec.Struct):
    """What the caller gets: whole bytes, or chunks that live as long as the call."""

    status: int
    headers: Headers
    content: bytes | AsyncIterator[bytes]

    @override
    def __repr__(self) -> str:
        """Return its status alone: what it says is its caller's own."""
        return f"Response({self.status})"


class Call(msgspec.Struct):
    """One call in flight. Each field is written once, by the step that learns it.

    Attributes:
        started: Seconds on the engine's clock; `ended` and `answered` likewise.
        time: Wall-clock start in seconds since 1970.
        answered: When the first byte for the caller was ready.
        waited: Seconds of `ended - started` that were spent waiting for upstreams, or in our own
            queue; `queued` are the latter alone.
        tokens: In and out over all attempts, as they are booked; `usage` is the last one's.
        cost: Nano-dollars over all attempts; None while any part has no known price.
        trail: What became of each failed attempt, in order.
        filtered: What a provider's content filter stopped, "" for nothing.
        fitted: How the request was shortened, None when it went out as it came.
        presence: Whether the caller is still there.
        hedge: What became of a second attempt that was sent beside a late one, "" if none was.
        rates: Header fields that tell how our own limits stand, where any apply.
        replays: The call whose answer this one gets again, by its idempotency key.
        asked: The model that the caller named; `request` may go to a larger one.
    """

    id: str
    request: Request
    started: float
    time: float
    caller: Caller | None = None
    route: Route | None = None
    attempts: int = 0
    answered: float | None = None
    waited: float = 0.0
    ended: float | None = None
    status: int = 0
    usage: Usage = NO_USAGE
    tokens: int = 0
    cost: int | None = 0
    outcome: str = "abandoned"
    cache: Literal["miss", "hit"] = "miss"
    trail: list[Tried] = []
    filtered: Literal["", "prompt", "answer"] = ""
    fitted: Fitted | None = None
    presence: Presence = msgspec.field(default_factory=Presence)
    hedge: Literal["", "won", "lost"] = ""
    rates: Headers = ()
    queued: float = 0.0
    replays: str = ""
    asked: str = ""

    def __post_init__(self) -> None:
        """Note the model before the request is changed."""
        self.asked = self.request.model
