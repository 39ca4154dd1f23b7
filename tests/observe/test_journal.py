"""Every finished call leaves one line, whatever goes wrong beside it."""

import asyncio
import io
import json

import pytest
from typing_extensions import override

from headworks.observe.journal import CallLog, Journals
from headworks.observe.log import Redaction
from headworks.types import Call, Route, Secret, Tried
from tests.observe.conftest import finished


class Kept:
    def __init__(self) -> None:
        self.calls: list[Call] = []

    def record(self, call: Call) -> None:
        self.calls.append(call)


class Failing:
    def record(self, call: Call) -> None:
        raise OSError(f"no room for {call.id}")


class Full(io.BytesIO):
    @override
    def write(self, _: object, /) -> int:
        raise OSError("no space left on device")


def test_a_call_is_one_line_of_json():
    """Without a loop a line is there at once, and says what the call was and what it cost."""
    out = io.BytesIO()
    CallLog(out).record(finished())
    assert json.loads(out.getvalue()) == {
        "time": "2027-01-15T08:00:00.500000Z",
        "call": "call_1",
        "key": "web",
        "project": "shop",
        "feature": "search",
        "user": "u42",
        "model": "assistant",
        "route": "openai/gpt-5",
        "status": 200,
        "outcome": "completed",
        "attempts": 1,
        "input_tokens": 10,
        "output_tokens": 20,
        "cached_tokens": 5,
        "reasoning_tokens": 7,
        "cost_usd": 0.0015,
        "duration_ms": 2000.0,
        "first_byte_ms": 300.0,
        "context": None,
        "filtered": None,
        "hedge": None,
        "trail": [],
    }


def test_a_call_tells_what_failed_on_its_way():
    """The journal says of each failed attempt where, what and why it went on, in no foreign word."""
    out = io.BytesIO()
    step = Tried(
        Route("openai", "gpt-5", "main"),
        "rate_limit",
        "rate_limit_exceeded",
        "same route",
        "worth the wait",
        1.25,
    )
    CallLog(out).record(finished(trail=[step], filtered="answer"))
    line = json.loads(out.getvalue())
    assert line["filtered"] == "answer"
    assert line["trail"] == [
        {
            "route": "openai/gpt-5",
            "failure": "rate_limit",
            "code": "rate_limit_exceeded",
            "next": "same route",
            "why": "worth the wait",
            "wait_ms": 1250,
        }
    ]


def test_what_was_never_known_is_null():
    """A call that ended before it had a caller, a route or a price does not pretend to have one."""
    out = io.BytesIO()
    CallLog(out).record(finished(caller=None, route=None, cost=None, answered=None, ended=None))
    line = json.loads(out.getvalue())
    unknown = ("key", "project", "route", "cost_usd", "duration_ms", "first_byte_ms")
    assert [line[name] for name in unknown] == [None] * 6


@pytest.mark.anyio
async def test_lines_are_written_in_batches():
    """In a running loop lines wait for each other a moment, then leave together and in order."""
    out = io.BytesIO()
    log = CallLog(out)
    for number in range(3):
        log.record(finished(id=f"call_{number}"))
    assert out.getvalue() == b""
    await asyncio.sleep(0.15)
    lines = [json.loads(line)["call"] for line in out.getvalue().splitlines()]
    assert lines == ["call_0", "call_1", "call_2"]


@pytest.mark.anyio
async def test_a_flood_does_not_pile_up():
    """Many calls at once are written before the moment is over."""
    out = io.BytesIO()
    log = CallLog(out)
    for _ in range(600):
        log.record(finished())
    assert len(out.getvalue().splitlines()) == 500
    log.flush()
    assert len(out.getvalue().splitlines()) == 600


def test_hostile_names_stay_inside_their_line():
    """Line ends and secrets that a caller puts into its tags forge no line and show no key."""
    out = io.BytesIO()
    log = CallLog(out, Redaction([Secret("hw_secret_1")]))
    log.record(finished(feature="a\r\nb hw_secret_1", model="x" * 5000))
    assert out.getvalue().count(b"\n") == 1
    assert b"hw_secret_1" not in out.getvalue()
    assert len(json.loads(out.getvalue())["model"]) == 200


def test_a_full_disk_stops_no_call():
    """Lines that cannot be written are counted, not raised."""
    log = CallLog(Full())
    log.record(finished())
    assert log.lost == 1


def test_a_failing_journal_keeps_no_other_from_its_record(caplog: pytest.LogCaptureFixture):
    """Each journal gets each call; failures are counted, and told once."""
    kept = Kept()
    journals = Journals([Failing(), kept])
    journals.record(finished())
    journals.record(finished())
    assert len(kept.calls) == 2
    assert journals.statistics().failures == {"Failing": 2, "Kept": 0}
    assert len(caplog.records) == 1
