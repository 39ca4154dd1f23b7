"""The worlds notice a product whose limits, queue or budgets break a promise."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import pytest

from headworks.answer import charge
from headworks.core.admission import NO_LIMITS, Denial, refusal
from headworks.errors import LimitError
from headworks.stores.limits import LimitReservation
from headworks.types import NO_USAGE, Call, Caller, Usage
from tests.faults.simworld.running import run
from tests.faults.simworld.scenario import scenario
from tests.faults.simworld.world import World

ENOUGH = 250  # seeds in which a fault of our own making must show

Sabotage = Callable[[World], None]


@dataclass
class Sticky:
    """A queue in which those wait on who have left."""

    real: Any

    async def reserve(self, call: Call, estimate: Usage) -> Any:
        waiting = asyncio.ensure_future(self.real.reserve(call, estimate))
        try:
            return await asyncio.shield(waiting)
        except asyncio.CancelledError:
            with suppress(LimitError):
                (await waiting).settle(NO_USAGE)
            raise


@dataclass
class Careless:
    """Limits that set hardly anything aside."""

    real: Any

    async def reserve(self, call: Call, _: Usage) -> Any:
        return await self.real.reserve(call, Usage(1, 0))


def careless(world: World) -> None:
    engine = world.assembly.engine
    world.assembly.engine = replace(engine, limits=Careless(engine.limits))


def sticky(world: World) -> None:
    engine = world.assembly.engine
    world.assembly.engine = replace(engine, limits=Sticky(engine.limits))


def of_users(world: World) -> None:
    rules = world.plan.ration.rules
    world.assembly.limits.adopt(replace(rules, users={}, user=NO_LIMITS))


def tokens_free(world: World) -> None:
    rules = world.plan.ration.rules
    free: dict[str, Any] = {"tpm": None, "tpd": None}
    users = {name: replace(one, **free) for name, one in rules.users.items()}
    user, everybody = replace(rules.user, **free), replace(rules.organisation, **free)
    world.assembly.limits.adopt(replace(rules, organisation=everybody, users=users, user=user))


def queue(**wrong: Any) -> Sabotage:
    """Return what gives the queue other rules than the operator's."""

    def sabotage(world: World) -> None:
        world.assembly.queue.adopt(
            replace(world.plan.ration.queue, **wrong), world.plan.ration.rules
        )

    return sabotage


def greedy(world: World) -> None:
    """Let what can wait have all places."""
    world.assembly.queue._most_bulk = world.assembly.queue._most


def hasty(world: World) -> None:
    """Tell everybody to come back in half the time."""
    queue: Any = world.assembly.queue
    real = queue._send_away

    def send_away(*arguments: Any) -> Any:
        error = real(*arguments)
        error.retry_after = (error.retry_after or 0.0) / 2
        return error

    queue._send_away = send_away


def unheld(world: World) -> None:
    budgets: Any = world.assembly.budgets
    budgets.reserve = lambda _: []


def kept(world: World) -> None:
    budgets: Any = world.assembly.budgets
    budgets.settle = lambda *_: None


@dataclass(frozen=True)
class Case:
    """A fault of ours, what the worlds say to it, and the trouble that brings it to light."""

    name: str
    sabotage: Sabotage
    says: str
    trouble: str


CASES = [
    Case("users have no limits", of_users, "calls began in one", "levels"),
    Case("users have no limits at once", of_users, "calls ran at once", "levels"),
    Case("strict limits are not", careless, "tokens in a window", "levels"),
    Case("tokens have no limit", tokens_free, "tokens were used when one more came", "levels"),
    Case("who leaves waits on", sticky, "its caller left at", "queue"),
    Case("the queue has no end", queue(calls=10_000, size=10**9), "calls wait with", "queue"),
    Case("places have no end", queue(in_flight=None), "calls are under way, and", "queue"),
    Case("bulk work takes all places", greedy, "places are taken by what can wait", "queue"),
    Case("waits are told too short", hasty, "as it was told, and is refused", "obedience"),
    Case("money is not held", unheld, "is spent and held", "budgets"),
    Case("money is not given back", kept, "is held for", "budgets"),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_faults_of_the_limits_show(case):
    """A product that breaks a promise about limits, turns or money is found out."""
    assert is_found(case.says, case.trouble, case.sabotage)


def test_a_wrong_wait_shows(monkeypatch):
    """A limit that says too short a wait is found out."""

    def wrong(denial: Denial, caller: Caller) -> LimitError:
        return refusal(replace(denial, wait=denial.wait / 2), caller)

    monkeypatch.setattr("headworks.stores.limits.refusal", wrong)
    assert is_found("was told to wait", "levels")


def test_forgotten_attempts_show(monkeypatch):
    """Limits that forget what a failed attempt has used are found out."""

    def forget(call: Call, _: Usage, cost: int | None) -> None:
        charge(call, NO_USAGE, cost)

    monkeypatch.setattr("headworks.attempt.charge", forget)
    assert is_found("are booked, and limits counted", "levels")


def test_limits_that_count_the_last_attempt_alone_show(monkeypatch):
    """Limits that count a call's last attempt, and not those before it, are found out."""
    settle = LimitReservation.settle

    def last(self: Any, usage: Usage) -> None:
        tokens, self._call.tokens = self._call.tokens, 0
        settle(self, usage)
        self._call.tokens = tokens

    monkeypatch.setattr(LimitReservation, "settle", last)
    assert is_found("are left", "levels")


def is_found(says: str, trouble: str, sabotage: Sabotage = lambda _: None) -> bool:
    """Whether the fault shows within `ENOUGH` seeds."""
    for seed in range(ENOUGH):
        plan = scenario(seed)
        if trouble in plan.ration.troubles:
            world = run(seed, plan=plan, sabotage=sabotage)
            if any(says in finding for finding in world.findings):
                return True
    return False
