"""What the queue is told and tells: how long and how many may wait, and what refusals say."""

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Final

from typing_extensions import TypeIs

from headworks.core.durations import spell
from headworks.core.queue import PRIORITIES
from headworks.errors import CallError, LimitError, ParallelLimited, RateLimited
from headworks.types import Call, Priority

_RANKS: Final[dict[Priority, int]] = {name: rank for rank, name in enumerate(PRIORITIES)}
_LOOK: Final = 1.0
"""Seconds after which whoever waits for a place tries again in any case."""
_AGAIN: Final = " Please try again in "


@dataclass(frozen=True, slots=True)
class QueueRules:
    """How many seconds calls may wait, how many, and with how many bytes.

    Attributes:
        calls: With 0 none waits.
        in_flight: How many calls may be under way at once, None for any number.
    """

    max_wait: float = 30.0
    calls: int = 10_000
    size: int = 256_000_000
    in_flight: int | None = None


@dataclass(frozen=True, slots=True)
class QueueStatistics:
    """How a queue stands, and what it did.

    Attributes:
        waiting: Calls by priority; `size` is their bytes.
        refused: Calls sent away, by reason: `full`; `late` for a wait that would have been too
            long, `timeout` for one that was; `deadline` for a call whose time was up.
        left: Calls whose callers left while they waited.
    """

    in_flight: int
    waiting: dict[str, float]
    size: int
    served: int
    refused: dict[str, float]
    left: int


def rank_of(call: Call) -> int:
    """Return a call's priority as a number, 0 the highest: the lower of the key's and its own."""
    own, caller = call.request.tags.priority, call.caller
    if caller is None or own == caller.priority:
        return _RANKS[own]
    return max(_RANKS[own], _RANKS[caller.priority])


def is_cured(error: BaseException) -> TypeIs[RateLimited | ParallelLimited]:
    """Return whether waiting helps against an error."""
    return isinstance(error, RateLimited | ParallelLimited) and error.retry_after is not None


def parking(denial: LimitError, now: float) -> tuple[float, tuple[Hashable, ...]]:
    """Return until when a denial holds, and what may end it before."""
    subject = () if denial.subject is None else (denial.subject,)
    if isinstance(denial, ParallelLimited):
        return now + _LOOK, subject
    is_credited = denial.type == "tokens"  # a call that ends may give back some of them
    return now + (denial.retry_after or 0.0), subject if is_credited else ()


def wait_after(denial: LimitError | None, calls: int, tokens: int) -> float:
    """Return the seconds until a rate lets a call in after others, by what it said last.

    A denial tells when the call would be let in if it were the next, and how much is let in while
    a window lasts: what stands ahead takes its part of that.
    """
    if not isinstance(denial, RateLimited) or denial.retry_after is None:
        return 0.0
    ahead = tokens if denial.type == "tokens" else calls
    return denial.retry_after + ahead / max(1, denial.limit) * denial.period


def retold(error: CallError, wait: float) -> CallError:
    """Return the same error with another wait."""
    text = str(error).partition(_AGAIN)[0]
    told = type(error)(f"{text}{_AGAIN}{spell(wait)}.", retry_after=wait)
    told.type = error.type
    if isinstance(told, LimitError) and isinstance(error, LimitError):
        told.subject, told.limit, told.period = error.subject, error.limit, error.period
    return told
