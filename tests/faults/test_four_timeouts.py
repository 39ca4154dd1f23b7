"""The four waits, each by its own clock: exact to a hundredth, told by its own code, counted once."""

import asyncio
import json
from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headworks.types import Timeouts
from tests.faults.simworld.network import Fate, Weather
from tests.faults.stage import Stage
from tests.upstream.scripted import Script, Wire, chunked, whole

TIMEOUTS = Timeouts(connect=3.0, first_byte=20.0, idle=7.0, total=60.0)
LONGER = replace(
    TIMEOUTS,
    by_type=(("chat.completions", Timeouts(connect=9.0, first_byte=50.0, idle=30.0, total=120.0)),),
)
FOR_WHOLE = replace(TIMEOUTS, first_byte_whole=15.0)
FACES = ("gateway", "inprocess")
JSON = b"content-type: application/json\r\n"
HEAD = chunked()[:-5].replace(b"\r\n", b"\r\ncontent-type: text/event-stream\r\n", 1)
MESSAGES = [{"role": "user", "content": "Hi"}]


def piece(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def event(text: str, finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": {"content": text} if text else {}, "finish_reason": finish}
    return piece(b"data: " + json.dumps({"id": "c", "choices": [choice]}).encode() + b"\n\n")


ANSWER = {
    "id": "c",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Well."}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3},
}  # fmt: skip
WHOLE = whole(json.dumps(ANSWER).encode(), fields=JSON)
STREAM = HEAD + event("Well.") + event("", "stop") + piece(b"data: [DONE]\n\n") + b"0\r\n\r\n"


async def silent(wire: Wire) -> None:
    """Take the request and say nothing."""
    await wire.request()


async def kept_alive(wire: Wire) -> None:
    """Announce a stream, and then only that one is still there."""
    await wire.request()
    await wire.send(HEAD + event(""))
    while True:
        await asyncio.sleep(1.0)
        await wire.send(piece(b": keep-alive\n\n"))


async def stalls(wire: Wire) -> None:
    """Say something after five seconds, and then nothing more."""
    await wire.request()
    await asyncio.sleep(5.0)
    await wire.send(HEAD + event("Well"))


async def spoke(wire: Wire) -> None:
    """Say something at once, and then nothing more."""
    await wire.request()
    await wire.send(HEAD + event("Well"))


async def half(wire: Wire) -> None:
    """Send half of a whole answer after five seconds."""
    await wire.request()
    await asyncio.sleep(5.0)
    await wire.send(WHOLE[:-20])


async def endless(wire: Wire) -> None:
    """Say a word every five seconds, for ever."""
    await wire.request()
    await wire.send(HEAD)
    while True:
        await wire.send(event("so "))
        await asyncio.sleep(5.0)


async def well(wire: Wire) -> None:
    """Answer as one should."""
    while True:
        is_stream = b'"stream":true' in (await wire.request()).replace(b" ", b"")
        await wire.send(STREAM if is_stream else WHOLE)


CALM, DROPPED = Weather(), Weather(fate="silent")


@dataclass(frozen=True)
class Case:
    """How an upstream is late, and after how many seconds who is told what."""

    name: str
    kind: str
    code: str
    seconds: float
    script: Script = silent
    stream: bool = True
    weather: Weather = CALM
    timeouts: Timeouts = TIMEOUTS
    deadline: str = ""
    status: int = 504


CONNECT, FIRST = "upstream_connect_timeout", "upstream_first_byte_timeout"
IDLE, TOTAL = "upstream_idle_timeout", "deadline_exceeded"
CASES = (
    Case("no connection, stream", "connect", CONNECT, 3.0, weather=DROPPED),
    Case("no connection, whole", "connect", CONNECT, 3.0, stream=False, weather=DROPPED),
    Case("no head, stream", "first_byte", FIRST, 20.0),
    Case("no head, whole", "first_byte", FIRST, 15.0, stream=False, timeouts=FOR_WHOLE),
    Case("no content", "first_byte", FIRST, 20.0, kept_alive),
    Case("stalled stream", "idle", IDLE, 12.0, stalls, status=200),
    Case("stalled answer", "idle", IDLE, 12.0, half, stream=False),
    Case("endless stream", "total", TOTAL, 60.0, endless, status=200),
    Case("no answer", "total", TOTAL, 60.0, stream=False),
    Case("no answer, caller's deadline", "total", TOTAL, 11.0, stream=False, deadline="11s"),
    Case("no head, caller's deadline", "total", TOTAL, 11.0, deadline="11s"),
    Case("endless, caller's deadline", "total", TOTAL, 33.0, endless, status=200, deadline="33s"),
    Case("no connection, caller's deadline", "total", TOTAL, 2.0, weather=DROPPED, deadline="2s"),
    Case("no connection, by type", "connect", CONNECT, 9.0, weather=DROPPED, timeouts=LONGER),
    Case("no head, by type", "first_byte", FIRST, 50.0, timeouts=LONGER),
    Case("stalled, by type", "idle", IDLE, 35.0, stalls, status=200, timeouts=LONGER),
    Case("no answer, by type", "total", TOTAL, 120.0, stream=False, timeouts=LONGER),
)


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_each_wait_is_exact_and_has_its_own_code(case: Case, face: str):
    """To a hundredth: I wait as long as was configured, and learn which wait it was."""
    stage = Stage(
        {} if case.weather.fate else {"first": case.script},
        case.timeouts,
        {"first": case.weather},
        attempts=1,
        routes=("first",),
    )

    async def play(stage: Stage):
        headers = {"x-headworks-deadline": case.deadline} if case.deadline else {}
        return await stage.ask(face, stream=case.stream, messages=MESSAGES, headers=headers)

    answer, seconds = stage.run(play)
    assert seconds == pytest.approx(case.seconds, rel=0.01)
    assert answer.status_code == case.status
    if case.status == 200:
        *_, last = [line for line in answer.text.splitlines() if line]
        assert "[DONE]" not in answer.text
        error = json.loads(last.removeprefix("data: "))["error"]
    else:
        error = answer.json()["error"]
    assert error["code"] == case.code
    assert stage.counted() == {("first", "gpt-6-sol", case.kind): 1.0}


@pytest.mark.parametrize("case", CASES[2:11], ids=lambda case: case.name)
def test_who_is_given_up_is_told_so_at_once(case: Case):
    """When a wait is over the provider's connection closes: it need not work for nobody."""
    stage = Stage({"first": case.script}, case.timeouts, attempts=1, routes=("first",))

    async def play(stage: Stage):
        headers = {"x-headworks-deadline": case.deadline} if case.deadline else {}
        await stage.ask("gateway", stream=case.stream, messages=MESSAGES, headers=headers)
        return stage.loop.time()

    over = stage.run(play)
    [(_, left)] = stage.left
    assert left - over <= 0.1


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
@pytest.mark.parametrize("fate", ["refused", "silent", "unknown"])
def test_an_upstream_that_cannot_be_reached_is_replaced(fate: Fate, *, stream: bool, face: str):
    """Refused, dropped or without an address: the fallback answers, within my deadline."""
    stage = Stage({"second": well}, TIMEOUTS, {"first": Weather(fate=fate)})

    async def play(stage: Stage):
        headers = {"x-headworks-deadline": "12s"}
        return await stage.ask(face, stream=stream, messages=MESSAGES, headers=headers)

    answer, seconds = stage.run(play)
    assert answer.status_code == 200
    assert ("data: [DONE]" in answer.text) is stream
    assert seconds <= 12.1
    assert [name for name, _ in stage.asked] == ["second"]
    lost = {("first", "gpt-6-sol", "connect"): float(answer.headers["x-headworks-attempts"]) - 1}
    assert stage.counted() == (lost if fate == "silent" else {})


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize("fate", ["refused", "silent", "unknown"])
def test_nobody_waits_beyond_the_deadline_for_a_connection(fate: Fate, face: str):
    """With no other upstream I am told what failed, at my deadline at the latest."""
    stage = Stage({}, TIMEOUTS, {"first": Weather(fate=fate)}, routes=("first",))

    async def play(stage: Stage):
        headers = {"x-headworks-deadline": "4s"}
        return await stage.ask(face, messages=MESSAGES, headers=headers)

    answer, seconds = stage.run(play)
    known = {CONNECT, TOTAL} if fate == "silent" else {"upstream_unreachable"}
    assert answer.json()["error"]["code"] in known
    assert seconds <= 4.1


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize("script", [silent, kept_alive])
def test_a_silent_stream_that_another_route_makes_good_is_counted(script: Script, face: str):
    """My call succeeds at the fallback, and the operator still sees which wait was over, where."""
    stage = Stage({"first": script, "second": well}, TIMEOUTS)
    answer, seconds = stage.run(lambda one: one.ask(face, stream=True, messages=MESSAGES))
    assert "data: [DONE]" in answer.text
    assert seconds == pytest.approx(20.0, rel=0.01)
    assert stage.counted() == {("first", "gpt-6-sol", "first_byte"): 1.0}


@pytest.mark.parametrize("face", FACES)
def test_a_fallback_gets_what_is_left_of_the_time(face: str):
    """Two upstreams that are both silent cannot make my call last longer than I said."""
    stage = Stage({"first": silent, "second": silent}, TIMEOUTS)

    async def play(stage: Stage):
        headers = {"x-headworks-deadline": "30s"}
        return await stage.ask(face, stream=True, messages=MESSAGES, headers=headers)

    answer, seconds = stage.run(play)
    assert answer.json()["error"]["code"] == TOTAL
    assert seconds == pytest.approx(30.0, rel=0.01)
    kinds = {("first", "gpt-6-sol", "first_byte"): 1.0, ("second", "gpt-6-sol", "total"): 1.0}
    assert stage.counted() == kinds


@given(st.floats(0.5, 100.0), st.floats(0.5, 100.0), st.floats(0.5, 300.0))
def test_any_waits_are_exact(first_byte: float, idle: float, total: float):
    """Whatever is configured: the shortest wait that applies ends the call, to a hundredth."""
    waits = Timeouts(connect=3.0, first_byte=first_byte, idle=idle, total=total)
    for script, expected in ((silent, min(first_byte, total)), (spoke, min(idle, total))):
        stage = Stage({"first": script}, waits, attempts=1, routes=("first",))
        _, seconds = stage.run(lambda one: one.ask("gateway", stream=True, messages=MESSAGES))
        assert seconds == pytest.approx(expected, rel=0.01)


def test_an_upstream_that_hangs_by_the_wait_of_a_type_is_found_out():
    """Calls that their own type's `total` ends are the provider's failures, not their callers'."""
    quick = replace(TIMEOUTS, by_type=(("embeddings", replace(TIMEOUTS, total=2.0)),))
    stage = Stage({"first": silent}, quick, routes=("first",))

    async def play(stage: Stage):
        for _ in range(3):
            answer, seconds = await stage.ask("gateway", "/v1/embeddings", input="x")
            assert answer.json()["error"]["code"] == TOTAL
            assert seconds == pytest.approx(2.0, rel=0.01)
        headers = {"x-headworks-deadline": "1s"}
        await stage.ask("gateway", "/v1/embeddings", input="x", headers=headers)
        upstream = next(one for one in stage.world.health.statistics() if one.name == "first")
        return upstream.routes[0].failures

    assert stage.run(play) == 3
