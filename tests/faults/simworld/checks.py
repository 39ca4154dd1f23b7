"""What must hold of a world that has come to rest, whatever happened in it."""

from collections import Counter
from collections.abc import Iterator

from tests.faults.simworld import attempts, rationing, recovery, replies, sending
from tests.faults.simworld.cases import gather, made_by_callers, tag
from tests.faults.simworld.world import World


async def judge(world: World) -> None:
    """Look at everything, and note in `world` what must not be."""
    for check in (_entries, _rest, _reservations, _revocation, recovery.findings):
        for finding in check(world):
            world.fail(finding)
    cases = await gather(world)
    for finding in rationing.findings(world, cases):
        world.fail(finding)
    for name, case in cases.items():
        for finding in (*attempts.findings(world, case), *sending.findings(case)):
            world.fail(f"{name}: {finding}")
    for reply in world.replies:
        for finding in replies.findings(world, reply, cases.get(reply.ask.tag)):
            world.fail(f"{reply.ask.tag}: {finding}")


def _entries(world: World) -> Iterator[str]:
    """Every call ends once and is recorded once."""
    recorded = Counter(map(tag, made_by_callers(world)))
    for entry in world.entries:
        if entry.exits != 1:
            yield f"{entry.tag}: the call has ended {entry.exits} times"
        if recorded[entry.tag] != 1:
            yield f"{entry.tag}: the journal has {recorded[entry.tag]} records"
    if len(recorded) > len(world.entries):
        yield "the journal has a record of a call that never was"
    ids = Counter(call.id for call in world.journal.calls)
    yield from (f"{one} is the id of {count} calls" for one, count in ids.items() if count > 1)


def _rest(world: World) -> Iterator[str]:
    """Nothing is held when nothing is under way."""
    assembly = world.assembly
    for name, client in assembly.clients.items():
        pool = client.statistics()
        if pool.busy or pool.waiting or pool.open != pool.idle:
            yield f"the connections to {name} are not at rest: {pool}"
    ledger = assembly.ledger.statistics()
    if ledger.open_holds or ledger.owed or ledger.failures or ledger.dropped or ledger.duplicates:
        yield f"the ledger is not at rest: {ledger}"
    for row in world.rows:
        if row["state"] == "held":
            yield f"row {row['seq']} of {row['session']} is open"


def _reservations(world: World) -> Iterator[str]:
    """No place, no turn and no money is kept for a call that has ended."""
    assembly = world.assembly
    if in_flight := assembly.limits.statistics().in_flight:
        yield f"{in_flight} parallel places are held"
    queue = assembly.queue.statistics()
    if queue.in_flight or queue.size or any(queue.waiting.values()):
        yield f"the queue is not at rest: {queue}"
    for account in (*assembly.budgets.named(), *assembly.budgets.crowd()):
        if account.tally.held:
            yield f"{account.tally.held} is held for {account.owner.spelled}"


def _revocation(world: World) -> Iterator[str]:
    """A key works until it is revoked, and not a second longer."""
    if "revocation" not in world.plan.troubles:
        return
    for reply in world.replies:
        if reply.ask.key == world.stored and reply.is_whole:
            is_over = reply.began > world.revoked_at + 1.0
            is_before = reply.ended < world.revoked_at
            if (is_over and reply.status != 401) or (is_before and reply.status == 401):
                yield f"{reply.ask.tag}: {reply.status}, with a key revoked at {world.revoked_at}"
