"""One attempt: leave to make it, and what is booked if it fails."""

import asyncio
from dataclasses import replace

import msgspec

from headworks.answer import Answer, charge
from headworks.core.batches import Finished, finished
from headworks.core.measures import counted
from headworks.core.pricing import dearer
from headworks.errors import (
    CallerError,
    CallError,
    DeadlineExceeded,
    LedgerUnavailable,
    UploadNotKept,
    UpstreamError,
)
from headworks.ports import Admission, Hold
from headworks.types import NO_USAGE, Call, GivenUp, Route, Usage

_MOST_BATCHES = 10_000


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
        measured = counted(call.request, hold.measures, None)
        if measured is not None:
            most = measured.usage
        else:
            most = estimate if answer is None else dearer(estimate, answer.recount(error))
        charge(call, most, hold.settle(most, "unknown", outcome))


async def book_batches(answer: Answer, known: set[str]) -> None:
    """Book the batches that an answer shows to be over, each once, for whoever sees it first.

    A row stands under the batch's own id, so that the ledger itself takes it only once; one that it
    cannot take now is booked when the batch is looked at again. What is begun is done, though the
    caller leave meanwhile.
    """
    route, ledger = answer.route, answer.ledger
    if answer.whole is None or route is None:
        return
    for batch in finished(answer.whole):
        name = f"{route.upstream}/{batch.id}"
        if name in known or ledger.knows(name):
            continue
        if len(known) >= _MOST_BATCHES:
            known.clear()
        known.add(name)  # before the wait: others may be looking at it in this moment
        booking = asyncio.ensure_future(_book_batch(answer, route, name, batch))
        try:
            is_booked = await asyncio.shield(booking)
        except asyncio.CancelledError:
            await asyncio.wait([booking])
            raise
        if not is_booked:
            known.discard(name)


async def _book_batch(answer: Answer, route: Route, name: str, batch: Finished) -> bool:
    """Book one batch; return whether the ledger could take it."""
    call = answer.call
    request = msgspec.structs.replace(call.request, method="GET", model=batch.model, fields={})
    row = Call(name, request, call.started, call.time, call.caller, attempts=1)
    is_known = batch.certainty != "unknown"  # else no price says what it has cost
    there = replace(route, model=batch.model if is_known else "")
    try:
        hold = await answer.ledger.hold(row, there, batch.usage)
    except LedgerUnavailable:
        return False
    charge(call, batch.usage, hold.settle(batch.usage, batch.certainty, "batch", batch.odd))
    return True


def _is_unsent(error: BaseException) -> bool:
    """Return whether there was no whole request; a cancellation says so by its cause.

    What the caller is to blame for ended its own upload.
    """
    fact = error if isinstance(error, CallError) else error.__cause__
    if isinstance(fact, UpstreamError | DeadlineExceeded):
        return not fact.sent
    return isinstance(fact, CallerError | UploadNotKept)
