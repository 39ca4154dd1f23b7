"""Scenarios, outages, flapping and set rules, in virtual time; all of it can be replayed."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headworks.simulator import (
    FaultRule,
    Latency,
    Phase,
    Scenario,
    Simulator,
    SimulatorConfig,
)
from headworks.simulator.chance import Chance
from headworks.simulator.faults import is_time
from headworks.simulator.pace import around_one, pace
from headworks.simulator.scenario import NO_PHASE, Course
from headworks.testing import FakeClock
from tests.simulator.conftest import PRICES, Visit

pytestmark = pytest.mark.anyio

CHAT = "/v1/chat/completions"
FIELDS: dict[str, Any] = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello"}]}
BROKEN = FaultRule("status", status=503)


def simulator(clock, **settings) -> Simulator:
    """A simulator in virtual time."""
    return Simulator(SimulatorConfig(prices=PRICES, seed=5, **settings), clock)


async def status(app, clock=None, seconds=0.0, **fields) -> int:
    """Let time pass, make one call, and return its status."""
    if clock is not None:
        clock.advance(seconds)
    visit = Visit(CHAT, FIELDS | fields)
    await visit.run(app)
    return visit.status


async def control(app, method: str, page: str, content: Any = None) -> tuple[int, Any]:
    """Ask for a page under /_simulator/."""
    sent: list[Any] = []
    body = content if isinstance(content, bytes) else msgspec.json.encode(content)

    async def receive():
        return {"type": "http.request", "body": b"" if content is None else body}

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": method, "path": f"/_simulator/{page}", "headers": []}
    await app(scope, receive, send)
    return sent[0]["status"], json.loads(sent[1]["body"])


async def test_phases_follow_by_time_and_by_calls():
    """Ten quiet seconds, then two failures, then quiet again."""
    clock = FakeClock()
    phases = [Phase(seconds=10), Phase(calls=2, faults=[BROKEN]), Phase()]
    app = simulator(clock, scenario=Scenario(phases))

    seen = [await status(app, clock, 4.9) for _ in range(6)]

    assert seen == [200, 200, 503, 503, 200, 200]


async def test_a_scenario_can_begin_again():
    """With `loop` it goes round; phases of time do not drift with the calls."""
    clock = FakeClock()
    phases = [Phase(seconds=3), Phase(seconds=1, faults=[BROKEN])]
    app = simulator(clock, scenario=Scenario(phases, loop=True))

    seen = [await status(app, clock, 0.5) for _ in range(24)]

    assert seen == ([200] * 5 + [503] * 2 + [200]) * 3


async def test_after_the_last_phase_it_is_as_without_a_scenario():
    """The rules of the configuration hold all the time, after those of the phase."""
    clock = FakeClock()
    limited = FaultRule("status", status=429)
    app = simulator(clock, faults=[limited], scenario=Scenario([Phase(calls=1, faults=[BROKEN])]))

    assert [await status(app) for _ in range(3)] == [503, 429, 429]


async def test_a_phase_has_its_own_pace():
    """Latency and speed of a phase hold in it alone."""
    clock = FakeClock()
    slow = Phase(calls=1, latency=Latency(first_token=2.0), speed=0.5)
    app = simulator(clock, scenario=Scenario([slow]))

    start = clock.now()
    await status(app)
    first = clock.now() - start
    await status(app)

    assert (first, clock.now() - start) == (4.0, 4.0)


async def test_an_outage_has_its_time():
    """From second 10 to 20 everything fails."""
    clock = FakeClock()
    app = simulator(clock, faults=[FaultRule("status", start=10.0, until=20.0)])

    seen = [await status(app, clock, 5.0) for _ in range(5)]

    assert seen == [200, 500, 500, 200, 200]


async def test_a_provider_may_flap():
    """Two seconds up, two seconds down."""
    clock = FakeClock()
    app = simulator(clock, faults=[FaultRule("status", start=2.0, every=4.0, lasting=2.0)])

    seen = [await status(app, clock, 1.0) for _ in range(9)]

    assert seen == [200, 500, 500, 200, 200, 500, 500, 200, 200]


async def test_a_brown_out_is_slow():
    """Every wait is so many times longer."""
    clock = FakeClock()
    slow = FaultRule("slow", factor=20.0)
    app = simulator(clock, latency=Latency(0.1), faults=[slow])

    start = clock.now()
    await status(app)

    assert clock.now() - start == pytest.approx(2.0)


@given(
    start=st.floats(0, 100),
    length=st.floats(0.1, 100),
    every=st.floats(0.1, 50),
    at=st.floats(0, 1000),
)
def test_a_rule_holds_in_its_time_alone(start, length, every, at):
    """Never before its start, never from its end on, and half of each up and down."""
    rule = FaultRule("crlf", start=start, until=start + length, every=every)

    expected = start <= at < start + length and (at - start) % every < every / 2
    assert is_time(rule, at) is expected


async def test_the_same_seed_gives_the_same_faults():
    """A run is replayed by its seed, calls in the same order or not."""
    rules = [FaultRule("status", status=503, probability=0.3)]
    names = [f"caller {n % 7}" for n in range(40)]

    async def run(order):
        app = simulator(FakeClock(), faults=rules)
        return [
            (name, await status(app, messages=[{"role": "user", "content": name}]))
            for name in order
        ]

    first, again = await run(names), await run(names)
    other = await run(sorted(names))
    assert first == again
    assert sorted(first) == sorted(other)
    assert {code for _, code in first} == {200, 503}


async def test_rules_are_set_while_it_runs():
    """POST puts rules in force, in YAML as in JSON; GET shows them; DELETE ends them."""
    app = simulator(FakeClock())

    code, told = await control(app, "POST", "faults", b"rules: [{fault: status, status: 418}]")
    assert (code, told["set"]) == (200, [{"fault": "status", "status": 418, "struck": 0}])
    assert await status(app) == 418
    _, told = await control(app, "GET", "faults")
    assert told["set"][0]["struck"] == 1
    assert "cut_after" in told["known"]
    await control(app, "DELETE", "faults")
    assert await status(app) == 200


async def test_set_rules_come_before_all_others():
    """What somebody orders now holds over the scenario and the configuration."""
    app = simulator(
        FakeClock(),
        faults=[FaultRule("status", status=500)],
        scenario=Scenario([Phase(faults=[BROKEN])]),
    )

    assert await status(app) == 503
    await control(app, "POST", "faults", {"rules": [{"fault": "status", "status": 429}]})
    assert await status(app) == 429


async def test_a_scenario_is_set_while_it_runs():
    """POST begins one, GET says where it stands, DELETE ends it."""
    clock = FakeClock()
    app = simulator(clock)
    phases = [{"name": "calm", "seconds": 5}, {"name": "storm", "faults": [{"fault": "status"}]}]

    _, told = await control(app, "POST", "scenario", {"phases": phases})
    assert (told["name"], told["phases"]) == ("calm", 2)
    assert await status(app) == 200
    assert await status(app, clock, 5.0) == 500
    _, told = await control(app, "GET", "scenario")
    assert (told["phase"], told["name"], told["calls"]) == (1, "storm", 1)
    await control(app, "DELETE", "scenario")
    assert await status(app) == 200


async def test_reset_is_as_at_the_start():
    """Attempts, set rules and the place in the scenario are forgotten."""
    app = simulator(FakeClock(), scenario=Scenario([Phase(calls=1, faults=[BROKEN])]))
    await control(app, "POST", "faults", {"rules": [{"fault": "crlf", "model": "gpt-6*"}]})
    assert [await status(app), await status(app)] == [503, 200]

    await control(app, "POST", "reset")

    assert app.books.attempts() == []
    assert (await control(app, "GET", "faults"))[1]["set"] == []
    assert [await status(app), await status(app)] == [503, 200]


@pytest.mark.parametrize(
    ("page", "content", "problem"),
    [
        ("faults", {"rules": [{"fault": "cut_aftr"}]}, "request:1: rules[0].fault: must be one of"),
        ("faults", {"rules": [{"fault": "crlf", "after": 5}]}, "crlf does not use it"),
        ("faults", b"rules: [", "request:2: not valid YAML"),
        ("faults", b"\xff\x00", "request:1: is not UTF-8 text"),
        ("faults", {}, "request:1: rules: is missing"),
        ("scenario", {"phases": []}, "the list is empty"),
        ("scenario", {"phases": [{"seconds": 1, "calls": 1}]}, "not both"),
        ("scenario", {"loop": True, "phases": [{}]}, "only the last phase of all"),
    ],
)
async def test_a_wrong_order_changes_nothing(page, content, problem):
    """It is refused with its reason, and what was in force stays so."""
    app = simulator(FakeClock())
    await control(app, "POST", "faults", {"rules": [{"fault": "status", "status": 418}]})

    code, told = await control(app, "POST", page, content)

    assert code == 400
    assert problem in " ".join(told["problems"])
    assert await status(app) == 418


async def test_unknown_pages_and_methods_are_told():
    """What there is, is listed."""
    app = simulator(FakeClock())

    assert (await control(app, "GET", "nothing"))[0] == 404
    code, told = await control(app, "PATCH", "faults")
    assert (code, told["methods"]) == (405, ["DELETE", "GET", "POST"])


def test_latency_is_spread_around_its_mean():
    """Each request has a pace of its own, the same each time, and the mean is what was asked for."""
    config = SimulatorConfig(latency=Latency(1.0, 10.0, spread=0.5), seed=1)
    drawn = [pace(config, NO_PHASE, "m", ("key", n)).first_token for n in range(4000)]

    assert drawn == [pace(config, NO_PHASE, "m", ("key", n)).first_token for n in range(4000)]
    mean = sum(drawn) / len(drawn)
    spread = (sum((one - mean) ** 2 for one in drawn) / len(drawn)) ** 0.5
    assert mean == pytest.approx(1.0, abs=0.03)
    assert spread == pytest.approx(0.5, abs=0.05)


@given(seed=st.integers(), spread=st.floats(0, 10))
def test_a_draw_is_never_negative(seed, spread):
    """No wait is shorter than none."""
    assert around_one(Chance(seed), spread) >= 0


async def test_a_silent_stream_is_kept_alive():
    """With `ping` the head comes at once, and comments until the first token."""
    clock = FakeClock(jumps=True)
    app = simulator(clock, latency=Latency(first_token=10.0, ping=3.0))
    visit = Visit(CHAT, FIELDS | {"stream": True})
    start = clock.now()

    await visit.run(app)

    assert clock.now() - start == pytest.approx(10.0)
    assert visit.body.count(b": keep-alive\n\n") == 3
    assert visit.body.startswith(b": keep-alive\n\n: keep-alive\n\n: keep-alive\n\ndata: {")


def test_a_course_without_phases_stands_still():
    """Without a scenario there is no phase."""
    course = Course(None, 0, FakeClock())
    course.count()

    assert course.told()["phase"] is None
    assert course.phase == NO_PHASE
