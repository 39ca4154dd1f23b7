"""What was promised of limits, the queue and budgets, seen from without: by callers and by the books."""

from collections.abc import Iterator, Mapping

from headworks.core.budget import Owner
from tests.faults.simworld import answers
from tests.faults.simworld.callers import Reply
from tests.faults.simworld.cases import Case, tag
from tests.faults.simworld.limiter import Stay
from tests.faults.simworld.rations import PROJECTS
from tests.faults.simworld.world import World

_MANY = 1_000
"""Calls that may wait where nobody is sent away for want of room."""
_ON_THE_WAY = 0.1
"""Seconds in which the gateway hears that a caller has gone, over a sound line."""


def findings(world: World, cases: Mapping[str, Case]) -> Iterator[str]:
    """Yield what is wrong, now that all is known."""
    if not {"provider faults"} & world.plan.troubles:  # else providers say what they like
        world.limiter.look_back()
    stays = {tag(stay.call): stay for stay in world.limiter.stays}
    for reply in world.replies:
        stay = stays.get(reply.ask.tag)
        if stay is not None:
            yield from _departure(world, reply, stay)
            yield from _return(world, reply, stays)
    yield from _tokens(world, cases)
    yield from _invoices(world, cases)


def _departure(world: World, reply: Reply, stay: Stay) -> Iterator[str]:
    """A caller who leaves, leaves the queue."""
    gone = reply.gone_at(world.begun) + world.begun
    if world.is_prompt_line(reply) and stay.left > max(gone, stay.came) + _ON_THE_WAY:
        yield f"{reply.ask.tag}: its caller left at {gone:.3f}, and it waited until {stay.left:.3f}"


def _return(world: World, reply: Reply, stays: Mapping[str, Stay]) -> Iterator[str]:
    """Who comes back exactly when it was told, and nobody came meanwhile, is not refused again.

    Where calls may wait its turn is kept, though others came: it is not refused at once.
    """
    first, given = reply.after, world.plan.ration
    if first is None or not is_refused(reply) or answers.error_type(first.body) != "requests":
        return
    before, again = stays[first.ask.tag], stays[reply.ask.tag]
    came = [one for one in world.limiter.stays if before.left <= one.came <= again.came]
    is_kept = given.queue.calls >= _MANY and given.waiting is None
    is_at_once = is_kept and again.left == again.came
    if (is_at_once or came == [again]) and is_same(first, reply):
        told = first.headers["retry-after-ms"]
        yield f"{reply.ask.tag} came after {told} ms, as it was told, and is refused again"


def is_refused(reply: Reply) -> bool:
    """Return whether our own limits refused a call, before any attempt."""
    is_ours = reply.headers.get("x-headworks-attempts", "0") == "0"
    return is_ours and answers.error_code(reply.body) == "rate_limit_exceeded"


def is_same(first: Reply, again: Reply) -> bool:
    """Return whether two refusals name one limit."""
    texts = [answers.error_text(one.body).partition(": ")[0] for one in (first, again)]
    return texts[0] == texts[1]


def _tokens(world: World, cases: Mapping[str, Case]) -> Iterator[str]:
    """What limits have counted of a call is what the ledger says of it."""
    if world.plan.ration.budgets:
        return  # where nobody knows what an attempt used, a strict budget books the most
    taken = {one.call.id: one for one in world.limiter.all}
    for case in cases.values():
        booked = sum(row["input"] + row["output"] for row in case.rows if row["state"] == "settled")
        known = taken.get(case.call.id)
        if known is not None and known.tokens != booked:
            yield f"{tag(case.call)}: {booked} tokens are booked, and limits counted {known.tokens}"


def _invoices(world: World, cases: Mapping[str, Case]) -> Iterator[str]:
    """What providers bill passes no budget."""
    billed: dict[Owner, int] = {}
    for case in cases.values():
        cost = sum(arrival.attempt["cost"] or 0 for arrival in case.arrivals)
        for owner in owners(case):
            billed[owner] = billed.get(owner, 0) + cost
    for owner, cost in billed.items():
        budget = world.plan.ration.budget(owner)
        if budget is not None and cost > budget.limit:
            yield f"{cost} is billed to {owner.spelled}, and {budget.limit} may be spent"


def owners(case: Case) -> Iterator[Owner]:
    """Yield everybody that a call is paid by."""
    caller, tags = case.call.caller, case.call.request.tags
    if caller is None:
        return
    yield Owner("organisation", "")
    yield Owner("key", caller.name)
    if caller.name in PROJECTS:
        yield Owner("project", PROJECTS[caller.name])
    if tags.user:
        yield Owner("user", tags.user)
    yield from (Owner("tag", one) for one in set(tags.tags))
