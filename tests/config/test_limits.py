"""Limits are written where they hold, and take effect as written."""

from dataclasses import dataclass

import pytest

from headworks.core.admission import NO_LIMITS, Rules
from headworks.types import RateLimits
from tests.config.files import MINIMAL, loaded, refused

EVERYWHERE = (
    MINIMAL
    + """
limits: {rpm: 1000, reserve: strict, models: {big: {tpm: 5, parallel: 1}}}
projects:
  shop: {limits: {rpd: 7}}
  the lab: {}
keys:
  - {name: web, secret: "${env:KEY}-0123456789abcdef", limits: {rpm: 1, tpm: 2, rpd: 3, tpd: 4, parallel: 5}}
users:
  default: {limits: {rpm: 10}}
  jane@example.com: {limits: {tpd: 1000000000000}}
tags:
  nightly: {limits: {parallel: 2}}
"""
)


def test_limits_of_all_levels_take_effect():
    """Everybody, projects, keys, users and tags, each with what was written for them."""
    config = loaded(EVERYWHERE)

    assert config.limits == Rules(
        RateLimits(
            rpm=1000, reserve="strict", models=(("big", RateLimits(tpm=5, parallel=1)),)
        ),
        {"shop": RateLimits(rpd=7), "the lab": NO_LIMITS},
        {"jane@example.com": RateLimits(tpd=10**12)},
        RateLimits(rpm=10),
        {"nightly": RateLimits(parallel=2)},
    )  # fmt: skip
    assert config.keys[0].grant.limits == RateLimits(rpm=1, parallel=5, tpm=2, rpd=3, tpd=4)


def test_without_limits_nobody_is_limited():
    """What is not written does not hold, and costs nothing."""
    rules = loaded(MINIMAL + "limits: {}\nusers: {x: {limits: {}}}\n").limits
    assert (rules.organisation, rules.users["x"]) == (NO_LIMITS, NO_LIMITS)
    assert rules.organisation is rules.users["x"] is NO_LIMITS


@dataclass(frozen=True)
class Case:
    text: str
    problem: str


CASES = (
    Case("limits: {reserve: strict, rpm: 6}", "limits.reserve: does nothing without a limit on tokens: tpm or tpd"),
    Case("tags: {x: {limits: {rpm: 9, rpd: 5}}}", "tags.x.limits.rpm: is never reached, since rpd is less"),
    Case("limits: {models: {m: {tpm: 9, tpd: 5}}}", "limits.models.m.tpm: is never reached, since tpd is less"),
    Case("limits: {models: {m: {}}}", "limits.models.m: limits nothing; say what: rpm, tpm, rpd, tpd, parallel"),
    Case("limits: {rpm: 0}", "limits.rpm: expected a whole number >= 1"),
    Case("users: {u: {limits: {month: 5}}}", "users.u.limits.month: unknown key"),
    Case("limits: {models: {m: {reserve: strict}}}", "limits.models.m.reserve: unknown key"),
)  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.problem)
def test_a_limit_that_cannot_work_is_told(case):
    """What would do nothing is not accepted in silence."""
    assert any(case.problem in line for line in refused(MINIMAL + case.text + "\n"))
