"""While a model thinks, the way to its caller stays open, and failures are still made good."""

import asyncio
import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headworks.core.sse import KEEP_ALIVE
from headworks.errors import ConnectionLost
from headworks.testing import WHOLE, FakeResponse
from headworks.types import Commit, Plan, Presence, Route
from tests.relaying import END, Spoken, Stage, Turn, chunk
from tests.world import TWO_ROUTES

ANSWER = ((0.0, chunk("Hel")), (0.5, chunk("lo")), (1.0, END))
HELLO = chunk("Hel") + chunk("lo") + END


def spoken(*script) -> Spoken:
    return Spoken(script=script or ANSWER)


def lost() -> ConnectionLost:
    return ConnectionLost("gone")


def test_a_model_may_think_for_five_minutes():
    """Every 15 s a comment, until the content and not beyond; the wait ends nowhere but there."""
    answer = spoken((300.0, chunk("Hel")), (340.0, chunk("lo")), (341.0, END))
    stage = Stage(Turn(0.0, answer))

    assert stage.run(stage.carry()) == KEEP_ALIVE * 19 + HELLO
    assert stage.heard[:20] == [
        *((15.0 * n, KEEP_ALIVE) for n in range(1, 20)),
        (300.0, chunk("Hel")),
    ]
    assert [at for at, _ in stage.heard[20:]] == [340.0, 341.0, 341.0]
    (call,) = stage.world.journal.calls
    assert (call.status, call.outcome) == (200, "completed")
    assert call.answered == stage.begun + 300.0


def test_announcements_of_a_model_that_thinks_change_nothing():
    """A role is no content: it is held, so that the attempt can be repeated, and comments go on."""
    role = chunk("")
    stage = Stage(Turn(0.0, spoken((1.0, role), (20.0, lost()))), Turn(0.0, spoken()))

    assert stage.run(stage.carry()) == KEEP_ALIVE + HELLO


def test_the_head_of_a_late_answer_says_what_is_known():
    """Which route answers, and after how many attempts, is not known yet; the call's id is."""
    stage = Stage(Turn(20.0, spoken()))
    stage.run(stage.carry())

    assert stage.told[b"content-type"] == b"text/event-stream; charset=utf-8"
    assert stage.told[b"x-headworks-call"] == b"call-00000001"
    assert not {b"x-headworks-route", b"x-headworks-attempts"} & stage.told.keys()


def test_an_answer_in_time_is_as_it_was():
    """Nothing is added to an answer that begins before the first comment is due."""
    stage = Stage(Turn(14.9, spoken()))

    assert stage.run(stage.carry()) == HELLO
    assert stage.told[b"x-headworks-route"] == b"first/big"


def test_a_failure_behind_the_head_is_made_good_unseen():
    """The caller has the head and comments when a route fails; another one still answers."""
    stage = Stage(Turn(20.0, lost()), Turn(25.0, spoken()))

    assert stage.run(stage.carry()) == KEEP_ALIVE * 3 + HELLO
    (call,) = stage.world.journal.calls
    assert (call.attempts, call.outcome) == (2, "completed")


def test_a_failure_before_the_head_keeps_its_status():
    """Whoever fails soon is told by a status, which clients can act on."""
    stage = Stage(*(Turn(1.0, lost()) for _ in range(3)))

    assert stage.run(stage.carry()) == b"all_routes_failed"
    assert not stage.heard


def test_the_failure_of_all_routes_behind_the_head_is_an_event():
    """Status 200 has left: the error comes as official clients raise it, and the stream ends."""
    stage = Stage(*(Turn(10.0, lost()) for _ in range(3)))

    said = stage.run(stage.carry())

    event = json.loads(said.removeprefix(KEEP_ALIVE * 2 + b"data: "))
    assert event["error"]["code"] == "all_routes_failed"
    (call,) = stage.world.journal.calls
    assert (call.status, call.outcome, call.answered) == (200, "all_routes_failed", None)


def test_the_failure_of_a_response_has_the_form_of_responses():
    """An `error` event with a number, and no id of a response that nobody has."""
    stage = Stage(*(Turn(10.0, lost()) for _ in range(3)))

    said = stage.run(stage.carry(path="/v1/responses", input="Hi"))

    name, data = said.removeprefix(KEEP_ALIVE * 2).strip().split(b"\n")
    assert name == b"event: error"
    assert json.loads(data.removeprefix(b"data: "))["sequence_number"] == 0


def test_an_answer_that_is_held_back_is_long_in_coming():
    """Where all of a stream is held, comments go on while it is, since nothing has left."""
    plan = Plan((Route("first", "big", "main"),), commit=Commit(None))
    stage = Stage(Turn(0.0, spoken((1.0, chunk("Hel")), (31.0, chunk("lo")), (40.0, END))), plan=plan)  # fmt: skip

    assert stage.run(stage.carry()) == KEEP_ALIVE * 2 + HELLO
    assert [at for at, _ in stage.heard] == [15.0, 30.0, 40.0, 40.0]


