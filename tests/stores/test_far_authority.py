"""Limits that are kept elsewhere keep the same promises: calls wait for the answer, that is all."""

import pytest

from headworks.core.admission import Rules
from headworks.errors import RateLimited
from headworks.stores.limits import MemoryLimits
from headworks.testing import FakeClock
from headworks.types import Call, Caller, RateLimits, Request, Usage
from tests.stores.contracts.limits import *  # noqa: F403 - the contract's tests
from tests.stores.far import FarAuthority


@pytest.fixture
def authority_of():
    return FarAuthority


@pytest.mark.anyio
async def test_calls_are_limited_by_an_authority_elsewhere():
    """A call is let in, counted, put right and refused as in one process, and told how it stands."""
    clock = FakeClock()
    limits = MemoryLimits(clock, FarAuthority(clock))
    limits.adopt(Rules(organisation=RateLimits(rpm=2, tpm=100)))
    call = Call(
        "c1", Request("POST", "/v1/x", fields={"max_tokens": 80}), 0.0, 0.0, Caller("web", "k")
    )
    assert limits.reserve_nowait(call, Usage(10, 80)) is None

    first = await limits.reserve(call, Usage(10, 80))
    with pytest.raises(RateLimited, match="Limit 100, Used 90, Requested 30") as caught:
        await limits.reserve(call, Usage(30, 0))
    assert limits.forecast(call, Usage(30, 0), lambda _: (1, 30)) is None
    first.settle(Usage(10, 5))
    await limits.reserve(call, Usage(30, 0))

    assert caught.value.period == 60.1
    assert dict(call.rates)[b"x-ratelimit-remaining-tokens"] == b"55"
    assert limits.statistics().in_flight == 1
