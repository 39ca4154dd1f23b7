"""The nouns: what flows through the engine."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from hmac import compare_digest
from typing import Any, Literal, final

import msgspec
from msgspec.structs import force_setattr as set_field
from typing_extensions import override

Headers = tuple[tuple[bytes, bytes], ...]
"""Header fields in order, names in lower case."""

Priority = Literal["interactive", "background", "batch"]
Certainty = Literal["exact", "estimated", "unknown"]
"""How a settled usage came to be: as reported, counted by us upwards, or found open."""


@final
class Secret:
    """A value that never shows: not in a repr, a log or an error."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Return the value, for the one place that sends or hashes it."""
        return self._value

    @override
    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and compare_digest(
            self._value.encode(), other._value.encode()
        )

    @override
    def __hash__(self) -> int:
        return hash(self._value)

    @override
    def __repr__(self) -> str:
        return "***"

    @override
    def __str__(self) -> str:
        return "***"


@dataclass(frozen=True, slots=True)
class Tags:
    """What a call is for, as the caller says: the axes of every usage report."""

    feature: str = ""
    user: str = ""
    session: str = ""
    tags: tuple[str, ...] = ()
    priority: Priority = "interactive"


class Request(msgspec.Struct, frozen=True):
    """One API request, as a caller made it. Holds no secret.

    Attributes:
        path: Normalised, begins with "/v1/".
        query: The raw query string, without "?".
        headers: What may go on to an upstream: names in lower case, no credentials, no cookies.
        content: The body's bytes as they came.
        fields: The body's top-level JSON fields; empty when the body is not a JSON object.
        timeout: Seconds that the caller is prepared to wait, None when it did not say.
        model: The model the caller asked for, "" when it named none. Follows from `fields`.
        stream: Whether the caller wants server-sent events. Follows from `fields`.
    """

    method: str
    path: str
    query: bytes = b""
    headers: Headers = ()
    content: bytes = b""
    fields: Mapping[str, Any] = msgspec.field(default_factory=dict[str, Any])
    tags: Tags = Tags()
    timeout: float | None = None
    model: str = ""
    stream: bool = False

    def __post_init__(self) -> None:
        model = self.fields.get("model", "")
        set_field(self, "model", model if isinstance(model, str) else "")
        set_field(self, "stream", self.fields.get("stream") is True)


@dataclass(frozen=True, slots=True)
class RateLimits:
    """What a key may do at most; None is no limit."""

    rpm: int | None = None
    parallel: int | None = None


@dataclass(frozen=True, slots=True)
class Caller:
    """Whose key it is, and what the key may do.

    Attributes:
        key_id: Public id of the key, safe to show.
        models: Names the key may use; None means every model.
    """

    name: str
    key_id: str
    project: str = ""
    models: frozenset[str] | None = None
    limits: RateLimits = RateLimits()


@dataclass(frozen=True, slots=True)
class Timeouts:
    """The four waits for an upstream, in seconds.

    `first_byte` bounds the wait for a stream's first event; an answer that comes whole is bounded
    by `total` alone, since its first byte is its last.
    """

    connect: float = 5.0
    first_byte: float = 60.0
    idle: float = 30.0
    total: float = 600.0


@dataclass(frozen=True, slots=True)
class Route:
    """A place a call can be sent to: one model, at one upstream, by one credential."""

    upstream: str
    model: str
    credential: str
    timeouts: Timeouts = Timeouts()

    @override
    def __str__(self) -> str:
        return f"{self.upstream}/{self.model}"


@dataclass(frozen=True, slots=True)
class Plan:
    """The routes a call may take, best first, and how long it may wait to repeat one."""

    routes: tuple[Route, ...]
    patience: float = 5.0


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


class Response(msgspec.Struct):
    """What the caller gets: whole bytes, or chunks that live as long as the call."""

    status: int
    headers: Headers
    content: bytes | AsyncIterator[bytes]


class Call(msgspec.Struct):
    """One call in flight. Each field is written once, by the step that learns it.

    Attributes:
        started: Seconds on the engine's clock; `ended` and `answered` likewise.
        time: Wall-clock start in seconds since 1970.
        answered: When the first byte for the caller was ready.
        waited: Seconds of `ended - started` that were spent waiting for upstreams.
        cost: Nano-dollars over all attempts; None while any part has no known price.
        trail: What became of each failed attempt, as "route code".
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
    cost: int | None = 0
    outcome: str = "abandoned"
    cache: Literal["miss", "hit"] = "miss"
    trail: list[str] = []