def test_no_comment_comes_between_events():
    """Once content has begun, a model that falls silent is silent."""
    stage = Stage(Turn(0.0, spoken((0.0, chunk("Hel")), (100.0, chunk("lo")), (200.0, END))))

    assert stage.run(stage.carry()) == HELLO


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("/v1/chat/completions", {"stream": False}),
        ("/v1/images/generations", {}),
        ("/v1/audio/speech", {}),
    ],
    ids=["a whole answer", "pictures", "sound"],
)
def test_what_may_not_be_a_stream_gets_no_head_before_it(path, fields):
    """What the answer is like is known when it comes."""
    stage = Stage(Turn(20.0, FakeResponse(WHOLE)))

    assert stage.run(stage.carry(path=path, **fields)).endswith(WHOLE)
    assert KEEP_ALIVE not in stage.said


def test_it_can_be_switched_off():
    """With 0 nothing leaves before the answer, however long it takes."""
    stage = Stage(Turn(100.0, spoken()), keep_alive=0.0)

    assert stage.run(stage.carry()) == HELLO


HUGE = b"data: " + b"x" * 50_000


def endless(*before: tuple[float, bytes]) -> Turn:
    pieces = ((1.0 + at / 100, HUGE if at == 0 else b"y" * 50_000) for at in range(200))
    return Turn(0.0, spoken(*before, *pieces))


def test_an_event_of_ten_megabytes_ends_its_stream():
    """What came before it is the caller's; then an error, and the provider is let go."""
    stage = Stage(endless((0.0, chunk("Hel"))))

    said = stage.run(stage.carry())

    assert said.startswith(chunk("Hel") + b'data: {"error"')
    assert b"upstream_malformed_event" in said
    assert stage.heard[-1][0] < 1.3, "it was cut when it was too large, not at its end"


def test_an_event_of_ten_megabytes_before_any_content_is_made_good():
    """Nothing has left yet, so that another attempt answers."""
    stage = Stage(endless(), Turn(0.0, spoken()))

    assert stage.run(stage.carry()) == HELLO


def test_pictures_are_large_events():
    """A stream that may hold pictures is bounded like a whole answer, not like a chat's chunk."""
    wire = b'data: {"b64_json":"' + b"p" * 900_000 + b'"}\n\n'
    small = Stage(Turn(0.0, spoken((0.0, wire))))
    small.engine = replace(
        small.engine, dispatcher=replace(small.engine.dispatcher, most_event=1_000)
    )

    assert small.run(small.carry(path="/v1/images/generations", prompt="p")) == wire


@pytest.mark.parametrize("pieces", range(1, 7))
def test_a_caller_may_leave_at_any_piece(pieces):
    """Comments or content, the first or the last: the provider is let go, and the row settled."""
    stage = Stage(Turn(20.0, lost()), Turn(25.0, spoken()))

    stage.run(stage.carry(pieces=pieces))

    assert len(stage.heard) == pieces
    assert [row.closings for row in stage.world.ledger.rows] in ([1], [1, 1])


@given(st.floats(0.0, 62.0), st.booleans())
def test_a_call_may_be_cancelled_at_any_time(seconds, twice):
    """However long it has waited and whatever it has got: all is closed, once."""
    turns = (Turn(20.0, lost()), Turn(25.0, spoken((10.0, chunk("Hel")), (11.0, END))))
    stage = Stage(*turns)

    async def cancelled() -> None:
        task = asyncio.ensure_future(stage.carry())
        await asyncio.sleep(seconds)
        task.cancel()
        if twice:
            await asyncio.sleep(0.0)
            task.cancel()
        await asyncio.wait((task,))
        assert [row for row in stage.world.ledger.rows if row.is_open] == [], "an attempt runs on"

    stage.run(cancelled())

    assert len(stage.world.journal.calls) == 1


@pytest.mark.parametrize("cancels", [1, 2, 3])
@pytest.mark.parametrize("seconds", [5.0, 20.0])
def test_nothing_runs_on_when_a_call_is_over(seconds, cancels):
    """However often it is cancelled, a call ends behind its attempt, whose end may take a while."""
    stage, ended = Stage(Turn(0.0, spoken())), list[float]()

    async def send(*_: object) -> FakeResponse:
        try:
            await asyncio.sleep(100.0)
        finally:
            await asyncio.sleep(1.0)
            ended.append(stage.loop.time())
        raise lost()

    stage.upstream.send = send  # type: ignore[method-assign,assignment] # an attempt that is slow to end

    async def cancelled() -> None:
        task = asyncio.ensure_future(stage.carry())
        await asyncio.sleep(seconds)
        for _ in range(cancels):
            task.cancel()
            await asyncio.sleep(0.1)
        await asyncio.wait((task,))
        assert ended == [stage.loop.time()] == [stage.begun + seconds + 1.0]

    stage.run(cancelled())


def test_a_caller_who_leaves_a_key_that_drains():
    """While an attempt is under way behind the head, its answer is read to its end and booked."""
    stage = Stage(Turn(20.0, spoken()))
    presence = Presence()

    async def left() -> None:
        task = asyncio.ensure_future(stage.carry(presence))
        await asyncio.sleep(17.0)
        presence.credit = 1_000
        assert presence.leave()
        await task

    stage.run(left())

    (call,) = stage.world.journal.calls
    assert call.outcome == "drained"
    assert TWO_ROUTES.routes[0] == call.route
