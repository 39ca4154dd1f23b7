"""What messages mean for the accounts of a connection: tables, and no event is ever a surprise."""

import json
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headworks.core.realtime import (
    Asked,
    Dialect,
    Talk,
    complaint,
    longest,
    split_model,
    split_subprotocols,
)
from headworks.errors import CallerError, InvalidJSON, InvalidRequest, RateLimited
from headworks.types import Secret, Usage

ASKED: Any = {"type": "response.create", "model": "m", "input": "Hi"}


def said(kind: str, **fields: Any) -> bytes:
    return json.dumps({"type": kind, **fields}).encode()


def begun(talk: Talk, id_: str = "r1", lane: str = "") -> Any:
    """Ask for a response and let it begin."""
    turn = talk.expect(Asked({}, "", lane))
    event = {"response": {"id": id_}, **({"stream_id": lane} if lane else {})}
    assert talk.hear(said("response.created", **event)) is None
    return turn


@dataclass(frozen=True)
class Case:
    """A provider's report, and what is booked."""

    name: str
    dialect: Dialect
    kind: str
    response: dict[str, Any]
    usage: Usage | None
    outcome: str = "completed"
    result: str = "ended"


USAGE = {"input_tokens": 5, "output_tokens": 7, "total_tokens": 12}
CASES = (
    Case("completed", "responses", "response.completed", {"usage": USAGE}, Usage(5, 7)),
    Case("incomplete", "responses", "response.incomplete", {"usage": USAGE}, Usage(5, 7)),
    Case(
        "cached",
        "realtime",
        "response.done",
        {"usage": {**USAGE, "input_token_details": {"cached_tokens": 3}}},
        Usage(5, 7, cached=3),
    ),
    Case("without a report", "realtime", "response.done", {"status": "completed"}, None),
    Case("a null report", "realtime", "response.done", {"usage": None}, None),
    Case(
        "failed at once",
        "realtime",
        "response.done",
        {"status": "failed"},
        None,
        "failed",
        "refused",
    ),
    Case(
        "failed, and billed",
        "responses",
        "response.failed",
        {"usage": USAGE},
        Usage(5, 7),
        "failed",
    ),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_an_end_tells_the_usage(case: Case):
    """Each way in which a response ends is booked as its provider reports it."""
    talk = Talk(case.dialect)
    turn = begun(talk)
    heard = talk.hear(said(case.kind, response={"id": "r1", **case.response}))
    assert heard is not None
    assert (heard.kind, heard.turn, heard.outcome) == (case.result, turn, case.outcome)
    assert (heard.reported[0] if heard.reported else None) == case.usage
    assert talk.is_quiet
    assert talk.hear(said(case.kind, response={"id": "r1", **case.response})) is None


def test_lanes_do_not_mix():
    """Responses of two lanes go on side by side, each with its own text and end."""
    talk = Talk("responses")
    one, two = begun(talk, "r1", "a"), begun(talk, "r2", "b")
    talk.hear(said("response.output_text.delta", delta="first", stream_id="a"))
    talk.hear(said("response.output_text.delta", delta="other", stream_id="b"))
    heard = talk.hear(said("response.completed", response={"id": "r2"}, stream_id="b"))
    assert heard is not None
    assert (heard.turn, bytes(two.text), bytes(one.text)) == (two, b"other", b"first")
    assert not talk.is_quiet


def test_one_lane_is_served_in_order():
    """Two responses that are asked for at once are told apart by their order."""
    talk = Talk("responses")
    first, second = talk.expect(Asked(ASKED, "", "")), talk.expect(Asked(ASKED, "", ""))
    talk.hear(said("response.created", response={"id": "r1"}))
    talk.hear(said("response.completed", response={"id": "r1"}))
    talk.hear(said("response.created", response={"id": "r2"}))
    assert (first.id, second.id) == ("r1", "r2")


def test_an_unasked_response_is_noticed():
    """What a provider begins when somebody has finished speaking is told, so that it is booked."""
    talk = Talk("realtime")
    heard = talk.hear(said("response.created", response={"id": "r1"}))
    assert heard is not None
    assert (heard.kind, heard.turn.id) == ("begun", "r1")
    done = talk.hear(said("response.done", response={"id": "r1", "usage": USAGE}))
    assert done is not None
    assert done.turn is heard.turn


def test_an_end_without_a_beginning_is_booked():
    """A report is money, whether or not the rest of its response was seen."""
    heard = Talk("responses").hear(said("response.completed", response={"id": "r", "usage": USAGE}))
    assert heard is not None
    assert (heard.kind, heard.reported) == ("ended", (Usage(5, 7), ()))


@pytest.mark.parametrize(
    ("dialect", "error", "turn"),
    [
        ("realtime", {"error": {"event_id": "mine", "code": "c"}}, 1),
        ("realtime", {"error": {"code": "c"}}, 0),
        ("realtime", {"error": {"event_id": "of another message", "code": "c"}}, None),
        ("responses", {"error": {"code": "c"}}, 0),
        ("responses", {"error": {"code": "c"}, "stream_id": "elsewhere"}, None),
    ],
)
def test_an_error_refuses_what_it_is_about(dialect: Dialect, error: Any, turn: int | None):
    """An error that names a message ends that one's response, else the oldest that has not begun."""
    talk = Talk(dialect)
    waiting = [talk.expect(Asked({}, "", "")), talk.expect(Asked({}, "mine", ""))]
    heard = talk.hear(said("error", **error))
    found = None if heard is None else waiting.index(heard.turn)
    assert found == turn
    assert heard is None or (heard.kind, heard.outcome) == ("refused", "c")


def test_an_error_breaks_a_response_that_has_begun():
    """In the Responses API an error within a response is its end."""
    talk = Talk("responses")
    turn = begun(talk)
    heard = talk.hear(said("error", error={"type": "server_error"}))
    assert heard is not None
    assert (heard.kind, heard.turn, heard.outcome) == ("broken", turn, "server_error")


def test_a_realtime_response_reads_all_that_was_said():
    """What a response reads is the last report and all that came since, sound included."""
    talk = Talk("realtime")
    begun(talk)
    talk.hear(said("response.done", response={"id": "r1", "usage": USAGE}))
    talk.read(said("input_audio_buffer.append", audio="A" * 10_000))
    talk.read(said("conversation.item.create", item={"content": "x" * 400}))
    turn = talk.expect(Asked({}, "", ""))
    assert turn.before >= 12 + 10 + 100
    talk.hear(said("response.created", response={"id": "r2"}))
    talk.hear(said("response.output_audio.delta", response_id="r2", delta="A" * 1000))
    talk.hear(said("response.output_text.delta", response_id="r2", delta="Hi"))
    assert (turn.sound, bytes(turn.text), turn.pieces) == (2, b"Hi", 2)


@pytest.mark.parametrize(
    ("message", "error"),
    [
        (b"[]", InvalidJSON),
        (b"{", InvalidJSON),
        (b'{"type": "a", "type": "response.create"}', InvalidJSON),
        (b"{}", InvalidRequest),
        (b'{"type": ["response.create"]}', InvalidRequest),
    ],
)
def test_a_message_has_one_meaning_or_none(message: bytes, error: type[CallerError]):
    """What could be read as a response by one and as something else by another is refused."""
    with pytest.raises(error):
        Talk("responses").read(message)


@given(st.binary() | st.recursive(st.none() | st.text() | st.integers(), lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["type", "response", "id", "usage", "delta", "error", "stream_id"]), inner)).map(lambda value: json.dumps(value).encode()))  # fmt: skip
def test_nothing_that_a_provider_says_breaks_us(content: bytes):
    """Whatever comes from a provider is followed as far as it is understood, never more."""
    for dialect in ("realtime", "responses"):
        talk = Talk(dialect)
        begun(talk)
        talk.hear(content)


