"""Limits of a provider are kept by all calls together, and no caller waits longer than that takes."""

import json

import pytest

from headworks.core.classify import classify
from headworks.core.routing import NamedRouter, Target
from headworks.errors import UpstreamError
from headworks.types import Plan, Timeouts
from tests.drill import FIRST, MAIN, SECOND, SPARE, Drill
from tests.world import CHAT, TWO_ROUTES, World

URL = "/v1/chat/completions"
ONE_ROUTE = Plan(TWO_ROUTES.routes[:1])


def answered(status: int, code: str = "", message: str = "m") -> UpstreamError:
    error = {"message": message, "type": None, "code": code or None, "param": None}
    return classify(status, (), json.dumps({"error": error}).encode(), now=0.0)


def slower_once(plan: Plan) -> Drill:
    """Return steady traffic whose provider says `slow_down` at second 10, for a moment."""
    drill = Drill(
        plan,
        lambda route, now: (
            answered(429, "slow_down") if 10 <= now < 10.2 and route.upstream != "second" else None
        ),
    )
    return drill.traffic(20, 60)


def test_slow_down_is_obeyed_by_all_calls():
    """An only route gets 0.7 of its traffic, evenly; the others wait in line, and all are answered."""
    drill = slower_once(Plan((MAIN,)))

    assert drill.goodput(0, 60) == 1.0
    for begin in range(11, 60, 7):
        assert drill.attempts(begin, begin + 7) == pytest.approx(0.7 * 20 * 7, rel=0.04)
    late = [one.seconds for one in drill.calls if one.begun >= 11]
    assert late == sorted(late)
    assert max(late) < 0.35 * 50 / 0.7
    assert max(len(call.trail) for call in drill.world.journal.calls) <= 2
    drill.world.assert_settled()


def test_slow_down_sends_the_rest_to_a_fallback():
    """With another model behind it, nobody waits longer than the first one is worth."""
    drill = slower_once(Plan((FIRST, SECOND), patience=5.0))

    assert drill.goodput(0, 60) == 1.0
    assert drill.attempts(30, 60, "first") == pytest.approx(0.7 * 20 * 30, rel=0.04)
    assert drill.attempts(30, 60, "second") == pytest.approx(0.3 * 20 * 30, rel=0.1)
    assert max(one.seconds for one in drill.calls) < 5.8
    assert drill.passed_over() == {"cooling"}


def test_slow_down_sends_the_rest_to_another_credential_at_once():
    """The same model is had elsewhere: nobody waits but for who met it."""
    drill = Drill(
        Plan((MAIN, SPARE)),
        lambda route, now: (
            answered(503, "slow_down") if route is MAIN and 10 <= now < 10.2 else None
        ),
    ).traffic(20, 40)

    assert drill.goodput(0, 40) == 1.0
    assert max(one.seconds for one in drill.calls) < 1
    asked = [route.credential for now, route in drill.provider.seen if now - drill.begun >= 20]
    assert asked.count("main") / len(asked) == pytest.approx(0.7, abs=0.06)


def test_a_lasting_slow_down_is_no_standstill():
    """However long a provider goes on so, a part of the traffic still looks, and no storm does."""
    drill = Drill(
        Plan((MAIN,)), lambda _r, now: answered(429, "slow_down") if 10 <= now < 60 else None
    )
    drill.traffic(20, 120)

    assert 50 * 20 * 0.2 < drill.attempts(10, 60) < 50 * 20 * 0.4
    assert drill.attempts(60, 120) >= 0.24 * 60 * 20
    assert max(one.seconds for one in drill.calls) < 65
    assert max(len(call.trail) for call in drill.world.journal.calls) <= 8
    drill.world.assert_settled()


