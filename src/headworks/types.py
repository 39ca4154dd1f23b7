"""The nouns: what flows through the engine."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from hmac import compare_digest
from typing import Any, Literal, final

import msgspec
from msgspec.structs import force_setattr as set_field
from typing_extensions import override

from headworks.errors import Failure

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


OnDisconnect = Literal["cancel", "drain"]
"""What becomes of an attempt whose caller has gone: it ends at once, or is read to its end."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Whose key it is, and what the key may do.

    Attributes:
        key_id: Public id of the key, safe to show.
        models: Names the key may use; None means every model.
        on_disconnect: What becomes of an attempt under way when the caller hangs up.
    """

    name: str
    key_id: str
    project: str = ""
    models: frozenset[str] | None = None
    limits: RateLimits = RateLimits()
    on_disconnect: OnDisconnect = "cancel"


class Presence(msgspec.Struct):
    """Whether a call's caller is still there: shared by the face that sees it and the call.

    Attributes:
        is_gone: The caller has left. Nothing new is begun for it.
        credit: Bytes of the answer that may be read for nobody; with none left the call ends as
            soon as its caller leaves.
    """

    is_gone: bool = False
    credit: int = 0

    def leave(self) -> bool:
        """Note that the caller has gone; return whether the call goes on without it."""
        self.is_gone = True
        return self.credit > 0

    def drop(self, chunk: bytes) -> bool:
        """Count what nobody reads; return whether more of it may be read."""
        self.credit -= len(chunk)
        return self.credit > 0


@dataclass(frozen=True, slots=True)
class Timeouts:
    """The four waits for an upstream, in seconds.

    `first_byte` bounds the wait for a stream's first content.

    Attributes:
        first_byte_whole: The same for an answer that comes whole, whose first byte is nearly its
            last; None is no bound but `total`.
        by_type: The waits for some types of requests: names of endpoints, with all four waits each.
    """

    connect: float = 5.0
    first_byte: float = 60.0
    idle: float = 30.0
    total: float = 600.0
    first_byte_whole: float | None = None
    by_type: tuple[tuple[str, "Timeouts"], ...] = ()

    def of(self, name: str) -> "Timeouts":
        """Return the waits for requests of a type: these, where nothing else is said of it."""
        for known, waits in self.by_type:
            if known == name:
                return waits
        return self


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


Need = Literal["tools", "vision", "audio", "files", "json_schema", "prefill", "context"]
"""What a request may ask of a model beyond text; `context` is room for it in the window."""

Unfit = Literal[
    "cannot tools",
    "cannot vision",
    "cannot audio",
    "cannot files",
    "cannot json_schema",
    "cannot prefill",
    "cannot context",
]
"""Why a route is left out: its model cannot do what the request needs."""

Reason = Literal["open", "cooling", "quota", "budget"]


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a route is not taken, and for how many seconds; `inf` is until somebody acts.

    It is open: it failed too often. It is cooling: the provider asked for a pause. Its credential
    has no quota left. Or its upstream has been asked again too often (budget).
    """

    reason: Reason
    wait: float


@dataclass(frozen=True, slots=True)
class Commit:
    """How much of a stream is held back, so that a failure until then is repaired unseen.

    `after` is characters of output: 0 holds until the first content, None holds all of it.
    """

    after: int | None = 0


AT_FIRST_TOKEN = Commit()


@dataclass(frozen=True, slots=True)
class Hedge:
    """When a second attempt is sent beside one that has not answered, and how often at most.

    Attributes:
        after: Seconds; None is as long as 95 of 100 answers of the route take.
        share: Second attempts per request.
    """

    after: float | None = None
    share: float = 0.05


@dataclass(frozen=True, slots=True)
class Plan:
    """The routes a call may take, best first, and how long it may wait to repeat one.

    Attributes:
        commit: When a stream becomes the caller's.
        on: What is tried next after a failure of one kind, before any other route.
        fixed_answer: What the caller is told where a content filter said no, None for its error.
        hedge: What is done about answers that are late, None for nothing.
        unfit: Routes that cannot take the request and would have been asked first, as lines of
            the trail; `unfit_behind` likewise, those that only a failure would have led to.
    """

    routes: tuple[Route, ...]
    patience: float = 5.0
    commit: Commit = AT_FIRST_TOKEN
    on: Mapping[Failure, tuple[Route, ...]] = field(
        default_factory=dict[Failure, tuple[Route, ...]]
    )
    fixed_answer: str | None = None
    hedge: Hedge | None = None
    unfit: "tuple[Tried, ...]" = ()
    unfit_behind: "tuple[Tried, ...]" = ()


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


GivenUp = Literal["superseded", "abandoned"]
"""Why an attempt was cancelled: another one of its call has answered first, or the call is over."""


class Tried(msgspec.Struct, frozen=True):
    """A failed attempt, or a route that was not asked, and what was decided then.

    Holds no word of the provider's.

    Attributes:
        failure: What kind of failure it was; of a route that was not asked, why not; of an attempt
            that was cancelled, why it was.
        code: The failure's code where it is one that we know, else its status; "" if none was sent.
        next: Where the call went on, if it did.
        why: What decided that.
        wait: Seconds until it went on.
    """

    route: Route
    failure: Failure | Reason | Unfit | GivenUp
    code: str
    next: Literal["same route", "other route", "other attempt", "nothing"]
    why: str
    wait: float = 0.0


class Call(msgspec.Struct):
    """One call in flight. Each field is written once, by the step that learns it.

    Attributes:
        started: Seconds on the engine's clock; `ended` and `answered` likewise.
        time: Wall-clock start in seconds since 1970.
        answered: When the first byte for the caller was ready.
        waited: Seconds of `ended - started` that were spent waiting for upstreams.
        cost: Nano-dollars over all attempts; None while any part has no known price.
        trail: What became of each failed attempt, in order.
        filtered: What a provider's content filter stopped, "" for nothing.
        fitted: How the request was shortened, None when it went out as it came.
        presence: Whether the caller is still there.
        hedge: What became of a second attempt that was sent beside a late one, "" if none was.
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
    cost: int | None = 0
    outcome: str = "abandoned"
    cache: Literal["miss", "hit"] = "miss"
    trail: list[Tried] = []
    filtered: Literal["", "prompt", "answer"] = ""
    fitted: Fitted | None = None
    presence: Presence = msgspec.field(default_factory=Presence)
    hedge: Literal["", "won", "lost"] = ""
    asked: str = ""

    def __post_init__(self) -> None:
        """Note the model before the request is changed."""
        self.asked = self.request.model
