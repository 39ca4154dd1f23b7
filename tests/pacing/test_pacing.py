"""At three times the load that a provider takes, all of its limits is used and little refused."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import pytest

from headworks.core.upstream_bucket import Caps
from headworks.simulator.config import RateLimit
from tests.pacing.ground import SECONDS, Land

MINUTES = SECONDS / 60
TPM = 30_000
Tell = Callable[[str], None]
CHARGE = 530
"""Tokens that the provider charges for a call of these programs, on average."""
TRIPLE = 3 * TPM / 60 / CHARGE


@dataclass(frozen=True)
class Case:
    """What a provider allows, how calls come, and how much of its limits they may use in all."""

    name: str
    limit: RateLimit
    rate: float
    capacity: float
    measure: int = 1
    land: Mapping[str, Any] = field(default_factory=dict[str, Any])


CASES = (
    Case("tokens a minute", RateLimit(rpm=10_000, tpm=TPM), TRIPLE, TPM * (MINUTES + 1)),
    Case(
        "answers that take half a minute",
        RateLimit(rpm=10_000, tpm=TPM),
        TRIPLE,
        TPM * (MINUTES + 1),
        land={"latency": (5.0, 30.0)},
    ),
    Case("requests a minute", RateLimit(rpm=120, tpm=10**7), 6.0, 120 * (MINUTES + 1), 0),
    Case(
        "both limits near",
        RateLimit(rpm=60, tpm=60 * CHARGE),
        3.0,
        60 * CHARGE * (MINUTES + 1),
    ),
    Case(
        "answers bounded, charged by the bound",
        RateLimit(rpm=10_000, tpm=TPM, era="2024"),
        3 * TPM / 60 / (CHARGE + 300),
        TPM * (MINUTES + 1),
        land={"extra": {"max_tokens": 300}},
    ),
    Case(
        "charged by the larger of question and bound",
        RateLimit(rpm=10_000, tpm=TPM),
        3 * TPM / 60 / 700,
        TPM * (MINUTES + 1),
        land={"extra": {"max_tokens": 500}},
    ),
    Case("requests a day", RateLimit(rpm=60, rpd=500, tpm=10**6), 3.0, 500 + 500 * SECONDS / 86_400, 0),
)  # fmt: skip


def judge(land: Land, tell: Tell, name: str, used: float, capacity: float) -> None:
    """Print what was used and refused, and compare it with what is promised."""
    tell(
        f"{name}: {used / capacity:.1%} used, {land.refused:.2%} of "
        f"{land.provider.told.total()} calls refused, median wait {median(land.waits):.1f} s"
    )
    assert used <= capacity * 1.001
    assert used >= 0.95 * capacity
    assert land.refused < 0.005


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_limits_are_learned_used_to_the_end_and_hardly_met(case: Case, tell: Tell) -> None:
    """Whatever the provider limits: 95 % of it is used, and not one call in 200 is refused."""
    land = Land([case.limit], **case.land).live(case.rate)
    used = land.provider.used["main"][case.measure]
    judge(land, tell, case.name, used, case.capacity)


@pytest.mark.parametrize("latency", [(0.5, 3.0), (5.0, 30.0)])
def test_another_program_may_share_the_account(latency: tuple[float, float], tell: Tell) -> None:
    """A stranger takes 30 % of the limit; we take the rest, and hardly ever too much."""
    land = Land([RateLimit(rpm=10_000, tpm=TPM)], latency=latency)
    land.live(TRIPLE, land.stranger(600, 600 / (0.3 * TPM / 60)))
    used = land.provider.used["main"][1] + land.foreign
    assert land.foreign > 0.2 * TPM * MINUTES
    judge(land, tell, "shared account", used, TPM * (MINUTES + 1))


@pytest.mark.parametrize("factor", [2.0, 0.5], ids=["raised", "lowered"])
def test_a_limit_may_change_meanwhile(factor: float, tell: Tell) -> None:
    """A limit that is raised or lowered is followed from the next answer on."""
    land = Land([RateLimit(rpm=10_000, tpm=TPM)])

    def change() -> None:
        bucket = land.provider.bucket("tokens")
        bucket.refill(land.loop.time())
        bucket.limit = int(TPM * factor)
        bucket.take(0)

    land.live(TRIPLE * max(1.0, factor), land.later(SECONDS / 2, change))
    capacity = TPM * (1 + MINUTES / 2 + factor * MINUTES / 2)
    judge(land, tell, f"limit times {factor}", land.provider.used["main"][1], capacity)


def test_an_account_that_is_nearly_used_up_is_found_so() -> None:
    """After a restart in the middle of a busy minute little is refused, and all is used then."""
    land = Land([RateLimit(rpm=10_000, tpm=TPM)])
    land.provider.bucket("tokens").take(0.95 * TPM)
    land.live(TRIPLE)
    used, capacity = land.provider.used["main"][1], TPM * (MINUTES + 0.05)
    assert used >= 0.95 * capacity
    assert land.refused < 0.01


def test_two_credentials_are_both_used_to_the_end(tell: Tell) -> None:
    """The key with more room comes first: of each, at least 90 % is used."""
    names = ("one", "two")
    land = Land([RateLimit(rpm=10_000, tpm=TPM)], credentials=names).live(2 * TRIPLE)
    used = [land.provider.used[name][1] for name in names]
    assert min(used) >= 0.9 * TPM * (MINUTES + 1)
    judge(land, tell, "two credentials", sum(used), 2 * TPM * (MINUTES + 1))


def test_two_credentials_share_a_load_that_both_could_carry() -> None:
    """The second key is not kept for the day on which the first one is used up."""
    names = ("one", "two")
    land = Land([RateLimit(rpm=10_000, tpm=TPM)], credentials=names).live(TRIPLE / 3)
    calls = [land.provider.used[name][0] for name in names]
    assert min(calls) > 0.4 * sum(calls)
    assert set(land.told) == {"200"}


def test_what_the_operator_allows_is_never_exceeded() -> None:
    """`limits` hold below the provider's own ones, from the first call on."""
    caps = {"main": Caps(rpm=30, tpm=10_000)}
    land = Land([RateLimit(rpm=10_000, tpm=TPM)], caps=caps).live(TRIPLE)
    requests, tokens = land.provider.used["main"]
    assert requests <= 30 * (MINUTES + 1)
    assert 0.95 * 10_000 * (MINUTES + 1) <= tokens <= 1.02 * 10_000 * (MINUTES + 1)
    assert not land.provider.told[429]


