"""How late is late, how many second attempts there may be, and which of two failures tells more."""

import math
import random

from hypothesis import given
from hypothesis import strategies as st

from headworks.core.hedging import ENOUGH, KEPT, Allowance, Hedges, Times, weight
from headworks.errors import (
    AnswerFiltered,
    ConnectionLost,
    CredentialRefused,
    FirstByteTimeout,
    LedgerUnavailable,
    Retry,
    UpstreamAnswered,
)
from headworks.types import Route


@given(st.lists(st.floats(0, 1000), min_size=ENOUGH, max_size=3 * KEPT))
def test_the_percentile_is_that_of_the_last_thousand(seconds):
    """Exactly 95 of 100 answers lately took no longer; what is older is forgotten."""
    times = Times()
    for one in seconds:
        times.observe(one)

    latest = sorted(seconds[-KEPT:])
    assert times.p95 == latest[math.ceil(len(latest) * 95 / 100) - 1]


def test_few_answers_prove_nothing():
    """Without a hundred observations there is no percentile."""
    times = Times()
    for _ in range(ENOUGH - 1):
        times.observe(1.0)

    assert times.p95 is None
    times.observe(1.0)
    assert times.p95 == 1.0


@given(st.floats(0.001, 1.0), st.integers(0, 2**32), st.floats(0.0, 1.0))
def test_the_share_is_never_exceeded(share, seed, eagerness):
    """At each moment second attempts are within their share: of all requests, and of the last 1,000."""
    allowance, chance = Allowance(), random.Random(seed)
    made: list[int] = []
    for number in range(1, 2500):
        allowance.deposit()
        while chance.random() < eagerness and allowance.has_left(share):
            allowance.withdraw()
            made.append(number)
        lately = sum(number - KEPT < one for one in made[-KEPT:])
        assert len(made) <= share * number + 1e-9
        assert lately <= share * min(number, KEPT) + 1e-9


def test_the_share_is_used():
    """One in twenty may be sent twice, and is if it is asked for."""
    allowance, made = Allowance(), 0
    for _ in range(10_000):
        allowance.deposit()
        if allowance.has_left(0.05):
            allowance.withdraw()
            made += 1
    assert made == 500


def test_credentials_of_a_model_learn_together_and_streams_apart():
    """What decides is the upstream, the model and whether it streams."""
    hedges = Hedges()
    main, spare = Route("up", "big", "main"), Route("up", "big", "spare")

    assert hedges.times(main, stream=False) is hedges.times(spare, stream=False)
    assert hedges.times(main, stream=False) is not hedges.times(main, stream=True)
    assert hedges.times(main, stream=True) is not hedges.times(
        Route("up", "x", "main"), stream=True
    )
    assert hedges.allowance("a") is hedges.allowance("a") is not hedges.allowance("b")


def test_what_a_provider_said_tells_most():
    """Of two failures the one that decides is a provider's word about itself, then a lost connection."""
    said, lost = weight(CredentialRefused()), weight(ConnectionLost())
    misfit = UpstreamAnswered(
        "m",
        status=400,
        type="t",
        code="unsupported_value",
        failure="request",
        retry=Retry.OTHER_ROUTE,
    )
    least = {weight(AnswerFiltered()), weight(LedgerUnavailable()), weight(misfit)}

    assert said > lost == weight(FirstByteTimeout()) > max(least)
