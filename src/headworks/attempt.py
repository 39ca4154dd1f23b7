"""One attempt: leave to make it, and what is booked if it fails."""

import msgspec

from headworks.answer import Answer, charge
from headworks.core.pricing import dearer
from headworks.errors import CallError, DeadlineExceeded, UpstreamError
from headworks.ports import Admission, Hold
from headworks.types import NO_USAGE, Call, GivenUp, Route, Usage


class Attempt(msgspec.Struct):
    """One request to one route, once.

    Attributes:
        number: Which of its call's attempts it is, from 1; 0 until it is made.
        begun: When it was sent, on the engine's clock.
        ending: What its row says if it is cancelled.
    """

    route: Route
    admission: Admission
    number: int = 0
    begun: float | None = None
    ending: GivenUp = "abandoned"


def book_failure(
    answer: Answer | None,
    hold: Hold,
    call: Call,
    estimate: Usage,
    error: BaseException,
    *,
    ending: GivenUp,
) -> None:
    """Book an attempt that failed before its commit point.

    Nothing, where nothing was sent or the provider refused; what was seen, where an answer broke;
    the estimate, where the provider may have worked unseen, or what it said is lost.
    """
    outcome = (error.code or str(error.status)) if isinstance(error, CallError) else ending
    if _is_unsent(error):
        hold.release(outcome)
    elif answer is not None and answer.has_output:
        answer.book(outcome, error)
    elif isinstance(error, UpstreamError) and error.is_answer:
        charge(call, NO_USAGE, hold.settle(NO_USAGE, "exact", outcome))
    elif answer is not None and answer.can_be_counted(error):
        answer.book(outcome, error)
    else:
        most = estimate if answer is None else dearer(estimate, answer.recount(error))
        charge(call, most, hold.settle(most, "unknown", outcome))


def _is_unsent(error: BaseException) -> bool:
    """Return whether no byte of the request has left; a cancellation says so by its cause."""
    fact = error if isinstance(error, CallError) else error.__cause__
    return isinstance(fact, UpstreamError | DeadlineExceeded) and not fact.sent
