"""Attempts, rows and arrivals agree: in number, in order, and in nano-dollars.

What the ledger promises (docs/guides/accounting.md), as it is checked here:

* Every attempt that reached a provider has one row; no row is open.
* `exact` is what the provider's own books say, to the nano-dollar.
* `estimated` is not less than what had reached the gateway when the answer broke off, prompt
  included; where the caller left, not less than what that caller had received. Where a stream was
  read as one, it is hardly more than the whole answer.
* `unknown` is not less than the provider's books say.
* `released` never reached a provider.
"""

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise, permutations

from headworks.config.settings import ModelConfig
from tests.faults.simworld import answers
from tests.faults.simworld.asks import NOBODY
from tests.faults.simworld.cases import Case, Row
from tests.faults.simworld.clockwork import EPOCH
from tests.faults.simworld.oracle import price
from tests.faults.simworld.policies import RETRY_AFTER
from tests.faults.simworld.providers import Arrival
from tests.faults.simworld.world import World

_MOST, _MOST_HERE = 3, 2
"""Attempts of a call, and on one route while another is left."""
_SLACK = 8
"""Tokens by which a count of broken text may exceed the whole answer's."""
_THOUGHTS = 512
"""Tokens that are added for what a model may have thought, within the bound that a request sets."""
_TICK = 0.002
"""Seconds by which timers may differ."""
_ON_THE_WAY = 0.1
"""Seconds in which the gateway hears that a caller has gone, over a sound line."""
_OVERTIME = 0.5
"""Seconds beyond its total time that a call may take: a drain, and timers."""
_FRAMED_WRONG = ("short_length", "double_length")
"""Faults by which an answer ends before its last words."""
_FINAL = frozenset({"400", "completed", "deadline_exceeded", "abandoned"})
"""Outcomes after which nothing is tried."""
_NO_MODEL = ModelConfig(())


def findings(world: World, case: Case) -> Iterator[str]:
    """Yield what is wrong with one call's attempts."""
    yield from _sums(case)
    yield from _time(world, case)
    yield from _order(world, case)
    yield from _haste(world, case)
    for place in world.providers:
        rows = [row for row in case.rows if row["upstream"] == place]
        arrivals = [arrival for arrival in case.arrivals if arrival.place == place]
        yield from _best_match(world, case, rows, arrivals)


def _sums(case: Case) -> Iterator[str]:
    call, rows = case.call, case.rows
    if len(rows) > _MOST or len(case.arrivals) > _MOST:
        yield f"{len(rows)} rows, {len(case.arrivals)} arrivals"
    if len(rows) != call.attempts:
        yield f"{call.attempts} attempts, and {len(rows)} rows"
    costs = [row["cost_nano"] for row in rows]
    total = None if None in costs else sum(costs)
    if rows and total != call.cost:
        yield f"the rows cost {total}, the call {call.cost}"
    told = case.reply.headers.get("x-headworks-cost")
    if told is not None and round(float(told) * 10**9) != call.cost:
        yield f"its caller was told a cost of {told}, the journal {call.cost}"


def _time(world: World, case: Case) -> Iterator[str]:
    """A call ends in time, if its caller takes what comes."""
    lasted = (case.call.ended or case.call.started) - case.call.started
    longest = min(world.plan.timeouts.total, case.reply.ask.deadline or 1e9) + _OVERTIME
    if lasted > longest and world.is_prompt(case.reply):
        yield f"the call took {lasted:.2f} s"


def _order(world: World, case: Case) -> Iterator[str]:
    """Attempts follow each other as the rules of retry and fallback say, and wait as they must."""
    waits, config = world.plan.timeouts, world.assembly.config
    routes = [_route(row) for row in case.rows]
    planned = config.models.get(case.call.request.model, _NO_MODEL).routes
    several = len(planned) * len(config.upstreams["east"].credentials) > 1
    is_alone = any(not one.code or one.why == "no other works" for one in case.call.trail)
    is_again = case.call.fitted is not None and case.call.fitted.again
    if (
        several
        and not (is_alone or is_again)
        and any(routes.count(route) > _MOST_HERE for route in routes)
    ):
        yield f"it was tried at {routes}"
    shortest = {
        "upstream_connect_timeout": waits.connect,
        "upstream_first_byte_timeout": waits.first_byte,
        "upstream_idle_timeout": waits.idle,
    }
    closed = [row for row in case.rows if row["state"] != "held"]
    for row in closed:
        lasted = (row["settled_at"] - row["held_at"]) / 1e9
        if lasted < shortest.get(row["outcome"], 0.0) - _TICK:
            yield f"attempt {row['attempt']} ended in {row['outcome']} after {lasted:.3f} s"
    for row, after in pairwise(closed):
        if row["outcome"] in _FINAL:
            yield f"attempt {after['attempt']} follows one that ended in {row['outcome']}"
        yield from _patience(case, row, after)