@pytest.mark.parametrize(
    ("query", "model", "rest"),
    [
        (b"model=gpt-realtime", "gpt-realtime", b""),
        (b"a=1&model=up%2Fm&b", "up/m", b"a=1&b"),
        (b"mode%6c=m", "m", b""),
        (b"", "", b""),
        (b"models=a", "", b"models=a"),
    ],
)
def test_the_query_names_the_model(query: bytes, model: str, rest: bytes):
    """However the model is spelled in the query, it is seen, and the rest is kept."""
    assert split_model(query) == (model, rest)


def test_two_models_are_none():
    """A query that names two models is refused: it could be routed by one and served by the other."""
    with pytest.raises(InvalidRequest):
        split_model(b"model=a&mode%6C=b")


def test_secrets_among_subprotocols_are_kept_back():
    """Of what a browser offers, the key and the account's names do not go on."""
    offered = ["realtime", "openai-insecure-api-key.k", "openai-organization.o", "v1"]
    assert split_subprotocols(iter(offered)) == (Secret("k"), ["realtime", "v1"])


def test_errors_read_as_the_apis_own():
    """A refusal has the form that the official clients of each API know."""
    asked = Asked({}, "mine", "lane")
    error = RateLimited("Too many.")
    realtime = json.loads(complaint("realtime", error, asked, "call-1"))
    assert realtime["event_id"] == "event_call-1"
    assert realtime["error"]["event_id"] == "mine"
    responses = json.loads(complaint("responses", error, asked, "call-1"))
    assert (responses["status"], responses["stream_id"]) == (429, "lane")
    assert responses["error"]["code"] == "rate_limit_exceeded"


def test_a_response_without_a_bound_has_the_apis_own():
    """Money is held for the longest answer that a Realtime model gives."""
    assert (longest({}), longest({"max_output_tokens": "inf"})) == (4096, 4096)
    assert longest({"max_output_tokens": 5}) == 5
