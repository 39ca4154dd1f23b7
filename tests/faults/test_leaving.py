"""Whoever leaves, at whatever moment and by whichever face: nothing is left, nothing new is begun."""

import asyncio
from contextlib import suppress

import pytest

from headworks.types import OnDisconnect
from tests.faults.leaving import SITUATIONS, USED, Face, Situation, Visit, pause, visit, world_of
from tests.world import World

pytestmark = pytest.mark.anyio

MOST = 400
"""Turns of the loop that no call here needs."""
NOTICED = {"gateway": 0, "inprocess": 3}
"""Turns of the loop in which a task's cancellation becomes its caller's departure."""
PROMPT = 30
"""Turns of the loop in which a call that is cut has ended."""
FACES = pytest.mark.parametrize("face", ["gateway", "inprocess"])
POLICIES = pytest.mark.parametrize("policy", ["cancel", "drain"])
EVERYWHERE = pytest.mark.parametrize("situation", SITUATIONS, ids=lambda one: one.name)


async def turns_of(situation: Situation, face: Face) -> int:
    """Return how many turns a call takes whose caller stays to the end."""
    world = world_of(situation, "cancel")
    begun = visit(world, situation, face)
    over = asyncio.ensure_future(begun.over())
    turns = 0
    while not over.done():
        turns += 1
        assert turns < MOST
        await pause()
    assert world.journal.outcomes[-1] == "completed"
    assert_released(world)
    return turns


def assert_released(world: World) -> None:
    """Every answer is closed, every row booked, every call recorded: once each."""
    world.assert_settled()
    ids = [call.id for call in world.journal.calls]
    assert len(ids) == len(set(ids))
    assert {row.call_id for row in world.ledger.rows} <= set(ids)


async def end(begun: Visit) -> int:
    """Wait for the call's end; return how many turns of the loop that took."""
    over = asyncio.ensure_future(begun.over())
    turns = 0
    while not over.done():
        turns += 1
        assert turns < MOST
        await pause()
    with suppress(asyncio.CancelledError):
        await over
    return turns


@EVERYWHERE
@FACES
@POLICIES
async def test_gone_at_any_turn(situation: Situation, face: Face, policy: OnDisconnect):
    """Left at every await: all is released, and no attempt is begun for somebody who has gone."""
    outcomes: set[str] = set()
    for turn in range(await turns_of(situation, face)):
        world = world_of(situation, policy)
        begun = visit(world, situation, face)
        for _ in range(turn):
            await pause()
        begun.leave()
        for _ in range(NOTICED[face]):
            await pause()
        sent, heard = len(world.upstream.sent), len(begun.heard)
        is_working = any(row.is_open for row in world.ledger.rows) and sent == len(
            world.ledger.rows
        )
        is_summing = len(world.ledger.rows) == 1 and situation.shortens

        took = await end(begun)

        where = (situation.name, face, policy, turn)
        assert len(world.upstream.sent) == sent, where
        assert len(begun.heard) <= heard + 1, where
        assert_released(world)
        if policy == "cancel" or not is_working or is_summing:
            assert took <= PROMPT, where
        elif world.ledger.rows[-1].outcome not in {"", "completed"}:
            assert_finished(world, situation, where)
        outcomes.update(world.journal.outcomes)
    assert "abandoned" in outcomes or policy == "drain"
    assert ("drained" in outcomes) is (policy == "drain")


def assert_finished(world: World, situation: Situation, where: object) -> None:
    """The attempt that was under way came to its own end, and is booked as the provider says."""
    row, call = world.ledger.rows[-1], world.journal.calls[-1]
    assert row.outcome == call.outcome != "abandoned", where
    if row.outcome == "drained":
        is_told = situation.name != "sound"
        assert row.certainty == ("exact" if is_told else "estimated"), where
        assert not is_told or row.usage == USED, where
