"""One call with all that belongs to it: what its caller got, its rows, what reached a provider."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from headworks.types import Call
from tests.faults.simworld.callers import PATHS, Ask, Reply
from tests.faults.simworld.providers import Arrival
from tests.faults.simworld.world import World

Row = dict[str, Any]
"""A row of the ledger, by column."""

_TAG = re.compile(rb"tag-[0-9]{4}")
_ON_THE_WAY = 1.0
"""Seconds by which a provider may hear of a request after its call has ended."""


@dataclass
class Case:
    """One call.

    Attributes:
        rows: In the order of the ledger; `arrivals` as they came.
    """

    call: Call
    reply: Reply
    rows: list[Row] = field(default_factory=list[Row])
    arrivals: list[Arrival] = field(default_factory=list[Arrival])

    def answered(self, place: str, model: str) -> Arrival | None:
        """Return the latest request to a model at a place."""
        asked = (one for one in reversed(self.arrivals) if one.place == place)
        return next((one for one in asked if (one.fields or {}).get("model") == model), None)


def tag(call: Call) -> str:
    """Return the word by which a call is known everywhere; "" for one that makes a summary."""
    return dict(call.request.headers).get(b"x-client-request-id", b"").decode()


def made_by_callers(world: World) -> Iterator[Call]:
    """Yield the calls that callers made, and not the product itself."""
    return (call for call in world.journal.calls if tag(call))


async def gather(world: World) -> dict[str, Case]:
    """Return all calls: a caller's by its tag, a summary by its id."""
    replies = {reply.ask.tag: reply for reply in world.replies}
    cases: dict[str, Case] = {}
    for call in world.journal.calls:
        name = tag(call)
        cases[name or call.id] = Case(call, replies[name] if name else _nobody(call))
    by_id = {case.call.id: case for case in cases.values()}
    for row in world.rows:
        if row["call"] not in by_id:
            world.fail(f"{row['session']} has a row, and is no call")
        else:
            by_id[row["call"]].rows.append(row)
    for provider in world.providers.values():
        provider.close()
        for arrival in provider.arrivals:
            case = cases.get(arrival.tag) if arrival.tag else _summary(cases, arrival)
            if case is None:
                world.fail(f"{arrival.tag} reached {arrival.place}, and is no call")
            else:
                case.arrivals.append(arrival)
                await _ask(world, case, arrival)
    return cases


def _nobody(call: Call) -> Reply:
    """Return the reply to a call that no caller made."""
    return Reply(Ask(call.id, "chat", "", dict(call.request.fields)))


def _summary(cases: dict[str, Case], arrival: Arrival) -> Case | None:
    """Return the summary that a request without a caller's tag is for."""
    tags = _TAG.findall(bytes(arrival.body))
    made = [case for case in cases.values() if not tag(case.call)]
    fits = [
        case
        for case in made
        if (not tags or tags[0] in case.call.request.content)
        and case.call.time <= arrival.time <= _end(case.call) + _ON_THE_WAY
    ]
    return fits[-1] if fits else None


def _end(call: Call) -> float:
    """Return when a call ended, in seconds since 1970."""
    return call.time + (call.ended or call.started) - call.started


async def _ask(world: World, case: Case, arrival: Arrival) -> None:
    fields = arrival.fields
    if fields is not None:
        provider = world.providers[arrival.place]
        arrival.expected = await provider.said(PATHS[case.reply.ask.kind], fields)
