"""A caller gets its own answer, whole or with an error, or sees the line break."""

from collections.abc import Iterator

from tests.faults.simworld import answers
from tests.faults.simworld.callers import Reply
from tests.faults.simworld.cases import Case
from tests.faults.simworld.providers import LIE
from tests.faults.simworld.world import World

_FILTERS = frozenset({"input_filter", "content_filter"})
_WAITING_HELPS = frozenset({"circuit_open", "upstream_cooling_down", "rate_limit_exceeded"})
_OBEYED = 60_000
"""Milliseconds up to which clients obey."""
_ON_THE_WAY = 0.2
"""Seconds in which a request reaches the gateway over a sound line."""


def findings(world: World, reply: Reply, case: Case | None) -> Iterator[str]:
    """Yield what is wrong with what one caller got."""
    yield from _delivery(world, reply)
    if LIE in reply.body:
        yield "the answer holds another tenant's words"
    if reply.status == 500 and b'"internal_error"' in reply.body:
        yield f"an internal error: {bytes(reply.body[:200])!r}"
    if reply.call and reply.status != 400 and (case is None or case.call.id != reply.call):
        yield f"the answer is that of call {reply.call}"
    if reply.is_whole and reply.status != 200 and not answers.is_error(reply.body):
        yield f"{reply.status} without an error object: {bytes(reply.body[:200])!r}"
    if reply.is_whole and reply.status != 200 and case is not None:
        yield from _advice(reply)
    if reply.status == 200 and reply.ask.kind != "models" and case is not None:
        yield from _content(world, reply, case)


def _delivery(world: World, reply: Reply) -> Iterator[str]:
    """Whoever waits, and has a line that holds, gets a whole answer."""
    if reply.fault:
        yield f"the answer is no HTTP: {reply.fault}"
    line = world.line(reply)
    may_race = not reply.is_first and not reply.status
    """An idle connection may close in the moment in which it is used again."""
    if line is None or line.weather.fate or may_race or not reply.ask.is_patient:
        return
    if reply.gave_up:
        yield "the call hung"
    elif not reply.is_whole and not _was_cut(world, reply):
        yield f"the line broke, with {reply.status} and {len(reply.body)} bytes"


def _was_cut(world: World, reply: Reply) -> bool:
    """Whether the gateway stopped before the call reached it, or cut it off when time was up."""
    return reply.began > world.stopped_at - _ON_THE_WAY or reply.ended >= world.cut_at


def _advice(reply: Reply) -> Iterator[str]:
    """Yield what is wrong with what a refused caller is told to do: wait, or leave it."""
    told, code = reply.headers, answers.error_code(reply.body)
    should, wait = told.get("x-should-retry"), told.get("retry-after-ms")
    is_known = should in {"true", "false"} or "x-headworks-attempts" not in told
    if not is_known or (wait is None) != ("retry-after" not in told):
        yield f"{code}: it is told {should} and to wait {wait}"
    elif int(told.get("x-headworks-attempts", 0)) > 1 and should == "true":
        yield f"{code}: after several attempts it is told to make more"
    elif (
        code in _WAITING_HELPS
        and wait is None
        and not (int(told.get("x-headworks-attempts", 0)) or _is_too_large(reply))
    ):
        yield f"{code}: it is not told how long to wait"
    elif should == "true" and int(wait or 0) > _OBEYED:
        yield f"{code}: it is told to try again, after {wait} ms"


def _is_too_large(reply: Reply) -> bool:
    """Whether no wait helps, since the request is larger than its limit."""
    return answers.error_text(reply.body).startswith("Request too large")


def _content(world: World, reply: Reply, case: Case) -> Iterator[str]:
    place, _, model = reply.headers.get("x-headworks-route", "").partition("/")
    arrival = case.answered(place, model)
    if arrival is not None and case.call.filtered and arrival.attempt["fault"] in _FILTERS:
        yield from answers.filtered_faults(reply, arrival.expected, world.plan.policy.fixed)
        return
    if arrival is None or arrival.expected is None:
        yield f"it came by the route {place}/{model}, which never had it to give"
        return
    expected = arrival.expected
    lacks_usage = any("usage" in one.attempt["fault"] for one in case.arrivals)
    if reply.ask.stream:
        yield from answers.stream_faults(reply, expected, lacks_usage=lacks_usage)
    elif reply.is_whole:
        yield from answers.whole_faults(reply, expected, lacks_usage=lacks_usage)
    if reply.is_whole and answers.is_complete(reply) and case.call.outcome != "completed":
        yield f"the answer is whole, and the journal says {case.call.outcome}"
