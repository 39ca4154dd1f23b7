"""Limits are told as OpenAI tells them, and say whose they are."""

import math
from dataclasses import dataclass

import pytest

from headworks.core.admission import (
    NO_LIMITS,
    Ask,
    Bound,
    Denial,
    Dimension,
    Rules,
    Size,
    Standing,
    Subject,
    ask,
    rate_headers,
    refusal,
)
from headworks.core.levels import ORGANISATION, Level
from headworks.errors import ParallelLimited, RateLimited
from headworks.types import Caller, RateLimits, Tags

CALLER = Caller("web", "k1", "shop", limits=RateLimits(rpm=60))
KEY = Subject(Level("key", "k1"))


@dataclass(frozen=True)
class Case:
    told: str
    dimension: Dimension
    subject: Subject = KEY
    wait: float = 3.2
    type: str = "requests"
    retry: bool = True


CASES = (
    Case("Rate limit reached for key 'web' on requests per minute (RPM): Limit 60, Used 59, Requested 5. Please try again in 3.2s.", "rpm"),
    Case("Rate limit reached for the organisation on tokens per minute (TPM): Limit 60, Used 59, Requested 5. Please try again in 644ms.", "tpm", Subject(ORGANISATION), 0.644, "tokens"),
    Case("Rate limit reached for gpt-6-sol of project 'shop' on requests per day (RPD): Limit 60, Used 59, Requested 5. Please try again in 1h2m3.5s.", "rpd", Subject(Level("project", "shop"), "gpt-6-sol"), 3723.5),
    Case("Rate limit reached for user 'u42' on tokens per day (TPD): Limit 60, Used 59, Requested 5. Please try again in 24h0m0s.", "tpd", Subject(Level("user", "u42")), 86_400.0, "tokens"),
    Case("Request too large for tag 'x' on tokens per minute (TPM): Limit 60, Requested 5. The input or output tokens must be reduced in order to run successfully.", "tpm", Subject(Level("tag", "x")), math.inf, "tokens", retry=False),
    Case("Rate limit reached for key 'web' on requests per minute (RPM): Limit 60, Used 59, Requested 5. No requests are allowed.", "rpm", KEY, math.inf, retry=False),
)  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.told[:60])
def test_a_refusal_reads_like_openais(case):
    """Clients that parse OpenAI's text find limit, use and wait; the type says what ran out."""
    error = refusal(Denial(Ask(case.subject, NO_LIMITS, 5), case.dimension, 60, 59, 5, case.wait), CALLER)  # fmt: skip

    assert isinstance(error, RateLimited)
    assert str(error) == case.told
    assert (error.status, error.code, error.type) == (429, "rate_limit_exceeded", case.type)
    assert error.retry_after == (case.wait if math.isfinite(case.wait) else None)
    assert error.should_retry is case.retry


def test_too_many_at_once_has_a_code_of_its_own():
    """Nobody knows when a call ends: come back in a second."""
    error = refusal(Denial(Ask(KEY, NO_LIMITS, 5), "parallel", 2, 2, 1, 1.0), CALLER)

    assert isinstance(error, ParallelLimited)
    assert str(error) == (
        "Limit of parallel requests reached for key 'web': "
        "Limit 2, Used 2, Requested 1. Please try again in 1s."
    )
    assert (error.code, error.retry_after) == ("parallel_limit_exceeded", 1.0)


def test_a_strangers_name_does_not_fill_the_answer():
    """Names that callers choose are cut."""
    subject = Subject(Level("user", "u" * 5_000), "m" * 5_000)
    error = refusal(Denial(Ask(subject, NO_LIMITS, 5), "rpm", 1, 1, 1, 1.0), CALLER)
    assert len(str(error)) < 500


def test_headers_are_spelled_as_openai_spells_them():
    """Each dimension has its three fields; what has no limit has none."""
    told = rate_headers(Standing(60, 59, 63.2), Standing(50_000, 0, 0.0))

    assert told == (
        (b"x-ratelimit-limit-requests", b"60"),
        (b"x-ratelimit-remaining-requests", b"59"),
        (b"x-ratelimit-reset-requests", b"1m3.2s"),
        (b"x-ratelimit-limit-tokens", b"50000"),
        (b"x-ratelimit-remaining-tokens", b"0"),
        (b"x-ratelimit-reset-tokens", b"0s"),
    )
    assert rate_headers(None, None) == ()


def test_every_limit_that_applies_is_found():
    """Organisation, project, key, user and tag, each with what it says of the model."""
    one, other, of_model = RateLimits(rpm=1), RateLimits(rpm=2), RateLimits(tpm=9)
    rules = Rules(
        organisation=RateLimits(rpm=3, reserve="strict", models=(("m", of_model), ("x", other))),
        projects={"shop": one, "lab": other},
        users={"u1": other},
        user=one,
        tags={"beta": other},
    )

    found = list(rules.bounds(CALLER, Tags(user="u2", tags=("beta", "free")), "m"))

    assert found == [
        Bound(Subject(ORGANISATION), rules.organisation, "strict"),
        Bound(Subject(ORGANISATION, "m"), of_model, "strict"),
        Bound(Subject(Level("project", "shop")), one, "expected"),
        Bound(KEY, CALLER.limits, "expected"),
        Bound(Subject(Level("user", "u2")), one, "expected"),
        Bound(Subject(Level("tag", "beta")), other, "expected"),
    ]
    named = list(rules.bounds(CALLER, Tags(user="u1"), "y"))
    assert Bound(Subject(Level("user", "u1")), other, "expected") in named


def test_without_rules_only_the_key_counts():
    """What is not configured costs nothing; a key's requests count even without a limit."""
    free = Caller("web", "k1", "shop")
    assert [b.subject for b in Rules().bounds(free, Tags(user="u"), "m")] == [KEY]


@pytest.mark.parametrize(
    ("limits", "size", "tokens"),
    [
        (RateLimits(), Size(10, 110, 510), 110),
        (RateLimits(reserve="strict"), Size(10, 110, 510), 510),
        (RateLimits(tpm=100), Size(10, 110, 510), 100),
        (RateLimits(tpm=100, tpd=50), Size(10, 110, 510), 50),
        (RateLimits(tpm=100), Size(200, 300, 510), 200),
        (RateLimits(tpm=100, reserve="strict"), Size(10, 110, 510), 510),
    ],
)
def test_what_is_only_likely_makes_no_request_too_large(limits, size, tokens):
    """An expected answer is cut to the limit; what is sure, and what strict sets aside, is not."""
    assert ask(Bound(KEY, limits, limits.reserve), size) == Ask(KEY, limits, tokens)
