"""A restart forgets neither the last minute nor the last day."""

import logging

import pytest

from headworks.core.admission import Rules
from headworks.errors import RateLimited
from headworks.stores.limits import MemoryLimits
from headworks.testing import FakeClock
from headworks.types import Call, Caller, RateLimits, Usage
from tests.stores.books import call, open_ledger, route

pytestmark = pytest.mark.anyio

DAILY = RateLimits(rpd=10**6, tpd=10**6)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "x.ledger.db"


async def book(path, clock: FakeClock, *attempts: Call) -> None:
    """Book attempts of 30 tokens each, and close the ledger."""
    ledger = open_ledger(path, clock)
    for one in attempts:
        hold = await ledger.hold(one, route(), Usage(10, 20))
        hold.settle(Usage(10, 20), "exact", "completed")
    ledger.close()


def restarted(
    path, clock: FakeClock, rules: Rules, *callers: Caller
) -> tuple[MemoryLimits, FakeClock]:
    """Limits of a process that has just begun: its own clock begins anew."""
    fresh = FakeClock(5.0)
    limits = MemoryLimits(fresh)
    limits.adopt(rules)
    limits.restore(path, callers, clock.time())
    return limits, fresh


async def used(limits: MemoryLimits, one: Call) -> dict[str, int]:
    """What headers say was used before this call, which asks for 1 token."""
    (await limits.reserve(one, Usage(1, 0))).settle(Usage(1, 0))
    told = {name.decode().removeprefix("x-ratelimit-"): int(value) for name, value in one.rates if b"reset" not in name}  # fmt: skip
    return {
        what: told[f"limit-{what}"] - told[f"remaining-{what}"] - 1
        for what in ("requests", "tokens")
        if f"limit-{what}" in told
    }


async def test_who_has_used_up_a_limit_before_a_restart_has_used_it_up(path):
    """Requests and tokens of the last day count on: a deploy is no present."""
    clock = FakeClock()
    caller = Caller("web", "key_1", "shop", limits=RateLimits(rpd=3))
    for name in ("a", "b", "c"):
        await book(path, clock, call(name))
        clock.advance(3_600)

    limits, fresh = restarted(path, clock, Rules(), caller)
    again = call("d")
    again.caller = caller
    with pytest.raises(RateLimited, match="Limit 3, Used 3") as caught:
        await limits.reserve(again, Usage(1, 0))

    assert caught.value.retry_after is not None
    assert 86_400 - 3 * 3_600 <= caught.value.retry_after <= 86_400 - 3 * 3_600 + 2 * 2_160
    fresh.advance(caught.value.retry_after)
    await limits.reserve(again, Usage(1, 0))


@pytest.mark.parametrize(
    ("rules", "whose"),
    [
        (Rules(organisation=DAILY), {}),
        (Rules(projects={"shop": DAILY}), {}),
        (Rules(user=DAILY), {"user": "u1"}),
        (Rules(tags={"x": DAILY}), {"tags": ("x", "y")}),
        (Rules(organisation=RateLimits(models=(("assistant", DAILY),))), {}),
    ],
)
async def test_every_level_is_restored(path, rules, whose):
    """Each level and model counts its own calls: a call once, tokens of all its attempts."""
    clock = FakeClock()
    await book(path, clock, call("old", **whose))
    clock.advance(2 * 86_400)
    await book(path, clock, call("a", **whose), call("a", 2, **whose), call("b", **whose))
    clock.advance(3_600)
    await book(path, clock, call("c", **whose))

    limits, _ = restarted(path, clock, rules)

    assert await used(limits, call("d", **whose)) == {"requests": 3, "tokens": 120}


async def test_the_last_minute_counts_on(path):
    """Without a limit on days the last minute is read alone, and ends when it would have ended."""
    clock = FakeClock()
    caller = Caller("web", "key_1", limits=RateLimits(rpm=10**6, tpm=10**6))
    for name in ("a", "b", "c"):
        await book(path, clock, call(name))
        clock.advance(25)
    one = call("d")
    one.caller = caller

    limits, fresh = restarted(path, clock, Rules(), caller)

    assert await used(limits, one) == {"requests": 2, "tokens": 60}
    fresh.advance(10.2)
    assert await used(limits, one) == {"requests": 2, "tokens": 31}


async def test_without_a_ledger_the_counts_begin_anew(path, caplog):
    """What cannot be read stops no start; it is told."""
    with caplog.at_level(logging.WARNING):
        limits, _ = restarted(path, FakeClock(), Rules(organisation=DAILY))

    assert "limits begin anew" in caplog.text
    assert await used(limits, call("a")) == {"requests": 0, "tokens": 0}
