"""What a provider says of its limits holds for all who draw on them, and for nobody else."""

import pytest

from headworks import errors
from headworks.core.breaker import NEVER_OPEN
from headworks.core.demand import Demand
from headworks.core.upstream_bucket import Caps
from headworks.stores.health import MemoryHealth
from headworks.stores.health_admission import Admission
from headworks.stores.health_track import HealthRules
from headworks.testing import FakeClock, SeededRandom
from headworks.types import Plan, Refusal, Request, Route, Usage
from tests.stores.routes import place, state

ONE, TWO = Route("up", "big", "one"), Route("up", "big", "two")
DATED, OTHER = Route("up", "big-2026-01-31", "one"), Route("up", "small", "one")
_PATH = "/v1/embeddings"


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def health(clock):
    return MemoryHealth(clock, SeededRandom(), {"up": HealthRules(has_peers=True)})


def demand(tokens: int = 100) -> Demand:
    return Demand(Request("POST", _PATH, fields={"model": "m"}), Usage(tokens))


def fields(left: int, limit: int = 6000) -> tuple[tuple[bytes, bytes], ...]:
    return (
        (b"x-ratelimit-limit-tokens", b"%d" % limit),
        (b"x-ratelimit-remaining-tokens", b"%d" % left),
        (b"x-ratelimit-reset-tokens", b"%dms" % ((limit - left) * 60_000 // limit)),
    )


def send(health: MemoryHealth, route: Route = ONE, tokens: int = 100) -> Admission:
    admission = health.admit(route, demand(tokens))
    assert isinstance(admission, Admission)
    return admission


def hear(health: MemoryHealth, route: Route, left: int) -> None:
    admission = send(health, route)
    admission.heard(fields(left))
    admission.answered()
    admission.settle()


def answered(
    code: str, failure: errors.Failure, *said: tuple[bytes, bytes]
) -> errors.UpstreamError:
    error = errors.UpstreamAnswered("m", status=429, type="t", code=code, failure=failure)
    error.said = said
    return error


def wait(health: MemoryHealth, route: Route = ONE, tokens: int = 100) -> float:
    refusal = health.refusal(route, demand(tokens))
    return 0.0 if refusal is None else refusal.wait


def test_a_call_that_does_not_fit_is_told_when_it_will(health, clock):
    """A refusal says for how long; whoever comes then goes."""
    hear(health, ONE, 100)
    assert health.refusal(ONE, demand(200)) == health.admit(ONE, demand(200))
    assert wait(health, tokens=200) == pytest.approx(4.0, abs=0.1)
    clock.advance(4.1)
    send(health, tokens=200)


def test_limits_are_those_of_an_account_and_of_a_model(health):
    """Dated snapshots share them; other models and other credentials have their own."""
    hear(health, ONE, 100)
    assert wait(health, DATED, 200) > 0
    assert [wait(health, route, 200) for route in (OTHER, TWO)] == [0.0, 0.0]


def test_credentials_of_one_project_share_limits(clock):
    """Two keys of one project are one account."""
    rules = HealthRules(accounts={"one": "p", "two": "p"})
    health = MemoryHealth(clock, SeededRandom(), {"up": rules})
    hear(health, ONE, 100)
    assert wait(health, TWO, 200) > 0


def test_an_error_tells_of_limits_too(health):
    """Every answer corrects what is known, a refused request's as well."""
    hear(health, ONE, 6000)
    send(health).settle(answered("x", "request", *fields(100)))
    assert wait(health, tokens=200) > 0


def test_what_was_not_sent_took_nothing(health):
    """Neither a connection that did not come about nor an attempt that the ledger refused."""
    hear(health, ONE, 6000)
    before = state(health, ONE).limits[0].left
    send(health, tokens=3000).settle(errors.ConnectFailed())
    send(health, tokens=3000).settle(errors.LedgerUnavailable())
    assert state(health, ONE).limits[0].left == before
    send(health, tokens=3000).settle(errors.ConnectionLost())
    assert state(health, ONE).limits[0].left == before - 3000


def test_the_credential_with_more_room_comes_first(health):
    """Within one place, credentials are equals; places stay in their order."""
    plan = Plan((ONE, TWO, OTHER))
    assert health.by_room(plan) is plan
    hear(health, ONE, 1000)
    assert health.by_room(plan).routes == (TWO, ONE, OTHER)
    hear(health, TWO, 500)
    assert health.by_room(plan).routes == (ONE, TWO, OTHER)
    assert health.by_room(Plan((TWO,))).routes == (TWO,)
    spread = Plan((ONE, OTHER, TWO))
    assert health.by_room(spread) is spread


def test_the_line_is_shown(health):
    """Operators see what is known of the limits, and how many wait."""
    hear(health, ONE, 1000)
    asked = demand(3000)
    assert isinstance(health.admit(ONE, asked), Refusal)
    health.line_up(ONE, asked)
    (limit,) = state(health, ONE).limits
    assert (limit.measure, limit.limit, limit.seconds, limit.is_learned) == ("tokens", 6000, 60.0, True)  # fmt: skip
    assert limit.left == pytest.approx(1000, abs=2)
    assert (state(health, ONE).waiting, place(health).waiting) == (1, 1)
    asked.leave()
    assert place(health).waiting == 0


def test_a_breaker_that_is_off_or_closed_by_hand_forgets_what_was_learned(health, clock):
    """What the operator lifts holds nobody back any more; what he allows holds on."""
    for lift in (lambda: health.force("up", "closed"), lambda: health.adopt({"up": HealthRules(NEVER_OPEN)})):  # fmt: skip
        hear(health, ONE, 0)
        assert wait(health) > 0
        lift()
        assert wait(health) == 0
        health.force("up", "auto")
        clock.advance(1)
    hear(health, ONE, 0)
    assert wait(health) == 0
    health.adopt({"up": HealthRules(NEVER_OPEN, caps={"one": Caps(rpm=1)})})
    send(health)
    assert wait(health) > 30


def test_several_calls_that_were_too_many_make_it_fewer(health, clock):
    """Overload lowers the calls at a time; one failure among many does not."""
    busy = answered("server_is_overloaded", "overloaded")
    busy.status = 503
    calls = [send(health) for _ in range(60)]
    for one in calls[:18]:
        one.settle()
    calls[18].settle(busy)
    assert state(health, ONE).most is None
    calls[19].settle(busy)
    assert state(health, ONE).most == pytest.approx(0.7 * 41)
    assert wait(health) > 0
    for one in calls[20:]:
        one.settle()
    assert wait(health) == 0