def _haste(world: World, case: Case) -> Iterator[str]:
    """Nothing is begun when the time is up or the caller has gone, nor waited for without end."""
    call, until = case.call, min(world.plan.timeouts.total, case.reply.ask.deadline or 1e9)
    gone = case.reply.gone_at(world.begun) if world.is_prompt_line(case.reply) else math.inf
    for row in case.rows:
        begun = row["held_at"] / 1e9 - call.time
        if begun > until + _TICK:
            yield f"attempt {row['attempt']} began after {begun:.3f} s, and {until} were left"
        if call.time + begun > EPOCH + gone + _ON_THE_WAY:
            yield f"attempt {row['attempt']} began when the caller had gone"
    last = call.trail[-1] if call.trail else None
    if last is None or not last.code or not case.rows or case.rows[-1]["state"] == "held":
        return
    lasted = call.time + (call.ended or 0.0) - call.started - case.rows[-1]["settled_at"] / 1e9
    is_given_up = call.outcome in {"abandoned", "deadline_exceeded", "completed"}
    if call.answered is None and not is_given_up and lasted > _TICK:
        yield f"it took {lasted:.3f} s to say {call.outcome} after the last attempt"


def _patience(case: Case, row: Row, after: Row) -> Iterator[str]:
    """A provider that asks for time gets it, where the same route is tried again."""
    gap = (after["held_at"] - row["settled_at"]) / 1e9
    answered = [one.attempt for one in case.arrivals if one.attempt["status"] in {200, 429}]
    was_told = all(one["fault"].startswith("status=429") for one in answered)
    is_same = _route(row) == _route(after)
    if was_told and is_same and row["outcome"] == "rate_limit_exceeded" and gap < RETRY_AFTER - _TICK:  # fmt: skip
        yield f"it came back after {gap:.3f} s, and was told to wait {RETRY_AFTER}"


def _route(row: Row) -> tuple[str, str, str]:
    return row["upstream"], row["model_sent"], row["credential"]


# Which arrival belongs to which row is not told: the matching that is right is the one that fits.


def _best_match(
    world: World, case: Case, rows: Sequence[Row], arrivals: Sequence[Arrival]
) -> list[str]:
    """Return what is wrong with the rows of one provider under the best matching of arrivals."""
    if len(arrivals) > len(rows):
        return [f"{len(arrivals)} attempts arrived, {len(rows)} have a row"]
    best: list[str] | None = None
    for chosen in permutations(range(len(rows)), len(arrivals)):
        matched = dict(zip(chosen, arrivals, strict=True))
        found = [
            f"attempt {row['attempt']} at {row['upstream']}: {finding}"
            for number, row in enumerate(rows)
            for finding in _row(world, case, row, matched.get(number))
        ]
        best = found if best is None or len(found) < len(best) else best
        if not best:
            break
    return best or []


def _row(world: World, case: Case, row: Row, arrival: Arrival | None) -> Iterator[str]:
    if (
        row["state"] == "settled"
        and row["model_sent"] != NOBODY
        and row["cost_nano"] != _price(row)
    ):
        yield f"it costs {row['cost_nano']}, and {_price(row)} is right"
    elif arrival is not None:
        yield from _identity(row, arrival)
        yield from _cost(world, case, row, arrival)
    elif row["certainty"] == "exact" and row["cost_nano"]:
        yield f"it cost {row['cost_nano']} exactly, and never arrived"


def _price(row: Row) -> int:
    return price(row["model_sent"], row["input"], row["output"], row["cached"])


def _identity(row: Row, arrival: Arrival) -> Iterator[str]:
    attempt = arrival.attempt
    if arrival.time * 1e9 < row["held_at"] - 1e6:
        yield "it arrived before it was held"
    sent = (row["model_sent"], row["credential"])
    came = (attempt["model"] or sent[0], attempt["credential"] or sent[1])
    if sent != came:
        yield f"{sent} was sent, and {came} arrived"
    if attempt["status"] == 401 and not attempt["fault"]:
        yield "the provider did not know its credential"


def _cost(world: World, case: Case, row: Row, arrival: Arrival) -> Iterator[str]:
    cost, certainty = row["cost_nano"] or 0, row["certainty"]
    attempt = arrival.attempt
    invoiced = attempt["cost"] or 0
    about = f"({row['outcome']}; {attempt['outcome']}, {attempt['fault'] or 'no fault'})"
    if row["state"] == "released":
        yield f"it was released, and has arrived {about}"
    elif certainty == "exact" and cost != invoiced:
        yield f"it cost {cost} exactly, the provider says {invoiced} {about}"
    elif certainty == "unknown" and cost < invoiced:
        yield f"it cost {cost} at most, the provider says {invoiced} {about}"
    elif certainty == "estimated":
        yield from _estimate(world, case, row, arrival)


def _estimate(world: World, case: Case, row: Row, arrival: Arrival) -> Iterator[str]:
    if arrival.expected is None:
        yield f"it was estimated, and the provider says no ({row['outcome']})"
        return
    read, written = answers.usage(arrival.expected)
    fault, outcome = arrival.attempt["fault"], row["outcome"]
    seen = answers.pieces(world.heard(arrival))
    least = price(row["model_sent"], read, seen)
    if row["cost_nano"] < least and not fault.startswith(_FRAMED_WRONG):
        yield f"it was estimated at {row['cost_nano']}, and {seen} tokens came: {least} ({outcome}; {fault})"
    was_whole = not case.reply.ask.stream or outcome == "upstream_malformed_response"
    bound = case.reply.ask.fields.get("max_completion_tokens", math.inf)
    thought = max(written, min(written + _THOUGHTS, bound))
    most = (read + _SLACK, thought + _SLACK)
    if not was_whole and (row["input"] > most[0] or row["output"] > most[1]):
        yield f"it was estimated at {row['input']} + {row['output']} tokens, and the whole answer has {read} + {written} ({outcome}; {fault})"
