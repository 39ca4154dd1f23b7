"""Where a request may go."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import msgspec
from typing_extensions import override

from headworks.errors import Failure


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
class SocketRules:
    """How long a WebSocket connection may last, and what it may hold; seconds and bytes.

    Attributes:
        idle: How long nobody may say anything.
        most: The largest message.
        write: How long a reader may take nothing.
    """

    longest: float = 3600.0
    idle: float = 600.0
    most: int = 16_000_000
    write: float = 30.0


@dataclass(frozen=True, slots=True)
class Route:
    """A place a call can be sent to: one model, at one upstream, by one credential.

    Attributes:
        place: The model and where it is, as people write it.
        key: What tells it apart from others, whatever the waits there.
    """

    upstream: str
    model: str
    credential: str
    timeouts: Timeouts = Timeouts()
    place: str = field(init=False, compare=False, repr=False)
    key: tuple[str, str, str] = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "place", f"{self.upstream}/{self.model}")
        object.__setattr__(self, "key", (self.upstream, self.credential, self.model))

    @override
    def __str__(self) -> str:
        return self.place


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
    failure: Failure | Reason | Unfit | GivenUp | Literal["unaffordable"]
    code: str
    next: Literal["same route", "other route", "other attempt", "nothing"]
    why: str
    wait: float = 0.0
