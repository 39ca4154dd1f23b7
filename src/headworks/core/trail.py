"""Tells what became of a failed attempt, and why a call went on or ended: for the journal."""

from collections.abc import Mapping
from typing import Final

import msgspec

from headworks.core.backoff import MOST_HERE, Situation, Step
from headworks.core.classify import known_code
from headworks.core.selection import Choice
from headworks.errors import CallError, DeadlineExceeded, Retry, UpstreamError
from headworks.types import GivenUp, Need, Refusal, Route, Tried, Unfit

_UNFIT: Mapping[Need, Unfit] = {
    "tools": "cannot tools",
    "vision": "cannot vision",
    "audio": "cannot audio",
    "files": "cannot files",
    "json_schema": "cannot json_schema",
    "prefill": "cannot prefill",
    "context": "cannot context",
}


PASSED: Final = "upload has passed"
"""Why a request does not go out again: its body was too large to be held."""


def tell_passed(error: UpstreamError) -> None:
    """Let an error tell that the upload has passed, where trying again might have helped."""
    if error.retry is not Retry.NEVER:
        error.args = (f"{error} The upload has passed, so that it could not be sent again.",)


def tried(
    route: Route,
    error: UpstreamError,
    step: Step | None,
    at: Situation,
    *,
    may_repeat: bool,
    cause: str = "",
) -> Tried:
    """Return the line of a call's trail about an attempt; `step` None means that it was the last.

    `may_repeat` is whether the request may go out again although the provider may have done what
    it asks, `cause` what decided the step if not the failure alone.
    """
    code = known_code(error)
    if step is None:
        why = _why_nothing(error, cause, may_repeat=may_repeat)
        return Tried(route, error.failure, code, "nothing", why)
    if not step.other_route:
        why = cause or "worth the wait"
        return Tried(route, error.failure, code, "same route", why, step.wait)
    why = cause or _why_other(error, at)
    return Tried(route, error.failure, code, "other route", why, step.wait)


def passed_over(route: Route, refusal: Refusal, choice: Choice | None) -> Tried:
    """Return the line of a call's trail about a route that was not asked, or only after a wait."""
    if choice is None:
        return Tried(route, refusal.reason, "", "nothing", "no route works")
    if choice.wait:
        return Tried(route, refusal.reason, "", "same route", "worth the wait", choice.wait)
    return Tried(route, refusal.reason, "", "other route", "passed over")


def unaffordable(route: Route, *, has_other: bool) -> Tried:
    """Return the line of a call's trail about a route whose cost there is no money for."""
    return Tried(route, "unaffordable", "", "other route" if has_other else "nothing", "no money")


def note(trail: list[Tried], line: Tried) -> None:
    """Add a line to a call's trail; waits for one route, one after the other, are one line."""
    last = trail[-1] if trail else None
    if last is not None and line.wait and _is_same_wait(last, line):
        trail[-1] = msgspec.structs.replace(last, wait=last.wait + line.wait)
    else:
        trail.append(line)


def _is_same_wait(last: Tried, line: Tried) -> bool:
    return (last.route, last.failure, last.code, last.next, last.why) == (
        line.route,
        line.failure,
        line.code,
        line.next,
        line.why,
    )


def left_out(route: Route, lack: Need) -> Tried:
    """Return the line of a call's trail about a route whose model cannot take the request."""
    return Tried(route, _UNFIT[lack], "", "other route", "left out")


def out_of_time(route: Route, error: DeadlineExceeded, number: int) -> Tried:
    """Return the line of a call's trail about the attempt that was the last; 0 was never made."""
    return Tried(route, "timeout", error.code if number else "", "nothing", "the call's time is up")


def beside(route: Route, error: CallError | None, ending: GivenUp) -> Tried:
    """Return the line of a call's trail about the attempt of two that did not decide the call.

    `error` None means that it was given up.
    """
    if isinstance(error, UpstreamError):
        return Tried(route, error.failure, known_code(error), "other attempt", "sent beside it")
    if isinstance(error, DeadlineExceeded):
        return out_of_time(route, error, number=1)
    if error is not None:
        return Tried(route, ending, error.code, "other attempt", "sent beside it")
    if ending == "superseded":
        return Tried(route, ending, ending, "other attempt", "answered first")
    return Tried(route, ending, ending, "nothing", "the call ended")


def _why_nothing(error: UpstreamError, cause: str, *, may_repeat: bool) -> str:
    if error.retry is Retry.NEVER:
        return "final"
    if not may_repeat:
        return cause if cause == PASSED else "may have had effects"
    return cause or "no attempt, route or time left"


def _why_other(error: UpstreamError, at: Situation) -> str:
    if error.retry is Retry.OTHER_ROUTE:
        return "this route cannot"
    return "failed twice here" if at.here >= MOST_HERE else "wait too long"
