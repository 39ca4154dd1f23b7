"""What must hold of a world that has come to rest, whatever happened in it."""

from collections import Counter
from collections.abc import Iterator

from headworks.types import Call
from tests.faults.simworld import attempts, recovery, replies, sending
from tests.faults.simworld.cases import gather, made_by_callers, tag
from tests.faults.simworld.oracle import most_at_once, most_in_a_minute
from tests.faults.simworld.world import World

_SLOT = 0.1
"""Seconds by which the limiter may remember a request for longer than a minute."""
_TICK = 0.002
"""Seconds by which a told wait may differ."""


async def judge(world: World) -> None:
    """Look at everything, and note in `world` what must not be."""
    for check in (_entries, _rest, _limits, _refusals, _revocation, recovery.findings):
        for finding in check(world):
            world.fail(finding)
    cases = await gather(world)
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
    if in_flight := assembly.limits.statistics().in_flight:
        yield f"{in_flight} parallel places are held"
    ledger = assembly.ledger.statistics()
    if ledger.open_holds or ledger.owed or ledger.failures or ledger.dropped or ledger.duplicates:
        yield f"the ledger is not at rest: {ledger}"
    for row in world.rows:
        if row["state"] == "held":
            yield f"row {row['seq']} of {row['session']} is open"


def _limits(world: World) -> Iterator[str]:
    """No limit is exceeded."""
    limits, calls = world.plan.limits, [call for call in _limited(world) if call.attempts]
    began, ran = most_in_a_minute(call.started for call in calls), most_at_once(map(_span, calls))
    if limits.rpm is not None and began > limits.rpm:
        yield f"{began} calls began in one minute, and {limits.rpm} may"
    if limits.parallel is not None and ran > limits.parallel:
        yield f"{ran} calls ran at once, and {limits.parallel} may"


def _refusals(world: World) -> Iterator[str]:
    """No limit refuses what would fit, and who is told to wait is told how long."""
    limits, calls = world.plan.limits, _limited(world)
    admitted = [call for call in calls if call.attempts or call.trail]
    told = {reply.ask.tag: reply.headers.get("retry-after-ms") for reply in world.replies}
    for call in calls:
        now = call.started
        starts = sorted(one.started for one in admitted if now - 60.0 - _SLOT <= one.started <= now)
        running = sum(begin <= now <= end for begin, end in map(_span, admitted))
        if call.outcome == "rate_limit_exceeded" and not call.attempts:
            yield from _told_wait(call, starts, limits.rpm or 0, told[tag(call)])
        if call.outcome == "parallel_limit_exceeded" and running < (limits.parallel or 0):
            yield f"{tag(call)} was refused, though only {running} calls ran"


def _told_wait(call: Call, starts: list[float], limit: int, told: str | None) -> Iterator[str]:
    if len(starts) < limit:
        yield f"{tag(call)} was refused, though only {len(starts)} calls began in its minute"
    elif told is not None:
        true = starts[-limit] + 60.0 - call.started
        if not true - _TICK <= int(told) / 1000 <= true + _SLOT + _TICK:
            yield f"{tag(call)} was told to wait {told} ms, and {true:.3f} s are true"


def _limited(world: World) -> list[Call]:
    """Return the calls of the key with limits; none where summaries delay them before they count."""
    named = [call for call in world.journal.calls if call.caller and call.caller.name == "tight"]
    return named if all(map(tag, named)) else []


def _span(call: Call) -> tuple[float, float]:
    return call.started, call.ended or call.started


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
