"""Budgets are written in dollars and plain words, wherever they belong; mistakes are told."""

from datetime import UTC
from zoneinfo import ZoneInfo

import pytest

from headworks.core.budget import EVERY_USER, ORGANISATION, Budget, Owner
from tests.config.files import MINIMAL, loaded, refused

ALL = (
    MINIMAL
    + """\
budget: {usd: 500, per: month, time_zone: Europe/Berlin}
projects: {shop: {budget: {usd: "100.50", per: week}}}
keys:
  - {name: web, secret: "${env:WEB}", budget: {usd: 10.00, per: day, reserve: strict}}
users:
  default: {budget: {usd: 0.5, per: day, soft: []}}
  ann: {budget: {usd: "${env:ANN}", per: total, hard: false, soft: [120, 50, 50]}}
tags: {red: {budget: {usd: 1e-9, unpriced: flag}}}
"""
)


def test_budgets_stand_wherever_money_is_spent():
    """For everybody, a project, a key, a user, all other users, a tag."""
    config = loaded(ALL, {"WEB": "hw_0123456789abcdef", "ANN": "7"})
    assert config.budgets == {
        ORGANISATION: Budget(500 * 10**9, "month", ZoneInfo("Europe/Berlin")),
        Owner("project", "shop"): Budget(100_500_000_000, "week"),
        Owner("key", "web"): Budget(10 * 10**9, "day", is_strict=True),
        EVERY_USER: Budget(500_000_000, "day", soft=()),
        Owner("user", "ann"): Budget(7 * 10**9, "total", UTC, (50, 120), is_hard=False),
        Owner("tag", "red"): Budget(1, unpriced="flag"),
    }


def test_without_budgets_there_are_none():
    """Nothing is bounded that nobody bounds."""
    assert loaded(MINIMAL).budgets == {}


@pytest.mark.parametrize(
    ("budget", "problem"),
    [
        ("{per: day}", "budget.usd: is missing"),
        ("{usd: 0}", "budget.usd: an amount is above 0, at most 1000000000 and has at most 9 decimals"),
        ("{usd: -5}", "budget.usd: not an amount; write US dollars, such as 250.00"),
        ("{usd: $5}", "budget.usd: not an amount; write US dollars, such as 250.00"),
        ("{usd: 1e-10}", "budget.usd: an amount is above 0, at most 1000000000 and has at most 9 decimals"),
        ("{usd: .inf}", "budget.usd: not an amount; write US dollars, such as 250.00"),
        ("{usd: 5, per: year}", "budget.per: must be one of day, week, month, total"),
        ("{usd: 5, time_zone: Berlin}", "budget.time_zone: no time zone of this name is known here"),
        ("{usd: 5, time_zone: ../../etc/passwd}", "budget.time_zone: no time zone of this name is known here"),
        ("{usd: 5, soft: [0]}", "budget.soft[0]: expected a whole number >= 1"),
        ("{usd: 5, soft: 80}", "budget.soft: expected"),
        ("{usd: 5, hard: maybe}", "budget.hard: expected"),
        ("{usd: 5, hard: false, reserve: strict}", "budget.reserve: does nothing where hard is false"),
        ("{usd: 5, hard: false, unpriced: refuse}", "budget.unpriced: does nothing where hard is false"),
        ("{usd: 5, limit: 7}", "budget.limit: unknown key"),
        ("5", "budget: expected"),
    ],
)  # fmt: skip
def test_mistakes_are_told(budget, problem):
    """With the place and what to write instead."""
    (told,) = refused(f"{MINIMAL}budget: {budget}\n")
    assert problem in told


@pytest.mark.parametrize(
    ("own", "project", "everybody", "whose"),
    [
        ("{usd: 5}", "{usd: 5, hard: false}", "{usd: 5, hard: false}", "the key itself"),
        ("{usd: 5, hard: false}", "{usd: 5}", "{usd: 5, hard: false}", "its project"),
        ("{usd: 5, hard: false}", "{usd: 5, hard: false}", "{usd: 5}", "everybody"),
        ("{usd: 5, hard: false}", "{usd: 5, hard: false}", "{usd: 5, hard: false}", ""),
    ],
)
def test_calls_do_not_go_on_without_a_ledger_under_a_hard_budget(own, project, everybody, whose):
    """A key that says so is refused, with whose budget it is: the setting would do nothing."""
    text = f"""{MINIMAL}budget: {everybody}
projects: {{shop: {{budget: {project}}}}}
keys:
  - {{name: web, secret: "${{env:WEB}}", project: shop, on_ledger_failure: continue, budget: {own}}}
"""
    variables = {"WEB": "hw_0123456789abcdef"}
    if not whose:
        assert loaded(text, variables).keys[0].grant.on_ledger_failure == "continue"
        return
    told = "".join(refused(text, variables))
    assert f"keys[0].on_ledger_failure: does nothing beside the hard budget of {whose}" in told
