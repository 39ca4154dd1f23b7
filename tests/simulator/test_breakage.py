"""Faults byte by byte: what each of them makes of an answer, seen by a client that trusts nothing."""

import json
import re
from dataclasses import dataclass
from typing import Any, get_args

import pytest

from headworks.simulator import FaultRule, SimulatorConfig, running
from headworks.simulator.breakage.kinds import KINDS
from headworks.simulator.config import FaultName
from tests.simulator.conftest import PRICES
from tests.simulator.raw import (
    CHAT,
    ENDPOINTS,
    FIELDS,
    RESPONSES,
    connect,
    converse,
    exchange,
    objects,
    request,
    visit,
)


def events(content: bytes) -> list[bytes]:
    """Return the events of a stream."""
    return [event for event in content.split(b"\n\n") if event]


def test_every_fault_is_in_the_table():
    """A name that a rule may hold does something, and says what."""
    assert set(KINDS) == set(get_args(FaultName))
    assert all(kind.says for kind in KINDS.values())
    known = FaultRule.__struct_fields__
    assert all(field in known for kind in KINDS.values() for field in kind.fields)


QUIET, LONG = 0.5, 5.0
"""Seconds of silence: after which nothing more is expected, and in which what is expected comes."""
SILENT = {"hang_before_head", "stall_after", "short_length", "double_length"}
"""Faults after which a client waits for what never comes."""


@pytest.mark.parametrize("stream", [True, False])
@ENDPOINTS
@pytest.mark.parametrize("name", get_args(FaultName))
def test_no_fault_is_a_failure_of_the_simulator(simulator, name, path, stream):
    """Each fault strikes at each endpoint, streamed or whole, and the log names it."""
    small = {"gzip_bomb": "=900", "huge_event": "=900", "slow_head": "=0", "slow_first_token": "=0"}
    quick = {"slices": "=50,seconds=0", "surplus": "=0", "stall_after": "", "hang_before_head": ""}
    patience = QUIET if name in SILENT else LONG
    ordered = name + (small | quick).get(name, "")
    seen = visit(simulator, ordered, path, stream=stream, timeout=patience)

    assert simulator.wait_settled()
    [attempt] = simulator.attempts()
    assert attempt["fault"].partition("=")[0] == name
    expected = {"status": 500, "early_answer": 500, "redirect": 307, "input_filter": 400}
    silent = {"refuse", "reset_before_head", "close_before_head", "hang_before_head"}
    assert attempt["status"] == expected.get(name, 0 if name in silent else 200)
    assert bool(seen.data) is (name not in silent)


BREAKS = [
    ("cut_after=2", "fin", True),
    ("cut_after=2,rst", "rst", True),
    ("cut_after=2,clean", "silence", False),
    ("cut_after=2,hang", "silence", True),
    ("cut_after=2,bad_chunk", "fin", True),
    ("stall_after=2", "silence", True),
]


@ENDPOINTS
@pytest.mark.parametrize(("fault", "end", "is_open"), BREAKS)
def test_a_stream_ends_as_ordered(simulator, path, fault, end, is_open):
    """Two tokens come whole; then the connection ends as it should, the last chunk missing."""
    seen = visit(simulator, fault, path, timeout=QUIET if end == "silence" else LONG)

    assert len([each for each in objects(seen.content) if text(each)]) == 2
    assert seen.end == end
    assert seen.data.endswith(b"0\r\n\r\n") is not is_open
    assert (b"zz\r\n" in seen.body) is ("bad_chunk" in fault)


def text(event: Any) -> str:
    """Return the text of a delta."""
    if isinstance(event.get("delta"), str):
        return str(event["delta"])
    return "".join(choice["delta"].get("content") or "" for choice in event.get("choices", ()))