def test_limits_without_advice_do_not_hold_a_fallback_up():
    """While one route limits without a word others take over at once, and it is looked at seldom."""
    drill = Drill(
        Plan((MAIN, SPARE)),
        lambda route, now: answered(429) if route is MAIN and 10 <= now < 70 else None,
    ).traffic(20, 90)

    assert drill.goodput(0, 90) == 1.0
    asked = [now - drill.begun for now, route in drill.provider.seen if route is MAIN]
    assert sum(10 <= now < 70 for now in asked) <= 120
    assert sum(80 <= now < 90 for now in asked) == pytest.approx(200, abs=2)
    assert max(one.seconds for one in drill.calls) < 2


def test_an_only_route_that_limits_without_advice_is_not_besieged():
    """Calls come back one by one as they came; nobody waits for ever, and after it all is well."""
    drill = Drill(Plan((MAIN,)), lambda _r, now: answered(429) if 10 <= now < 25 else None)
    drill.traffic(20, 60)

    assert drill.attempts(11, 25) <= 0.5 * 14 * 20
    assert drill.goodput(26, 60) == 1.0
    assert drill.goodput(10, 25) > 0.8
    assert max(drill.attempts(second, second + 1) for second in range(25, 60)) <= 5 * 20


def test_nobody_waits_for_ever_for_an_only_route():
    """A limit that lasts is told after a minute of waiting, whatever the call's deadline."""
    drill = Drill(Plan((MAIN,)), lambda _route, _now: answered(429)).traffic(2, 200)

    assert max(one.seconds for one in drill.calls) < 75
    codes = {one.error.code or str(one.error.status) for one in drill.calls if one.error}
    assert codes <= {"429", "upstream_cooling_down"}
    assert drill.goodput(0, 200) == 0


def world_of(plan: Plan) -> World:
    return World(NamedRouter({"up": Target(("main",), Timeouts())}, {"m": plan}))


@pytest.mark.anyio
@pytest.mark.parametrize("face", ["gateway", "inprocess"])
@pytest.mark.parametrize("plan", [ONE_ROUTE, TWO_ROUTES], ids=["one route", "two routes"])
@pytest.mark.parametrize(
    "error",
    [
        ("failed_to_download_image", "m"),
        ("invalid_image_url", "Error while downloading https://x/y.png."),
    ],
    ids=lambda error: error[0],
)
async def test_a_picture_that_cannot_be_fetched_is_tried_once_more(face, plan, error):
    """Its host may have had a bad moment; a second one is the caller's to mend."""
    world = world_of(plan)
    world.upstream.script = [answered(400, *error) for _ in range(3)]
    async with world.client(face) as client:
        response = await client.post(URL, json=CHAT)
        again = await client.post(URL, json=CHAT)

    assert world.routes[:2] == ["first/big"] * 2
    assert (response.status_code, response.json()["error"]["code"]) == (400, error[0])
    assert (response.headers["x-headworks-attempts"], response.headers["x-should-retry"]) == ("2", "false")  # fmt: skip
    assert (again.status_code, again.headers["x-headworks-attempts"]) == (200, "2")


@pytest.mark.anyio
@pytest.mark.parametrize("face", ["gateway", "inprocess"])
@pytest.mark.parametrize("statuses", [(401, 401), (403, 401), (402, 403), (401, 402)], ids=str)
async def test_callers_do_not_suspect_their_own_key(face, statuses):
    """Where the provider refuses each of our credentials the answer names whose trouble it is."""
    world = world_of(TWO_ROUTES)
    world.upstream.script = [answered(status) for status in statuses]
    async with world.client(face) as client:
        response = await client.post(URL, json=CHAT)

    assert world.routes == ["first/big", "second/small"]
    error = response.json()["error"]
    assert (response.status_code, error["code"]) == (502, "upstream_credentials_exhausted")
    assert "The caller's key is fine" in error["message"]
    assert all(str(status) in error["message"] for status in statuses if status != 401)
    assert response.headers["x-should-retry"] == "false"
    assert sum(world.clock.slept) == 0
