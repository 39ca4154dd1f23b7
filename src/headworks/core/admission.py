"""What a call asks of each limit that applies to it, and how a refusal and the rest are told.

A call is let in by all of its limits at once or by none; who decides that, and where the counts
are, is an `Authority`.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Literal, NamedTuple, Protocol

import msgspec

from headworks.core.durations import spell
from headworks.core.levels import Level, levels
from headworks.core.memo import remembered
from headworks.core.window import DAY, MINUTE
from headworks.errors import LimitError, ParallelLimited, RateLimited
from headworks.types import Caller, Headers, RateLimits, Reserve, Tags

Dimension = Literal["rpm", "tpm", "rpd", "tpd", "parallel"]

NO_LIMITS: Final = RateLimits()
PARALLEL_WAIT: Final = 1.0
"""Nobody knows when a call will end; a second is what callers are told."""

_WORDS: Final[Mapping[Dimension, tuple[str, str, str]]] = {
    "rpm": ("requests", "minute", "RPM"),
    "tpm": ("tokens", "minute", "TPM"),
    "rpd": ("requests", "day", "RPD"),
    "tpd": ("tokens", "day", "TPD"),
}
_SPANS: Final = {"minute": MINUTE, "day": DAY}
_SHOWN: Final = 128

Field = tuple[bytes, bytes]
"""A header field."""


class Size(NamedTuple):
    """The tokens of a request: what it surely takes, likely, and at most."""

    sure: int
    likely: int
    most: int


class Subject(NamedTuple):
    """Whom limits hold for, and so what is counted: a level, or what it asks of one model.

    Attributes:
        model: The name that callers ask for, "" for all of them together.
    """

    level: Level
    model: str = ""


class Bound(NamedTuple):
    """Limits that hold for one subject."""

    subject: Subject
    limits: RateLimits
    reserve: Reserve


class Ask(NamedTuple):
    """One request and its tokens, asked of one subject's limits."""

    subject: Subject
    limits: RateLimits
    tokens: int


class Standing(msgspec.Struct, frozen=True):
    """How a limit stands: `reset` is in seconds, until the whole of it is free again."""

    limit: int
    remaining: int
    reset: float


@dataclass(frozen=True, slots=True)
class Denial:
    """What said no, when nothing was counted anywhere.

    Attributes:
        wait: Seconds after which it fits if nothing else comes, `inf` for never.
    """

    ask: Ask
    dimension: Dimension
    limit: int
    used: int
    requested: int
    wait: float
    requests: Standing | None = None
    tokens: Standing | None = None


class Grant(Protocol):
    """A call that was let in, and counts."""

    @property
    def requests(self) -> Standing | None:
        """How the tightest limit on requests stands, this one counted; None without any."""
        ...

    @property
    def tokens(self) -> Standing | None:
        """Likewise for tokens."""
        ...

    def settle(self, tokens: int, requests: int = 1) -> None:
        """Count so many tokens and requests in place of those asked for, then and there.

        Never waits. The place among parallel calls is free again. Calls after the first change nothing.
        """
        ...

    def vacate(self) -> None:
        """Free the place among parallel calls before the end. Never waits; idempotent."""
        ...


@dataclass(frozen=True, slots=True)
class Rules:
    """The limits that the configuration sets; those of a key come with its caller.

    Attributes:
        user: What holds for each user that `users` does not name.
    """

    organisation: RateLimits = NO_LIMITS
    projects: Mapping[str, RateLimits] = field(default_factory=dict[str, RateLimits])
    users: Mapping[str, RateLimits] = field(default_factory=dict[str, RateLimits])
    user: RateLimits = NO_LIMITS
    tags: Mapping[str, RateLimits] = field(default_factory=dict[str, RateLimits])

    def all(self) -> Iterator[RateLimits]:
        """Yield every limit that is set."""
        yield self.organisation
        yield self.user
        for named in (self.projects, self.users, self.tags):
            yield from named.values()

    def bounds(self, caller: Caller, tags: Tags, model: str) -> Iterator[Bound]:
        """Yield the limits that a call is bound by, outermost first.

        The key is always among them: its requests count, limited or not, so that a limit set later
        finds a true count.
        """
        for level in levels(caller, tags):
            limits = self._of(level, caller)
            if limits is NO_LIMITS and level.kind != "key":
                continue
            yield Bound(Subject(level), limits, limits.reserve)
            for name, more in limits.models:
                if name == model:
                    yield Bound(Subject(level, model), more, limits.reserve)

    def _of(self, level: Level, caller: Caller) -> RateLimits:
        match level.kind:
            case "organisation":
                return self.organisation
            case "project":
                return self.projects.get(level.name, NO_LIMITS)
            case "key" | "token":
                return caller.limits if level.kind == "key" else _of_token(caller)
            case "user":
                return self.users.get(level.name, self.user)
            case "tag":
                return self.tags.get(level.name, NO_LIMITS)