@ENDPOINTS
@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("size", [0, 1, 57, 400])
@pytest.mark.parametrize("ending", ["fin", "rst", "clean", "bad_chunk", "hang"])
def test_an_answer_is_cut_at_any_byte(simulator, path, stream, size, ending):
    """So many bytes of the body come and no more; they are those of the whole answer."""
    expected = {"fin": "fin", "rst": "rst", "bad_chunk": "fin"}.get(ending, "silence")
    whole = visit(simulator, "slow=1", path, stream=stream)
    ordered, patience = (
        f"cut_after,after_bytes={size},{ending}",
        QUIET if ending == "hang" else LONG,
    )
    if size == 0 and ending == "clean":
        patience = QUIET  # an answer without a body ends when the next one begins
    seen = visit(simulator, ordered, path, stream=stream, timeout=patience)

    assert (len(seen.content), seen.end) == (size, expected)
    assert simulator.attempts()[0]["fault"] == f"cut_after={size} bytes"
    assert masked(seen.content) == masked(whole.content[:size])


def masked(content: bytes) -> bytes:
    """Return an answer without what no two answers have in common: times."""
    return re.sub(rb'("created(_at)?":)\d*', rb"\1", content)


@dataclass(frozen=True)
class Form:
    fault: str
    expected: bytes
    times: int | None = None


FORMS = [
    Form("crlf", b"\r\n\r\n"),
    Form("comments", b": keep-alive\n\n"),
    Form("pings", b'event: ping\ndata: {"type":"ping"}\n\n'),
    Form("ids", b"\nretry: 3000\n"),
    Form("empty_events", b"event: ping\n\ndata:\n\n"),
    Form("multi_line", b"data: {\ndata: "),
    Form("no_space", b'data:{"'),
    Form("bom", b"\xef\xbb\xbf", 1),
    Form("invalid_utf8", b"\xff\xfe\xc3", 1),
    Form("huge_event=5000", b"x" * 5000, 1),
    Form("after_done", b'data: {"id":"after-done"', 1),
]


@ENDPOINTS
@pytest.mark.parametrize("case", FORMS, ids=lambda case: case.fault)
def test_a_stream_is_spelled_oddly(simulator, path, case):
    """The form is what was ordered, in every event or in one, and nothing is lost."""
    plain = visit(simulator, "slow=1", path).content
    odd = visit(simulator, case.fault, path).content

    assert case.expected not in plain
    count = odd.count(case.expected)
    assert count == case.times if case.times else count >= len(events(plain)) - 1


@ENDPOINTS
def test_lines_may_end_with_cr_alone(simulator, path):
    """No line feed is left in the stream."""
    content = visit(simulator, "cr", path).content

    assert b"\n" not in content
    assert content.endswith(b"\r\r")


@ENDPOINTS
@pytest.mark.parametrize("stream", [True, False])
def test_slices_split_events_at_every_byte(simulator, path, stream):
    """One byte a packet: together they are the answer that comes otherwise."""
    whole = visit(simulator, "slow=1", path, stream=stream)
    seen = visit(simulator, "slices=1,seconds=0", path, stream=stream)

    assert masked(seen.content) == masked(whole.content)
    if stream:
        assert seen.body.count(b"\r\n1\r\n") > len(seen.content) // 2


def test_events_may_come_all_at_once(simulator):
    """One chunk holds the whole stream."""
    seen = visit(simulator, "glued")

    assert len(re.findall(rb"(?:^|\r\n)[0-9a-f]+\r\n", seen.body)) == 2
    assert seen.content.endswith(b"data: [DONE]\n\n")


def test_a_stream_may_stop_without_a_reason(simulator):
    """It ends well, but no choice has a finish_reason and nothing is said to be done."""
    seen = visit(simulator, "no_finish")

    assert seen.data.endswith(b"0\r\n\r\n")
    assert b"[DONE]" not in seen.content
    assert {each["choices"][0]["finish_reason"] for each in objects(seen.content)} == {None}


@ENDPOINTS
def test_one_bad_event_may_stand_among_good_ones(simulator, path):
    """With `on` the stream goes on after the event that cannot be read."""
    seen = visit(simulator, "malformed_chunk=2,on", path)
    broken = [line for line in seen.content.splitlines() if line.startswith(b"data: {")]

    unread = [line for line in broken if not line.endswith(b"}")]
    assert len(unread) == 1
    assert seen.content.endswith(b"[DONE]\n\n" if path == CHAT else b"}\n\n")


