"""The sixteen scenarios: what the provider does, and what is demanded of headworks then."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import openai

from headworks.simulator import FaultRule
from headworks.simulator.config import FaultName
from headworks.simulator.faults import is_time
from tests.faults.drill.columns import Column
from tests.faults.drill.judging import (
    Cell,
    Demand,
    answered,
    answered_by,
    answered_by_primary,
    answered_or_told,
    asked_at_most,
    asked_exactly,
    began_within,
    booked_to_the_nano,
    ended_within,
    failed_over,
    let_go,
    noted_for_review,
    refused_with,
    sent_no_prefill,
    waited,
)
from tests.faults.drill.upstream import NO_PREFILL, SPARE

CUT_AT = 40
"""Tokens of about sixty after which an answer breaks."""
WELL_AT = 18.0
FLAPS = FaultRule(
    "status", status=503, model="u-o", every=2 / 3 * WELL_AT, lasting=WELL_AT / 3, until=WELL_AT
)
"""Down for six seconds, up for six, down for six, then well."""
_CALLS, _MOST_CALLS = 20, 60


async def once(column: Column, cell: Cell) -> None:
    """Make one call."""
    cell.replies.append(await column.ask(cell.primary, cell.primary))


async def often(column: Column, cell: Cell) -> None:
    """Make a call each second: twenty, then until the failing model answers again."""
    for number in range(_MOST_CALLS):
        await asyncio.sleep(max(0.0, number - column.upstream.now))
        reply = await column.ask(cell.primary, cell.primary)
        cell.replies.append(reply)
        is_back = reply.at >= WELL_AT and reply.model == cell.primary
        if is_back and len(cell.replies) >= _CALLS:
            break


def asked_while_down_at_most(count: int) -> Demand:
    """Return the demand that few attempts met the failing model while it was down."""

    def demand(cell: Cell) -> str:
        made = sum(is_time(FLAPS, one.at) for one in cell.asked())
        return "" if made <= count else f"{made} attempts while it was down"

    return demand


def came_back_within(seconds: float) -> Demand:
    """Return the demand that the failing model was in use again soon after it was well."""

    def demand(cell: Cell) -> str:
        times = [one.at - WELL_AT for one in cell.replies if one.model == cell.primary]
        return "" if any(0 <= one <= seconds for one in times) else "it was not used again"

    return demand


@dataclass(frozen=True)
class Scenario:
    """A way in which a provider fails.

    Attributes:
        name: The model that fails like this, and the name by which apps ask for it.
        does: What its provider does, in words.
        is_safe: Whether no more than a safe end is to be had of a stream; it is then shown beside
            the sixteen, not counted.
        calls: Makes the scenario's calls.
    """

    name: str
    does: str
    faults: tuple[FaultRule, ...]
    demands: Sequence[Demand]
    is_safe: bool = False
    calls: Callable[[Column, Cell], Awaitable[None]] = once

    @property
    def id(self) -> str:
        """The name by which reports call it."""
        return self.name[:3].upper()


def fault(name: str, kind: FaultName, **fields: Any) -> tuple[FaultRule, ...]:
    """Return the one rule of a scenario."""
    return (FaultRule(kind, model=name, **fields),)


SCENARIOS = (
    Scenario(
        "u-a",
        "429 with Retry-After: 2, then well",
        fault("u-a", "status", status=429, retry_after=2, times=1),
        (answered, answered_by_primary, waited(1.8), asked_at_most(2, within=1.5)),
    ),
    Scenario(
        "u-b",
        "429 for ever",
        fault("u-b", "status", status=429),
        (answered, failed_over, asked_at_most(4, within=3)),
    ),
    Scenario(
        "u-c",
        "500 once",
        fault("u-c", "status", status=500, times=1),
        (answered, answered_by_primary, asked_exactly(2)),
    ),
    Scenario("u-d", "503 for ever", fault("u-d", "status", status=503), (answered, failed_over)),
    Scenario(
        "u-e",
        "resets each connection before it answers",
        fault("u-e", "reset_before_head"),
        (answered, failed_over),
    ),
    Scenario(
        "u-f",
        "takes the request and never answers",
        fault("u-f", "hang_before_head"),
        (answered, failed_over, asked_exactly(1), let_go(15), ended_within(100)),
    ),
    Scenario(
        "u-g",
        "first token after 20 s",
        fault("u-g", "slow_first_token", seconds=20.0),
        (answered, failed_over, asked_exactly(1), let_go(15), began_within(15)),
    ),
    Scenario(
        "u-h",
        "cut after 40 of 60 tokens; held back until complete",
        fault("u-h", "cut_after", after=CUT_AT),
        (answered, failed_over),
    ),
    Scenario(
        "u-h-first-token",
        "the same, passed on from the first token",
        fault("u-h-first-token", "cut_after", after=CUT_AT),
        (answered, failed_over),
        is_safe=True,
    ),
    Scenario(
        "u-i",
        "falls silent after 40 tokens",
        fault("u-i", "stall_after", after=CUT_AT),
        (answered_or_told, ended_within(15), let_go(15)),
    ),
    Scenario(
        "u-j",
        "one event, or the body, is not JSON",
        fault("u-j", "malformed_chunk", after=CUT_AT, ending="on"),
        (answered_or_told,),
    ),
    Scenario(
        "u-k",
        "no [DONE], and the connection stays open",
        fault("u-k", "no_done", ending="hang"),
        (answered, answered_by_primary, asked_exactly(1), ended_within(8)),
    ),
    Scenario(
        "u-l",
        "the request is too long for the model",
        (),
        (answered, failed_over, asked_exactly(1)),
    ),
    Scenario(
        "u-m",
        "its content policy refuses the prompt",
        fault("u-m", "input_filter"),
        (
            refused_with(openai.BadRequestError, "invalid_prompt", "flagged"),
            asked_exactly(1),
            noted_for_review,
        ),
    ),
    Scenario(
        "u-n",
        "cut, and the fallback takes no prefill",
        fault("u-n", "cut_after", after=CUT_AT),
        (answered, answered_by(NO_PREFILL), sent_no_prefill),
    ),
    Scenario(
        "u-o",
        "down and up in turn, twice; 20 calls",
        (FLAPS,),
        (answered, asked_while_down_at_most(12), came_back_within(30)),
        calls=often,
    ),
    Scenario(
        "u-p",
        "500 for ever; the books are compared",
        fault("u-p", "status", status=500),
        (answered, answered_by(SPARE), booked_to_the_nano),
    ),
)
