"""What a provider says of its limits is read as it meant it."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headworks.core.upstream_signs import DAY, MINUTE, REQUESTS, TOKENS, Told, readings, told
from headworks.simulator.limiter import Bucket


@given(
    limit=st.integers(3, 50_000_000),
    period=st.sampled_from([MINUTE, DAY]),
    share=st.floats(0.0, 1.0),
)
def test_level_and_period_are_told_by_the_three_fields(limit, period, share):
    """The true limiter's fields, read backwards, give its level to one unit and its period."""
    bucket = Bucket("tokens", "tokens", limit, period, 0.0)
    bucket.take(share * limit)
    level = limit - share * limit
    (found,) = readings(tuple((name.encode(), value.encode()) for name, value in bucket.headers()))
    assert found.measure == TOKENS
    assert found.limit == limit
    assert found.period() in {None, period} or limit - found.remaining <= 1
    assert abs(found.level(period) - level) <= 1.0
    if limit / period < 100 and share > 0:
        assert abs(found.level(period) - level) <= 0.0011 * limit / period + 1e-6


@dataclass(frozen=True)
class Case:
    """Fields of an answer, and how many measures they tell of."""

    limit: bytes
    remaining: bytes
    reset: bytes = b"1s"
    count: int = 0


@pytest.mark.parametrize(
    "case",
    [
        Case(b"100", b"99", count=1),
        Case(b"100", b"99", b"soon", count=1),
        Case(b"100", b"99", b"9" * 5000, count=1),
        Case(b"100", b"101"),
        Case(b"0", b"0"),
        Case(b"-1", b"-1"),
        Case(b"unlimited", b"1"),
        Case(b"1e9", b"1"),
        Case("٣".encode(), b"1"),
        Case(b"9" * 16, b"1"),
        Case(b"", b""),
    ],
)
def test_what_cannot_be_read_is_left_out(case):
    """Odd fields are no limits, and never an error."""
    found = readings(
        (
            (b"x-ratelimit-limit-requests", case.limit),
            (b"x-ratelimit-remaining-requests", case.remaining),
            (b"x-ratelimit-reset-requests", case.reset),
        )
    )
    assert len(found) == case.count
    for one in found:
        one.period()
        assert one.remaining <= one.level(MINUTE) <= one.remaining + 1


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (
            "Rate limit reached for m on tokens per min (TPM): Limit 30000, Used 29693, Requested 497.",
            Told(TOKENS, MINUTE, 30_000, 29_693, 497),
        ),
        (
            "Reached for m on requests per day (RPD): Limit 10,000, Used 10,000, Requested 1. Wait.",
            Told(REQUESTS, DAY, 10_000, 10_000, 1),
        ),
        ("Request too large on tokens per min (TPM): Limit 30000, Requested 60000.", None),
        ("on tokens per min (TPM): Limit 0, Used 0, Requested 1", None),
        ("on tokens per min (TPM): Limit ,, Used ,, Requested ,", None),
        ("Please slow down.", None),
    ],
)
def test_the_text_of_a_refusal_tells_limit_and_charge(text, found):
    """Limit, Used and Requested are read with the dimension and the period."""
    assert told(text) == found