@ENDPOINTS
@pytest.mark.parametrize(
    ("order", "code"),
    [("", "server_error"), (",code=rate_limit_exceeded,status=429", "rate_limit_exceeded")],
)
def test_an_error_event_has_its_code(simulator, path, order, code):
    """The error inside the stream is the one that was ordered, in the endpoint's own form."""
    last = objects(visit(simulator, "error_event=1" + order, path).content)[-1]

    assert (last if path == RESPONSES else last["error"])["code"] == code


@pytest.mark.parametrize("stream", [True, False])
def test_a_second_answer_may_follow(simulator, stream):
    """Whoever keeps the connection gets an answer that nobody asked for."""
    with connect(simulator.base_url) as wire:
        asked = request(FIELDS[CHAT] | {"stream": stream}, x_simulator_fault="surplus=0")
        first = converse(wire, asked)
        again = converse(wire, request(FIELDS[CHAT]), timeout=5.0)

    assert first.data.count(b"HTTP/1.1 200 OK") == 2
    assert b"This answer is for somebody else." in first.data
    assert b"somebody else" not in again.data


def test_a_surplus_may_come_later(simulator):
    """It comes on an idle connection, and poisons the next answer of a careless client."""
    with connect(simulator.base_url) as wire:
        first = converse(wire, request(FIELDS[CHAT], x_simulator_fault="surplus=0.2"))
        assert b"somebody else" not in first.data
        assert b"somebody else" in converse(wire, timeout=2.0).data


def test_an_answer_may_come_before_the_request(simulator):
    """The error is there before the body was sent, and the connection works on."""
    head, _, body = request(FIELDS[CHAT], x_simulator_fault="early_answer,status=429").partition(
        b"\r\n\r\n"
    )
    with connect(simulator.base_url) as wire:
        early = converse(wire, head + b"\r\n\r\n")
        rest = converse(wire, body, timeout=QUIET)
        later = converse(wire, request(FIELDS[CHAT]))

    assert early.data.startswith(b"HTTP/1.1 429 ")
    assert rest.data == b""
    assert later.data.startswith(b"HTTP/1.1 200 ")


@ENDPOINTS
@pytest.mark.parametrize("stream", [True, False])
def test_a_model_can_order_a_fault_by_its_name(simulator, path, stream):
    """Where gateways drop unknown headers, the name of the model carries the order."""
    simulator.reset()
    fields = FIELDS[path] | {"model": "gpt-4o+status=503,retry_after=7", "stream": stream}
    seen = exchange(simulator.base_url, request(fields, path))

    [attempt] = simulator.attempts()
    assert seen.data.startswith(b"HTTP/1.1 503 ")
    assert b"retry-after: 7" in seen.head
    assert (attempt["model"], attempt["fault"]) == ("gpt-4o", "status=503")


@pytest.mark.parametrize(
    ("order", "problem"),
    [
        ("earthquake", "Invalid enum value 'earthquake'"),
        ("status=abc", "Expected `int`"),
        ("status=99", ">= 200"),
        ("reset_before_head=5", "rst"),
        ("crlf,after=5", "crlf does not use `after`"),
        ("slow=0", "> 0"),
        ("", "Known faults"),
        ("redirect=302,location=\xff", "location"),
    ],
)
def test_a_wrong_order_is_refused(simulator, order, problem):
    """A fault that does not exist, or cannot be had like this, is 400 and says why."""
    seen = visit(simulator, order.encode("latin-1").decode("latin-1"))

    assert seen.data.startswith(b"HTTP/1.1 400 ")
    assert problem in json.loads(seen.content)["error"]["message"]


def test_connections_are_refused_in_an_outage():
    """A rule without conditions resets each connection as it is made, and those that are open."""
    rules = [FaultRule("refuse", start=0.0, until=1e9)]
    with running(SimulatorConfig(prices=PRICES, faults=rules)) as down:
        seen = exchange(down.base_url, b"")

        assert (seen.data, seen.end) == (b"", "rst")
        assert down.attempts() == []


def test_a_connection_that_hangs_is_let_go_when_its_client_leaves(simulator):
    """Nothing stays behind of those who gave up."""
    visit(simulator, "hang_before_head", timeout=0.05)

    assert simulator.wait_settled()
    assert simulator.attempts()[0]["outcome"] == "gone"
