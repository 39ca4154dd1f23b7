"""One call with all that belongs to it: what its caller got, its rows, what reached a provider."""

from dataclasses import dataclass, field
from typing import Any

from headworks.types import Call
from tests.faults.simworld.callers import PATHS, Reply
from tests.faults.simworld.providers import Arrival
from tests.faults.simworld.world import World

Row = dict[str, Any]
"""A row of the ledger, by column."""


@dataclass
class Case:
    """One call.

    Attributes:
        expected: What each provider says to it if nothing goes wrong, by place and model.
    """

    call: Call
    reply: Reply
    rows: list[Row] = field(default_factory=list[Row])
    arrivals: list[Arrival] = field(default_factory=list[Arrival])
    expected: dict[tuple[str, str], dict[str, Any]] = field(
        default_factory=dict[tuple[str, str], dict[str, Any]]
    )


def tag(call: Call) -> str:
    """Return the word by which a call is known everywhere."""
    return dict(call.request.headers).get(b"x-client-request-id", b"").decode()


async def gather(world: World) -> dict[str, Case]:
    """Return all calls by their tags."""
    replies = {reply.ask.tag: reply for reply in world.replies}
    cases = {tag(call): Case(call, replies[tag(call)]) for call in world.journal.calls}
    for row in world.rows:
        if row["session"] not in cases:
            world.fail(f"{row['session']} has a row, and is no call")
        else:
            cases[row["session"]].rows.append(row)
    for provider in world.providers.values():
        provider.close()
        for arrival in provider.arrivals:
            if arrival.tag not in cases:
                world.fail(f"{arrival.tag} reached {arrival.place}, and is no call")
            else:
                cases[arrival.tag].arrivals.append(arrival)
    for case in cases.values():
        await _ask(world, case)
    return cases


async def _ask(world: World, case: Case) -> None:
    ask = case.reply.ask
    for row in case.rows:
        place, model = row["upstream"], row["model_sent"]
        if (place, model) not in case.expected and ask.kind != "models":
            provider = world.providers[place]
            case.expected[place, model] = await provider.said(PATHS[ask.kind], ask.fields, model)