def _of_token(caller: Caller) -> RateLimits:
    return NO_LIMITS if caller.token is None else caller.token.limits


def is_by_day(limits: RateLimits) -> bool:
    """Return whether any of the limits is on a day."""
    more = (one for _, one in limits.models)
    return any(one.rpd is not None or one.tpd is not None for one in (limits, *more))


def without_parallel(bound: Bound) -> Bound:
    """Return what holds for a part of a call that has its place among the parallel ones."""
    return bound._replace(limits=replace(bound.limits, parallel=None))


def ask(bound: Bound, size: Size) -> Ask:
    """Return what is asked: an answer that is only likely never makes a request too large."""
    subject, limits, reserve = bound
    if reserve == "strict":
        return Ask(subject, limits, size.most)
    tokens = size.likely
    if limits.tpm is not None and tokens > limits.tpm:
        tokens = max(limits.tpm, size.sure)
    if limits.tpd is not None and tokens > limits.tpd:
        tokens = max(limits.tpd, size.sure)
    return Ask(subject, limits, tokens)


def refusal(denial: Denial, caller: Caller) -> LimitError:
    """Return the error that tells of a denial, as the API does: clients read these texts."""
    whose = _whose(denial.ask.subject, caller)
    error = (
        ParallelLimited(_told(denial, f"Limit of parallel requests reached for {whose}"))
        if denial.dimension == "parallel"
        else _rate_limited(denial, whose, *_WORDS[denial.dimension])
    )
    error.subject, error.limit = denial.ask.subject, denial.limit
    if math.isfinite(denial.wait):
        error.retry_after = denial.wait
    else:
        error.should_retry = False
    return error


def _rate_limited(denial: Denial, whose: str, counted: str, span: str, short: str) -> LimitError:
    on = f"for {whose} on {counted} per {span} ({short})"
    is_too_large = counted == "tokens" and not math.isfinite(denial.wait)
    error = RateLimited(
        f"Request too large {on}: Limit {denial.limit}, Requested {denial.requested}. "
        "The input or output tokens must be reduced in order to run successfully."
        if is_too_large
        else _told(denial, f"Rate limit reached {on}")
    )
    error.type, error.period = counted, _SPANS[span].period
    return error


def _told(denial: Denial, what: str) -> str:
    numbers = f"Limit {denial.limit}, Used {denial.used}, Requested {denial.requested}"
    if math.isfinite(denial.wait):
        return f"{what}: {numbers}. Please try again in {spell(denial.wait)}."
    return f"{what}: {numbers}. No requests are allowed."


def _whose(subject: Subject, caller: Caller) -> str:
    (kind, name), model = subject
    told = {"organisation": "the organisation", "key": f"key '{caller.name}'"}
    whose = told.get(kind) or f"{kind} '{name[:_SHOWN]}'"
    return f"{model[:_SHOWN]} of {whose}" if model else whose


def rate_headers(requests: Standing | None, tokens: Standing | None) -> Headers:
    """Return the header fields by which OpenAI tells how limits stand."""
    if requests is None:
        return () if tokens is None else _token_fields(tokens)
    fields = (
        _request_limit(requests.limit),
        (b"x-ratelimit-remaining-requests", b"%d" % requests.remaining),
        _request_reset(requests.reset),
    )
    return fields if tokens is None else fields + _token_fields(tokens)


def _token_fields(tokens: Standing) -> tuple[Field, Field, Field]:
    return (
        _token_limit(tokens.limit),
        (b"x-ratelimit-remaining-tokens", b"%d" % tokens.remaining),
        _token_reset(tokens.reset),
    )


@remembered
def _request_limit(limit: int) -> Field:
    return b"x-ratelimit-limit-requests", b"%d" % limit


@remembered
def _token_limit(limit: int) -> Field:
    return b"x-ratelimit-limit-tokens", b"%d" % limit


@remembered
def _request_reset(seconds: float) -> Field:
    return b"x-ratelimit-reset-requests", spell(seconds).encode()


@remembered
def _token_reset(seconds: float) -> Field:
    return b"x-ratelimit-reset-tokens", spell(seconds).encode()
