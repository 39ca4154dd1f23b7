"""A provider that says nothing of limits, but can do so much at a time and no more."""

import asyncio
from collections.abc import Callable
from typing import Any

from typing_extensions import override

from headworks.testing import FakeResponse
from headworks.types import Plan, Request, Route
from tests.faults.outage import MAIN, Land, Provider, answered

PLACES, SECONDS, CLIENTS, EVERY = 50, 120.0, 750, 10.0


class Busy(Provider):
    """Does fifty calls at a time, each in a second; more get a 503."""

    under_way = done = refused = 0

    @override
    async def send(self, request: Request, route: Route, remaining: float) -> FakeResponse:
        if self.under_way >= PLACES:
            self.refused += 1
            await asyncio.sleep(0.02)
            raise answered(503, "overloaded")
        self.under_way += 1
        try:
            await asyncio.sleep(1.0)
        finally:
            self.under_way -= 1
        self.done += 1
        self.answers.append(answer := FakeResponse())
        return answer


def test_calls_at_a_time_are_as_many_as_the_provider_can_do(tell: Callable[[str], None]):
    """At one and a half times its load, it is busy, refuses few, and callers get their answers."""
    land = Land(Plan((MAIN,)), lambda _route, _now: None)
    provider: Any = Busy(begun=land.begun)
    land.provider = land.world.upstream = provider
    land.world.engine = land.world.make_engine()
    land.live(CLIENTS, EVERY, SECONDS)
    share = provider.done / (PLACES * SECONDS)
    refused = provider.refused / (provider.done + provider.refused)
    granted = sum(wish.is_granted for wish in land.wishes) / len(land.wishes)
    tell(
        f"50 at a time: {share:.0%} of its time used, {refused:.1%} refused, "
        f"{granted:.1%} of the callers answered"
    )
    assert share >= 0.75
    assert refused <= 0.1
    assert granted >= 0.95
