"""A summary is a call like any other: booked, recorded, bounded, and given up without harm."""

import asyncio
import json

import pytest

from headworks.context.summaries import TAG, Summaries
from headworks.testing import WHOLE, FakeResponse
from headworks.types import Call, Caller, RateLimits, Request, Tags
from tests.upstream.scripted import ticks
from tests.world import FakeEstimator, World

pytestmark = pytest.mark.anyio
ODD = [
    b'{"choices": 1}',
    b'{"choices": []}',
    b'{"choices": [{"message": {"content": null}}]}',
    b"[]",
    b'{"choices": [{"message": {"content": "\xff"}}]}',
]
PARENT = Request("POST", "/v1/chat/completions", tags=Tags("search", "u42", tags=("a",)), timeout=8.0)  # fmt: skip


@pytest.fixture
def world():
    return World()


def summaries(world: World) -> Summaries:
    return Summaries(world.engine.dispatcher, FakeEstimator(), world.limits, world.journal, world.clock, world.random)  # fmt: skip


def parent(world: World) -> Call:
    return Call("parent", PARENT, world.clock.now(), 0.0, caller=Caller("app", "k1"))


async def test_a_summary_is_asked_for_in_the_caller_s_name(world):
    """It has the key and the tags of the call that needs it, and half of its time."""
    call = parent(world)
    text, id_ = await summaries(world).summarise("user: Hi", "m", call)
    (sent,), (made,) = world.upstream.sent, world.journal.calls
    assert text == json.loads(WHOLE)["choices"][0]["message"]["content"]
    assert (made.id, made.caller, made.outcome, made.status) == (id_, call.caller, "completed", 200)
    assert sent.remaining == 4.0
    assert sent.request.tags == Tags("search", "u42", tags=("a", TAG))
    assert json.loads(sent.request.content) == sent.request.fields
    assert sent.request.fields["messages"][1] == {"role": "user", "content": "user: Hi"}
    assert call.attempts == 0
    world.assert_settled()


@pytest.mark.parametrize("answer", ODD)
async def test_an_answer_that_says_nothing_is_no_summary(world, answer):
    """Whatever the cheap model answers, the call that needs it goes on."""
    world.upstream.script = [FakeResponse(answer)]
    assert (await summaries(world).summarise("x", "m", parent(world)))[0] == ""
    world.assert_settled()


async def test_a_key_that_may_not_call_gets_no_summary(world):
    """A summary counts against its key's limits: who is over them causes no paid calls."""
    call = parent(world)
    call.caller = Caller("app", "k1", limits=RateLimits(rpm=1))
    assert (await summaries(world).summarise("x", "m", call))[0]
    assert (await summaries(world).summarise("x", "m", call))[0] == ""
    assert world.journal.outcomes == ["completed", "rate_limit_exceeded"]
    assert len(world.upstream.sent) == 1
    world.assert_settled()


async def test_a_late_summary_takes_half_of_what_is_left(world):
    """A call that has waited leaves its summary less time, and none where its own is over."""
    call = parent(world)
    world.clock.advance(6.0)
    await summaries(world).summarise("x", "m", call)
    assert world.upstream.sent[-1].remaining == 1.0
    world.clock.advance(2.0)
    assert (await summaries(world).summarise("x", "m", call))[0] == ""
    assert len(world.upstream.sent) == 1


async def test_a_caller_who_hangs_up_ends_the_summary_too(world):
    """Nothing is left open, and the attempt is booked and recorded once."""
    world.upstream.script = [FakeResponse(WHOLE, stalls_after=0)]
    task = asyncio.ensure_future(summaries(world).summarise("x", "m", parent(world)))
    while not world.upstream.answers:
        await ticks(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert world.journal.outcomes == ["abandoned"]
    world.assert_settled()