def test_operators_limits_hold_where_the_provider_has_none() -> None:
    """A server without limits of its own is asked as often as the operator allows."""
    caps = {"main": Caps(rpm=60)}
    land = Land([], caps=caps).live(3.0)
    assert 0.95 * 60 * (MINUTES + 1) <= land.provider.used["main"][0] <= 60 * (MINUTES + 1)


async def _crowd(land: Land, told: list[str]) -> None:
    """Ask for so much that all wait, then for more than the limit ever holds, then a little."""
    await land.ask()
    crowd = [asyncio.create_task(land.ask()) for _ in range(200)]
    await asyncio.sleep(20)
    began = land.now
    told.append(await land.ask(messages=[{"role": "user", "content": "x" * 8 * TPM}]))
    assert land.now - began < 1
    assert land.provider.told[429] == 1
    await asyncio.gather(*crowd)


def test_what_is_larger_than_a_limit_fails_at_once_and_holds_nobody_up() -> None:
    """The provider says so itself: such a request is never queued, and takes nothing from others."""
    land, told = Land([RateLimit(rpm=10_000, tpm=TPM)]), list[str]()
    land.run(_crowd(land, told))
    assert told == ["rate_limit_exceeded"]
    assert land.told == {
        "200": land.told["200"],
        "upstream_cooling_down": 201 - land.told["200"],
    } | {"rate_limit_exceeded": 1}
    assert land.provider.used["main"][1] > TPM


async def _leave(land: Land) -> None:
    await land.ask()
    first = [asyncio.create_task(land.ask()) for _ in range(70)]
    await asyncio.sleep(5)
    second = [asyncio.create_task(land.ask()) for _ in range(40)]
    await asyncio.sleep(5)
    for one in second:
        one.cancel()
    began = land.now
    await land.ask()
    assert land.now - began < 45
    await asyncio.gather(*first, *second, return_exceptions=True)


def test_who_leaves_the_line_leaves_its_place() -> None:
    """Callers that hang up while they wait keep nobody waiting behind them."""
    land = Land([RateLimit(rpm=10_000, tpm=TPM)])
    land.run(_leave(land))
